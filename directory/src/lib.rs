//! The ownership directory in Redis, or anything that speaks its language (Valkey).
//!
//! Owns: the configuration, the one connection, the start-up checks, and the port of
//! `affinity::directory::DirectoryState` to a Lua script. Must not: decide anything that the pure
//! state machine does not say, read a clock for ownership, retry a request whose outcome is
//! unknown, or show a secret.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod config;
mod connect;
mod connector;
mod decode;
mod encode;
mod error;
mod link;
mod probe;
mod redis_directory;
mod replicas;
mod script;
mod target;

pub use config::{RedisConfig, SecretText, SentinelConfig, TlsConfig};
pub use error::{ConfigError, StartError};
pub use probe::ServerInfo;
pub use redis_directory::{RedisDirectory, Rules};
