//! One track on its way to one subscriber: which source is forwarded, and with which numbers.
//!
//! A video source is entered at a key frame only. Owns no transport: it says what to write.

use super::allocate::Limit;
use super::arrived::{Arrived, ExtensionIds};
use super::layers;
use super::reading::detects;
use super::rebase::{Numbers, Rebase};
use super::room::LiveSource;
use super::setback::Setback;
use super::{ParticipantKey, TrackKey, TransportKey};
use payload::{Layers, Selector, Verdict};
use proto::media::{Kind, LayerSize, TrackSettings};
use std::time::{Duration, Instant};
use str0m::media::{Mid, Pt};
use str0m::rtp::Ssrc;

/// A lonely source whose key frames are not recognised is entered anyway after this long.
const BLIND_START: Duration = Duration::from_secs(3);

/// How long the queue of a full line is left to drain.
const DRAIN: Duration = Duration::from_millis(300);

/// Where a subscription's packets leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exit {
    pub(super) transport: TransportKey,
    pub(super) mid: Mid,
}

/// How packets of one codec are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    /// The source's payload type.
    pub(super) from: Pt,
    /// The subscriber's payload type.
    pub(super) to: Pt,
    /// Its type for what is sent once more; `None`: nothing is.
    pub(super) repeat: Option<Pt>,
    pub(super) ids: ExtensionIds,
    /// The place of the outgoing stream.
    pub(super) stream: usize,
}

/// A subscription.
pub(super) struct Subscription {
    pub(super) participant: ParticipantKey,
    pub(super) track: TrackKey,
    pub(super) kind: Kind,
    pub(super) settings: TrackSettings,
    /// The subscriber may receive.
    pub(super) permitted: bool,
    /// What the subscriber's line lets through.
    pub(super) limit: Limit,
    /// When the line let less through than before.
    pub(super) setback: Setback,
    /// Since when the line is too thin for any of it.
    pub(super) starves_since: Option<Instant>,
    /// The line is left alone until then: it is full.
    pub(super) drains_until: Option<Instant>,
    /// It is among what the room gets.
    pub(super) shown: bool,
    /// The subscriber's client was told that nothing comes through.
    pub(super) told_paused: bool,
    pub(super) exit: Option<Exit>,
    /// How packets are written, once that is known.
    pub(super) route: Option<Route>,
    /// The source being forwarded.
    current: Option<Ssrc>,
    /// The source that shall be forwarded.
    target: Option<Ssrc>,
    waiting_since: Option<Instant>,
    /// What shall be forwarded of that source.
    layers: Layers,
    selector: Selector,
    rebase: Rebase,
}

/// How a packet is written to the subscriber.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passage {
    pub(super) numbers: Numbers,
    /// What differs; `None`: nothing of it is for the subscriber, who waits for its number.
    pub(super) content: Option<payload::Passage>,
}

impl Subscription {
    pub(super) fn new(
        participant: ParticipantKey,
        track: TrackKey,
        kind: Kind,
        settings: TrackSettings,
        permitted: bool,
    ) -> Self {
        Self {
            participant,
            track,
            kind,
            settings,
            permitted,
            limit: Limit::All,
            setback: Setback::default(),
            starves_since: None,
            drains_until: None,
            shown: true,
            told_paused: false,
            exit: None,
            route: None,
            current: None,
            target: None,
            waiting_since: None,
            layers: Layers::ALL,
            selector: Selector::default(),
            rebase: Rebase::default(),
        }
    }

    /// Packets leave here from now on, as a new RTP stream.
    pub(super) fn bind(&mut self, exit: Exit) {
        self.exit = Some(exit);
        self.route = None;
        self.rebase = Rebase::default();
        self.selector = Selector::default();
        // Of another line, as far as it is known.
        self.limit = Limit::All;
        self.setback = Setback::default();
        self.starves_since = None;
        self.drains_until = None;
        self.told_paused = false;
        self.pause();
    }

    /// What the subscriber's line lets through from now on. `stop`: what is being sent is too much for it.
    pub(super) fn set_limit(&mut self, limit: Limit, stop: Option<Instant>) {
        self.limit = limit;
        if let Some(now) = stop {
            self.current = None;
            // A key frame sent now would be lost.
            self.drains_until = Some(now + DRAIN);
        }
    }

    /// Packets have nowhere to go.
    pub(super) fn unbind(&mut self) {
        self.exit = None;
        self.pause();
    }

    /// Stops in the middle of the stream; it goes on, without a gap, at the next key frame.
    pub(super) fn pause(&mut self) {
        self.current = None;
        self.target = None;
        self.waiting_since = None;
    }

    /// True if packets shall be written.
    pub(super) fn is_open(&self) -> bool {
        self.permitted && self.shown && self.settings.enabled && self.exit.is_some()
    }

    /// Chooses the source again. Returns the one whose key frame is waited for.
    pub(super) fn retarget(
        &mut self,
        announced: &[LayerSize],
        live: &[LiveSource],
        now: Instant,
    ) -> Option<Ssrc> {
        if !self.is_open() {
            return None;
        }
        let wanted = layers::wanted(&self.settings, announced);
        let wanted = match self.limit {
            Limit::All => wanted,
            Limit::UpTo(quality) => wanted.min(quality),
            Limit::Nothing => {
                self.pause();
                return None;
            }
        };
        let quality = layers::choose(wanted, live.iter().map(|source| source.quality))?;
        if matches!(self.limit, Limit::UpTo(most) if quality > most) {
            // What the line takes pauses: better than that would not get through.
            return self.awaited();
        }
        let best = live
            .iter()
            .filter(|source| source.quality == quality)
            .max_by_key(|source| source.last_packet)?;
        if self.target != Some(best.ssrc) {
            self.target = Some(best.ssrc);
            self.waiting_since = Some(now);
        }
        self.layers = best.layers;
        if self.current == self.target {
            self.selector.set_target(self.layers);
        }
        self.awaited()
    }

    /// The source whose key frame is waited for.
    pub(super) fn awaited(&self) -> Option<Ssrc> {
        let waits = self.current != self.target || self.selector.needs_keyframe();
        (self.kind == Kind::Video && waits && self.drains_until.is_none())
            .then_some(self.target)
            .flatten()
    }

    /// The source of which only a key frame brings what is wanted, as its packets say.
    pub(super) fn stuck(&self) -> Option<Ssrc> {
        let stuck = self.current == self.target && self.selector.needs_keyframe();
        self.current.filter(|_| stuck)
    }

    /// The source that a key frame request of the subscriber is for.
    pub(super) fn watched(&self) -> Option<Ssrc> {
        self.target.or(self.current)
    }

    /// Takes a packet of the track; `None` if it is not for this subscriber.
    pub(super) fn pass(&mut self, packet: &Arrived, now: Instant) -> Option<Passage> {
        if self.current != Some(packet.ssrc) {
            if self.target != Some(packet.ssrc) || !self.may_enter(packet, now) {
                return None;
            }
            self.enter(packet, now);
        }
        if !self.rebase.covers(packet.sequence) {
            return None;
        }
        let verdict = self.selector.take(&packet.content.packet, packet.marker);
        if verdict == Verdict::Drop && self.rebase.leave_out(packet.sequence) {
            return None;
        }
        let numbers = self.rebase.map(packet.sequence, packet.timestamp, now)?;
        let content = verdict.passage();
        Some(Passage { numbers, content })
    }

    fn may_enter(&self, packet: &Arrived, now: Instant) -> bool {
        let waited = || {
            self.waiting_since
                .is_some_and(|since| now.saturating_duration_since(since) >= BLIND_START)
        };
        if self.drains_until.is_some() {
            return false;
        }
        self.kind == Kind::Audio
            || packet.content.starts
            || (packet.alone && (!detects(packet.params.spec().codec) || waited()))
    }

    fn enter(&mut self, packet: &Arrived, now: Instant) {
        self.current = Some(packet.ssrc);
        self.waiting_since = None;
        let clock_rate = packet.params.spec().clock_rate.get();
        self.rebase
            .switch(packet.sequence, packet.timestamp, clock_rate, now);
        self.selector.switch(&packet.content.packet, self.layers);
    }
}
