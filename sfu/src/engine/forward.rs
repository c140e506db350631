//! The media path: a packet of a publisher, on its way to the [fan-out](super::fan).

use super::arrived::Arrived;
use super::layers::quality_of_rid;
use super::outgoing::PACKET_OVERHEAD;
use super::room::{Origin, Source, Track};
use super::transport::Inbound;
use super::{Engine, ParticipantKey, SubscriptionKey, TrackKey, TransportKey};
use proto::media::Kind;
use std::time::Instant;
use str0m::Rtc;
use str0m::format::PayloadParams;
use str0m::media::{KeyframeRequestKind, Pt};
use str0m::rtp::{RtpPacket, Ssrc};

impl Engine {
    /// A packet of a publisher.
    pub(super) fn forward(&mut self, from: TransportKey, packet: &RtpPacket, now: Instant) {
        self.outbox.counters.packets_in += 1;
        if self.is_fenced(now) {
            self.outbox.counters.fenced += 1;
            return;
        }
        let ssrc = packet.header.ssrc;
        let Some(transport) = self.transports.get_mut(from) else {
            return;
        };
        let inbound = match transport.inbound.get(&ssrc) {
            Some(inbound) => Some(*inbound),
            None => transport.discover(ssrc),
        };
        // A track that is not announced yet, or one too many.
        let Some((inbound, key)) = inbound.and_then(|inbound| Some((inbound, inbound.track?)))
        else {
            self.outbox.counters.strays += 1;
            return;
        };
        let Some((params, new)) = self.note_source(from, key, ssrc, inbound, packet, now) else {
            return;
        };
        if new {
            self.retarget(key, now);
        }
        if self.tracks.get(key).is_some_and(Track::is_open) {
            self.pass_on(key, Arrived::new(packet, params, now), now);
        }
    }

    /// A packet of a track, whose source is known.
    pub(super) fn pass_on(&mut self, key: TrackKey, mut arrived: Arrived, now: Instant) {
        let Some(track) = self.tracks.get(key).filter(|track| track.is_open()) else {
            return;
        };
        let (kind, owner) = (track.kind, track.owner);
        if kind == Kind::Audio && !self.hear(owner, arrived.audio_level, now) {
            return;
        }
        if kind == Kind::Video {
            self.read(key, &mut arrived, now);
        }
        // A packet of speech is a frame of its own.
        let complete = kind == Kind::Audio || arrived.marker;
        self.hold(key, arrived, complete, now);
    }

    /// Keeps the books about a source. Returns its codec, and whether it is a new one.
    fn note_source(
        &mut self,
        from: TransportKey,
        key: TrackKey,
        ssrc: Ssrc,
        inbound: Inbound,
        packet: &RtpPacket,
        now: Instant,
    ) -> Option<(PayloadParams, bool)> {
        let pt = packet.header.payload_type;
        let track = self.tracks.get_mut(key)?;
        if let Some(source) = track.source_mut(ssrc) {
            source.last_packet = now;
            source.meter.add(packet.payload.len() + PACKET_OVERHEAD);
            if source.params.pt() == pt {
                return Some((source.params, false));
            }
        }
        let params = self
            .transports
            .get_mut(from)?
            .call(|rtc| params_of(rtc, pt))
            .ok()??;
        if let Some(source) = track.source_mut(ssrc) {
            source.params = params;
            return Some((params, false));
        }
        let quality = quality_of_rid(inbound.rid.as_deref());
        track.add_source(Source::new(ssrc, quality, params, now));
        Some((params, true))
    }

    /// Listens to a voice; false: the room does not hear it.
    fn hear(&mut self, owner: ParticipantKey, level: Option<u8>, now: Instant) -> bool {
        // The first bit says whether it is speech (RFC 6464 section 3).
        let Some(dbov) = level.map(|level| level & 0x7f) else {
            return true;
        };
        let room = self.participants.get(owner).map(|owner| owner.room);
        if let Some(room) = room.and_then(|room| self.rooms.get_mut(room)) {
            room.speakers.observe(owner, dbov);
        }
        self.is_heard(owner, dbov, now)
    }

    /// Reads a picture's packet, once for all subscribers.
    fn read(&mut self, key: TrackKey, arrived: &mut Arrived, now: Instant) {
        let Some(track) = self.tracks.get_mut(key) else {
            return;
        };
        arrived.alone = track.sources.len() == 1;
        let Some(source) = track.source_mut(arrived.ssrc) else {
            return;
        };
        let grown = source.read(arrived, now);
        if arrived.content.starts {
            source.asks.came();
            tracing::debug!(track = %track.sid, ssrc = %*arrived.ssrc, "key frame");
        }
        if grown {
            // Before the first picture is sent on: not everybody wants all of it.
            self.retarget(key, now);
        }
    }

    /// Chooses the sources of a track's subscribers again, and asks for the key frames they wait for.
    pub(super) fn retarget(&mut self, key: TrackKey, now: Instant) {
        let Some(track) = self.tracks.get(key).filter(|track| track.is_open()) else {
            return;
        };
        let live = track.live_sources(now);
        let mut awaited: Vec<Ssrc> = Vec::new();
        for subscription in &track.subscriptions {
            let Some(subscription) = self.subscriptions.get_mut(*subscription) else {
                continue;
            };
            let exit = subscription.exit.map(|exit| exit.transport);
            let transport = exit.and_then(|exit| self.transports.get(exit));
            // A key frame sent now would be lost, and the next one is not soon.
            if !transport.is_some_and(|transport| transport.connected) {
                continue;
            }
            if let Some(ssrc) = subscription.retarget(&track.layers, &live, now)
                && !awaited.contains(&ssrc)
            {
                awaited.push(ssrc);
            }
        }
        for ssrc in awaited {
            self.ask_keyframe(key, ssrc, now);
        }
    }

    /// Chooses the source of one subscription again.
    pub(super) fn retarget_one(&mut self, key: SubscriptionKey, now: Instant) {
        let Some(subscription) = self.subscriptions.get_mut(key) else {
            return;
        };
        let track_key = subscription.track;
        let Some(track) = self.tracks.get(track_key).filter(|track| track.is_open()) else {
            return;
        };
        let awaited = subscription.retarget(&track.layers, &track.live_sources(now), now);
        if let Some(ssrc) = awaited {
            self.ask_keyframe(track_key, ssrc, now);
        }
    }

    /// Subscribers can be sent to: the key frames that they need are of use from now on.
    pub(super) fn retarget_of(&mut self, transport: TransportKey, now: Instant) {
        let owner = self.transports.get(transport).map(|found| found.owner);
        let Some(participant) = owner.and_then(|owner| self.participants.get(owner)) else {
            return;
        };
        let tracks = participant.subscriptions.iter().filter_map(|key| {
            let subscription = self.subscriptions.get(*key)?;
            let exit = subscription.exit.as_ref()?;
            (exit.transport == transport).then_some(subscription.track)
        });
        for track in tracks.collect::<Vec<_>>() {
            self.retarget(track, now);
        }
    }

    /// A subscriber lost its picture.
    pub(super) fn keyframe_wanted(&mut self, key: SubscriptionKey, now: Instant) {
        let Some(subscription) = self.subscriptions.get(key) else {
            return;
        };
        if let Some(ssrc) = subscription.watched() {
            self.ask_keyframe(subscription.track, ssrc, now);
        }
    }

    /// Asks a publisher for a key frame, but not too often.
    pub(super) fn ask_keyframe(&mut self, key: TrackKey, ssrc: Ssrc, now: Instant) {
        let Some(track) = self.tracks.get_mut(key) else {
            return;
        };
        let transport = track.transport;
        // Never for long: a client that does not connect is given up.
        let connects = |subscription: &SubscriptionKey| {
            let exit = self
                .subscriptions
                .get(*subscription)
                .and_then(|one| one.exit);
            let transport = exit.and_then(|exit| self.transports.get(exit.transport));
            transport.is_some_and(|transport| !transport.connected)
        };
        let more_come = || track.subscriptions.iter().any(connects);
        let source = track.sources.iter_mut().find(|source| source.ssrc == ssrc);
        let Some(source) = source else {
            return;
        };
        if !source.asks.may_ask(more_come, now) {
            return;
        }
        tracing::debug!(track = %track.sid, ssrc = %*ssrc, "key frame asked for");
        if let Origin::Elsewhere(import) = &track.origin {
            self.relays
                .ask_keyframe(import.peer, track.sid.clone(), ssrc);
        } else if let Some(transport) = transport {
            self.outbox.counters.keyframes_out += 1;
            self.change(transport, now, |rtc| {
                if let Some(stream) = rtc.direct_api().stream_rx(&ssrc) {
                    stream.request_keyframe(KeyframeRequestKind::Pli);
                }
            });
        }
    }
}

fn params_of(rtc: &Rtc, pt: Pt) -> Option<PayloadParams> {
    rtc.codec_config()
        .params()
        .iter()
        .find(|params| params.pt() == pt)
        .copied()
}
