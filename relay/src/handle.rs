//! The relay for those who send.

use crate::figures::Figures;
use crate::fragments::DATAGRAM_MAX;
use crate::hello;
use crate::link::MESSAGE_MAX;
use crate::relay::Peer;
use crate::shared::Shared;
use bytes::Bytes;
use proto::id::NodeId;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// Sends to peers and says who they are. From any thread, inside and outside of a runtime; nothing
/// here waits.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) shared: Arc<Shared>,
}

impl Handle {
    /// Whom to talk to from now on; connections to others are closed. A peer whose address is another
    /// one than before is connected to anew.
    pub fn set_peers(&self, peers: Vec<Peer>) {
        let possible = |peer: &Peer| {
            let possible = hello::is_name(&peer.node);
            if !possible {
                tracing::warn!(address = %peer.address, "relay: a peer's name is empty or too long");
            }
            possible && peer.node != self.shared.node
        };
        let peers = peers.into_iter().filter(possible);
        let peers: BTreeMap<NodeId, SocketAddr> =
            peers.map(|peer| (peer.node, peer.address)).collect();
        self.shared.peers.send_replace(Arc::new(peers));
    }

    /// Sends what may be lost, up to [`DATAGRAM_MAX`] bytes. If too much waits for this peer, the
    /// oldest that waits is dropped.
    ///
    /// False if the peer is not up, or the datagram too long: it is not sent.
    pub fn send_datagram(&self, to: &NodeId, bytes: Bytes) -> bool {
        if bytes.len() > DATAGRAM_MAX {
            return false;
        }
        let Some(link) = self.shared.link(to) else {
            return false;
        };
        if link.datagrams.push(bytes) {
            self.shared.counters.datagrams_dropped.add(1);
        }
        true
    }

    /// Sends what may not be lost, up to [`MESSAGE_MAX`] bytes. Messages to one peer arrive in their
    /// order as long as the peer is up; what was on its way when it went down may or may not have
    /// arrived.
    ///
    /// False if the peer is not up, the message too long, or if too much waits for this peer: then
    /// its connection is closed.
    pub fn send_message(&self, to: &NodeId, bytes: Bytes) -> bool {
        if bytes.len() > MESSAGE_MAX {
            return false;
        }
        let Some(link) = self.shared.link(to) else {
            return false;
        };
        match link.messages.push(bytes) {
            Ok(()) => true,
            Err(overflow) => {
                if overflow.is_first {
                    self.shared.counters.overflows.add(1);
                    tracing::warn!(peer = %to, "relay: too many messages wait, beginning anew");
                    link.overflowed.cancel();
                }
                false
            }
        }
    }

    /// What the relay counts.
    pub fn figures(&self) -> Figures {
        self.shared.figures()
    }
}
