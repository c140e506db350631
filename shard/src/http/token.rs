//! `POST /r/{room}/api/token`: a token for whoever asks, where the operator has switched that on.

use super::App;
use super::context::Verified;
use super::refusal::Refusal;
use crate::clock;
use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use proto::token::{Claims, VideoGrant};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Life of such a token, seconds. The signalling connection refreshes it long before.
const LIFETIME_S: u64 = 3600;
/// Longest display name, bytes.
const NAME_BYTES_MAX: usize = 128;
/// Longest identity, bytes.
const IDENTITY_BYTES_MAX: usize = 128;
/// What stays as it is in a path segment (RFC 3986 section 2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TokenRequest {
    name: String,
    identity: Option<String>,
}

#[derive(Serialize)]
struct TokenAnswer {
    token: String,
    /// Where to connect, relative to the page's origin.
    url: String,
    identity: String,
}

/// Mints a token for the room in the path.
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Extension(context): Extension<Verified>,
    body: Bytes,
) -> Result<Response, Refusal> {
    if !app.web.tokens {
        return Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "this deployment gives tokens to nobody: get one from the application, or set \
             shard.web.tokens",
        ));
    }
    let room = context
        .room
        .ok_or_else(|| Refusal::bad_request("the path names no room"))?;
    let request: TokenRequest = match body.is_empty() {
        true => TokenRequest::default(),
        false => serde_json::from_slice(&body).map_err(|error| {
            Refusal::bad_request(format!("the body is no JSON object: {error}"))
        })?,
    };
    let claims = claims(&app, room.as_str(), request)?;
    let token = app.keys.mint(&claims).map_err(|error| {
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("cannot sign a token: {error}"),
        )
    })?;
    let url = format!("/r/{}", utf8_percent_encode(room.as_str(), SEGMENT));
    let answer = TokenAnswer {
        token,
        url,
        identity: claims.sub,
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], axum::Json(answer)).into_response())
}

fn claims(app: &App, room: &str, request: TokenRequest) -> Result<Claims, Refusal> {
    let name = request.name.trim();
    if name.len() > NAME_BYTES_MAX {
        return Err(Refusal::bad_request(format!(
            "'name' has more than {NAME_BYTES_MAX} bytes"
        )));
    }
    let identity = request.identity.filter(|identity| !identity.is_empty());
    let identity = identity.unwrap_or_else(|| format!("guest-{:016x}", rand::random::<u64>()));
    if identity.len() > IDENTITY_BYTES_MAX || identity.chars().any(char::is_control) {
        return Err(Refusal::bad_request(format!(
            "'identity' must have 1 to {IDENTITY_BYTES_MAX} bytes and no control characters"
        )));
    }
    let key = app.keys.names().next().ok_or_else(|| {
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "no API key is configured: set `keys`",
        )
    })?;
    Ok(Claims {
        iss: key.to_owned(),
        sub: identity,
        exp: clock::unix_s() + LIFETIME_S,
        name: if name.is_empty() {
            "Guest".to_owned()
        } else {
            name.to_owned()
        },
        video: VideoGrant {
            room: room.to_owned(),
            room_join: true,
            can_update_own_metadata: Some(true),
            ..VideoGrant::default()
        },
        ..Claims::default()
    })
}
