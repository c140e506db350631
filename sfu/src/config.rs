//! Section `node:` of the configuration file. Plain data: checking it against the machine is
//! `addresses.rs` and `ports.rs`.

use schemars::JsonSchema;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::net::IpAddr;

/// First port for media if nothing is configured.
pub(crate) const DEFAULT_PORT: u16 = 7882;

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
    /// Addresses of this machine to use for media. Empty: all usable ones, IPv4 and IPv6, with
    /// loopback, so that a browser on the same machine connects too. `0.0.0.0` and `::` stand for
    /// all addresses of their family.
    pub bind: Vec<IpAddr>,
    /// Public addresses that forward to this machine (cloud NAT, port forwarding), told to clients
    /// besides the machine's own. The port must be forwarded unchanged. One address or a list.
    #[serde(deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany")]
    pub public_ip: Vec<IpAddr>,
    /// The shard to attach to, `http://host:port` of its internal listener. Left out where the
    /// shard runs in the same process.
    pub shard: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            id: "n1".to_owned(),
            udp_port: DEFAULT_PORT,
            tcp_port: None,
            bind: Vec::new(),
            public_ip: Vec::new(),
            shard: None,
        }
    }
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
            ..Config::default()
        };
        assert_eq!(read(&serde_json::to_string(&config).unwrap()), Ok(config));
    }

    #[test]
    fn the_schema_knows_both_ways_to_write_a_public_address() {
        let schema = serde_json::to_value(schemars::schema_for!(Config)).unwrap();
        let either = &schema["properties"]["public_ip"]["anyOf"];
        assert_eq!(either.as_array().map(Vec::len), Some(2), "{schema:#}");
    }
}
