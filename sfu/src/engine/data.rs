//! Data packets from one participant to the others of its room.

use super::channels::{Label, Written, write};
use super::data_packet::{Destinations, MAX_DATA_PACKET, Relayed, Stamp, stamp};
use super::{Engine, ParticipantKey, TransportKey};
use proto::media::PeerMode;
use std::time::Instant;

impl Engine {
    /// A message came in on a data channel.
    pub(super) fn relay(&mut self, from: TransportKey, label: Label, data: &[u8], now: Instant) {
        let relayed = self
            .transports
            .get(from)
            .map(|transport| transport.owner)
            .and_then(|sender| Some((sender, self.admit(sender, label, data)?)));
        match relayed {
            Some((sender, relayed)) => self.spread(sender, label, &relayed, now),
            None => self.outbox.counters.strays += 1,
        }
    }

    /// The packet as the others get it, `None` if they do not.
    fn admit(&mut self, sender: ParticipantKey, label: Label, data: &[u8]) -> Option<Relayed> {
        let participant = self.participants.get_mut(sender)?;
        if !participant.permission.publish_data || data.len() > MAX_DATA_PACKET {
            return None;
        }
        if label == Label::DataTrack {
            return Some(Relayed {
                bytes: data.to_vec(),
                sequence: 0,
                destinations: Destinations::default(),
            });
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
        }
        Some(relayed)
    }

    fn spread(&mut self, sender: ParticipantKey, label: Label, relayed: &Relayed, now: Instant) {
        let room = self.participants.get(sender).map(|sender| sender.room);
        let Some(room) = room.and_then(|room| self.rooms.get(room)) else {
            return;
        };
        let others = room.participants.iter().filter(|key| **key != sender);
        let meant = |key: &&ParticipantKey| {
            self.participants.get(**key).is_some_and(|other| {
                let (identity, sid) = (other.identity.as_str(), other.sid.as_str());
                relayed.destinations.include(identity, sid)
            })
        };
        let receivers: Vec<ParticipantKey> = others.filter(meant).copied().collect();
        for receiver in receivers {
            self.hand(receiver, label, &relayed.bytes, now);
        }
    }

    fn hand(&mut self, receiver: ParticipantKey, label: Label, packet: &[u8], now: Instant) {
        let Some(other) = self.participants.get_mut(receiver) else {
            return;
        };
        let transport = match other.mode {
            PeerMode::Single => other.publisher,
            PeerMode::Dual if other.permission.subscribe => other.subscriber,
            // Without the permission the client has no subscriber connection.
            PeerMode::Dual => other.publisher,
        };
        if let Some(transport) = transport {
            self.send(transport, label, packet, now);
        } else if label == Label::Reliable {
            // The transport is lost; the client may resume.
            let channels = &mut other.kept.channels;
            if channels.is_expected() && !channels.push_backlog(packet) {
                self.outbox.counters.strays += 1;
            }
        }
    }

    fn send(&mut self, to: TransportKey, label: Label, packet: &[u8], now: Instant) {
        let Some(transport) = self.transports.get_mut(to) else {
            return;
        };
        let reliable = label == Label::Reliable;
        let written = match transport.channels.id_of(label) {
            Some(_) if reliable && transport.channels.has_backlog() => Written::Full,
            Some(id) => transport
                .call(|rtc| write(rtc, id, packet))
                .unwrap_or(Written::Never),
            // Resuming: the channel is about to open.
            None if reliable && transport.channels.is_expected() => Written::Full,
            // A client that has not opened the channel yet gets nothing, as from any LiveKit server.
            None => return,
        };
        let served = match written {
            Written::Yes => true,
            Written::Full => reliable && transport.channels.push_backlog(packet),
            Written::Never => false,
        };
        if !served {
            self.outbox.counters.strays += 1;
        }
        self.drain(to, now);
    }

    /// Writes what waited for room.
    pub(super) fn flush_backlog(&mut self, key: TransportKey, now: Instant) {
        loop {
            let Some(transport) = self.transports.get_mut(key) else {
                return;
            };
            let Some(id) = transport.channels.id_of(Label::Reliable) else {
                return;
            };
            let Some(packet) = transport.channels.front().map(<[u8]>::to_vec) else {
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
