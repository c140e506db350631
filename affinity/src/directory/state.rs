//! The directory's data and the rules by which it answers. No clock, no socket, no randomness.
//!
//! Owns: leases, bindings and the topology. Must not: know time: what has lapsed is said by a
//! [`Witness`](super::Witness). Other engines are ports of this one.
//!
//! - A binding counts while its life holds the lease of its shard. What an ended life leaves is an
//!   *orphan*: it keeps the room's options, and says who may take the room over.
//! - Without hold an orphan is anybody's. With hold, the owner may still go on without a lease, with
//!   the promises of all lives that it knew: only those (and a new life of the same shard) may take
//!   its rooms, until a witness has waited for as long as hold lasts, or the shard is removed from the
//!   topology after its lease has ended. One that is removed before does not go on without a lease.
//! - After its data was lost the directory is in *grace*: only re-assertions make bindings.

mod ended;
mod leases;
mod rooms;
mod topology;

use super::message::{Binding, Drain, Holder, LeaseView, Reply, Request, View};
use super::{DirectoryIncarnation, Epoch, Incarnation};
use crate::{RoomKey, Shard, ShardId};
use ended::EndedLives;
use std::collections::BTreeMap;

/// Bounds of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DirectoryLimits {
    /// Most rooms bound at one time, about 200 bytes each, their options apart. A claim beyond is
    /// refused.
    pub bindings_max: usize,
    /// Most shards with a lease at one time. A renewal of a further one is refused.
    pub shards_max: usize,
}

impl Default for DirectoryLimits {
    fn default() -> Self {
        Self {
            bindings_max: 200_000,
            shards_max: 1_024,
        }
    }
}

/// A lease of one life.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Lease {
    incarnation: Incarnation,
    seq: u64,
    /// Version of the roster that brought this life.
    born: u64,
    /// Version of the roster that this life is known to know.
    knows: u64,
    leaving: bool,
    rooms: u32,
}

/// What is known of a room.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Room {
    binding: Binding,
    /// It was handed over by the owner of this claim.
    from: Option<Epoch>,
    options: Option<String>,
}

/// Who may take over the rooms of an ended life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Heirs {
    Anybody,
    Known {
        /// Lives born up to this version, and any life of the same shard;
        up_to: u64,
        /// with a claim sent after its sender knew this version, in which the life was gone.
        since: u64,
    },
}

/// The directory without a clock. See the module's first lines.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DirectoryState {
    incarnation: DirectoryIncarnation,
    limits: DirectoryLimits,
    hold_ms: u64,
    grace: bool,
    /// Grows with every change of what shards see of each other.
    version: u64,
    generation: u64,
    topology: BTreeMap<ShardId, Shard>,
    drains: BTreeMap<ShardId, Drain>,
    leases: BTreeMap<ShardId, Lease>,
    /// Lives that never get a lease again.
    ended: EndedLives,
    /// Ended lives whose rooms are remembered. Entries go with [`Request::Forget`]; without hold or
    /// rooms there is nothing to remember, but the entry does no harm.
    orphaned: BTreeMap<(ShardId, Incarnation), Heirs>,
    rooms: BTreeMap<RoomKey, Room>,
    /// Highest epoch issued, re-asserted, or remembered by a shard with a lease.
    epoch: Epoch,
    /// Rooms released during grace: a re-assertion of the same claim that was overtaken by its
    /// release must not bring the binding back. Emptied when grace ends; no larger than
    /// `bindings_max`, beyond that a release is refused and comes again.
    stopped: BTreeMap<RoomKey, Epoch>,
}

impl DirectoryState {
    /// A directory without data. Claims get epochs above `epoch_floor`, which should be above every
    /// epoch of former lives: where it is not, what the shards remember is. `grace` is false only if no shard can have lived before. `hold_ms` is
    /// passed on to the shards; 0: they never go on without a lease.
    pub fn new(
        incarnation: DirectoryIncarnation,
        epoch_floor: Epoch,
        grace: bool,
        hold_ms: u64,
        limits: DirectoryLimits,
    ) -> Self {
        Self {
            incarnation,
            limits,
            hold_ms,
            grace,
            version: 0,
            generation: 0,
            topology: BTreeMap::new(),
            drains: BTreeMap::new(),
            leases: BTreeMap::new(),
            ended: EndedLives::new(limits.shards_max),
            orphaned: BTreeMap::new(),
            rooms: BTreeMap::new(),
            epoch: epoch_floor,
            stopped: BTreeMap::new(),
        }
    }

    /// The directory's present life.
    pub fn incarnation(&self) -> DirectoryIncarnation {
        self.incarnation
    }

    /// Answers one request.
    pub fn handle(&mut self, request: Request) -> Reply {
        match request {
            Request::Renew { holder, renewal } => self.renew(&holder, &renewal),
            Request::Claim {
                holder,
                room,
                knows,
            } => self.claim(&holder, room, knows),
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
            Request::Transfer {
                holder,
                room,
                epoch,
                to,
                to_incarnation,
            } => self.transfer(&holder, &room, epoch, &to, to_incarnation),
            Request::PutOptions {
                holder,
                room,
                epoch,
                options,
            } => self.put_options(&holder, &room, epoch, options),
            Request::Resign { holder } => self.resign(&holder),
            Request::Lookup { rooms } => self.lookup(&rooms),
            Request::Announce { topology, .. } => self.announce(topology),
            Request::Watch => Reply::View(self.view()),
            Request::Lapse {
                directory,
                shard,
                incarnation,
                seq,
            } => self.witnessed(directory, |state| state.lapse(&shard, incarnation, seq)),
            Request::EndGrace { directory } => self.witnessed(directory, Self::end_grace),
            Request::Forget {
                directory,
                shard,
                incarnation,
            } => self.witnessed(directory, |state| state.forget(&shard, incarnation)),
            Request::SetDrain { shard, drain } => self.set_drain(&shard, drain),
        }
    }

    /// Who owns the room, if its lease is held.
    pub fn owner(&self, room: &RoomKey) -> Option<&Binding> {
        let found = &self.rooms.get(room)?.binding;
        self.is_valid(found).then_some(found)
    }

    /// What gateways need to know.
    pub fn view(&self) -> View {
        let lease = |(shard, lease): (&ShardId, &Lease)| LeaseView {
            shard: shard.clone(),
            incarnation: lease.incarnation,
            seq: lease.seq,
            leaving: lease.leaving,
            rooms: lease.rooms,
        };
        let drain = |(shard, drain): (&ShardId, &Drain)| (shard.clone(), drain.clone());
        View {
            directory: self.incarnation,
            grace: self.grace,
            hold: self.hold_ms > 0,
            generation: self.generation,
            topology: self.topology.values().cloned().collect(),
            drains: self.drains.iter().map(drain).collect(),
            leases: self.leases.iter().map(lease).collect(),
            orphaned: self.orphaned.keys().cloned().collect(),
        }
    }

    /// Whether the lease of the binding's shard is held by the life that made the binding.
    fn is_valid(&self, binding: &Binding) -> bool {
        self.leases
            .get(&binding.shard)
            .is_some_and(|lease| lease.incarnation == binding.incarnation)
    }

    fn has_lease(&self, holder: &Holder) -> bool {
        self.leases
            .get(&holder.shard)
            .is_some_and(|lease| lease.incarnation == holder.incarnation)
    }

    fn is_stale(&self, holder: &Holder) -> bool {
        holder.directory != Some(self.incarnation)
    }

    fn stale(&self) -> Reply {
        Reply::StaleDirectory {
            current: self.incarnation,
        }
    }

    /// What a witness saw counts in the life in which it saw it.
    fn witnessed(&mut self, seen: DirectoryIncarnation, act: impl FnOnce(&mut Self)) -> Reply {
        if seen != self.incarnation {
            return self.stale();
        }
        act(self);
        Reply::Done
    }
}

#[cfg(test)]
mod tests;
