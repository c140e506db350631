//! Clients against a whole shard with a media node, and against LiveKit's server, on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

mod failing;
mod guest;
mod livekit;
mod media;
mod resuming;
mod world;
