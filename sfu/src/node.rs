//! A media node as a whole: bind first, then run on a link to the shard.

use crate::addresses;
use crate::config::Config;
use crate::engine::{EngineConfig, LocalCandidate, Transport};
use crate::exchange::Exchange;
use crate::figures::Gauges;
use crate::link::{self, LinkEnd, NewWorker, Offer};
use crate::ports::{self, Sockets};
use crate::turn::{self, TurnService};
use proto::context::ClusterKey;
use proto::id::NodeId;
use proto::link::NodeEnd;
use proto::media::TurnOffer;
use proto::rpc::{RpcError, connect_node};
use relay::{Relay, RelayError};
use std::error::Error as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::num::NonZero;
use std::sync::Arc;
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use turn_server::{TurnError, TurnServer};

/// First and longest wait before attaching to the shard again. A restarted shard is back within the
/// first few tries, and a shard that is away for long costs a try every 5 s.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Most workers that a node starts by itself: their ports must be open in firewalls.
const WORKERS_MAX: usize = 64;
/// A link that lived this long was a good one: the next wait is short again.
const GOOD_LINK: Duration = Duration::from_secs(10);

/// Why a node could not start or had to stop.
#[derive(Debug, Error)]
pub enum NodeError {
    /// The name in `node.id` is unusable.
    #[error("node.id '{0}' is not usable: 1 to 64 of a-z A-Z 0-9 - _ .")]
    Id(String),
    /// The system does not list its interfaces.
    #[error("the machine's network interfaces cannot be listed: set node.bind")]
    Interfaces(#[source] io::Error),
    /// There is nothing to bind.
    #[error("this machine has no usable address for media: set node.bind")]
    NoAddress,
    /// An address cannot be bound.
    #[error("cannot open {address} for media: check node.bind and node.udp_port")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// All ports tried are taken.
    #[error("media ports {first} to {last} are all taken: set node.udp_port or node.tcp_port")]
    NoFreePort {
        /// First one tried.
        first: u16,
        /// Last one tried.
        last: u16,
    },
    /// No socket of its family.
    #[error("node.public_ip {0} can reach no socket: no address of the same IP version is bound")]
    PublicAddress(IpAddr),
    /// Nobody could reach it, or nothing is behind it.
    #[error(
        "node.advertise {0} is not usable: it needs a port and an address of the same IP version in node.bind"
    )]
    Advertise(SocketAddr),
    /// One replaces the other.
    #[error(
        "node.public_ip and node.advertise exclude each other: list all addresses in node.advertise, with ports"
    )]
    PublicAndAdvertise,
    /// There is nobody to attach to.
    #[error("node.shard is missing: write the shard's internal address, http://host:port")]
    NoShard,
    /// The shard's address is unusable.
    #[error("cannot attach to the shard: check node.shard")]
    Shard(#[source] RpcError),
    /// There is no transport between nodes.
    #[error(
        "the transport between nodes cannot work: check node.relay_port and node.relay_address"
    )]
    Relay(#[from] RelayError),
    /// All ports tried for other nodes are taken.
    #[error("ports {first} to {last} for other nodes are all taken: set node.relay_port")]
    NoFreeRelayPort {
        /// First one tried.
        first: u16,
        /// Last one tried.
        last: u16,
    },
    /// The section `node.turn` is unusable.
    #[error(transparent)]
    TurnConfig(#[from] turn_server::ConfigError),
    /// An address cannot be bound for TURN.
    #[error("cannot open {address} for TURN: check node.bind and the ports in node.turn")]
    TurnBind {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// All ports tried for TURN are taken.
    #[error("TURN ports {first} to {last} are all taken: set the ports in node.turn")]
    NoFreeTurnPort {
        /// First one tried.
        first: u16,
        /// Last one tried.
        last: u16,
    },
    /// The TURN server cannot start, or died.
    #[error(transparent)]
    Turn(#[from] TurnError),
    /// The shard stopped taking events.
    #[error("the shard takes no messages any more: it has stalled")]
    LinkStalled,
    /// No thread, no runtime or no sockets in it.
    #[error("the media thread cannot be started")]
    MediaThreadStart(#[source] io::Error),
    /// A fault in the media engine.
    #[error("the media thread (engine) died by a fault: {0}")]
    MediaThreadPanicked(String),
    /// A fault in the media engine.
    #[error("the media thread (engine) shows no sign of life for {0:?}")]
    MediaThreadStuck(Duration),
}

/// How a node is told to end.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// At once.
    pub now: CancellationToken,
    /// When nobody is there any more; it gets nobody else.
    pub when_empty: CancellationToken,
}

impl From<CancellationToken> for Stop {
    fn from(now: CancellationToken) -> Self {
        Self {
            now,
            ..Self::default()
        }
    }
}

/// A media node with its sockets bound.
#[derive(Debug)]
pub struct Node {
    config: Config,
    workers: Vec<Ports>,
    /// For other nodes: the first usable address.
    base: IpAddr,
    turn: Option<TurnServer>,
}

/// The ports of one worker.
#[derive(Debug)]
struct Ports {
    sockets: Sockets,
    candidates: Vec<LocalCandidate>,
}

impl Node {
    /// Takes the ports, so that a node that cannot work says so at start.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub fn bind(config: Config) -> Result<Self, NodeError> {
        config.validate()?;
        let machine = match addresses::of_this_machine() {
            Ok(machine) => machine,
            // Not needed then.
            Err(_) if !config.bind.is_empty() => Vec::new(),
            Err(error) => return Err(error),
        };
        let bases = addresses::to_bind(&config.bind, &machine)?;
        let workers = open(&config, &bases)?;
        let told = workers.iter().flat_map(|worker| worker.candidates.clone());
        let turn = turn::bind(&config, &bases, &told.collect::<Vec<_>>())?;
        let base = bases.iter().find(|ip| !ip.is_loopback());
        let base = *base.or(bases.first()).ok_or(NodeError::NoAddress)?;
        let node = Self {
            config,
            workers,
            base,
            turn,
        };
        tracing::info!(
            node = node.config.id,
            udp = ?node.udp_ports(),
            tcp = ?node.tcp_ports(),
            addresses = ?bases,
            public = ?node.config.public_ip,
            advertised = ?node.config.advertise,
            "media ports are open"
        );
        Ok(node)
    }

    /// Where clients are told to reach it, worker by worker.
    pub fn addresses(&self) -> impl Iterator<Item = &LocalCandidate> {
        self.workers.iter().flat_map(|worker| &worker.candidates)
    }

    /// The UDP ports that were free, one for each worker.
    pub fn udp_ports(&self) -> Vec<u16> {
        self.ports(Transport::Udp)
    }

    /// The TCP ports that were free, one for each worker; none if ICE-TCP is off.
    pub fn tcp_ports(&self) -> Vec<u16> {
        self.ports(Transport::Tcp)
    }

    fn ports(&self, transport: Transport) -> Vec<u16> {
        let ports = self.workers.iter();
        let ports = ports.filter_map(|worker| port_of(&worker.candidates, transport));
        ports.collect()
    }

    /// The URLs of its TURN server, if it has one.
    pub fn turn_urls(&self) -> &[String] {
        self.turn.as_ref().map_or(&[], TurnServer::urls)
    }

    /// The node's name in the pool.
    pub fn id(&self) -> NodeId {
        NodeId::new(self.config.id.clone())
    }

    /// Serves one link until it closes or `shutdown` is cancelled. With a cluster's key it shares rooms
    /// with other nodes of the shard.
    ///
    /// # Errors
    /// [`NodeError::LinkStalled`] if the shard stops taking events, the others if the media thread
    /// cannot start or dies.
    pub async fn run(
        mut self,
        link: NodeEnd,
        cluster: Option<ClusterKey>,
        shutdown: CancellationToken,
    ) -> Result<(), NodeError> {
        let turn = TurnService::start(&self.config.id, self.turn.take())?;
        let mut gauges = Gauges::new(&self.config.id);
        let relay = cluster.map(|key| self.bind_relay(&key)).transpose()?;
        let among = self.among(turn.offer(), relay.as_ref());
        let stop = Stop::from(shutdown);
        let end = tokio::select! {
            end = self.serve(link, &among, &mut gauges, &stop) => end?,
            error = turn.run() => return Err(error),
            error = run_relay(relay, &among.exchange) => return Err(error),
        };
        match end {
            LinkEnd::Shutdown | LinkEnd::Closed => Ok(()),
            LinkEnd::Stalled => Err(NodeError::LinkStalled),
        }
    }

    /// Attaches to the shard of the configuration, again and again, until it is told to stop.
    ///
    /// When a link is lost all participants are dropped, since the shard has given up on this node.
    ///
    /// # Errors
    /// [`NodeError::NoShard`] and [`NodeError::Shard`] for an unusable address; the others if the
    /// media thread cannot start or dies.
    pub async fn run_attached(
        mut self,
        cluster: ClusterKey,
        stop: impl Into<Stop>,
    ) -> Result<(), NodeError> {
        let turn = TurnService::start(&self.config.id, self.turn.take())?;
        let relay = Some(self.bind_relay(&cluster)?);
        let among = self.among(turn.offer(), relay.as_ref());
        tokio::select! {
            ended = self.attach(cluster, &among, stop.into()) => ended,
            error = turn.run() => Err(error),
            error = run_relay(relay, &among.exchange) => Err(error),
        }
    }

    /// Takes the port for other nodes.
    fn bind_relay(&self, key: &ClusterKey) -> Result<Relay, NodeError> {
        let first = self.config.relay_port;
        let told = self.config.relay_address;
        // An address that is not this machine's leads to any of them.
        let ip = match told {
            Some(IpAddr::V4(_)) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Some(IpAddr::V6(_)) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            None => self.base,
        };
        let last = first.saturating_add(ports::PORT_TRIES);
        let last = if first == 0 { 0 } else { last };
        for port in first..=last {
            let config = relay::Config {
                node: self.id(),
                bind: SocketAddr::new(ip, port),
                key: key.clone(),
            };
            match Relay::bind(config) {
                Err(RelayError::Bind(_, error)) if error.kind() == io::ErrorKind::AddrInUse => {}
                bound => return Ok(bound?),
            }
        }
        Err(NodeError::NoFreeRelayPort { first, last })
    }

    fn among(&self, turn: Option<TurnOffer>, relay: Option<&Relay>) -> Among {
        let address = relay.map(|relay| {
            let ip = self.config.relay_address.unwrap_or(self.base);
            SocketAddr::new(ip, relay.address().port())
        });
        if let Some(address) = address {
            tracing::info!(node = self.config.id, %address, "other nodes can share rooms");
        }
        Among {
            exchange: Exchange::new(self.id(), relay.map(Relay::handle)),
            offer: Offer {
                turn,
                relay: address,
            },
        }
    }

    async fn attach(
        &self,
        cluster: ClusterKey,
        among: &Among,
        stop: Stop,
    ) -> Result<(), NodeError> {
        let shard = self.config.shard.as_deref().ok_or(NodeError::NoShard)?;
        let peer = format!("node/{}", self.config.id);
        let mut gauges = Gauges::new(&self.config.id);
        let mut wait = BACKOFF_MIN;
        loop {
            let attaching = connect_node(shard, &peer, &cluster);
            let attached = tokio::select! {
                () = stop.now.cancelled() => return Ok(()),
                // Nobody is here.
                () = stop.when_empty.cancelled() => return Ok(()),
                attached = attaching => attached,
            };
            match attached {
                Ok(link) => {
                    tracing::info!(node = self.config.id, shard, "attached to the shard");
                    let since = Instant::now();
                    match self.serve(link, among, &mut gauges, &stop).await? {
                        LinkEnd::Shutdown => return Ok(()),
                        end @ (LinkEnd::Closed | LinkEnd::Stalled) => {
                            tracing::warn!(shard, ?end, "lost the shard: all participants dropped");
                        }
                    }
                    if since.elapsed() >= GOOD_LINK {
                        wait = BACKOFF_MIN;
                    }
                }
                Err(error @ RpcError::Address(_)) => return Err(NodeError::Shard(error)),
                Err(error) => {
                    let cause = error.source().map(ToString::to_string);
                    tracing::warn!(%error, cause, again_in = ?wait, "cannot attach to the shard");
                }
            }
            tokio::select! {
                () = stop.now.cancelled() => return Ok(()),
                () = stop.when_empty.cancelled() => return Ok(()),
                () = tokio::time::sleep(wait) => {}
            }
            wait = (wait * 2).min(BACKOFF_MAX);
        }
    }

    /// One link, with an engine of its own.
    async fn serve(
        &self,
        link: NodeEnd,
        among: &Among,
        gauges: &mut Gauges,
        stop: &Stop,
    ) -> Result<LinkEnd, NodeError> {
        let ports = self.workers.iter().zip(0..);
        let workers: Result<Vec<_>, _> = ports
            .map(|(ports, worker)| self.worker(ports, worker))
            .collect();
        let workers = workers.map_err(NodeError::MediaThreadStart)?;
        gauges.set_attached(true);
        let Among { exchange, offer } = among;
        let end = link::run(workers, exchange, link, offer.clone(), gauges, stop).await;
        gauges.set_attached(false);
        end
    }

    fn worker(&self, ports: &Ports, worker: u16) -> io::Result<NewWorker> {
        Ok(NewWorker {
            config: EngineConfig {
                node: self.id(),
                candidates: ports.candidates.clone(),
                worker,
                estimates: self.config.estimate_bandwidth,
                seed: rand::random(),
            },
            sockets: ports.sockets.try_clone()?,
        })
    }
}

/// What lasts longer than a link.
struct Among {
    exchange: Arc<Exchange>,
    offer: Offer,
}

/// Runs the transport between nodes; without one it never ends.
async fn run_relay(relay: Option<Relay>, exchange: &Arc<Exchange>) -> NodeError {
    let Some(relay) = relay else {
        return std::future::pending().await;
    };
    let exchange = Arc::clone(exchange);
    let deliver = move |incoming| exchange.deliver(incoming);
    // Ends with the node.
    match relay.run(deliver, CancellationToken::new()).await {
        Ok(()) => std::future::pending().await,
        Err(error) => error.into(),
    }
}

/// Takes the ports of all workers.
fn open(config: &Config, bases: &[IpAddr]) -> Result<Vec<Ports>, NodeError> {
    let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
    let count = match config.workers {
        0 => cores().min(WORKERS_MAX),
        count => usize::from(count),
    };
    let (mut udp, mut tcp) = (config.udp_port, config.tcp_port);
    let mut workers = Vec::with_capacity(count);
    for worker in 0..count {
        let sockets = ports::bind(bases, udp, tcp)?;
        let worker = u16::try_from(worker).unwrap_or(u16::MAX);
        let candidates = candidates(&sockets, config, worker)?;
        // 0 stands for any port, each time.
        let behind = |wanted: u16, transport| match port_of(&candidates, transport) {
            Some(port) if wanted != 0 => port.saturating_add(1),
            _ => wanted,
        };
        udp = behind(udp, Transport::Udp);
        tcp = tcp.map(|wanted| behind(wanted, Transport::Tcp));
        workers.push(Ports {
            sockets,
            candidates,
        });
    }
    Ok(workers)
}

fn candidates(
    sockets: &Sockets,
    config: &Config,
    worker: u16,
) -> Result<Vec<LocalCandidate>, NodeError> {
    let udp: io::Result<Vec<_>> = sockets.udp.iter().map(UdpSocket::local_addr).collect();
    let tcp: io::Result<Vec<_>> = sockets.tcp.iter().map(TcpListener::local_addr).collect();
    let udp = udp.map_err(NodeError::Interfaces)?;
    let tcp = tcp.map_err(NodeError::Interfaces)?;
    let mut told = config.advertise.clone();
    for address in &mut told {
        address.set_port(address.port().saturating_add(worker));
    }
    let of = |proto, bases: &[SocketAddr]| {
        if told.is_empty() {
            addresses::candidates(proto, bases, &config.public_ip)
        } else {
            addresses::advertised(proto, bases, &told)
        }
    };
    let mut candidates = of(Transport::Udp, &udp)?;
    if !tcp.is_empty() {
        candidates.extend(of(Transport::Tcp, &tcp)?);
    }
    Ok(candidates)
}

fn port_of(candidates: &[LocalCandidate], proto: Transport) -> Option<u16> {
    let mut of_proto = candidates
        .iter()
        .filter(|candidate| candidate.proto == proto);
    of_proto.next().map(|candidate| candidate.base.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_without_a_socket_is_refused_before_one_is_opened() {
        let config = Config {
            id: "a b".to_owned(),
            ..Config::default()
        };
        assert!(matches!(Node::bind(config), Err(NodeError::Id(_))));
    }

    #[test]
    fn every_address_is_told_for_udp_and_for_tcp() {
        let config = Config {
            udp_port: 0,
            workers: 1,
            bind: vec!["127.0.0.1".parse().unwrap(), "127.0.0.2".parse().unwrap()],
            public_ip: vec!["192.0.2.77".parse().unwrap()],
            ..Config::default()
        };
        let node = Node::bind(config).unwrap();
        assert_eq!(node.addresses().count(), 6);
        assert_eq!(node.udp_ports(), node.tcp_ports());
        let public =
            |candidate: &&LocalCandidate| candidate.address.ip().to_string() == "192.0.2.77";
        assert_eq!(node.addresses().filter(public).count(), 2);
    }

    #[test]
    fn behind_mapped_ports_only_the_advertised_address_is_told() {
        let told: SocketAddr = "192.0.2.77:40000".parse().unwrap();
        let config = Config {
            udp_port: 0,
            workers: 1,
            bind: vec!["127.0.0.1".parse().unwrap(), "127.0.0.2".parse().unwrap()],
            advertise: vec![told],
            ..Config::default()
        };
        let mut node = Node::bind(config).unwrap();
        assert_eq!(node.addresses().count(), 2);
        assert!(node.addresses().all(|one| one.address == told));
        assert_eq!(node.udp_ports(), node.tcp_ports(), "the ports bound");
        assert_ne!(node.udp_ports(), [told.port()]);

        node.config.tcp_port = Some(0);
        node = Node::bind(node.config).unwrap();
        assert_eq!(node.addresses().count(), 1);
        assert!(node.tcp_ports().is_empty());

        node.config.workers = 3;
        node = Node::bind(node.config).unwrap();
        let told: Vec<u16> = node.addresses().map(|one| one.address.port()).collect();
        assert_eq!(told, [40_000, 40_001, 40_002]);
    }
}
