//! The course of one request through Pingora's `ProxyHttp`.
//!
//! Owns: admission, the choice of the connection, the one redirect after a 421, what a failure means
//! to the client, and the log line.
//! Must not: try another shard because one does not answer. The outcome at the first is unknown, and
//! two shards with the same room are worse than an error that the client retries.

use crate::admit::{Admission, Target, Upgrade, admit, target_of, upgrade_of};
use crate::answer::Answer;
use crate::directory::EmbeddedDirectory;
use crate::forward::{prepare_answer, prepare_request};
use crate::routing::{is_cross_origin, split};
use crate::snapshot::Snapshot;
use affinity::{Refusal, RoomKey, ShardId};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use http::{Method, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::TcpKeepalive;
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result};
use proto::context::{CONTEXT_LIFETIME_MS, ClusterKey, OWNER_HEADER, RoomContext};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tracing::{debug, info};

/// How long an idle connection to a shard is kept for the next request.
const POOL_IDLE: Duration = Duration::from_secs(20);
/// A connection that no other request may use is not kept.
const NOT_POOLED: Duration = Duration::from_millis(1);
/// How much of a path is logged.
const LOGGED_PATH_CHARS: usize = 200;
/// Raised when the shard names the room's owner; never reaches a client.
const REDIRECT: ErrorType = ErrorType::Custom("the room is owned by another shard");

/// What all requests share.
pub(crate) struct EdgeProxy {
    pub(crate) state: Arc<ArcSwap<Snapshot>>,
    pub(crate) directory: Arc<EmbeddedDirectory>,
    pub(crate) cluster: ClusterKey,
    /// Numbers the connections that must not be shared.
    pub(crate) serial: AtomicU64,
}

/// What one request remembers.
pub(crate) struct Journey {
    started: Instant,
    /// The configuration at its begin: a reload does not change a request under way.
    snapshot: Arc<Snapshot>,
    /// Without the query, which may carry a token.
    path: String,
    upgrade: Upgrade,
    room: Option<RoomKey>,
    shard: Option<ShardId>,
    rule: String,
    redirected: bool,
    refusal: Option<Refusal>,
    websocket_open: bool,
}

impl Journey {
    fn answer(&self, status: u16, text: &'static str) -> Answer<'_> {
        Answer {
            status,
            text,
            shard: self.announced(),
            cross_origin: is_cross_origin(&self.path),
        }
    }

    fn announced(&self) -> Option<&ShardId> {
        let announce = self.snapshot.config().announce_shard;
        self.shard.as_ref().filter(|_| announce)
    }

    /// Whether a broken connection may be tried again at the same shard: only if the request had no
    /// effect there, however far it came.
    fn repeatable(&self, session: &Session) -> bool {
        let harmless = matches!(
            session.req_header().method,
            Method::GET | Method::HEAD | Method::OPTIONS
        );
        harmless && self.upgrade == Upgrade::None
    }
}

impl EdgeProxy {
    fn admit(&self, session: &Session, journey: &mut Journey) -> Result<Admission, Refusal> {
        let request = session.req_header();
        journey.upgrade = upgrade_of(request)?;
        let target = target_of(request).ok_or_else(|| Refusal {
            status: 400,
            reason: "the request target is no text".to_owned(),
        })?;
        split(&target).0.clone_into(&mut journey.path);
        let now_s = unix_ms() / 1000;
        let upgrade = journey.upgrade;
        admit(
            request,
            &target,
            upgrade,
            &journey.snapshot,
            &self.directory,
            now_s,
        )
    }

    fn context(&self, journey: &Journey, shard: &ShardId, client: &str) -> String {
        self.cluster.sign(&RoomContext {
            room: journey.room.as_ref().map(|room| room.as_str().to_owned()),
            shard: shard.as_str().to_owned(),
            directory: self.directory.incarnation().0,
            generation: journey.snapshot.topology.generation(),
            client: client.to_owned(),
            expires_ms: unix_ms().saturating_add(CONTEXT_LIFETIME_MS),
        })
    }

    /// A 421 has no side effects at the shard: the request goes to the owner that it names, once.
    fn redirect(&self, answer: &ResponseHeader, journey: &mut Journey) -> Box<Error> {
        let owner = answer
            .headers
            .get(OWNER_HEADER)
            .and_then(|value| value.to_str().ok())
            .map(ShardId::new)
            .filter(|owner| journey.snapshot.upstreams.contains_key(owner));
        match owner {
            Some(owner) if !journey.redirected => {
                metrics::counter!("anteroom_gateway_redirects_total").increment(1);
                journey.redirected = true;
                journey.rule = format!("{}; redirected to {owner}", journey.rule);
                journey.shard = Some(owner);
                let mut error = Error::new_up(REDIRECT);
                error.set_retry(true);
                error
            }
            _ => {
                journey.refusal = Some(Refusal {
                    status: 503,
                    reason: "the room is changing its shard: try again".to_owned(),
                });
                Error::new_up(ErrorType::HTTPStatus(503))
            }
        }
    }

    fn peer(
        &self,
        address: std::net::SocketAddr,
        session: &Session,
        journey: &Journey,
    ) -> HttpPeer {
        let timeouts = &journey.snapshot.config().upstream;
        let mut peer = HttpPeer::new(address, false, String::new());
        let connect = Duration::from_millis(timeouts.connect_timeout_ms);
        peer.options.connection_timeout = Some(connect);
        peer.options.total_connection_timeout = Some(connect);
        peer.options.write_timeout = Some(Duration::from_millis(timeouts.write_timeout_ms));
        let silence = match journey.upgrade {
            Upgrade::None => timeouts.read_timeout_ms,
            Upgrade::Http1 | Upgrade::Http2 => timeouts.websocket_idle_ms,
        };
        peer.options.read_timeout = Some(Duration::from_millis(silence));
        peer.options.tcp_keepalive = Some(TcpKeepalive {
            idle: Duration::from_secs(15),
            interval: Duration::from_secs(5),
            count: 3,
            user_timeout: Duration::ZERO,
        });
        if journey.upgrade == Upgrade::Http2 {
            peer.options.set_http_version(2, 2);
        }
        if journey.repeatable(session) {
            peer.options.idle_timeout = Some(POOL_IDLE);
        } else {
            // A kept connection may be dead already, and this request must not be repeated.
            peer.group_key = self.serial.fetch_add(1, Ordering::Relaxed);
            peer.options.idle_timeout = Some(NOT_POOLED);
        }
        peer
    }
}

#[async_trait]
impl ProxyHttp for EdgeProxy {
    type CTX = Journey;

    fn new_ctx(&self) -> Journey {
        Journey {
            started: Instant::now(),
            snapshot: self.state.load_full(),
            path: String::new(),
            upgrade: Upgrade::None,
            room: None,
            shard: None,
            rule: String::new(),
            redirected: false,
            refusal: None,
            websocket_open: false,
        }
    }

    async fn request_filter(&self, session: &mut Session, journey: &mut Journey) -> Result<bool> {
        let admission = self.admit(session, journey);
        match admission {
            Ok(Admission::Forward(Target { room, shard, rule })) => {
                journey.room = room;
                journey.shard = Some(shard);
                journey.rule = rule;
                let timeouts = &journey.snapshot.config().upstream;
                let silence = match journey.upgrade {
                    Upgrade::None => timeouts.read_timeout_ms,
                    Upgrade::Http1 | Upgrade::Http2 => timeouts.websocket_idle_ms,
                };
                let write = Duration::from_millis(timeouts.write_timeout_ms);
                session.set_read_timeout(Some(Duration::from_millis(silence)));
                session.set_write_timeout(Some(write));
                Ok(false)
            }
            Ok(Admission::Preflight) => {
                journey.answer(204, "").send_preflight(session).await?;
                Ok(true)
            }
            Err(refusal) => {
                let answer = Answer {
                    status: refusal.status,
                    text: &refusal.reason,
                    shard: None,
                    cross_origin: is_cross_origin(&journey.path),
                };
                answer.send(session).await?;
                journey.refusal = Some(refusal);
                Ok(true)
            }
        }
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        journey: &mut Journey,
    ) -> Result<Box<HttpPeer>> {
        let shard = journey.shard.as_ref();
        let upstream = shard.and_then(|shard| journey.snapshot.upstreams.get(shard));
        let upstream = upstream.ok_or_else(|| Error::new_in(ErrorType::HTTPStatus(503)))?;
        let address = upstream.resolve().await.map_err(|error| {
            Error::because(
                ErrorType::ConnectError,
                "looking up the shard's address",
                error,
            )
            .into_up()
        })?;
        Ok(Box::new(self.peer(address, session, journey)))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        journey: &mut Journey,
    ) -> Result<()> {
        let client = client_of(session);
        let tls = session
            .digest()
            .is_some_and(|digest| digest.ssl_digest.is_some());
        let Some(shard) = &journey.shard else {
            return Error::e_explain(ErrorType::InternalError, "no shard was chosen");
        };
        let context = self.context(journey, shard, &client);
        prepare_request(request, &context, &client, tls)
    }

    async fn upstream_response_filter(
        &self,
        _session: &mut Session,
        answer: &mut ResponseHeader,
        journey: &mut Journey,
    ) -> Result<()> {
        if answer.status == StatusCode::MISDIRECTED_REQUEST && journey.room.is_some() {
            return Err(self.redirect(answer, journey));
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        _session: &mut Session,
        answer: &mut ResponseHeader,
        journey: &mut Journey,
    ) -> Result<()> {
        let opened = match journey.upgrade {
            Upgrade::None => false,
            Upgrade::Http1 => answer.status == StatusCode::SWITCHING_PROTOCOLS,
            Upgrade::Http2 => answer.status.is_success(),
        };
        if opened && !journey.websocket_open {
            journey.websocket_open = true;
            metrics::gauge!("anteroom_gateway_websockets").increment(1.0);
        }
        prepare_answer(answer, journey.announced().map(ShardId::as_str))
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        _journey: &mut Journey,
        mut error: Box<Error>,
    ) -> Box<Error> {
        error.set_retry(false);
        error
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        journey: &mut Journey,
        client_reused: bool,
    ) -> Box<Error> {
        if *error.etype() == REDIRECT {
            // The owner needs the whole body: what outgrew the retry buffer is lost.
            error.set_retry(!session.as_ref().retry_buffer_truncated());
        } else if journey.repeatable(session) {
            error.retry.decide_reuse(client_reused);
        } else {
            error.set_retry(false);
        }
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        journey: &mut Journey,
    ) -> FailToProxy {
        let (status, text) = meaning(error);
        if status > 0 && session.response_written().is_none() {
            let answer = journey.answer(status, text);
            let reason = journey
                .refusal
                .as_ref()
                .map(|refusal| refusal.reason.as_str());
            let answer = Answer {
                text: reason.unwrap_or(text),
                ..answer
            };
            if let Err(error) = answer.send(session).await {
                debug!(
                    error = error.etype().as_str(),
                    "the client does not take its answer"
                );
            }
        }
        FailToProxy {
            error_code: status,
            can_reuse_downstream: false,
        }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, journey: &mut Journey) {
        if journey.websocket_open {
            metrics::gauge!("anteroom_gateway_websockets").decrement(1.0);
        }
        let status = session
            .response_written()
            .map_or(0, |head| head.status.as_u16());
        count(status, error, journey);
        let shard = journey.shard.as_ref().map_or("-", ShardId::as_str);
        let room = journey.room.as_ref().map_or("-", RoomKey::as_str);
        let method = session.req_header().method.as_str();
        let ms = journey.started.elapsed().as_millis();
        let path: String = journey.path.chars().take(LOGGED_PATH_CHARS).collect();
        if let Some(refusal) = &journey.refusal {
            let client = client_of(session);
            info!(
                method,
                path,
                status,
                client,
                reason = refusal.reason,
                "request refused"
            );
        } else if let Some(error) = error {
            let cause = error.etype().as_str();
            let side = error.esource().as_str();
            debug!(
                method,
                path, status, room, shard, cause, side, ms, "request failed"
            );
        } else {
            debug!(
                method,
                path,
                status,
                room,
                shard,
                rule = journey.rule,
                ms,
                "request"
            );
        }
    }

    /// Pingora puts this into its own log lines: no query, it may carry a token.
    fn request_summary(&self, session: &Session, journey: &Journey) -> String {
        format!("{} {}", session.req_header().method, journey.path)
    }

    fn suppress_error_log(&self, _: &Session, _: &Journey, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &Journey,
        _: &Error,
        _: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}

/// What a failure means to the client: a status, 0 if there is nobody to tell.
fn meaning(error: &Error) -> (u16, &'static str) {
    use ErrorType::{
        ConnectError, ConnectNoRoute, ConnectRefused, ConnectTimedout, HTTPStatus,
        InvalidHTTPHeader, ReadTimedout, SocketError, WriteTimedout,
    };
    let unreachable = (503, "the shard of this room does not answer: try again");
    match (error.esource(), error.etype()) {
        (_, HTTPStatus(status)) => (*status, "the request cannot be served now: try again"),
        (_, etype) if *etype == REDIRECT => (
            503,
            "the room is on another shard, and the request is too large to be sent again: try again",
        ),
        (ErrorSource::Downstream, InvalidHTTPHeader) => (400, "the request is malformed"),
        (ErrorSource::Downstream, ReadTimedout) => (408, "the request body took too long"),
        (ErrorSource::Downstream, _) => (0, ""),
        (
            _,
            ConnectRefused | ConnectNoRoute | ConnectTimedout | ConnectError | SocketError
            | ReadTimedout | WriteTimedout,
        ) => unreachable,
        // What the shard did with the request is unknown: the client tries again, on this shard.
        (ErrorSource::Upstream, _) => (503, "the shard of this room broke off: try again"),
        (ErrorSource::Internal | ErrorSource::Unset, _) => (500, "the gateway failed"),
    }
}

fn count(status: u16, error: Option<&Error>, journey: &Journey) {
    let result = match (&journey.refusal, error, status) {
        (Some(_), _, _) => "refused",
        (None, Some(error), _) if *error.esource() == ErrorSource::Downstream => "client_gone",
        (None, Some(_), _) => "failed",
        (None, None, 500..) => "shard_error",
        (None, None, _) => "ok",
    };
    metrics::counter!("anteroom_gateway_requests_total", "result" => result).increment(1);
    if let Some(refusal) = &journey.refusal {
        let status = refusal.status.to_string();
        metrics::counter!("anteroom_gateway_refusals_total", "status" => status, "why" => "request")
            .increment(1);
    }
}

fn client_of(session: &Session) -> String {
    let address = session.client_addr().and_then(|address| address.as_inet());
    address.map_or_else(|| "unknown".to_owned(), |address| address.ip().to_string())
}

fn unix_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since_epoch.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
