//! The directory in memory: one map of leases, one of bindings.
//!
//! Owns: the rules by which claims, re-assertions and releases are answered. Must not: survive its
//! process, read a clock, or serve two gateways. After a restart it starts in *grace*: for one
//! lease nobody gets a room that was not his before, so every owner from the life before has either
//! re-asserted its rooms or stopped them.

mod ended;

use super::{DirectoryIncarnation, Epoch, Holder, Incarnation, LEASE_MS, Reply, Request};
use crate::{RoomKey, ShardId, ShardState};
use ended::EndedLives;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const LEASE: Duration = Duration::from_millis(LEASE_MS);

/// Limits of the memory directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimits {
    /// Most rooms bound at one time, about 200 bytes each. A claim beyond is refused.
    pub bindings_max: usize,
    /// Most shards with a lease at one time. A renewal of a further one is refused.
    pub shards_max: usize,
}

impl Default for MemoryLimits {
    fn default() -> Self {
        Self {
            bindings_max: 200_000,
            shards_max: 1_024,
        }
    }
}

/// Who owns a room. Valid while the lease of `shard` is held by `incarnation`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The room.
    pub room: RoomKey,
    /// Its owner.
    pub shard: ShardId,
    /// The life of the owner that claimed it.
    pub incarnation: Incarnation,
    /// Number of the claim.
    pub epoch: Epoch,
}

impl Binding {
    fn is_of(&self, holder: &Holder) -> bool {
        self.shard == holder.shard && self.incarnation == holder.incarnation
    }
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    incarnation: Incarnation,
    ends: Instant,
}

/// The directory in memory. See the module's first lines.
#[derive(Debug)]
pub struct MemoryDirectory {
    incarnation: DirectoryIncarnation,
    limits: MemoryLimits,
    generation: u64,
    known: BTreeMap<ShardId, ShardState>,
    leases: BTreeMap<ShardId, Lease>,
    /// Lives that never get a lease again.
    ended: EndedLives,
    bindings: BTreeMap<RoomKey, Binding>,
    /// Highest epoch issued or re-asserted.
    epoch: Epoch,
    grace_ends: Option<Instant>,
    /// Rooms released during grace: a re-assertion of the same claim that was overtaken by its
    /// release must not bring the binding back. Emptied when grace ends; no larger than
    /// `bindings_max`, beyond that a release is refused and comes again.
    stopped: BTreeMap<RoomKey, Epoch>,
}

impl MemoryDirectory {
    /// A directory without data. Claims get epochs above `epoch_floor`, which must be above every
    /// epoch of former lives (such as the start time in the high bits). `grace` is false only if
    /// no shard can have lived before.
    pub fn new(
        incarnation: DirectoryIncarnation,
        epoch_floor: Epoch,
        grace: bool,
        limits: MemoryLimits,
        now: Instant,
    ) -> Self {
        Self {
            incarnation,
            limits,
            generation: 0,
            known: BTreeMap::new(),
            leases: BTreeMap::new(),
            ended: EndedLives::new(limits.shards_max),
            bindings: BTreeMap::new(),
            epoch: epoch_floor,
            grace_ends: grace.then(|| now + LEASE),
            stopped: BTreeMap::new(),
        }
    }

    /// The directory's present life.
    pub fn incarnation(&self) -> DirectoryIncarnation {
        self.incarnation
    }

    /// Replaces the set of known shards. One that drains or is not in `known` gets no new rooms;
    /// it keeps its lease and what it has.
    pub fn set_topology(
        &mut self,
        generation: u64,
        known: impl IntoIterator<Item = (ShardId, ShardState)>,
    ) {
        self.generation = generation;
        self.known = known.into_iter().collect();
    }

    /// Answers one request.
    pub fn handle_request(&mut self, request: Request, now: Instant) -> Reply {
        // First: below, every lease and every binding in the maps is valid.
        self.expire(now);
        match request {
            Request::Renew { holder } => self.renew(holder, now),
            Request::Claim { holder, room } => self.claim(&holder, room, now),
            Request::Reassert {
                holder,
                room,
                epoch,
            } => self.reassert(&holder, room, epoch),
            Request::Release {
                holder,
                room,
                epoch,
            } => self.release(&holder, &room, epoch),
            Request::Resign { holder } => self.resign(&holder),
            Request::Attach { gateway } => Reply::Refused {
                reason: format!(
                    "gateway `{gateway}` cannot attach: this directory lives in the memory of \
                     one gateway; run one gateway, or configure a shared directory for all"
                ),
            },
        }
    }

    /// The owner of the room at this moment, if its lease is alive.
    pub fn owner(&self, room: &RoomKey, now: Instant) -> Option<&Binding> {
        self.bindings
            .get(room)
            .filter(|binding| self.is_valid(binding, now))
    }

    /// All bindings whose lease is alive, by room.
    pub fn live_bindings(&self, now: Instant) -> impl Iterator<Item = &Binding> {
        self.bindings
            .values()
            .filter(move |binding| self.is_valid(binding, now))
    }

    /// What is left of the shard's lease; `None` if it has none.
    pub fn lease_remaining(&self, shard: &ShardId, now: Instant) -> Option<Duration> {
        let remaining = self.leases.get(shard)?.ends.saturating_duration_since(now);
        (!remaining.is_zero()).then_some(remaining)
    }

    /// How long no claim can succeed yet; zero outside of grace.
    pub fn grace_remaining(&self, now: Instant) -> Duration {
        self.grace_ends
            .map_or(Duration::ZERO, |ends| ends.saturating_duration_since(now))
    }

    /// Drops dead leases with their bindings, and what grace needed once it is over. Every request
    /// does this too; call it once a second so that memory is freed when nobody asks.
    pub fn expire(&mut self, now: Instant) {
        if self.grace_ends.is_some_and(|ends| ends <= now) {
            self.grace_ends = None;
            self.stopped.clear();
        }
        let lapsed: Vec<(ShardId, Lease)> = self
            .leases
            .extract_if(.., |_, lease| lease.ends <= now)
            .collect();
        if !lapsed.is_empty() {
            let leases = &self.leases;
            self.bindings.retain(|_, binding| {
                leases
                    .get(&binding.shard)
                    .is_some_and(|lease| lease.incarnation == binding.incarnation)
            });
        }
        for (shard, lease) in lapsed {
            self.ended.insert(shard, lease.incarnation);
        }
    }

    fn is_valid(&self, binding: &Binding, now: Instant) -> bool {
        self.leases
            .get(&binding.shard)
            .is_some_and(|lease| lease.incarnation == binding.incarnation && lease.ends > now)
    }

    fn is_stale(&self, holder: &Holder) -> bool {
        holder.directory != Some(self.incarnation)
    }

    fn stale(&self) -> Reply {
        Reply::StaleDirectory {
            current: self.incarnation,
        }
    }

    fn has_lease(&self, holder: &Holder) -> bool {
        self.leases
            .get(&holder.shard)
            .is_some_and(|lease| lease.incarnation == holder.incarnation)
    }

    fn grace_remaining_ms(&self, now: Instant) -> u64 {
        let remaining = self
            .grace_ends
            .map(|ends| ends.saturating_duration_since(now));
        // Rounded up: 0 says that grace is over.
        remaining.map_or(0, |left| {
            u64::try_from(left.as_micros().div_ceil(1000)).unwrap_or(LEASE_MS)
        })
    }

    fn renew(&mut self, holder: Holder, now: Instant) -> Reply {
        // A shard that never heard of any directory has nothing to lose by meeting this one.
        if holder.directory.is_some() && self.is_stale(&holder) {
            return self.stale();
        }
        // Its bindings are gone, whatever it believes; and a renewal that was overtaken by its
        // resignation must not keep the next life waiting.
        if self.ended.contains(&holder.shard, holder.incarnation) {
            return Reply::NoLease;
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
                        LEASE.as_secs()
                    ),
                };
            }
            None if self.leases.len() >= self.limits.shards_max => {
                return Reply::Refused {
                    reason: format!(
                        "{} shards have a lease, the limit: run fewer shards or raise it",
                        self.leases.len()
                    ),
                };
            }
            Some(_) | None => {}
        }
        let lease = Lease {
            incarnation: holder.incarnation,
            ends: now + LEASE,
        };
        self.leases.insert(holder.shard, lease);
        Reply::Leased {
            directory: self.incarnation,
            ttl_ms: LEASE_MS,
            generation: self.generation,
            grace_ms: self.grace_remaining_ms(now),
        }
    }

    fn claim(&mut self, holder: &Holder, room: RoomKey, now: Instant) -> Reply {
        if self.is_stale(holder) {
            return self.stale();
        }
        if !self.has_lease(holder) {
            return Reply::NoLease;
        }
        let grace_ms = self.grace_remaining_ms(now);
        match self.bindings.get(&room) {
            Some(binding) if !binding.is_of(holder) => {
                return Reply::Owned {
                    shard: binding.shard.clone(),
                    epoch: binding.epoch,
                };
            }
            // In grace no claim succeeds, not even the holder's own: only a room that is held now
            // counts, and that one is re-asserted.
            Some(binding) if grace_ms == 0 => {
                return Reply::Mine {
                    epoch: binding.epoch,
                };
            }
            Some(_) | None => {}
        }
        if self.known.get(&holder.shard) != Some(&ShardState::Active) {
            return Reply::Draining;
        }
        if grace_ms > 0 {
            return Reply::Grace {
                remaining_ms: grace_ms,
            };
        }
        if self.bindings.len() >= self.limits.bindings_max {
            return self.full();
        }
        let Some(epoch) = self.epoch.0.checked_add(1).map(Epoch) else {
            return Reply::Refused {
                reason: "epochs are used up: restart the gateway".to_owned(),
            };
        };
        self.epoch = epoch;
        self.bind(holder, room, epoch);
        Reply::Granted { epoch }
    }

    fn reassert(&mut self, holder: &Holder, room: RoomKey, epoch: Epoch) -> Reply {
        if self.is_stale(holder) {
            return self.stale();
        }
        if !self.has_lease(holder) {
            return Reply::NoLease;
        }
        if let Some(binding) = self.bindings.get(&room) {
            if binding.is_of(holder) && binding.epoch == epoch {
                return Reply::Reasserted;
            }
            // Also for an equal or higher epoch: the binding of a living lease is never replaced.
            return Reply::Owned {
                shard: binding.shard.clone(),
                epoch: binding.epoch,
            };
        }
        // After grace the sender's old deadline is over: it does not hold the room any more, and
        // another shard may have had it since.
        let stopped = self
            .stopped
            .get(&room)
            .is_some_and(|stopped| *stopped >= epoch);
        if self.grace_ends.is_none() || stopped {
            return Reply::Released;
        }
        if self.bindings.len() >= self.limits.bindings_max {
            return self.full();
        }
        self.epoch = self.epoch.max(epoch);
        self.bind(holder, room, epoch);
        Reply::Reasserted
    }

    fn release(&mut self, holder: &Holder, room: &RoomKey, epoch: Epoch) -> Reply {
        if self.is_stale(holder) {
            return self.stale();
        }
        if self.grace_ends.is_some() {
            if self.stopped.len() >= self.limits.bindings_max {
                return self.full();
            }
            let stopped = self.stopped.entry(room.clone()).or_default();
            *stopped = epoch.max(*stopped);
        }
        let bound = self.bindings.get(room);
        // The epoch too: a late release must not free a room that was claimed again since.
        if bound.is_some_and(|binding| binding.is_of(holder) && binding.epoch == epoch) {
            self.bindings.remove(room);
        }
        Reply::Released
    }

    fn resign(&mut self, holder: &Holder) -> Reply {
        if self.is_stale(holder) {
            return self.stale();
        }
        if self.has_lease(holder) {
            self.leases.remove(&holder.shard);
            self.bindings.retain(|_, binding| !binding.is_of(holder));
            self.ended.insert(holder.shard.clone(), holder.incarnation);
        }
        Reply::Released
    }

    fn bind(&mut self, holder: &Holder, room: RoomKey, epoch: Epoch) {
        let (shard, incarnation) = (holder.shard.clone(), holder.incarnation);
        self.bindings.insert(
            room.clone(),
            Binding {
                room,
                shard,
                incarnation,
                epoch,
            },
        );
    }

    fn full(&self) -> Reply {
        Reply::Refused {
            reason: format!(
                "the directory is full ({} rooms): raise the limit or spread over deployments",
                self.limits.bindings_max
            ),
        }
    }
}

#[cfg(test)]
mod tests;
