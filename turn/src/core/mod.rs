//! The TURN server as a pure state machine (RFC 8656, over UDP, TCP and TLS; relaying UDP alone).
//!
//! Owns: allocations with their permissions and channels, credentials, who may be relayed to, limits.
//! In by `handle_*`, out by [`Relay::poll_output`] and [`Relay::poll_timeout`]. Must not: have a
//! socket, a clock or a random number of its own.
//!
//! Not there, since no WebRTC client needs it of a node: TCP to peers (RFC 6062), EVEN-PORT and
//! RESERVATION-TOKEN (answered 420), DONT-FRAGMENT, ICMP errors, mobility.

mod allocation;
mod figures;
pub(crate) mod limits;
mod nonce;
mod peers;
pub(crate) mod range;
mod rate;
mod requests;
#[cfg(test)]
mod tests;
pub(crate) mod wire;
mod wrapped;

pub use figures::Figures;
pub use limits::Limits;
pub use peers::PeerPolicy;

use allocation::{Allocation, Relayed};
use nonce::Nonces;
use proto::turn::TurnSecret;
use rate::Strangers;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use wire::{Family, Incoming};

/// How often what has expired is looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// A moment by both clocks: durations by the first, credentials by the second.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Monotonic.
    pub at: Instant,
    /// Seconds since the Unix epoch.
    pub unix_s: u64,
}

/// The way to a client (RFC 8656 section 3.1 calls it 5-tuple).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// Datagrams at the socket bound to `local`.
    Udp {
        /// Ours.
        local: SocketAddr,
        /// Theirs.
        remote: SocketAddr,
    },
    /// A TCP or TLS connection.
    Stream {
        /// Chosen by the driver, never used again.
        id: u64,
        /// Theirs.
        remote: SocketAddr,
    },
}

impl Client {
    /// The client's address.
    pub fn remote(&self) -> SocketAddr {
        match self {
            Self::Udp { remote, .. } | Self::Stream { remote, .. } => *remote,
        }
    }
}

/// Names an allocation. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AllocationId(u64);

/// What the driver has to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send to a client: a datagram, or bytes of its stream.
    ToClient {
        /// Which.
        client: Client,
        /// A whole message.
        bytes: Vec<u8>,
    },
    /// Send a datagram from the allocation's socket.
    ToPeer {
        /// Whose socket.
        allocation: AllocationId,
        /// Allowed and permitted.
        peer: SocketAddr,
        /// The payload.
        bytes: Vec<u8>,
    },
    /// Open a socket on any port of the range and say so by [`Relay::handle_opened`].
    Open {
        /// For which.
        allocation: AllocationId,
        /// One of [`RelayConfig::addresses`].
        ip: IpAddr,
    },
    /// Close the allocation's socket, if it has one.
    Close {
        /// Which.
        allocation: AllocationId,
    },
}

/// An address that clients get relayed addresses on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayAddress {
    /// What the sockets are bound to.
    pub base: IpAddr,
    /// What clients and peers are told, of the same version: a public address that forwards here, or
    /// `base` itself.
    pub told: IpAddr,
}

/// How the server behaves.
pub struct RelayConfig {
    /// The name that passwords belong to; part of every challenge, so keep it short.
    pub realm: String,
    /// Makes and checks credentials.
    pub secret: TurnSecret,
    /// At most one of each IP version counts, the first.
    pub addresses: Vec<RelayAddress>,
    /// Who may be relayed to.
    pub peers: PeerPolicy,
    /// Bounds.
    pub limits: Limits,
    /// Random: nonces are made with it.
    pub nonce_key: [u8; 32],
}

impl fmt::Debug for RelayConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayConfig")
            .field("addresses", &self.addresses)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// The server.
#[derive(Debug)]
pub struct Relay {
    realm: String,
    secret: TurnSecret,
    addresses: Vec<RelayAddress>,
    peers: PeerPolicy,
    limits: Limits,
    nonces: Nonces,
    allocations: HashMap<AllocationId, Allocation>,
    by_client: HashMap<Client, AllocationId>,
    /// Allocations by participant, and by where they come from. As large as `allocations` at most.
    per_user: HashMap<String, u32>,
    per_source: HashMap<IpAddr, u32>,
    strangers: Strangers,
    outputs: VecDeque<Output>,
    sweep_at: Instant,
    next_allocation: u64,
    next_indication: u64,
    figures: Figures,
}

impl Relay {
    /// A server without clients.
    pub fn new(config: RelayConfig, now: Instant) -> Self {
        Self {
            realm: config.realm,
            secret: config.secret,
            addresses: config.addresses,
            peers: config.peers,
            limits: config.limits,
            nonces: Nonces::new(config.nonce_key),
            allocations: HashMap::new(),
            by_client: HashMap::new(),
            per_user: HashMap::new(),
            per_source: HashMap::new(),
            strangers: Strangers::new(now),
            outputs: VecDeque::new(),
            sweep_at: now + SWEEP_EVERY,
            next_allocation: 1,
            next_indication: 1,
            figures: Figures::default(),
        }
    }

    /// A datagram, or one frame of a stream, from a client.
    pub fn handle_client(&mut self, client: Client, bytes: &[u8], now: Now) {
        match wire::read(bytes) {
            Some(Incoming::Channel { number, data }) => {
                self.handle_channel(client, number, data, now.at);
            }
            Some(Incoming::Send { peer, data }) => self.handle_send(client, peer, &data, now.at),
            Some(Incoming::Request(request)) => self.handle_request(client, &request, now),
            Some(Incoming::Binding(request)) => {
                if self.is_admitted(client, now.at) {
                    let bytes = wire::binding_success(&request, client.remote());
                    self.push(Output::ToClient { client, bytes });
                }
            }
            None => self.figures.stray += 1,
        }
    }

    /// A datagram at an allocation's socket (RFC 8656 section 11.3).
    pub fn handle_peer(&mut self, id: AllocationId, peer: SocketAddr, data: &[u8], now: Instant) {
        let is_allowed = self.peers.allows(peer);
        let Some(allocation) = self.allocations.get_mut(&id) else {
            return;
        };
        if allocation.expires <= now {
            return;
        }
        if !is_allowed || !allocation.is_permitted(peer.ip(), now) {
            self.figures.denied += 1;
            return;
        }
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        if !allocation.bandwidth.to_client.take(length, now) {
            self.figures.over_bandwidth += 1;
            return;
        }
        self.figures.bytes_to_clients += u64::from(length);
        let client = allocation.client;
        let bytes = match allocation.number_of(peer, now) {
            Some(number) => {
                wire::channel_data(number, data, matches!(client, Client::Stream { .. }))
            }
            None => {
                self.next_indication += 1;
                wire::data_indication(peer, data, self.next_indication)
            }
        };
        self.push(Output::ToClient { client, bytes });
    }

    /// The answer to [`Output::Open`]: the port, or none was free.
    pub fn handle_opened(&mut self, id: AllocationId, port: Option<u16>, now: Now) {
        let Some(allocation) = self.allocations.get_mut(&id) else {
            return;
        };
        let told = self
            .addresses
            .iter()
            .find(|address| address.base.is_ipv4() == matches!(allocation.family, Family::V4));
        match port.zip(told) {
            Some((port, address)) => {
                allocation.relayed = Relayed::At(SocketAddr::new(address.told, port));
                self.figures.allocated += 1;
                self.confirm_allocation(id, now);
            }
            None => self.refuse_allocation(id),
        }
    }

    /// A connection has ended. Its allocation ends with it (RFC 8656 section 7.3).
    pub fn handle_client_gone(&mut self, client: Client) {
        if let Some(id) = self.by_client.get(&client).copied() {
            self.remove(id);
        }
    }

    /// The time of [`Relay::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now < self.sweep_at {
            return;
        }
        self.sweep_at = now + SWEEP_EVERY;
        self.strangers.sweep(now);
        let expired = self.allocations.iter();
        let expired = expired.filter(|(_, allocation)| allocation.expires <= now);
        let mut expired: Vec<AllocationId> = expired.map(|(id, _)| *id).collect();
        expired.sort_unstable();
        for id in expired {
            self.remove(id);
        }
    }

    /// When to call [`Relay::handle_timeout`].
    pub fn poll_timeout(&self) -> Instant {
        self.sweep_at
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether the client has an allocation: a connection without one is not kept for long.
    pub fn has_allocation(&self, client: Client) -> bool {
        self.by_client.contains_key(&client)
    }

    /// What was counted. `dropped` and `connections` are the driver's.
    pub fn figures(&self) -> Figures {
        Figures {
            allocations: self.allocations.len() as u64,
            ..self.figures
        }
    }

    fn handle_send(&mut self, client: Client, peer: SocketAddr, data: &[u8], now: Instant) {
        match self.by_client.get(&client).copied() {
            Some(id) => self.relay(id, peer, data, now),
            None => self.figures.stray += 1,
        }
    }

    fn handle_channel(&mut self, client: Client, number: u16, data: &[u8], now: Instant) {
        let id = self.by_client.get(&client).copied();
        let allocation = id.and_then(|id| self.allocations.get(&id));
        let peer = allocation.and_then(|allocation| allocation.peer_of(number, now));
        match id.zip(peer) {
            Some((id, peer)) => self.relay(id, peer, data, now),
            None => self.figures.stray += 1,
        }
    }

    /// Towards a peer. The policy is asked for every datagram, since a permission has no port.
    fn relay(&mut self, id: AllocationId, peer: SocketAddr, data: &[u8], now: Instant) {
        let is_allowed = self.peers.allows(peer);
        let Some(allocation) = self.allocations.get_mut(&id) else {
            return;
        };
        let is_open = matches!(allocation.relayed, Relayed::At(_)) && allocation.expires > now;
        let is_reachable = Family::of(peer) == allocation.family;
        if !is_open || !is_reachable {
            self.figures.stray += 1;
            return;
        }
        if !is_allowed || !allocation.is_permitted(peer.ip(), now) {
            self.figures.denied += 1;
            return;
        }
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        if !allocation.bandwidth.to_peers.take(length, now) {
            self.figures.over_bandwidth += 1;
            return;
        }
        self.figures.bytes_to_peers += u64::from(length);
        let (allocation, bytes) = (id, data.to_vec());
        self.push(Output::ToPeer {
            allocation,
            peer,
            bytes,
        });
    }

    /// Whether one more request of this client is looked at.
    fn is_admitted(&mut self, client: Client, now: Instant) -> bool {
        let id = self.by_client.get(&client);
        let admitted = match id.and_then(|id| self.allocations.get_mut(id)) {
            Some(allocation) => allocation.requests.take(1, now),
            None => self.strangers.admit(client.remote().ip(), now),
        };
        self.figures.limited += u64::from(!admitted);
        admitted
    }

    fn remove(&mut self, id: AllocationId) {
        let Some(allocation) = self.allocations.remove(&id) else {
            return;
        };
        self.by_client.remove(&allocation.client);
        let source = rate::source(allocation.client.remote().ip());
        count_down(&mut self.per_source, &source);
        count_down(&mut self.per_user, &allocation.owner.participant);
        // Never dropped: a socket that stays open is not a lost datagram.
        self.outputs.push_back(Output::Close { allocation: id });
    }

    fn push(&mut self, output: Output) {
        if self.outputs.len() < limits::OUTPUTS_MAX {
            self.outputs.push_back(output);
        } else {
            self.figures.dropped += 1;
        }
    }
}

fn count_down<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, u32>, key: &K) {
    let left = counts.get_mut(key).map(|count| {
        *count = count.saturating_sub(1);
        *count
    });
    if left == Some(0) {
        counts.remove(key);
    }
}
