//! The guard in front of every route: only the gateway speaks to a shard.

use super::App;
use super::refusal::Refusal;
use super::whip;
use crate::clock;
use affinity::RoomKey;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use observe::{TRACE_HEADER, Traceparent};
use proto::context::{CONTEXT_HEADER, ContextError, RoomContext};
use std::sync::Arc;
use std::time::Instant;

/// What the gateway found out, checked.
#[derive(Clone, Debug)]
pub(crate) struct Verified {
    /// The room that the request belongs to, if any.
    pub(crate) room: Option<RoomKey>,
    /// The directory life that the gateway uses.
    pub(crate) directory: u64,
    /// Client address, for the log and for `ClientInfo`.
    pub(crate) client: String,
    /// The trace of which the request is a part.
    pub(crate) trace: Option<Traceparent>,
}

/// How long browsers may remember the answer to a preflight, seconds.
const PREFLIGHT_MAX_AGE_S: HeaderValue = HeaderValue::from_static("86400");

/// Lets a request through if the gateway's signed statement is genuine and meant for us.
pub(crate) async fn require(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let asked = Instant::now();
    let kind = kind_of(request.uri().path());
    let shared = is_for_every_origin(request.uri().path());
    let mut response = match verify(&app, &request) {
        Ok(verified) => {
            request.headers_mut().remove(CONTEXT_HEADER);
            request.extensions_mut().insert(verified);
            if request.method() == Method::OPTIONS {
                preflight(request.uri().path())
            } else {
                next.run(request).await
            }
        }
        Err(refusal) => refusal.into_response(),
    };
    if shared {
        let any = HeaderValue::from_static("*");
        response
            .headers_mut()
            .insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, any);
    }
    let figures = app.owner.figures();
    figures.took_as(
        "anteroom_shard_request_seconds",
        "kind",
        kind,
        asked.elapsed(),
    );
    response
}

/// What is asked for, for the metrics.
fn kind_of(path: &str) -> &'static str {
    if path.starts_with("/internal/") {
        "internal"
    } else if path.ends_with("/api/token") {
        "token"
    } else if path.ends_with("/validate") {
        "validate"
    } else if path.ends_with("/rtc") || path.ends_with("/rtc/v1") {
        "join"
    } else if path.split('/').any(|segment| segment == "whip") {
        "whip"
    } else if path.split('/').any(|segment| segment == "whep") {
        "whep"
    } else {
        "page"
    }
}

/// The client SDKs run on foreign origins and must read answers and errors; a token stands in their
/// requests. What gives something to whoever asks is for our own pages only: otherwise every page on
/// the Internet could take a token from an Anteroom that its visitor runs on loopback.
fn is_for_every_origin(path: &str) -> bool {
    !path.contains("/api/") && !path.starts_with("/internal/")
}

fn verify(app: &App, request: &Request) -> Result<Verified, Refusal> {
    let context = context(app, request.headers())?;
    let room = match &context.room {
        None => None,
        Some(name) => Some(RoomKey::from_claim(name, app.rooms).map_err(|error| {
            Refusal::bad_request(format!("the gateway's room name is unusable: {error}"))
        })?),
    };
    if let Some(raw) = room_segment(request.uri().path()) {
        let named = RoomKey::from_path_segment(raw, app.rooms)
            .map_err(|error| Refusal::bad_request(error.to_string()))?;
        if room.as_ref() != Some(&named) {
            return Err(Refusal::bad_request(
                "the room in the path is not the one the gateway routed by: check `rooms.case` of both",
            ));
        }
    }
    Ok(Verified {
        room,
        directory: context.directory,
        client: context.client,
        trace: trace(request.headers()),
    })
}

/// The gateway drops what clients say of it, and nobody else comes this far.
fn trace(headers: &HeaderMap) -> Option<Traceparent> {
    Traceparent::parse(headers.get(TRACE_HEADER)?.to_str().ok()?)
}

fn context(app: &App, headers: &HeaderMap) -> Result<RoomContext, Refusal> {
    let forbidden = |cause: String| {
        Refusal::new(
            StatusCode::FORBIDDEN,
            format!("this is a shard: connect through the gateway ({cause})"),
        )
    };
    let mut values = headers
        .get_all(HeaderName::from_static(CONTEXT_HEADER))
        .iter();
    let text = values
        .next()
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| forbidden(format!("no {CONTEXT_HEADER} header")))?;
    if values.next().is_some() {
        return Err(forbidden(format!("more than one {CONTEXT_HEADER} header")));
    }
    let context: RoomContext = app
        .cluster
        .verify(text, clock::unix_ms())
        .map_err(|error| match error {
            // Ours, but for the time. To clients 403 is for ever: a clock is put right.
            ContextError::Expired => {
                Refusal::unavailable(format!("{CONTEXT_HEADER} is {error}: check their time"))
            }
            _ => forbidden(format!("{CONTEXT_HEADER} is {error}")),
        })?;
    if context.shard != app.shard {
        return Err(forbidden(format!(
            "the request is meant for shard {}, this is {}: check the gateway's list of shards",
            context.shard, app.shard
        )));
    }
    Ok(context)
}

/// The raw room of `/r/{room}` and below.
fn room_segment(path: &str) -> Option<&str> {
    path.strip_prefix("/r/")?.split('/').next()
}

fn preflight(path: &str) -> Response {
    let headers = [
        (
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET, HEAD, POST, PATCH, DELETE, OPTIONS"),
        ),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static("authorization, content-type, if-match, *"),
        ),
        (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_MAX_AGE_S),
    ];
    let mut response = (StatusCode::NO_CONTENT, headers).into_response();
    if whip::accepts_offers(path) {
        let sdp = HeaderValue::from_static("application/sdp");
        response.headers_mut().insert("accept-post", sdp);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::room_segment;

    #[test]
    fn the_room_segment_is_taken_raw_from_sticky_paths_only() {
        assert_eq!(room_segment("/r/a%20b/rtc/v1"), Some("a%20b"));
        assert_eq!(room_segment("/r/a"), Some("a"));
        assert_eq!(room_segment("/r/"), Some(""));
        assert_eq!(room_segment("/rtc/v1"), None);
    }
}
