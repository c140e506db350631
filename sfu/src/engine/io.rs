//! Datagrams in and out of the engine.

use super::config::Transport;
use super::outgoing::Way;
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

/// Datagrams to send, all the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit<'a> {
    /// How it goes.
    pub transport: Transport,
    /// The socket to send from: the `base` of a candidate.
    pub local: SocketAddr,
    /// Where to.
    pub remote: SocketAddr,
    /// One datagram, or several one behind the other; without TCP framing.
    pub contents: &'a [u8],
    /// The length of each of several datagrams, of which the last may be shorter.
    pub segment: Option<usize>,
}

impl<'a> Transmit<'a> {
    pub(super) fn new(way: Way, contents: &'a [u8], segment: Option<usize>) -> Self {
        Self {
            transport: way.transport,
            local: way.local,
            remote: way.remote,
            contents,
            segment,
        }
    }

    /// The datagrams, one by one.
    pub fn datagrams(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let segment = self.segment.unwrap_or(self.contents.len());
        self.contents.chunks(segment.max(1))
    }
}
