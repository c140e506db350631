//! The admin listener: health, metrics, and what the roles of this process add.

use crate::metrics::Metrics;
use crate::telemetry;
use anyhow::Context as _;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use std::net::{IpAddr, SocketAddr};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Binds the admin listener, where one is wanted, and serves it in a task of its own.
pub(crate) async fn spawn(
    address: Option<SocketAddr>,
    role: Router,
    metrics: Metrics,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    tokio::spawn(telemetry::upkeep(metrics.clone()));
    let Some(address) = address else {
        return Ok(());
    };
    let listener = bind(address).await?;
    tracing::info!(%address, "admin listens");
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        if let Err(error) = serve(listener, role, metrics, shutdown).await {
            tracing::error!("admin listener ended: {error:#}");
        }
    });
    Ok(())
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} (admin)"))
}

/// Serves until `shutdown`. `role` brings `/readyz` and `/v1/...`.
async fn serve(
    listener: TcpListener,
    role: Router,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let common = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/metrics", get(render_metrics))
        .with_state(metrics);
    let router = common
        .merge(role)
        .layer(middleware::from_fn(refuse_foreign_host));
    axum::serve(listener, router)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
        .context("admin listener")
}

/// `/readyz`: 200 while `state` says yes, else 503 with its words.
pub(crate) fn ready_when<F>(state: F) -> Router
where
    F: Fn() -> Result<(), String> + Clone + Send + Sync + 'static,
{
    let answer = move || async move {
        match state() {
            Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
            Err(cause) => (StatusCode::SERVICE_UNAVAILABLE, format!("{cause}\n")),
        }
    };
    Router::new().route("/readyz", get(answer))
}

async fn render_metrics(State(metrics): State<Metrics>) -> Response {
    let content_type = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    match tokio::task::spawn_blocking(move || metrics.render()).await {
        Ok(text) => (content_type, text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// A web page of another origin can make a browser call loopback. Its `Host` then names that origin
/// (DNS rebinding), or its `Origin` does: both are refused.
async fn refuse_foreign_host(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host_is_local = headers
        .get(header::HOST)
        .is_none_or(|host| host.to_str().is_ok_and(is_local_authority));
    if !host_is_local || headers.contains_key(header::ORIGIN) {
        let reason = "the admin API answers only to local tools, not to web pages\n";
        return (StatusCode::FORBIDDEN, reason).into_response();
    }
    next.run(request).await
}

fn is_local_authority(authority: &str) -> bool {
    let Ok(authority) = authority.parse::<axum::http::uri::Authority>() else {
        return false;
    };
    let host = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::is_local_authority;

    #[test]
    fn only_addresses_and_localhost_are_local_hosts() {
        for local in ["127.0.0.1:7890", "localhost:7890", "[::1]:7890", "10.0.0.1"] {
            assert!(is_local_authority(local), "{local}");
        }
        for foreign in ["rebound.example:7890", "127.0.0.1.example", ""] {
            assert!(!is_local_authority(foreign), "{foreign}");
        }
    }
}
