//! Leases: taken, prolonged, lapsed, given back.

use super::{DirectoryState, Heirs, Lease};
use crate::ShardId;
use crate::directory::{Holder, Incarnation, LEASE_MS, Life, Renewal, Reply, Roster};

impl DirectoryState {
    pub(super) fn renew(&mut self, holder: &Holder, renewal: &Renewal) -> Reply {
        // A shard that never heard of any directory has nothing to lose by meeting this one.
        if holder.directory.is_some() && self.is_stale(holder) {
            return self.stale();
        }
        // Its bindings are gone, whatever it believes; and a renewal that was overtaken by its
        // resignation must not keep the next life waiting.
        let life = (holder.shard.clone(), holder.incarnation);
        if self.ended.contains(&life.0, life.1) || self.orphaned.contains_key(&life) {
            return Reply::NoLease;
        }
        if let Some(before) = renewal.replaces
            && before != holder.incarnation
        {
            self.end_life(&holder.shard, before, Heirs::Anybody);
        }
        match self.leases.get(&holder.shard) {
            // Two lives of one shard: the older may still own rooms until its lease ends. No time in
            // the text: the same cause has the same words, so that it is logged once.
            Some(lease) if lease.incarnation != holder.incarnation => {
                return Reply::Refused {
                    reason: format!(
                        "another process holds the lease of shard `{}`: wait {} s if it was \
                         restarted, else give each process its own shard.id",
                        holder.shard,
                        LEASE_MS.div_ceil(1_000)
                    ),
                };
            }
            Some(_) => self.prolong(holder, renewal),
            None if self.leases.len() >= self.limits.shards_max => {
                return Reply::Refused {
                    reason: format!(
                        "{} shards have a lease, the limit: run fewer shards or raise it",
                        self.leases.len()
                    ),
                };
            }
            None => self.begin(holder, renewal),
        }
        // In grace this is before the first claim: no epoch of a life before comes again.
        self.epoch = self.epoch.max(renewal.epoch);
        self.leased(holder, renewal)
    }

    fn begin(&mut self, holder: &Holder, renewal: &Renewal) {
        self.version += 1;
        let lease = Lease {
            incarnation: holder.incarnation,
            seq: renewal.seq,
            born: self.version,
            knows: self.known(holder, renewal),
            leaving: renewal.leaving,
            rooms: renewal.rooms,
        };
        self.leases.insert(holder.shard.clone(), lease);
    }

    fn prolong(&mut self, holder: &Holder, renewal: &Renewal) {
        let known = self.known(holder, renewal);
        let Some(lease) = self.leases.get_mut(&holder.shard) else {
            return;
        };
        // It knows what it knows, however late it says so.
        lease.knows = lease.knows.max(known);
        if renewal.seq <= lease.seq {
            return;
        }
        lease.seq = renewal.seq;
        lease.rooms = renewal.rooms;
        if lease.leaving != renewal.leaving {
            lease.leaving = renewal.leaving;
            self.version += 1;
        }
    }

    /// Versions count within one directory life, and none is known that was not there yet.
    fn known(&self, holder: &Holder, renewal: &Renewal) -> u64 {
        if self.is_stale(holder) {
            return 0;
        }
        renewal.knows.min(self.version)
    }

    fn leased(&self, holder: &Holder, renewal: &Renewal) -> Reply {
        let news = self.known(holder, renewal) != self.version;
        Reply::Leased {
            directory: self.incarnation,
            ttl_ms: LEASE_MS,
            hold_ms: self.hold_of(&holder.shard),
            shards: u32::try_from(self.topology.len()).unwrap_or(u32::MAX),
            generation: self.generation,
            epoch: self.epoch,
            grace: self.grace,
            drain: self.drain_of(&holder.shard),
            roster: news.then(|| self.roster(&holder.shard)),
        }
    }

    /// All shards with a lease, except the asking one.
    fn roster(&self, except: &ShardId) -> Roster {
        let others = self.leases.iter().filter(|(shard, _)| *shard != except);
        let life = |(shard, lease): (&ShardId, &Lease)| {
            let known = self.topology.get(shard);
            Life {
                shard: shard.clone(),
                incarnation: lease.incarnation,
                url: known.map(|known| known.url.clone()).unwrap_or_default(),
                weight: known.map_or(0, |known| known.weight),
                accepts: self.accepts(shard),
            }
        };
        Roster {
            version: self.version,
            lives: others.map(life).collect(),
        }
    }

    pub(super) fn lapse(&mut self, shard: &ShardId, incarnation: Incarnation, seq: u64) {
        let Some(lease) = self.leases.get(shard) else {
            return;
        };
        if lease.incarnation != incarnation || lease.seq != seq {
            return;
        }
        let heirs = if self.hold_ms == 0 {
            Heirs::Anybody
        } else {
            Heirs::Known {
                up_to: lease.knows,
                // The version that this makes.
                since: self.version + 1,
            }
        };
        self.end_life(shard, incarnation, heirs);
    }

    pub(super) fn resign(&mut self, holder: &Holder) -> Reply {
        if self.is_stale(holder) {
            return self.stale();
        }
        self.end_life(&holder.shard, holder.incarnation, Heirs::Anybody);
        Reply::Released
    }

    /// Ends the life's lease, if it has one. A life that ended before and now says that it has
    /// stopped its rooms frees them.
    fn end_life(&mut self, shard: &ShardId, life: Incarnation, heirs: Heirs) {
        let key = (shard.clone(), life);
        let held = self.leases.get(shard).map(|lease| lease.incarnation);
        if held == Some(life) {
            self.leases.remove(shard);
            self.version += 1;
            self.ended.insert(shard.clone(), life);
            self.orphaned.insert(key, heirs);
        } else if let Some(before) = self.orphaned.get_mut(&key)
            && heirs == Heirs::Anybody
        {
            *before = heirs;
        }
    }

    pub(super) fn forget(&mut self, shard: &ShardId, life: Incarnation) {
        if self.orphaned.remove(&(shard.clone(), life)).is_some() {
            self.rooms
                .retain(|_, room| room.binding.shard != *shard || room.binding.incarnation != life);
        }
    }

    pub(super) fn end_grace(&mut self) {
        self.grace = false;
        self.stopped.clear();
    }
}
