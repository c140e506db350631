//! The opening handshake of a WebSocket: RFC 6455 section 4.2 over HTTP/1.1, RFC 8441 over HTTP/2.
//!
//! Done here and not by axum's extractor, because the session needs the connection itself: a close
//! frame in answer to an oversized message only arrives if the rest of that message is read away.

use super::refusal::Refusal;
use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The WebSocket version that exists (RFC 6455 section 4.4).
const VERSION: HeaderValue = HeaderValue::from_static("13");

/// An acceptable handshake.
pub(crate) struct Upgrade {
    /// The connection, once the answer is out.
    pub(crate) connection: OnUpgrade,
    /// The answer that accepts.
    pub(crate) response: Response,
}

/// Why there is no WebSocket.
pub(crate) enum UpgradeRefusal {
    /// The request is no handshake at all.
    NoUpgrade,
    /// It is a wrong one.
    Bad(Box<Response>),
}

impl Upgrade {
    /// Reads the handshake. Nothing is promised to the client yet.
    pub(crate) fn from_parts(parts: &mut Parts) -> Result<Self, UpgradeRefusal> {
        let response = if parts.version < Version::HTTP_2 {
            http1_response(parts)?
        } else {
            http2_response(parts)?
        };
        match parts.extensions.remove::<OnUpgrade>() {
            Some(connection) => Ok(Self {
                connection,
                response,
            }),
            None => Err(UpgradeRefusal::NoUpgrade),
        }
    }
}

fn http1_response(parts: &Parts) -> Result<Response, UpgradeRefusal> {
    let headers = &parts.headers;
    let wanted = parts.method == Method::GET
        && has_token(headers, &header::CONNECTION, "upgrade")
        && has_token(headers, &header::UPGRADE, "websocket");
    if !wanted {
        return Err(UpgradeRefusal::NoUpgrade);
    }
    check_version(headers)?;
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY) else {
        let refusal = Refusal::bad_request("the header Sec-WebSocket-Key is missing");
        return Err(UpgradeRefusal::Bad(Box::new(refusal.into_response())));
    };
    let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes()))
        .unwrap_or_else(|_| HeaderValue::from_static(""));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    answer.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    answer.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

fn http2_response(parts: &Parts) -> Result<Response, UpgradeRefusal> {
    let protocol = parts.extensions.get::<Protocol>().map(Protocol::as_str);
    if parts.method != Method::CONNECT || protocol != Some("websocket") {
        return Err(UpgradeRefusal::NoUpgrade);
    }
    check_version(&parts.headers)?;
    Ok(Response::new(Body::empty()))
}

fn check_version(headers: &HeaderMap) -> Result<(), UpgradeRefusal> {
    if headers.get(header::SEC_WEBSOCKET_VERSION) == Some(&VERSION) {
        return Ok(());
    }
    let mut response = Refusal::new(
        StatusCode::UPGRADE_REQUIRED,
        "WebSocket version 13 is needed",
    )
    .into_response();
    response
        .headers_mut()
        .insert(header::SEC_WEBSOCKET_VERSION, VERSION);
    Err(UpgradeRefusal::Bad(Box::new(response)))
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().eq_ignore_ascii_case(token))
}
