//! WHIP and WHEP: a session by POST, then PATCH and DELETE at the URL that it was given.
//!
//! Owns: status codes and headers (RFC 9725, draft-ietf-wish-whep). Must not: read SDP or fragments; the
//! crate's `whip` does.

use super::App;
use super::admit::{Admitted, admit_with, identify, not_owner};
use super::join::{arrival, begin_span, count};
use super::params::JoinParams;
use super::query::Query;
use super::refusal::Refusal;
use crate::core::{SessionId, Signalling};
use crate::driver::{Input, OUTBOUND_QUEUE};
use crate::entry::Entry;
use crate::whip::{
    ASKS_MAX, Ask, BODY_BYTES_MAX, Ended, FRAGMENT_TYPE, Flow, Fragment, Handle, Offer, Opened,
    Patched, Resource, Start, Unmet, Unpatched,
};
use affinity::RoomKey;
use axum::body::Body;
use axum::extract::{OriginalUri, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use livekit_protocol::{ClientInfo, IceServer, SessionDescription};
use proto::media::PeerMode;
use proto::token::Claims;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

const SDP_TYPE: &str = "application/sdp";
/// What an endpoint and a session take.
const ENDPOINT_METHODS: HeaderValue = HeaderValue::from_static("POST, OPTIONS");
const SESSION_METHODS: HeaderValue = HeaderValue::from_static("PATCH, DELETE, OPTIONS");
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");
/// What scripts of other origins may read of an answer.
const EXPOSED: HeaderValue =
    HeaderValue::from_static("location, etag, link, accept-patch, accept-post, retry-after, allow");
/// A running session takes longer than a node may take for an answer only if it is stuck.
const SESSION_TIMEOUT: Duration = Duration::from_secs(12);
/// What the participant's client speaks, as far as others ask: LiveKit's protocol 16.
const PROTOCOL: i32 = 16;
/// Longest `User-Agent` that is kept, bytes.
const AGENT_BYTES_MAX: usize = 128;

/// POST `/whip`.
pub(crate) async fn publish(State(app): State<Arc<App>>, request: Request) -> Response {
    counted(&app, Flow::Publish, create(&app, Flow::Publish, request)).await
}

/// POST `/whep`.
pub(crate) async fn watch(State(app): State<Arc<App>>, request: Request) -> Response {
    counted(&app, Flow::Watch, create(&app, Flow::Watch, request)).await
}

/// PATCH of a WHIP session.
pub(crate) async fn patch_publisher(State(app): State<Arc<App>>, request: Request) -> Response {
    counted(&app, Flow::Publish, patch(&app, Flow::Publish, request)).await
}

/// PATCH of a WHEP session.
pub(crate) async fn patch_viewer(State(app): State<Arc<App>>, request: Request) -> Response {
    counted(&app, Flow::Watch, patch(&app, Flow::Watch, request)).await
}

/// DELETE of a WHIP session.
pub(crate) async fn end_publisher(State(app): State<Arc<App>>, request: Request) -> Response {
    counted(&app, Flow::Publish, end(&app, Flow::Publish, request)).await
}

/// DELETE of a WHEP session.
pub(crate) async fn end_viewer(State(app): State<Arc<App>>, request: Request) -> Response {
    counted(&app, Flow::Watch, end(&app, Flow::Watch, request)).await
}

/// Any other method at an endpoint.
pub(crate) async fn endpoint_method() -> Response {
    wrong_method(
        ENDPOINT_METHODS,
        "POST an offer here (content type application/sdp)",
    )
}

/// Any other method at a session.
pub(crate) async fn session_method() -> Response {
    wrong_method(
        SESSION_METHODS,
        "PATCH an ICE fragment here, or DELETE the session",
    )
}

/// What a preflight learns about the path: where offers can be posted (RFC 9725 section 4.2).
pub(crate) fn accepts_offers(path: &str) -> bool {
    let path = path.trim_end_matches('/');
    let endpoints = ["/whip", "/whep", "/whip/v1", "/whep/v1"];
    endpoints.iter().any(|endpoint| path.ends_with(endpoint))
}

fn wrong_method(allow: HeaderValue, text: &str) -> Response {
    let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, text);
    let mut response = refusal.into_response();
    response.headers_mut().insert(header::ALLOW, allow);
    response
}

async fn counted(
    app: &App,
    flow: Flow,
    answer: impl Future<Output = Result<Response, Refusal>>,
) -> Response {
    let answer = answer.await;
    if let Err(refusal) = &answer
        && refusal.status != StatusCode::MISDIRECTED_REQUEST
    {
        let (status, why) = (refusal.status.as_u16(), &refusal.text);
        tracing::debug!(kind = flow.name(), status, why, "request refused");
    }
    let mut response = answer.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    let status = response.status();
    if status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
        let headers = response.headers_mut();
        headers.insert(ACCEPT_POST, HeaderValue::from_static(SDP_TYPE));
        headers.insert(ACCEPT_PATCH, HeaderValue::from_static(FRAGMENT_TYPE));
    }
    let name = match flow {
        Flow::Publish => "anteroom_shard_whip_requests_total",
        Flow::Watch => "anteroom_shard_whep_requests_total",
    };
    let figures = app.owner.figures();
    figures.count_as(name, "status", status.as_u16().to_string());
    response
}

/// POST: the offer in, the answer out, and a session's URL.
async fn create(app: &Arc<App>, flow: Flow, request: Request) -> Result<Response, Refusal> {
    let asked = Instant::now();
    let (parts, body) = request.into_parts();
    let text = text_of(&parts.headers, body, SDP_TYPE).await?;
    let offer = Offer::parse(flow, &text).map_err(|problem| {
        let status = match problem.is_understood() {
            true => StatusCode::UNPROCESSABLE_ENTITY,
            false => StatusCode::BAD_REQUEST,
        };
        Refusal::new(status, problem.to_string())
    })?;
    let mut span = begin_span(app, &parts);
    let read = |_: &Query, claims: &mut Claims| params(flow, &offer, &parts.headers, claims);
    let admitted = admit_with(app, &parts, &span, read).await;
    count(app.owner.figures(), &admitted, asked);
    let admitted = admitted.inspect_err(|refusal| span.fail(&refusal.text))?;
    let entry = Entry::new(asked, app.owner.figures().clone(), span);
    let (name, opened) = open(app, flow, offer, admitted, entry).await?;
    created(&parts, &name, &opened)
}

/// What the participant is, and what it may.
fn params(
    flow: Flow,
    offer: &Offer,
    headers: &HeaderMap,
    claims: &mut Claims,
) -> Result<JoinParams, Refusal> {
    let (may, grant) = match flow {
        Flow::Publish => (claims.video.may_publish(), "video.canPublish"),
        Flow::Watch => (claims.video.may_subscribe(), "video.canSubscribe"),
    };
    if !may {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            format!("permissions denied: the access token lacks the grant `{grant}`"),
        ));
    }
    if flow == Flow::Publish && claims.kind.is_empty() {
        // What comes in by another protocol is of this kind at LiveKit too.
        "ingress".clone_into(&mut claims.kind);
    }
    Ok(JoinParams {
        client: ClientInfo {
            protocol: PROTOCOL,
            device_model: agent(headers),
            ..ClientInfo::default()
        },
        auto_subscribe: flow == Flow::Watch,
        offer: Some(SessionDescription {
            r#type: "offer".to_owned(),
            sdp: offer.sdp.clone(),
            id: Resource::FIRST_OFFER,
            ..SessionDescription::default()
        }),
        add_tracks: offer.tracks.clone(),
        ..JoinParams::default()
    })
}

fn agent(headers: &HeaderMap) -> String {
    let agent = headers.get(header::USER_AGENT);
    let agent = agent.and_then(|agent| agent.to_str().ok());
    agent
        .unwrap_or_default()
        .chars()
        .take(AGENT_BYTES_MAX)
        .collect()
}

/// Lets the participant in and waits for the answer to its offer.
async fn open(
    app: &Arc<App>,
    flow: Flow,
    offer: Offer,
    admitted: Admitted,
    entry: Entry,
) -> Result<(String, Opened), Refusal> {
    let session = SessionId(app.next_session.fetch_add(1, Ordering::Relaxed));
    let (sender, outbound) = mpsc::channel(OUTBOUND_QUEUE);
    let (asks, asked) = mpsc::channel(ASKS_MAX);
    let overflow = CancellationToken::new();
    let room = admitted.pin.room.clone();
    let span = tracing::info_span!(
        "session",
        session = session.0,
        kind = flow.name(),
        room = room.as_str(),
        epoch = admitted.pin.epoch.0,
        trace = admitted.trace.map(|trace| trace.trace_id()),
    );
    let registration = app.resources.add(Handle {
        room,
        identity: admitted.claims.identity().to_owned(),
        flow,
        asks,
    });
    let name = registration.name().to_owned();
    let mode = (PeerMode::Single, Signalling::Resource);
    let (arrival, permit, untold) = arrival(session, admitted, mode, sender, overflow.clone());
    let gone = || Refusal::unavailable("this shard is shutting down: try again");
    let arrived = Input::Arrived(Box::new(arrival));
    app.inputs.send(arrived).await.map_err(|_| gone())?;
    let resource = Resource::new(Start {
        session,
        inputs: app.inputs.clone(),
        outbound,
        overflow,
        asks: asked,
        offer,
        entry,
        registration: Some(registration),
        _permits: [permit, untold],
    });
    let (opened, answer) = oneshot::channel();
    // A task of its own: the session outlives the request, and ends if nobody waits for the answer.
    tokio::spawn(resource.run(opened).instrument(span));
    let opened = answer.await.map_err(|_| gone())?.map_err(ended)?;
    Ok((name, opened))
}

/// Why there is no session, or none any more.
fn ended(why: Ended) -> Refusal {
    match why {
        Ended::Refused(reason) => Refusal::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("the offer cannot be used: {reason}"),
        ),
        Ended::NoCodec => Refusal::new(
            StatusCode::NOT_ACCEPTABLE,
            "no codec of the offer is forwarded here: offer Opus, and VP8, H264, VP9 or AV1",
        ),
        Ended::NotAllowed(reason) => Refusal::new(StatusCode::FORBIDDEN, reason),
        Ended::Closed {
            reason,
            retry: true,
        } => Refusal::unavailable(format!("the session has ended: {reason}")),
        Ended::Closed {
            reason,
            retry: false,
        } => Refusal::new(
            StatusCode::CONFLICT,
            format!("the session has ended: {reason}"),
        ),
        Ended::TimedOut => Refusal::unavailable(
            "the media node did not answer the offer in time: try again; is it overloaded?",
        ),
    }
}

/// 201.
fn created(parts: &Parts, name: &str, opened: &Opened) -> Result<Response, Refusal> {
    let mut response = (StatusCode::CREATED, opened.answer.clone()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(SDP_TYPE));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(ACCEPT_PATCH, HeaderValue::from_static(FRAGMENT_TYPE));
    let unusable = |_| Refusal::bad_request("the request target cannot be part of a URL");
    let location = HeaderValue::try_from(location(parts, name)).map_err(unusable)?;
    headers.insert(header::LOCATION, location);
    if let Ok(tag) = HeaderValue::try_from(opened.tag.as_str()) {
        headers.insert(header::ETAG, tag);
    }
    for link in opened.ice_servers.iter().flat_map(links) {
        if let Ok(link) = HeaderValue::try_from(link) {
            headers.append(header::LINK, link);
        }
    }
    Ok(response)
}

/// The session's URL, on the same path, so that it finds the room's shard by itself. A token in the
/// query stays there: such clients have no other place for it.
fn location(parts: &Parts, name: &str) -> String {
    let original = parts.extensions.get::<OriginalUri>();
    let uri = original.map_or(&parts.uri, |original| &original.0);
    let path = uri.path().trim_end_matches('/');
    let token = uri.query().unwrap_or_default().split('&');
    let token = token.filter(|pair| pair.starts_with("access_token="));
    let query: String = token.map(|token| format!("?{token}")).collect();
    format!("{path}/{name}{query}")
}

/// RFC 9725 section 4.6: a STUN or TURN server as a `Link`.
fn links(server: &IceServer) -> Vec<String> {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let credentials = if server.username.is_empty() {
        String::new()
    } else {
        format!(
            "; username=\"{}\"; credential=\"{}\"; credential-type=\"password\"",
            quoted(&server.username),
            quoted(&server.credential)
        )
    };
    let link = |url: &String| format!("<{url}>; rel=\"ice-server\"{credentials}");
    server.urls.iter().map(link).collect()
}

/// PATCH: an ICE fragment.
async fn patch(app: &App, flow: Flow, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let handle = session_of(app, flow, &parts).await?;
    let text = text_of(&parts.headers, body, FRAGMENT_TYPE).await?;
    let fragment =
        Fragment::parse(&text).map_err(|problem| Refusal::bad_request(problem.to_string()))?;
    let if_match = parts.headers.get(header::IF_MATCH);
    let if_match = if_match.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let patched = ask(&handle, |answer| Ask::Patch {
        if_match,
        fragment,
        answer,
    });
    match patched.await? {
        Ok(Patched::Trickled) => Ok(StatusCode::NO_CONTENT.into_response()),
        Ok(Patched::Restarted { tag, fragment }) => {
            let mut response = fragment.into_response();
            let headers = response.headers_mut();
            let media_type = HeaderValue::from_static(FRAGMENT_TYPE);
            headers.insert(header::CONTENT_TYPE, media_type);
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            if let Ok(tag) = HeaderValue::try_from(tag.as_str()) {
                headers.insert(header::ETAG, tag);
            }
            Ok(response)
        }
        Err(Unpatched::Unmet(unmet)) => {
            let status = match unmet {
                Unmet::Missing => StatusCode::PRECONDITION_REQUIRED,
                Unmet::Stale => StatusCode::PRECONDITION_FAILED,
                Unmet::Incomplete => StatusCode::BAD_REQUEST,
            };
            Err(Refusal::new(status, unmet.to_string()))
        }
        Err(Unpatched::Ended(why)) => Err(ended(why)),
    }
}

/// DELETE: the participant leaves.
async fn end(app: &App, flow: Flow, request: Request) -> Result<Response, Refusal> {
    let (parts, _body) = request.into_parts();
    let handle = session_of(app, flow, &parts).await?;
    ask(&handle, Ask::Delete).await?;
    Ok(StatusCode::OK.into_response())
}

/// Asks a running session.
async fn ask<T>(
    handle: &Handle,
    question: impl FnOnce(oneshot::Sender<T>) -> Ask,
) -> Result<T, Refusal> {
    let (answer, answered) = oneshot::channel();
    let asking = async {
        let sent = handle.asks.send(question(answer)).await;
        sent.map_err(|_| no_session())?;
        answered.await.map_err(|_| no_session())
    };
    let late = |_| Refusal::unavailable("the session is busy: try again");
    tokio::time::timeout(SESSION_TIMEOUT, asking)
        .await
        .map_err(late)?
}

/// The session that the path names, for its own participant. The URL alone is not enough, as it is in
/// logs of proxies.
async fn session_of(app: &App, flow: Flow, parts: &Parts) -> Result<Handle, Refusal> {
    let query = Query::parse(parts.uri.query().unwrap_or_default())?;
    let identified = identify(app, parts, &query)?;
    let name = parts.uri.path().trim_end_matches('/').rsplit('/').next();
    let found = name.and_then(|name| app.resources.find(name));
    let same_room = |handle: &Handle| handle.room == identified.room && handle.flow == flow;
    let Some(handle) = found.filter(same_room) else {
        return Err(nowhere(app, identified.room).await);
    };
    if handle.identity != identified.claims.identity() {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "the session is another participant's: use the access token that it was begun with",
        ));
    }
    Ok(handle)
}

/// The session is not here: whoever owns the room may have it.
async fn nowhere(app: &App, room: RoomKey) -> Refusal {
    match app.owner.find_live(room).await {
        Ok(_) => no_session(),
        Err(why) => not_owner(app, &why),
    }
}

fn no_session() -> Refusal {
    Refusal::not_found("there is no such session, or it has ended: POST a new offer")
}

/// The body, if it is of this type and not too long.
async fn text_of(headers: &HeaderMap, body: Body, wanted: &str) -> Result<String, Refusal> {
    let given = headers.get(header::CONTENT_TYPE);
    let given = given.and_then(|value| value.to_str().ok());
    let essence = given.map(|given| given.split(';').next().unwrap_or(given).trim());
    if !essence.is_some_and(|essence| essence.eq_ignore_ascii_case(wanted)) {
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("the body must have the content type {wanted}"),
        ));
    }
    let bytes = axum::body::to_bytes(body, BODY_BYTES_MAX).await;
    let bytes = bytes.map_err(|_| {
        Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body has more than {BODY_BYTES_MAX} bytes, or broke off: offer less"),
        )
    })?;
    String::from_utf8(bytes.into()).map_err(|_| Refusal::bad_request("the body is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(uri: &str) -> Parts {
        let request = Request::builder().uri(uri).body(Body::empty()).unwrap();
        request.into_parts().0
    }

    #[test]
    fn a_session_is_below_the_path_that_its_offer_was_posted_to() {
        for (uri, expected) in [
            ("/r/a%20b/whip", "/r/a%20b/whip/x1"),
            ("/r/a/whep/", "/r/a/whep/x1"),
            ("/whip/v1?room=a", "/whip/v1/x1"),
            (
                "/r/a/whip?x=1&access_token=t.o.k",
                "/r/a/whip/x1?access_token=t.o.k",
            ),
        ] {
            assert_eq!(location(&parts(uri), "x1"), expected);
        }
    }

    #[test]
    fn ice_servers_are_links() {
        let server = IceServer {
            urls: vec!["stun:a".into(), "turn:a?transport=udp".into()],
            username: "us\"er".into(),
            credential: "pass".into(),
        };
        let expected = "<turn:a?transport=udp>; rel=\"ice-server\"; username=\"us\\\"er\"; \
             credential=\"pass\"; credential-type=\"password\"";
        assert_eq!(links(&server)[1], expected);
        let plain = IceServer {
            username: String::new(),
            ..server
        };
        assert_eq!(links(&plain)[0], "<stun:a>; rel=\"ice-server\"");
    }

    #[test]
    fn offers_are_taken_at_endpoints_only() {
        for path in ["/r/a/whip", "/r/a/whep/", "/whip/v1"] {
            assert!(accepts_offers(path), "{path}");
        }
        for path in ["/r/a/whip/0123", "/whip/v1/0123", "/r/a/rtc"] {
            assert!(!accepts_offers(path), "{path}");
        }
    }
}
