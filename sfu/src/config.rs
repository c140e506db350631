//! Section `node:` of the configuration file, and what can be told of it without a machine: checking
//! it against one is `addresses.rs` and `ports.rs`.

use crate::node::NodeError;
use proto::rpc::RpcError;
use schemars::JsonSchema;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Longest name of a node. It is a metrics label and part of logs.
const ID_CHARS_MAX: usize = 64;
/// First port for media if nothing is configured.
pub(crate) const DEFAULT_PORT: u16 = 7882;
/// First port for other nodes if nothing is configured.
const DEFAULT_RELAY_PORT: u16 = 7860;

/// A media node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The node's name in its shard's pool: letters, digits, `-`, `_` and `.`, up to 64.
    pub id: String,
    /// UDP port for media. If it is taken, the next free one up to 100 higher is used. 0 means any
    /// free port.
    pub udp_port: u16,
    /// TCP port for media of clients whose network blocks UDP (ICE-TCP). Left out: the same number
    /// as the UDP port. 0 turns it off.
    pub tcp_port: Option<u16>,
    /// Threads for media, each with ports of its own from `udp_port` and `tcp_port` up. A room lives on
    /// one of them. 0: one for each core.
    pub workers: u16,
    /// Addresses of this machine to use for media. Empty: all usable ones, IPv4 and IPv6, with
    /// loopback, so that a browser on the same machine connects too. `0.0.0.0` and `::` stand for
    /// all addresses of their family.
    pub bind: Vec<IpAddr>,
    /// Public addresses that forward to this machine (cloud NAT, port forwarding), told to clients
    /// besides the machine's own. The port must be forwarded unchanged. One address or a list.
    #[serde(deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany")]
    pub public_ip: Vec<IpAddr>,
    /// Estimates what each client's line takes, by the transport-wide feedback of its browser, and sends no
    /// more: lower layers, or no picture. Off: everybody gets all that is asked for.
    pub estimate_bandwidth: bool,
    /// Addresses with ports that clients are told instead of all others, where ports are not
    /// forwarded unchanged (a NAT that maps ports, a relay in front). What arrives there over UDP,
    /// and over TCP unless `tcp_port` is 0, must reach the media port of the first address in `bind`
    /// of the same IP version that is no loopback. With more than one worker it is the first one's, and
    /// the others' ports follow. Excludes `public_ip`.
    pub advertise: Vec<SocketAddr>,
    /// The shard to attach to, `http://host:port` of its internal listener. Left out where the
    /// shard runs in the same process.
    pub shard: Option<String>,
    /// UDP port for other nodes of the shard, with which it shares rooms. If it is taken, the next free one
    /// up to 100 higher is used. 0 means any free port. Only nodes that need it should reach it; what comes
    /// there is encrypted and signed with the cluster secret.
    pub relay_port: u16,
    /// Where other nodes reach `relay_port`. Left out: the first address of `bind` that is no loopback, or
    /// of the machine.
    pub relay_address: Option<IpAddr>,
    /// How long SIGTERM waits for those who are here to leave, seconds; a second signal ends it at once.
    /// Meanwhile the node gets nobody else, and whoever is left at the end joins again at another one.
    pub drain_s: u32,
    /// A TURN server. Left out: none. `turn: {}` starts one with its defaults.
    pub turn: Option<turn_server::Config>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            id: "n1".to_owned(),
            udp_port: DEFAULT_PORT,
            tcp_port: None,
            workers: 0,
            bind: Vec::new(),
            public_ip: Vec::new(),
            estimate_bandwidth: true,
            advertise: Vec::new(),
            shard: None,
            relay_port: DEFAULT_RELAY_PORT,
            relay_address: None,
            drain_s: 0,
            turn: None,
        }
    }
}

impl Config {
    /// Finds what is wrong whatever the machine: no socket is opened and no interface looked at.
    ///
    /// # Errors
    /// [`NodeError::Id`], [`NodeError::PublicAddress`], [`NodeError::Advertise`],
    /// [`NodeError::PublicAndAdvertise`], [`NodeError::Shard`] and [`NodeError::TurnConfig`].
    pub fn validate(&self) -> Result<(), NodeError> {
        if !is_id(&self.id) {
            return Err(NodeError::Id(self.id.clone()));
        }
        // Without `bind` the machine's addresses decide.
        let reachable = |public: &IpAddr| {
            self.bind.is_empty() || self.bind.iter().any(|ip| ip.is_ipv4() == public.is_ipv4())
        };
        if let Some(public) = self.public_ip.iter().find(|public| !reachable(public)) {
            return Err(NodeError::PublicAddress(*public));
        }
        let usable = |told: &SocketAddr| {
            told.port() != 0 && !told.ip().is_unspecified() && reachable(&told.ip())
        };
        if let Some(told) = self.advertise.iter().find(|told| !usable(told)) {
            return Err(NodeError::Advertise(*told));
        }
        if !self.advertise.is_empty() && !self.public_ip.is_empty() {
            return Err(NodeError::PublicAndAdvertise);
        }
        if let Some(turn) = &self.turn {
            turn.validate()?;
        }
        match &self.shard {
            Some(shard) if !is_shard(shard) => {
                Err(NodeError::Shard(RpcError::Address(shard.clone())))
            }
            _ => Ok(()),
        }
    }
}

fn is_id(id: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !id.is_empty() && id.len() <= ID_CHARS_MAX && id.chars().all(allowed)
}

/// `http://host` or `http://host:port`, as far as it can be told without asking for the host.
fn is_shard(address: &str) -> bool {
    let Some(authority) = address.strip_prefix("http://") else {
        return false;
    };
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let port = match authority.rsplit_once(':') {
        // The colons of an IPv6 address stand in brackets.
        Some((_, after)) if after.ends_with(']') => None,
        Some((_, port)) => Some(port),
        None => None,
    };
    let host = authority.split(':').next().unwrap_or_default();
    !host.is_empty()
        && authority.chars().all(|c| c.is_ascii_graphic() && c != '/')
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// The two ways to write `public_ip`, for the schema only.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
#[expect(dead_code, reason = "only its schema is used")]
enum OneOrMany {
    One(IpAddr),
    Many(Vec<IpAddr>),
}

/// Reads one address or a list. A visitor instead of an untagged enum, because that one swallows
/// the cause of an error.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpAddr>, D::Error> {
    struct Addresses;

    impl<'de> Visitor<'de> for Addresses {
        type Value = Vec<IpAddr>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an IP address or a list of IP addresses")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            let refused = |_| E::custom(format!("'{text}' is not an IP address"));
            text.parse().map(|ip| vec![ip]).map_err(refused)
        }

        fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut addresses = Vec::new();
            while let Some(text) = list.next_element::<String>()? {
                let refused = |_| A::Error::custom(format!("'{text}' is not an IP address"));
                addresses.push(text.parse().map_err(refused)?);
            }
            Ok(addresses)
        }
    }

    deserializer.deserialize_any(Addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Config, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_section_is_the_default() {
        assert_eq!(read("{}"), Ok(Config::default()));
    }

    #[test]
    fn a_public_address_may_stand_alone_or_in_a_list() {
        let one = read(r#"{"public_ip": "192.0.2.7"}"#).unwrap();
        let list = read(r#"{"public_ip": ["192.0.2.7", "2001:db8::7"]}"#).unwrap();
        assert_eq!(one.public_ip, ["192.0.2.7".parse::<IpAddr>().unwrap()]);
        assert_eq!(list.public_ip.len(), 2);
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(
            read(r#"{"public_ip": "example"}"#)
                .unwrap_err()
                .contains("'example' is not an IP")
        );
        assert!(read(r#"{"udp_prot": 1}"#).unwrap_err().contains("udp_prot"));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let config = Config {
            public_ip: vec!["192.0.2.7".parse().unwrap()],
            tcp_port: Some(0),
            advertise: vec!["[2001:db8::7]:40000".parse().unwrap()],
            ..Config::default()
        };
        assert_eq!(read(&serde_json::to_string(&config).unwrap()), Ok(config));
    }

    #[test]
    fn a_name_that_would_break_a_label_or_a_log_is_refused() {
        for id in ["", "a b", "n\"1", "ü", &"n".repeat(65)] {
            let config = Config {
                id: id.to_owned(),
                ..Config::default()
            };
            assert!(matches!(config.validate(), Err(NodeError::Id(_))), "{id}");
        }
        assert!(Config::default().validate().is_ok());
    }

    #[test]
    fn a_public_address_needs_an_address_of_its_version() {
        let mut config = Config {
            bind: vec!["127.0.0.1".parse().unwrap()],
            public_ip: vec!["2001:db8::7".parse().unwrap()],
            ..Config::default()
        };
        let refused = config.validate();
        assert!(matches!(refused, Err(NodeError::PublicAddress(_))));
        config.bind.push("::".parse().unwrap());
        assert!(config.validate().is_ok());
        config.bind.clear();
        assert!(config.validate().is_ok(), "the machine decides");
    }

    #[test]
    fn an_advertised_address_needs_a_port_and_an_address_of_its_version() {
        let validate = |told: &str| {
            let config = Config {
                bind: vec!["127.0.0.1".parse().unwrap()],
                advertise: vec![told.parse().unwrap()],
                ..Config::default()
            };
            config.validate()
        };
        assert!(validate("192.0.2.7:40000").is_ok());
        for bad in ["192.0.2.7:0", "0.0.0.0:40000", "[2001:db8::7]:40000"] {
            let refused = validate(bad);
            assert!(matches!(refused, Err(NodeError::Advertise(_))), "{bad}");
        }
    }

    #[test]
    fn advertised_addresses_and_public_ones_exclude_each_other() {
        let config = read(r#"{"public_ip": "192.0.2.7", "advertise": ["192.0.2.7:40000"]}"#);
        let refused = config.unwrap().validate();
        assert!(matches!(refused, Err(NodeError::PublicAndAdvertise)));
    }

    #[test]
    fn the_shards_address_has_a_scheme_a_host_and_perhaps_a_port() {
        let validate = |shard: &str| {
            let config = Config {
                shard: Some(shard.to_owned()),
                ..Config::default()
            };
            config.validate()
        };
        for good in ["http://s1:7980", "http://10.0.0.1", "http://[::1]:7980/"] {
            assert!(validate(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "s1:7980",
            "https://s1:1",
            "http://",
            "http://:1",
            "http://s1:",
            "http://s 1",
            "http://s1:70000",
            "http://s1:1/path",
        ] {
            assert!(matches!(validate(bad), Err(NodeError::Shard(_))), "{bad}");
        }
    }

    #[test]
    fn the_schema_knows_both_ways_to_write_a_public_address() {
        let schema = serde_json::to_value(schemars::schema_for!(Config)).unwrap();
        let either = &schema["properties"]["public_ip"]["anyOf"];
        assert_eq!(either.as_array().map(Vec::len), Some(2), "{schema:#}");
    }
}
