//! `/internal/rooms`: the shard's rooms, for the gateway's admin API.

use super::App;
use super::refusal::Refusal;
use crate::driver::Input;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::oneshot;

/// One room.
#[derive(Debug, Serialize)]
pub(crate) struct RoomEntry {
    room: String,
    sid: String,
    node: String,
    /// All workers that its participants are on, `node/worker`.
    members: Vec<String>,
    epoch: u64,
    participants: usize,
    tracks: usize,
    created_ms: i64,
    /// It is ours at this moment: we admit participants to it.
    live: bool,
}

/// Lists the live rooms.
pub(crate) async fn list(State(app): State<Arc<App>>) -> Result<Json<Vec<RoomEntry>>, Refusal> {
    let (answer, rooms) = oneshot::channel();
    let gone = || Refusal::unavailable("this shard is shutting down");
    app.inputs
        .send(Input::Rooms(answer))
        .await
        .map_err(|_| gone())?;
    let rooms = rooms.await.map_err(|_| gone())?;
    let now = Instant::now();
    let entries = rooms.into_iter().map(|room| RoomEntry {
        live: room.live && app.owner.owns(&room.room, room.epoch, now),
        room: room.room.as_str().to_owned(),
        sid: room.sid.as_str().to_owned(),
        node: room.node.as_str().to_owned(),
        members: room.members.iter().map(ToString::to_string).collect(),
        epoch: room.epoch.0,
        participants: room.participants,
        tracks: room.tracks,
        created_ms: room.created_ms,
    });
    Ok(Json(entries.collect()))
}
