//! What shards say to each other: one request and one answer, over HTTP to the other's `listen`.
//!
//! Owns: the vocabulary, its limits, and the client. Each request carries a statement signed with the
//! cluster secret that names the asked shard and the asking one. Must not: decide anything.

use crate::clock;
use crate::core::LateSignal;
use crate::core::limits::ROOM_STATE_BYTES_MAX;
use affinity::directory::{Epoch, Life};
use affinity::ownership::{Keep, Kept};
use affinity::{RoomKey, ShardId};
use axum::http::{Method, Request, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use proto::context::{CONTEXT_HEADER, CONTEXT_LIFETIME_MS, ClusterKey, RoomContext};
use proto::id::ParticipantSid;
use proto::media::{CarriedData, CarriedMedia};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use thiserror::Error;

/// Where shards listen for each other.
pub(crate) const PATH: &str = "/internal/peer";
/// Longest message: a room's state as text in JSON, and some room around it.
pub(crate) const MESSAGE_BYTES_MAX: usize = 2 * ROOM_STATE_BYTES_MAX + 64 * 1024;
/// What the asking shard calls itself begins with this; a gateway puts a client's address there.
pub(crate) const PEER_PREFIX: &str = "shard/";

/// The asking shard's lease ends soon: two tries must fit.
const KEEP_TIMEOUT: Duration = Duration::from_millis(600);
/// The room stands still meanwhile.
const OFFER_TIMEOUT: Duration = Duration::from_secs(2);
/// The clients come anyway; this only brings what was said late.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(3);
/// A client waits, and what was exported would do.
const PULL_TIMEOUT: Duration = Duration::from_millis(500);

/// What one shard asks of another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum PeerRequest {
    /// Relay my renewal, or promise to claim nothing. Answer: `Kept`.
    Keep(Keep),
    /// I would like to hand this room over. Answers: `Yes`, `No`. A yes is for 10 s.
    Offer {
        /// My claim.
        epoch: Epoch,
        /// [`crate::core::RoomState`] in JSON.
        state: String,
    },
    /// I have changed my mind. Answer: `Yes`.
    Withdraw { room: RoomKey, epoch: Epoch },
    /// The directory says that the room is yours. Answers: `Yes`, `No`.
    Commit {
        room: RoomKey,
        /// What my claim was.
        epoch: Epoch,
        /// What was said since the state was written.
        late: Vec<LateSignal>,
    },
    /// This participant has arrived: what do you know of its media? Answers: `Pulled`, `No`.
    Pull {
        room: RoomKey,
        participant: ParticipantSid,
    },
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum PeerReply {
    Kept(Kept),
    Yes,
    No {
        reason: String,
    },
    Pulled {
        media: Option<Box<CarriedMedia>>,
        data: Vec<CarriedData>,
    },
}

/// No answer. What the other shard did is unknown.
#[derive(Debug, Error)]
pub(crate) enum PeerError {
    #[error("shard {shard} at {url}: {cause}")]
    Unreachable {
        shard: ShardId,
        url: String,
        cause: String,
    },
    #[error("shard {shard} answers {status}: {text}")]
    Refused {
        shard: ShardId,
        status: u16,
        text: String,
    },
    #[error("shard {shard} answers in words unknown here: run the same release everywhere")]
    Malformed { shard: ShardId },
}

/// Asks other shards; cheap to clone.
#[derive(Clone)]
pub(crate) struct Peers {
    name: String,
    cluster: ClusterKey,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Peers {
    pub(crate) fn new(shard: &str, cluster: ClusterKey) -> Self {
        Self {
            name: format!("{PEER_PREFIX}{shard}"),
            cluster,
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    pub(crate) async fn keep(
        &self,
        shard: &ShardId,
        url: &str,
        keep: Keep,
    ) -> Result<Kept, PeerError> {
        match self
            .ask(shard, url, &PeerRequest::Keep(keep), KEEP_TIMEOUT)
            .await?
        {
            PeerReply::Kept(kept) => Ok(kept),
            _ => Ok(Kept::No),
        }
    }

    /// Asks `life`.
    pub(crate) async fn tell(
        &self,
        life: &Life,
        request: &PeerRequest,
    ) -> Result<PeerReply, PeerError> {
        let limit = match request {
            PeerRequest::Keep(_) => KEEP_TIMEOUT,
            PeerRequest::Offer { .. } | PeerRequest::Withdraw { .. } => OFFER_TIMEOUT,
            PeerRequest::Commit { .. } => COMMIT_TIMEOUT,
            PeerRequest::Pull { .. } => PULL_TIMEOUT,
        };
        self.ask(&life.shard, &life.url, request, limit).await
    }

    async fn ask(
        &self,
        shard: &ShardId,
        url: &str,
        request: &PeerRequest,
        limit: Duration,
    ) -> Result<PeerReply, PeerError> {
        let unreachable = |cause: String| PeerError::Unreachable {
            shard: shard.clone(),
            url: url.to_owned(),
            cause,
        };
        let exchange = self.exchange(shard, url, request);
        let answer = tokio::time::timeout(limit, exchange).await;
        let (status, body) = answer
            .map_err(|_| unreachable("no answer in time".to_owned()))?
            .map_err(unreachable)?;
        if status != 200 {
            let text = String::from_utf8_lossy(&body).chars().take(200).collect();
            return Err(PeerError::Refused {
                shard: shard.clone(),
                status,
                text,
            });
        }
        serde_json::from_slice(&body).map_err(|_| PeerError::Malformed {
            shard: shard.clone(),
        })
    }

    async fn exchange(
        &self,
        shard: &ShardId,
        url: &str,
        request: &PeerRequest,
    ) -> Result<(u16, Bytes), String> {
        let context = RoomContext {
            room: None,
            shard: shard.as_str().to_owned(),
            directory: 0,
            generation: 0,
            client: self.name.clone(),
            expires_ms: clock::unix_ms().saturating_add(CONTEXT_LIFETIME_MS),
        };
        let body = serde_json::to_vec(request).map_err(|error| error.to_string())?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{PATH}", url.trim_end_matches('/')))
            .header(CONTEXT_HEADER, self.cluster.sign(&context))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| error.to_string())?;
        let answer = self.client.request(request).await;
        let answer = answer.map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), MESSAGE_BYTES_MAX);
        let body = body.collect().await.map_err(|error| error.to_string())?;
        Ok((status, body.to_bytes()))
    }
}
