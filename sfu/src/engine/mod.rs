//! The pure media engine: transports, tracks and forwarding over str0m.
//!
//! Owns no socket, clock, thread or runtime: datagrams, commands and `now` come in, transmits,
//! events and deadlines go out. The node driver owns all of those.

mod config;
mod factory;
mod io;

pub use config::{EngineConfig, LocalCandidate, Transport};
pub use factory::{Prepared, TransportFactory};
pub use io::{Datagram, Transmit};

use proto::media::{NodeEvent, NodeReport};
use std::net::SocketAddr;
use std::time::Instant;

/// All rooms of one media worker.
pub struct Engine {
    config: EngineConfig,
}

impl Engine {
    /// An engine without participants.
    pub fn new(config: EngineConfig, _now: Instant) -> Self {
        Self { config }
    }

    /// Obeys the shard.
    pub fn handle_command(&mut self, _command: Prepared, _now: Instant) {}

    /// Takes one datagram (or one RFC 4571 frame). Never fails: what nobody expects is counted.
    pub fn handle_datagram(&mut self, _datagram: Datagram<'_>, _now: Instant) {}

    /// A TCP connection that carried datagrams is gone.
    pub fn handle_tcp_closed(&mut self, _remote: SocketAddr, _now: Instant) {}

    /// Time passed; call at [`Engine::poll_timeout`] at the latest.
    pub fn handle_timeout(&mut self, _now: Instant) {}

    /// The next datagram to send. Drain before waiting.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        None
    }

    /// The next message for the shard. Drain before waiting.
    pub fn poll_event(&mut self) -> Option<NodeEvent> {
        None
    }

    /// When [`Engine::handle_timeout`] is wanted next, and why.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        None
    }

    /// Figures since start; `cpu_load` is left 0.
    pub fn report(&self) -> NodeReport {
        let _ = &self.config;
        NodeReport::default()
    }
}
