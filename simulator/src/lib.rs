//! Whole histories of room ownership, in one thread and with virtual time.
//!
//! Clients join through gateways that ask shards, shards claim in the directory; machines crash,
//! stop, stand still, lose each other and their data; and a checker that knows nothing of the
//! protocol looks for a room that is live on two shards. The protocol is the real code of
//! [`affinity`]; everything around it is a likeness of `gateway` and `shard`.
//!
//! Owns: the simulated world and the checker. Must not: be used by the product.

#![allow(clippy::expect_used)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod checker;
mod client;
mod clock;
mod directory;
mod driver;
mod fault;
mod gateway;
mod message;
pub mod model;
mod moving;
mod network;
mod params;
mod random;
mod shard;
mod shrink;
mod strike;
mod variant;
mod watching;
mod world;

pub use checker::{Kind, Violation};
pub use fault::{Fault, Link, Way};
pub use params::{Engine, Params};
pub use shrink::shrink;
pub use variant::Variant;
pub use world::{Counts, Outcome, World};
