//! Data packets on `_reliable` and `_lossy`.

use super::Session;
use crate::event::{DataKind, SessionEvent};
use crate::options::Connection;
use livekit_protocol as lk;
use prost::Message as _;
use std::time::Instant;
use str0m::channel::{ChannelData, ChannelId};
use thiserror::Error;

/// Longest data packet that is sent, bytes. LiveKit's clients split longer ones before they are
/// packets.
const PACKET_BYTES_MAX: usize = 64_000;

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
    kind: DataKind,
}

#[derive(Default)]
pub(super) struct DataChannels {
    /// At most two for each connection: others are not looked at.
    open: Vec<OpenChannel>,
    /// Of the last reliable packet (`DataPacket.sequence`).
    sequence: u32,
}

impl DataChannels {
    pub(super) fn close(&mut self, connection: Connection, id: ChannelId) {
        self.open
            .retain(|open| (open.connection, open.id) != (connection, id));
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
        let Some(id) = self.data.sending(kind).filter(|_| self.end.is_none()) else {
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
        }
        self.drain(Connection::Publisher, now);
        Ok(())
    }

    pub(super) fn handle_channel_open(
        &mut self,
        connection: Connection,
        id: ChannelId,
        label: &str,
    ) {
        let Some(kind) = DataKind::of_label(label) else {
            return;
        };
        let known = |open: &OpenChannel| (open.connection, open.kind) == (connection, kind);
        self.data.open.retain(|open| !known(open));
        self.data.open.push(OpenChannel {
            connection,
            id,
            kind,
        });
        if connection == Connection::Publisher {
            self.out.say(SessionEvent::DataOpen(kind));
        }
    }

    pub(super) fn handle_channel_data(&mut self, connection: Connection, data: &ChannelData) {
        let Some(kind) = self.data.kind(connection, data.id) else {
            return;
        };
        match lk::DataPacket::decode(data.data.as_slice()) {
            Ok(packet) => self.out.say(SessionEvent::Data {
                kind,
                packet: Box::new(packet),
            }),
            Err(error) => tracing::debug!("a message is no data packet: {error}"),
        }
    }
}
