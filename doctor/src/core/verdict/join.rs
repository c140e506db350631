//! The join response: which node, at which addresses, with which TURN servers.

use crate::core::report::Finding;
use crate::core::sdp::{Candidate, Transport};
use std::net::IpAddr;

/// What the server has told of media.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Welcome {
    pub(crate) node: String,
    pub(crate) version: String,
    pub(crate) candidates: Vec<Candidate>,
    /// URLs of TURN and STUN servers.
    pub(crate) servers: Vec<String>,
}

/// Whether the room lets somebody in, who came to it at this address.
pub(crate) fn join(outcome: &Result<Welcome, String>, signalling: Option<IpAddr>) -> Finding {
    let welcome = match outcome {
        Ok(welcome) => welcome,
        Err(cause) => {
            return Finding::failed(
                cause.clone(),
                "look at the log of the shard; `GET /v1/rooms` on the gateway's admin listener says \
                 whether its nodes are attached",
            );
        }
    };
    if welcome.candidates.is_empty() {
        return Finding::failed(
            format!("node {} tells no address for media", welcome.node),
            "set `node.bind`, and `node.public_ip` or `node.advertise`",
        );
    }
    let finding = Finding::ok(describe(welcome));
    match address_warning(welcome, signalling) {
        Some(warning) => finding.warn(warning),
        None => finding,
    }
}

fn describe(welcome: &Welcome) -> String {
    let list = |transport| {
        let of_it = welcome
            .candidates
            .iter()
            .filter(|c| c.transport == transport);
        let list: Vec<String> = of_it.map(|c| c.address.to_string()).collect();
        if list.is_empty() {
            "none".to_owned()
        } else {
            list.join(", ")
        }
    };
    let servers = match welcome.servers.as_slice() {
        [] => "none".to_owned(),
        servers => servers.join(", "),
    };
    format!(
        "node {} (version {}); UDP {}; TCP {}; ICE servers: {servers}",
        welcome.node,
        welcome.version,
        list(Transport::Udp),
        list(Transport::Tcp)
    )
}

/// Addresses that nobody on the Internet can reach, behind a URL that everybody can.
fn address_warning(welcome: &Welcome, signalling: Option<IpAddr>) -> Option<String> {
    let public_url = signalling.is_some_and(is_public);
    let mut told = welcome.candidates.iter();
    if !public_url || told.any(|candidate| is_public(candidate.address.ip())) {
        return None;
    }
    Some(format!(
        "the URL is public, and node {} tells private addresses only: set `node.public_ip`, or \
         `node.advertise` where ports are mapped",
        welcome.node
    ))
}

/// Everybody on the Internet can reach it (IANA's registries of special addresses, the common ones).
pub(crate) fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let shared = a == 100 && (64..128).contains(&b);
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_documentation()
                || shared)
        }
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => is_public(v4.into()),
            None => {
                let documentation = matches!(v6.segments(), [0x2001, 0xdb8, ..]);
                !(v6.is_loopback()
                    || v6.is_unspecified()
                    || v6.is_unique_local()
                    || v6.is_unicast_link_local()
                    || documentation)
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::report::Status;

    fn welcome(addresses: &[&str]) -> Welcome {
        let candidate = |text: &&str| Candidate {
            transport: Transport::Udp,
            address: text.parse().unwrap(),
        };
        Welcome {
            node: "n1".to_owned(),
            version: "1".to_owned(),
            candidates: addresses.iter().map(candidate).collect(),
            servers: vec!["turn:a:3478?transport=udp".to_owned()],
        }
    }

    #[test]
    fn node_addresses_and_servers_are_told() {
        let finding = join(&Ok(welcome(&["10.0.0.1:7882"])), None);
        assert_eq!(
            finding.says,
            "node n1 (version 1); UDP 10.0.0.1:7882; TCP none; ICE servers: \
             turn:a:3478?transport=udp"
        );
        let finding = join(&Ok(welcome(&[])), None);
        assert!(finding.status == Status::Failed && finding.fix.contains("node.bind"));
        let finding = join(&Err("no node".to_owned()), None);
        assert!(finding.status == Status::Failed && finding.says == "no node");
    }

    #[test]
    fn private_addresses_behind_a_public_url_are_worth_a_warning() {
        let public = Some("8.8.8.8".parse().unwrap());
        let private = welcome(&["10.0.0.1:7882", "127.0.0.1:7882"]);
        let finding = join(&Ok(private.clone()), public);
        assert!(
            finding.warnings[0].contains("node.public_ip"),
            "{:?}",
            finding.warnings
        );
        let local = Some("10.0.0.9".parse().unwrap());
        assert!(join(&Ok(private), local).warnings.is_empty());
        let both = welcome(&["10.0.0.1:7882", "9.9.9.9:7882"]);
        assert!(join(&Ok(both), public).warnings.is_empty());
    }

    #[test]
    fn special_addresses_are_not_public() {
        for text in [
            "10.1.1.1",
            "100.64.0.1",
            "127.0.0.1",
            "::1",
            "fd00::1",
            "::ffff:10.0.0.1",
            "fe80::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        for text in ["1.1.1.1", "100.128.0.1", "2a00::1", "::ffff:1.1.1.1"] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }
}
