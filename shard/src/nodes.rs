//! The links to the shard's nodes: one task each.
//!
//! Owns: the greeting (a node says its name and the version of the media messages it speaks) and
//! moving events to the driver. Must not: know what the events mean.

use crate::driver::{Input, LinkId, NodeOffer};
use proto::id::NodeId;
use proto::link::ShardEnd;
use proto::media::{MEDIA_PROTOCOL, NodeEvent};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Links that may wait to be taken up.
pub(crate) const ATTACH_QUEUE: usize = 16;
/// Nodes of one shard, and links that have not greeted yet. Further ones are dropped.
const LINKS_MAX: usize = 256;
/// How long a node may take for its greeting.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// Takes up every attached link until the driver is gone.
pub(crate) async fn run(mut attached: mpsc::Receiver<ShardEnd>, inputs: mpsc::Sender<Input>) {
    let next_link = AtomicU64::new(1);
    let mut links = JoinSet::new();
    loop {
        tokio::select! {
            Some(end) = attached.recv() => {
                if links.len() >= LINKS_MAX {
                    tracing::warn!(limit = LINKS_MAX, "too many nodes: link refused");
                    continue;
                }
                let link = LinkId(next_link.fetch_add(1, Ordering::Relaxed));
                links.spawn(serve(end, link, inputs.clone()));
            }
            Some(_) = links.join_next() => {}
            // Also when no further node can attach: those that did are served to the end.
            () = inputs.closed() => return,
        }
    }
}

async fn serve(end: ShardEnd, link: LinkId, inputs: mpsc::Sender<Input>) {
    let ShardEnd {
        commands,
        mut events,
    } = end;
    let Some((node, offer)) = greet(&mut events).await else {
        return;
    };
    let attached = Input::NodeAttached {
        node: node.clone(),
        link,
        commands,
        offer,
    };
    if inputs.send(attached).await.is_err() {
        return;
    }
    while let Some(event) = events.recv().await {
        let input = Input::NodeEvent {
            node: node.clone(),
            link,
            event,
        };
        if inputs.send(input).await.is_err() {
            return;
        }
    }
    // The driver may be gone as well: then nobody needs to know.
    let _ = inputs.send(Input::NodeGone { node, link }).await;
}

async fn greet(events: &mut mpsc::Receiver<NodeEvent>) -> Option<(NodeId, NodeOffer)> {
    match tokio::time::timeout(HELLO_TIMEOUT, events.recv()).await {
        Ok(Some(NodeEvent::Hello {
            node,
            protocol,
            turn,
            workers,
            relay,
        })) if protocol == MEDIA_PROTOCOL => {
            let offer = NodeOffer {
                workers,
                relay,
                turn,
            };
            Some((node, offer))
        }
        Ok(Some(NodeEvent::Hello { node, protocol, .. })) => {
            tracing::warn!(
                %node,
                protocol,
                ours = MEDIA_PROTOCOL,
                "node refused: it speaks another version; run the same release everywhere"
            );
            None
        }
        Ok(Some(_)) => {
            tracing::warn!("node refused: its first message was no Hello");
            None
        }
        Ok(None) => None,
        Err(_) => {
            tracing::warn!("node refused: no Hello within 5 s");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::link::{NodeEnd, pair};

    async fn attach(hello: NodeEvent) -> (Option<Input>, NodeEnd) {
        let (shard_end, node_end) = pair();
        let (inputs, mut received) = mpsc::channel(8);
        node_end.events.send(hello).await.unwrap();
        tokio::spawn(serve(shard_end, LinkId(1), inputs));
        (received.recv().await, node_end)
    }

    #[tokio::test]
    async fn a_node_that_greets_is_attached() {
        let hello = NodeEvent::Hello {
            node: NodeId::new("n1"),
            protocol: MEDIA_PROTOCOL,
            turn: None,
            workers: 1,
            relay: None,
        };
        let (input, _end) = attach(hello).await;
        assert!(matches!(input, Some(Input::NodeAttached { node, .. }) if node.as_str() == "n1"));
    }

    #[tokio::test]
    async fn a_node_of_another_version_or_without_greeting_is_not() {
        let other = NodeEvent::Hello {
            node: NodeId::new("n1"),
            protocol: MEDIA_PROTOCOL + 1,
            turn: None,
            workers: 1,
            relay: None,
        };
        assert!(attach(other).await.0.is_none());
        assert!(
            attach(NodeEvent::Report(Default::default()))
                .await
                .0
                .is_none()
        );
    }
}
