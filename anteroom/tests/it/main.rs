//! Integration tests of the binary and of the workspace's shape.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod command_line;
mod docs;
mod layers;
mod shards;
