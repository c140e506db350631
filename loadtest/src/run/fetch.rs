//! Gets metrics over plain HTTP.

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::time::Duration;

/// Where `anteroom up` has its metrics.
pub(super) const DEFAULT_METRICS: &str = "http://127.0.0.1:7890/metrics";
/// How long a server may take to tell its metrics.
const WITHIN: Duration = Duration::from_secs(2);
/// Metrics of one server at most, bytes. Beyond: they are refused.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A client that keeps its connections.
#[derive(Clone)]
pub(super) struct Fetcher(Client<HttpConnector, Empty<hyper::body::Bytes>>);

impl Fetcher {
    pub(super) fn new() -> Self {
        Self(Client::builder(TokioExecutor::new()).build_http())
    }

    /// The body, or why there is none.
    pub(super) async fn get(&self, url: &str) -> Result<String, String> {
        let within = tokio::time::timeout(WITHIN, self.fetch(url)).await;
        within.unwrap_or_else(|_| Err(format!("no answer in {} s", WITHIN.as_secs())))
    }

    async fn fetch(&self, url: &str) -> Result<String, String> {
        let uri = url.parse().map_err(|_| "the URL is malformed".to_owned())?;
        let answer = self.0.get(uri).await.map_err(|error| with_source(&error))?;
        let status = answer.status();
        if !status.is_success() {
            return Err(format!("status {}", status.as_u16()));
        }
        let body = Limited::new(answer.into_body(), BODY_BYTES_MAX)
            .collect()
            .await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        String::from_utf8(body.into()).map_err(|_| "it is no text".to_owned())
    }
}

/// Refuses what cannot be fetched.
pub(super) fn check(url: &str) -> Result<(), String> {
    let uri: Option<hyper::Uri> = url.parse().ok();
    let good = uri.is_some_and(|uri| uri.scheme_str() == Some("http") && uri.authority().is_some());
    if good {
        return Ok(());
    }
    Err(format!(
        "'{url}' is no URL of metrics: give one such as {DEFAULT_METRICS} (http:// only)"
    ))
}

fn with_source(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
