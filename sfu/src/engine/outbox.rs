//! What the engine has to say and to do next: datagrams, messages, and events of transports that
//! wait for their turn. Decides nothing.

use super::TransportKey;
use super::fan::Control;
use proto::media::{NodeEvent, TransportLoss};
use std::collections::VecDeque;

/// Counters since start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    pub(super) packets_in: u64,
    pub(super) packets_out: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) strays: u64,
    pub(super) fenced: u64,
    pub(super) relayed_in: u64,
    pub(super) nacks_in: u64,
    pub(super) nacks_out: u64,
    pub(super) keyframes_in: u64,
    pub(super) keyframes_out: u64,
    pub(super) lost_silent: u64,
    pub(super) lost_closed: u64,
    pub(super) lost_fault: u64,
}

/// Something that a transport reported while it was drained.
pub(super) enum Happened {
    /// An event of str0m.
    Event(Box<str0m::Event>),
    /// The transport is over.
    Lost(TransportLoss),
}

/// Queues that the driver and the engine drain to the end after every input, so their length is
/// bounded by what one input can cause.
#[derive(Default)]
pub(super) struct Outbox {
    pub(super) transmits: VecDeque<Control>,
    pub(super) events: VecDeque<NodeEvent>,
    pub(super) happened: VecDeque<(TransportKey, Happened)>,
    pub(super) counters: Counters,
}
