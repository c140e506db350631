//! Data packets on `_reliable` and `_lossy`.

use super::Session;
use crate::event::{DataKind, SessionEvent};
use crate::options::Connection;
use livekit_protocol as lk;
use prost::Message as _;
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;
use str0m::channel::{ChannelData, ChannelId};
use thiserror::Error;

/// Longest data packet that is sent, bytes. LiveKit's clients split longer ones before they are
/// packets.
const PACKET_BYTES_MAX: usize = 64_000;

/// Reliable packets that are kept to be sent again when a session resumes. Beyond: the oldest are
/// forgotten, and lost if they were under way.
const KEPT_PACKETS_MAX: usize = 256;
/// Of these, bytes.
const KEPT_BYTES_MAX: usize = 1024 * 1024;
/// Senders whose last reliable packet is remembered. Beyond: theirs may come twice.
const SENDERS_MAX: usize = 4096;

/// Why a data packet was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DataError {
    /// Media is not connected yet.
    #[error("the data channel is not open")]
    NotOpen,
    /// The server takes data more slowly than it is written.
    #[error("the data channel is full: write more slowly")]
    Full,
    /// More than 64,000 bytes.
    #[error("the data packet has more than 64,000 bytes: split it")]
    TooLong,
}

#[derive(Clone, Copy)]
struct OpenChannel {
    connection: Connection,
    id: ChannelId,
    /// As SCTP numbers it.
    stream: u16,
    kind: DataKind,
}

#[derive(Default)]
pub(super) struct DataChannels {
    /// At most two for each connection: others are not looked at.
    open: Vec<OpenChannel>,
    /// Of the last reliable packet (`DataPacket.sequence`).
    sequence: u32,
    /// Reliable packets that the server may not have, with their sequences.
    kept: VecDeque<(u32, Vec<u8>)>,
    kept_bytes: usize,
    /// They wait for the channel of a resumed session.
    repeats: bool,
    /// Of each sender (`PA_...`), the last reliable packet.
    received: BTreeMap<String, u32>,
}

impl DataChannels {
    pub(super) fn close(&mut self, connection: Connection, id: ChannelId) {
        self.open
            .retain(|open| (open.connection, open.id) != (connection, id));
    }

    /// The channels on which we send, as SCTP numbers them.
    pub(super) fn channels(&self) -> Vec<(DataKind, u16)> {
        let open = self.open.iter();
        let ours = open.filter(|open| open.connection == Connection::Publisher);
        ours.map(|open| (open.kind, open.stream)).collect()
    }

    /// The publisher's connection is another one.
    pub(super) fn forget_publisher(&mut self) {
        self.open
            .retain(|open| open.connection != Connection::Publisher);
    }

    pub(super) fn to_wire(&self) -> Vec<lk::DataChannelInfo> {
        let to_wire = |open: &OpenChannel| lk::DataChannelInfo {
            label: open.kind.label().to_owned(),
            id: open.stream.into(),
            target: match open.connection {
                Connection::Publisher => lk::SignalTarget::Publisher.into(),
                Connection::Subscriber => lk::SignalTarget::Subscriber.into(),
            },
        };
        self.open.iter().map(to_wire).collect()
    }

    pub(super) fn received_to_wire(&self) -> Vec<lk::DataChannelReceiveState> {
        let to_wire = |(sender, last): (&String, &u32)| lk::DataChannelReceiveState {
            publisher_sid: sender.clone(),
            last_seq: *last,
        };
        self.received.iter().map(to_wire).collect()
    }

    /// The server has everything up to this one.
    pub(super) fn handle_acknowledged(&mut self, last: u32) {
        while let Some((sequence, bytes)) = self.kept.front()
            && *sequence <= last
        {
            self.kept_bytes -= bytes.len();
            self.kept.pop_front();
        }
        self.repeats = true;
    }

    fn keep(&mut self, sequence: u32, bytes: Vec<u8>) {
        self.kept_bytes += bytes.len();
        self.kept.push_back((sequence, bytes));
        while self.kept.len() > KEPT_PACKETS_MAX || self.kept_bytes > KEPT_BYTES_MAX {
            let Some((_, oldest)) = self.kept.pop_front() else {
                return;
            };
            self.kept_bytes -= oldest.len();
        }
    }

    /// A reliable packet came; whether it is the first time. A resumed session may bring some twice.
    fn is_new(&mut self, packet: &lk::DataPacket) -> bool {
        let (sender, sequence) = (&packet.participant_sid, packet.sequence);
        if sequence == 0 || sender.is_empty() {
            return true;
        }
        let known_senders = self.received.len();
        match self.received.get_mut(sender) {
            Some(last) if sequence <= *last => return false,
            Some(last) => *last = sequence,
            None if known_senders < SENDERS_MAX => {
                self.received.insert(sender.clone(), sequence);
            }
            None => {}
        }
        true
    }

    fn kind(&self, connection: Connection, id: ChannelId) -> Option<DataKind> {
        let mut open = self.open.iter();
        let found = open.find(|open| (open.connection, open.id) == (connection, id));
        Some(found?.kind)
    }

    /// Clients send on the connection on which they publish.
    fn sending(&self, kind: DataKind) -> Option<ChannelId> {
        let mut open = self.open.iter();
        let sends =
            |open: &&OpenChannel| open.connection == Connection::Publisher && open.kind == kind;
        Some(open.find(sends)?.id)
    }
}

impl Session {
    /// Sends a user's message to `destinations` (identities), or to everybody if there are none.
    ///
    /// # Errors
    /// It was not sent.
    pub fn send_message(
        &mut self,
        kind: DataKind,
        payload: Vec<u8>,
        destinations: &[&str],
        now: Instant,
    ) -> Result<(), DataError> {
        let packet = lk::DataPacket {
            destination_identities: destinations.iter().map(|&to| to.to_owned()).collect(),
            value: Some(lk::data_packet::Value::User(lk::UserPacket {
                payload,
                ..lk::UserPacket::default()
            })),
            ..lk::DataPacket::default()
        };
        self.send_data(kind, packet, now)
    }

    /// Sends a data packet. With two connections the first attempt only opens the channel:
    /// [`SessionEvent::DataOpen`].
    ///
    /// # Errors
    /// It was not sent.
    pub fn send_data(
        &mut self,
        kind: DataKind,
        mut packet: lk::DataPacket,
        now: Instant,
    ) -> Result<(), DataError> {
        let waits = self.data.repeats && kind == DataKind::Reliable;
        let open = self.data.sending(kind);
        let Some(id) = open.filter(|_| self.end.is_none() && !waits) else {
            self.negotiation.want();
            self.offer(now);
            return Err(DataError::NotOpen);
        };
        #[expect(deprecated, reason = "older clients and servers read it")]
        match kind {
            DataKind::Reliable => {
                packet.kind = lk::data_packet::Kind::Reliable.into();
                packet.sequence = self.data.sequence.wrapping_add(1);
            }
            DataKind::Lossy => packet.kind = lk::data_packet::Kind::Lossy.into(),
        }
        let bytes = packet.encode_to_vec();
        if bytes.len() > PACKET_BYTES_MAX {
            return Err(DataError::TooLong);
        }
        let written = self.publisher.call(|rtc| {
            let channel = rtc.channel(id);
            let mut channel = channel.ok_or_else(|| "the channel is closed".to_owned())?;
            channel.write(true, &bytes).map_err(super::peer::text)
        });
        match written {
            Ok(true) => {}
            Ok(false) => return Err(DataError::Full),
            Err(_) => return Err(DataError::NotOpen),
        }
        if kind == DataKind::Reliable {
            self.data.sequence = packet.sequence;
            if self.options.resume_attempts > 0 {
                self.data.keep(packet.sequence, bytes);
            }
        }
        self.drain(Connection::Publisher, now);
        Ok(())
    }

    pub(super) fn handle_channel_open(
        &mut self,
        connection: Connection,
        id: ChannelId,
        label: &str,
        now: Instant,
    ) {
        let Some(kind) = DataKind::of_label(label) else {
            return;
        };
        // Closed again meanwhile: it opens once more, or never.
        let stream = self.peer_mut(connection).and_then(|peer| {
            let stream = |rtc: &mut str0m::Rtc| {
                let stream = rtc.direct_api().sctp_stream_id_by_channel_id(id);
                stream.ok_or_else(|| "no stream".to_owned())
            };
            peer.call(stream).ok()
        });
        let Some(stream) = stream else { return };
        let known = |open: &OpenChannel| (open.connection, open.kind) == (connection, kind);
        self.data.open.retain(|open| !known(open));
        self.data.open.push(OpenChannel {
            connection,
            id,
            stream,
            kind,
        });
        if connection == Connection::Publisher {
            self.out.say(SessionEvent::DataOpen(kind));
            self.repeat_data(now);
        }
    }

    /// Sends once more what the server did not have when the session resumed, as soon as there is a
    /// channel for it.
    pub(super) fn repeat_data(&mut self, now: Instant) {
        let open = self.data.sending(DataKind::Reliable);
        let Some(id) = open.filter(|_| self.data.repeats && !self.is_resuming()) else {
            return;
        };
        self.data.repeats = false;
        let kept = &self.data.kept;
        // What the channel does not take is lost: it is more than it can buffer.
        let _ = self.publisher.call(|rtc| {
            let channel = rtc.channel(id);
            let mut channel = channel.ok_or_else(|| "the channel is closed".to_owned())?;
            for (_, bytes) in kept {
                channel.write(true, bytes).map_err(super::peer::text)?;
            }
            Ok(())
        });
        self.drain(Connection::Publisher, now);
    }

    pub(super) fn handle_channel_data(&mut self, connection: Connection, data: &ChannelData) {
        let Some(kind) = self.data.kind(connection, data.id) else {
            return;
        };
        match lk::DataPacket::decode(data.data.as_slice()) {
            Ok(packet) if kind == DataKind::Reliable && !self.data.is_new(&packet) => {
                self.out.counters.repeated_data += 1;
            }
            Ok(packet) => self.out.say(SessionEvent::Data {
                kind,
                packet: Box::new(packet),
            }),
            Err(error) => tracing::debug!("a message is no data packet: {error}"),
        }
    }
}
