//! The engine: requests in, scripts run, replies out.

use crate::config::RedisConfig;
use crate::connect::Plan;
use crate::connector::Connector;
use crate::error::StartError;
use crate::probe::{self, ServerInfo};
use std::fmt;
use std::time::Duration;

/// A directory that lives in Redis, shared by all gateways and shards that name it.
pub struct RedisDirectory {
    connector: Connector,
    prefix: String,
    replicas: u32,
    call_timeout: Duration,
    connect_timeout: Duration,
}

impl RedisDirectory {
    /// Prepares; the first request connects.
    pub fn new(config: &RedisConfig) -> Result<Self, StartError> {
        Ok(Self {
            connector: Connector::new(Plan::new(config)?),
            prefix: config.prefix.clone(),
            replicas: config.replicas,
            call_timeout: Duration::from_millis(config.call_timeout_ms),
            connect_timeout: Duration::from_millis(config.connect_timeout_ms),
        })
    }

    /// Connects and checks that the server can serve, see [`Self::probe`].
    pub async fn connect(config: &RedisConfig) -> Result<Self, StartError> {
        let directory = Self::new(config)?;
        directory.probe().await?;
        Ok(directory)
    }

    /// Whether the server there can be the directory: it is a master, new enough, evicts nothing of
    /// ours, and lets us do what is needed.
    pub async fn probe(&self) -> Result<ServerInfo, StartError> {
        let current = self.connector.current().await?;
        let limit = self.call_timeout.max(self.connect_timeout);
        let checking = probe::check(&current, &self.prefix, self.replicas);
        let outcome = match tokio::time::timeout(limit, checking).await {
            Ok(outcome) => outcome,
            Err(_) => Err(StartError::Timeout {
                address: current.link.address().to_owned(),
                ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
            }),
        };
        if let Err(problem) = &outcome {
            // The next probe looks again, at what has been changed since.
            self.connector.discard(&current, problem);
        }
        outcome
    }
}

impl fmt::Debug for RedisDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisDirectory")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}
