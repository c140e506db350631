//! From a request to a permitted, owned join: the order of the checks before an upgrade.
//!
//! Token, room, form of the request, room for one more, ownership: cheap and certain ones first.

use super::App;
use super::context::Verified;
use super::params::JoinParams;
use super::query::Query;
use super::refusal::Refusal;
use crate::clock;
use crate::core::{JoinRefusal, opens_room};
use crate::driver::Input;
use crate::ownership::Pin;
use affinity::RoomKey;
use affinity::ownership::RefusedWhy;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use observe::{Side, Span, Traceparent};
use proto::media::PeerMode;
use proto::token::{Claims, TokenError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

/// How long a join waits for a room that is on its way to another shard, which then has to be asked.
const MOVE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often it looks.
const MOVE_PAUSE: Duration = Duration::from_millis(25);
/// How long a join waits for a node to attach.
const NODE_TIMEOUT: Duration = Duration::from_secs(2);

/// A join that may go on.
pub(crate) struct Admitted {
    pub(crate) claims: Claims,
    pub(crate) params: JoinParams,
    pub(crate) pin: Pin,
    pub(crate) client: String,
    pub(crate) trace: Option<Traceparent>,
    /// Held for the life of the connection.
    pub(crate) permit: OwnedSemaphorePermit,
    /// Held until the client has been told that the connection ends.
    pub(crate) untold: OwnedSemaphorePermit,
}

/// Checks everything that can be known before the upgrade.
pub(crate) async fn admit(
    app: &App,
    parts: &Parts,
    mode: PeerMode,
    span: &Span,
) -> Result<Admitted, Refusal> {
    admit_with(app, parts, span, |query, _| JoinParams::parse(mode, query)).await
}

/// The same, with `read` for what the request asks for. It may change what is believed of the client.
pub(crate) async fn admit_with(
    app: &App,
    parts: &Parts,
    span: &Span,
    read: impl FnOnce(&Query, &mut Claims) -> Result<JoinParams, Refusal>,
) -> Result<Admitted, Refusal> {
    let mut checks = span.child("check token and request", Side::Internal);
    let query = Query::parse(parts.uri.query().unwrap_or_default())?;
    let Identified {
        context,
        mut claims,
        room,
    } = identify(app, parts, &query)?;
    let params = read(&query, &mut claims)?;
    if app.stopping.is_cancelled() {
        return Err(Refusal::unavailable(
            "this shard is shutting down: join again",
        ));
    }
    let (permit, untold) = (permit(&app.permits)?, permit(&app.untold)?);
    check_directory(app, &context)?;
    if checks.is_kept() {
        checks.set("anteroom.resumes", params.resume.is_some());
        checks.set("anteroom.opens_room", opens_room(&claims));
    }
    drop(checks);
    let pin = own(app, room, &claims, params.resume.is_some(), span).await?;
    Ok(Admitted {
        claims,
        params,
        pin,
        client: context.client,
        trace: context.trace,
        permit,
        untold,
    })
}

/// Who asks, and for which room.
pub(crate) struct Identified {
    pub(crate) context: Verified,
    pub(crate) claims: Claims,
    pub(crate) room: RoomKey,
}

/// Checks the token, and that it is for the room that the gateway routed by.
pub(crate) fn identify(app: &App, parts: &Parts, query: &Query) -> Result<Identified, Refusal> {
    let context = parts.extensions.get::<Verified>().cloned().ok_or_else(|| {
        Refusal::new(
            StatusCode::FORBIDDEN,
            "this is a shard: connect through the gateway",
        )
    })?;
    let claims = app
        .keys
        .verify(access_token(&parts.headers, query)?, clock::unix_s())?;
    let room = allowed_room(app, &claims)?;
    if context.room.as_ref() != Some(&room) {
        return Err(Refusal::bad_request(
            "the room in the URL is not the room in the access token (claim `video.room`)",
        ));
    }
    Ok(Identified {
        context,
        claims,
        room,
    })
}

/// Makes the room ours and asks the core, again if the room goes to another shard meanwhile.
async fn own(
    app: &App,
    room: RoomKey,
    claims: &Claims,
    resumes: bool,
    span: &Span,
) -> Result<Pin, Refusal> {
    let deadline = Instant::now() + MOVE_TIMEOUT;
    loop {
        let mut step = span.child("own the room", Side::Internal);
        let was_ours = app.owner.is_owned(&room);
        let pin = if opens_room(claims) {
            app.owner.acquire(room.clone()).await
        } else {
            // Whoever only serves a room neither opens nor claims it.
            match app.owner.find_live(room.clone()).await {
                Ok(Some(pin)) => Ok(pin),
                Ok(None) => return Err(refused(JoinRefusal::NotLive)),
                Err(why) => Err(why),
            }
        };
        note_claim(&mut step, &pin, was_ours);
        drop(step);
        let refusal = match pin {
            // A resuming participant is counted already.
            Ok(pin) if resumes => return Ok(pin),
            Ok(pin) => match check_core(app, &pin.room, span).await? {
                Ok(()) => return Ok(pin),
                Err(refusal) => refused(refusal),
            },
            Err(why) => not_owner(app, &why),
        };
        if !app.owner.is_moving(&room) || Instant::now() >= deadline {
            return Err(refusal);
        }
        tokio::time::sleep(MOVE_PAUSE).await;
    }
}

/// How the room came to be ours, or who has it.
fn note_claim(step: &mut Span, pin: &Result<Pin, RefusedWhy>, was_ours: bool) {
    if !step.is_kept() {
        return;
    }
    match pin {
        Ok(pin) => {
            let claim = if was_ours { "held" } else { "claimed" };
            step.set("anteroom.claim", claim);
            step.set("anteroom.epoch", pin.epoch.0.to_string());
        }
        Err(why) => step.fail(&format!("{why:?}")),
    }
}

fn refused(refusal: JoinRefusal) -> Refusal {
    let status = StatusCode::from_u16(refusal.status());
    let status = status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    Refusal::new(status, refusal.to_string())
}

fn permit(permits: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Refusal> {
    Arc::clone(permits).try_acquire_owned().map_err(|_| {
        Refusal::unavailable("this shard holds as many connections as it may: add a shard")
    })
}

/// `Authorization: Bearer` first, then the query. Another scheme is not meant for us (a site behind
/// HTTP Basic), as the gateway sees it.
fn access_token<'a>(headers: &'a HeaderMap, query: &'a Query) -> Result<&'a str, TokenError> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let value = std::str::from_utf8(value.as_bytes()).map_err(|_| TokenError::Malformed)?;
        if let Some((scheme, token)) = value.split_once(' ')
            && scheme.eq_ignore_ascii_case("bearer")
        {
            return Ok(token.trim());
        }
    }
    query.get("access_token").ok_or(TokenError::Missing)
}

fn allowed_room(app: &App, claims: &Claims) -> Result<RoomKey, Refusal> {
    if !claims.video.room_join {
        return Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            "permissions denied: the access token lacks the grant `video.roomJoin`",
        ));
    }
    if claims.video.room.is_empty() {
        return Err(Refusal::bad_request(
            "no room name: the access token's claim `video.room` is empty or missing",
        ));
    }
    if claims.identity().is_empty() {
        return Err(TokenError::Identity.into());
    }
    RoomKey::from_claim(&claims.video.room, app.rooms)
        .map_err(|error| Refusal::bad_request(format!("claim `video.room`: {error}")))
}

/// Two gateways with a directory of their own each would split rooms on shards they share.
fn check_directory(app: &App, context: &Verified) -> Result<(), Refusal> {
    match app.owner.directory() {
        // 0: the gateway shares its directory with others, and the shards' word is enough.
        Some(ours) if context.directory != 0 && ours.0 != context.directory => {
            Err(Refusal::unavailable(
                "this gateway and this shard use different directories: either the gateway restarted \
             a moment ago (try again), or two gateways with a memory directory each share this shard",
            ))
        }
        // Without a directory there is no lease either: acquiring says so.
        _ => Ok(()),
    }
}

pub(super) fn not_owner(app: &App, why: &RefusedWhy) -> Refusal {
    match why {
        RefusedWhy::Owned { shard } if shard.as_str() == app.shard => Refusal::unavailable(
            "an earlier process of this shard still holds the room: try again in a few seconds",
        ),
        RefusedWhy::Owned { shard } => Refusal::owned_by(shard.as_str()),
        RefusedWhy::Held { shard } => Refusal::unavailable(format!(
            "the room was on {shard}, which is out of reach and may still serve it: try again; an \
             operator who knows that it is gone removes it from the gateways' list of shards"
        )),
        RefusedWhy::Grace => Refusal::unavailable(
            "the directory has restarted: rooms can be opened again in a few seconds",
        ),
        RefusedWhy::Draining => {
            Refusal::unavailable("this shard is being drained and takes no new rooms: try again")
        }
        RefusedWhy::Unknown => {
            Refusal::unavailable("the directory did not answer in time: try again")
        }
        RefusedWhy::NoLease => Refusal::unavailable(
            "this shard has no lease from the directory: try again; its log says why",
        ),
        RefusedWhy::Limit => {
            Refusal::unavailable("as many rooms as there may be are open: add a shard")
        }
    }
}

/// Asks the core whether it would let the join in. Right after the start of a shard or of its only
/// node, the node is a round trip away: worth waiting for.
async fn check_core(
    app: &App,
    room: &RoomKey,
    span: &Span,
) -> Result<Result<(), JoinRefusal>, Refusal> {
    let _step = span.child("ask the room", Side::Internal);
    let deadline = Instant::now() + NODE_TIMEOUT;
    loop {
        let attached = app.node_attached.notified();
        let refusal = match ask_core(app, room).await? {
            Ok(()) => return Ok(Ok(())),
            Err(refusal) => refusal,
        };
        let wait = refusal == JoinRefusal::NoNode;
        if !wait || tokio::time::timeout_at(deadline, attached).await.is_err() {
            return Ok(Err(refusal));
        }
    }
}

async fn ask_core(app: &App, room: &RoomKey) -> Result<Result<(), JoinRefusal>, Refusal> {
    let (answer, verdict) = oneshot::channel();
    let gone = || Refusal::unavailable("this shard is shutting down: join again");
    let check = Input::Check {
        room: room.clone(),
        answer,
    };
    app.inputs.send(check).await.map_err(|_| gone())?;
    verdict.await.map_err(|_| gone())
}
