//! What the ownership machine tells its shard.

use crate::directory::{DirectoryIncarnation, Epoch};
use crate::{RoomKey, ShardId};

/// News for the shard, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The room is ours until [`Event::Lost`]. Check [`Ownership::owned`](super::Ownership::owned)
    /// again before acting on it: the deadline may have passed since.
    Granted {
        /// Which.
        room: RoomKey,
        /// Under which claim.
        epoch: Epoch,
    },
    /// The room is not ours and was not. Ask again with another
    /// [`Ownership::acquire`](super::Ownership::acquire).
    Refused {
        /// Which.
        room: RoomKey,
        /// Why.
        why: RefusedWhy,
    },
    /// The room is not ours any more: stop it at once. Nothing is left to release.
    Lost {
        /// Which.
        room: RoomKey,
        /// Under which claim.
        epoch: Epoch,
        /// Why.
        why: LostWhy,
    },
    /// A lease began: the first one, the first after a fence, or the first at a new directory life.
    /// Renewals are silent.
    Leased {
        /// At which directory life.
        directory: DirectoryIncarnation,
    },
    /// The lease ended: all rooms are lost (each was told before), a new incarnation was taken.
    Fenced,
}

/// Why a room was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefusedWhy {
    /// Another shard owns it, or an earlier life of this one until its lease ends.
    Owned {
        /// Who.
        shard: ShardId,
    },
    /// The directory lost its data a moment ago and takes no claims yet.
    Grace {
        /// Milliseconds to wait.
        remaining_ms: u64,
    },
    /// This shard takes no new rooms.
    Draining,
    /// The directory gave no answer that decides it: the room may or may not be bound to us. Answer
    /// 503, never send the client to another shard.
    Unknown,
    /// This shard has no lease and got none in time, or has resigned.
    NoLease,
    /// The directory or this shard has too many rooms.
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
    /// A new directory life did not confirm it before the old lease's deadline.
    NotReasserted,
}
