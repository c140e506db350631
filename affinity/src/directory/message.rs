//! The closed vocabulary of the ownership protocol.

use crate::{RoomKey, Shard, ShardId};
use serde::{Deserialize, Serialize};

/// One life of a shard process: random, never reused. A new one is taken whenever the lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(pub u64);

/// One life of the directory's data: random, changed when data may have been lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DirectoryIncarnation(pub u64);

/// Number of a claim, strictly growing over the whole deployment. A new life of the directory starts
/// above the wall clock in milliseconds, which outruns any rate of claims, and above all that the
/// shards remember from the lives before.
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

/// What a shard says with each renewal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Renewal {
    /// Higher with each renewal of this life, from 1. One that was overtaken changes nothing.
    pub seq: u64,
    /// Version of the roster that the shard knows, 0 for none: it asks all lives born up to here
    /// before it goes on without a lease.
    pub knows: u64,
    /// Highest epoch of which the process has ever heard. A directory that has lost its data, and
    /// whose wall clock is wrong, begins above the highest of all shards.
    pub epoch: Epoch,
    /// The shard wants no new rooms (it is about to end).
    pub leaving: bool,
    /// Rooms it owns, for people.
    pub rooms: u32,
    /// An earlier life of the same process, which has stopped all its rooms: its lease need not run
    /// out first.
    pub replaces: Option<Incarnation>,
}

/// An order to empty a shard.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Drain {
    /// Wall clock in milliseconds since the Unix epoch at which live rooms are moved away; `None`:
    /// as the shard's own settings say, counted from when it hears of it.
    pub deadline_unix_ms: Option<u64>,
}

/// A shard as other shards see it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Life {
    /// Its name.
    pub shard: ShardId,
    /// Its present life.
    pub incarnation: Incarnation,
    /// Where it is reached; empty if the topology does not name it.
    pub url: String,
    /// Its share of idle rooms.
    pub weight: u32,
    /// It takes new rooms.
    pub accepts: bool,
}

/// All shards with a lease, at one version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Roster {
    /// Grows with every change within one directory life.
    pub version: u64,
    /// By shard.
    pub lives: Vec<Life>,
}

/// Who owns a room.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Binding {
    /// Its owner.
    pub shard: ShardId,
    /// The life of the owner that claimed it.
    pub incarnation: Incarnation,
    /// Number of the claim.
    pub epoch: Epoch,
}

/// A lease as gateways see it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LeaseView {
    /// Whose.
    pub shard: ShardId,
    /// Held by this life.
    pub incarnation: Incarnation,
    /// Number of the last renewal.
    pub seq: u64,
    /// The shard wants no new rooms.
    pub leaving: bool,
    /// Rooms it owns.
    pub rooms: u32,
}

/// All that gateways need to know, except single rooms.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct View {
    /// The directory's present life.
    pub directory: DirectoryIncarnation,
    /// No claims at the moment.
    pub grace: bool,
    /// Shards may go on without a lease; see [`super::HOLD_MS`].
    pub hold: bool,
    /// Number of the topology; 0 before the first.
    pub generation: u64,
    /// The shards that may have rooms, as the last gateway announced them, by id.
    pub topology: Vec<Shard>,
    /// Orders to empty shards, by shard.
    pub drains: Vec<(ShardId, Drain)>,
    /// All leases, by shard.
    pub leases: Vec<LeaseView>,
    /// Lives that have ended and whose rooms are remembered.
    pub orphaned: Vec<(ShardId, Incarnation)>,
}

/// What is asked of the directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Request {
    /// A shard takes or prolongs its lease. Answers: `Leased`; `NoLease` if this life had a lease
    /// that has lapsed or was resigned (it never gets another, its rooms are gone);
    /// `StaleDirectory`; `Refused`.
    Renew {
        /// Who.
        holder: Holder,
        /// What it says.
        renewal: Renewal,
    },
    /// A shard wants an idle room. Answers: `Granted`, `Mine`, `Owned`, `Held`, `Grace`, `Draining`,
    /// `NoLease`, `Refused`, `StaleDirectory`.
    Claim {
        /// Who.
        holder: Holder,
        /// What.
        room: RoomKey,
        /// Version of the roster that the sender knew: what it knew nothing of it had not promised
        /// about. A late claim must not take what was left since.
        knows: u64,
    },
    /// A shard holds this room now, after the directory lost its data. Answers: `Reasserted`,
    /// `Owned`, `Released` (too late: grace is over, or this claim was released), `NoLease`,
    /// `Refused`, `StaleDirectory`.
    Reassert {
        /// Who.
        holder: Holder,
        /// What.
        room: RoomKey,
        /// Under which claim.
        epoch: Epoch,
    },
    /// The room is stopped and nobody owns it any more; its options are forgotten. Answers:
    /// `Released` (also if it was not bound to this holder), `Refused` (try again),
    /// `StaleDirectory`.
    Release {
        /// Who.
        holder: Holder,
        /// What.
        room: RoomKey,
        /// Under which claim.
        epoch: Epoch,
    },
    /// The owner hands a room over to another shard in one step. Answers: `Transferred` (also if
    /// asked again after it was done), `Released` (not the sender's under this claim), `Draining`
    /// (the other one takes no rooms, or has another life now), `Grace`, `NoLease`,
    /// `StaleDirectory`.
    Transfer {
        /// Who.
        holder: Holder,
        /// What.
        room: RoomKey,
        /// Under which claim.
        epoch: Epoch,
        /// To whom.
        to: ShardId,
        /// To which life of it.
        to_incarnation: Incarnation,
    },
    /// The owner leaves a text with the room, for the room's next owner. Answers: `Done`, `Released`
    /// (not the sender's under this claim), `Refused` (too long), `NoLease`, `StaleDirectory`.
    PutOptions {
        /// Who.
        holder: Holder,
        /// What.
        room: RoomKey,
        /// Under which claim.
        epoch: Epoch,
        /// The text, at most [`super::OPTIONS_BYTES_MAX`] bytes.
        options: String,
    },
    /// The shard ends in good order: its lease and bindings go at once. Answers: `Released`,
    /// `StaleDirectory`.
    Resign {
        /// Who.
        holder: Holder,
    },
    /// Who owns these rooms? At most [`super::LOOKUP_MAX`], the rest is not answered. Answers:
    /// `Bindings`.
    Lookup {
        /// Which.
        rooms: Vec<RoomKey>,
    },
    /// A gateway has read its configuration: these are the shards. Answers: `Announced`, `Refused`.
    Announce {
        /// The gateway's name.
        gateway: String,
        /// All shards.
        topology: Vec<Shard>,
    },
    /// A gateway looks. Answers: `View`.
    Watch,
    /// A witness saw no renewal for a whole lease: end it, unless there was one since. Answers:
    /// `Done` (also if there was one), `StaleDirectory`.
    Lapse {
        /// The directory life in which it was seen.
        directory: DirectoryIncarnation,
        /// Whose.
        shard: ShardId,
        /// Held by this life,
        incarnation: Incarnation,
        /// and last renewed with this number.
        seq: u64,
    },
    /// A witness saw this directory life for long enough: grace is over. Answers: `Done`,
    /// `StaleDirectory`.
    EndGrace {
        /// The life that was seen.
        directory: DirectoryIncarnation,
    },
    /// Nobody comes back to the rooms of this ended life: forget them. Answers: `Done`,
    /// `StaleDirectory`.
    Forget {
        /// The directory life in which it was seen.
        directory: DirectoryIncarnation,
        /// Whose.
        shard: ShardId,
        /// Which life.
        incarnation: Incarnation,
    },
    /// Empty a shard, or take that back. Answers: `Done`, `Refused` (no such shard).
    SetDrain {
        /// Which.
        shard: ShardId,
        /// `None`: it takes rooms again.
        drain: Option<Drain>,
    },
}

/// The directory's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The lease is the sender's.
    Leased {
        /// The directory's present life.
        directory: DirectoryIncarnation,
        /// Its length, milliseconds from the sending of the renewal.
        ttl_ms: u64,
        /// How long the shard may go on without a lease if all others promise to claim nothing,
        /// milliseconds; 0: not at all.
        hold_ms: u64,
        /// Shards in the topology. More than half of them must be there before any goes on without a
        /// lease.
        shards: u32,
        /// Number of the topology.
        generation: u64,
        /// Highest epoch so far, for the sender to remember.
        epoch: Epoch,
        /// No claim succeeds at the moment.
        grace: bool,
        /// The order to empty this shard.
        drain: Option<Drain>,
        /// The other shards, if the sender does not know this version.
        roster: Option<Roster>,
    },
    /// The room is yours from now on.
    Granted {
        /// Number of the claim.
        epoch: Epoch,
        /// What its last owner left.
        options: Option<String>,
    },
    /// The room was yours already.
    Mine {
        /// Number of the claim.
        epoch: Epoch,
        /// It was handed over: the claim under which its last owner had it.
        from: Option<Epoch>,
        /// What its last owner left.
        options: Option<String>,
    },
    /// Somebody else owns it, or is the one who may claim it.
    Owned {
        /// Who.
        shard: ShardId,
        /// Number of its claim.
        epoch: Epoch,
    },
    /// The shard that had the room was not heard of for a while, and may still serve it. None of the
    /// shards that could know better is there.
    Held {
        /// Who.
        shard: ShardId,
    },
    /// The directory lost its data a moment ago: no claims until every live owner had its chance.
    Grace,
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
    /// The room is the other shard's now.
    Transferred {
        /// Number of its claim.
        epoch: Epoch,
    },
    /// Who owns each room, in the order asked; `None`: nobody with a lease.
    Bindings(Vec<Option<Binding>>),
    /// The topology is known.
    Announced {
        /// The directory's present life.
        directory: DirectoryIncarnation,
        /// Its number.
        generation: u64,
    },
    /// What gateways need to know.
    View(View),
    /// So be it.
    Done,
    /// Never: the reason names the fix.
    Refused {
        /// For the log.
        reason: String,
    },
}
