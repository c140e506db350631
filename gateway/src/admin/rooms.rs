//! `/v1/rooms`: what the shards say of their rooms, and what should not be.

use super::Admin;
use crate::roll_call::RoomOfShard;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use futures::future::join_all;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;

#[derive(Serialize)]
struct RoomView {
    room: String,
    shard: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    members: Vec<String>,
    epoch: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    participants: Option<u64>,
    live: bool,
}

/// Asks all shards now; the two lists at the end are of the last round of `ghosts.rs`.
pub(super) async fn list(State(admin): State<Admin>) -> Response {
    let mut views: BTreeMap<String, RoomView> = BTreeMap::new();
    let mut errors = BTreeMap::new();
    let shards = admin.calls.shards();
    let asked = shards
        .iter()
        .map(|shard| async { (shard.id.to_string(), admin.calls.rooms_of(shard).await) });
    for (shard, answer) in join_all(asked).await {
        match answer {
            Ok(rooms) => merge(&mut views, &shard, rooms),
            Err(error) => {
                errors.insert(shard, error);
            }
        }
    }
    let rooms: Vec<RoomView> = views.into_values().collect();
    let ghosts = admin.ghosts.load();
    Json(json!({
        "rooms": rooms,
        "errors": errors,
        "live_on_two_shards": ghosts.named_overlaps(),
        "directory_disagreements": ghosts.named_disagreements(),
    }))
    .into_response()
}

/// Adds what a shard knows. Of a room on two lists the live one is shown, or the first.
fn merge(views: &mut BTreeMap<String, RoomView>, shard: &str, rooms: Vec<RoomOfShard>) {
    for room in rooms {
        let known = views.get(&room.room);
        if known.is_some_and(|known| known.live || !room.live) {
            continue;
        }
        let view = RoomView {
            room: room.room.clone(),
            shard: shard.to_owned(),
            node: room.node,
            members: room.members,
            epoch: room.epoch,
            participants: room.participants,
            live: room.live,
        };
        views.insert(room.room, view);
    }
}
