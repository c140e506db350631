//! Lives of shards that had a lease and have none any more.
//!
//! Owns: the memory by which an ended life is told apart from one that never had a lease. A shard
//! whose clock stood still (a paused virtual machine, a suspended host) does not know that its lease
//! has lapsed; if a renewal gave it a new one it would go on as the owner of rooms that are bound to
//! nobody, or to another shard by now.

use crate::ShardId;
use crate::directory::Incarnation;
use std::collections::{BTreeMap, VecDeque};

/// Lives remembered of one shard: a process that sleeps while its replacement is restarted this
/// often is still known. Beyond, the one that ended first is forgotten.
const LIVES_MAX: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Shard {
    lives: VecDeque<Incarnation>,
    /// Greater than that of every shard whose last life ended before.
    order: u64,
}

/// Ended lives, at most [`LIVES_MAX`] of each of `shards_max` shards, about 300 bytes a shard.
/// Beyond, the shard whose last life ended first is forgotten: a process of it that slept while
/// that many other shards came and went could renew a lease that it does not have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct EndedLives {
    shards_max: usize,
    shards: BTreeMap<ShardId, Shard>,
    order: u64,
}

impl EndedLives {
    pub(super) fn new(shards_max: usize) -> Self {
        Self {
            shards_max,
            shards: BTreeMap::new(),
            order: 0,
        }
    }

    pub(super) fn contains(&self, shard: &ShardId, life: Incarnation) -> bool {
        self.shards
            .get(shard)
            .is_some_and(|known| known.lives.contains(&life))
    }

    pub(super) fn insert(&mut self, shard: ShardId, life: Incarnation) {
        if self.contains(&shard, life) {
            return;
        }
        if !self.shards.contains_key(&shard) && self.shards.len() >= self.shards_max {
            self.forget_first();
        }
        self.order += 1;
        let order = self.order;
        let known = self.shards.entry(shard).or_insert(Shard {
            lives: VecDeque::new(),
            order,
        });
        known.order = order;
        if known.lives.len() >= LIVES_MAX {
            known.lives.pop_front();
        }
        known.lives.push_back(life);
    }

    fn forget_first(&mut self) {
        let first = self.shards.iter().min_by_key(|(_, known)| known.order);
        if let Some(shard) = first.map(|(shard, _)| shard.clone()) {
            self.shards.remove(&shard);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lives_of_each_shard_are_remembered() {
        let mut ended = EndedLives::new(2);
        for life in 0..20 {
            ended.insert("a".into(), Incarnation(life));
        }
        let known = |life| ended.contains(&"a".into(), Incarnation(life));
        assert!(!known(3) && known(4) && known(19) && !known(20));
        assert!(!ended.contains(&"b".into(), Incarnation(19)));
    }

    #[test]
    fn of_too_many_shards_the_one_that_ended_first_is_forgotten() {
        let mut ended = EndedLives::new(2);
        for (shard, life) in [("a", 1), ("b", 2), ("a", 3), ("c", 4)] {
            ended.insert(shard.into(), Incarnation(life));
        }
        let known = |shard: &str, life| ended.contains(&shard.into(), Incarnation(life));
        assert!(known("a", 1) && known("a", 3) && known("c", 4));
        assert!(!known("b", 2));
    }
}
