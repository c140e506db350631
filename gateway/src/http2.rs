//! HTTP/2 connections of clients: handshake under a deadline, idle time, graceful end.
//!
//! Extended CONNECT (RFC 8441) is offered, so that browsers open WebSockets over HTTP/2.

use crate::config::Config;
use crate::edge::{Edge, count_refused_connection, shut_down};
use pingora::apps::HttpServerApp as _;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{self, H2Accept, H2Options, HttpSession};
use pingora::protocols::{Digest, Stream};
use pingora::server::ShutdownWatch;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Streams that a client may have open at once.
const STREAMS_MAX: u32 = 100;
/// Bytes a client may send on all streams before we have taken them.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Malformed requests after which a connection is dropped.
const MALFORMED_MAX: usize = 100;

pub(crate) fn options(config: &Config) -> H2Options {
    let mut options = H2Options::new();
    let header = config.header_bytes_max + config.target_bytes_max;
    options
        .max_header_list_size(u32::try_from(header).unwrap_or(u32::MAX))
        .max_concurrent_streams(STREAMS_MAX)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .enable_connect_protocol();
    options
}

impl Edge {
    pub(crate) async fn serve_http2(&self, stream: Stream, shutdown: &ShutdownWatch) {
        let (options, deadline, idle) = {
            let snapshot = self.shared.state.load();
            let config = snapshot.config();
            let deadline = Duration::from_millis(config.header_deadline_ms);
            let idle = Duration::from_millis(config.keepalive_ms);
            (options(config), deadline, idle)
        };
        let digest = Arc::new(Digest {
            ssl_digest: stream.get_ssl_digest(),
            timing_digest: stream.get_timing_digest(),
            proxy_digest: stream.get_proxy_digest(),
            socket_digest: stream.get_socket_digest(),
        });
        let handshake = server::handshake(stream, Some(options));
        let Ok(Ok(mut connection)) = tokio::time::timeout(deadline, handshake).await else {
            return count_refused_connection("http2_handshake");
        };

        let mut requests = JoinSet::new();
        let mut closing = shutdown.clone();
        let mut ending = false;
        let mut malformed = 0;
        loop {
            // Accepting drives the whole connection and may be dropped at any time; the idle time
            // starts anew with each turn, which is each request's begin and end.
            let accepted = tokio::select! {
                biased;
                () = shut_down(&mut closing), if !ending => {
                    connection.graceful_shutdown();
                    ending = true;
                    continue;
                }
                accepted = HttpSession::from_h2_conn(&mut connection, Arc::clone(&digest)) => accepted,
                Some(_) = requests.join_next(), if !requests.is_empty() => continue,
                () = tokio::time::sleep(idle), if requests.is_empty() => break,
            };
            match accepted {
                Ok(Some(H2Accept::Session(session))) => {
                    let proxy = Arc::clone(&self.proxy);
                    let shutdown = shutdown.clone();
                    requests.spawn(async move {
                        let session = ServerSession::new_http2(session);
                        proxy.process_new_http(session, &shutdown).await;
                    });
                }
                Ok(Some(H2Accept::Rejected)) if malformed < MALFORMED_MAX => malformed += 1,
                Ok(Some(H2Accept::Rejected) | None) | Err(_) => break,
            }
        }
        // Requests end by themselves when they notice; what they hold is counted back there.
        requests.detach_all();
    }
}
