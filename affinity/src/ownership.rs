//! The shard's side of the ownership protocol.

use crate::directory::{
    DirectoryIncarnation, DirectoryUnreachable, Epoch, Incarnation, Reply, Request,
};
use crate::{RoomKey, ShardId};
use std::collections::VecDeque;
use std::time::Instant;

/// Names one request of one [`Ownership`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(u64);

/// What the shard must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The room is ours.
    Granted {
        /// Which.
        room: RoomKey,
        /// Under which claim.
        epoch: Epoch,
    },
    /// The room is not ours.
    Refused {
        /// Which.
        room: RoomKey,
        /// Why.
        why: RefusedWhy,
    },
    /// The room was ours: stop it.
    Lost {
        /// Which.
        room: RoomKey,
        /// Under which claim.
        epoch: Epoch,
        /// Why.
        why: LostWhy,
    },
    /// A lease began.
    Leased {
        /// At which directory.
        directory: DirectoryIncarnation,
    },
    /// All rooms are lost, a new life begins.
    Fenced,
}

/// Why a room was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefusedWhy {
    /// Somebody else owns it.
    Owned {
        /// Who.
        shard: ShardId,
    },
    /// The directory takes no claims yet.
    Grace {
        /// Milliseconds.
        remaining_ms: u64,
    },
    /// This shard takes no new rooms.
    Draining,
    /// Outcome unknown.
    Unknown,
    /// This shard has no lease.
    NoLease,
    /// A limit is reached.
    Limit,
}

/// Why a room was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LostWhy {
    /// The lease was not renewed in time.
    LeaseEnded,
    /// Another shard owns it.
    TakenOver {
        /// Who.
        shard: ShardId,
    },
    /// The new directory did not confirm it in time.
    NotReasserted,
}

/// The shard's side.
pub struct Ownership {
    _shard: ShardId,
    _incarnation: Incarnation,
    events: VecDeque<Event>,
}

impl Ownership {
    /// A shard without a lease.
    pub fn new(shard: ShardId, incarnation: Incarnation, _now: Instant) -> Self {
        Self {
            _shard: shard,
            _incarnation: incarnation,
            events: VecDeque::new(),
        }
    }

    /// Asks for a room.
    pub fn acquire(&mut self, _room: RoomKey, _now: Instant) {}

    /// Gives a stopped room back.
    pub fn release(&mut self, _room: &RoomKey, _now: Instant) {}

    /// Gives everything back.
    pub fn resign(&mut self, _now: Instant) {}

    /// Whether the room is ours at this moment.
    pub fn owned(&self, _room: &RoomKey, _now: Instant) -> Option<Epoch> {
        None
    }

    /// Until when rooms are ours.
    pub fn deadline(&self) -> Option<Instant> {
        None
    }

    /// The directory life known.
    pub fn directory(&self) -> Option<DirectoryIncarnation> {
        None
    }

    /// The answer of a request.
    pub fn handle_reply(
        &mut self,
        _id: RequestId,
        _reply: Result<Reply, DirectoryUnreachable>,
        _fresh: Incarnation,
        _now: Instant,
    ) {
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, _fresh: Incarnation, _now: Instant) {}

    /// The next request; send it now.
    pub fn poll_request(&mut self, _now: Instant) -> Option<(RequestId, Request)> {
        None
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`Self::handle_timeout`] and [`Self::poll_request`], and why.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        None
    }
}
