//! The directory in memory.

use super::{DirectoryIncarnation, Epoch, Incarnation, Reply, Request};
use crate::{RoomKey, ShardId, ShardState};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Limits of the memory directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimits {
    /// Most bindings.
    pub bindings_max: usize,
    /// Most leases.
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

/// Who owns a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The room.
    pub room: RoomKey,
    /// Its owner.
    pub shard: ShardId,
    /// The owner's life.
    pub incarnation: Incarnation,
    /// Number of the claim.
    pub epoch: Epoch,
}

/// The directory in memory.
pub struct MemoryDirectory {
    incarnation: DirectoryIncarnation,
    bindings: BTreeMap<RoomKey, Binding>,
}

impl MemoryDirectory {
    /// A directory without data.
    pub fn new(
        incarnation: DirectoryIncarnation,
        _epoch_floor: Epoch,
        _grace: bool,
        _limits: MemoryLimits,
        _now: Instant,
    ) -> Self {
        Self {
            incarnation,
            bindings: BTreeMap::new(),
        }
    }

    /// This life.
    pub fn incarnation(&self) -> DirectoryIncarnation {
        self.incarnation
    }

    /// Which shards may claim.
    pub fn set_topology(
        &mut self,
        _generation: u64,
        _known: impl IntoIterator<Item = (ShardId, ShardState)>,
    ) {
    }

    /// One request, one reply.
    pub fn handle_request(&mut self, _request: Request, _now: Instant) -> Reply {
        Reply::NoLease
    }

    /// The live owner.
    pub fn owner(&self, room: &RoomKey, _now: Instant) -> Option<&Binding> {
        self.bindings.get(room)
    }

    /// All live bindings.
    pub fn live_bindings(&self, _now: Instant) -> impl Iterator<Item = &Binding> {
        self.bindings.values()
    }

    /// What is left of the lease.
    pub fn lease_remaining(&self, _shard: &ShardId, _now: Instant) -> Option<Duration> {
        None
    }

    /// Drops dead leases and their bindings.
    pub fn expire(&mut self, _now: Instant) {}
}
