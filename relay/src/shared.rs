//! What the handle, the loop and all connections have together.

use crate::figures::{Counters, Figures};
use crate::link::Link;
use crate::throttle::Throttle;
use arc_swap::ArcSwap;
use proto::context::ClusterKey;
use proto::id::NodeId;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

/// Whom to talk to, and where they are.
pub(crate) type Peers = Arc<BTreeMap<NodeId, SocketAddr>>;

#[derive(Debug)]
pub(crate) struct Shared {
    /// Ourselves.
    pub(crate) node: NodeId,
    pub(crate) key: ClusterKey,
    pub(crate) peers: watch::Sender<Peers>,
    /// Peers that are up. Read with every packet, written when one comes or goes.
    links: ArcSwap<HashMap<NodeId, Arc<Link>>>,
    pub(crate) counters: Counters,
    refusals: Throttle,
    pub(crate) failures: Throttle,
}

impl Shared {
    pub(crate) fn new(node: NodeId, key: ClusterKey) -> Self {
        Self {
            node,
            key,
            peers: watch::Sender::default(),
            links: ArcSwap::default(),
            counters: Counters::default(),
            refusals: Throttle::default(),
            failures: Throttle::default(),
        }
    }

    /// The way to a peer that is up.
    pub(crate) fn link(&self, node: &NodeId) -> Option<Arc<Link>> {
        self.links.load().get(node).cloned()
    }

    pub(crate) fn list(&self, node: &NodeId, link: &Arc<Link>) {
        self.links.rcu(|links| {
            let mut links = HashMap::clone(links);
            links.insert(node.clone(), link.clone());
            links
        });
    }

    pub(crate) fn unlist(&self, node: &NodeId) {
        self.links.rcu(|links| {
            let mut links = HashMap::clone(links);
            links.remove(node);
            links
        });
    }

    /// Somebody is not let in.
    pub(crate) fn refuse(&self, remote: SocketAddr, reason: &dyn std::fmt::Display) {
        self.counters.refused.add(1);
        if let Some(more) = self.refusals.admit(Instant::now()) {
            tracing::warn!(%remote, %reason, more, "relay: a peer is refused");
        }
    }

    pub(crate) fn figures(&self) -> Figures {
        let mut figures = self.counters.read();
        let links = self.links.load();
        figures.connections = links.len() as u64;
        for link in links.values() {
            let path = link.connection.stats().path;
            figures.rtt_max = figures.rtt_max.max(path.rtt);
            figures.mtu_min = match figures.mtu_min {
                0 => path.current_mtu,
                mtu => mtu.min(path.current_mtu),
            };
        }
        figures
    }
}
