//! The ways between the workers of this node, and to those of other nodes.
//!
//! Owns: an inbox for each worker, and who posts into it. Within the process a message is handed over as
//! it is; to another node it goes through the [`relay`]. Must not: know what is in it.

use crate::engine::{PeerId, RelayMessage};
use arc_swap::ArcSwap;
use bytes::Bytes;
use proto::id::{Member, NodeId};
use relay::{Handle, Incoming};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Packets that may wait for a worker: some 100 ms of a 60 Mbit/s stream. A worker that is further behind
/// loses the newest, and asks again for what it needs.
const PACKETS_MAX: usize = 1024;
/// Other messages that may wait for a worker. They are few; if so many wait the worker stands still, and
/// its clients notice that anyway. The newest are dropped.
const LETTERS_MAX: usize = 4096;
/// Senders that are remembered; beyond, all are forgotten and met anew. A cluster has a few.
const SENDERS_MAX: usize = 4096;
/// Bytes before a message on the way to another node: the worker it is for and the one it is from.
const ENVELOPE_BYTES: usize = 4;

/// A message with its sender.
#[derive(Debug)]
pub(crate) struct Mail {
    pub(crate) from: Arc<Member>,
    pub(crate) message: RelayMessage,
}

/// Where a worker's mail arrives.
#[derive(Debug)]
pub(crate) struct Mailbox {
    /// What may be lost.
    pub(crate) packets: mpsc::Receiver<Mail>,
    /// What should not.
    pub(crate) letters: mpsc::Receiver<Mail>,
}

/// The slot of a mailbox.
#[derive(Clone, Debug)]
struct Slot {
    packets: mpsc::Sender<Mail>,
    letters: mpsc::Sender<Mail>,
}

impl Slot {
    /// False: it is full or nobody empties it.
    fn put(&self, mail: Mail) -> bool {
        let queue = if mail.message.is_lossy() {
            &self.packets
        } else {
            &self.letters
        };
        queue.try_send(mail).is_ok()
    }
}

/// What all postmen of a node share.
#[derive(Debug)]
pub(crate) struct Exchange {
    node: NodeId,
    /// Of the present link's workers.
    slots: ArcSwap<Vec<Slot>>,
    relay: Option<Handle>,
    /// The senders met, so that a packet costs no allocation for its sender.
    senders: Mutex<HashMap<(NodeId, u16), Arc<Member>>>,
    dropped: AtomicU64,
}

impl Exchange {
    /// Without a relay there are only the node's own workers.
    pub(crate) fn new(node: NodeId, relay: Option<Handle>) -> Arc<Self> {
        Arc::new(Self {
            node,
            slots: ArcSwap::default(),
            relay,
            senders: Mutex::default(),
            dropped: AtomicU64::new(0),
        })
    }

    /// Mailboxes and postmen for so many new workers; the former ones' are of no use any more.
    pub(crate) fn open(self: &Arc<Self>, workers: usize) -> Vec<(Mailbox, Postman)> {
        let (mut slots, mut boxes) = (Vec::new(), Vec::new());
        for _ in 0..workers {
            let (packets, packets_rx) = mpsc::channel(PACKETS_MAX);
            let (letters, letters_rx) = mpsc::channel(LETTERS_MAX);
            slots.push(Slot { packets, letters });
            boxes.push(Mailbox {
                packets: packets_rx,
                letters: letters_rx,
            });
        }
        let slots = Arc::new(slots);
        self.slots.store(Arc::clone(&slots));
        let postman = |(mailbox, worker)| {
            let me = Arc::new(Member::new(self.node.clone(), worker));
            let postman = Postman {
                me,
                slots: Arc::clone(&slots),
                exchange: Arc::clone(self),
                ways: Vec::new(),
            };
            (mailbox, postman)
        };
        boxes.into_iter().zip(0..).map(postman).collect()
    }

    /// Which nodes there are.
    pub(crate) fn set_peers(&self, peers: Vec<proto::media::NodePeer>) {
        let Some(relay) = &self.relay else {
            return;
        };
        let peers = peers.into_iter().map(|peer| relay::Peer {
            node: peer.node,
            address: peer.address,
        });
        relay.set_peers(peers.collect());
    }

    /// Something has come from another node.
    pub(crate) fn deliver(&self, incoming: Incoming) {
        match incoming {
            Incoming::Up(node) => tracing::info!(%node, "another node can be reached"),
            Incoming::Down(node) => tracing::warn!(%node, "another node cannot be reached"),
            Incoming::Datagram { from, bytes } | Incoming::Message { from, bytes } => {
                if self.take(from, &bytes).is_none() {
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// `None`: it is for nobody, or makes no sense.
    fn take(&self, node: NodeId, bytes: &[u8]) -> Option<()> {
        let (envelope, message) = bytes.split_first_chunk::<ENVELOPE_BYTES>()?;
        let [to, to_low, from, from_low] = *envelope;
        let to = usize::from(u16::from_be_bytes([to, to_low]));
        let from = u16::from_be_bytes([from, from_low]);
        let message = RelayMessage::decode(message).ok()?;
        let slots = self.slots.load();
        let from = self.sender(node, from);
        slots.get(to)?.put(Mail { from, message }).then_some(())
    }

    fn sender(&self, node: NodeId, worker: u16) -> Arc<Member> {
        // Nothing that a panic elsewhere could have broken.
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = (node, worker);
        if let Some(known) = senders.get(&sender) {
            return Arc::clone(known);
        }
        if senders.len() >= SENDERS_MAX {
            senders.clear();
        }
        let member = Arc::new(Member::new(sender.0.clone(), worker));
        senders.insert(sender, Arc::clone(&member));
        member
    }

    /// Messages that nobody took, since the start.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// What the relay counts, if there is one.
    pub(crate) fn relay_figures(&self) -> relay::Figures {
        let relay = self.relay.as_ref();
        relay.map(Handle::figures).unwrap_or_default()
    }
}

/// The way to a member.
#[derive(Clone, Debug)]
enum Way {
    Worker(usize),
    Node(Member),
}

/// Sends one worker's messages.
#[derive(Debug)]
pub(crate) struct Postman {
    me: Arc<Member>,
    slots: Arc<Vec<Slot>>,
    exchange: Arc<Exchange>,
    /// By the engine's keys.
    ways: Vec<Option<Way>>,
}

impl Postman {
    /// Sends a message to a member, of whom the engine says by `member` who it is.
    pub(crate) fn post(&mut self, to: PeerId, member: Option<&Member>, message: RelayMessage) {
        let place = to.place();
        if self.ways.len() <= place {
            self.ways.resize(place + 1, None);
        }
        let Some(way) = self.ways.get_mut(place) else {
            return;
        };
        if way.is_none() {
            *way = member.map(|member| {
                if member.node == self.me.node {
                    Way::Worker(usize::from(member.worker))
                } else {
                    Way::Node(member.clone())
                }
            });
        }
        let sent = match way {
            Some(Way::Worker(worker)) => {
                let from = Arc::clone(&self.me);
                let slot = self.slots.get(*worker);
                slot.is_some_and(|slot| slot.put(Mail { from, message }))
            }
            Some(Way::Node(member)) => send(&self.exchange, &self.me, member, &message),
            None => false,
        };
        if !sent {
            self.exchange.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn send(exchange: &Exchange, from: &Member, to: &Member, message: &RelayMessage) -> bool {
    let Some(relay) = &exchange.relay else {
        return false;
    };
    let mut bytes = Vec::new();
    bytes.extend(to.worker.to_be_bytes());
    bytes.extend(from.worker.to_be_bytes());
    message.encode(&mut bytes);
    let bytes = Bytes::from(bytes);
    if message.is_lossy() && bytes.len() <= relay::DATAGRAM_MAX {
        relay.send_datagram(&to.node, bytes)
    } else {
        relay.send_message(&to.node, bytes)
    }
}
