//! Which shards are dead, as far as the placement of idle rooms goes.
//!
//! Pure. Must not: touch rooms that such a shard still owns in the directory's eyes.

use super::picture::Picture;
use affinity::ShardId;
use affinity::directory::LEASE_MS;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long a shard may take to show up after it became known, before idle rooms are placed
/// elsewhere.
const ARRIVAL: Duration = Duration::from_millis(LEASE_MS);

/// Who has shown up. One entry for each shard of the topology.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    seen: BTreeMap<ShardId, Seen>,
    ever: bool,
}

#[derive(Debug)]
struct Seen {
    since: Instant,
    leased: bool,
    dead: bool,
}

impl Arrivals {
    /// These are the shards now.
    pub(super) fn set_shards(&mut self, shards: impl Iterator<Item = ShardId>, now: Instant) {
        let mut before = std::mem::take(&mut self.seen);
        for shard in shards {
            let fresh = Seen {
                since: now,
                leased: false,
                dead: false,
            };
            let seen = before.remove(&shard).unwrap_or(fresh);
            self.seen.insert(shard, seen);
        }
    }

    /// The directory has answered.
    pub(super) fn handle_picture(&mut self, picture: &Picture, now: Instant) {
        // Lost leases come back one after the other, and no room moves before all had their chance.
        if picture.view().is_none() || picture.is_in_grace() {
            return;
        }
        for (id, seen) in &mut self.seen {
            let leased = picture.lease(id).is_some();
            seen.leased |= leased;
            seen.dead = !leased && (seen.leased || now.duration_since(seen.since) > ARRIVAL);
            self.ever |= leased;
        }
    }

    /// Shards that had a lease and lost it, or did not show up in time.
    pub(super) fn dead(&self) -> BTreeSet<ShardId> {
        let dead = self.seen.iter().filter(|(_, seen)| seen.dead);
        dead.map(|(shard, _)| shard.clone()).collect()
    }

    /// Whether any shard ever had a lease.
    pub(super) fn any_ever(&self) -> bool {
        self.ever
    }
}

#[cfg(test)]
mod tests {
    use super::super::picture::tests::view;
    use super::*;

    #[test]
    fn a_shard_is_dead_if_it_lost_its_lease_or_does_not_come() {
        let now = Instant::now();
        let picture = |leased: &[&str]| Picture::of(view(Vec::new(), leased), now);
        let mut arrivals = Arrivals::default();
        arrivals.set_shards(["a", "b"].map(ShardId::new).into_iter(), now);
        arrivals.handle_picture(&picture(&["a"]), now);
        assert!(arrivals.dead().is_empty(), "b may still come");
        arrivals.handle_picture(&picture(&[]), now);
        assert_eq!(arrivals.dead(), BTreeSet::from([ShardId::new("a")]));
        let later = now + ARRIVAL + Duration::from_millis(1);
        arrivals.handle_picture(&picture(&["a"]), later);
        assert_eq!(arrivals.dead(), BTreeSet::from([ShardId::new("b")]));
    }

    #[test]
    fn while_lost_leases_come_back_nobody_is_declared_dead() {
        let now = Instant::now();
        let mut arrivals = Arrivals::default();
        arrivals.set_shards([ShardId::new("a")].into_iter(), now);
        arrivals.handle_picture(&Picture::of(view(Vec::new(), &["a"]), now), now);
        let mut grace = view(Vec::new(), &[]);
        grace.grace = true;
        arrivals.handle_picture(&Picture::of(grace, now), now);
        assert!(arrivals.dead().is_empty() && arrivals.any_ever());
    }
}
