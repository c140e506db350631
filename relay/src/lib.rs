//! What media nodes of one shard tell each other: an encrypted way for packets that may be lost and
//! for messages that may not, over QUIC.
//!
//! Owns: who talks to whom, the proof that both belong together, queues and their limits, cutting of
//! datagrams that do not fit. Must not: know what is carried, nor rooms and tracks.
//!
//! Start reading at [`Relay`]; a connection's life is `keeper.rs`, its proof `handshake.rs`, and the
//! traffic on it `link.rs`.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod backoff;
mod close;
mod congestion;
mod figures;
mod fragments;
#[doc(hidden)]
pub mod fuzzing;
mod handle;
mod handshake;
mod hello;
mod keeper;
mod link;
mod queue;
mod relay;
mod shared;
mod throttle;
mod tls;
mod transport;

pub use figures::Figures;
pub use fragments::DATAGRAM_MAX;
pub use handle::Handle;
pub use hello::NODE_ID_BYTES_MAX;
pub use link::MESSAGE_MAX;
pub use queue::{DATAGRAM_QUEUE, MESSAGE_QUEUE, MESSAGE_QUEUE_BYTES};
pub use relay::{AUTHENTICATING_MAX, Config, Incoming, Peer, Relay, RelayError};
