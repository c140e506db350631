//! Asking shards which rooms they have.

use crate::directory::Lookout;
use crate::snapshot::Snapshot;
use affinity::Shard;
use arc_swap::ArcSwap;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use proto::context::{CONTEXT_HEADER, CONTEXT_LIFETIME_MS, ClusterKey, RoomContext};
use serde::Deserialize;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a shard may take to list its rooms.
const SHARD_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest list of rooms that is read from a shard, bytes: 10,000 rooms at 400 bytes.
const LIST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a shard says of a room; it says more than we read.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct RoomOfShard {
    pub(crate) room: String,
    #[serde(default)]
    pub(crate) node: Option<String>,
    /// The workers that its participants are on.
    #[serde(default)]
    pub(crate) members: Vec<String>,
    #[serde(default)]
    pub(crate) epoch: u64,
    #[serde(default)]
    pub(crate) participants: Option<u64>,
    /// It admits participants to the room. After a hand-over a shard has a room for a while that is
    /// not live any more.
    #[serde(default = "yes")]
    pub(crate) live: bool,
}

fn yes() -> bool {
    true
}

/// A shard's list, bare or under a name.
#[derive(Deserialize)]
#[serde(untagged)]
enum RoomsOfShard {
    Bare(Vec<RoomOfShard>),
    Named { rooms: Vec<RoomOfShard> },
}

/// Asks shards in the gateway's name.
pub(crate) struct RollCall {
    state: Arc<ArcSwap<Snapshot>>,
    lookout: Arc<Lookout>,
    cluster: ClusterKey,
    client: Client<HttpConnector, Empty<Bytes>>,
}

impl RollCall {
    pub(crate) fn new(
        state: Arc<ArcSwap<Snapshot>>,
        lookout: Arc<Lookout>,
        cluster: ClusterKey,
    ) -> Self {
        Self {
            state,
            lookout,
            cluster,
            client: Client::builder(TokioExecutor::new())
                // The next question is seconds away, and asked from another runtime, perhaps.
                .pool_max_idle_per_host(0)
                .build_http(),
        }
    }

    /// All shards that may have rooms, those that only other gateways name too.
    pub(crate) fn shards(&self) -> Vec<Shard> {
        let snapshot = self.state.load();
        let ours = snapshot.topology.shards().iter().cloned();
        ours.chain(self.lookout.foreign(&snapshot.topology))
            .collect()
    }

    /// The rooms of one shard.
    ///
    /// # Errors
    /// Why it did not say.
    pub(crate) async fn rooms_of(&self, shard: &Shard) -> Result<Vec<RoomOfShard>, String> {
        let context = RoomContext {
            room: None,
            shard: shard.id.as_str().to_owned(),
            directory: self.lookout.incarnation(),
            generation: self.state.load().topology.generation(),
            client: "admin".to_owned(),
            expires_ms: unix_ms().saturating_add(CONTEXT_LIFETIME_MS),
        };
        let url = format!("{}/internal/rooms", shard.url.trim_end_matches('/'));
        let request = http::Request::get(url)
            .header(CONTEXT_HEADER, self.cluster.sign(&context))
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        let exchange = async {
            let answer = self.client.request(request).await;
            let answer = answer.map_err(|error| error.to_string())?;
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

/// The wall clock.
pub(crate) fn unix_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since_epoch.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
