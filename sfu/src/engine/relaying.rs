//! What goes to other members of a room and comes from them.
//!
//! Owns: the copies of a track's packets, one for each member that has asked, and the queue of what is to
//! leave. Must not: know how it gets there; the driver does.

use super::arrived::Arrived;
use super::peers::PeerId;
use super::relay_message::{RelayMessage, RelayedPacket, Request, Word};
use super::room::Track;
use super::{Engine, TrackKey};
use proto::id::{Member, RoomSid, TrackSid};
use proto::media::Quality;
use std::collections::{HashMap, VecDeque};
use std::time::Instant;
use str0m::rtp::Ssrc;

/// What is to leave, and what was asked for.
#[derive(Debug, Default)]
pub(super) struct Relays {
    /// Drained after each input, so never more than one of those causes.
    outbox: VecDeque<(PeerId, RelayMessage)>,
    /// What imported tracks are called.
    expected: HashMap<u32, TrackKey>,
    last_alias: u32,
    packets_out: u64,
}

impl Relays {
    pub(super) fn say(&mut self, to: PeerId, word: Word) {
        self.outbox.push_back((to, RelayMessage(word)));
    }

    pub(super) fn ask_keyframe(&mut self, peer: PeerId, track: TrackSid, ssrc: Ssrc) {
        let ssrc = *ssrc;
        self.say(peer, Word::Request(Request::Keyframe { track, ssrc }));
    }

    pub(super) fn next_alias(&mut self) -> u32 {
        self.last_alias = self.last_alias.wrapping_add(1);
        self.last_alias
    }

    pub(super) fn expect(&mut self, alias: u32, track: TrackKey) {
        self.expected.insert(alias, track);
    }

    pub(super) fn expected(&self, alias: u32) -> Option<TrackKey> {
        self.expected.get(&alias).copied()
    }

    pub(super) fn give_up(&mut self, alias: u32) {
        self.expected.remove(&alias);
    }

    /// Packets copied since start.
    pub(super) fn packets_out(&self) -> u64 {
        self.packets_out
    }

    /// Copies packets of a track for the members that have asked for it. No chains: what came from another
    /// member goes to nobody else.
    pub(super) fn copy(&mut self, track: &mut Track, packets: &[Arrived], now: Instant) {
        if track.exports.all().is_empty() || !track.is_own() {
            return;
        }
        // What is not sent is replaced by the nearest above, and a scalable stream goes as a whole.
        let live = track.live_sources(now);
        let sources = live.iter().filter_map(|live| track.source(live.ssrc));
        let least = sources.map(|source| source.quality).min();
        for packet in packets {
            let Some(quality) = track.source(packet.ssrc).map(|source| source.quality) else {
                continue;
            };
            for export in track.exports.all() {
                let best = export.best.map(|best| best.max(least.unwrap_or(best)));
                if best >= Some(quality) {
                    let copy = copy(packet, export.alias, quality);
                    let message = RelayMessage(Word::Packet(copy));
                    self.outbox.push_back((export.peer, message));
                    self.packets_out += 1;
                }
            }
            track.exports.keep(packet);
        }
    }
}

fn copy(packet: &Arrived, alias: u32, quality: Quality) -> RelayedPacket {
    RelayedPacket {
        alias,
        ssrc: packet.ssrc,
        quality,
        params: packet.params,
        sequence: packet.sequence,
        timestamp: packet.timestamp,
        marker: packet.marker,
        audio_level: packet.audio_level,
        orientation: packet.orientation,
        descriptor: packet.descriptor.clone(),
        payload: packet.payload.clone(),
    }
}

impl Engine {
    /// The next message for another member. Drain after [`Engine::poll_transmit`] has said `None`.
    pub fn poll_relay(&mut self) -> Option<(PeerId, RelayMessage)> {
        self.relays.outbox.pop_front()
    }

    /// Who is meant by a key.
    pub fn member(&self, peer: PeerId) -> Option<&Member> {
        self.peers.get(peer)
    }

    /// Takes a message of another member.
    pub fn handle_relay(&mut self, from: &Member, message: RelayMessage, now: Instant) {
        self.now = now;
        let Some(from) = self.peers.know(from) else {
            return;
        };
        match message.0 {
            Word::Packet(packet) => self.take_packet(from, &packet, now),
            Word::Data(data) => self.take_relayed(data, now),
            Word::Request(request) => self.take_request(from, request, now),
        }
        self.settle(now);
    }

    /// Who else has participants of a room.
    pub(super) fn set_members(&mut self, room: &RoomSid, members: &[Member]) {
        let others = members.iter().filter_map(|member| self.peers.know(member));
        let others: Vec<PeerId> = others.collect();
        let room = self.rooms_by_sid.get(room).copied();
        if let Some(room) = room.and_then(|room| self.rooms.get_mut(room)) {
            room.others = others;
        }
    }

    fn take_request(&mut self, from: PeerId, request: Request, now: Instant) {
        let sid = match &request {
            Request::Want { track, .. }
            | Request::Keyframe { track, .. }
            | Request::Missing { track, .. } => track,
        };
        let key = self.tracks_by_sid.get(sid).copied();
        let found = key.and_then(|key| Some((key, self.tracks.get_mut(key)?)));
        // It may have ended while the request was on its way.
        let Some((key, track)) = found.filter(|(_, track)| track.is_own()) else {
            return;
        };
        match request {
            Request::Want { alias, best, .. } => {
                track.exports.want(from, alias, best, now);
                self.say_wanted(key, now);
            }
            Request::Keyframe { ssrc, .. } => self.ask_keyframe(key, ssrc.into(), now),
            Request::Missing {
                ssrc, sequences, ..
            } => self.repeat_relayed(from, key, ssrc, &sequences),
        }
    }

    fn repeat_relayed(&mut self, to: PeerId, key: TrackKey, ssrc: u32, sequences: &[u64]) {
        if self.is_fenced(self.now) {
            return;
        }
        let Some(track) = self.tracks.get(key).filter(|track| track.is_open()) else {
            return;
        };
        let Some(alias) = track.exports.alias_of(to) else {
            return;
        };
        let quality = track.source(ssrc.into());
        let quality = quality.map_or(Quality::High, |source| source.quality);
        for sequence in sequences {
            if let Some(kept) = track.exports.kept(ssrc, *sequence) {
                let copy = copy(kept, alias, quality);
                self.relays.say(to, Word::Packet(copy));
            }
        }
    }
}
