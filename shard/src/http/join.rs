//! `/rtc/v1` and `/rtc`: from an upgrade request to a running session; and their `validate`.

use super::App;
use super::admit::{Admitted, admit};
use super::context::Verified;
use super::refusal::Refusal;
use super::upgrade::{Upgrade, UpgradeRefusal};
use crate::core::{Join, SessionId, Signalling};
use crate::driver::{Arrival, Input, OUTBOUND_QUEUE, Outbound};
use crate::entry::Entry;
use crate::figures::Figures;
use crate::session::{Session, websocket_config};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::TokioIo;
use observe::Span;
use proto::media::PeerMode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// How long the connection may take to become a WebSocket after our answer.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// `/rtc/v1`: one peer connection.
pub(crate) async fn single(State(app): State<Arc<App>>, request: Request) -> Response {
    respond(app, request, PeerMode::Single).await
}

/// `/rtc`: two peer connections.
pub(crate) async fn dual(State(app): State<Arc<App>>, request: Request) -> Response {
    respond(app, request, PeerMode::Dual).await
}

/// Says what a join would be told: browsers cannot read the status of a failed WebSocket.
pub(crate) async fn validate(State(app): State<Arc<App>>, request: Request) -> Response {
    let mode = match request.uri().path().ends_with("/v1/validate") {
        true => PeerMode::Single,
        false => PeerMode::Dual,
    };
    let (parts, _body) = request.into_parts();
    match admit(&app, &parts, mode, &Span::none()).await {
        Ok(_) => ([(header::CACHE_CONTROL, "no-store")], "success").into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn respond(app: Arc<App>, request: Request, mode: PeerMode) -> Response {
    let (mut parts, _body) = request.into_parts();
    let upgrade = match Upgrade::from_parts(&mut parts) {
        Ok(upgrade) => upgrade,
        Err(UpgradeRefusal::NoUpgrade) => {
            return Refusal::not_found("this path is a WebSocket").into_response();
        }
        Err(UpgradeRefusal::Bad(response)) => return *response,
    };
    let asked = Instant::now();
    let mut span = begin_span(&app, &parts);
    let result = admit(&app, &parts, mode, &span).await;
    count(app.owner.figures(), &result, asked);
    match result {
        Ok(admitted) => {
            let entry = Entry::new(asked, app.owner.figures().clone(), span);
            start(app, upgrade, admitted, mode, entry)
        }
        Err(refusal) => {
            if refusal.status != StatusCode::MISDIRECTED_REQUEST {
                tracing::debug!(
                    status = refusal.status.as_u16(),
                    why = refusal.text,
                    "join refused"
                );
            }
            span.fail(&refusal.text);
            span.set(
                "http.response.status_code",
                i64::from(refusal.status.as_u16()),
            );
            refusal.into_response()
        }
    }
}

/// Our part of the join's trace.
pub(super) fn begin_span(app: &App, parts: &Parts) -> Span {
    let trace = parts.extensions.get::<Verified>().and_then(|v| v.trace);
    let mut span = Span::remote("join", trace);
    if span.is_kept() {
        span.set("anteroom.role", "shard");
        span.set("anteroom.shard", app.shard.clone());
    }
    span
}

pub(super) fn count(figures: &Figures, result: &Result<Admitted, Refusal>, asked: Instant) {
    let label = match result {
        Ok(admitted) if admitted.params.resume.is_some() => "resumed",
        Ok(_) => "accepted",
        Err(refusal) if refusal.status == StatusCode::MISDIRECTED_REQUEST => "redirected",
        Err(_) => "refused",
    };
    figures.count_as("anteroom_shard_joins_total", "result", label);
    match result {
        Ok(_) => {
            let took = asked.elapsed();
            figures.took_as("anteroom_shard_join_seconds", "until", "admitted", took);
        }
        Err(refusal) => {
            let status = refusal.status.as_u16().to_string();
            figures.count_as("anteroom_shard_join_refusals_total", "status", status);
        }
    }
}

/// Answers the upgrade and leaves the session running.
fn start(
    app: Arc<App>,
    upgrade: Upgrade,
    admitted: Admitted,
    mode: PeerMode,
    entry: Entry,
) -> Response {
    let session = SessionId(app.next_session.fetch_add(1, Ordering::Relaxed));
    let span = tracing::info_span!(
        "session",
        session = session.0,
        room = admitted.pin.room.as_str(),
        epoch = admitted.pin.epoch.0,
        trace = admitted.trace.map(|trace| trace.trace_id()),
    );
    let Upgrade {
        connection,
        response,
    } = upgrade;
    let task = async move {
        let upgrading = tokio::time::timeout(UPGRADE_TIMEOUT, connection);
        let Ok(Ok(upgraded)) = upgrading.await else {
            tracing::debug!("the client went away before the upgrade");
            return;
        };
        let config = Some(websocket_config());
        let io = TokioIo::new(upgraded);
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, config).await;
        let (sender, outbound) = mpsc::channel(OUTBOUND_QUEUE);
        let overflow = CancellationToken::new();
        let (arrival, _permit, untold) = arrival(
            session,
            admitted,
            (mode, Signalling::Socket),
            sender,
            overflow.clone(),
        );
        if app
            .inputs
            .send(Input::Arrived(Box::new(arrival)))
            .await
            .is_err()
        {
            return;
        }
        tracing::debug!("signalling connected");
        let inputs = app.inputs.clone();
        Session::new(session, socket, inputs, outbound, overflow, untold, entry)
            .run()
            .await;
    };
    tokio::spawn(task.instrument(span));
    response
}

/// The join as the driver wants it, and the permits.
pub(super) fn arrival(
    session: SessionId,
    admitted: Admitted,
    (mode, signalling): (PeerMode, Signalling),
    outbound: mpsc::Sender<Outbound>,
    overflow: CancellationToken,
) -> (Arrival, OwnedSemaphorePermit, OwnedSemaphorePermit) {
    let Admitted {
        claims,
        params,
        pin,
        client,
        trace: _,
        permit,
        untold,
    } = admitted;
    let mut info = params.client;
    info.address = client;
    let join = Join {
        session,
        room: pin.room.clone(),
        epoch: pin.epoch,
        claims,
        mode,
        signalling,
        client: info,
        auto_subscribe: params.auto_subscribe,
        adaptive_stream: params.adaptive_stream,
        resume: params.resume,
        offer: params.offer,
        add_tracks: params.add_tracks,
        metadata: params.metadata,
        attributes: params.attributes,
        stored_options: None,
    };
    let arrival = Arrival {
        join,
        outbound,
        overflow,
        pin,
    };
    (arrival, permit, untold)
}
