//! `/v1/shards`: the shards as this gateway sees them, and the orders to empty them.
//!
//! An order goes to the directory, so that any gateway's word holds for all.

use super::{Admin, refused, whole_ms};
use crate::roll_call::unix_ms;
use crate::snapshot::Snapshot;
use affinity::directory::Drain;
use affinity::{Shard, ShardId, ShardState};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Longest deadline of an order: 30 days. More is a mistyped number.
const DEADLINE_S_MAX: u64 = 30 * 24 * 3_600;

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
struct LeaseJson {
    alive: bool,
    remaining_ms: u64,
    /// The shard's life. Text: a 64-bit number does not survive a JSON reader with doubles.
    #[serde(skip_serializing_if = "Option::is_none")]
    incarnation: Option<String>,
}

#[derive(Serialize)]
struct DrainJson {
    /// `null`: as the shard's own settings say.
    deadline_unix_ms: Option<u64>,
}

/// The body of an order.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Order {
    /// When live rooms are moved away, seconds from now. Absent: as the shard's own settings say.
    deadline_s: Option<u64>,
}

pub(super) async fn list(State(admin): State<Admin>) -> Response {
    admin.lookout.look_at_once();
    let snapshot = admin.state.load_full();
    let shards = snapshot.topology.shards().iter();
    let shards: Vec<ShardView> = shards.map(|shard| admin.view(shard, &snapshot)).collect();
    let generation = snapshot.topology.generation();
    let differs = admin.lookout.difference();
    let answer = json!({
        "generation": generation,
        "shards": shards,
        "topology_differs": differs,
    });
    Json(answer).into_response()
}

pub(super) async fn drain(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    body: Bytes,
) -> Response {
    let order = match read_order(&body) {
        Ok(order) => order,
        Err(why) => return refused(StatusCode::BAD_REQUEST, &why),
    };
    let deadline = order.deadline_s.map(|seconds| unix_ms() + seconds * 1_000);
    let drain = Drain {
        deadline_unix_ms: deadline,
    };
    admin.order(&id, Some(drain)).await
}

pub(super) async fn undrain(State(admin): State<Admin>, Path(id): Path<String>) -> Response {
    let snapshot = admin.state.load_full();
    let why = snapshot
        .topology
        .shard(&ShardId::new(id.as_str()))
        .and_then(|shard| admin.why_not_undrain(shard, &snapshot));
    match why {
        Some(why) => refused(StatusCode::CONFLICT, &why),
        None => admin.order(&id, None).await,
    }
}

fn read_order(body: &Bytes) -> Result<Order, String> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Order::default());
    }
    let order: Order = serde_json::from_slice(body)
        .map_err(|error| format!("the body is not like {{\"deadline_s\": 600}}: {error}"))?;
    if order
        .deadline_s
        .is_some_and(|seconds| seconds > DEADLINE_S_MAX)
    {
        return Err(format!(
            "deadline_s is more than {DEADLINE_S_MAX} (30 days)"
        ));
    }
    Ok(order)
}

impl Admin {
    fn view(&self, shard: &Shard, snapshot: &Snapshot) -> ShardView {
        let picture = self.lookout.picture();
        let lease = picture.lease(&shard.id);
        let remaining = self.lookout.lease_remaining(&shard.id);
        let drain = picture.drain(&shard.id);
        ShardView {
            id: shard.id.as_str().to_owned(),
            url: shard.url.clone(),
            weight: shard.weight,
            state: match shard.state {
                _ if is_removed(&shard.id, snapshot) => "removed",
                ShardState::Active if !picture.closed().contains(&shard.id) => "active",
                ShardState::Active | ShardState::Draining => "draining",
            },
            lease: LeaseJson {
                alive: lease.is_some(),
                remaining_ms: remaining.map_or(0, whole_ms),
                incarnation: lease.map(|lease| lease.incarnation.0.to_string()),
            },
            rooms: lease.map_or(0, |lease| lease.rooms),
            drain: drain.map(|drain| DrainJson {
                deadline_unix_ms: drain.deadline_unix_ms,
            }),
        }
    }

    fn why_not_undrain(&self, shard: &Shard, snapshot: &Snapshot) -> Option<String> {
        let id = &shard.id;
        if is_removed(id, snapshot) {
            return Some(format!(
                "shard `{id}` is not in `gateway.shards` any more: add it there and reload"
            ));
        }
        if shard.state == ShardState::Draining {
            return Some(format!(
                "`gateway.shards` says `state: draining` of shard `{id}`: change that there and reload"
            ));
        }
        let picture = self.lookout.picture();
        let ends = picture.lease(id).is_some_and(|lease| lease.leaving);
        (ends && picture.drain(id).is_none()).then(|| {
            format!("shard `{id}` is about to end by itself (SIGTERM): start it again instead")
        })
    }

    /// Gives the order to the directory and shows what has become of the shard.
    async fn order(&self, id: &str, drain: Option<Drain>) -> Response {
        let snapshot = self.state.load_full();
        let id = ShardId::new(id);
        let Some(shard) = snapshot.topology.shard(&id) else {
            let known = snapshot.topology.shards().iter();
            let known: Vec<&str> = known.map(|shard| shard.id.as_str()).collect();
            let why = format!("there is no shard `{id}`; there are: {}", known.join(" "));
            return refused(StatusCode::NOT_FOUND, &why);
        };
        match self.lookout.set_drain(&id, drain).await {
            Ok(Ok(())) => {
                // Idle rooms go elsewhere from this answer on.
                self.reloader.prune();
                Json(self.view(shard, &snapshot)).into_response()
            }
            Ok(Err(why)) => refused(StatusCode::CONFLICT, &why),
            Err(why) => {
                let why = format!("the directory did not take the order, give it again: {why}");
                refused(StatusCode::SERVICE_UNAVAILABLE, &why)
            }
        }
    }
}

fn is_removed(id: &ShardId, snapshot: &Snapshot) -> bool {
    let upstream = snapshot.upstreams.get(id);
    upstream.is_some_and(|upstream| upstream.leaving)
}
