//! Relays on real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod forwarder;
mod node;
mod peers;
mod stranger;
mod strangers;
mod traffic;
