//! The `gateway:` section of the configuration file.
//!
//! Owns: names, units, defaults and the checks that need nothing but the section itself.

use crate::sni::SniConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Default of `listen[0].address`.
const LISTEN_DEFAULT: &str = "127.0.0.1:7880";
/// Default of `header_deadline_ms`: generous for a phone on a bad link, short for a slow-drip attack.
const HEADER_DEADLINE_MS: u64 = 10_000;
/// Default of `tls_handshake_ms`.
const TLS_HANDSHAKE_MS: u64 = 5_000;
/// Default of `keepalive_ms`.
const KEEPALIVE_MS: u64 = 60_000;
/// Default of `header_bytes_max`.
const HEADER_BYTES_MAX: usize = 32 * 1024;
/// Default of `headers_max`.
const HEADERS_MAX: usize = 100;
/// What the HTTP/1.1 parser underneath can hold.
pub(crate) const HEADERS_CEILING: usize = 256;
/// Default of `target_bytes_max`. A join URL with an SDP offer and a rich token is 2 to 20 KB.
const TARGET_BYTES_MAX: usize = 60 * 1024;
/// What the URI type underneath can hold is 65,534 bytes.
const TARGET_BYTES_CEILING: usize = 65_000;
/// What the HTTP/1.1 parser underneath takes as a whole head is 1 MiB.
const HEADER_BYTES_CEILING: usize = 512 * 1024;
/// Default of `upstream.connect_timeout_ms`.
const CONNECT_TIMEOUT_MS: u64 = 2_000;
/// Default of `upstream.answer_timeout_ms`. A shard itself waits up to 4 s: for the directory, then
/// for a node.
const ANSWER_TIMEOUT_MS: u64 = 5_000;
/// Default of `upstream.read_timeout_ms` and `upstream.write_timeout_ms`.
const TRANSFER_TIMEOUT_MS: u64 = 30_000;
/// Default of `upstream.websocket_idle_ms`. LiveKit clients ping every 5 to 10 s and shards every
/// 10 s: a connection this silent is dead.
const WEBSOCKET_IDLE_MS: u64 = 75_000;
/// Default of `shutdown_grace_s`.
const SHUTDOWN_GRACE_S: u64 = 1;
/// Most shards in one topology. The ring has 1024 points per unit of weight.
const SHARDS_MAX: usize = 1_000;
/// Largest weight of a shard.
const WEIGHT_MAX: u32 = 100;

/// The gateway: where it listens, what it lets in, and the shards behind it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Public addresses. A change needs a restart, except for certificates.
    pub listen: Vec<ListenConfig>,
    /// A TLS port that passes connections on by the name that clients ask for. Absent: none.
    pub sni: Option<SniConfig>,
    /// Address (`ip:port`) of the internal gRPC listener, where shards in other processes reach the
    /// directory. Absent: shards are in this process only. Keep it off the public network. A change
    /// needs a restart.
    pub internal: Option<SocketAddr>,
    /// Another gateway's directory (`http://host:port`). A directory in memory does not share, so
    /// that a second gateway refuses to start and says why. What gateways share is the file's section
    /// `directory`.
    pub directory: Option<String>,
    /// Time a client has for a complete request head, milliseconds, counted from its first byte (on
    /// a new connection: from the connection).
    pub header_deadline_ms: u64,
    /// Time a client has for the TLS handshake, milliseconds.
    pub tls_handshake_ms: u64,
    /// How long an idle client connection is kept, milliseconds; at least 1000.
    pub keepalive_ms: u64,
    /// Largest request header, bytes, without the request line. More is answered with 431.
    pub header_bytes_max: usize,
    /// Longest request target (path and query), bytes, up to 65000. Longer is answered with 414.
    pub target_bytes_max: usize,
    /// Most header fields in a request, up to 256. More is answered with 431.
    pub headers_max: usize,
    /// Whether answers carry `x-anteroom-shard`.
    pub announce_shard: bool,
    /// Threads of each listener; 0: one per processor. A change needs a restart.
    pub threads: usize,
    /// How long requests in flight may go on after the order to stop, seconds.
    pub shutdown_grace_s: u64,
    /// The shards. Removing one stops new rooms on it; its live rooms go on until they end.
    pub shards: Vec<ShardConfig>,
    /// The connections to the shards.
    pub upstream: UpstreamConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![ListenConfig {
                address: LISTEN_DEFAULT.to_owned(),
                tls: None,
            }],
            sni: None,
            internal: None,
            directory: None,
            header_deadline_ms: HEADER_DEADLINE_MS,
            tls_handshake_ms: TLS_HANDSHAKE_MS,
            keepalive_ms: KEEPALIVE_MS,
            header_bytes_max: HEADER_BYTES_MAX,
            target_bytes_max: TARGET_BYTES_MAX,
            headers_max: HEADERS_MAX,
            announce_shard: true,
            threads: 0,
            shutdown_grace_s: SHUTDOWN_GRACE_S,
            shards: Vec::new(),
            upstream: UpstreamConfig::default(),
        }
    }
}

/// One public address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenConfig {
    /// `host:port`; port 0 takes a free one.
    pub address: String,
    /// TLS on this address. Absent: plain HTTP (loopback, or behind a load balancer).
    #[serde(default)]
    pub tls: Option<TlsConfig>,
}

/// Certificates of one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// Chosen by the name the client asks for (SNI); the first one is for all other names.
    pub certificates: Vec<CertificateConfig>,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateConfig {
    /// PEM file with the certificate, followed by its chain. Read again at each reload.
    pub cert: PathBuf,
    /// PEM file with the private key. Read again at each reload.
    pub key: PathBuf,
    /// Names it answers to (`meet.example.org`, `*.example.org`). Absent: the names in the
    /// certificate.
    #[serde(default)]
    pub names: Vec<String>,
}

/// One shard of the topology.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShardConfig {
    /// Its name, as in the shard's own configuration. Rooms are placed by it: renaming a shard moves
    /// its idle rooms.
    pub id: String,
    /// Where its signalling listens: `http://host:port`.
    pub url: String,
    /// Share of idle rooms relative to the other shards, 1 to 100.
    #[serde(default = "weight_default")]
    pub weight: u32,
    /// Whether it takes new rooms.
    #[serde(default)]
    pub state: ShardStateConfig,
}

fn weight_default() -> u32 {
    1
}

/// Whether a shard takes new rooms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ShardStateConfig {
    /// It takes new rooms.
    #[default]
    Active,
    /// It keeps its rooms and takes no new ones.
    Draining,
}

/// Timeouts of the connections to the shards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamConfig {
    /// Time to connect, milliseconds.
    pub connect_timeout_ms: u64,
    /// Time for the head of an answer to a WebSocket handshake (HTTP/1.1), milliseconds.
    pub answer_timeout_ms: u64,
    /// Longest silence while any other answer is awaited or read, milliseconds.
    pub read_timeout_ms: u64,
    /// Longest wait for a write, milliseconds, on either side.
    pub write_timeout_ms: u64,
    /// Longest silence of a WebSocket, milliseconds, on either side; at least 60000.
    pub websocket_idle_ms: u64,
}

impl Default for UpstreamConfig {
    fn default() -> Self {
        Self {
            connect_timeout_ms: CONNECT_TIMEOUT_MS,
            answer_timeout_ms: ANSWER_TIMEOUT_MS,
            read_timeout_ms: TRANSFER_TIMEOUT_MS,
            write_timeout_ms: TRANSFER_TIMEOUT_MS,
            websocket_idle_ms: WEBSOCKET_IDLE_MS,
        }
    }
}

impl Config {
    /// Checks what can be checked without touching a file or a socket.
    ///
    /// # Errors
    /// A text that names the field and the fix.
    pub fn check(&self) -> Result<(), String> {
        within("header_deadline_ms", self.header_deadline_ms, 100, 120_000)?;
        within("tls_handshake_ms", self.tls_handshake_ms, 100, 120_000)?;
        within("keepalive_ms", self.keepalive_ms, 1_000, 3_600_000)?;
        within("headers_max", self.headers_max, 8, HEADERS_CEILING)?;
        let bytes = self.header_bytes_max;
        within("header_bytes_max", bytes, 1_024, HEADER_BYTES_CEILING)?;
        let bytes = self.target_bytes_max;
        within("target_bytes_max", bytes, 1_024, TARGET_BYTES_CEILING)?;
        within("shutdown_grace_s", self.shutdown_grace_s, 0, 86_400)?;
        within("threads", self.threads, 0, 1_024)?;
        self.upstream.check()?;
        if let Some(address) = &self.directory {
            return Err(format!(
                "gateway.directory is '{address}': the directory lives in one gateway and is not \
                 shared. Run one gateway only and remove `gateway.directory`, or give all programs \
                 the same section `directory: {{redis: ...}}`"
            ));
        }
        self.check_listen()?;
        if let Some(sni) = &self.sni {
            sni.check()?;
        }
        self.check_shards()
    }

    fn check_listen(&self) -> Result<(), String> {
        if self.listen.is_empty() {
            return Err("gateway.listen is empty: name at least one address".to_owned());
        }
        for listen in &self.listen {
            if !is_host_and_port(&listen.address) {
                return Err(format!(
                    "gateway.listen '{}' is not of the form host:port, such as 0.0.0.0:7880 or \
                     [::]:7880",
                    listen.address
                ));
            }
            if let Some(tls) = &listen.tls
                && tls.certificates.is_empty()
            {
                let address = &listen.address;
                return Err(format!(
                    "gateway.listen '{address}': tls.certificates is empty: name a certificate, or \
                     remove `tls` for plain HTTP"
                ));
            }
        }
        Ok(())
    }

    fn check_shards(&self) -> Result<(), String> {
        if self.shards.len() > SHARDS_MAX {
            return Err(format!(
                "gateway.shards has {} entries; {SHARDS_MAX} is the most",
                self.shards.len()
            ));
        }
        let mut ids = BTreeSet::new();
        for shard in &self.shards {
            if !ids.insert(&shard.id) {
                return Err(format!("gateway.shards names '{}' twice", shard.id));
            }
            if !(1..=WEIGHT_MAX).contains(&shard.weight) {
                return Err(format!(
                    "gateway.shards '{}': weight {} is not between 1 and {WEIGHT_MAX}",
                    shard.id, shard.weight
                ));
            }
        }
        Ok(())
    }
}

/// An IP address or a name, and a port. Whether the name exists is seen when it is bound.
pub(crate) fn is_host_and_port(address: &str) -> bool {
    let is_name = |host: &str| {
        let mut bytes = host.bytes();
        !host.is_empty() && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    let named = address
        .rsplit_once(':')
        .is_some_and(|(host, port)| is_name(host) && port.parse::<u16>().is_ok());
    named || address.parse::<SocketAddr>().is_ok()
}

impl UpstreamConfig {
    fn check(&self) -> Result<(), String> {
        let day = 86_400_000;
        within(
            "upstream.connect_timeout_ms",
            self.connect_timeout_ms,
            10,
            day,
        )?;
        within(
            "upstream.answer_timeout_ms",
            self.answer_timeout_ms,
            100,
            day,
        )?;
        within("upstream.read_timeout_ms", self.read_timeout_ms, 100, day)?;
        within("upstream.write_timeout_ms", self.write_timeout_ms, 100, day)?;
        within(
            "upstream.websocket_idle_ms",
            self.websocket_idle_ms,
            60_000,
            day,
        )
    }
}

fn within<T: Copy + PartialOrd + std::fmt::Display>(
    field: &str,
    value: T,
    min: T,
    max: T,
) -> Result<(), String> {
    if value < min || value > max {
        return Err(format!(
            "gateway.{field} is {value}; it must be between {min} and {max}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_section_is_the_default_and_an_unknown_key_is_refused() {
        let config: Config = serde_json::from_str("{}").unwrap();
        assert_eq!(config, Config::default());
        assert_eq!(config.check(), Ok(()));
        let error = serde_json::from_str::<Config>(r#"{"lisen": []}"#).unwrap_err();
        assert!(error.to_string().contains("lisen"), "{error}");
    }

    #[test]
    fn a_listen_address_is_host_and_port() {
        for right in [
            "127.0.0.1:7880",
            "[::]:0",
            "localhost:80",
            "my-host.local:1",
        ] {
            assert!(is_host_and_port(right), "{right}");
        }
        for wrong in [
            "",
            "7880",
            ":7880",
            "localhost",
            "localhost:",
            "::1:80:x",
            "a:70000",
            "http://a:1",
            "a b:1",
            "[::1]",
        ] {
            let mut config = Config::default();
            wrong.clone_into(&mut config.listen[0].address);
            let error = config.check().unwrap_err();
            assert!(error.contains("host:port"), "{wrong}: {error}");
        }
    }

    #[test]
    fn each_value_out_of_range_is_refused_by_name() {
        let with = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.check().unwrap_err()
        };
        assert!(with(|c| c.header_deadline_ms = 0).contains("header_deadline_ms"));
        assert!(with(|c| c.target_bytes_max = 70_000).contains("target_bytes_max"));
        assert!(with(|c| c.listen.clear()).contains("listen"));
        assert!(with(|c| c.directory = Some("http://a:1".to_owned())).contains("one gateway"));
        let shard = |id: &str, weight| ShardConfig {
            id: id.to_owned(),
            url: "http://127.0.0.1:1".to_owned(),
            weight,
            state: ShardStateConfig::Active,
        };
        let mut config = Config {
            shards: vec![shard("s1", 1), shard("s1", 1)],
            ..Config::default()
        };
        assert!(config.check().unwrap_err().contains("twice"));
        config.shards = vec![shard("s1", 0)];
        assert!(config.check().unwrap_err().contains("weight 0"));
    }
}
