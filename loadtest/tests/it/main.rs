//! Whole runs: in virtual time, and against a shard with a node; media that real decoders are asked about.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

mod decoders;
mod live;
mod run;
mod world;
