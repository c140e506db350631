//! What one request remembers, from its head to its log line.
//!
//! Shared by both ways to a shard: Pingora's proxy (`proxy.rs`) and the tunnel of WebSockets over
//! HTTP/1.1 (`tunnel/`). Routing, the one redirect, the meaning of a failure, counting and logging
//! are the same for both.
//! Must not: hold the running configuration longer than admission takes. A WebSocket lives for
//! hours, and the rings of every configuration since would live with it.

use crate::admit::{Admission, Target, Upgrade, admit, target_of, upgrade_of};
use crate::answer::Answer;
use crate::config::UpstreamConfig;
use crate::directory::{Lookout, Picture};
use crate::hold::{Ending, HOLD_MAX, Held, Holds, KNOCK_EVERY};
use crate::roll_call::unix_ms;
use crate::routing::{is_cross_origin, is_page, split};
use crate::snapshot::{Snapshot, Upstream};
use affinity::{Refusal, RoomKey, ShardId, ShardState};
use arc_swap::ArcSwap;
use http::StatusCode;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::{Error, ErrorSource, ErrorType};
use proto::context::{CONTEXT_LIFETIME_MS, ClusterKey, OWNER_HEADER, RoomContext};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::{debug, info};

/// How much of a path is logged.
const LOGGED_PATH_CHARS: usize = 200;
/// Raised when the shard names the room's owner; never reaches a client.
pub(crate) const REDIRECT: ErrorType = ErrorType::Custom("the room is owned by another shard");

/// What all requests share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) state: Arc<ArcSwap<Snapshot>>,
    pub(crate) lookout: Arc<Lookout>,
    pub(crate) holds: Arc<Holds>,
    pub(crate) cluster: ClusterKey,
}

impl Shared {
    /// Decides about a request, and waits if no shard takes rooms only because all of them restart.
    pub(crate) async fn enter(
        &self,
        request: &RequestHeader,
        journey: &mut Journey,
    ) -> Result<Admission, Refusal> {
        loop {
            let refusal = match self.admit(request, journey) {
                Err(refusal) if refusal.status == 503 => refusal,
                decided => return decided,
            };
            if !self.may_take_rooms_soon() || !self.wait(journey).await {
                return Err(refusal);
            }
        }
    }

    /// Decides about a request. A reload from here on does not change it.
    fn admit(&self, request: &RequestHeader, journey: &mut Journey) -> Result<Admission, Refusal> {
        let snapshot = self.state.load_full();
        journey.settings = Settings::of(&snapshot);
        journey.placed_by = snapshot.serial;
        journey.upgrade = upgrade_of(request)?;
        let target = target_of(request).ok_or_else(|| Refusal {
            status: 400,
            reason: "the request target is no text".to_owned(),
        })?;
        split(&target).0.clone_into(&mut journey.path);
        let now_s = unix_ms() / 1000;
        let upgrade = journey.upgrade;
        let admission = admit(request, &target, upgrade, &snapshot, &self.lookout, now_s)?;
        if let Admission::Forward(Target {
            room,
            shard,
            rule,
            hinted,
        }) = &admission
        {
            journey.room.clone_from(room);
            journey.shard = Some(shard.clone());
            journey.rule.clone_from(rule);
            journey.is_hinted = *hinted;
        }
        Ok(admission)
    }

    /// The shard of this request could not be connected to, and nothing was sent. Waits until the
    /// directory has given the shard up, and places the request afresh; or until it is time to knock
    /// again. The error comes back if nothing of this can be expected, or in time.
    pub(crate) async fn hold(
        &self,
        request: &RequestHeader,
        journey: &mut Journey,
        error: Box<Error>,
    ) -> Result<(), Box<Error>> {
        let Some(shard) = journey.shard.clone() else {
            return Err(error);
        };
        let mut knocked = Instant::now();
        self.holds.is_shut(&shard, knocked);
        self.lookout.look_at_once();
        // Nobody has a lease or ever had one: the directory has nothing to say of anybody's end.
        if !self.lookout.any_ever() && !self.lookout.picture().is_stale() {
            return Err(error);
        }
        loop {
            if !self.wait(journey).await {
                return Err(error);
            }
            if self.is_misplaced(journey) {
                if let Err(refusal) = self.enter(request, journey).await {
                    let status = ErrorType::HTTPStatus(refusal.status);
                    journey.refusal = Some(refusal);
                    return Err(Error::new_in(status));
                }
                if journey.shard.as_ref() != Some(&shard) {
                    Ending::Placed.count();
                    journey.held = None;
                    return Ok(());
                }
            }
            let now = Instant::now();
            let waited = now >= knocked + KNOCK_EVERY;
            if self.holds.may_knock(&shard, waited, now) {
                return Ok(());
            }
            if waited {
                knocked = now;
            }
        }
    }

    /// The shard of this request was connected to.
    pub(crate) fn reached(&self, journey: &mut Journey) {
        if let Some(shard) = &journey.shard {
            self.holds.is_open(shard);
        }
        if journey.held.take().is_some() {
            Ending::Reached.count();
        }
    }

    /// Resolves when the life that the shard has now is over, as far as the directory knows. What was
    /// asked of it gets no answer that counts: its rooms are somebody else's, or will be.
    pub(crate) async fn life_is_over(&self, shard: &ShardId) {
        let life = |picture: &Picture| picture.lease(shard).map(|lease| lease.incarnation);
        let mut news = self.lookout.subscribe();
        let asked = life(&self.lookout.picture());
        while asked.is_some() && news.changed().await.is_ok() {
            let picture = self.lookout.picture();
            if !picture.is_stale() && !picture.is_in_grace() && life(&picture) != asked {
                return;
            }
        }
        std::future::pending().await
    }

    /// Waits for news of any kind, in a place that the request keeps until it is through. False if
    /// there is no place, or no time left.
    async fn wait(&self, journey: &mut Journey) -> bool {
        // Before anything is looked at again, so that nothing is missed.
        let mut news = self.lookout.subscribe();
        let opened = self.holds.opened();
        journey.waited = true;
        if journey.held.is_none() {
            journey.held = self.holds.enter();
            if journey.held.is_none() {
                Ending::Full.count();
                return false;
            }
        }
        let left = (journey.started + HOLD_MAX).saturating_duration_since(Instant::now());
        if left.is_zero() {
            Ending::Expired.count();
            return false;
        }
        tokio::select! {
            _ = news.changed() => {}
            () = opened => {}
            () = tokio::time::sleep(left.min(KNOCK_EVERY)) => {}
        }
        true
    }

    /// Whether the reasons for the request's shard have changed since.
    fn is_misplaced(&self, journey: &Journey) -> bool {
        let hinted = journey
            .room
            .as_ref()
            .and_then(|room| self.lookout.hint(room));
        journey.placed_by != self.state.load().serial
            || journey.is_hinted != (hinted.is_some() && hinted == journey.shard)
    }

    /// Some shard is configured to take rooms, nobody has ordered otherwise, and it ends or starts at
    /// the moment.
    fn may_take_rooms_soon(&self) -> bool {
        let (snapshot, picture) = (self.state.load(), self.lookout.picture());
        snapshot
            .topology
            .shards()
            .iter()
            .any(|shard| shard.state == ShardState::Active && picture.drain(&shard.id).is_none())
    }

    /// Our statement about the request, for `shard` and nobody else.
    pub(crate) fn context(&self, journey: &Journey, shard: &ShardId, client: &str) -> String {
        self.cluster.sign(&RoomContext {
            room: journey.room.as_ref().map(|room| room.as_str().to_owned()),
            shard: shard.as_str().to_owned(),
            directory: self.lookout.incarnation(),
            generation: journey.settings.generation,
            client: client.to_owned(),
            expires_ms: unix_ms().saturating_add(CONTEXT_LIFETIME_MS),
        })
    }

    /// Remembers where the room is, from the status of an answer of its shard.
    pub(crate) fn learn(&self, journey: &Journey, status: StatusCode) {
        let (Some(room), Some(shard)) = (&journey.room, &journey.shard) else {
            return;
        };
        let opened = status == StatusCode::SWITCHING_PROTOCOLS || status.is_success();
        if opened && !is_page(&journey.path) {
            self.lookout.hints().learn(room, shard);
        } else if status == StatusCode::SERVICE_UNAVAILABLE {
            self.lookout.unlearn(room, shard);
        }
    }

    /// After a 421, which has no side effects at the shard: the error says whether the request goes
    /// to the owner that the answer names ([`REDIRECT`]). It does so once.
    pub(crate) fn redirect(&self, journey: &mut Journey, answer: &ResponseHeader) -> Box<Error> {
        // The owner may be younger than this request's configuration.
        journey.settings = Settings::of(&self.state.load());
        let owner = answer
            .headers
            .get(OWNER_HEADER)
            .and_then(|value| value.to_str().ok())
            .map(ShardId::new)
            .filter(|owner| journey.settings.upstreams.contains_key(owner));
        if let (Some(room), Some(shard)) = (&journey.room, &journey.shard) {
            let hints = self.lookout.hints();
            hints.forget(room, shard);
            if let Some(owner) = &owner {
                hints.learn(room, owner);
            }
        }
        journey.redirect(owner)
    }
}

/// What of the configuration is needed after admission.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) announce_shard: bool,
    pub(crate) timeouts: UpstreamConfig,
    pub(crate) generation: u64,
    pub(crate) upstreams: Arc<BTreeMap<ShardId, Upstream>>,
}

impl Settings {
    fn of(snapshot: &Snapshot) -> Self {
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
    rule: String,
    /// It was chosen because the room was seen there.
    is_hinted: bool,
    /// Number of the snapshot that placed the request.
    placed_by: u64,
    redirected: bool,
    /// While it waits for a shard.
    held: Option<Held>,
    /// It has waited.
    waited: bool,
    /// Why its shard could not be connected to a moment ago.
    pub(crate) unreached: Option<ErrorType>,
    pub(crate) refusal: Option<Refusal>,
    pub(crate) websocket: Option<OpenWebSocket>,
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
            is_hinted: false,
            placed_by: 0,
            redirected: false,
            held: None,
            waited: false,
            unreached: None,
            refusal: None,
            websocket: None,
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

    /// Longest wait for a connection. A request that has waited already must not wait much longer.
    pub(crate) fn connect_limit(&self) -> Duration {
        let limit = Duration::from_millis(self.settings.timeouts.connect_timeout_ms);
        if !self.waited {
            return limit;
        }
        let left = (self.started + HOLD_MAX).saturating_duration_since(Instant::now());
        limit.min(left.max(KNOCK_EVERY))
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

    fn redirect(&mut self, owner: Option<ShardId>) -> Box<Error> {
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

    /// Counts the request and writes its line. `status` is what the client got, 0 for nothing.
    pub(crate) fn conclude(&self, method: &str, client: &str, status: u16, error: Option<&Error>) {
        self.count(status, error);
        let shard = self.shard.as_ref().map_or("-", ShardId::as_str);
        let room = self.room.as_ref().map_or("-", RoomKey::as_str);
        let ms = self.started.elapsed().as_millis();
        let path: String = self.path.chars().take(LOGGED_PATH_CHARS).collect();
        if let Some(refusal) = &self.refusal {
            let reason = refusal.reason.as_str();
            info!(method, path, status, client, reason, "request refused");
        } else if let Some(error) = error {
            let cause = error.etype().as_str();
            let side = error.esource().as_str();
            debug!(
                method,
                path, status, room, shard, cause, side, ms, "request failed"
            );
        } else {
            let rule = self.rule.as_str();
            debug!(method, path, status, room, shard, rule, ms, "request");
        }
    }

    fn count(&self, status: u16, error: Option<&Error>) {
        let result = match (&self.refusal, error, status) {
            (Some(_), _, _) => "refused",
            (None, Some(error), _) if *error.esource() == ErrorSource::Downstream => "client_gone",
            (None, Some(_), _) => "failed",
            (None, None, 500..) => "shard_error",
            (None, None, _) => "ok",
        };
        metrics::counter!("anteroom_gateway_requests_total", "result" => result).increment(1);
        if let Some(refusal) = &self.refusal {
            let status = refusal.status.to_string();
            metrics::counter!("anteroom_gateway_refusals_total", "status" => status, "why" => "request")
                .increment(1);
        }
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
