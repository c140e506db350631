//! The routing trait: from a request to a room and a candidate shard.
//!
//! Owns: the question and the answer. Must not: know HTTP types or sockets; the gateway adapts its
//! own, and every policy (native rules, an imported HAProxy configuration) implements the trait.

use crate::room::RoomKey;
use crate::topology::ShardId;
use serde::{Deserialize, Serialize};

/// Where in the request the room's name was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoomSource {
    /// A path segment.
    Path,
    /// A query value.
    Query,
    /// A header.
    Header,
    /// The verified token.
    Token,
    /// The request body.
    Body,
}

/// Read access to request headers.
pub trait Headers {
    /// First value of the header; `name` is lower case.
    fn header(&self, name: &str) -> Option<&[u8]>;
}

/// What routing may look at.
#[derive(Clone, Copy)]
pub struct RequestView<'a> {
    /// The method, as sent.
    pub method: &'a str,
    /// Path and query, raw. May carry a token: never log it.
    pub target: &'a str,
    /// The headers.
    pub headers: &'a dyn Headers,
    /// The body, on routes that read one.
    pub body: Option<&'a [u8]>,
}

/// Where the request goes if nobody owns its room yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The room; `None` for requests that belong to no room.
    pub room: Option<RoomKey>,
    /// The shard to ask: a candidate, the shard's claim decides.
    pub candidate: ShardId,
    /// Which rule decided, for people.
    pub rule: String,
    /// Where the name came from.
    pub source: Option<RoomSource>,
}

/// Why the request goes nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// Cause and fix, sent to the client: no secrets in it.
    pub reason: String,
}

/// A routing policy.
pub trait Routing: Send + Sync {
    /// Decides. `now_s` is Unix time in seconds, for token lifetimes.
    fn route(&self, request: &RequestView<'_>, now_s: u64) -> Result<Decision, Refusal>;
}
