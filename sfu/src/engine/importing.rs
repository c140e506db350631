//! Tracks of other members, for participants here: asked for, taken, given up.
//!
//! An imported track is a track without a transport, of a participant who is a guest: no client, no
//! sections, here as long as one of its tracks is. Everything behind the source is the same as for a
//! track of a participant here.

use super::arrived::Arrived;
use super::gaps::Gaps;
use super::layers;
use super::outgoing::PACKET_OVERHEAD;
use super::peers::PeerId;
use super::relay_message::{MISSING_MAX, RelayedPacket, Request, Word};
use super::room::{MAX_TRACKS, Origin, Source, Track};
use super::{Engine, ParticipantKey, TrackKey};
use proto::id::Identity;
use proto::media::{
    ImportedTrack, MediaPermission, NewParticipant, PeerMode, PublishedTrack, Quality, Selection,
};
use std::time::Instant;
use str0m::rtp::Ssrc;

/// Streams of a track that are watched for gaps: three layers and their predecessors.
const STREAMS_MAX: usize = 8;

/// How a track comes from another member.
pub(super) struct Import {
    pub(super) peer: PeerId,
    /// What that member writes on its packets.
    pub(super) alias: u32,
    streams: Vec<(Ssrc, Gaps)>,
}

impl Import {
    fn new(peer: PeerId, alias: u32) -> Self {
        Self {
            peer,
            alias,
            streams: Vec::new(),
        }
    }

    /// A packet has come. `None`: it is here already; else what before it is missing.
    fn note(&mut self, ssrc: Ssrc, sequence: u64) -> Option<Vec<u64>> {
        let known = self.streams.iter().position(|(other, _)| *other == ssrc);
        let place = known.unwrap_or_else(|| {
            if self.streams.len() >= STREAMS_MAX {
                self.streams.remove(0);
            }
            self.streams.push((ssrc, Gaps::default()));
            self.streams.len() - 1
        });
        let (_, gaps) = self.streams.get_mut(place)?;
        let mut missing = Vec::new();
        gaps.note(sequence, &mut missing).then_some(missing)
    }
}

impl Engine {
    /// A track of another member shall be at hand.
    pub(super) fn import(&mut self, imported: ImportedTrack, now: Instant) {
        let ImportedTrack { room, from, track } = imported;
        if self.tracks_by_sid.contains_key(&track.track) {
            return;
        }
        let known = self.rooms_by_sid.contains_key(&room);
        let Some(peer) = self.peers.know(&from).filter(|_| known) else {
            tracing::debug!(track = %track.track, %from, "import without a room, or of one member too many");
            return;
        };
        let guest = NewParticipant {
            room,
            participant: track.participant.clone(),
            identity: Identity::new(""),
            mode: PeerMode::Single,
            permission: MediaPermission {
                publish: true,
                subscribe: false,
                publish_data: false,
            },
            hidden: false,
            fixed: false,
            selection: Selection::default(),
        };
        let Some(owner) = self.guest(guest, now) else {
            tracing::debug!(track = %track.track, "import of somebody who is here, or too many");
            return;
        };
        self.add_import(owner, peer, track, now);
    }

    fn guest(&mut self, guest: NewParticipant, now: Instant) -> Option<ParticipantKey> {
        if let Some(key) = self.participants_by_sid.get(&guest.participant).copied() {
            let known = self.participants.get(key)?;
            let fits = known.guest && known.tracks.len() < MAX_TRACKS;
            return fits.then_some(key);
        }
        let room = self.rooms_by_sid.get(&guest.room).copied();
        let room = room.and_then(|room| self.rooms.get(room))?;
        let selection = room.selected.selection();
        let key = self.admit_participant(NewParticipant { selection, ..guest }, now)?;
        self.participants.get_mut(key)?.guest = true;
        Some(key)
    }

    fn add_import(
        &mut self,
        owner: ParticipantKey,
        peer: PeerId,
        track: PublishedTrack,
        now: Instant,
    ) {
        let alias = self.relays.next_alias();
        let sid = track.track.clone();
        let origin = Origin::Elsewhere(Import::new(peer, alias));
        let key = self.tracks.insert(Track::new(track, owner, origin, now));
        if let Some(owner) = self.participants.get_mut(owner) {
            owner.tracks.push(key);
        }
        self.tracks_by_sid.insert(sid.clone(), key);
        self.relays.expect(alias, key);
        self.pictures_changed(owner);
        // Whoever it is for comes next: until that is known, all of it is wanted.
        self.want(peer, sid, alias, Some(Quality::High));
    }

    fn want(
        &mut self,
        peer: PeerId,
        track: proto::id::TrackSid,
        alias: u32,
        best: Option<Quality>,
    ) {
        let want = Request::Want { track, alias, best };
        self.relays.say(peer, Word::Request(want));
    }

    /// Says again what is wanted of an imported track; drops members that do not say so.
    pub(super) fn keep_copies(&mut self, key: TrackKey, now: Instant) {
        let Some(track) = self.tracks.get_mut(key) else {
            return;
        };
        track.exports.handle_timeout(now);
        let Origin::Elsewhere(import) = &track.origin else {
            return;
        };
        let (peer, alias, sid) = (import.peer, import.alias, track.sid.clone());
        let wanted = track.subscriptions.iter().filter_map(|key| {
            let subscription = self.subscriptions.get(*key)?;
            let open = subscription.permitted && subscription.settings.enabled;
            open.then(|| layers::wanted(&subscription.settings, &track.layers))
        });
        let best = wanted.max();
        self.want(peer, sid, alias, best);
    }

    /// A packet of a track that was asked for.
    pub(super) fn take_packet(&mut self, from: PeerId, packet: &RelayedPacket, now: Instant) {
        self.outbox.counters.relayed_in += 1;
        if self.is_fenced(now) {
            self.outbox.counters.fenced += 1;
            return;
        }
        let key = self.relays.expected(packet.alias);
        let Some((key, track)) = key.and_then(|key| Some((key, self.tracks.get_mut(key)?))) else {
            // It was on its way when the track was given up.
            return;
        };
        let Origin::Elsewhere(import) = &mut track.origin else {
            return;
        };
        if import.peer != from {
            self.outbox.counters.strays += 1;
            return;
        }
        let Some(mut missing) = import.note(packet.ssrc, packet.sequence) else {
            return;
        };
        if !missing.is_empty() {
            missing.truncate(MISSING_MAX);
            let request = Request::Missing {
                track: track.sid.clone(),
                ssrc: *packet.ssrc,
                sequences: missing,
            };
            self.relays.say(from, Word::Request(request));
        }
        if self.note_relayed(key, packet, now) {
            self.retarget(key, now);
        }
        self.pass_on(key, Arrived::relayed(packet, now), now);
    }

    /// Keeps the books about a source; true if it is a new one.
    fn note_relayed(&mut self, key: TrackKey, packet: &RelayedPacket, now: Instant) -> bool {
        let Some(track) = self.tracks.get_mut(key) else {
            return false;
        };
        if let Some(source) = track.source_mut(packet.ssrc) {
            source.last_packet = now;
            source.meter.add(packet.payload.len() + PACKET_OVERHEAD);
            source.params = packet.params;
            return false;
        }
        let source = Source::new(packet.ssrc, packet.quality, packet.params, now);
        track.add_source(source);
        true
    }

    /// An imported track is gone, and a guest with its last one.
    pub(super) fn forget_import(&mut self, track: &Track, now: Instant) {
        let Origin::Elsewhere(import) = &track.origin else {
            return;
        };
        let (peer, alias) = (import.peer, import.alias);
        self.relays.give_up(alias);
        self.want(peer, track.sid.clone(), alias, None);
        let owner = self.participants.get(track.owner);
        if owner.is_some_and(|owner| owner.guest && owner.tracks.is_empty()) {
            self.remove_participant(&track.owner_sid, now);
        }
    }
}
