//! Data packets from one participant to the others of its room.

use super::channels::{Label, Message, Written, write};
use super::data_packet::{Destinations, MAX_DATA_PACKET, Relayed, Stamp, read, stamp};
use super::recent::{KEPT_FOR, Packet};
use super::relay_message::{RelayedData, Word};
use super::room::Participant;
use super::{Engine, ParticipantKey, RoomKey, TransportKey};
use proto::id::{ParticipantSid, RoomSid};
use proto::media::{CarriedData, PeerMode};
use std::time::{Duration, Instant};

/// Most packets taken from one [`NodeCommand::Deliver`](proto::media::NodeCommand::Deliver): twice
/// what a node remembers. More are counted and dropped.
const MAX_DELIVERY: usize = 2 * super::recent::MAX_PACKETS;

/// Who sent a packet, and when it was taken.
struct Origin {
    room: RoomKey,
    from: ParticipantSid,
    /// It names its sender, and has a sequence: receivers notice if they get it twice.
    repeatable: bool,
    at: Instant,
}

impl Engine {
    /// A message came in on a data channel.
    pub(super) fn relay(&mut self, from: TransportKey, label: Label, data: &[u8], now: Instant) {
        let relayed = self
            .transports
            .get(from)
            .map(|transport| transport.owner)
            .and_then(|sender| self.admit(sender, label, data, now));
        match relayed {
            Some((origin, relayed)) => {
                self.relay_data(&origin, label, &relayed);
                self.spread(origin, label, relayed, now);
            }
            None => self.outbox.counters.strays += 1,
        }
    }

    /// The packet as the others get it, `None` if they do not.
    fn admit(
        &mut self,
        sender: ParticipantKey,
        label: Label,
        data: &[u8],
        now: Instant,
    ) -> Option<(Origin, Relayed)> {
        let participant = self.participants.get_mut(sender)?;
        if !participant.permission.publish_data || data.len() > MAX_DATA_PACKET {
            return None;
        }
        let mut origin = Origin {
            room: participant.room,
            from: participant.sid.clone(),
            repeatable: false,
            at: now,
        };
        if label == Label::DataTrack {
            let relayed = Relayed {
                bytes: data.to_vec(),
                sequence: 0,
                destinations: Destinations::default(),
            };
            return Some((origin, relayed));
        }
        let who = if participant.hidden {
            Stamp::NOBODY
        } else {
            Stamp {
                identity: participant.identity.as_str(),
                sid: participant.sid.as_str(),
            }
        };
        let relayed = stamp(data, who)
            .inspect_err(|problem| {
                tracing::debug!(participant = %participant.sid, %problem, "data packet refused");
            })
            .ok()?;
        if label == Label::Reliable && relayed.sequence != 0 {
            // After a resume the client repeats what it does not know to have arrived.
            if relayed.sequence <= participant.last_data_sequence {
                return None;
            }
            participant.last_data_sequence = relayed.sequence;
            participant.last_spread_sequence = relayed.sequence;
            origin.repeatable = !participant.hidden;
        }
        Some((origin, relayed))
    }

    /// Packets that another node took before the room came here.
    pub(super) fn deliver(&mut self, room: &RoomSid, data: Vec<CarriedData>, now: Instant) {
        let room = self.rooms_by_sid.get(room).copied();
        let surplus = data.len().saturating_sub(MAX_DELIVERY);
        self.outbox.counters.strays += surplus as u64;
        for carried in data.into_iter().take(MAX_DELIVERY) {
            let taken = room.and_then(|room| self.deliver_one(room, carried, now));
            self.outbox.counters.strays += u64::from(taken.is_none());
        }
    }

    /// `None` if the packet makes no sense.
    fn deliver_one(&mut self, room: RoomKey, carried: CarriedData, now: Instant) -> Option<()> {
        let relayed = read(carried.packet).ok()?;
        if relayed.sequence == 0 || relayed.sequence != carried.sequence {
            return None;
        }
        let age = Duration::from_millis(carried.age_ms.into());
        if age > KEPT_FOR {
            // Receivers may have forgotten that they have it.
            return Some(());
        }
        let sender = self.participants_by_sid.get(&carried.from).copied();
        let sender = sender.and_then(|sender| self.participants.get_mut(sender));
        if let Some(sender) = sender {
            if sender.room != room || sender.hidden {
                return None;
            }
            if carried.sequence <= sender.last_spread_sequence {
                return Some(());
            }
            sender.last_spread_sequence = carried.sequence;
            sender.last_data_sequence = sender.last_data_sequence.max(carried.sequence);
        } else {
            // It has left since; what it said last still counts.
            let last = self.rooms.get(room)?.recent.last_of(&carried.from, now);
            if last.is_some_and(|last| carried.sequence <= last) {
                return Some(());
            }
        }
        let origin = Origin {
            room,
            from: carried.from,
            repeatable: true,
            at: now.checked_sub(age).unwrap_or(now),
        };
        self.spread(origin, Label::Reliable, relayed, now);
        Some(())
    }

    /// A packet of a participant of another member.
    pub(super) fn take_relayed(&mut self, data: RelayedData, now: Instant) {
        let taken = self.take_relayed_one(data, now);
        self.outbox.counters.strays += u64::from(taken.is_none());
    }

    /// `None` if the packet makes no sense.
    fn take_relayed_one(&mut self, data: RelayedData, now: Instant) -> Option<()> {
        let room = self.rooms_by_sid.get(&data.room).copied()?;
        let relayed = match data.label {
            Label::DataTrack => Relayed {
                bytes: data.bytes.to_vec(),
                sequence: 0,
                destinations: Destinations::default(),
            },
            Label::Reliable | Label::Lossy => read(data.bytes.to_vec()).ok()?,
        };
        if data.repeatable {
            let carried = CarriedData {
                from: data.from,
                sequence: relayed.sequence,
                age_ms: 0,
                packet: relayed.bytes,
            };
            return self.deliver_one(room, carried, now);
        }
        let origin = Origin {
            room,
            from: data.from,
            repeatable: false,
            at: now,
        };
        self.spread(origin, data.label, relayed, now);
        Some(())
    }

    /// Hands a packet to the other members of the room.
    fn relay_data(&mut self, origin: &Origin, label: Label, relayed: &Relayed) {
        let Some(room) = self.rooms.get(origin.room) else {
            return;
        };
        if room.others.is_empty() {
            return;
        }
        let data = RelayedData {
            room: room.sid.clone(),
            from: origin.from.clone(),
            label,
            repeatable: origin.repeatable,
            bytes: relayed.bytes.as_slice().into(),
        };
        for other in &room.others {
            self.relays.say(*other, Word::Data(data.clone()));
        }
    }

    fn spread(&mut self, origin: Origin, label: Label, relayed: Relayed, now: Instant) {
        let Some(room) = self.rooms.get_mut(origin.room) else {
            return;
        };
        let Relayed {
            bytes,
            sequence,
            destinations,
        } = relayed;
        let message = if label == Label::Reliable {
            room.recent.message(bytes.into())
        } else {
            Message {
                serial: 0,
                bytes: bytes.into(),
            }
        };
        let meant = |key: &&ParticipantKey| {
            self.participants
                .get(**key)
                .is_some_and(|other| other.is_meant(&origin.from, sequence, &destinations))
        };
        let receivers: Vec<ParticipantKey> =
            room.participants.iter().filter(meant).copied().collect();
        if label == Label::Reliable && origin.repeatable {
            let packet = Packet {
                message: message.clone(),
                from: origin.from,
                sequence,
                destinations,
                at: origin.at,
            };
            room.recent.push(packet, now);
        }
        for receiver in receivers {
            self.hand(receiver, label, &message, now);
        }
    }

    /// What a resuming participant may have missed, in order.
    pub(super) fn missed(&self, owner: ParticipantKey, now: Instant) -> Vec<Message> {
        let Some(participant) = self.participants.get(owner) else {
            return Vec::new();
        };
        let Some(room) = self.rooms.get(participant.room) else {
            return Vec::new();
        };
        let meant = |packet: &&Packet| {
            participant.is_meant(&packet.from, packet.sequence, &packet.destinations)
        };
        let missed = room.recent.young(now).filter(meant);
        missed.map(|packet| packet.message.clone()).collect()
    }

    /// A client opened its reliable channel for the first time: whoever greets it as soon as it is in
    /// the room is heard, which no LiveKit server promises.
    pub(super) fn catch_up(&mut self, key: TransportKey, now: Instant) {
        let Some(owner) = self.transports.get(key).map(|transport| transport.owner) else {
            return;
        };
        let participant = self.participants.get(owner);
        if participant.and_then(Participant::receiving) != Some(key) {
            return;
        }
        let missed = self.missed(owner, now).into_iter();
        if let Some(transport) = self.transports.get_mut(key) {
            transport.channels.merge(missed);
        }
    }

    fn hand(&mut self, receiver: ParticipantKey, label: Label, message: &Message, now: Instant) {
        let Some(other) = self.participants.get_mut(receiver) else {
            return;
        };
        if let Some(transport) = other.receiving() {
            self.send(transport, label, message, now);
        } else if label == Label::Reliable {
            // The transport is lost; the client may resume.
            let channels = &mut other.kept.channels;
            if channels.is_expected() && !channels.push_backlog(message) {
                self.outbox.counters.strays += 1;
            }
        }
    }

    fn send(&mut self, to: TransportKey, label: Label, message: &Message, now: Instant) {
        let fenced = self.is_fenced(now);
        let Some(transport) = self.transports.get_mut(to) else {
            return;
        };
        let reliable = label == Label::Reliable;
        let written = match transport.channels.id_of(label) {
            Some(_) if reliable && transport.channels.has_backlog() => Written::Full,
            Some(_) if fenced => Written::Full,
            Some(id) => transport
                .call(|rtc| write(rtc, id, &message.bytes))
                .unwrap_or(Written::Never),
            // Resuming: the channel is about to open.
            None if reliable && transport.channels.is_expected() => Written::Full,
            // Reliable packets are looked up when the channel opens.
            None => return,
        };
        let served = match written {
            Written::Yes => true,
            Written::Full => reliable && transport.channels.push_backlog(message),
            Written::Never => false,
        };
        if !served {
            self.outbox.counters.strays += 1;
        }
        self.drain(to, now);
    }

    /// Writes what waited for room.
    pub(super) fn flush_backlog(&mut self, key: TransportKey, now: Instant) {
        if self.is_fenced(now) {
            return;
        }
        loop {
            let Some(transport) = self.transports.get_mut(key) else {
                return;
            };
            let Some(id) = transport.channels.id_of(Label::Reliable) else {
                return;
            };
            let Some(packet) = transport.channels.front() else {
                return;
            };
            let written = transport
                .call(|rtc| write(rtc, id, &packet))
                .unwrap_or(Written::Never);
            if written != Written::Full {
                transport.channels.pop_front();
            }
            // One that can never be written must not stop those behind it.
            self.outbox.counters.strays += u64::from(written == Written::Never);
            self.drain(key, now);
            if written == Written::Full {
                return;
            }
        }
    }
}

impl Participant {
    /// The connection that its data leaves by.
    fn receiving(&self) -> Option<TransportKey> {
        match self.mode {
            PeerMode::Single => self.publisher,
            PeerMode::Dual if self.permission.subscribe => self.subscriber,
            // Without the permission the client has no subscriber connection.
            PeerMode::Dual => self.publisher,
        }
    }

    /// True if this participant shall get a packet of another one.
    fn is_meant(&self, from: &ParticipantSid, sequence: u32, destinations: &Destinations) -> bool {
        let heard = || {
            self.joined_after
                .get(from)
                .is_none_or(|last| sequence > *last)
        };
        !self.guest
            && self.sid != *from
            && destinations.include(self.identity.as_str(), self.sid.as_str())
            && (sequence == 0 || heard())
    }
}
