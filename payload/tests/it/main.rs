//! Layers of made-up streams are dropped in all ways, and nothing undecodable is ever sent.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod any_bytes;
mod av1;
mod driver;
mod h264;
mod streams;
mod vp8;
mod vp9;
mod vp9_odd;
