//! Clients against a whole shard with a media node, on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod failing;
mod guest;
mod media;
mod world;
