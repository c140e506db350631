//! A shard: an independent unit of signalling with its rooms and its pool of media nodes.
//!
//! Owns: the signalling surface for LiveKit clients ([`Shard`]), rooms and participants ([`core`]),
//! the links to its nodes, and the claim on its rooms. Must not: choose the shard of a room (the
//! gateway does), touch media (nodes do), or answer anybody but its gateway.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod accept;
mod catalogue;
mod clock;
mod config;
pub mod core;
mod directory;
mod driver;
mod entry;
mod figures;
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod node_listener;
mod nodes;
mod ownership;
mod peers;
mod ready;
mod server;
mod session;
mod whip;

pub use catalogue::METRICS;
pub use config::{Config, ConfigError, TurnConfig, WebConfig};
pub use directory::RpcDirectory;
pub use ready::ReadyHandle;
pub use server::{Deps, Shard, ShardError, Stop};
