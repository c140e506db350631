//! shard

pub mod core;
