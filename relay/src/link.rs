//! The traffic on a connection whose peer has proved itself.
//!
//! Messages go over one stream in each direction, four bytes of length (big-endian) before each.

use crate::fragments::{Assembler, Packed, Packer};
use crate::queue::{DatagramQueue, MessageQueue};
use crate::relay::{Deliver, Incoming};
use crate::shared::Shared;
use bytes::Bytes;
use proto::id::NodeId;
use quinn::{Connection, ReadExactError, RecvStream, SendDatagramError};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Longest message, bytes.
pub const MESSAGE_MAX: usize = 256 * 1024;
const LENGTH_BYTES: usize = 4;
/// Taken from a queue at once.
const BATCH: usize = 64;

/// A connection and what waits to go over it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) connection: Connection,
    pub(crate) datagrams: DatagramQueue,
    pub(crate) messages: MessageQueue,
    /// Too many messages: the connection is to be closed.
    pub(crate) overflowed: CancellationToken,
}

impl Link {
    pub(crate) fn new(connection: Connection) -> Self {
        Self {
            connection,
            datagrams: DatagramQueue::default(),
            messages: MessageQueue::default(),
            overflowed: CancellationToken::new(),
        }
    }
}

/// Why traffic in one direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With the connection.
    Lost,
    /// The peer does not keep to the protocol.
    Violation,
}

/// One side of a link's traffic.
#[derive(Clone)]
pub(crate) struct Traffic {
    pub(crate) peer: NodeId,
    pub(crate) link: Arc<Link>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) deliver: Deliver,
}

impl Traffic {
    /// Queue to network.
    pub(crate) async fn send_datagrams(self) -> Ended {
        let (mut batch, mut packer) = (Vec::with_capacity(BATCH), Packer::default());
        loop {
            self.link.datagrams.take(&mut batch, BATCH).await;
            // Looked at for each batch: it changes with the path's MTU.
            let Some(fits) = self.link.connection.max_datagram_size() else {
                return Ended::Violation;
            };
            for payload in batch.drain(..) {
                if self
                    .send_datagram(packer.pack(&payload, fits))
                    .await
                    .is_err()
                {
                    return Ended::Lost;
                }
            }
        }
    }

    /// Waits while quinn has too much of it: the rest is then dropped from our own queue.
    async fn send_datagram(&self, packed: Packed) -> Result<(), Ended> {
        let counters = &self.shared.counters;
        let sent = match packed {
            Packed::Whole(bytes) => self.link.connection.send_datagram_wait(bytes).await,
            Packed::Halves([first, second]) => {
                counters.datagrams_split.add(1);
                match self.link.connection.send_datagram_wait(first).await {
                    Ok(()) => self.link.connection.send_datagram_wait(second).await,
                    Err(error) => Err(error),
                }
            }
        };
        match sent {
            Ok(()) => counters.datagrams_out.add(1),
            // The MTU shrank since the size was asked for.
            Err(SendDatagramError::TooLarge) => counters.datagrams_dropped.add(1),
            Err(_) => return Err(Ended::Lost),
        }
        Ok(())
    }

    /// Network to user.
    pub(crate) async fn receive_datagrams(self) -> Ended {
        let counters = &self.shared.counters;
        let mut assembler = Assembler::default();
        while let Ok(datagram) = self.link.connection.read_datagram().await {
            match assembler.take(datagram) {
                Ok(Some(bytes)) => {
                    counters.datagrams_in.add(1);
                    let from = self.peer.clone();
                    (self.deliver)(Incoming::Datagram { from, bytes });
                }
                Ok(None) => counters.halves_dropped.add(assembler.take_dropped()),
                Err(_) => counters.malformed.add(1),
            }
            // With a flood there is always one more: let others have a turn.
            tokio::task::coop::consume_budget().await;
        }
        Ended::Lost
    }

    /// Queue to network.
    pub(crate) async fn send_messages(self) -> Ended {
        let Ok(mut stream) = self.link.connection.open_uni().await else {
            return Ended::Lost;
        };
        let mut batch = Vec::with_capacity(BATCH);
        let mut chunks = Vec::with_capacity(2 * BATCH);
        loop {
            self.link.messages.take(&mut batch, BATCH).await;
            let count = batch.len() as u64;
            for message in batch.drain(..) {
                // The handle lets no longer one in.
                let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
                chunks.push(Bytes::copy_from_slice(&length.to_be_bytes()));
                chunks.push(message);
            }
            if stream.write_all_chunks(&mut chunks).await.is_err() {
                return Ended::Lost;
            }
            chunks.clear();
            self.shared.counters.messages_out.add(count);
        }
    }

    /// Network to user.
    pub(crate) async fn receive_messages(self) -> Ended {
        let Ok(mut stream) = self.link.connection.accept_uni().await else {
            return Ended::Lost;
        };
        loop {
            match read_message(&mut stream).await {
                Ok(bytes) => {
                    self.shared.counters.messages_in.add(1);
                    let from = self.peer.clone();
                    (self.deliver)(Incoming::Message { from, bytes });
                }
                Err(ended) => return ended,
            }
            tokio::task::coop::consume_budget().await;
        }
    }
}

async fn read_message(stream: &mut RecvStream) -> Result<Bytes, Ended> {
    let mut length = [0; LENGTH_BYTES];
    stream
        .read_exact(&mut length)
        .await
        .map_err(|error| ended(&error))?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > MESSAGE_MAX {
        return Err(Ended::Violation);
    }
    let mut message = vec![0; length];
    stream
        .read_exact(&mut message)
        .await
        .map_err(|error| ended(&error))?;
    Ok(message.into())
}

/// A stream that ends although its connection goes on is against the protocol.
fn ended(error: &ReadExactError) -> Ended {
    match error {
        ReadExactError::ReadError(quinn::ReadError::ConnectionLost(_)) => Ended::Lost,
        _ => Ended::Violation,
    }
}
