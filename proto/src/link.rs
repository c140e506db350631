//! The two ends of the link between a shard and a node.
//!
//! In one process the ends meet directly ([`pair`]); between processes [`crate::rpc`] bridges them.
//! Programs only ever see these ends.

use crate::media::{NodeCommand, NodeEvent};
use tokio::sync::mpsc;

/// Messages that may wait on a link, each way. A join needs about ten, so this is a burst of 400
/// joins. A full queue means the other side has stalled: the sender treats the link as lost, since
/// dropping a message silently would leave the two sides with different rooms.
pub const LINK_QUEUE_MESSAGES: usize = 4096;

/// The shard's end.
#[derive(Debug)]
pub struct ShardEnd {
    /// To the node.
    pub commands: mpsc::Sender<NodeCommand>,
    /// From the node. Closed when the node or the connection is gone.
    pub events: mpsc::Receiver<NodeEvent>,
}

/// The node's end.
#[derive(Debug)]
pub struct NodeEnd {
    /// From the shard. Closed when the shard or the connection is gone.
    pub commands: mpsc::Receiver<NodeCommand>,
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
