//! Which tracks are ours, and how far each has come. A table without connections.

use super::negotiation::NewTrack;
use crate::track::{TrackHandle, TrackSpec};
use livekit_protocol as lk;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use str0m::media::{Mid, Pt};
use str0m::rtp::Ssrc;

/// How long the server may take to name a track. LiveKit's clients wait 10 s.
pub(super) const NAMED_WITHIN: Duration = Duration::from_secs(10);

/// How far a track has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The client has not joined yet.
    Waiting,
    Announced {
        due: Instant,
    },
    /// Named, to be offered.
    Wanted,
    Offered,
    Sending {
        mid: Mid,
        pt: Pt,
    },
}

pub(super) struct Publication {
    pub(super) spec: TrackSpec,
    pub(super) cid: String,
    /// The server's name for it; empty: not yet.
    pub(super) sid: String,
    /// What the server said of it, without what never changes.
    pub(super) info: Option<Box<lk::TrackInfo>>,
    pub(super) state: State,
    /// Unpublished while its offer was in flight.
    pub(super) unwanted: bool,
    /// Smallest layer first.
    pub(super) streams: [Stream; 3],
}

#[derive(Clone, Copy, Default)]
pub(super) struct Stream {
    /// The number of the next packet, continued beyond 16 bits; `None`: there was none.
    pub(super) next: Option<u64>,
    /// Known since the first packet.
    pub(super) ssrc: Option<Ssrc>,
}

pub(super) struct Publications {
    seed: u64,
    next: u32,
    /// Media goes out.
    pub(super) connected: bool,
    pub(super) all: BTreeMap<TrackHandle, Publication>,
    pub(super) by_mid: BTreeMap<Mid, TrackHandle>,
}

impl Publications {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            next: 0,
            connected: false,
            all: BTreeMap::new(),
            by_mid: BTreeMap::new(),
        }
    }

    /// A new track, with names of its own.
    pub(super) fn add(&mut self, spec: TrackSpec) -> TrackHandle {
        let handle = TrackHandle(self.next);
        self.next += 1;
        let publication = Publication {
            spec,
            cid: format!("c-{:x}-{}", self.seed, handle.0),
            sid: String::new(),
            info: None,
            state: State::Waiting,
            unwanted: false,
            streams: [Stream::default(); 3],
        };
        self.all.insert(handle, publication);
        handle
    }

    /// The track in this section.
    pub(super) fn at(&self, mid: Mid) -> Option<TrackHandle> {
        self.by_mid.get(&mid).copied()
    }

    /// Sections that send.
    pub(super) fn mids(&self) -> Vec<Mid> {
        self.by_mid.keys().copied().collect()
    }

    /// Tracks that the next offer shall have.
    pub(super) fn take_wanted(&mut self) -> Vec<NewTrack> {
        let stream = self.stream();
        let wanted = self.all.iter_mut().filter_map(|(handle, publication)| {
            if publication.state != State::Wanted {
                return None;
            }
            publication.state = State::Offered;
            let layers = publication.spec.layers.iter().map(|layer| layer.layer);
            let simulcast = publication.spec.is_simulcast();
            Some(NewTrack {
                handle: *handle,
                kind: publication.spec.kind(),
                cid: publication.cid.clone(),
                stream: stream.clone(),
                layers: if simulcast {
                    layers.collect()
                } else {
                    Vec::new()
                },
            })
        });
        wanted.collect()
    }

    /// Its offer is of the past.
    pub(super) fn want_again(&mut self, track: TrackHandle) {
        if let Some(publication) = self.all.get_mut(&track)
            && publication.state == State::Offered
        {
            publication.state = State::Wanted;
        }
    }

    /// The server can be asked again: it has all its time for the names.
    pub(super) fn postpone(&mut self, now: Instant) {
        for publication in self.all.values_mut() {
            if let State::Announced { due } = &mut publication.state {
                *due = now + NAMED_WITHIN;
            }
        }
    }

    /// Packets go out over a fresh connection, whose receiver guesses the upper bits of sequence
    /// numbers as 0 (RFC 3711 section 3.3.1).
    pub(super) fn start_anew(&mut self) {
        self.connected = false;
        for publication in self.all.values_mut() {
            for stream in &mut publication.streams {
                stream.next = stream.next.map(|next| next & 0xffff);
            }
        }
    }

    /// Tracks that the server has named, as it wants to hear of them when a session resumes.
    pub(super) fn to_wire(&self) -> Vec<lk::TrackPublishedResponse> {
        let named = self.all.values().filter(|track| !track.sid.is_empty());
        let to_wire = |track: &Publication| lk::TrackPublishedResponse {
            cid: track.cid.clone(),
            track: track.info.as_deref().cloned(),
        };
        named.map(to_wire).collect()
    }

    /// Section, stream and track of what is sent: how the server knows it.
    pub(super) fn names(&self) -> BTreeMap<Mid, (String, String)> {
        let all = self.all.values().filter_map(|track| match track.state {
            State::Sending { mid, .. } => Some((mid, (self.stream(), track.cid.clone()))),
            _ => None,
        });
        all.collect()
    }

    /// All our tracks belong together.
    fn stream(&self) -> String {
        format!("s-{:x}", self.seed)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.all.values().filter_map(|track| track.due()).min()
    }

    /// Tracks that the server did not name in time.
    pub(super) fn overdue(&self, now: Instant) -> Vec<TrackHandle> {
        let all = self.all.iter();
        let late = all.filter(|(_, track)| track.due().is_some_and(|due| due <= now));
        late.map(|(handle, _)| *handle).collect()
    }

    pub(super) fn by_cid(&self, cid: &str) -> Option<TrackHandle> {
        let mut all = self.all.iter();
        all.find(|(_, track)| track.cid == cid).map(|(h, _)| *h)
    }

    pub(super) fn by_sid(&self, sid: &str) -> Option<TrackHandle> {
        let mut all = self.all.iter();
        all.find(|(_, track)| track.sid == sid).map(|(h, _)| *h)
    }

    pub(super) fn remove(&mut self, handle: TrackHandle) -> Option<Publication> {
        let removed = self.all.remove(&handle)?;
        self.by_mid.retain(|_, track| *track != handle);
        Some(removed)
    }
}

impl Publication {
    fn due(&self) -> Option<Instant> {
        match self.state {
            State::Announced { due } => Some(due),
            _ => None,
        }
    }
}
