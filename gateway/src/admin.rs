//! What operators ask: is it ready, which shards, which rooms, reload.
//!
//! The binary serves this router on the admin listener. Must not be reachable from the public one.

use crate::directory::Lookout;
use crate::reload::Reloader;
use crate::snapshot::Snapshot;
use affinity::{Shard, ShardState};
use arc_swap::ArcSwap;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use futures::future::join_all;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use proto::context::{CONTEXT_HEADER, CONTEXT_LIFETIME_MS, ClusterKey, RoomContext};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a shard may take to list its rooms.
const SHARD_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest list of rooms that is read from a shard, bytes: 10,000 rooms at 400 bytes.
const LIST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What the routes share.
#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) state: Arc<ArcSwap<Snapshot>>,
    pub(crate) lookout: Arc<Lookout>,
    pub(crate) reloader: Arc<Reloader>,
    pub(crate) cluster: ClusterKey,
    client: Client<HttpConnector, Empty<Bytes>>,
}

#[derive(Serialize)]
struct ShardView {
    id: String,
    url: String,
    weight: u32,
    state: &'static str,
    lease: LeaseJson,
    rooms: u32,
    /// The order to empty it that was given to a gateway; the file's is `state` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    drain: Option<DrainJson>,
}

#[derive(Serialize)]
struct DrainJson {
    /// `null`: as the shard's own settings say.
    deadline_unix_ms: Option<u64>,
}

#[derive(Serialize)]
struct LeaseJson {
    alive: bool,
    remaining_ms: u64,
    /// Text: a 64-bit number does not survive a JSON reader with doubles.
    #[serde(skip_serializing_if = "Option::is_none")]
    incarnation: Option<String>,
}

#[derive(Serialize)]
struct RoomView {
    room: String,
    shard: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    epoch: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    participants: Option<u64>,
}

/// What a shard says of a room; it says more than we read.
#[derive(Deserialize)]
struct RoomOfShard {
    room: String,
    #[serde(default)]
    node: Option<String>,
    #[serde(default)]
    epoch: u64,
    #[serde(default)]
    participants: Option<u64>,
}

/// A shard's list, bare or under a name.
#[derive(Deserialize)]
#[serde(untagged)]
enum RoomsOfShard {
    Bare(Vec<RoomOfShard>),
    Named { rooms: Vec<RoomOfShard> },
}

impl Admin {
    pub(crate) fn new(
        state: Arc<ArcSwap<Snapshot>>,
        lookout: Arc<Lookout>,
        reloader: Arc<Reloader>,
        cluster: ClusterKey,
    ) -> Self {
        Self {
            state,
            lookout,
            reloader,
            cluster,
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/readyz", get(readyz))
            .route("/v1/shards", get(shards))
            .route("/v1/rooms", get(rooms))
            .route("/v1/reload", post(reload))
            .with_state(self)
    }

    /// Why no new room can be opened here.
    fn unready(&self) -> Option<String> {
        self.lookout.look_at_once();
        if let Some(why) = self.lookout.silence() {
            return Some(why);
        }
        let snapshot = self.state.load_full();
        let picture = self.lookout.picture();
        let mut active = snapshot
            .topology
            .shards()
            .iter()
            .filter(|shard| shard.state == ShardState::Active);
        if !active.any(|shard| picture.lease(&shard.id).is_some()) {
            let why =
                "no active shard holds a lease: is one running and does it reach the directory?";
            return Some(why.to_owned());
        }
        self.lookout.grace()
    }

    fn shard_view(&self, shard: &Shard, snapshot: &Snapshot) -> ShardView {
        let picture = self.lookout.picture();
        let lease = picture.lease(&shard.id);
        let life = lease.map(|lease| lease.incarnation.0.to_string());
        let upstream = snapshot.upstreams.get(&shard.id);
        let drain = picture.drain(&shard.id);
        ShardView {
            id: shard.id.as_str().to_owned(),
            url: shard.url.clone(),
            weight: shard.weight,
            state: match shard.state {
                _ if upstream.is_some_and(|upstream| upstream.leaving) => "removed",
                ShardState::Active if !picture.closed().contains(&shard.id) => "active",
                ShardState::Active | ShardState::Draining => "draining",
            },
            lease: LeaseJson {
                alive: lease.is_some(),
                remaining_ms: self.lookout.lease_remaining(&shard.id).map_or(0, whole_ms),
                incarnation: life,
            },
            rooms: lease.map_or(0, |lease| lease.rooms),
            drain: drain.map(|drain| DrainJson {
                deadline_unix_ms: drain.deadline_unix_ms,
            }),
        }
    }

    async fn rooms_of(&self, shard: &Shard) -> Result<Vec<RoomOfShard>, String> {
        let context = RoomContext {
            room: None,
            shard: shard.id.as_str().to_owned(),
            directory: self.lookout.incarnation(),
            generation: self.state.load().topology.generation(),
            client: "admin".to_owned(),
            expires_ms: unix_ms().saturating_add(CONTEXT_LIFETIME_MS),
        };
        let request = http::Request::get(format!(
            "{}/internal/rooms",
            shard.url.trim_end_matches('/')
        ))
        .header(CONTEXT_HEADER, self.cluster.sign(&context))
        .body(Empty::new())
        .map_err(|error| error.to_string())?;
        let exchange = async {
            let answer = self
                .client
                .request(request)
                .await
                .map_err(|error| error.to_string())?;
            if !answer.status().is_success() {
                return Err(format!("status {}", answer.status()));
            }
            let body = Limited::new(answer.into_body(), LIST_BYTES_MAX);
            let body = body.collect().await.map_err(|error| error.to_string())?;
            serde_json::from_slice(&body.to_bytes()).map_err(|error| error.to_string())
        };
        match tokio::time::timeout(SHARD_TIMEOUT, exchange).await {
            Ok(Ok(RoomsOfShard::Bare(rooms) | RoomsOfShard::Named { rooms })) => Ok(rooms),
            Ok(Err(error)) => Err(error),
            Err(_) => Err("no answer within 1 s".to_owned()),
        }
    }
}

/// Whether new rooms can be opened here. Live rooms may well go on while they cannot.
async fn readyz(State(admin): State<Admin>) -> Response {
    match admin.unready() {
        None => (StatusCode::OK, "ready\n").into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn shards(State(admin): State<Admin>) -> Response {
    let snapshot = admin.state.load_full();
    admin.lookout.look_at_once();
    let shards = snapshot.topology.shards().iter();
    let shards: Vec<ShardView> = shards
        .map(|shard| admin.shard_view(shard, &snapshot))
        .collect();
    let generation = snapshot.topology.generation();
    let differs = admin.lookout.difference();
    Json(json!({ "generation": generation, "shards": shards, "topology_differs": differs }))
        .into_response()
}

async fn rooms(State(admin): State<Admin>) -> Response {
    let snapshot = admin.state.load_full();
    let mut views: BTreeMap<String, RoomView> = BTreeMap::new();
    let mut errors = BTreeMap::new();
    let asked = snapshot
        .topology
        .shards()
        .iter()
        .map(|shard| async { (shard.id.as_str().to_owned(), admin.rooms_of(shard).await) });
    for (shard, answer) in join_all(asked).await {
        match answer {
            Ok(rooms) => merge(&mut views, &shard, rooms),
            Err(error) => {
                errors.insert(shard, error);
            }
        }
    }
    let rooms: Vec<RoomView> = views.into_values().collect();
    Json(json!({ "rooms": rooms, "errors": errors })).into_response()
}

/// Adds what a shard knows.
fn merge(views: &mut BTreeMap<String, RoomView>, shard: &str, rooms: Vec<RoomOfShard>) {
    for room in rooms {
        let view = views.entry(room.room.clone()).or_insert_with(|| RoomView {
            room: room.room,
            shard: shard.to_owned(),
            node: None,
            epoch: room.epoch,
            participants: None,
        });
        if view.shard == shard {
            view.node = room.node;
            view.participants = room.participants;
        }
    }
}

async fn reload(State(admin): State<Admin>) -> Response {
    let reloader = Arc::clone(&admin.reloader);
    let outcome = tokio::task::spawn_blocking(move || reloader.reload("POST /v1/reload")).await;
    match outcome {
        Ok(Ok(report)) => Json(report).into_response(),
        Ok(Err(error)) => (
            StatusCode::UNPROCESSABLE_ENTITY,
            Json(json!({ "error": error })),
        )
            .into_response(),
        Err(error) => {
            let error = format!("the reload ended early: {error}");
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                Json(json!({ "error": error })),
            )
                .into_response()
        }
    }
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn unix_ms() -> u64 {
    whole_ms(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
    )
}
