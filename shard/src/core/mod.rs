//! Rooms, participants, permissions and subscriptions.
//!
//! Owns: every decision of the shard, as a state machine. Must not: open a socket, read a clock,
//! spawn, log, or use randomness other than its seed.
//!
//! The driving loop: call a `handle_*`, then drain [`Core::poll_output`] before the next one, then
//! sleep until [`Core::poll_timeout`] and call [`Core::handle_timeout`].

mod api;
pub mod limits;

pub use api::{CoreConfig, Join, JoinRefusal, Output, Resume, RoomStatus, SessionId};
pub use limits::Limits;

use affinity::RoomKey;
use livekit_protocol::signal_request;
use proto::id::NodeId;
use proto::media::NodeEvent;
use std::collections::VecDeque;
use std::time::Instant;

/// The signalling state of one shard.
#[derive(Debug)]
pub struct Core {
    outputs: VecDeque<Output>,
}

impl Core {
    /// An empty shard.
    pub fn new(_config: CoreConfig, _now: Instant) -> Self {
        Self { outputs: VecDeque::new() }
    }
    /// Sets the wall clock (milliseconds since the Unix epoch) that belongs to `now`.
    pub fn set_clock(&mut self, _unix_ms: i64, _now: Instant) {}
    /// Whether a join would be let in: for the answer before the upgrade.
    pub fn check_join(&self, _room: &RoomKey) -> Result<(), JoinRefusal> {
        Ok(())
    }
    /// Lets a client in.
    pub fn handle_join(&mut self, _join: Join, _now: Instant) {}
    /// A message from a client.
    pub fn handle_signal(&mut self, _session: SessionId, _request: signal_request::Message, _now: Instant) {}
    /// The WebSocket is gone.
    pub fn handle_session_closed(&mut self, _session: SessionId, _now: Instant) {}
    /// A node can take participants.
    pub fn handle_node_attached(&mut self, _node: NodeId, _now: Instant) {}
    /// A message from a node.
    pub fn handle_node_event(&mut self, _node: &NodeId, _event: NodeEvent, _now: Instant) {}
    /// A node and all its transports are gone.
    pub fn handle_node_lost(&mut self, _node: &NodeId, _now: Instant) {}
    /// Another shard owns the room, or may.
    pub fn handle_room_lost(&mut self, _room: &RoomKey, _now: Instant) {}
    /// The shard ends.
    pub fn handle_shutdown(&mut self, _now: Instant) {}
    /// Time has passed.
    pub fn handle_timeout(&mut self, _now: Instant) {}
    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }
    /// When to call [`Core::handle_timeout`], and what for.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        None
    }
    /// All rooms, by key.
    pub fn rooms(&self) -> Vec<RoomStatus> {
        Vec::new()
    }
}
