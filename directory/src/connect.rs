//! The way to the server that has our keys: directly, by asking Sentinels, or by asking the nodes of a
//! cluster. One connection attempt at a time, one after the other.

use crate::config::{RedisConfig, TlsConfig};
use crate::error::{ConfigError, StartError};
use crate::link::{Link, Stage};
use crate::target::{Route, Server, Target};
use redis::Value;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How long one Sentinel or cluster node may take to say where the master is. Several are asked in a
/// row, and a lease lives for 3 s only.
const ASK_TIMEOUT: Duration = Duration::from_millis(300);
/// Slots of a Redis Cluster.
const SLOTS: u16 = 16_384;

/// All that is needed to find and open a connection, again and again.
pub(crate) struct Plan {
    target: Target,
    tls: TlsConfig,
    connect_timeout: Duration,
    /// Slot of all our keys.
    slot: u16,
    /// Which Sentinel or node answered last: asked first next time.
    answered: AtomicUsize,
}

/// What a server says about itself when we come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Names the server process.
    pub(crate) run_id: String,
    pub(crate) version: String,
    pub(crate) product: &'static str,
    pub(crate) mode: String,
    pub(crate) is_master: bool,
    pub(crate) replicas: u64,
    pub(crate) policy: String,
}

impl Plan {
    pub(crate) fn new(config: &RedisConfig) -> Result<Self, ConfigError> {
        Ok(Self {
            target: config.target()?,
            tls: config.tls.clone(),
            connect_timeout: Duration::from_millis(config.connect_timeout_ms),
            slot: slot_of(&config.prefix),
            answered: AtomicUsize::new(0),
        })
    }

    /// A connection to the master, checked to be one.
    pub(crate) async fn establish(&self) -> Result<(Link, Facts), StartError> {
        let server = self.locate().await?;
        let link = Link::open(&server, &self.tls, self.connect_timeout).await?;
        let reading = read_facts(&link);
        let Ok(facts) = tokio::time::timeout(self.connect_timeout, reading).await else {
            return Err(StartError::Timeout {
                address: link.address().to_owned(),
                ms: u64::try_from(self.connect_timeout.as_millis()).unwrap_or(u64::MAX),
            });
        };
        let facts = facts?;
        self.check(&link, &facts)?;
        Ok((link, facts))
    }

    fn check(&self, link: &Link, facts: &Facts) -> Result<(), StartError> {
        let address = link.address().to_owned();
        match (facts.mode.as_str(), &self.target.route) {
            ("sentinel", _) => Err(StartError::IsSentinel { address }),
            ("cluster", Route::Single | Route::Sentinel { .. }) => {
                Err(StartError::IsCluster { address })
            }
            ("standalone", Route::Cluster { .. }) => Err(StartError::NoCluster { address }),
            _ if !facts.is_master => Err(StartError::Replica { address }),
            _ => Ok(()),
        }
    }

    /// The Sentinel or node that answered last may be cut off together with its master: another one is
    /// asked first next time.
    pub(crate) fn ask_another(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    async fn locate(&self) -> Result<Server, StartError> {
        let helpers = match &self.target.route {
            Route::Single => return Ok(self.target.master.clone()),
            Route::Sentinel { sentinels, .. } => sentinels,
            Route::Cluster { seeds } => seeds,
        };
        let first = self.answered.load(Ordering::Relaxed);
        let mut failures = Vec::new();
        for step in 0..helpers.len() {
            let index = first.wrapping_add(step) % helpers.len();
            let Some(helper) = helpers.get(index) else {
                break;
            };
            let timeout = ASK_TIMEOUT.min(self.connect_timeout);
            let answer = tokio::time::timeout(timeout, self.ask(helper)).await;
            match answer {
                Ok(Ok(server)) => {
                    self.answered.store(index, Ordering::Relaxed);
                    return Ok(server);
                }
                Ok(Err(error)) => failures.push(error),
                Err(_) => failures.push(StartError::Unreachable {
                    address: helper.to_string(),
                    cause: format!("no answer within {} ms", timeout.as_millis()),
                }),
            }
        }
        Err(most_telling(failures))
    }

    async fn ask(&self, helper: &Server) -> Result<Server, StartError> {
        let link = Link::open(helper, &self.tls, self.connect_timeout).await?;
        let (host, port) = match &self.target.route {
            Route::Sentinel { name, .. } => ask_sentinel(&link, name).await?,
            Route::Single | Route::Cluster { .. } => {
                let (host, port) = ask_cluster(&link, self.slot).await?;
                // A node that does not know its own address means the one it was asked at.
                (host.unwrap_or_else(|| helper.host.clone()), port)
            }
        };
        Ok(self.target.master_at(host, port))
    }
}

/// Something that says more than "unreachable", if there is such a thing.
fn most_telling(failures: Vec<StartError>) -> StartError {
    let silent = |error: &StartError| matches!(error, StartError::Unreachable { .. });
    if let Some(telling) = failures.iter().find(|error| !silent(error)) {
        return telling.clone();
    }
    let mut addresses = Vec::new();
    let mut causes = Vec::new();
    for failure in failures {
        if let StartError::Unreachable { address, cause } = failure {
            addresses.push(address);
            causes.push(cause);
        }
    }
    causes.dedup();
    StartError::Unreachable {
        address: addresses.join(", "),
        cause: causes.join("; "),
    }
}

async fn ask_sentinel(link: &Link, name: &str) -> Result<(String, u16), StartError> {
    let mut question = redis::cmd("SENTINEL");
    question.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
    let answer = link.run(&question, Stage::First).await;
    let answer = answer.map_err(|error| match error {
        StartError::Refused { address, cause } if cause.contains("unknown command") => {
            StartError::Refused {
                address,
                cause: format!("it is no Sentinel, correct `sentinel.urls` ({cause})"),
            }
        }
        other => other,
    })?;
    let parsed: Option<(String, u16)> =
        redis::from_redis_value(answer).map_err(|error| StartError::Refused {
            address: link.address().to_owned(),
            cause: format!("not understood: {error}"),
        })?;
    parsed.ok_or_else(|| StartError::UnknownMaster {
        address: link.address().to_owned(),
        name: name.to_owned(),
    })
}

async fn ask_cluster(link: &Link, slot: u16) -> Result<(Option<String>, u16), StartError> {
    let mut question = redis::cmd("CLUSTER");
    question.arg("SLOTS");
    let answer = link.run(&question, Stage::First).await;
    let answer = answer.map_err(|error| match error {
        StartError::Refused { address, cause }
            if cause.contains("cluster support disabled") || cause.contains("unknown command") =>
        {
            StartError::NoCluster { address }
        }
        other => other,
    })?;
    owner_of(slot, &answer).ok_or_else(|| StartError::ClusterDown {
        slot,
        cause: format!("asked {}", link.address()),
    })
}

/// The master of a slot in the answer to `CLUSTER SLOTS`: a list of
/// `[first slot, last slot, [address, port, ...] of the master, ...]`.
fn owner_of(slot: u16, answer: &Value) -> Option<(Option<String>, u16)> {
    let Value::Array(ranges) = answer else {
        return None;
    };
    ranges.iter().find_map(|range| {
        let Value::Array(parts) = range else {
            return None;
        };
        let [
            Value::Int(first),
            Value::Int(last),
            Value::Array(master),
            ..,
        ] = parts.as_slice()
        else {
            return None;
        };
        if !(*first..=*last).contains(&i64::from(slot)) {
            return None;
        }
        let [host, Value::Int(port), ..] = master.as_slice() else {
            return None;
        };
        let host: Option<String> = redis::from_redis_value_ref(host).ok()?;
        let host = host.filter(|host| !host.is_empty() && host != "?");
        Some((host, u16::try_from(*port).ok()?))
    })
}

async fn read_facts(link: &Link) -> Result<Facts, StartError> {
    let mut questions = redis::pipe();
    for section in ["server", "replication", "memory"] {
        questions.cmd("INFO").arg(section);
    }
    let answers = link.run_all(&questions, Stage::First).await?;
    let mut facts = Facts {
        product: "Redis",
        ..Facts::default()
    };
    for answer in answers {
        let text: String = redis::from_redis_value(answer).unwrap_or_default();
        facts.take(&text);
    }
    Ok(facts)
}

impl Facts {
    fn take(&mut self, info: &str) {
        for line in info.lines() {
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            match name {
                "run_id" => value.clone_into(&mut self.run_id),
                "redis_version" if self.version.is_empty() => value.clone_into(&mut self.version),
                "valkey_version" => {
                    self.product = "Valkey";
                    value.clone_into(&mut self.version);
                }
                "redis_mode" | "server_mode" => value.clone_into(&mut self.mode),
                "role" => self.is_master = value == "master",
                "connected_slaves" => self.replicas = value.parse().unwrap_or(0),
                "maxmemory_policy" => value.clone_into(&mut self.policy),
                _ => {}
            }
        }
    }
}

/// Slot of a hash tag: CRC-16/XMODEM modulo 16384 (Redis Cluster specification, "Keys distribution
/// model").
fn slot_of(tag: &str) -> u16 {
    let crc = tag.bytes().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            let shifted = crc << 1;
            if crc & 0x8000 == 0 {
                shifted
            } else {
                shifted ^ 0x1021
            }
        })
    });
    crc % SLOTS
}

#[cfg(test)]
mod tests;
