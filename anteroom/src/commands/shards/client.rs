//! Talking to a gateway's admin listener.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// How long one answer may take: the gateway itself waits for the directory for a second.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer, bytes: a thousand shards with all they say.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A gateway's admin listener.
pub(super) struct AdminClient {
    base: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// A shard, as far as people are told of it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ShardEntry {
    pub(super) id: String,
    pub(super) url: String,
    pub(super) weight: u32,
    pub(super) state: String,
    pub(super) rooms: u32,
    pub(super) lease: Lease,
    #[serde(default)]
    pub(super) drain: Option<Drain>,
}

/// Its lease.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Lease {
    pub(super) alive: bool,
}

/// The order to empty it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Drain {
    pub(super) deadline_unix_ms: Option<u64>,
}

impl AdminClient {
    pub(super) fn new(base: &str) -> Self {
        Self {
            base: base.trim_end_matches('/').to_owned(),
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    /// `GET /v1/shards`, as it came.
    pub(super) async fn list(&self) -> anyhow::Result<Value> {
        self.ask("GET", "/v1/shards", String::new()).await
    }

    /// The shards, and how another gateway's list differs from this one's.
    pub(super) async fn shards(&self) -> anyhow::Result<(Vec<ShardEntry>, Option<String>)> {
        #[derive(Deserialize)]
        struct List {
            shards: Vec<ShardEntry>,
            #[serde(default)]
            topology_differs: Option<String>,
        }
        let list: List = serde_json::from_value(self.list().await?)
            .with_context(|| format!("{} is a gateway of another version", self.base))?;
        Ok((list.shards, list.topology_differs))
    }

    /// An order; returns the shard as it is then.
    pub(super) async fn order(&self, id: &str, what: &str, body: String) -> anyhow::Result<Value> {
        // What could not be an id would be another path.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if id.is_empty() || !id.bytes().all(plain) {
            bail!("'{id}' is no shard's id: `anteroom shards ls` lists them");
        }
        let path = format!("/v1/shards/{id}/{what}");
        self.ask("POST", &path, body).await
    }

    async fn ask(&self, method: &str, path: &str, body: String) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.base);
        let request = http::Request::builder()
            .method(method)
            .uri(&url)
            .body(Full::new(Bytes::from(body)))
            .with_context(|| {
                let base = &self.base;
                format!("--admin '{base}' is no address such as http://127.0.0.1:7890")
            })?;
        let exchange = async {
            let answer = self.client.request(request).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX);
            let body = body.collect().await.map_err(anyhow::Error::from_boxed)?;
            anyhow::Ok((status, body.to_bytes()))
        };
        let answered = tokio::time::timeout(TIMEOUT, exchange).await;
        let (status, body) = answered
            .unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within 5 s")))
            .with_context(|| {
                format!(
                    "cannot ask {}: give the gateway's `admin.listen` with --admin, on the \
                     gateway's machine or through SSH",
                    self.base
                )
            })?;
        let value: Option<Value> = serde_json::from_slice(&body).ok();
        if status.is_success() {
            return value.with_context(|| format!("{url} is no gateway's admin listener"));
        }
        match value.as_ref().and_then(|value| value["error"].as_str()) {
            Some(error) => bail!("{error}"),
            None => bail!("{url} answers {status}: is it a gateway's admin listener?"),
        }
    }
}
