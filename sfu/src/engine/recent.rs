//! The reliable data packets that went to a room lately, for participants that may have missed them
//! while they resumed. A record without transports.
//!
//! An SCTP association that is replaced takes what was not acknowledged with it, and nobody can ask
//! it what that was. So everything of the last seconds is sent again: clients drop what they have by
//! sender and sequence. They have done so since June 2025 (protocol 16), and clients that resume on
//! a fresh connection (`/rtc/v1`) are younger than that.

use super::channels::Message;
use super::data_packet::Destinations;
use proto::id::ParticipantSid;
use proto::media::CarriedData;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a packet is kept: a resume takes a second or two. Clients remember for 30 s what they
/// have.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(10);
/// Most packets kept per room. The oldest are forgotten.
pub(super) const MAX_PACKETS: usize = 512;
/// Most bytes kept per room. The oldest packets are forgotten.
const MAX_BYTES: usize = 1024 * 1024;

/// A packet that went to the room.
pub(super) struct Packet {
    pub(super) message: Message,
    pub(super) from: ParticipantSid,
    pub(super) sequence: u32,
    pub(super) destinations: Destinations,
    /// When the first node took it.
    pub(super) at: Instant,
}

impl Packet {
    /// For another node.
    fn carried(&self, now: Instant) -> CarriedData {
        let age = now.saturating_duration_since(self.at).as_millis();
        CarriedData {
            from: self.from.clone(),
            sequence: self.sequence,
            age_ms: u32::try_from(age).unwrap_or(u32::MAX),
            packet: self.message.bytes.to_vec(),
        }
    }
}

/// The recent packets of a room, oldest first.
#[derive(Default)]
pub(super) struct Recent {
    packets: VecDeque<Packet>,
    bytes: usize,
    last_serial: u64,
    /// The last serial when the room was exported.
    exported: u64,
}

impl Recent {
    /// Gives a packet its place in the order of the room.
    pub(super) fn message(&mut self, bytes: Arc<[u8]>) -> Message {
        self.last_serial += 1;
        Message {
            serial: self.last_serial,
            bytes,
        }
    }

    /// Remembers a packet.
    pub(super) fn push(&mut self, packet: Packet, now: Instant) {
        self.bytes += packet.message.bytes.len();
        self.packets.push_back(packet);
        let over = |recent: &Self| {
            recent.packets.len() > MAX_PACKETS
                || recent.bytes > MAX_BYTES
                || recent
                    .packets
                    .front()
                    .is_some_and(|oldest| !is_young(oldest, now))
        };
        while over(self) {
            let Some(oldest) = self.packets.pop_front() else {
                return;
            };
            self.bytes -= oldest.message.bytes.len();
        }
    }

    /// The packets that are not too old.
    pub(super) fn young(&self, now: Instant) -> impl Iterator<Item = &Packet> {
        let young = move |packet: &&Packet| is_young(packet, now);
        self.packets.iter().filter(young)
    }

    /// By sender, the last sequence.
    pub(super) fn last_sequences(&self, now: Instant) -> BTreeMap<ParticipantSid, u32> {
        let mut last = BTreeMap::new();
        for packet in self.young(now) {
            last.insert(packet.from.clone(), packet.sequence);
        }
        last
    }

    /// The last sequence of this sender.
    pub(super) fn last_of(&self, from: &ParticipantSid, now: Instant) -> Option<u32> {
        let mut newest_first = self.packets.iter().rev();
        let last = newest_first.find(|packet| packet.from == *from && is_young(packet, now));
        last.map(|packet| packet.sequence)
    }

    /// Everything, for another node. What comes later is asked for by [`Recent::since_export`].
    pub(super) fn export(&mut self, now: Instant) -> Vec<CarriedData> {
        self.exported = self.last_serial;
        self.young(now).map(|packet| packet.carried(now)).collect()
    }

    /// What came from this participant since the export.
    pub(super) fn since_export(&self, from: &ParticipantSid, now: Instant) -> Vec<CarriedData> {
        self.young(now)
            .filter(|packet| packet.message.serial > self.exported && packet.from == *from)
            .map(|packet| packet.carried(now))
            .collect()
    }
}

fn is_young(packet: &Packet, now: Instant) -> bool {
    now.saturating_duration_since(packet.at) <= KEPT_FOR
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(recent: &mut Recent, from: &str, sequence: u32, bytes: usize, now: Instant) {
        let message = recent.message(vec![0; bytes].into());
        let packet = Packet {
            message,
            from: ParticipantSid::new(from),
            sequence,
            destinations: Destinations::default(),
            at: now,
        };
        recent.push(packet, now);
    }

    fn sequences(packets: &[CarriedData]) -> Vec<u32> {
        packets.iter().map(|packet| packet.sequence).collect()
    }

    #[test]
    fn packets_are_bounded_in_number_bytes_and_age() {
        let now = Instant::now();
        let mut recent = Recent::default();
        for sequence in 1..=600 {
            push(&mut recent, "PA_1", sequence, 10, now);
        }
        assert_eq!(recent.packets.len(), MAX_PACKETS);
        assert_eq!(recent.packets[0].sequence, 600 - 511);
        assert_eq!(recent.bytes, MAX_PACKETS * 10);
        for sequence in 601..=620 {
            push(&mut recent, "PA_1", sequence, 64 * 1024, now);
        }
        assert_eq!(recent.packets.len(), 16);
        assert_eq!(recent.bytes, MAX_BYTES);
        let later = now + KEPT_FOR + Duration::from_millis(1);
        assert_eq!(recent.young(later).count(), 0);
        push(&mut recent, "PA_1", 621, 1, later);
        assert_eq!((recent.packets.len(), recent.bytes), (1, 1));
    }

    #[test]
    fn an_export_has_everything_and_what_follows_is_told_by_sender() {
        let now = Instant::now();
        let mut recent = Recent::default();
        push(&mut recent, "PA_1", 1, 1, now);
        push(&mut recent, "PA_2", 7, 1, now);
        assert_eq!(sequences(&recent.export(now)), [1, 7]);
        push(&mut recent, "PA_1", 2, 1, now);
        push(&mut recent, "PA_2", 8, 1, now);
        push(&mut recent, "PA_1", 3, 1, now);
        let later = now + Duration::from_millis(40);
        let since = recent.since_export(&ParticipantSid::new("PA_1"), later);
        assert_eq!(sequences(&since), [2, 3]);
        assert_eq!(since[0].age_ms, 40);
        let last = recent.last_sequences(now);
        assert_eq!(last[&ParticipantSid::new("PA_1")], 3);
        assert_eq!(last[&ParticipantSid::new("PA_2")], 8);
        let last_of = |from| recent.last_of(&ParticipantSid::new(from), now);
        assert_eq!((last_of("PA_2"), last_of("PA_3")), (Some(8), None));
    }
}
