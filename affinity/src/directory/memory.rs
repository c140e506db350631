//! The directory in memory: the state machine and a witness beside it.
//!
//! Owns: the two, and when they meet. Must not: survive its process, read a clock, or serve two
//! gateways. After a restart it starts in *grace*: for one lease nobody gets a room that was not his
//! before, so every owner from the life before has either re-asserted its rooms or stopped them.
//!
//! There is no hold: the directory is in the only gateway, and without a gateway nobody can join.

use super::message::{Binding, DirectoryIncarnation, Epoch, Reply, Request, View};
use super::state::{DirectoryLimits, DirectoryState};
use super::witness::Witness;
use crate::{RoomKey, ShardId};
use std::time::{Duration, Instant};

/// The directory in memory. See the module's first lines.
#[derive(Clone, Debug)]
pub struct MemoryDirectory {
    state: DirectoryState,
    witness: Witness,
}

impl MemoryDirectory {
    /// A directory without data. Claims get epochs above `epoch_floor`, which must be above every
    /// epoch of former lives (such as the wall clock in milliseconds). `grace` is false only if no
    /// shard can have lived before.
    pub fn new(
        incarnation: DirectoryIncarnation,
        epoch_floor: Epoch,
        grace: bool,
        limits: DirectoryLimits,
        now: Instant,
    ) -> Self {
        let state = DirectoryState::new(incarnation, epoch_floor, grace, 0, limits);
        let mut witness = Witness::default();
        witness.handle_view(&state.view(), now);
        Self { state, witness }
    }

    /// The directory's present life.
    pub fn incarnation(&self) -> DirectoryIncarnation {
        self.state.incarnation()
    }

    /// Answers one request.
    pub fn handle_request(&mut self, request: Request, now: Instant) -> Reply {
        // First: below, every lease and every valid binding is so at `now`.
        self.expire(now);
        let looks = matches!(request, Request::Renew { .. } | Request::Resign { .. });
        let reply = self.state.handle(request);
        if looks {
            // Counted from here, not from the next look.
            self.witness.handle_view(&self.state.view(), now);
        }
        reply
    }

    /// Ends what is over. Every request does this too; call it several times a second, because a
    /// witness that does not look sees nothing.
    pub fn expire(&mut self, now: Instant) {
        self.witness.handle_view(&self.state.view(), now);
        for request in self.witness.requests(now) {
            self.state.handle(request);
        }
    }

    /// The owner of the room, if its lease is alive.
    pub fn owner(&self, room: &RoomKey) -> Option<&Binding> {
        self.state.owner(room)
    }

    /// What gateways need to know.
    pub fn view(&self) -> View {
        self.state.view()
    }

    /// What is left of the shard's lease; `None` if it has none.
    pub fn lease_remaining(&self, shard: &ShardId, now: Instant) -> Option<Duration> {
        self.witness.lease_remaining(shard, now)
    }

    /// How long no claim can succeed yet; zero outside of grace.
    pub fn grace_remaining(&self, now: Instant) -> Duration {
        self.witness.grace_remaining(now)
    }
}

#[cfg(test)]
mod tests;
