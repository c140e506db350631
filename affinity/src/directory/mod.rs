//! Who owns which live room: the messages of the ownership protocol and the engines that answer them.
//!
//! A shard process has one random [`Incarnation`] and holds one lease, renewed by
//! [`Request::Renew`]. Only shards claim rooms ([`Request::Claim`]). A binding is valid while the
//! lease of its shard equals the incarnation that claimed it. A lease that has ended does not come
//! back: its bindings are gone, and the shard must take a new incarnation. Every request carries the
//! [`DirectoryIncarnation`] that the shard knows; a stale one gets [`Reply::StaleDirectory`] and
//! nothing is written.

mod memory;

pub use memory::{Binding, MemoryDirectory, MemoryLimits};

use crate::{RoomKey, ShardId};
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::pin::Pin;
use thiserror::Error;

/// Life of a lease from the moment the directory grants it, milliseconds.
pub const LEASE_MS: u64 = 6_000;
/// A shard renews this often, milliseconds.
pub const RENEW_MS: u64 = 2_000;
/// A shard stops being owner this long before its lease could end at the directory: clock drift over
/// one lease plus one scheduler stall, milliseconds.
pub const MARGIN_MS: u64 = 1_500;

const _: () = assert!(
    2 * RENEW_MS + MARGIN_MS < LEASE_MS,
    "one lost renewal must not end a lease"
);

/// One life of a shard process: random, never reused. A new one is taken whenever the lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(pub u64);

/// One life of the directory's data: random, changed when data may have been lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DirectoryIncarnation(pub u64);

/// Number of a claim, strictly growing over the whole deployment within one directory incarnation.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// Who asks: one life of a shard, under the directory life it knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Holder {
    /// The shard.
    pub shard: ShardId,
    /// Its present life.
    pub incarnation: Incarnation,
    /// The directory life it last heard of; `None` before the first reply.
    pub directory: Option<DirectoryIncarnation>,
}

/// What a shard, or a second gateway, asks of the directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Take or prolong the lease. Answers: `Leased`; `NoLease` if this life had a lease that has
    /// lapsed or was resigned (it never gets another, its rooms are gone); `StaleDirectory`;
    /// `Refused`.
    Renew {
        /// Who.
        holder: Holder,
    },
    /// Own an idle room. Answers: `Granted`, `Mine`, `Owned`, `Grace`, `Draining`, `NoLease`,
    /// `Refused`, `StaleDirectory`.
    Claim {
        /// Who.
        holder: Holder,
        /// What.
        room: RoomKey,
    },
    /// A room held now, after the directory lost its data. Answers: `Reasserted`, `Owned`,
    /// `Released` (too late: grace is over, or this claim was released), `NoLease`, `Refused`,
    /// `StaleDirectory`.
    Reassert {
        /// Who.
        holder: Holder,
        /// What.
        room: RoomKey,
        /// Under which claim.
        epoch: Epoch,
    },
    /// The room is stopped and nobody owns it any more. Answers: `Released` (also if it was not
    /// bound to this holder), `Refused` (try again), `StaleDirectory`.
    Release {
        /// Who.
        holder: Holder,
        /// What.
        room: RoomKey,
        /// Under which claim.
        epoch: Epoch,
    },
    /// The shard ends in good order: its lease and bindings go at once. Answers: `Released`,
    /// `StaleDirectory`.
    Resign {
        /// Who.
        holder: Holder,
    },
    /// Another gateway wants to share this directory. The memory engine refuses.
    Attach {
        /// The gateway's name.
        gateway: String,
    },
}

/// The directory's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The lease runs for `ttl_ms` from now, at the directory.
    Leased {
        /// The directory's present life.
        directory: DirectoryIncarnation,
        /// Milliseconds.
        ttl_ms: u64,
        /// The topology generation that the directory knows.
        generation: u64,
        /// Milliseconds in which no claim succeeds; 0 outside of grace.
        grace_ms: u64,
    },
    /// The room is yours from now on.
    Granted {
        /// Number of the claim.
        epoch: Epoch,
    },
    /// The room was yours already.
    Mine {
        /// Number of the claim.
        epoch: Epoch,
    },
    /// Somebody else owns it.
    Owned {
        /// Who.
        shard: ShardId,
        /// Number of its claim.
        epoch: Epoch,
    },
    /// The directory lost its data a moment ago: no claims until every live owner had its chance.
    Grace {
        /// Milliseconds.
        remaining_ms: u64,
    },
    /// This shard is being drained or was removed: no new rooms.
    Draining,
    /// This life holds no lease. To a renewal: it held one, which is over; whatever it owned it has
    /// lost, and only a new incarnation can be leased. To anything else: the same, or renew first.
    NoLease,
    /// The caller's directory life is over; nothing was written.
    StaleDirectory {
        /// The present one.
        current: DirectoryIncarnation,
    },
    /// The binding is back.
    Reasserted,
    /// The binding is gone.
    Released,
    /// Never: the reason names the fix.
    Refused {
        /// For the log.
        reason: String,
    },
}

/// A call's outcome is unknown: it may or may not have been carried out.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("directory unreachable: {0}")]
pub struct DirectoryUnreachable(pub String);

/// The answer of a [`Directory`], when it comes.
pub type DirectoryFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Reply, DirectoryUnreachable>> + Send + 'a>>;

/// Where bindings live: in the gateway's memory, behind an RPC to it, or in Redis.
pub trait Directory: Send + Sync {
    /// One request, one reply.
    fn call(&self, request: Request) -> DirectoryFuture<'_>;
}
