//! The HTTP listener: accepts connections and serves them until told to stop.
//!
//! Owns: limits of a connection. Must not: know what is served.

use axum::Router;
use axum::extract::Request;
use axum::http::Request as HttpRequest;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::util::ServiceExt as _;

/// TCP connections at a time. Only gateways connect; each signalling connection needs one. Beyond:
/// the next ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 50_000;
/// Until the headers of a request are complete, counted from the end of the one before: it also ends
/// idle connections, so it is longer than a gateway keeps them.
const HEADER_TIMEOUT: Duration = Duration::from_secs(75);
/// Head of one request, bytes. Whatever the gateway lets in at its highest settings (512 KiB of
/// headers, 64 KiB of target) must pass here, and what it adds (its statement, the client's address):
/// else it would be refused where nobody has set a limit. The buffer starts small and grows.
const HEAD_BYTES_MAX: u32 = (512 + 64 + 16) * 1024;
/// Headers of one request: the gateway's highest setting is 256, and it adds a few.
const HEADERS_MAX: usize = 300;
/// HTTP/2 streams per connection.
const STREAMS_MAX: u32 = 10_000;
/// Wait after a failed accept (no file descriptors left): nothing else helps.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` on `listener` until `stop`; connections then end with their present request.
pub(crate) async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accept = async {
            let slot = Arc::clone(&slots).acquire_owned().await.ok()?;
            Some((slot, listener.accept().await))
        };
        let accepted = tokio::select! {
            accepted = accept => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Some((slot, Ok((stream, _)))) => {
                let (router, stop) = (router.clone(), stop.clone());
                tokio::spawn(async move {
                    serve_connection(stream, router, stop).await;
                    drop(slot);
                });
            }
            Some((_, Err(error))) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            None => return,
        }
    }
}

async fn serve_connection(stream: TcpStream, router: Router, stop: CancellationToken) {
    // Signalling is small messages: waiting to fill a segment would only delay them.
    let _ = stream.set_nodelay(true);
    let service = router.map_request(|request: HttpRequest<Incoming>| {
        crate::http::collapse_leading_slashes(request.map(axum::body::Body::new)) as Request
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(usize::try_from(HEAD_BYTES_MAX).unwrap_or(usize::MAX));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD_BYTES_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(Some(Duration::from_secs(20)))
        .enable_connect_protocol();
    let service = TowerToHyperService::new(service);
    let mut connection =
        pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "connection ended");
    }
}
