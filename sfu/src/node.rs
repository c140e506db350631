//! A media node as a whole: bind first, then run on a link to the shard.

use crate::addresses;
use crate::config::Config;
use crate::engine::{EngineConfig, LocalCandidate, Transport};
use crate::figures::Gauges;
use crate::link::{self, LinkEnd};
use crate::ports::{self, Sockets};
use crate::turn::{self, TurnService};
use proto::context::ClusterKey;
use proto::id::NodeId;
use proto::link::NodeEnd;
use proto::media::TurnOffer;
use proto::rpc::{RpcError, connect_node};
use std::error::Error as _;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use turn_server::{TurnError, TurnServer};

/// First and longest wait before attaching to the shard again. A restarted shard is back within the
/// first few tries, and a shard that is away for long costs a try every 5 s.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
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
    /// There is nobody to attach to.
    #[error("node.shard is missing: write the shard's internal address, http://host:port")]
    NoShard,
    /// The shard's address is unusable.
    #[error("cannot attach to the shard: check node.shard")]
    Shard(#[source] RpcError),
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

/// A media node with its sockets bound.
#[derive(Debug)]
pub struct Node {
    config: Config,
    sockets: Sockets,
    candidates: Vec<LocalCandidate>,
    turn: Option<TurnServer>,
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
        let sockets = ports::bind(&bases, config.udp_port, config.tcp_port)?;
        let candidates = candidates(&sockets, &config.public_ip)?;
        let turn = turn::bind(&config, &bases, &candidates)?;
        tracing::info!(
            node = config.id,
            udp = ?port_of(&candidates, Transport::Udp),
            tcp = ?port_of(&candidates, Transport::Tcp),
            addresses = ?bases,
            public = ?config.public_ip,
            "media ports are open"
        );
        Ok(Self {
            config,
            sockets,
            candidates,
            turn,
        })
    }

    /// Where clients are told to reach it.
    pub fn addresses(&self) -> &[LocalCandidate] {
        &self.candidates
    }

    /// The UDP port that was free.
    pub fn udp_port(&self) -> Option<u16> {
        port_of(&self.candidates, Transport::Udp)
    }

    /// The TCP port that was free, if ICE-TCP is on.
    pub fn tcp_port(&self) -> Option<u16> {
        port_of(&self.candidates, Transport::Tcp)
    }

    /// The URLs of its TURN server, if it has one.
    pub fn turn_urls(&self) -> &[String] {
        self.turn.as_ref().map_or(&[], TurnServer::urls)
    }

    /// The node's name in the pool.
    pub fn id(&self) -> NodeId {
        NodeId::new(self.config.id.clone())
    }

    /// Serves one link until it closes or `shutdown` is cancelled.
    ///
    /// # Errors
    /// [`NodeError::LinkStalled`] if the shard stops taking events, the others if the media thread
    /// cannot start or dies.
    pub async fn run(
        mut self,
        link: NodeEnd,
        shutdown: CancellationToken,
    ) -> Result<(), NodeError> {
        let turn = TurnService::start(&self.config.id, self.turn.take())?;
        let mut gauges = Gauges::new(&self.config.id);
        let offer = turn.offer();
        let end = tokio::select! {
            end = self.serve(link, offer, &mut gauges, &shutdown) => end?,
            error = turn.run() => return Err(error),
        };
        match end {
            LinkEnd::Shutdown | LinkEnd::Closed => Ok(()),
            LinkEnd::Stalled => Err(NodeError::LinkStalled),
        }
    }

    /// Attaches to the shard of the configuration, again and again, until `shutdown` is cancelled.
    ///
    /// When a link is lost all participants are dropped, since the shard has given up on this node.
    ///
    /// # Errors
    /// [`NodeError::NoShard`] and [`NodeError::Shard`] for an unusable address; the others if the
    /// media thread cannot start or dies.
    pub async fn run_attached(
        mut self,
        cluster: ClusterKey,
        shutdown: CancellationToken,
    ) -> Result<(), NodeError> {
        let turn = TurnService::start(&self.config.id, self.turn.take())?;
        let offer = turn.offer();
        tokio::select! {
            ended = self.attach(cluster, offer, shutdown) => ended,
            error = turn.run() => Err(error),
        }
    }

    async fn attach(
        &self,
        cluster: ClusterKey,
        offer: Option<TurnOffer>,
        shutdown: CancellationToken,
    ) -> Result<(), NodeError> {
        let shard = self.config.shard.as_deref().ok_or(NodeError::NoShard)?;
        let peer = format!("node/{}", self.config.id);
        let mut gauges = Gauges::new(&self.config.id);
        let mut wait = BACKOFF_MIN;
        loop {
            let attaching = connect_node(shard, &peer, &cluster);
            let attached = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                attached = attaching => attached,
            };
            match attached {
                Ok(link) => {
                    tracing::info!(node = self.config.id, shard, "attached to the shard");
                    let since = Instant::now();
                    match self
                        .serve(link, offer.clone(), &mut gauges, &shutdown)
                        .await?
                    {
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
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(wait) => {}
            }
            wait = (wait * 2).min(BACKOFF_MAX);
        }
    }

    /// One link, with an engine of its own.
    async fn serve(
        &self,
        link: NodeEnd,
        offer: Option<TurnOffer>,
        gauges: &mut Gauges,
        shutdown: &CancellationToken,
    ) -> Result<LinkEnd, NodeError> {
        let config = EngineConfig {
            node: self.id(),
            candidates: self.candidates.clone(),
            worker: 0,
            seed: rand::random(),
        };
        let sockets = self
            .sockets
            .try_clone()
            .map_err(NodeError::MediaThreadStart)?;
        gauges.set_attached(true);
        let end = link::run(config, sockets, link, offer, gauges, shutdown).await;
        gauges.set_attached(false);
        end
    }
}

fn candidates(sockets: &Sockets, public: &[IpAddr]) -> Result<Vec<LocalCandidate>, NodeError> {
    let udp: io::Result<Vec<_>> = sockets.udp.iter().map(UdpSocket::local_addr).collect();
    let tcp: io::Result<Vec<_>> = sockets.tcp.iter().map(TcpListener::local_addr).collect();
    let udp = udp.map_err(NodeError::Interfaces)?;
    let tcp = tcp.map_err(NodeError::Interfaces)?;
    let mut candidates = addresses::candidates(Transport::Udp, &udp, public)?;
    if !tcp.is_empty() {
        candidates.extend(addresses::candidates(Transport::Tcp, &tcp, public)?);
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
            bind: vec!["127.0.0.1".parse().unwrap(), "127.0.0.2".parse().unwrap()],
            public_ip: vec!["192.0.2.77".parse().unwrap()],
            ..Config::default()
        };
        let node = Node::bind(config).unwrap();
        assert_eq!(node.addresses().len(), 6);
        assert_eq!(node.udp_port(), node.tcp_port());
        let public =
            |candidate: &&LocalCandidate| candidate.address.ip().to_string() == "192.0.2.77";
        assert_eq!(node.addresses().iter().filter(public).count(), 2);
    }
}
