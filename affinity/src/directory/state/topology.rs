//! Which shards there are, and which of them take rooms.

use super::{DirectoryState, Heirs};
use crate::directory::{Drain, Reply};
use crate::{Shard, ShardId, ShardState};
use std::collections::BTreeMap;

impl DirectoryState {
    pub(super) fn announce(&mut self, topology: Vec<Shard>) -> Reply {
        let shards = topology.into_iter().map(|shard| (shard.id.clone(), shard));
        let topology: BTreeMap<ShardId, Shard> = shards.collect();
        if topology.is_empty() {
            return Reply::Refused {
                reason: "no shards: name at least one".to_owned(),
            };
        }
        if topology != self.topology {
            let before = std::mem::replace(&mut self.topology, topology);
            self.generation += 1;
            self.version += 1;
            self.drains
                .retain(|shard, _| self.topology.contains_key(shard));
            // The operator says that they do not exist any more. One that had its lease when it was
            // removed is not meant: it may have gone on without one since.
            let removed =
                |shard: &ShardId| before.contains_key(shard) && !self.topology.contains_key(shard);
            for ((shard, _), heirs) in &mut self.orphaned {
                if removed(shard) {
                    *heirs = Heirs::Anybody;
                }
            }
        }
        Reply::Announced {
            directory: self.incarnation,
            generation: self.generation,
        }
    }

    pub(super) fn set_drain(&mut self, shard: &ShardId, drain: Option<Drain>) -> Reply {
        if !self.topology.contains_key(shard) {
            return Reply::Refused {
                reason: format!("there is no shard `{shard}`: `anteroom shards ls` lists them"),
            };
        }
        let before = match drain {
            Some(drain) => self.drains.insert(shard.clone(), drain),
            None => self.drains.remove(shard),
        };
        if before.as_ref() != self.drains.get(shard) {
            self.version += 1;
        }
        Reply::Done
    }

    /// The order to empty a shard: an operator's word, else the configuration's.
    pub(super) fn drain_of(&self, shard: &ShardId) -> Option<Drain> {
        let configured = self.topology.get(shard).map(|known| known.state);
        let by_config = (configured == Some(ShardState::Draining)).then_some(Drain {
            deadline_unix_ms: None,
        });
        self.drains.get(shard).cloned().or(by_config)
    }

    /// What the shard may do without a lease. Nothing if the topology does not name it: then nobody waits
    /// for it, and as long as there is none, nobody knows how many more than half are.
    pub(super) fn hold_of(&self, shard: &ShardId) -> u64 {
        if self.topology.contains_key(shard) {
            self.hold_ms
        } else {
            0
        }
    }

    /// Whether the shard may get new rooms. One that the topology does not name gets none.
    pub(super) fn accepts(&self, shard: &ShardId) -> bool {
        self.topology.contains_key(shard)
            && self.drain_of(shard).is_none()
            && !self.leases.get(shard).is_some_and(|lease| lease.leaving)
    }
}
