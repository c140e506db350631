//! The topology of `up`: the embedded shards, and what a file says of them or adds.

use super::Secrets;
use crate::cli::UpArgs;
use crate::config;
use affinity::RoomCase;
use gateway::{Config, ListenConfig, Loaded, ShardConfig, ShardStateConfig};
use proto::token::ApiKeys;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The `url` of a shard in the file that `up` starts itself.
pub(crate) const EMBEDDED_URL: &str = "embedded";

/// Everything that a reload needs.
pub(super) struct Source {
    bind: SocketAddr,
    file: Option<PathBuf>,
    keys: ApiKeys,
    rooms: RoomCase,
    embedded: BTreeMap<String, SocketAddr>,
}

impl Source {
    pub(super) fn new(args: &UpArgs, secrets: &Secrets, embedded: &[(String, SocketAddr)]) -> Self {
        Self {
            bind: args.bind,
            file: args.config.clone(),
            keys: secrets.keys.clone(),
            rooms: secrets.rooms,
            embedded: embedded.iter().cloned().collect(),
        }
    }

    /// Reads the file again, if there is one.
    pub(super) fn load(&self) -> Result<Loaded, String> {
        let Some(path) = &self.file else {
            let config = self.complete(Config::default());
            return Ok(Loaded {
                config,
                keys: self.keys.clone(),
                rooms: self.rooms,
            });
        };
        let complete = |file: &mut config::File| {
            file.gateway = Some(self.complete(file.gateway.take().unwrap_or_default()));
        };
        let file = config::load_with(path, complete).map_err(|error| error.to_string())?;
        Ok(Loaded {
            keys: file.api_keys().map_err(|error| error.to_string())?,
            rooms: file.rooms.case.into(),
            config: file.gateway.unwrap_or_default(),
        })
    }

    /// Fills in where the embedded shards listen and adds those that the file does not mention. The
    /// command line decides where the gateway listens.
    fn complete(&self, mut config: Config) -> Config {
        config.listen = vec![ListenConfig {
            address: self.bind.to_string(),
            tls: None,
        }];
        for shard in config
            .shards
            .iter_mut()
            .filter(|shard| shard.url == EMBEDDED_URL)
        {
            if let Some(address) = self.embedded.get(&shard.id) {
                shard.url = format!("http://{address}");
            }
        }
        for (id, address) in &self.embedded {
            if config.shards.iter().all(|shard| shard.id != *id) {
                config.shards.push(ShardConfig {
                    id: id.clone(),
                    url: format!("http://{address}"),
                    weight: 1,
                    state: ShardStateConfig::Active,
                });
            }
        }
        config
    }
}
