//! The `redis:` section of the configuration file.
//!
//! Owns: names, units, defaults, and the checks that need nothing but the section itself. Secrets
//! are in [`SecretText`], which shows itself to nobody.

use crate::error::ConfigError;
use crate::target::{Route, Server, Target};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::path::PathBuf;

/// Default of `prefix`.
const PREFIX_DEFAULT: &str = "anteroom";
/// Longest prefix, bytes: it is part of every key.
const PREFIX_BYTES_MAX: usize = 64;
/// Default of `call_timeout_ms`: a renewal (every second) is answered, or given up, before the next.
const CALL_TIMEOUT_MS: u64 = 800;
/// Default of `connect_timeout_ms`: two attempts fit into a lease of 3 s.
const CONNECT_TIMEOUT_MS: u64 = 1_000;
/// Default of `replicas_timeout_ms`: a replica in another zone answers in a few milliseconds.
const REPLICAS_TIMEOUT_MS: u64 = 200;
/// A call that took longer would be worth nothing to a lease of 3 s.
const TIMEOUT_MS: std::ops::RangeInclusive<u64> = 50..=2_000;
/// Most addresses in a list. They are asked one after the other.
const ADDRESSES_MAX: usize = 16;
/// Most replicas that can be waited for.
const REPLICAS_MAX: u32 = 8;

/// Where the shared directory lives: one Redis (`url`), a master that Sentinels watch (`sentinel`),
/// or a Redis Cluster (`cluster`). Exactly one of the three. Redis 6.2 or newer, or Valkey.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RedisConfig {
    /// `redis://[user:password@]host[:port][/db]`, or `rediss://` for TLS.
    pub url: Option<SecretText>,
    /// The master that these Sentinels name. The connection follows a fail-over.
    pub sentinel: Option<SentinelConfig>,
    /// URLs of some nodes of a Redis Cluster, all with the same user and password. All keys are in
    /// one slot.
    pub cluster: Vec<SecretText>,
    /// Two deployments on one Redis need different ones: every key is `{prefix}:...`. Letters,
    /// digits, `.`, `_` and `-`.
    pub prefix: String,
    /// How many replicas must have a write before it counts; at most 8. With Sentinel or Cluster
    /// set it to the number of replicas: then a master can grant nothing any more from the moment
    /// when one of them takes its place. Fewer let a dead replica pass, and a master that is cut off
    /// together with shards and that many replicas keeps granting to them; so does 0.
    pub replicas: u32,
    /// How long a write waits for its replicas, milliseconds; less than `call_timeout_ms`.
    pub replicas_timeout_ms: u64,
    /// How long one request may take, milliseconds, 50 to 2000. After it the outcome is unknown.
    pub call_timeout_ms: u64,
    /// How long connecting to one server may take, milliseconds, 50 to 2000.
    pub connect_timeout_ms: u64,
    /// Certificates for `rediss://`.
    pub tls: TlsConfig,
}

/// A master with Sentinels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SentinelConfig {
    /// The name under which the Sentinels know the master, such as `mymaster`.
    pub master: String,
    /// URLs of the Sentinels, `redis://[user:password@]host[:port]`, usual port 26379, with the
    /// Sentinels' own user and password. `rediss://` means TLS, to the master too.
    pub urls: Vec<SecretText>,
    /// User at the master; absent: the default user.
    #[serde(default)]
    pub username: Option<String>,
    /// Password at the master.
    #[serde(default)]
    pub password: Option<SecretText>,
    /// Database number at the master.
    #[serde(default)]
    pub db: i64,
}

/// Certificates of TLS connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// PEM file of the authority that signed the servers' certificates. Absent: the authorities
    /// that the system trusts.
    pub ca: Option<PathBuf>,
    /// PEM file with a client certificate, if the servers ask for one (`tls-auth-clients yes`).
    pub cert: Option<PathBuf>,
    /// PEM file with its private key.
    pub key: Option<PathBuf>,
}

/// A text with a secret in it: `Debug` and `Serialize` show that it is there, not what it is.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SecretText(String);

impl SecretText {
    /// Hides the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("(hidden)")
    }
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            url: None,
            sentinel: None,
            cluster: Vec::new(),
            prefix: PREFIX_DEFAULT.to_owned(),
            replicas: 0,
            replicas_timeout_ms: REPLICAS_TIMEOUT_MS,
            call_timeout_ms: CALL_TIMEOUT_MS,
            connect_timeout_ms: CONNECT_TIMEOUT_MS,
            tls: TlsConfig::default(),
        }
    }
}

impl RedisConfig {
    /// One Redis at this URL, all else as by default.
    pub fn at(url: impl Into<String>) -> Self {
        Self {
            url: Some(SecretText::new(url)),
            ..Self::default()
        }
    }

    /// Whether the section is sound, as far as it can be known without the network.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.target().map(|_| ())
    }

    /// What the section says, checked and taken apart.
    pub(crate) fn target(&self) -> Result<Target, ConfigError> {
        self.check_prefix()?;
        self.check_numbers()?;
        self.check_tls()?;
        let target = match (&self.url, &self.sentinel, self.cluster.as_slice()) {
            (Some(url), None, []) => Target::single(Server::parse("url", url.expose())?),
            (None, Some(sentinel), []) => sentinel.target()?,
            (None, None, urls @ [_, ..]) => cluster_target(urls)?,
            (None, None, []) => return Err(ConfigError::NoAddress),
            _ => return Err(ConfigError::ManyAddresses),
        };
        if self.has_certificates() && !target.uses_tls() {
            return Err(ConfigError::CertificatesWithoutTls);
        }
        Ok(target)
    }

    fn has_certificates(&self) -> bool {
        self.tls != TlsConfig::default()
    }

    fn check_prefix(&self) -> Result<(), ConfigError> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if self.prefix.is_empty()
            || self.prefix.len() > PREFIX_BYTES_MAX
            || !self.prefix.bytes().all(is_plain)
        {
            return Err(ConfigError::Prefix {
                bytes_max: PREFIX_BYTES_MAX,
            });
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<(), ConfigError> {
        let timeouts = [
            ("call_timeout_ms", self.call_timeout_ms),
            ("connect_timeout_ms", self.connect_timeout_ms),
        ];
        for (field, value) in timeouts {
            if !TIMEOUT_MS.contains(&value) {
                return Err(ConfigError::Timeout {
                    field,
                    value,
                    min: *TIMEOUT_MS.start(),
                    max: *TIMEOUT_MS.end(),
                });
            }
        }
        if self.replicas > REPLICAS_MAX {
            return Err(ConfigError::Replicas {
                value: self.replicas,
                max: REPLICAS_MAX,
            });
        }
        // 0 would have Redis wait for ever.
        if self.replicas_timeout_ms == 0 || self.replicas_timeout_ms >= self.call_timeout_ms {
            return Err(ConfigError::ReplicasTimeout {
                value: self.replicas_timeout_ms,
                call_ms: self.call_timeout_ms,
            });
        }
        Ok(())
    }

    fn check_tls(&self) -> Result<(), ConfigError> {
        if self.tls.cert.is_some() != self.tls.key.is_some() {
            return Err(ConfigError::HalfClientCertificate);
        }
        Ok(())
    }
}

impl SentinelConfig {
    fn target(&self) -> Result<Target, ConfigError> {
        if self.master.is_empty() {
            return Err(ConfigError::NoMaster);
        }
        if self.username.is_some() && self.password.is_none() {
            return Err(ConfigError::UserWithoutPassword);
        }
        let sentinels = parse_all("sentinel.urls", &self.urls)?;
        let Some(first) = sentinels.first() else {
            return Err(ConfigError::NoSentinels);
        };
        if sentinels.iter().any(|sentinel| sentinel.db != 0) {
            return Err(ConfigError::SentinelDatabase);
        }
        // The addresses of the master come from the Sentinels; all else is known.
        let master = Server {
            user: self.username.clone(),
            password: self.password.clone(),
            db: self.db,
            ..first.clone()
        };
        let route = Route::Sentinel {
            name: self.master.clone(),
            sentinels,
        };
        Ok(Target { route, master })
    }
}

fn cluster_target(urls: &[SecretText]) -> Result<Target, ConfigError> {
    let seeds = parse_all("cluster", urls)?;
    let Some(first) = seeds.first() else {
        return Err(ConfigError::NoAddress);
    };
    if seeds.iter().any(|seed| seed.db != 0) {
        return Err(ConfigError::ClusterDatabase);
    }
    if !seeds.iter().all(|seed| seed.has_login_of(first)) {
        return Err(ConfigError::ClusterLogins);
    }
    let master = first.clone();
    Ok(Target {
        route: Route::Cluster { seeds },
        master,
    })
}

fn parse_all(field: &'static str, urls: &[SecretText]) -> Result<Vec<Server>, ConfigError> {
    if urls.len() > ADDRESSES_MAX {
        return Err(ConfigError::TooManyAddresses {
            field,
            max: ADDRESSES_MAX,
        });
    }
    let servers: Vec<Server> = urls
        .iter()
        .map(|url| Server::parse(field, url.expose()))
        .collect::<Result<_, _>>()?;
    if servers.windows(2).any(|pair| match pair {
        [one, two] => one.tls != two.tls,
        _ => false,
    }) {
        return Err(ConfigError::MixedTls { field });
    }
    Ok(servers)
}

#[cfg(test)]
mod tests;
