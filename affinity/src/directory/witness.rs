//! Who says that time has passed: the gateways' side of leases.
//!
//! Owns: since when the same renewal has been seen, by a clock that only runs forward. Must not:
//! trust a clock of the directory's machine, or count time in which it did not look.
//!
//! Why it is safe: a renewal was sent before it could be seen. Its shard counts from sending, and
//! stops [`MARGIN_MS`](super::MARGIN_MS) before a lease is over; the witness counts from seeing, and
//! asks for the end of exactly the renewal that it saw, so that one which came since wins.

use super::{DirectoryIncarnation, HOLD_MS, Incarnation, LEASE_MS, Request, View};
use crate::ShardId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// A witness that has not looked for this long, milliseconds, starts to count again: the shards could
/// not reach the directory either, perhaps, and get a whole lease to come back.
const GAP_MS: u64 = 1_500;

/// Topologies that are remembered. Beyond, the oldest counts as missed.
const TOPOLOGIES_MAX: usize = 16;

const LEASE: Duration = Duration::from_millis(LEASE_MS);
const GAP: Duration = Duration::from_millis(GAP_MS);
const HOLD: Duration = Duration::from_millis(HOLD_MS);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Sighting {
    incarnation: Incarnation,
    seq: u64,
    since: Instant,
}

/// What one gateway has seen. See the module's first lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Witness {
    directory: Option<DirectoryIncarnation>,
    /// Since when this life of the directory is known.
    met: Option<Instant>,
    /// Since when it is looked at without a gap.
    since: Option<Instant>,
    looked: Option<Instant>,
    grace: bool,
    hold: bool,
    /// As many as the directory has leases.
    leases: BTreeMap<ShardId, Sighting>,
    orphaned: BTreeMap<(ShardId, Incarnation), Instant>,
    /// Since when shards were seen with a lease, first, in this life of the directory.
    arrived: BTreeMap<ShardId, Instant>,
    /// Whether the directory names its shards now; a new life does not until a gateway has announced them.
    named: bool,
    /// What it has named for as long as a hold can last, through all its lives; the newest is last.
    topologies: Vec<Named>,
    /// Since when none of them was missed.
    known: Option<Instant>,
}

/// A topology, and when it was seen last.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Named {
    shards: BTreeSet<ShardId>,
    last: Instant,
}

impl Witness {
    /// The directory's answer to a look at it, received at `now`.
    pub fn handle_view(&mut self, view: &View, now: Instant) {
        let gap = self.looked.is_none_or(|looked| now > looked + GAP);
        if self.directory != Some(view.directory) {
            *self = Self {
                directory: Some(view.directory),
                met: Some(now),
                since: Some(now),
                topologies: std::mem::take(&mut self.topologies),
                known: self.known,
                ..Self::default()
            };
        } else if gap {
            // Lives that have ended do not come back, whoever looks: their time goes on.
            self.since = Some(now);
            self.leases.clear();
            self.arrived.clear();
        }
        self.looked = Some(now);
        self.grace = view.grace;
        self.hold = view.hold;
        let before = std::mem::take(&mut self.leases);
        for lease in &view.leases {
            let fresh = Sighting {
                incarnation: lease.incarnation,
                seq: lease.seq,
                since: now,
            };
            let same =
                |seen: &&Sighting| seen.incarnation == lease.incarnation && seen.seq == lease.seq;
            let seen = before.get(&lease.shard).filter(same).copied();
            self.leases
                .insert(lease.shard.clone(), seen.unwrap_or(fresh));
            self.arrived.entry(lease.shard.clone()).or_insert(now);
        }
        self.see_topology(view, now);
        let before = std::mem::take(&mut self.orphaned);
        for life in &view.orphaned {
            let since = before.get(life).copied().unwrap_or(now);
            self.orphaned.insert(life.clone(), since);
        }
    }

    fn see_topology(&mut self, view: &View, now: Instant) {
        let shards = view.topology.iter().map(|shard| shard.id.clone());
        let shards: BTreeSet<ShardId> = shards.collect();
        self.topologies
            .retain(|named| now < named.last + HOLD + LEASE);
        self.named = !shards.is_empty();
        if !self.named {
            return;
        }
        self.known.get_or_insert(now);
        match self.topologies.last_mut() {
            Some(newest) if newest.shards == shards => newest.last = now,
            _ => self.topologies.push(Named { shards, last: now }),
        }
        if self.topologies.len() > TOPOLOGIES_MAX {
            self.topologies.remove(0);
            self.known = Some(now);
        }
    }

    /// What is to be said to the directory at `now`. Nothing is said twice in a row only because the
    /// directory's next view shows the effect; asking again does no harm.
    pub fn requests(&self, now: Instant) -> Vec<Request> {
        let Some(directory) = self.directory else {
            return Vec::new();
        };
        let over = |since: Instant, wait: Duration| now >= since + wait;
        let lapsed = self
            .leases
            .iter()
            .filter(|(_, seen)| over(seen.since, LEASE));
        let lapse = lapsed.map(|(shard, seen)| Request::Lapse {
            directory,
            shard: shard.clone(),
            incarnation: seen.incarnation,
            seq: seen.seq,
        });
        let forgotten = self.orphaned.iter();
        let forgotten = forgotten.filter(|(_, since)| over(**since, HOLD + LEASE));
        let forget = forgotten.map(|((shard, incarnation), _)| Request::Forget {
            directory,
            shard: shard.clone(),
            incarnation: *incarnation,
        });
        let mut requests: Vec<Request> = lapse.chain(forget).collect();
        if self.ends_grace(now) {
            requests.push(Request::EndGrace { directory });
        }
        requests
    }

    /// Every owner from the life before has either re-asserted its rooms or stopped them. Without hold
    /// after one lease. With hold a shard that has not shown up may go on for longer, if more than half
    /// of all promise to each other; those that have been here for a promise's length, and promise
    /// nothing to those who have not, are in the way of that if they are enough ([`Self::has_quorum`]).
    fn ends_grace(&self, now: Instant) -> bool {
        let over = |since: Option<Instant>, wait| since.is_some_and(|since| now >= since + wait);
        let long = over(self.met, HOLD + LEASE);
        self.grace && (long || self.has_quorum(now) && over(self.since, LEASE))
    }

    /// Whether one of those that are here is among any that go on without a lease. Those are more than half
    /// of the topology that they heard of last, within the time of a hold: so half of each that was named
    /// since is enough. Who has not looked for as long may have missed the last one: if it has one
    /// shard more or less than the present one, more than half of this one is enough.
    fn has_quorum(&self, now: Instant) -> bool {
        let missed = self.known.is_none_or(|since| now < since + HOLD + LEASE);
        let half = |named: &Named| 2 * self.here(named, now) >= named.shards.len();
        let most = |named: &Named| 2 * self.here(named, now) > named.shards.len();
        let newest = self.topologies.last().filter(|_| self.named);
        let enough = newest.is_some_and(|newest| !missed || most(newest));
        !self.hold || (enough && self.topologies.iter().all(half))
    }

    /// How many of them have had a lease for as long as one lasts, in this life of the directory.
    fn here(&self, named: &Named, now: Instant) -> usize {
        let long = |shard: &&ShardId| {
            let since = self.arrived.get(*shard);
            since.is_some_and(|since| now >= *since + LEASE)
        };
        named.shards.iter().filter(long).count()
    }

    /// What is left, by this clock, of the shard's lease; `None` if it has none.
    pub fn lease_remaining(&self, shard: &ShardId, now: Instant) -> Option<Duration> {
        let seen = self.leases.get(shard)?;
        let remaining = (seen.since + LEASE).saturating_duration_since(now);
        (!remaining.is_zero()).then_some(remaining)
    }

    /// How long, by this clock, no claim can succeed yet, at least; zero outside of grace.
    pub fn grace_remaining(&self, now: Instant) -> Duration {
        let since = self.since.filter(|_| self.grace);
        since.map_or(Duration::ZERO, |since| {
            (since + LEASE).saturating_duration_since(now)
        })
    }

    /// During grace: the shards that have not come, and of which some must before it ends.
    pub fn awaited(&self) -> BTreeSet<&ShardId> {
        let waits = self.grace && self.hold;
        let named = self.topologies.iter().filter(|_| waits);
        let shards = named.flat_map(|named| &named.shards);
        shards
            .filter(|shard| !self.arrived.contains_key(*shard))
            .collect()
    }
}

#[cfg(test)]
mod tests;
