//! The web client: files compiled into the binary.
//!
//! Every shard of a deployment must carry the same build: a page from one may load its assets
//! through another.

use super::App;
use super::context::Verified;
use super::refusal::Refusal;
use axum::extract::{Extension, OriginalUri, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};
use std::fmt::Write as _;
use std::sync::Arc;

#[derive(RustEmbed)]
#[folder = "../web/dist"]
#[allow_missing = true]
struct Dist;

/// What the page may do. Scripts and styles come from us alone; signalling goes to any WebSocket,
/// because the sticky URL may be on another name than the page.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; connect-src 'self' ws: wss:; media-src 'self' blob: mediastream:; \
     img-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; base-uri 'none'; \
     form-action 'self'; frame-ancestors 'self'",
);
const PERMISSIONS: HeaderValue =
    HeaderValue::from_static("camera=(self), microphone=(self), display-capture=(self)");
const PERMISSIONS_POLICY: &str = "permissions-policy";
/// Names of assets carry a hash of their content.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");

const NOT_BUILT: &str = "Anteroom's web client is not part of this build.\n\
    Run `make web` and build again, or join with a LiveKit SDK at this address.\n";
const SWITCHED_OFF: &str = "This is Anteroom. Join with a LiveKit SDK at this address.\n";

/// `/` and `/{room}`: the same page, which reads the room from its address. Names at the top that
/// the gateway takes for files, such as `/favicon.ico`, come without a room.
pub(crate) async fn page(
    State(app): State<Arc<App>>,
    Extension(context): Extension<Verified>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let file = uri.path().trim_matches('/');
    if !app.web.enabled {
        // Clients look whether the base URL answers at all.
        return match file {
            "" => SWITCHED_OFF.into_response(),
            _ => Refusal::not_found("this deployment has no web client").into_response(),
        };
    }
    if context.room.is_none() && !file.is_empty() {
        return match Dist::get(file) {
            Some(file) => serve(&file, &headers, REVALIDATE),
            None => Refusal::not_found("no such file in the web client").into_response(),
        };
    }
    index(&headers)
}

/// `/settings/...`: the same page again; which of its own it shows says the address.
pub(crate) async fn settings(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    if !app.web.enabled {
        return Refusal::not_found("this deployment has no web client").into_response();
    }
    index(&headers)
}

fn index(headers: &HeaderMap) -> Response {
    match Dist::get("index.html") {
        Some(file) => {
            let mut response = serve(&file, headers, REVALIDATE);
            let answer = response.headers_mut();
            answer.insert(header::CONTENT_SECURITY_POLICY, POLICY);
            answer.insert(PERMISSIONS_POLICY, PERMISSIONS);
            response
        }
        None => NOT_BUILT.into_response(),
    }
}

/// `/assets/...`
pub(crate) async fn asset(
    State(app): State<Arc<App>>,
    Path(path): Path<String>,
    headers: HeaderMap,
) -> Response {
    let climbs = path.split('/').any(|part| part == "..");
    let file = if app.web.enabled && !climbs {
        Dist::get(&format!("assets/{path}"))
    } else {
        None
    };
    match file {
        Some(file) => serve(&file, &headers, IMMUTABLE),
        None => Refusal::not_found("no such file in the web client").into_response(),
    }
}

/// `GET /r/{room}`: the sticky URL of a room opened in a browser.
pub(crate) async fn redirect(OriginalUri(uri): OriginalUri) -> Response {
    let room = uri
        .path()
        .strip_prefix("/r/")
        .unwrap_or_default()
        .trim_end_matches('/');
    let query = uri
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    match HeaderValue::try_from(format!("/{room}{query}")) {
        Ok(target) => {
            (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, target)]).into_response()
        }
        Err(_) => Refusal::bad_request("the room in the path is unusable").into_response(),
    }
}

/// `HEAD /r/{room}`: clients look whether the base URL answers.
pub(crate) async fn alive() -> Response {
    Html("").into_response()
}

/// Texts are UTF-8, and a browser must not guess.
fn content_type(mime: &str) -> String {
    let charset = if mime.starts_with("text/") {
        "; charset=utf-8"
    } else {
        ""
    };
    format!("{mime}{charset}")
}

fn serve(file: &EmbeddedFile, request: &HeaderMap, caching: HeaderValue) -> Response {
    let tag = etag(file);
    let known = request
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.split(',').any(|known| known.trim() == tag));
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mime = HeaderValue::from_str(&content_type(file.metadata.mimetype()))
            .unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream"));
        ([(header::CONTENT_TYPE, mime)], file.data.to_vec()).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, caching);
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

fn etag(file: &EmbeddedFile) -> String {
    let mut tag = String::from("\"");
    for byte in file.metadata.sha256_hash().iter().take(12) {
        // Writing to a string cannot fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    tag
}
