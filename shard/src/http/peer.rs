//! `/internal/peer`: what other shards ask.
//!
//! What they say is read here: the driver, on which all rooms wait, gets it ready for use.

use super::App;
use super::context::Verified;
use super::refusal::Refusal;
use crate::core::RoomState;
use crate::driver::Input;
use crate::peers::{PEER_PREFIX, PeerReply, PeerRequest, wire};
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::{Json, body::Bytes};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Answers another shard.
pub(crate) async fn answer(
    State(app): State<Arc<App>>,
    Extension(context): Extension<Verified>,
    body: Bytes,
) -> Result<Json<PeerReply>, Refusal> {
    // Clients come by way of a gateway, which signs for them, but not in a shard's name.
    let Some(from) = context.client.strip_prefix(PEER_PREFIX) else {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "only shards speak here",
        ));
    };
    let malformed = || Refusal::bad_request("this is no request of a shard");
    let request = wire::read(body).await.ok_or_else(malformed)?;
    let reply = match request {
        PeerRequest::Keep(keep) => PeerReply::Kept(app.owner.keep(keep).await),
        PeerRequest::Commit { room, epoch, late } => {
            // It is ours already if the other one says the truth; the directory knows.
            match app.owner.acquire(room).await {
                Ok(pin) => {
                    ask_core(&app, |answer| Input::Handed {
                        pin: Box::new(pin),
                        epoch,
                        late,
                        answer,
                    })
                    .await?
                }
                Err(why) => PeerReply::No {
                    reason: format!("{why:?}"),
                },
            }
        }
        PeerRequest::Offer { epoch, state } => {
            let state = wire::apart(move || RoomState::from_json(state.as_bytes())).await;
            let gone = || Refusal::unavailable("this shard is shutting down");
            match state.ok_or_else(gone)? {
                Ok(state) => {
                    let from = from.to_owned();
                    ask_core(&app, |answer| Input::Offered {
                        from,
                        epoch,
                        state: Box::new(state),
                        answer,
                    })
                    .await?
                }
                Err(error) => PeerReply::No {
                    reason: error.to_string(),
                },
            }
        }
        other => {
            ask_core(&app, |answer| Input::Peer {
                request: Box::new(other),
                answer,
            })
            .await?
        }
    };
    Ok(Json(reply))
}

async fn ask_core(
    app: &App,
    input: impl FnOnce(oneshot::Sender<PeerReply>) -> Input,
) -> Result<PeerReply, Refusal> {
    let (answer, reply) = oneshot::channel();
    let gone = || Refusal::unavailable("this shard is shutting down");
    app.inputs.send(input(answer)).await.map_err(|_| gone())?;
    reply.await.map_err(|_| gone())
}
