//! The `shard:` section of the configuration.
//!
//! Owns: names, defaults and units of a shard's settings. Must not: bind, read files or apply
//! anything.

use crate::core::{Limits, SelectorConfig, SpreadConfig};
use affinity::ShardId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;
use thiserror::Error;

/// Settings of one shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The shard's name in the topology, such as `s1`. The same name must stand in the gateway's
    /// list of shards.
    pub id: String,
    /// Where the gateway reaches this shard (HTTP/1.1 and HTTP/2 without TLS, signalling and pages).
    /// Port 0 takes any free port.
    pub listen: SocketAddr,
    /// Where nodes of other processes attach (gRPC). Not needed when all nodes live in this process.
    pub internal: Option<SocketAddr>,
    /// Internal address of the gateway that holds the directory, `http://host:port`. Not needed when
    /// gateway and shard live in one process.
    pub directory: Option<String>,
    /// Media nodes started inside this process.
    pub nodes: u32,
    /// The web client and its helpers.
    pub web: WebConfig,
    /// How much clients can make the shard hold.
    pub limits: Limits,
    /// Which of the nodes a new room goes to.
    pub node_selector: SelectorConfig,
    /// When a room takes another worker, or another node.
    pub spread: SpreadConfig,
    /// Pictures that everybody in a room gets at once: of those who spoke last, besides shared screens.
    /// The others are paused. 0: all. A token's `roomConfig` may say otherwise (`lastN`).
    pub last_n: u16,
    /// Voices that everybody in a room gets at once: the loudest. 0: all. A token's `roomConfig` may say
    /// otherwise (`loudestN`).
    pub loudest_n: u16,
    /// A room that nobody ever joined is closed after this many seconds.
    pub empty_timeout_s: u64,
    /// A room is closed this many seconds after the last participant left.
    pub departure_timeout_s: u64,
    /// After an order to drain that names no deadline, live rooms have this many seconds to end by
    /// themselves; then they move to other shards.
    pub drain_deadline_s: u64,
    /// After SIGTERM, live rooms have this many seconds to end by themselves; then they move to other
    /// shards, and the process ends.
    pub stop_deadline_s: u64,
    /// Credentials for the nodes' TURN servers.
    pub turn: TurnConfig,
}

/// Credentials for the nodes' TURN servers (`node.turn`). Clients are told of them when they join.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TurnConfig {
    /// Secret that credentials are made with; the same as `node.turn.secret`. Left out: made from
    /// `cluster.secret`.
    pub secret: Option<String>,
    /// How long credentials hold, seconds, from each join and each resume. What is relayed with them
    /// ends then, and the client resumes with new ones: longer than nearly every session.
    pub lifetime_s: u64,
}

impl Default for TurnConfig {
    fn default() -> Self {
        Self {
            secret: None,
            lifetime_s: 24 * 3600,
        }
    }
}

impl fmt::Debug for TurnConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TurnConfig")
            .field("secret", &self.secret.as_ref().map(|_| ".."))
            .field("lifetime_s", &self.lifetime_s)
            .finish()
    }
}

/// The web client and its helpers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WebConfig {
    /// Serve the join page at `/` and the meeting page at `/{room}`.
    pub enabled: bool,
    /// Hand out access tokens to everybody at `POST /r/{room}/api/token`. For trying things out:
    /// whoever reaches the page can join every room.
    pub tokens: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            id: "s1".to_owned(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7870)),
            internal: None,
            directory: None,
            nodes: 1,
            web: WebConfig::default(),
            limits: Limits::default(),
            node_selector: SelectorConfig::default(),
            spread: SpreadConfig::default(),
            last_n: 0,
            loudest_n: 0,
            empty_timeout_s: 20,
            departure_timeout_s: 20,
            drain_deadline_s: 600,
            stop_deadline_s: 0,
            turn: TurnConfig::default(),
        }
    }
}

impl Default for WebConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            tokens: false,
        }
    }
}

/// Longest time-out that makes sense for a room without participants: a day, seconds.
const ROOM_TIMEOUT_MAX_S: u64 = 24 * 3600;

/// Lifetimes of TURN credentials that make sense: from a short call to a week, seconds.
const TURN_LIFETIME_S: RangeInclusive<u64> = 300..=7 * 24 * 3600;
/// Shortest secret. A password is a MAC made with it, which strangers may try to invert.
const TURN_SECRET_BYTES_MIN: usize = 16;

/// Why settings were refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// The id would not survive a header or a log line.
    #[error("shard.id '{0}' is unusable: write 1 to 64 of the characters a-z A-Z 0-9 - _ .")]
    Id(String),
    /// A time-out out of range.
    #[error("shard.{0} is {1}: write 1 to {ROOM_TIMEOUT_MAX_S} seconds")]
    Timeout(&'static str, u64),
    /// A deadline that would never come.
    #[error("shard.{0} is {1}: write at most {ROOM_TIMEOUT_MAX_S} seconds")]
    Deadline(&'static str, u64),
    /// Credentials too short for a join, or too long to be one's own.
    #[error("shard.turn.lifetime_s is {0}: write 300 to 604800 seconds")]
    TurnLifetime(u64),
    /// A secret that can be guessed.
    #[error("shard.turn.secret has {0} bytes: use at least 16 random ones, or leave it out")]
    TurnSecret(usize),
    /// Nobody could send media.
    #[error(
        "shard.nodes is 0 and shard.internal is not set: no media node could ever attach; set one of them"
    )]
    NoNodes,
}

impl Config {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn validate(&self) -> Result<(), ConfigError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if self.id.is_empty() || self.id.len() > 64 || !self.id.bytes().all(allowed) {
            return Err(ConfigError::Id(self.id.clone()));
        }
        let timeouts = [
            ("empty_timeout_s", self.empty_timeout_s),
            ("departure_timeout_s", self.departure_timeout_s),
        ];
        for (name, seconds) in timeouts {
            if !(1..=ROOM_TIMEOUT_MAX_S).contains(&seconds) {
                return Err(ConfigError::Timeout(name, seconds));
            }
        }
        let deadlines = [
            ("drain_deadline_s", self.drain_deadline_s),
            ("stop_deadline_s", self.stop_deadline_s),
        ];
        for (name, seconds) in deadlines {
            if seconds > ROOM_TIMEOUT_MAX_S {
                return Err(ConfigError::Deadline(name, seconds));
            }
        }
        if !TURN_LIFETIME_S.contains(&self.turn.lifetime_s) {
            return Err(ConfigError::TurnLifetime(self.turn.lifetime_s));
        }
        let secret = self.turn.secret.as_ref().map(String::len);
        if let Some(bytes) = secret.filter(|bytes| *bytes < TURN_SECRET_BYTES_MIN) {
            return Err(ConfigError::TurnSecret(bytes));
        }
        if self.nodes == 0 && self.internal.is_none() {
            return Err(ConfigError::NoNodes);
        }
        Ok(())
    }

    pub(crate) fn shard_id(&self) -> ShardId {
        ShardId::new(self.id.as_str())
    }

    pub(crate) fn empty_timeout(&self) -> Duration {
        Duration::from_secs(self.empty_timeout_s)
    }

    pub(crate) fn departure_timeout(&self) -> Duration {
        Duration::from_secs(self.departure_timeout_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_an_unknown_key_is_refused() {
        let config: Config = serde_json::from_str("{}").unwrap();
        assert_eq!(config, Config::default());
        assert_eq!(config.validate(), Ok(()));
        assert!(serde_json::from_str::<Config>(r#"{"lissen":"127.0.0.1:1"}"#).is_err());
    }

    #[test]
    fn settings_that_cannot_work_are_refused_with_their_name() {
        let bad = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.validate()
        };
        assert_eq!(
            bad(|c| c.id = "a b".into()),
            Err(ConfigError::Id("a b".into()))
        );
        assert_eq!(bad(|c| c.nodes = 0), Err(ConfigError::NoNodes));
        let short = bad(|c| c.turn.lifetime_s = 60);
        assert_eq!(short, Err(ConfigError::TurnLifetime(60)));
        let short = bad(|c| c.turn.secret = Some("a".into()));
        assert_eq!(short, Err(ConfigError::TurnSecret(1)));
        assert_eq!(
            bad(|c| c.empty_timeout_s = 0),
            Err(ConfigError::Timeout("empty_timeout_s", 0))
        );
    }
}
