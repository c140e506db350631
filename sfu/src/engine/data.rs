//! Data packets from one participant to the others of its room.

use super::channels::{Label, write};
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
        let who = Stamp {
            identity: participant.identity.as_str(),
            sid: participant.sid.as_str(),
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
        let receivers: Vec<TransportKey> = room
            .participants
            .iter()
            .filter(|key| **key != sender)
            .filter_map(|key| self.participants.get(*key))
            .filter(|other| {
                relayed
                    .destinations
                    .include(other.identity.as_str(), other.sid.as_str())
            })
            .filter_map(|other| match other.mode {
                PeerMode::Single => other.publisher,
                PeerMode::Dual => other.subscriber,
            })
            .collect();
        for receiver in receivers {
            self.send(receiver, label, &relayed.bytes, now);
        }
    }

    fn send(&mut self, to: TransportKey, label: Label, packet: &[u8], now: Instant) {
        let Some(transport) = self.transports.get_mut(to) else {
            return;
        };
        // A client that has not opened the channel yet gets nothing, as from any LiveKit server.
        let Some(id) = transport.channels.id_of(label) else {
            return;
        };
        let reliable = label == Label::Reliable;
        let must_wait = reliable && transport.channels.has_backlog();
        let written = !must_wait
            && transport
                .call(|rtc| write(rtc, id, packet))
                .unwrap_or(false);
        let kept = written || (reliable && transport.channels.push_backlog(packet));
        if !kept {
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
                .unwrap_or(false);
            if written {
                transport.channels.pop_front();
            }
            self.drain(key, now);
            if !written {
                return;
            }
        }
    }
}
