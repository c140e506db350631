//! An answer that says no: status, cause, and what to do about it.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use proto::context::OWNER_HEADER;
use proto::token::TokenError;

/// Seconds after which a client may come again.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("1");

/// Why a request was refused; the text goes to the client.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
    /// Who owns the room, if that is the cause.
    owner: Option<String>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
            owner: None,
        }
    }

    pub(crate) fn bad_request(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    pub(crate) fn not_found(text: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }

    pub(crate) fn unavailable(text: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, text)
    }

    /// 421: the gateway asks the named shard instead.
    pub(crate) fn owned_by(shard: &str) -> Self {
        Self {
            status: StatusCode::MISDIRECTED_REQUEST,
            text: format!("shard {shard} owns this room"),
            owner: Some(shard.to_owned()),
        }
    }
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        let status = match error {
            TokenError::Identity => StatusCode::BAD_REQUEST,
            _ => StatusCode::UNAUTHORIZED,
        };
        Self::new(status, error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.text).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER_S);
        }
        if let Some(owner) = self
            .owner
            .and_then(|owner| HeaderValue::try_from(owner).ok())
        {
            headers.insert(OWNER_HEADER, owner);
        }
        response
    }
}
