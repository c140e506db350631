//! `/r/{room}/watch`: a page that watches over WHEP. Two small files, without a build.

use super::App;
use super::refusal::Refusal;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

const PAGE: &str = include_str!("watch.html");
const SCRIPT: &str = include_str!("watch.js");
/// Nothing but our own script, which talks to us alone.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; connect-src 'self'; media-src 'self' blob: mediastream:; \
     base-uri 'none'; frame-ancestors *",
);

/// The page.
pub(crate) async fn page(State(app): State<Arc<App>>) -> Response {
    file(&app, PAGE, "text/html; charset=utf-8")
}

/// Its script.
pub(crate) async fn script(State(app): State<Arc<App>>) -> Response {
    file(&app, SCRIPT, "text/javascript; charset=utf-8")
}

fn file(app: &App, text: &'static str, media_type: &'static str) -> Response {
    if !app.web.enabled {
        return Refusal::not_found("this deployment has no web client").into_response();
    }
    let headers: [(HeaderName, HeaderValue); 3] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ];
    (headers, text).into_response()
}
