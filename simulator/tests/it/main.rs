//! Histories of room ownership: seeds, scenarios, and the wrong versions that must be caught.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod late;
mod model;
mod scenarios;
mod seeds;
mod variants;
