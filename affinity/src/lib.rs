//! Which shard a room belongs to.
//!
//! Owns: the room key ([`RoomKey`]), placement of idle rooms ([`Ring`]), the topology value
//! ([`Topology`]), the routing trait that the gateway calls ([`Routing`]), and the ownership
//! protocol: the directory's side ([`directory`]) and the shard's side ([`ownership`]).
//! Must not: open a socket, read a clock, spawn, log, or use randomness. `now` and random bits come
//! in as arguments.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod directory;
pub mod ownership;
mod placement;
mod room;
mod routing;
mod topology;

pub use placement::{Placement, Ring};
pub use room::{
    ROOM_BYTES_MAX, ROOM_SEGMENT_BYTES_MAX, RoomCase, RoomKey, RoomKeyError, is_reserved_segment,
};
pub use routing::{Decision, Headers, Refusal, RequestView, RoomSource, Routing};
pub use topology::{
    SHARD_ID_BYTES_MAX, Shard, ShardId, ShardState, Topology, TopologyError, WEIGHT_MAX,
    WEIGHTS_SUM_MAX,
};
