//! What an engine is told at construction. Holds no state.

use proto::id::NodeId;
use std::net::SocketAddr;

/// How a datagram travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// One UDP datagram each.
    Udp,
    /// Frames with a 16 bit length (RFC 4571) on a TCP connection that the peer opened.
    Tcp,
}

/// An address that clients are told to reach this node at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalCandidate {
    /// UDP or TCP.
    pub proto: Transport,
    /// What clients are told.
    pub address: SocketAddr,
    /// The local socket that datagrams for `address` arrive at and are sent from.
    pub base: SocketAddr,
}

/// Everything an engine needs to know about its node.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The node's name in the pool.
    pub node: NodeId,
    /// Advertised addresses.
    pub candidates: Vec<LocalCandidate>,
    /// Goes into the ICE ufrag, so that a stray binding request can be routed to its worker.
    pub worker: u16,
    /// Estimates how much each client's line takes, and sends no more.
    pub estimates: bool,
    /// Randomness for ICE credentials and initial packet numbers.
    pub seed: u64,
}
