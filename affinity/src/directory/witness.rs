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
    /// As it was named last,
    topology: BTreeSet<ShardId>,
    /// and whether the directory names it now.
    named: bool,
    /// Since when no other topology was seen, through all lives of the directory.
    unchanged: Option<Instant>,
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
                topology: std::mem::take(&mut self.topology),
                unchanged: self.unchanged,
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

    /// A new life of the directory names no shard until a gateway has announced them again: that is no
    /// change.
    fn see_topology(&mut self, view: &View, now: Instant) {
        let shards = view.topology.iter().map(|shard| shard.id.clone());
        let shards: BTreeSet<ShardId> = shards.collect();
        if shards.is_empty() {
            self.named = false;
            return;
        }
        self.named = true;
        if self.unchanged.is_none() || shards != self.topology {
            self.unchanged = Some(now);
            self.topology = shards;
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

    /// Whether one of those that are here is among any more than half of all shards, as those count
    /// them that go on without a lease. Half of all is enough if that count is ours. Theirs may be the
    /// topology before its last change, with one shard more or less: then it takes more than half. No
    /// hold is older than a topology that has been the same for as long as hold lasts.
    fn has_quorum(&self, now: Instant) -> bool {
        let over = |since: &Instant, wait: Duration| now >= *since + wait;
        let long = |shard: &&ShardId| self.arrived.get(*shard).is_some_and(|at| over(at, LEASE));
        let here = self.topology.iter().filter(long).count();
        let all = self.topology.len();
        let same = self.unchanged.is_some_and(|at| over(&at, HOLD + LEASE));
        let enough = here * 2 > all || (same && here * 2 == all);
        !self.hold || (self.named && enough)
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

    /// During grace: the shards of which more than half must come before it ends.
    pub fn awaited(&self) -> impl Iterator<Item = &ShardId> {
        let waits = self.grace && self.hold;
        let shards = self.topology.iter().filter(move |_| waits);
        shards.filter(|shard| !self.arrived.contains_key(*shard))
    }
}

#[cfg(test)]
mod tests;
