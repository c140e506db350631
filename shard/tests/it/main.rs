//! A whole shard on loopback: real HTTP and WebSocket in front, a scripted node and a directory in
//! memory behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod guard;
mod moves;
mod nodes;
mod pages;
mod readiness;
mod signalling;
mod support;
mod whip;
