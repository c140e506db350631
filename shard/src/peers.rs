//! What shards say to each other: one request and one answer, over HTTP to the other's `listen`.
//!
//! Owns: the vocabulary, its limits, and the client. Each request carries a statement signed with the
//! cluster secret that names the asked shard and the asking one. Must not: decide anything.
//!
//! A room of hundreds that resumes at once is as many questions: they share one HTTP/2 connection to
//! each shard. Questions about our own life have connections of their own, so that no room delays them.

pub(crate) mod wire;

use crate::clock;
use crate::core::limits::ROOM_STATE_BYTES_MAX;
use crate::core::{LateSignal, RoomState};
use affinity::directory::{Epoch, Life};
use affinity::ownership::{Keep, Kept};
use affinity::{RoomKey, ShardId};
use axum::http::{Method, Request, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use proto::context::{CONTEXT_HEADER, CONTEXT_LIFETIME_MS, ClusterKey, RoomContext};
use proto::id::ParticipantSid;
use proto::media::{CarriedData, CarriedMedia};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::Semaphore;

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
/// The old shard keeps what is asked for as long: see [`crate::core::TAIL_MAX`]. Whoever waits for it
/// goes on earlier.
const PULL_LATE_MAX: Duration = Duration::from_secs(5);
/// Questions to one shard that are not answered yet; further ones wait, within their time. A full room
/// asks one or two for each participant.
const ASKED_AT_ONCE: usize = 512;
/// Shards that are asked. Beyond, the counts of all are begun anew.
const SHARDS_MAX: usize = 1024;
/// An idle connection to another shard is closed after this.
const IDLE_MAX: Duration = Duration::from_secs(20);
/// How soon it is noticed that a connection is dead: the next question shall not wait for it in vain.
const DEAD_AFTER: Duration = Duration::from_secs(2);
/// How long a connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// What one shard asks of another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum PeerRequest {
    /// Relay my renewal, or promise to claim nothing. Answer: `Kept`.
    Keep(Keep),
    /// I would like to hand this room over. Answers: `Yes`, `No`. A yes is for a minute.
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
    /// This participant has arrived: what do you know of its media, and what has it sent? Answers:
    /// `Pulled`, `No`.
    Pull {
        room: RoomKey,
        participant: ParticipantSid,
    },
    /// This participant of a room that is yours by now has closed its media connection here and will
    /// not come. Answers: `Yes`, `No`.
    HungUp {
        room: RoomKey,
        /// What my claim was.
        epoch: Epoch,
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
    #[error("shard {shard} has not answered yet: it, or this machine, is overloaded")]
    Late { shard: ShardId },
    #[error("the room cannot be written down: {cause}")]
    Unwritten { cause: String },
}

/// A request, ready to be sent.
pub(crate) struct Message {
    body: Bytes,
    /// How long it may take.
    limit: Duration,
}

impl PeerRequest {
    /// The request as it goes to others. `None`: it cannot be written, which none is like.
    pub(crate) async fn pack(self) -> Option<Message> {
        let limit = match &self {
            Self::Keep(_) => KEEP_TIMEOUT,
            Self::Offer { .. } | Self::Withdraw { .. } => OFFER_TIMEOUT,
            Self::Commit { .. } | Self::HungUp { .. } => COMMIT_TIMEOUT,
            Self::Pull { .. } => PULL_LATE_MAX,
        };
        let is_long = matches!(self, Self::Offer { .. } | Self::Commit { .. });
        let body = if is_long {
            wire::apart(move || wire::write(&self)).await.flatten()
        } else {
            wire::write(&self)
        };
        body.map(|body| Message { body, limit })
    }
}

/// Asks other shards; cheap to clone.
#[derive(Clone)]
pub(crate) struct Peers {
    name: String,
    cluster: ClusterKey,
    /// For questions about our own life.
    life: Client<HttpConnector, Full<Bytes>>,
    /// For rooms.
    rooms: Client<HttpConnector, Full<Bytes>>,
    /// How many more questions about rooms each shard may be asked.
    turns: Arc<Mutex<HashMap<ShardId, Arc<Semaphore>>>>,
}

impl Peers {
    pub(crate) fn new(shard: &str, cluster: ClusterKey) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let rooms = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .http2_only(true)
            .http2_keep_alive_interval(DEAD_AFTER)
            .http2_keep_alive_timeout(DEAD_AFTER)
            .http2_keep_alive_while_idle(true)
            .build(connector.clone());
        Self {
            name: format!("{PEER_PREFIX}{shard}"),
            cluster,
            life: Client::builder(TokioExecutor::new()).build(connector),
            rooms,
            turns: Arc::default(),
        }
    }

    pub(crate) async fn keep(
        &self,
        shard: &ShardId,
        url: &str,
        keep: Keep,
    ) -> Result<Kept, PeerError> {
        let Some(message) = PeerRequest::Keep(keep).pack().await else {
            return Ok(Kept::No);
        };
        match self.send(&self.life, shard, url, &message).await? {
            PeerReply::Kept(kept) => Ok(kept),
            _ => Ok(Kept::No),
        }
    }

    /// Offers `life` a room.
    pub(crate) async fn offer(
        &self,
        life: &Life,
        epoch: Epoch,
        state: Box<RoomState>,
    ) -> Result<PeerReply, PeerError> {
        let unwritten = |cause: String| PeerError::Unwritten { cause };
        let json = wire::apart(move || state.to_json()).await;
        let json = json
            .ok_or_else(|| unwritten("the shard ends".to_owned()))?
            .map_err(|error| unwritten(error.to_string()))?;
        let state = String::from_utf8(json).map_err(|error| unwritten(error.to_string()))?;
        self.ask(life, PeerRequest::Offer { epoch, state }).await
    }

    /// Asks `life` once.
    pub(crate) async fn ask(
        &self,
        life: &Life,
        request: PeerRequest,
    ) -> Result<PeerReply, PeerError> {
        let Some(message) = request.pack().await else {
            let cause = "no JSON".to_owned();
            return Err(PeerError::Unwritten { cause });
        };
        self.tell(life, &message).await
    }

    /// Asks `life`.
    pub(crate) async fn tell(
        &self,
        life: &Life,
        message: &Message,
    ) -> Result<PeerReply, PeerError> {
        self.send(&self.rooms, &life.shard, &life.url, message)
            .await
    }

    fn turns(&self, shard: &ShardId) -> Arc<Semaphore> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.len() >= SHARDS_MAX && !turns.contains_key(shard) {
            turns.clear();
        }
        let turns = turns.entry(shard.clone());
        Arc::clone(turns.or_insert_with(|| Arc::new(Semaphore::new(ASKED_AT_ONCE))))
    }

    async fn send(
        &self,
        client: &Client<HttpConnector, Full<Bytes>>,
        shard: &ShardId,
        url: &str,
        message: &Message,
    ) -> Result<PeerReply, PeerError> {
        let unreachable = |cause: String| PeerError::Unreachable {
            shard: shard.clone(),
            url: url.to_owned(),
            cause,
        };
        let turns = self.turns(shard);
        let exchange = async {
            let _turn = turns.acquire().await.map_err(|error| error.to_string())?;
            self.exchange(client, shard, url, message.body.clone())
                .await
        };
        let answer = tokio::time::timeout(message.limit, exchange).await;
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
        let reply = wire::read(body).await;
        reply.ok_or_else(|| PeerError::Malformed {
            shard: shard.clone(),
        })
    }

    async fn exchange(
        &self,
        client: &Client<HttpConnector, Full<Bytes>>,
        shard: &ShardId,
        url: &str,
        body: Bytes,
    ) -> Result<(u16, Bytes), String> {
        let context = RoomContext {
            room: None,
            shard: shard.as_str().to_owned(),
            directory: 0,
            generation: 0,
            client: self.name.clone(),
            expires_ms: clock::unix_ms().saturating_add(CONTEXT_LIFETIME_MS),
        };
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{PATH}", url.trim_end_matches('/')))
            .header(CONTEXT_HEADER, self.cluster.sign(&context))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| error.to_string())?;
        let answer = client.request(request).await;
        let answer = answer.map_err(|error| cause_of(&error))?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), MESSAGE_BYTES_MAX);
        let body = body.collect().await.map_err(|error| error.to_string())?;
        Ok((status, body.to_bytes()))
    }
}

/// With what is behind it: the error itself only says that it is one.
fn cause_of(error: &dyn std::error::Error) -> String {
    let behind = error.source().map(cause_of);
    behind.map_or_else(|| error.to_string(), |behind| format!("{error}: {behind}"))
}

#[cfg(test)]
mod tests;
