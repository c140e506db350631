//! What one request remembers, from its head to its log line.
//!
//! The same for both ways to a shard, as is what is decided on the way (`way.rs`): the meaning of a
//! failure, counting and logging.
//! Must not: hold the running configuration longer than admission takes. A WebSocket lives for
//! hours, and the rings of every configuration since would live with it.

use crate::admit::Upgrade;
use crate::answer::Answer;
use crate::config::UpstreamConfig;
use crate::hold::{HOLD_MAX, Held, KNOCK_EVERY};
use crate::routing::{is_cross_origin, is_page};
use crate::snapshot::{Snapshot, Upstream};
use crate::trace::JoinTrace;
use affinity::{Refusal, RoomKey, ShardId};
use http::StatusCode;
use pingora::{Error, ErrorSource, ErrorType};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::{debug, info};

/// How much of a path is logged.
const LOGGED_PATH_CHARS: usize = 200;
/// Raised when the shard names the room's owner; never reaches a client.
pub(crate) const REDIRECT: ErrorType = ErrorType::Custom("the room is owned by another shard");

/// What of the configuration is needed after admission.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) announce_shard: bool,
    pub(crate) timeouts: UpstreamConfig,
    pub(crate) generation: u64,
    pub(crate) upstreams: Arc<BTreeMap<ShardId, Upstream>>,
}

impl Settings {
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        let config = snapshot.config();
        Self {
            announce_shard: config.announce_shard,
            timeouts: config.upstream.clone(),
            generation: snapshot.topology.generation(),
            upstreams: Arc::clone(&snapshot.upstreams),
        }
    }
}

/// A WebSocket in the gauge, as long as this lives.
pub(crate) struct OpenWebSocket(());

impl OpenWebSocket {
    pub(crate) fn count() -> Self {
        metrics::gauge!("anteroom_gateway_websockets").increment(1.0);
        Self(())
    }
}

impl Drop for OpenWebSocket {
    fn drop(&mut self) {
        metrics::gauge!("anteroom_gateway_websockets").decrement(1.0);
    }
}

/// What one request remembers.
pub(crate) struct Journey {
    started: Instant,
    pub(crate) settings: Settings,
    /// Without the query, which may carry a token.
    pub(crate) path: String,
    pub(crate) upgrade: Upgrade,
    pub(crate) room: Option<RoomKey>,
    pub(crate) shard: Option<ShardId>,
    pub(crate) rule: String,
    /// Where the ring would place the room.
    pub(crate) candidate: Option<ShardId>,
    pub(crate) trace: JoinTrace,
    /// It was chosen because the room was seen there.
    pub(crate) is_hinted: bool,
    /// Number of the snapshot that placed the request.
    pub(crate) placed_by: u64,
    redirected: bool,
    /// While it waits for a shard.
    pub(crate) held: Option<Held>,
    /// It has waited.
    pub(crate) waited: bool,
    /// Why its shard could not be connected to a moment ago.
    pub(crate) unreached: Option<ErrorType>,
    pub(crate) refusal: Option<Refusal>,
    pub(crate) websocket: Option<OpenWebSocket>,
    /// The head of an answer went to the client.
    is_answered: bool,
    /// That was a 101, or its like of HTTP/2.
    is_opened: bool,
}

impl Journey {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            settings: Settings::default(),
            path: String::new(),
            upgrade: Upgrade::None,
            room: None,
            shard: None,
            rule: String::new(),
            candidate: None,
            trace: JoinTrace::default(),
            is_hinted: false,
            placed_by: 0,
            redirected: false,
            held: None,
            waited: false,
            unreached: None,
            refusal: None,
            websocket: None,
            is_answered: false,
            is_opened: false,
        }
    }

    /// The shard, if clients are to learn its name.
    pub(crate) fn announced(&self) -> Option<&ShardId> {
        let announce = self.settings.announce_shard;
        self.shard.as_ref().filter(|_| announce)
    }

    /// Longest silence on either side.
    pub(crate) fn silence(&self) -> Duration {
        let timeouts = &self.settings.timeouts;
        Duration::from_millis(match self.upgrade {
            Upgrade::None => timeouts.read_timeout_ms,
            Upgrade::Http1 | Upgrade::Http2 => timeouts.websocket_idle_ms,
        })
    }

    /// How much longer it may wait for a shard.
    pub(crate) fn hold_left(&self) -> Duration {
        (self.started + HOLD_MAX).saturating_duration_since(Instant::now())
    }

    /// Longest wait for a connection. A request that has waited already must not wait much longer.
    pub(crate) fn connect_limit(&self) -> Duration {
        let limit = Duration::from_millis(self.settings.timeouts.connect_timeout_ms);
        if !self.waited {
            return limit;
        }
        limit.min(self.hold_left().max(KNOCK_EVERY))
    }

    /// An answer without a text.
    pub(crate) fn empty_answer(&self, status: u16) -> Answer<'_> {
        Answer {
            status,
            text: "",
            shard: self.announced(),
            cross_origin: is_cross_origin(&self.path),
        }
    }

    /// What the client is told if it is not let in.
    pub(crate) fn refusal_answer<'a>(&self, refusal: &'a Refusal) -> Answer<'a> {
        Answer {
            status: refusal.status,
            text: &refusal.reason,
            shard: None,
            cross_origin: is_cross_origin(&self.path),
        }
    }

    /// What the client is told if its request came to nothing; `None` if there is nobody to tell.
    pub(crate) fn failure_answer(&self, error: &Error) -> Option<Answer<'_>> {
        let (status, text) = meaning(error)?;
        let reason = self.refusal.as_ref();
        Some(Answer {
            text: reason.map_or(text, |refusal| refusal.reason.as_str()),
            ..self.empty_answer(status)
        })
    }

    /// Follows a 421 to the owner that it names, once: the error says whether.
    pub(crate) fn redirect(&mut self, owner: Option<ShardId>) -> Box<Error> {
        match owner {
            Some(owner) if !self.redirected => {
                metrics::counter!("anteroom_gateway_redirects_total").increment(1);
                self.redirected = true;
                self.rule = format!("{}; redirected to {owner}", self.rule);
                self.shard = Some(owner);
                self.is_hinted = true;
                let mut error = Error::new_up(REDIRECT);
                error.set_retry(true);
                error
            }
            _ => {
                self.refusal = Some(Refusal {
                    status: 503,
                    reason: "the room is changing its shard: try again".to_owned(),
                });
                Error::new_up(ErrorType::HTTPStatus(503))
            }
        }
    }

    /// The head of a shard's answer goes to the client now.
    pub(crate) fn answered(&mut self) {
        if !std::mem::replace(&mut self.is_answered, true) {
            let kind = self.kind();
            metrics::histogram!("anteroom_gateway_answer_seconds", "kind" => kind)
                .record(self.started.elapsed());
        }
    }

    /// The client has its WebSocket.
    pub(crate) fn opened(&mut self) {
        self.answered();
        if !std::mem::replace(&mut self.is_opened, true) {
            self.websocket = Some(OpenWebSocket::count());
            count_join("opened");
            self.end_trace(StatusCode::SWITCHING_PROTOCOLS.as_u16(), None);
            let (room, shard) = self.place();
            let (rule, trace) = (self.rule.as_str(), &self.trace);
            let ms = self.started.elapsed().as_millis();
            debug!(room, shard, rule, %trace, ms, "join");
        }
    }

    /// Room and shard, for the log.
    fn place(&self) -> (&str, &str) {
        (
            self.room.as_ref().map_or("-", RoomKey::as_str),
            self.shard.as_ref().map_or("-", ShardId::as_str),
        )
    }

    fn kind(&self) -> &'static str {
        match self.upgrade {
            Upgrade::Http1 | Upgrade::Http2 => "join",
            Upgrade::None if is_page(&self.path) => "page",
            Upgrade::None => "other",
        }
    }

    /// Counts the request and writes its line. `status` is what the client got, 0 for nothing.
    pub(crate) fn conclude(
        &mut self,
        method: &str,
        client: &str,
        status: u16,
        error: Option<&Error>,
    ) {
        if status > 0 {
            self.answered();
        }
        self.count(status, error);
        if self.trace.is_kept() {
            let cause = error.map(|error| error.etype().as_str().to_owned());
            let refusal = self.refusal.as_ref().map(|refusal| refusal.reason.clone());
            self.end_trace(status, refusal.or(cause).as_deref());
        }
        let (room, shard) = self.place();
        let trace = &self.trace;
        let ms = self.started.elapsed().as_millis();
        let path: String = self.path.chars().take(LOGGED_PATH_CHARS).collect();
        if let Some(refusal) = &self.refusal {
            let reason = refusal.reason.as_str();
            info!(
                method,
                path, status, client, reason, %trace, "request refused"
            );
        } else if let Some(error) = error {
            let cause = error.etype().as_str();
            let side = error.esource().as_str();
            debug!(
                method,
                path, status, room, shard, cause, side, %trace, ms, "request failed"
            );
        } else {
            let rule = self.rule.as_str();
            debug!(
                method,
                path, status, room, shard, rule, %trace, ms, "request"
            );
        }
    }

    fn count(&self, status: u16, error: Option<&Error>) {
        let (result, join) = match (&self.refusal, error, status) {
            (Some(_), _, _) => ("refused", "refused"),
            (None, Some(error), _) if *error.esource() == ErrorSource::Downstream => {
                ("client_gone", "client_gone")
            }
            (None, Some(_), _) => ("failed", "failed"),
            (None, None, 500..) => ("shard_error", "shard_refused"),
            (None, None, _) => ("ok", "shard_refused"),
        };
        let class = class_of(status);
        metrics::counter!("anteroom_gateway_requests_total", "result" => result, "class" => class)
            .increment(1);
        if self.upgrade != Upgrade::None && !self.is_opened {
            count_join(join);
        }
        if let Some(refusal) = &self.refusal {
            let status = refusal.status.to_string();
            metrics::counter!("anteroom_gateway_refusals_total", "status" => status, "why" => "request")
                .increment(1);
        }
        if let Some(error) = error.filter(|error| *error.esource() == ErrorSource::Upstream) {
            // Who could not be reached was counted with each try.
            let why = upstream_fault(error.etype());
            if matches!(why, "no_answer" | "broken") && *error.etype() != REDIRECT {
                count_upstream_failure(why);
            }
        }
    }
}

fn count_join(result: &'static str) {
    metrics::counter!("anteroom_gateway_joins_total", "result" => result).increment(1);
}

/// A try at a shard has failed.
pub(crate) fn count_upstream_failure(why: &'static str) {
    metrics::counter!("anteroom_gateway_upstream_failures_total", "why" => why).increment(1);
}

/// The word for what went wrong with a shard.
pub(crate) fn upstream_fault(etype: &ErrorType) -> &'static str {
    match etype {
        ErrorType::ConnectRefused => "refused",
        ErrorType::ConnectTimedout => "connect_timeout",
        ErrorType::ConnectError | ErrorType::ConnectNoRoute | ErrorType::SocketError => "connect",
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => "no_answer",
        _ => "broken",
    }
}

fn class_of(status: u16) -> &'static str {
    match status {
        100..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        500..600 => "5xx",
        _ => "none",
    }
}

/// What a failure means to the client; `None` if there is nobody to tell.
fn meaning(error: &Error) -> Option<(u16, &'static str)> {
    use ErrorType::{
        ConnectError, ConnectNoRoute, ConnectRefused, ConnectTimedout, HTTPStatus,
        InvalidHTTPHeader, ReadTimedout, SocketError, WriteTimedout,
    };
    let unreachable = (503, "the shard of this room does not answer: try again");
    Some(match (error.esource(), error.etype()) {
        (_, HTTPStatus(status)) => (*status, "the request cannot be served now: try again"),
        (_, etype) if *etype == REDIRECT => (
            503,
            "the room is on another shard, and the request is too large to be sent again: try again",
        ),
        (ErrorSource::Downstream, InvalidHTTPHeader) => (400, "the request is malformed"),
        (ErrorSource::Downstream, ReadTimedout) => (408, "the request body took too long"),
        (ErrorSource::Downstream, _) => return None,
        (
            _,
            ConnectRefused | ConnectNoRoute | ConnectTimedout | ConnectError | SocketError
            | ReadTimedout | WriteTimedout,
        ) => unreachable,
        // What the shard did with the request is unknown: the client tries again, on this shard.
        (ErrorSource::Upstream, _) => (503, "the shard of this room broke off: try again"),
        (ErrorSource::Internal | ErrorSource::Unset, _) => (500, "the gateway failed"),
    })
}
