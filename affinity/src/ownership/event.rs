//! What the ownership machine tells its shard.

use crate::directory::{DirectoryIncarnation, Drain, Epoch};
use crate::{RoomKey, ShardId};
use thiserror::Error;

/// News for the shard, in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The room is ours until [`Event::Lost`]. Check [`Ownership::owned`](super::Ownership::owned)
    /// again before acting on it: the deadline may have passed since.
    Granted {
        /// Which.
        room: RoomKey,
        /// Under which claim.
        epoch: Epoch,
        /// Another shard handed it over, which had it under this claim.
        from: Option<Epoch>,
        /// What its last owner left with it.
        options: Option<String>,
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
    /// The room is another shard's now. Nothing is left to release.
    Moved {
        /// Which.
        room: RoomKey,
        /// The claim under which it was ours.
        epoch: Epoch,
        /// Whose it is.
        to: ShardId,
        /// The other one's claim.
        next: Epoch,
    },
    /// The room could not be handed over and is ours again, as before.
    Stays {
        /// Which.
        room: RoomKey,
        /// Under which claim.
        epoch: Epoch,
    },
    /// The shard shall be emptied, or (`None`) take rooms again.
    Drain(Option<Drain>),
    /// A lease began: the first one, the first after a fence, or the first at a new directory life.
    /// Renewals are silent.
    Leased {
        /// At which directory life.
        directory: DirectoryIncarnation,
    },
    /// The lease ended: all rooms are lost (each was told before), a new incarnation was taken.
    Fenced,
    /// There is no lease, and this is why. Said once for each change of the cause.
    NotLeased {
        /// Why.
        why: NoLeaseWhy,
    },
}

/// Why the shard has no lease. The texts are for the log and for the operator.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Error)]
pub enum NoLeaseWhy {
    /// Nothing has failed, the answer is on its way.
    #[error("the directory has not answered yet")]
    Pending,
    /// The directory says no.
    #[error("the directory refuses it: {reason}")]
    Refused {
        /// The directory's words.
        reason: String,
    },
    /// No word from the directory, or one that cannot be believed.
    #[error("{reason}")]
    Unreachable {
        /// What the call said.
        reason: String,
    },
    /// The directory's clock says that the lease is over, ours does not.
    #[error(
        "the directory ended it: this process, or the machine it runs on, stood still for longer \
         than a lease, or runs twice"
    )]
    Ended,
    /// It was given back.
    #[error("the shard is shutting down")]
    Resigned,
}

/// Why a room was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RefusedWhy {
    /// Another shard owns it, or an earlier life of this one until its lease ends.
    Owned {
        /// Who.
        shard: ShardId,
    },
    /// An earlier owner was not heard of for a while, and may still serve it.
    Held {
        /// Who.
        shard: ShardId,
    },
    /// The directory lost its data a moment ago and takes no claims yet.
    Grace,
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
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LostWhy {
    /// The lease was not renewed in time, or the directory does not know it.
    LeaseEnded,
    /// Another shard owns it.
    TakenOver {
        /// Who.
        shard: ShardId,
    },
    /// A new directory life did not confirm it before the old lease's deadline.
    NotReasserted,
    /// It was being handed over, and whether it was is not known, or not to us.
    Transfer,
}
