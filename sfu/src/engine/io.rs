//! Datagrams in and out of the engine.

use super::config::Transport;
use std::net::SocketAddr;

/// A datagram, or one RFC 4571 frame, that arrived.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// How it came.
    pub transport: Transport,
    /// Who sent it.
    pub remote: SocketAddr,
    /// The socket it arrived at: the `base` of a candidate.
    pub local: SocketAddr,
    /// The payload, without TCP framing.
    pub contents: &'a [u8],
}

/// A datagram to send; on [`Transport::Tcp`] the driver frames it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// How it goes.
    pub transport: Transport,
    /// The socket to send from: the `base` of a candidate.
    pub local: SocketAddr,
    /// Where to.
    pub remote: SocketAddr,
    /// The payload, without TCP framing.
    pub contents: Vec<u8>,
}
