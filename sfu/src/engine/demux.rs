//! Finds the transport that a datagram belongs to.
//!
//! Binding requests name it by our ufrag; everything else is known by the address it comes from.
//! An address is learnt only from a binding request that the transport's own `accepts` verified, so
//! that nobody can slip a DTLS handshake in from elsewhere.

use super::TransportKey;
use super::config::{LocalCandidate, Transport};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

/// Most ufrags in force per transport: the newest, and the one before for checks that are on their
/// way. Older ones are forgotten.
const MAX_UFRAGS: usize = 2;
/// Most addresses known per transport; a client roams over a few. The oldest is forgotten.
const MAX_REMOTES: usize = 20;

/// The node's own addresses, as it knows them and as clients do.
pub(super) struct Addresses {
    advertised: BTreeMap<(Transport, SocketAddr), SocketAddr>,
    bases: BTreeMap<(Transport, SocketAddr), SocketAddr>,
}

impl Addresses {
    pub(super) fn new(candidates: &[LocalCandidate]) -> Self {
        let mut advertised = BTreeMap::new();
        let mut bases = BTreeMap::new();
        for candidate in candidates {
            // Of several names for one socket the first stands for it.
            advertised
                .entry((candidate.proto, candidate.base))
                .or_insert(candidate.address);
            bases.insert((candidate.proto, candidate.address), candidate.base);
        }
        Self { advertised, bases }
    }

    /// The candidate address that datagrams arriving at `base` were meant for.
    pub(super) fn advertised(&self, proto: Transport, base: SocketAddr) -> Option<SocketAddr> {
        self.advertised.get(&(proto, base)).copied()
    }

    /// The socket behind a candidate address.
    pub(super) fn base_of(&self, proto: Transport, address: SocketAddr) -> Option<SocketAddr> {
        self.bases.get(&(proto, address)).copied()
    }
}

/// Who is reached by which ufrag and from which address.
#[derive(Default)]
pub(super) struct Demux {
    ufrags: HashMap<String, TransportKey>,
    remotes: HashMap<(Transport, SocketAddr), TransportKey>,
    known: BTreeMap<TransportKey, Known>,
}

/// What must be forgotten with a transport.
#[derive(Default)]
struct Known {
    /// In force, newest last.
    ufrags: Vec<String>,
    /// Of our own offer to restart ICE, until the client answers.
    offered: Option<String>,
    remotes: Vec<(Transport, SocketAddr)>,
}

impl Demux {
    /// Requests for this ufrag are for this transport; those for the ones before will cease.
    pub(super) fn learn_ufrag(&mut self, ufrag: &str, key: TransportKey) {
        let known = self.known.entry(key).or_default();
        if known.ufrags.iter().any(|before| before == ufrag) {
            return;
        }
        known.offered.take_if(|offered| offered == ufrag);
        known.ufrags.push(ufrag.to_owned());
        if known.ufrags.len() > MAX_UFRAGS {
            let oldest = known.ufrags.remove(0);
            self.ufrags.remove(&oldest);
        }
        self.ufrags.insert(ufrag.to_owned(), key);
    }

    /// Requests for this ufrag may come once the client has our offer. Until its answer is here
    /// ([`Demux::learn_ufrag`]) those in force stay.
    pub(super) fn offer_ufrag(&mut self, ufrag: &str, key: TransportKey) {
        let known = self.known.entry(key).or_default();
        if let Some(unanswered) = known.offered.replace(ufrag.to_owned()) {
            self.ufrags.remove(&unanswered);
        }
        self.ufrags.insert(ufrag.to_owned(), key);
    }

    /// Datagrams from here are for this transport, which just verified one.
    pub(super) fn learn_remote(&mut self, proto: Transport, remote: SocketAddr, key: TransportKey) {
        let before = self.remotes.insert((proto, remote), key);
        if before == Some(key) {
            return;
        }
        if let Some(known) = before.and_then(|before| self.known.get_mut(&before)) {
            known.remotes.retain(|other| *other != (proto, remote));
        }
        let known = self.known.entry(key).or_default();
        known.remotes.push((proto, remote));
        if known.remotes.len() > MAX_REMOTES {
            let oldest = known.remotes.remove(0);
            self.remotes.remove(&oldest);
        }
    }

    /// The transport of a binding request with this ufrag of ours.
    pub(super) fn by_ufrag(&self, ufrag: &str) -> Option<TransportKey> {
        self.ufrags.get(ufrag).copied()
    }

    /// The transport whose peer is at this address.
    pub(super) fn by_remote(&self, proto: Transport, remote: SocketAddr) -> Option<TransportKey> {
        self.remotes.get(&(proto, remote)).copied()
    }

    /// Nothing more will come from this address.
    pub(super) fn forget_remote(&mut self, proto: Transport, remote: SocketAddr) {
        if let Some(key) = self.remotes.remove(&(proto, remote))
            && let Some(known) = self.known.get_mut(&key)
        {
            known.remotes.retain(|other| *other != (proto, remote));
        }
    }

    /// The transport is gone.
    pub(super) fn forget(&mut self, key: TransportKey) {
        let Some(known) = self.known.remove(&key) else {
            return;
        };
        for ufrag in known.ufrags.into_iter().chain(known.offered) {
            self.ufrags.remove(&ufrag);
        }
        for remote in known.remotes {
            self.remotes.remove(&remote);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::arena::Arena;
    use super::*;

    fn remote(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn an_address_taken_over_by_another_transport_is_not_forgotten_with_the_first() {
        let mut arena = Arena::new();
        let (first, second) = (arena.insert(()), arena.insert(()));
        let key = |key| super::super::arena::cast_for_tests(key);
        let (first, second) = (key(first), key(second));
        let mut demux = Demux::default();
        demux.learn_remote(Transport::Udp, remote(1), first);
        demux.learn_remote(Transport::Udp, remote(1), second);
        demux.forget(first);
        assert_eq!(demux.by_remote(Transport::Udp, remote(1)), Some(second));
        assert_eq!(demux.by_remote(Transport::Tcp, remote(1)), None);
        demux.forget(second);
        assert_eq!(demux.by_remote(Transport::Udp, remote(1)), None);
        assert!(demux.known.is_empty());
    }

    #[test]
    fn a_transport_keeps_only_its_newest_addresses() {
        let mut demux = Demux::default();
        let key = Arena::key_for_tests();
        for port in 1..=40 {
            demux.learn_remote(Transport::Udp, remote(port), key);
        }
        assert_eq!(demux.remotes.len(), MAX_REMOTES);
        assert_eq!(demux.by_remote(Transport::Udp, remote(1)), None);
        assert_eq!(demux.by_remote(Transport::Udp, remote(40)), Some(key));
    }

    #[test]
    fn a_ufrag_leads_to_its_transport_until_that_is_gone() {
        let mut demux = Demux::default();
        let key = Arena::key_for_tests();
        demux.learn_ufrag("0000abcd", key);
        demux.learn_ufrag("0000abcd", key);
        assert_eq!(demux.by_ufrag("0000abcd"), Some(key));
        demux.forget(key);
        assert_eq!(demux.by_ufrag("0000abcd"), None);
    }

    #[test]
    fn restarts_leave_no_ufrags_behind_but_the_one_before() {
        let mut demux = Demux::default();
        let key = Arena::key_for_tests();
        for ufrag in ["a", "b", "c"] {
            demux.learn_ufrag(ufrag, key);
        }
        assert_eq!(demux.by_ufrag("a"), None);
        assert_eq!(demux.by_ufrag("b"), Some(key));
        for ufrag in ["d", "e"] {
            demux.offer_ufrag(ufrag, key);
        }
        assert_eq!(demux.by_ufrag("c"), Some(key), "in force until the answer");
        assert_eq!(demux.by_ufrag("d"), None, "never answered");
        demux.learn_ufrag("e", key);
        assert_eq!(demux.by_ufrag("b"), None);
        assert_eq!(demux.by_ufrag("c"), Some(key));
        demux.offer_ufrag("f", key);
        assert_eq!(demux.ufrags.len(), 3);
        demux.forget(key);
        assert!(demux.ufrags.is_empty());
    }

    #[test]
    fn the_first_name_of_a_socket_stands_for_it() {
        let base = remote(7882);
        let candidate = |address| LocalCandidate {
            proto: Transport::Udp,
            address,
            base,
        };
        let addresses = Addresses::new(&[candidate(remote(1)), candidate(remote(2))]);
        assert_eq!(addresses.advertised(Transport::Udp, base), Some(remote(1)));
        assert_eq!(addresses.base_of(Transport::Udp, remote(2)), Some(base));
        assert_eq!(addresses.base_of(Transport::Tcp, remote(2)), None);
    }
}
