//! Whole runs in virtual time, and media that real decoders are asked about.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

mod decoders;
mod run;
