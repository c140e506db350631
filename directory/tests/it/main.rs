//! The engine against real servers, each on a free loopback port, gone when its test ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod certificates;
mod conformance;
mod conformance_shards;
mod differential;
mod fail_over;
mod fakes;
mod lives;
mod pair;
mod replicated;
mod rough;
mod server;
mod start;
mod start_elsewhere;
mod start_tls;

use directory::{RedisConfig, RedisDirectory, StartError};

/// What connecting says.
async fn outcome(config: &RedisConfig) -> Result<(), StartError> {
    RedisDirectory::connect(config).await.map(|_| ())
}

/// The text of the mistake. No password that the tests use is in it.
async fn mistake(config: &RedisConfig) -> String {
    let text = outcome(config).await.unwrap_err().to_string();
    assert!(!text.contains("hidden-word"), "{text}");
    text
}
