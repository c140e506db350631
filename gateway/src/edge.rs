//! One client connection, from its first byte: TLS, the protocol, and HTTP/1.1 heads under a total
//! deadline.
//!
//! Pingora limits the time of each read, not of a whole head, so that a client could send one byte
//! a minute for hours. Heads are therefore read here and handed over when they are complete.
//! Must not: look into a request, but for whether it opens a WebSocket; the rest is the proxy's or
//! the tunnel's.

use crate::config::Config;
use crate::farewell;
use crate::framing;
use crate::gathered::Gathered;
use crate::head::{HeadLimits, HeadScanner, Verdict};
use crate::proxy::EdgeProxy;
use crate::tunnel;
use crate::way::Shared;
use bytes::BytesMut;
use pingora::apps::{HttpPersistentSettings, HttpServerApp as _};
use pingora::listeners::tls::Acceptor;
use pingora::protocols::http::ServerSession;
use pingora::protocols::l4::stream::Stream as TcpStream;
use pingora::protocols::{ALPN, Stream};
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::time::Instant;
use tracing::debug;

/// How much is read at once.
const READ_BYTES: usize = 4 * 1024;

/// Serves the connections of one listener.
pub(crate) struct Edge {
    pub(crate) proxy: Arc<HttpProxy<EdgeProxy>>,
    pub(crate) tls: Option<Arc<Acceptor>>,
    pub(crate) shared: Shared,
}

/// What came instead of, or as, a request head.
enum Head {
    Request(BytesMut),
    Http2(BytesMut),
    Refused(u16, &'static str),
    Closed,
}

impl Edge {
    /// Serves a connection until its end.
    pub(crate) async fn serve(&self, stream: Stream, shutdown: &ShutdownWatch) {
        let _open = OpenConnection::count();
        // What is needed for a while only is in a box: a WebSocket is here for hours.
        let stream = match &self.tls {
            Some(acceptor) => Box::pin(self.accept_tls(acceptor, stream)).await,
            None => Some(stream),
        };
        let Some(stream) = stream else { return };
        if stream.selected_alpn_proto() == Some(ALPN::H2) {
            Box::pin(self.serve_http2(stream, shutdown)).await;
        } else {
            self.serve_http1(stream, shutdown).await;
        }
    }

    async fn accept_tls(&self, acceptor: &Acceptor, stream: Stream) -> Option<Stream> {
        let limit = Duration::from_millis(self.shared.state.load().config().tls_handshake_ms);
        let tcp = stream.into_any().downcast::<TcpStream>().ok()?;
        match tokio::time::timeout(limit, acceptor.tls_handshake(*tcp)).await {
            Ok(Ok(stream)) => Some(Box::new(stream)),
            Ok(Err(error)) => {
                count_refused_connection("tls");
                debug!(error = %error, "TLS handshake failed");
                None
            }
            Err(_) => {
                count_refused_connection("tls_timeout");
                None
            }
        }
    }

    async fn serve_http1(&self, mut stream: Stream, shutdown: &ShutdownWatch) {
        let mut carried: Option<HttpPersistentSettings> = None;
        let mut closing = shutdown.clone();
        loop {
            let limits = ConnectionLimits::of(self.shared.state.load().config());
            let patience = if carried.is_some() {
                limits.keepalive
            } else {
                limits.deadline
            };
            let head = tokio::select! {
                biased;
                head = read_head(&mut stream, &limits, patience) => head,
                () = shut_down(&mut closing) => return,
            };
            let mut bytes = match head {
                Head::Request(bytes) => bytes,
                Head::Http2(bytes) => {
                    return Box::pin(self.serve_preface(stream, &bytes, shutdown)).await;
                }
                Head::Refused(status, why) => return refuse(stream, status, why).await,
                Head::Closed => return,
            };
            if let Some(handshake) = tunnel::take_handshake(&mut bytes) {
                return tunnel::serve(&self.shared, stream, handshake, bytes).await;
            }
            if carried.is_none() {
                stream = Box::new(Gathered::new(stream));
            }
            let mut session = ServerSession::new_http1(stream);
            match carried.take() {
                Some(settings) => settings.apply_to_session(&mut session),
                None => session.set_keepalive(Some(limits.keepalive.as_secs())),
            }
            session.set_pipelined_prefix(bytes);
            let Some(reused) = self.proxy.process_new_http(session, shutdown).await else {
                return;
            };
            (stream, carried) = reused.consume();
        }
    }

    /// HTTP/2 without TLS, begun by its preface (RFC 9113 section 3.3).
    async fn serve_preface(&self, stream: Stream, read: &[u8], shutdown: &ShutdownWatch) {
        // Over TLS the protocol was negotiated, and it was not this one.
        let tcp = stream.into_any().downcast::<TcpStream>().ok();
        if let Some(mut tcp) = tcp {
            tcp.rewind(read);
            self.serve_http2(tcp, shutdown).await;
        }
    }
}

/// A client connection in the gauge, as long as this lives.
struct OpenConnection(());

impl OpenConnection {
    fn count() -> Self {
        metrics::counter!("anteroom_gateway_connections_total").increment(1);
        metrics::gauge!("anteroom_gateway_connections").increment(1.0);
        Self(())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        metrics::gauge!("anteroom_gateway_connections").decrement(1.0);
    }
}

/// What of the configuration a connection needs between two requests.
struct ConnectionLimits {
    head: HeadLimits,
    deadline: Duration,
    keepalive: Duration,
}

impl ConnectionLimits {
    fn of(config: &Config) -> Self {
        Self {
            head: HeadLimits {
                target_bytes: config.target_bytes_max,
                header_bytes: config.header_bytes_max,
                fields: config.headers_max,
            },
            deadline: Duration::from_millis(config.header_deadline_ms),
            keepalive: Duration::from_millis(config.keepalive_ms),
        }
    }
}

/// Waits `patience` for the first byte, and from then on until the deadline for the whole head.
async fn read_head(stream: &mut Stream, limits: &ConnectionLimits, patience: Duration) -> Head {
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    let mut scanner = HeadScanner::default();
    let mut until = Instant::now() + patience;
    loop {
        buffer.reserve(READ_BYTES);
        match tokio::time::timeout_at(until, stream.read_buf(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => return Head::Closed,
            Ok(Ok(read)) if read == buffer.len() => until = Instant::now() + limits.deadline,
            Ok(Ok(_)) => {}
            // A browser opens connections ahead of need: those are closed without a word.
            Err(_) if buffer.is_empty() => return Head::Closed,
            Err(_) => return Head::Refused(408, "the request head took too long"),
        }
        match scanner.scan(&buffer, &limits.head) {
            Verdict::More => {}
            Verdict::Complete => {
                return match framing::check(&buffer) {
                    Ok(()) => Head::Request(buffer),
                    Err(why) => Head::Refused(400, why),
                };
            }
            Verdict::Http2 => return Head::Http2(buffer),
            Verdict::Refused(status, why) => return Head::Refused(status, why),
        }
    }
}

async fn refuse(mut stream: Stream, status: u16, why: &'static str) {
    metrics::counter!("anteroom_gateway_refusals_total", "status" => status.to_string(), "why" => why)
        .increment(1);
    let reason = http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Refused");
    let answer = format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: text/plain; charset=utf-8\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{why}\n",
        why.len() + 1
    );
    farewell::say(&mut stream, answer.as_bytes()).await;
}

/// Resolves when the service is told to stop.
pub(crate) async fn shut_down(watch: &mut ShutdownWatch) {
    if watch.wait_for(|stop| *stop).await.is_err() {
        // The server is gone without a word: its runtime ends us.
        std::future::pending::<()>().await;
    }
}

pub(crate) fn count_refused_connection(why: &'static str) {
    metrics::counter!("anteroom_gateway_connections_refused_total", "why" => why).increment(1);
}
