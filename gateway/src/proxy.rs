//! The course of one request through Pingora's `ProxyHttp`: all but WebSockets over HTTP/1.1.
//!
//! Owns: the choice of the connection and what may be sent again.
//! Must not: try another shard because one does not answer. The outcome at the first is unknown, and
//! two shards with the same room are worse than an error that the client retries.

use crate::admit::{Admission, Upgrade};
use crate::forward::{prepare_answer, prepare_request};
use crate::journey::{Journey, REDIRECT};
use crate::routing::accepts_offers;
use crate::way::Shared;
use affinity::ShardId;
use async_trait::async_trait;
use http::{Method, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::{Digest, TcpKeepalive};
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tracing::debug;

/// How long an idle connection to a shard is kept for the next request.
const POOL_IDLE: Duration = Duration::from_secs(20);
/// A connection that no other request may use is not kept.
const NOT_POOLED: Duration = Duration::from_millis(1);

/// Requests by way of Pingora's proxy: all but WebSockets over HTTP/1.1.
pub(crate) struct EdgeProxy {
    pub(crate) shared: Shared,
    /// Numbers the connections that must not be shared.
    pub(crate) serial: AtomicU64,
}

/// Whether a broken connection may be tried again at the same shard: only if the request had no
/// effect there, however far it came.
fn repeatable(session: &Session, journey: &Journey) -> bool {
    let harmless = matches!(
        session.req_header().method,
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    harmless && journey.upgrade == Upgrade::None
}

impl EdgeProxy {
    fn peer(
        &self,
        address: std::net::SocketAddr,
        session: &Session,
        journey: &Journey,
    ) -> HttpPeer {
        let timeouts = &journey.settings.timeouts;
        let mut peer = HttpPeer::new(address, false, String::new());
        let connect = journey.connect_limit();
        peer.options.connection_timeout = Some(connect);
        peer.options.total_connection_timeout = Some(connect);
        peer.options.write_timeout = Some(Duration::from_millis(timeouts.write_timeout_ms));
        peer.options.read_timeout = Some(journey.silence());
        peer.options.tcp_keepalive = Some(TcpKeepalive {
            idle: Duration::from_secs(15),
            interval: Duration::from_secs(5),
            count: 3,
            user_timeout: Duration::ZERO,
        });
        if journey.upgrade == Upgrade::Http2 {
            peer.options.set_http_version(2, 2);
        }
        if repeatable(session, journey) {
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
        Journey::new()
    }

    async fn request_filter(&self, session: &mut Session, journey: &mut Journey) -> Result<bool> {
        match self.shared.enter(session.req_header(), journey).await {
            Ok(Admission::Forward(_)) => {
                let write = Duration::from_millis(journey.settings.timeouts.write_timeout_ms);
                session.set_read_timeout(Some(journey.silence()));
                session.set_write_timeout(Some(write));
                Ok(false)
            }
            Ok(Admission::Preflight) => {
                let offers = accepts_offers(&journey.path);
                let answer = journey.empty_answer(204);
                answer.send_preflight(session, offers).await?;
                Ok(true)
            }
            Err(refusal) => {
                journey.refusal_answer(&refusal).send(session).await?;
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
        let mut unreached = journey.unreached.take().map(Error::new_up);
        loop {
            if let Some(error) = unreached.take() {
                self.shared
                    .hold(session.req_header(), journey, error)
                    .await?;
            }
            let shard = journey.shard.as_ref();
            let upstream = shard.and_then(|shard| journey.settings.upstreams.get(shard));
            let upstream = upstream.ok_or_else(|| Error::new_in(ErrorType::HTTPStatus(503)))?;
            match upstream.resolve().await {
                Ok(address) => return Ok(Box::new(self.peer(address, session, journey))),
                Err(error) => {
                    let why = "looking up the shard's address";
                    let error = Error::because(ErrorType::ConnectError, why, error);
                    unreached = Some(error.into_up());
                }
            }
        }
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        reused: bool,
        _peer: &HttpPeer,
        _fd: std::os::unix::io::RawFd,
        _digest: Option<&Digest>,
        journey: &mut Journey,
    ) -> Result<()> {
        // A kept connection says nothing about a new one.
        if !reused {
            self.shared.reached(journey);
        }
        Ok(())
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
        let Some(shard) = journey.shard.clone() else {
            return Error::e_explain(ErrorType::InternalError, "no shard was chosen");
        };
        let context = self.shared.context(journey, &shard, &client);
        let trace = journey.trace.asks(&shard);
        // What wants to become a WebSocket over HTTP/1.1 is not here.
        request.remove_header(&http::header::UPGRADE);
        prepare_request(request, &context, &client, tls, trace)
    }

    async fn upstream_response_filter(
        &self,
        _session: &mut Session,
        answer: &mut ResponseHeader,
        journey: &mut Journey,
    ) -> Result<()> {
        if answer.status == StatusCode::MISDIRECTED_REQUEST && journey.room.is_some() {
            return Err(self.shared.redirect(journey, answer));
        }
        self.shared.learn(journey, answer.status);
        Ok(())
    }

    async fn response_filter(
        &self,
        _session: &mut Session,
        answer: &mut ResponseHeader,
        journey: &mut Journey,
    ) -> Result<()> {
        if journey.upgrade == Upgrade::Http2 && answer.status.is_success() {
            journey.opened();
        } else if !answer.status.is_informational() {
            journey.answered();
        }
        prepare_answer(answer, journey.announced().map(ShardId::as_str))
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        journey: &mut Journey,
        mut error: Box<Error>,
    ) -> Box<Error> {
        // Nothing was sent: the next try begins with a wait, and that decides where it goes.
        journey.unreached = Some(error.etype().clone());
        error.set_retry(true);
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
        } else if repeatable(session, journey) {
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
        let answer = journey.failure_answer(error);
        let status = answer.as_ref().map_or(0, |answer| answer.status);
        if let Some(answer) = answer
            && session.response_written().is_none()
            && let Err(error) = answer.send(session).await
        {
            debug!(
                error = error.etype().as_str(),
                "the client does not take its answer"
            );
        }
        FailToProxy {
            error_code: status,
            can_reuse_downstream: false,
        }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, journey: &mut Journey) {
        journey.websocket = None;
        let status = session
            .response_written()
            .map_or(0, |head| head.status.as_u16());
        let method = session.req_header().method.as_str();
        journey.conclude(method, &client_of(session), status, error);
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

fn client_of(session: &Session) -> String {
    let address = session.client_addr().and_then(|address| address.as_inet());
    address.map_or_else(|| "unknown".to_owned(), |address| address.ip().to_string())
}
