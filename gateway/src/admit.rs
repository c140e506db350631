//! From a request's head to the shard that gets it, or to a refusal.
//!
//! Waits for nothing. Where a room was last seen wins over the ring.

use crate::directory::Lookout;
use crate::routing::{is_cross_origin, split};
use crate::snapshot::Snapshot;
use affinity::{Headers, Refusal, RequestView, RoomKey, ShardId};
use http::{HeaderValue, Method, header};
use pingora::http::RequestHeader;
use proto::context::ROOM_HEADER;

/// Headers that must not come twice: the shard might believe the other one.
const SINGLE_HEADERS: [&str; 3] = [ROOM_HEADER, "authorization", "host"];

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum Admission {
    /// It goes to a shard.
    Forward(Target),
    /// A browser asks whether a script of another origin may ask.
    Preflight,
}

/// Where a request goes, and why.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) room: Option<RoomKey>,
    pub(crate) shard: ShardId,
    pub(crate) rule: String,
    /// Where the ring would place it.
    pub(crate) candidate: ShardId,
    /// The room was seen there; else the ring has chosen it.
    pub(crate) hinted: bool,
}

/// How a request wants to become a WebSocket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Upgrade {
    /// It does not.
    #[default]
    None,
    /// HTTP/1.1 `Upgrade` (RFC 6455).
    Http1,
    /// HTTP/2 extended CONNECT (RFC 8441).
    Http2,
}

struct Fields<'a>(&'a RequestHeader);

impl Headers for Fields<'_> {
    fn header(&self, name: &str) -> Option<&[u8]> {
        self.0.headers.get(name).map(HeaderValue::as_bytes)
    }
}

/// Path and query of a request, without scheme and host, with leading slashes collapsed: the form
/// that is routed on and forwarded. `None` if it is no text.
pub(crate) fn target_of(request: &RequestHeader) -> Option<String> {
    if !request.raw_path_is_utf8() {
        return None;
    }
    let target = request.uri.path_and_query()?.as_str();
    let (path, _) = split(target);
    let (_, query) = target.split_once('?').unwrap_or((target, ""));
    Some(if target.contains('?') {
        format!("{path}?{query}")
    } else {
        path.to_owned()
    })
}

pub(crate) fn upgrade_of(request: &RequestHeader) -> Result<Upgrade, Refusal> {
    if request.method == Method::CONNECT {
        let protocol = request.extensions.get::<h2::ext::Protocol>();
        return match protocol.map(h2::ext::Protocol::as_str) {
            Some("websocket") => Ok(Upgrade::Http2),
            _ => refused(405, "CONNECT is taken for WebSockets over HTTP/2 only"),
        };
    }
    Ok(if asks_for_websocket(request) {
        Upgrade::Http1
    } else {
        Upgrade::None
    })
}

/// Whether it is the GET of RFC 6455 section 4.1. Any other upgrade is ignored, which a server may
/// always do (RFC 9110 section 7.8).
fn asks_for_websocket(request: &RequestHeader) -> bool {
    let headers = &request.headers;
    let has_body = headers.contains_key(header::TRANSFER_ENCODING)
        || headers
            .get_all(header::CONTENT_LENGTH)
            .iter()
            .any(|length| length.as_bytes() != b"0");
    let is_websocket = |value: &HeaderValue| {
        let mut tokens = value.as_bytes().split(|byte| *byte == b',');
        tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(b"websocket"))
    };
    request.version == http::Version::HTTP_11
        && request.method == Method::GET
        && !has_body
        && headers.get_all(header::UPGRADE).iter().any(is_websocket)
}

/// Decides about one request. `target` is [`target_of`] it.
pub(crate) fn admit(
    request: &RequestHeader,
    target: &str,
    upgrade: Upgrade,
    snapshot: &Snapshot,
    lookout: &Lookout,
    now_s: u64,
) -> Result<Admission, Refusal> {
    let config = snapshot.config();
    if target.len() > config.target_bytes_max {
        return refused(414, "the request target is too long");
    }
    if request.headers.len() > config.headers_max {
        return refused(431, "too many header fields");
    }
    for name in SINGLE_HEADERS {
        if request.headers.get_all(name).iter().nth(1).is_some() {
            return refused(400, &format!("header `{name}` is given more than once"));
        }
    }
    if request.method == Method::OPTIONS && is_cross_origin(split(target).0) {
        return Ok(Admission::Preflight);
    }
    let headers = Fields(request);
    let view = RequestView {
        // An extended CONNECT is the GET of HTTP/1.1 in other clothes.
        method: if upgrade == Upgrade::Http2 {
            "GET"
        } else {
            request.method.as_str()
        },
        target,
        headers: &headers,
        body: None,
    };
    let decision = snapshot.routing.route(&view, now_s)?;
    let known = decision.room.as_ref().and_then(|room| lookout.hint(room));
    let target = match known.filter(|shard| snapshot.upstreams.contains_key(shard)) {
        Some(shard) => Target {
            rule: format!("{}; last seen on {shard}", decision.rule),
            room: decision.room,
            candidate: decision.candidate,
            shard,
            hinted: true,
        },
        None => Target {
            room: decision.room,
            shard: decision.candidate.clone(),
            candidate: decision.candidate,
            rule: decision.rule,
            hinted: false,
        },
    };
    if !snapshot.upstreams.contains_key(&target.shard) {
        let reason = format!("shard {} is not in this gateway's topology", target.shard);
        return refused(503, &reason);
    }
    Ok(Admission::Forward(target))
}

fn refused<T>(status: u16, reason: &str) -> Result<T, Refusal> {
    Err(Refusal {
        status,
        reason: reason.to_owned(),
    })
}
