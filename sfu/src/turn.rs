//! The node's TURN server: its sockets beside the media ports, what the shard is told of it, and its
//! figures. The server itself is the crate `turn-server`.

use crate::config::Config;
use crate::engine::{LocalCandidate, Transport};
use crate::node::NodeError;
use crate::ports;
use metrics::{counter, gauge};
use proto::media::TurnOffer;
use std::net::{IpAddr, SocketAddr};
use turn_server::{Figures, Running, Start, TurnServer};

/// Takes the server's ports, if one is configured.
pub(crate) fn bind(
    config: &Config,
    bases: &[IpAddr],
    candidates: &[LocalCandidate],
) -> Result<Option<TurnServer>, NodeError> {
    let Some(turn) = &config.turn else {
        return Ok(None);
    };
    let plain = ports::bind(bases, turn.udp_port, turn.tcp_port).map_err(for_turn)?;
    let tls = match turn.certificate {
        Some(_) => ports::bind_tcp_only(bases, turn.tls_port).map_err(for_turn)?,
        None => Vec::new(),
    };
    let server = TurnServer::new(Start {
        config: turn,
        sockets: turn_server::Sockets {
            udp: plain.udp,
            tcp: plain.tcp,
            tls,
        },
        addresses: relay_addresses(bases, &config.public_ip),
        media: media_addresses(candidates),
    })?;
    tracing::info!(
        node = config.id,
        urls = ?server.urls(),
        relay_ports = %turn.relay_ports,
        "TURN ports are open"
    );
    Ok(Some(server))
}

/// The settings to name are TURN's.
fn for_turn(error: NodeError) -> NodeError {
    match error {
        NodeError::Bind { address, source } => NodeError::TurnBind { address, source },
        NodeError::NoFreePort { first, last } => NodeError::NoFreeTurnPort { first, last },
        other => other,
    }
}

/// One address of each IP version: the first that is no loopback, told by the public address of that
/// version. IPv4 first, since that is what clients get who do not ask for a version.
fn relay_addresses(bases: &[IpAddr], public: &[IpAddr]) -> Vec<turn_server::core::RelayAddress> {
    let of = |is_v4: bool| {
        let same = || bases.iter().filter(move |base| base.is_ipv4() == is_v4);
        let base = same()
            .find(|base| !base.is_loopback())
            .or_else(|| same().next())?;
        let told = public
            .iter()
            .find(|ip| ip.is_ipv4() == is_v4)
            .unwrap_or(base);
        Some(turn_server::core::RelayAddress {
            base: *base,
            told: *told,
        })
    };
    [of(true), of(false)].into_iter().flatten().collect()
}

/// Where the node takes media over UDP, as clients know it and as the machine does.
fn media_addresses(candidates: &[LocalCandidate]) -> Vec<SocketAddr> {
    let udp = candidates
        .iter()
        .filter(|candidate| candidate.proto == Transport::Udp);
    udp.flat_map(|candidate| [candidate.address, candidate.base])
        .collect()
}

/// A running server, or none.
pub(crate) struct TurnService {
    node: String,
    running: Option<(Running, TurnOffer)>,
}

impl TurnService {
    pub(crate) fn start(node: &str, server: Option<TurnServer>) -> Result<Self, NodeError> {
        let start = |server: TurnServer| {
            let urls = server.urls().to_vec();
            server.start().map(|running| (running, TurnOffer { urls }))
        };
        Ok(Self {
            node: node.to_owned(),
            running: server.map(start).transpose()?,
        })
    }

    /// What the shard is told.
    pub(crate) fn offer(&self) -> Option<TurnOffer> {
        self.running.as_ref().map(|(_, offer)| offer.clone())
    }

    /// Publishes figures until the server dies; for ever without one.
    pub(crate) async fn run(self) -> NodeError {
        let Some((mut running, _)) = self.running else {
            return std::future::pending().await;
        };
        let mut figures = running.figures();
        let mut last = Figures::default();
        loop {
            tokio::select! {
                error = running.ended() => return error.into(),
                Ok(()) = figures.changed() => {
                    let now = *figures.borrow_and_update();
                    publish(&self.node, &now, &last);
                    last = now;
                }
            }
        }
    }
}

fn publish(node: &str, now: &Figures, last: &Figures) {
    let show = |name: &'static str, value: u64| {
        let value = u32::try_from(value).unwrap_or(u32::MAX);
        gauge!(name, "node" => node.to_owned()).set(f64::from(value));
    };
    show("anteroom_node_turn_allocations", now.allocations);
    show("anteroom_node_turn_connections", now.connections);
    let more = |of: fn(&Figures) -> u64| of(now).saturating_sub(of(last));
    counter!("anteroom_node_turn_allocations_total", "node" => node.to_owned())
        .increment(more(|f| f.allocated));
    let count = |name: &'static str, label, value: &'static str, of| {
        let labels = [("node", node.to_owned()), (label, value.to_owned())];
        counter!(name, &labels).increment(more(of));
    };
    let name = "anteroom_node_turn_refused_total";
    count(name, "why", "credentials", |f| f.unauthorized);
    count(name, "why", "rate", |f| f.limited);
    count(name, "why", "quota", |f| f.over_quota);
    count(name, "why", "peer", |f| f.denied);
    let name = "anteroom_node_turn_dropped_total";
    count(name, "why", "bandwidth", |f| f.over_bandwidth);
    count(name, "why", "slow", |f| f.dropped);
    count(name, "why", "stray", |f| f.stray);
    let name = "anteroom_node_turn_bytes_total";
    count(name, "direction", "in", |f| f.bytes_to_peers);
    count(name, "direction", "out", |f| f.bytes_to_clients);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn relayed(bases: &[&str], public: &[&str]) -> Vec<(String, String)> {
        let addresses = relay_addresses(&ips(bases), &ips(public));
        let pair = |a: &turn_server::core::RelayAddress| (a.base.to_string(), a.told.to_string());
        addresses.iter().map(pair).collect()
    }

    fn pair(base: &str, told: &str) -> (String, String) {
        (base.to_owned(), told.to_owned())
    }

    #[test]
    fn relayed_addresses_are_on_the_network_and_told_by_their_public_name() {
        let bases = ["::1", "127.0.0.1", "10.0.0.5", "fd00::5"];
        let expected = [pair("10.0.0.5", "192.0.2.7"), pair("fd00::5", "fd00::5")];
        assert_eq!(relayed(&bases, &["192.0.2.7"]), expected);
        assert_eq!(
            relayed(&["127.0.0.1"], &[]),
            [pair("127.0.0.1", "127.0.0.1")]
        );
        assert!(relayed(&[], &[]).is_empty());
    }

    #[test]
    fn only_udp_media_is_a_peer_under_both_of_its_names() {
        let candidate = |proto, address: &str| LocalCandidate {
            proto,
            address: address.parse().unwrap(),
            base: "10.0.0.5:7882".parse().unwrap(),
        };
        let candidates = [
            candidate(Transport::Udp, "192.0.2.7:7882"),
            candidate(Transport::Tcp, "192.0.2.7:7883"),
        ];
        let media = media_addresses(&candidates);
        let expected: [SocketAddr; 2] = [
            "192.0.2.7:7882".parse().unwrap(),
            "10.0.0.5:7882".parse().unwrap(),
        ];
        assert_eq!(media, expected);
    }

    #[tokio::test]
    async fn a_node_tells_of_its_server_and_two_nodes_have_two() {
        let config = || Config {
            udp_port: 0,
            bind: ips(&["127.0.0.1"]),
            turn: Some(turn_server::Config {
                udp_port: 0,
                tcp_port: None,
                secret: Some("a secret for tests".to_owned()),
                ..turn_server::Config::default()
            }),
            ..Config::default()
        };
        let nodes = [
            crate::Node::bind(config()).unwrap(),
            crate::Node::bind(config()).unwrap(),
        ];
        let [one, two] = nodes.map(|node| node.turn_urls().to_vec());
        assert_eq!(one.len(), 2);
        assert!(one[0].starts_with("turn:127.0.0.1:") && one[0].ends_with("?transport=udp"));
        assert!(one[1].ends_with("?transport=tcp"));
        assert_ne!(one, two);
    }

    #[test]
    fn a_server_without_a_secret_or_with_a_lost_certificate_does_not_start() {
        let refused = |turn: turn_server::Config| {
            let config = Config {
                udp_port: 0,
                bind: ips(&["127.0.0.1"]),
                turn: Some(turn_server::Config {
                    udp_port: 0,
                    ..turn
                }),
                ..Config::default()
            };
            crate::Node::bind(config).unwrap_err().to_string()
        };
        let error = refused(turn_server::Config::default());
        assert!(error.contains("node.turn.secret"), "{error}");
        let failed = NodeError::Bind {
            address: "127.0.0.1:443".parse().unwrap(),
            source: std::io::ErrorKind::PermissionDenied.into(),
        };
        let error = for_turn(failed).to_string();
        assert!(
            error.contains("127.0.0.1:443 for TURN") && error.contains("node.turn"),
            "{error}"
        );
        let error = refused(turn_server::Config {
            secret: Some("a secret for tests".to_owned()),
            certificate: Some("/nowhere/a.pem".into()),
            key: Some("/nowhere/a.key".into()),
            tls_port: 0,
            ..turn_server::Config::default()
        });
        assert!(error.contains("/nowhere/a.pem"), "{error}");
    }
}
