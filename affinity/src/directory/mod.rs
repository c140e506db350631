//! Who owns which live room: the messages of the ownership protocol and the engines that answer them.
//!
//! A shard process has one random [`Incarnation`] (a *life*) and holds one lease, renewed by
//! [`Request::Renew`]. Only shards claim rooms ([`Request::Claim`]). A binding is valid while the
//! lease of its shard is held by the life that claimed it. A lease that has ended does not come
//! back: the shard must take a new incarnation. Every request carries the [`DirectoryIncarnation`]
//! that the sender knows; a stale one gets [`Reply::StaleDirectory`] and nothing is written.
//!
//! The directory has no clock. Every renewal brings a higher number, and a [`Witness`] that has seen
//! the same number for a whole lease, by its own clock, asks for the lease's end. [`DirectoryState`]
//! is the definition of all answers; [`MemoryDirectory`] is that with a witness, and other engines
//! are ports of it that a common suite of tests compares with it.

mod engine;
mod memory;
mod message;
mod state;
mod witness;

pub use engine::{Directory, DirectoryFuture, DirectoryUnreachable};
pub use memory::MemoryDirectory;
pub use message::{
    Binding, DirectoryIncarnation, Drain, Epoch, Holder, Incarnation, LeaseView, Life, Renewal,
    Reply, Request, Roster, View,
};
pub use state::{DirectoryLimits, DirectoryState};
pub use witness::Witness;

/// Life of a lease, milliseconds: a witness that sees no renewal for this long ends it.
pub const LEASE_MS: u64 = 3_000;
/// A shard renews this often, milliseconds.
pub const RENEW_MS: u64 = 1_000;
/// A shard stops being owner this long before its lease could end: clock drift over one lease plus
/// one scheduler stall, milliseconds.
pub const MARGIN_MS: u64 = 750;
/// Longest time that a shard goes on without a lease, while all shards it knows promise to claim
/// nothing, milliseconds. See [`crate::ownership`].
pub const HOLD_MS: u64 = 15 * 60 * 1_000;

const _: () = assert!(
    2 * RENEW_MS + MARGIN_MS < LEASE_MS,
    "one lost renewal must not end a lease"
);

/// Most rooms in one [`Request::Lookup`].
pub const LOOKUP_MAX: usize = 1_000;
/// Longest text of a room's options, bytes: LiveKit's limit for metadata, and as much again for the
/// rest. Longer ones are refused.
pub const OPTIONS_BYTES_MAX: usize = 128 * 1024;
