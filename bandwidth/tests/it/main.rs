//! Stories of a sender, a link and a receiver, all made up and seeded. Each prints its figures.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod link;
mod random;
mod receiver;
mod sender;
mod stories;
mod world;
mod writer;
