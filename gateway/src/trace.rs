//! One join as a trace: every step on its way to a shard, and why it went there.
//!
//! Owns: which spans there are, and the number under which logs of all programs have the join. Must not:
//! decide anything.

use crate::journey::Journey;
use affinity::{RoomKey, ShardId};
use observe::{Side, Span, Traceparent};
use std::fmt;

/// The trace of a WebSocket handshake; empty for all other requests.
#[derive(Default)]
pub(crate) struct JoinTrace {
    at: Option<Traceparent>,
    root: Span,
    /// The question to a shard that is under way.
    ask: Span,
}

impl JoinTrace {
    /// A handshake is here. Again does no harm: a request that waited is admitted afresh.
    pub(crate) fn begin(&mut self) {
        if self.at.is_none() {
            self.root = Span::root("join");
            self.root.set("anteroom.role", "gateway");
            let at = self.root.traceparent();
            self.at = Some(at.unwrap_or_else(Traceparent::unsampled));
        }
    }

    /// Whether anybody will look at it.
    pub(crate) fn is_kept(&self) -> bool {
        self.root.is_kept()
    }

    /// A step of our own, until the span is dropped.
    pub(crate) fn step(&self, name: &'static str) -> Span {
        self.root.child(name, Side::Internal)
    }

    /// The request goes to `shard`; returns what that is told of the trace.
    pub(crate) fn asks(&mut self, shard: &ShardId) -> Option<Traceparent> {
        self.ask = self.root.child("ask the shard", Side::Client);
        if self.ask.is_kept() {
            self.ask.set("anteroom.shard", shard.as_str().to_owned());
        }
        self.ask.traceparent().or(self.at)
    }

    /// The shard has answered. `owner`: whom it named instead of itself.
    pub(crate) fn told(&mut self, status: u16, owner: Option<&ShardId>) {
        self.ask.set("http.response.status_code", i64::from(status));
        if let Some(owner) = owner {
            self.ask.set("anteroom.owner", owner.as_str().to_owned());
        }
        self.ask = Span::none();
    }
}

/// The number of the trace, for the log; `-` without one.
impl fmt::Display for JoinTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            Some(at) => f.write_str(&at.trace_id()),
            None => f.write_str("-"),
        }
    }
}

impl Journey {
    /// The client has its answer: the join is over for the gateway. `why`: it came to nothing.
    pub(crate) fn end_trace(&mut self, status: u16, why: Option<&str>) {
        let mut root = std::mem::take(&mut self.trace.root);
        if let Some(why) = why {
            root.fail(why);
            self.trace.ask.fail(why);
        }
        self.trace.ask = Span::none();
        if !root.is_kept() {
            return;
        }
        let name = |shard: &Option<ShardId>| shard.as_ref().map(|shard| shard.as_str().to_owned());
        let room = self.room.as_ref().map(RoomKey::as_str);
        root.set("url.path", self.path.clone());
        root.set("http.response.status_code", i64::from(status));
        root.set("anteroom.room", room.unwrap_or("-").to_owned());
        root.set("anteroom.why", self.rule.clone());
        root.set("anteroom.hinted", self.is_hinted);
        root.set("anteroom.waited", self.waited);
        let generation = i64::try_from(self.settings.generation).unwrap_or(i64::MAX);
        root.set("anteroom.generation", generation);
        if let Some(candidate) = name(&self.candidate) {
            root.set("anteroom.candidate", candidate);
        }
        if let Some(shard) = name(&self.shard) {
            root.set("anteroom.shard", shard);
        }
    }
}
