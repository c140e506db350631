//! Section `node.turn:` of the configuration file, and what can be told of it without a machine.

use crate::core::Limits;
use crate::core::limits;
use crate::core::range::IpRange;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;
use thiserror::Error;

/// IANA's port for TURN (RFC 8656 section 3.1).
const DEFAULT_PORT: u16 = 3478;
/// IANA's port for TURN over TLS.
const DEFAULT_TLS_PORT: u16 = 5349;
/// Ports of relayed addresses that RFC 8656 section 7.2 recommends.
const DEFAULT_RELAY_PORTS: PortRange = PortRange {
    first: 49_152,
    last: 65_535,
};
/// A range must give each allocation a port, and a random one shall not be guessed at once.
const RELAY_PORTS_MIN: u16 = 16;
/// Longest name of a host (RFC 1035 section 2.3.4).
const DOMAIN_BYTES_MAX: usize = 253;
/// Shortest secret. A password is a MAC made with it, which strangers may try to invert.
const SECRET_BYTES_MIN: usize = 16;

/// A TURN server in the node, for clients whose network lets out nothing but TCP, TLS, or UDP to one
/// port. They are told of it when they join.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// UDP port. If it is taken, the next free one up to 100 higher is used. 0 means any free port.
    pub udp_port: u16,
    /// TCP port. Left out: the same number as the UDP port. 0 turns it off.
    pub tcp_port: Option<u16>,
    /// TLS port, opened if there is a certificate. If it is taken, the next free one up to 100 higher
    /// is used. 0 means any free port.
    pub tls_port: u16,
    /// PEM file with the certificate for `domain`, followed by its chain. Read again when it changes.
    pub certificate: Option<PathBuf>,
    /// PEM file with its private key. Read again when it changes.
    pub key: Option<PathBuf>,
    /// Name under which clients reach this node, in the URLs that they are told. Left out: the
    /// `public_ip`, else an address of the machine; for TLS, browsers want the name of the
    /// certificate.
    pub domain: Option<String>,
    /// Port of the TLS URL that clients are told, where it is not `tls_port`: 443 behind a gateway
    /// with `gateway.sni`.
    pub tls_public_port: Option<u16>,
    /// Secret that credentials are made with; the same as `shard.turn.secret`. Left out: made from
    /// `cluster.secret`.
    pub secret: Option<String>,
    /// UDP ports that relayed addresses are opened on, `first-last`. Nobody but the node itself talks
    /// to them, unless `allow_peers` says so: they need not be open to the Internet.
    pub relay_ports: PortRange,
    /// Addresses, besides the node's own media ports, that clients may have packets relayed to, such
    /// as `198.51.100.0/24`. A private or otherwise special address is let in only by a range that is
    /// special itself: `0.0.0.0/0` does not open `10.0.0.0/8`.
    pub allow_peers: Vec<IpRange>,
    /// Most relayed addresses at one time.
    pub allocations: u32,
    /// Most relayed addresses of one participant.
    pub allocations_per_user: u32,
    /// Most relayed addresses from one IPv4 address, or one IPv6 network of 64 bits.
    pub allocations_per_ip: u32,
    /// Bandwidth of one relayed address each way, in thousand bits a second. More is dropped.
    pub allocation_kbps: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            udp_port: DEFAULT_PORT,
            tcp_port: None,
            tls_port: DEFAULT_TLS_PORT,
            certificate: None,
            key: None,
            domain: None,
            tls_public_port: None,
            secret: None,
            relay_ports: DEFAULT_RELAY_PORTS,
            allow_peers: Vec::new(),
            allocations: limits::ALLOCATIONS,
            allocations_per_user: limits::ALLOCATIONS_PER_USER,
            allocations_per_ip: limits::ALLOCATIONS_PER_IP,
            allocation_kbps: limits::ALLOCATION_KBPS,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("udp_port", &self.udp_port)
            .field("tcp_port", &self.tcp_port)
            .field("tls_port", &self.tls_port)
            .field("certificate", &self.certificate)
            .field("domain", &self.domain)
            .field("secret", &self.secret.as_ref().map(|_| ".."))
            .field("relay_ports", &self.relay_ports)
            .field("allow_peers", &self.allow_peers)
            .finish_non_exhaustive()
    }
}

/// What is wrong with the section, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// One of the two files alone.
    #[error("node.turn.{there} is set and node.turn.{missing} is not: TLS needs both")]
    HalfCertificate {
        /// The one that is set.
        there: &'static str,
        /// The other one.
        missing: &'static str,
    },
    /// A port without a listener.
    #[error(
        "node.turn.tls_public_port is set, and there is no TLS: set node.turn.certificate and \
         node.turn.key"
    )]
    PublicPort,
    /// No name and no address.
    #[error(
        "node.turn.domain '{0}' is not usable: write a name such as turn.example.org, without scheme and port"
    )]
    Domain(String),
    /// Too short.
    #[error("node.turn.secret has {0} bytes: use at least 16 random ones, or leave it out")]
    Secret(usize),
    /// Too few, or privileged ones.
    #[error(
        "node.turn.relay_ports {0} is not usable: at least 16 ports from 1024 up, such as 49152-65535"
    )]
    RelayPorts(PortRange),
    /// A limit of 0.
    #[error("node.turn.{0} is 0: nobody could use the server; leave out node.turn to turn it off")]
    Zero(&'static str),
}

impl Config {
    /// Finds what is wrong whatever the machine.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn validate(&self) -> Result<(), ConfigError> {
        let half = |there, missing| Err(ConfigError::HalfCertificate { there, missing });
        match (&self.certificate, &self.key) {
            (Some(_), None) => return half("certificate", "key"),
            (None, Some(_)) => return half("key", "certificate"),
            (None, None) if self.tls_public_port.is_some() => return Err(ConfigError::PublicPort),
            (None, None) | (Some(_), Some(_)) => {}
        }
        if let Some(domain) = self.domain.as_deref().filter(|domain| !is_host(domain)) {
            return Err(ConfigError::Domain(domain.to_owned()));
        }
        if let Some(secret) = self.secret.as_ref().filter(|s| s.len() < SECRET_BYTES_MIN) {
            return Err(ConfigError::Secret(secret.len()));
        }
        let ports = self.relay_ports;
        if ports.first < 1_024 || ports.last.saturating_sub(ports.first) < RELAY_PORTS_MIN - 1 {
            return Err(ConfigError::RelayPorts(ports));
        }
        let limits = [
            ("allocations", self.allocations),
            ("allocations_per_user", self.allocations_per_user),
            ("allocations_per_ip", self.allocations_per_ip),
            ("allocation_kbps", self.allocation_kbps),
        ];
        match limits.into_iter().find(|(_, limit)| *limit == 0) {
            Some((name, _)) => Err(ConfigError::Zero(name)),
            None => Ok(()),
        }
    }

    /// The limits among the settings.
    pub fn limits(&self) -> Limits {
        Limits {
            allocations: self.allocations,
            allocations_per_user: self.allocations_per_user,
            allocations_per_ip: self.allocations_per_ip,
            allocation_kbps: self.allocation_kbps,
        }
    }

    /// The host in the URLs: the domain, else `address`.
    pub fn host(&self, address: IpAddr) -> String {
        match (&self.domain, address) {
            (Some(domain), _) => domain.clone(),
            (None, IpAddr::V4(v4)) => v4.to_string(),
            (None, IpAddr::V6(v6)) => format!("[{v6}]"),
        }
    }
}

fn is_host(host: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let is_name = !host.is_empty() && host.len() <= DOMAIN_BYTES_MAX && host.chars().all(allowed);
    let inside = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    is_name || inside.is_some_and(|inside| inside.parse::<Ipv6Addr>().is_ok())
}

/// Ports from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct PortRange {
    /// The first one.
    pub first: u16,
    /// The last one.
    pub last: u16,
}

/// A text that is no range of ports.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("'{0}' is no range of ports: write first-last, such as 49152-65535")]
pub struct PortRangeError(String);

impl FromStr for PortRange {
    type Err = PortRangeError;

    fn from_str(text: &str) -> Result<Self, PortRangeError> {
        let range = text.split_once('-').and_then(|(first, last)| {
            let first = first.trim().parse().ok()?;
            let last = last.trim().parse().ok()?;
            (first <= last).then_some(Self { first, last })
        });
        range.ok_or_else(|| PortRangeError(text.to_owned()))
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl TryFrom<String> for PortRange {
    type Error = PortRangeError;

    fn try_from(text: String) -> Result<Self, PortRangeError> {
        text.parse()
    }
}

impl From<PortRange> for String {
    fn from(range: PortRange) -> Self {
        range.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(change: impl FnOnce(&mut Config)) -> Result<(), ConfigError> {
        let mut config = Config::default();
        change(&mut config);
        config.validate()
    }

    #[test]
    fn the_default_is_usable_and_what_is_wrong_is_named() {
        assert_eq!(changed(|_| {}), Ok(()));
        let wrong = [
            changed(|c| c.certificate = Some("a.pem".into())),
            changed(|c| c.key = Some("a.pem".into())),
            changed(|c| c.tls_public_port = Some(443)),
            changed(|c| c.domain = Some("https://a".into())),
            changed(|c| c.domain = Some("a:3478".into())),
            changed(|c| c.secret = Some("short".into())),
            changed(|c| c.relay_ports = "80-65535".parse().unwrap()),
            changed(|c| c.relay_ports = "5000-5014".parse().unwrap()),
            changed(|c| c.allocations = 0),
        ];
        for error in wrong {
            let text = error.unwrap_err().to_string();
            assert!(text.contains("node.turn"), "{text}");
        }
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        for host in [
            "turn.example.org",
            "192.0.2.1",
            "[2001:db8::1]",
            "localhost",
        ] {
            assert_eq!(changed(|c| c.domain = Some(host.into())), Ok(()), "{host}");
        }
        let config = Config::default();
        assert_eq!(config.host("2001:db8::1".parse().unwrap()), "[2001:db8::1]");
        assert_eq!(config.host("192.0.2.1".parse().unwrap()), "192.0.2.1");
    }

    #[test]
    fn ports_are_written_as_they_are_read() {
        let config: Config = serde_json::from_str(r#"{"relay_ports": "5000-6000"}"#).unwrap();
        assert_eq!(
            config.relay_ports,
            PortRange {
                first: 5_000,
                last: 6_000
            }
        );
        let written = serde_json::to_string(&config).unwrap();
        assert!(written.contains("5000-6000"), "{written}");
        for text in ["", "5000", "6000-5000", "1-70000", "a-b"] {
            assert!(text.parse::<PortRange>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_secret_is_not_printed() {
        let config = Config {
            secret: Some("very-secret-indeed".into()),
            ..Config::default()
        };
        assert!(!format!("{config:?}").contains("very"));
    }
}
