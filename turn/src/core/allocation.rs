//! One client's relayed address: who may be reached through it, and until when.

use super::limits::{
    CHANNEL_LIFETIME, CHANNELS_MAX, Limits, PERMISSION_LIFETIME, PERMISSIONS_MAX, REQUESTS_BURST,
    REQUESTS_RATE,
};
use super::rate::{Bandwidth, Bucket};
use super::wire::{Family, Head, Key};
use super::{Client, Now};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Numbers that a channel may have. RFC 8656 section 12 ends at 0x4fff; older clients use all that
/// RFC 5766 section 11 gave them.
const CHANNEL_NUMBERS: std::ops::RangeInclusive<u16> = 0x4000..=0x7ffe;

/// Who an allocation belongs to, as its credentials said.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    /// Requests on an allocation must come from the user that made it (RFC 8656 section 7.2).
    pub(super) username: String,
    pub(super) participant: String,
    pub(super) expires_s: u64,
    pub(super) key: Key,
}

/// Its socket.
#[derive(Clone, Debug)]
pub(super) enum Relayed {
    /// Being opened.
    Opening,
    /// What clients and peers are told.
    At(SocketAddr),
}

#[derive(Debug)]
pub(super) struct Allocation {
    pub(super) client: Client,
    pub(super) owner: Owner,
    pub(super) family: Family,
    pub(super) relayed: Relayed,
    /// The request that made it: the same one again gets the same answer.
    pub(super) request: Head,
    pub(super) expires: Instant,
    pub(super) requests: Bucket,
    pub(super) bandwidth: Bandwidth,
    permissions: HashMap<IpAddr, Instant>,
    channels: HashMap<u16, Channel>,
    numbers: HashMap<SocketAddr, u16>,
}

#[derive(Clone, Copy, Debug)]
struct Channel {
    peer: SocketAddr,
    expires: Instant,
}

/// Why a permission or a channel is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BindError {
    /// Number out of range, or it or the peer is bound otherwise: 400.
    Mismatch,
    /// Too many: 508.
    Full,
}

impl Allocation {
    pub(super) fn new(
        client: Client,
        owner: Owner,
        family: Family,
        request: Head,
        limits: &Limits,
        now: Now,
    ) -> Self {
        Self {
            client,
            owner,
            family,
            relayed: Relayed::Opening,
            request,
            expires: now.at,
            requests: Bucket::new(REQUESTS_RATE, REQUESTS_BURST, now.at),
            bandwidth: Bandwidth::new(limits.allocation_kbps, now.at),
            permissions: HashMap::new(),
            channels: HashMap::new(),
            numbers: HashMap::new(),
        }
    }

    /// Gives it `lifetime` from now, but not more than its credentials have; returns seconds.
    pub(super) fn prolong(&mut self, lifetime: Duration, now: Now) -> u32 {
        let left = Duration::from_secs(self.owner.expires_s.saturating_sub(now.unix_s));
        let lifetime = lifetime.min(left);
        self.expires = now.at + lifetime;
        u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX)
    }

    /// Makes or prolongs permissions: all of them or none.
    pub(super) fn permit(&mut self, peers: &[SocketAddr], now: Instant) -> Result<(), BindError> {
        self.permissions.retain(|_, expires| *expires > now);
        let mut new: Vec<IpAddr> = peers.iter().map(SocketAddr::ip).collect();
        new.retain(|ip| !self.permissions.contains_key(ip));
        new.sort_unstable();
        new.dedup();
        if self.permissions.len() + new.len() > PERMISSIONS_MAX {
            return Err(BindError::Full);
        }
        let expires = now + PERMISSION_LIFETIME;
        let all = peers.iter().map(|peer| (peer.ip(), expires));
        self.permissions.extend(all);
        Ok(())
    }

    /// Binds or prolongs a channel, with a permission for its peer.
    pub(super) fn bind(
        &mut self,
        number: u16,
        peer: SocketAddr,
        now: Instant,
    ) -> Result<(), BindError> {
        self.channels.retain(|_, channel| channel.expires > now);
        let channels = &self.channels;
        self.numbers
            .retain(|_, number| channels.contains_key(number));
        let bound_peer = self.channels.get(&number).map(|channel| channel.peer);
        let bound_number = self.numbers.get(&peer).copied();
        let is_free = bound_peer.is_none_or(|bound| bound == peer)
            && bound_number.is_none_or(|bound| bound == number);
        if !CHANNEL_NUMBERS.contains(&number) || !is_free {
            return Err(BindError::Mismatch);
        }
        if bound_peer.is_none() && self.channels.len() >= CHANNELS_MAX {
            return Err(BindError::Full);
        }
        self.permit(&[peer], now)?;
        let expires = now + CHANNEL_LIFETIME;
        self.channels.insert(number, Channel { peer, expires });
        self.numbers.insert(peer, number);
        Ok(())
    }

    pub(super) fn is_permitted(&self, ip: IpAddr, now: Instant) -> bool {
        let expires = self.permissions.get(&ip);
        expires.is_some_and(|expires| *expires > now)
    }

    /// The peer of a channel.
    pub(super) fn peer_of(&self, number: u16, now: Instant) -> Option<SocketAddr> {
        let channel = self.channels.get(&number)?;
        (channel.expires > now).then_some(channel.peer)
    }

    /// The channel of a peer.
    pub(super) fn number_of(&self, peer: SocketAddr, now: Instant) -> Option<u16> {
        let number = *self.numbers.get(&peer)?;
        self.peer_of(number, now).map(|_| number)
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire;
    use super::*;

    fn head() -> Head {
        let bytes = [&[0, 3, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[0; 12]].concat();
        match wire::read(&bytes) {
            Some(wire::Incoming::Request(request)) => request.head(),
            other => panic!("a request: {other:?}"),
        }
    }

    fn allocation(now: Now) -> Allocation {
        let remote = "192.0.2.1:5000".parse().unwrap();
        let owner = Owner {
            username: "100:a".to_owned(),
            participant: "a".to_owned(),
            expires_s: 100,
            key: Key::new("100:a", "p".to_owned(), "r"),
        };
        Allocation::new(
            Client::Stream { id: 1, remote },
            owner,
            Family::V4,
            head(),
            &Limits::default(),
            now,
        )
    }

    fn now() -> Now {
        Now {
            at: Instant::now(),
            unix_s: 40,
        }
    }

    fn peer(port: u16) -> SocketAddr {
        SocketAddr::from(([198, 51, 100, 1], port))
    }

    #[test]
    fn no_lifetime_is_longer_than_the_credentials() {
        let now = now();
        let mut allocation = allocation(now);
        assert_eq!(allocation.prolong(Duration::from_secs(20), now), 20);
        assert_eq!(allocation.prolong(Duration::from_secs(600), now), 60);
        assert_eq!(allocation.expires, now.at + Duration::from_secs(60));
    }

    #[test]
    fn a_permission_is_for_an_ip_and_ends() {
        let now = now().at;
        let mut allocation = allocation(super::Now {
            at: now,
            unix_s: 40,
        });
        allocation.permit(&[peer(1)], now).unwrap();
        let last = now + PERMISSION_LIFETIME - Duration::from_millis(1);
        assert!(allocation.is_permitted(peer(2).ip(), last));
        assert!(!allocation.is_permitted(peer(2).ip(), now + PERMISSION_LIFETIME));
        assert!(!allocation.is_permitted("198.51.100.2".parse().unwrap(), now));
    }

    #[test]
    fn permissions_have_a_limit_and_old_ones_make_room() {
        let now = now().at;
        let mut allocation = allocation(super::Now {
            at: now,
            unix_s: 40,
        });
        let many = |from: u8, count: usize| -> Vec<SocketAddr> {
            let peers = (0..count).map(|n| ([10, 0, from, u8::try_from(n).unwrap()], 1).into());
            peers.collect()
        };
        allocation.permit(&many(0, PERMISSIONS_MAX), now).unwrap();
        allocation.permit(&many(0, 3), now).unwrap();
        let full = allocation.permit(&many(1, 1), now);
        assert_eq!(full, Err(BindError::Full));
        assert!(!allocation.is_permitted(many(1, 1)[0].ip(), now));
        allocation
            .permit(&many(1, 1), now + PERMISSION_LIFETIME)
            .unwrap();
    }

    #[test]
    fn a_channel_has_one_peer_and_a_peer_one_channel() {
        let now = now().at;
        let mut allocation = allocation(super::Now {
            at: now,
            unix_s: 40,
        });
        allocation.bind(0x4000, peer(1), now).unwrap();
        allocation.bind(0x4000, peer(1), now).unwrap();
        for (number, port) in [(0x4000, 2), (0x4001, 1), (0x3fff, 3), (0x7fff, 3)] {
            let refused = allocation.bind(number, peer(port), now);
            assert_eq!(refused, Err(BindError::Mismatch), "{number:#x} {port}");
        }
        assert_eq!(allocation.peer_of(0x4000, now), Some(peer(1)));
        assert_eq!(allocation.number_of(peer(1), now), Some(0x4000));
        let later = now + CHANNEL_LIFETIME;
        assert_eq!(allocation.peer_of(0x4000, later), None);
        assert_eq!(allocation.number_of(peer(1), later), None);
        allocation.bind(0x4000, peer(2), later).unwrap();
        assert_eq!(allocation.number_of(peer(1), later), None);
    }

    #[test]
    fn channels_have_a_limit() {
        let now = now().at;
        let mut allocation = allocation(super::Now {
            at: now,
            unix_s: 40,
        });
        let mut bound = 0;
        for n in 0..200u16 {
            bound += usize::from(allocation.bind(0x4000 + n, peer(n + 1), now).is_ok());
        }
        assert_eq!(bound, CHANNELS_MAX);
    }
}
