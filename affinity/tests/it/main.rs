//! Properties of names and placement, and a seeded simulation of the ownership protocol.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod names;
mod shares;
mod simulation;
