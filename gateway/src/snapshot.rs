//! Everything a request needs, as one immutable value that is swapped whole.

use crate::config::{Config, ShardStateConfig};
use crate::error::GatewayError;
use crate::routing::NativeRouting;
use affinity::{RoomCase, Routing, Shard, ShardId, ShardState, Topology};
use proto::token::ApiKeys;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Number of the next snapshot.
static SERIAL: AtomicU64 = AtomicU64::new(1);

/// A configuration file, read and parsed.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The `gateway` section.
    pub config: Config,
    /// API keys that sign access tokens.
    pub keys: ApiKeys,
    /// Whether room names differ by case.
    pub rooms: RoomCase,
}

/// The running configuration.
pub(crate) struct Snapshot {
    pub(crate) loaded: Loaded,
    /// As configured, with the shards that leave once they are empty.
    pub(crate) topology: Arc<Topology>,
    /// Tells this value from the ones before.
    pub(crate) serial: u64,
    /// Places rooms on the shards that are alive.
    pub(crate) routing: Arc<dyn Routing>,
    /// Shared, so that a request can keep it without the rings.
    pub(crate) upstreams: Arc<BTreeMap<ShardId, Upstream>>,
}

/// Where a shard listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upstream {
    host: String,
    port: u16,
    /// Gone from the configuration, kept until its last live room ends.
    pub(crate) leaving: bool,
}

impl Upstream {
    /// The address to connect to now. Host names are looked up each time, because a shard's address
    /// may change with its next life.
    pub(crate) async fn resolve(&self) -> io::Result<SocketAddr> {
        if let Ok(ip) = self.host.parse() {
            return Ok(SocketAddr::new(ip, self.port));
        }
        tokio::net::lookup_host((self.host.as_str(), self.port))
            .await?
            .next()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the host has no address"))
    }
}

/// What of the shards is not in the file: whom the directory misses, and what others have said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Circumstances {
    /// Shards without a lease: they get no idle rooms while another one can have them.
    pub(crate) dead: BTreeSet<ShardId>,
    /// Shards that are emptied by order, or about to end: they get no idle rooms at all.
    pub(crate) closed: BTreeSet<ShardId>,
    /// Shards that only other gateways name: reachable, and no place for idle rooms.
    pub(crate) foreign: Vec<Shard>,
}

/// The routing function of a configuration, without any listener.
///
/// # Errors
/// [`GatewayError::Config`] if the configuration is not usable.
pub fn routing(loaded: &Loaded) -> Result<Arc<dyn Routing>, GatewayError> {
    Snapshot::build(loaded, 1, &[], &Circumstances::default())
        .map(|snapshot| snapshot.routing)
        .map_err(GatewayError::Config)
}

impl Snapshot {
    /// Builds the value. `leaving` are shards that the configuration no longer names and that still
    /// have live rooms.
    pub(crate) fn build(
        loaded: &Loaded,
        generation: u64,
        leaving: &[Shard],
        now: &Circumstances,
    ) -> Result<Self, String> {
        loaded.config.check()?;
        if loaded.config.shards.is_empty() {
            return Err("gateway.shards is empty: name at least one shard".to_owned());
        }
        let mut shards = configured_shards(&loaded.config);
        let mut upstreams = BTreeMap::new();
        for shard in &shards {
            upstreams.insert(shard.id.clone(), parse_url(shard, false)?);
        }
        for shard in leaving {
            upstreams.insert(shard.id.clone(), parse_url(shard, true)?);
            shards.push(Shard {
                state: ShardState::Draining,
                ..shard.clone()
            });
        }
        for shard in &now.foreign {
            // Whoever named it has checked it.
            if let Ok(upstream) = parse_url(shard, false) {
                upstreams.entry(shard.id.clone()).or_insert(upstream);
            }
        }
        let invalid = |error| format!("gateway.shards: {error}");
        let topology = Topology::new(generation, shards.clone()).map_err(invalid)?;
        let topology = Arc::new(topology);
        let placing = match placing(shards, now) {
            Some(shards) => Arc::new(Topology::new(generation, shards).map_err(invalid)?),
            None => Arc::clone(&topology),
        };
        let routing = NativeRouting::new(placing, loaded.keys.clone(), loaded.rooms);
        Ok(Self {
            loaded: loaded.clone(),
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            topology,
            routing: Arc::new(routing),
            upstreams: Arc::new(upstreams),
        })
    }

    pub(crate) fn config(&self) -> &Config {
        &self.loaded.config
    }
}

/// The shards as idle rooms see them; `None` if that is as configured. If nobody has a lease the
/// shards themselves say so, and take rooms as soon as they can.
fn placing(mut shards: Vec<Shard>, now: &Circumstances) -> Option<Vec<Shard>> {
    let mut changed = close(&mut shards, &now.closed);
    let alive = |shard: &Shard| shard.state == ShardState::Active && !now.dead.contains(&shard.id);
    if shards.iter().any(alive) {
        changed |= close(&mut shards, &now.dead);
    }
    changed.then_some(shards)
}

/// True if that changes anything.
fn close(shards: &mut [Shard], which: &BTreeSet<ShardId>) -> bool {
    let mut changed = false;
    for shard in shards {
        if shard.state == ShardState::Active && which.contains(&shard.id) {
            shard.state = ShardState::Draining;
            changed = true;
        }
    }
    changed
}

/// The shards that `config` names.
pub(crate) fn configured_shards(config: &Config) -> Vec<Shard> {
    let shards = config.shards.iter().map(|shard| Shard {
        id: ShardId::new(shard.id.as_str()),
        url: shard.url.clone(),
        weight: shard.weight,
        state: match shard.state {
            ShardStateConfig::Active => ShardState::Active,
            ShardStateConfig::Draining => ShardState::Draining,
        },
    });
    shards.collect()
}

fn parse_url(shard: &Shard, leaving: bool) -> Result<Upstream, String> {
    let refused = || {
        format!(
            "gateway.shards '{}': url '{}' is not of the form http://host:port",
            shard.id, shard.url
        )
    };
    let uri: http::Uri = shard.url.parse().map_err(|_| refused())?;
    let plain = uri.scheme_str() == Some("http") && uri.path().trim_matches('/').is_empty();
    match (uri.host(), uri.port_u16()) {
        (Some(host), Some(port)) if plain && port > 0 && uri.query().is_none() => Ok(Upstream {
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            leaving,
        }),
        _ => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(url: &str) -> Shard {
        Shard {
            id: ShardId::new("s1"),
            url: url.to_owned(),
            weight: 1,
            state: ShardState::Active,
        }
    }

    #[test]
    fn idle_rooms_avoid_dead_shards_while_there_are_others_and_closed_ones_always() {
        let shards = || {
            ["a", "b"].map(|id| Shard {
                id: ShardId::new(id),
                ..shard("http://h:1")
            })
        };
        let set = |ids: &[&str]| ids.iter().map(|id| ShardId::new(*id)).collect();
        let open = |dead: &[&str], closed: &[&str]| {
            let now = Circumstances {
                dead: set(dead),
                closed: set(closed),
                foreign: Vec::new(),
            };
            let placed = placing(shards().to_vec(), &now)?;
            let open = placed.into_iter().filter(|s| s.state == ShardState::Active);
            Some(open.map(|s| s.id.to_string()).collect::<String>())
        };
        assert_eq!(open(&[], &[]), None);
        assert_eq!(open(&["a"], &[]).unwrap(), "b");
        assert_eq!(
            open(&["a", "b"], &[]),
            None,
            "nobody is left: all are asked"
        );
        assert_eq!(open(&[], &["a", "b"]).unwrap(), "");
        assert_eq!(open(&["a"], &["b"]).unwrap(), "a");
    }

    #[test]
    fn a_shard_url_is_http_host_and_port_and_nothing_else() {
        let upstream = parse_url(&shard("http://127.0.0.1:7000"), false).unwrap();
        assert_eq!((upstream.host.as_str(), upstream.port), ("127.0.0.1", 7000));
        let upstream = parse_url(&shard("http://[::1]:7000/"), false).unwrap();
        assert_eq!(upstream.host, "::1");
        for wrong in [
            "",
            "127.0.0.1:7000",
            "https://a:1",
            "http://a",
            "http://a:1/x",
            "http://a:0",
        ] {
            let error = parse_url(&shard(wrong), false).unwrap_err();
            assert!(error.contains("'s1'"), "{wrong}: {error}");
        }
    }
}
