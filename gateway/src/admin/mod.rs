//! What operators ask: is it ready, which shards, which rooms, reload, empty a shard.
//!
//! The binary serves this router on the admin listener. Must not be reachable from the public one.

mod rooms;
mod shards;

use crate::directory::Lookout;
use crate::ghosts::Report;
use crate::reload::Reloader;
use crate::roll_call::RollCall;
use crate::snapshot::Snapshot;
use affinity::ShardState;
use arc_swap::ArcSwap;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// What the routes share.
#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) state: Arc<ArcSwap<Snapshot>>,
    pub(crate) lookout: Arc<Lookout>,
    pub(crate) reloader: Arc<Reloader>,
    pub(crate) calls: Arc<RollCall>,
    pub(crate) ghosts: Arc<ArcSwap<Report>>,
}

impl Admin {
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/readyz", get(readyz))
            .route("/v1/shards", get(shards::list))
            .route("/v1/shards/{id}/drain", post(shards::drain))
            .route("/v1/shards/{id}/undrain", post(shards::undrain))
            .route("/v1/rooms", get(rooms::list))
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
}

/// Whether new rooms can be opened here. Live rooms may well go on while they cannot.
async fn readyz(State(admin): State<Admin>) -> Response {
    match admin.unready() {
        None => (StatusCode::OK, "ready\n").into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn reload(State(admin): State<Admin>) -> Response {
    let reloader = Arc::clone(&admin.reloader);
    let outcome = tokio::task::spawn_blocking(move || reloader.reload("POST /v1/reload")).await;
    match outcome {
        Ok(Ok(report)) => Json(report).into_response(),
        Ok(Err(error)) => refused(StatusCode::UNPROCESSABLE_ENTITY, &error),
        Err(error) => {
            let error = format!("the reload ended early: {error}");
            refused(StatusCode::INTERNAL_SERVER_ERROR, &error)
        }
    }
}

fn refused(status: StatusCode, why: &str) -> Response {
    (status, Json(json!({ "error": why }))).into_response()
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
