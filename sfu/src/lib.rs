//! A media node: the forwarding engine and the driver that gives it sockets, a clock and a thread.
//!
//! Owns: [`engine`], a pure module tree over str0m, and the node driver around it ([`Node`]): which
//! addresses clients can reach, the UDP and TCP sockets, the media thread, the link to the shard.
//! Must not: know rooms' rules, tokens or signalling; those live in the shard, which commands a node
//! by the messages of [`proto::media`].
//!
//! Start reading at [`Node`] (`node.rs`); a packet's way in and out is `media_thread.rs`.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod engine;
#[doc(hidden)]
pub mod fuzzing;

mod addresses;
mod catalogue;
mod config;
mod cpu;
mod exchange;
mod figures;
mod framing;
mod link;
mod media_thread;
mod node;
mod ports;
mod pulse;
mod tcp;
mod turn;
mod udp;

pub use catalogue::METRICS;
pub use config::Config;
pub use node::{Node, NodeError, Stop};
pub use turn_server::Config as TurnConfig;
