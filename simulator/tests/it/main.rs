//! Histories of room ownership: seeds, scenarios, and the wrong versions that must be caught.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod scenarios;
mod seeds;
mod variants;
