//! The two ends of the link between a shard and a node.
//!
//! In one process the ends meet directly ([`pair`]); between processes [`crate::rpc`] bridges them.
//! Programs only ever see these ends.

use crate::media::{NodeEvent, ToWorker};
use tokio::sync::mpsc;

/// Messages that may wait on a link, each way. Neither side drops a message, which would leave the
/// two with different rooms. Commands come in bursts, one for each participant and track: the shard
/// keeps what the queue cannot hold, in order, and gives the link up only when the node takes none
/// for a while. Events are few (a join causes about ten): if they fill the queue the shard has
/// stalled, and the node gives the link up.
pub const LINK_QUEUE_MESSAGES: usize = 4096;

/// The shard's end.
#[derive(Debug)]
pub struct ShardEnd {
    /// To the node.
    pub commands: mpsc::Sender<ToWorker>,
    /// From the node. Closed when the node or the connection is gone.
    pub events: mpsc::Receiver<NodeEvent>,
}

/// The node's end.
#[derive(Debug)]
pub struct NodeEnd {
    /// From the shard. Closed when the shard or the connection is gone.
    pub commands: mpsc::Receiver<ToWorker>,
    /// To the shard.
    pub events: mpsc::Sender<NodeEvent>,
}

/// A link inside one process.
pub fn pair() -> (ShardEnd, NodeEnd) {
    let (command_tx, command_rx) = mpsc::channel(LINK_QUEUE_MESSAGES);
    let (event_tx, event_rx) = mpsc::channel(LINK_QUEUE_MESSAGES);
    (
        ShardEnd {
            commands: command_tx,
            events: event_rx,
        },
        NodeEnd {
            commands: command_rx,
            events: event_tx,
        },
    )
}
