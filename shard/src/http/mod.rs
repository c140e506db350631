//! The shard's HTTP surface: what the gateway forwards to us.
//!
//! Owns: routes, what every handler shares ([`App`]), headers of every answer. Must not: decide
//! anything about rooms.

mod admit;
mod context;
mod join;
mod params;
mod peer;
mod query;
mod refusal;
mod rooms;
mod token;
mod upgrade;
mod watch;
mod web;
mod whip;

pub(crate) use params::JoinParams;
pub(crate) use query::Query;

use crate::config::WebConfig;
use crate::driver::Input;
use crate::ownership::Owner;
use crate::peers;
use crate::whip::Registry;
use affinity::RoomCase;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderValue, Uri, header, uri::PathAndQuery};
use axum::response::Response;
use axum::routing::{any, delete, get, post};
use proto::context::ClusterKey;
use proto::token::ApiKeys;
use refusal::Refusal;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

/// Largest request body, bytes: the token endpoint's JSON. Beyond: 413.
const BODY_BYTES_MAX: usize = 8 * 1024;

/// What the handlers share.
pub(crate) struct App {
    pub(crate) shard: String,
    pub(crate) keys: ApiKeys,
    pub(crate) cluster: ClusterKey,
    pub(crate) rooms: RoomCase,
    pub(crate) web: WebConfig,
    pub(crate) owner: Owner,
    pub(crate) inputs: mpsc::Sender<Input>,
    /// Told when a node can take participants.
    pub(crate) node_attached: Arc<Notify>,
    /// One permit per signalling connection, from before the upgrade until its end.
    pub(crate) permits: Arc<Semaphore>,
    /// As `permits`, given back as soon as the client has been told that the connection ends.
    pub(crate) untold: Arc<Semaphore>,
    pub(crate) next_session: AtomicU64,
    /// Sessions without a WebSocket.
    pub(crate) resources: Registry,
    /// No further joins.
    pub(crate) stopping: CancellationToken,
}

/// All routes of a shard.
pub(crate) fn router(app: Arc<App>) -> Router {
    let signalling = || {
        Router::new()
            .route("/rtc/v1", any(join::single))
            .route("/rtc", any(join::dual))
            .route("/rtc/v1/validate", get(join::validate))
            .route("/rtc/validate", get(join::validate))
    };
    let room = signalling()
        .route("/", get(web::redirect).head(web::alive))
        .merge(resources("/whip", "/whep"))
        .route("/watch", get(watch::page))
        .route("/watch.js", get(watch::script))
        .route("/api/token", post(token::create));
    let guard = axum::middleware::from_fn_with_state(Arc::clone(&app), context::require);
    Router::new()
        .merge(signalling())
        .merge(resources("/whip/v1", "/whep/v1"))
        .nest("/r/{room}", room)
        .route("/r/{room}/", get(web::redirect).head(web::alive))
        .route("/internal/rooms", get(rooms::list))
        .route(
            peers::PATH,
            post(peer::answer).layer(DefaultBodyLimit::max(peers::MESSAGE_BYTES_MAX)),
        )
        .route("/assets/{*path}", get(web::asset))
        .route("/settings/connection", get(web::settings))
        .route("/", get(web::page))
        .route("/{room}", get(web::page))
        .route("/{room}/", get(web::page))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(guard)
        .layer(axum::middleware::map_response(finish))
        .with_state(app)
}

/// Endpoints of WHIP and WHEP at these paths, and their sessions below.
fn resources(whip: &str, whep: &str) -> Router<Arc<App>> {
    let mut router = Router::new();
    for slash in ["", "/"] {
        let whip_endpoint = post(whip::publish).fallback(whip::endpoint_method);
        let whep_endpoint = post(whip::watch).fallback(whip::endpoint_method);
        router = router
            .route(&format!("{whip}{slash}"), whip_endpoint)
            .route(&format!("{whep}{slash}"), whep_endpoint);
    }
    let publisher = delete(whip::end_publisher).patch(whip::patch_publisher);
    let viewer = delete(whip::end_viewer).patch(whip::patch_viewer);
    router
        .route(
            &format!("{whip}/{{session}}"),
            publisher.fallback(whip::session_method),
        )
        .route(
            &format!("{whep}/{{session}}"),
            viewer.fallback(whip::session_method),
        )
}

async fn not_found() -> Refusal {
    Refusal::not_found(
        "not found: a shard answers /rtc/v1, /rtc, their validate, /whip, /whep, and pages",
    )
}

async fn wrong_method() -> Refusal {
    Refusal::new(
        axum::http::StatusCode::METHOD_NOT_ALLOWED,
        "this path takes another method",
    )
}

/// Headers of every answer.
async fn finish(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    // The token stands in the query of some requests.
    let referrer = HeaderValue::from_static("no-referrer");
    headers.insert(header::REFERRER_POLICY, referrer);
    response
}

/// Some clients append `/rtc` to a URL that ends with a slash: `//rtc` means `/rtc`. Runs before the
/// routes are looked up.
pub(crate) fn collapse_leading_slashes<B>(mut request: Request<B>) -> Request<B> {
    if let Some(target) = request.uri().path_and_query().map(PathAndQuery::as_str)
        && target.starts_with("//")
    {
        let collapsed = format!("/{}", target.trim_start_matches('/'));
        let mut parts = request.uri().clone().into_parts();
        if let Ok(target) = PathAndQuery::try_from(collapsed) {
            parts.path_and_query = Some(target);
        }
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_slashes_collapse_and_the_rest_of_the_target_stays() {
        let collapse = |uri: &str| {
            let mut request = Request::new(());
            *request.uri_mut() = uri.parse().unwrap();
            collapse_leading_slashes(request).uri().to_string()
        };
        assert_eq!(collapse("///rtc/v1?a=//b"), "/rtc/v1?a=//b");
        assert_eq!(collapse("/rtc//v1"), "/rtc//v1");
        assert_eq!(collapse("//"), "/");
    }
}
