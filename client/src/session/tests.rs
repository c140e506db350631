//! Scripts: messages in, messages and events out, against a bare str0m that answers.

use super::*;
use crate::options::{Fidelity, Sections};
use crate::track::{Codec, Layer, LayerSpec, RtpOut, TrackHandle, TrackSpec};
use lk::signal_request::Message as Request;
use lk::signal_response::Message;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;
use str0m::change::SdpOffer;
use str0m::{Candidate, Rtc};

/// Answers offers like a server, and takes no part in anything else.
struct Server {
    rtc: Rtc,
    now: Instant,
}

impl Server {
    fn new(now: Instant) -> Self {
        let mut rtc = Rtc::builder()
            .set_rtp_mode(true)
            .set_ice_lite(true)
            .clear_codecs()
            .enable_opus(true, false)
            .enable_vp8(true)
            .build(now);
        let address = SocketAddr::from(([192, 0, 2, 1], 7882));
        rtc.add_local_candidate(Candidate::host(address, "udp").unwrap());
        Self { rtc, now }
    }

    fn answer(&mut self, offer: &lk::SessionDescription) -> lk::SessionDescription {
        let parsed = SdpOffer::from_sdp_string(&offer.sdp).unwrap();
        let answer = self.rtc.sdp_api().accept_offer(parsed).unwrap();
        lk::SessionDescription {
            r#type: "answer".into(),
            sdp: answer.to_sdp_string(),
            id: offer.id,
            mid_to_track_id: HashMap::new(),
        }
    }
}

fn local() -> LocalAddresses {
    LocalAddresses {
        publisher: SocketAddr::from(([127, 0, 0, 1], 40_000)),
        subscriber: None,
    }
}

fn signal(session: &mut Session, message: Message, now: Instant) {
    let response = lk::SignalResponse {
        message: Some(message),
    };
    session.handle_signal(response, now);
}

fn join() -> Message {
    Message::Join(lk::JoinResponse {
        ping_interval: 5,
        ping_timeout: 15,
        participant: Some(lk::ParticipantInfo {
            sid: "PA_me".into(),
            ..Default::default()
        }),
        ..Default::default()
    })
}

fn requests(session: &mut Session) -> Vec<Request> {
    std::iter::from_fn(|| session.poll_signal()?.message).collect()
}

fn events(session: &mut Session) -> Vec<SessionEvent> {
    std::iter::from_fn(|| session.poll_event()).collect()
}

/// The only request, an offer.
fn offer(session: &mut Session) -> lk::SessionDescription {
    match requests(session).as_slice() {
        [Request::Offer(offer)] => offer.clone(),
        other => panic!("{other:?}"),
    }
}

/// A client that has joined and whose first offer was answered.
fn joined(options: SessionOptions) -> (Session, Server) {
    let now = Instant::now();
    let mut server = Server::new(now);
    let mut session = Session::new(options, local(), now).unwrap();
    let first = session.initial_offer().unwrap();
    signal(&mut session, join(), now);
    let answer = server.answer(&first);
    signal(&mut session, Message::Answer(answer), now);
    assert!(matches!(
        events(&mut session).first(),
        Some(SessionEvent::Joined(_))
    ));
    assert_eq!(requests(&mut session), []);
    (session, server)
}

fn sections(sdp: &str, kind: &str) -> usize {
    sdp.matches(&format!("m={kind} ")).count()
}

fn camera() -> TrackSpec {
    let layers = Layer::ALL.map(|layer| LayerSpec {
        layer,
        width: 320,
        height: 180,
        bitrate_bps: 100_000,
    });
    TrackSpec::camera(Codec::Vp8, layers)
}

#[test]
fn the_first_offer_has_the_sections_of_livekits_clients() {
    let session = Session::new(SessionOptions::default(), local(), Instant::now()).unwrap();
    let offer = session.initial_offer().unwrap();
    assert_eq!(offer.id, 1);
    let count = |kind| sections(&offer.sdp, kind);
    assert_eq!(
        (count("application"), count("audio"), count("video")),
        (1, 3, 3)
    );
    assert!(offer.sdp.contains("transport-wide-cc"));
}

#[test]
fn a_counting_client_asks_for_no_congestion_feedback() {
    let options = SessionOptions {
        fidelity: Fidelity::Counting,
        receive: Sections { audio: 1, video: 0 },
        ..SessionOptions::default()
    };
    let session = Session::new(options, local(), Instant::now()).unwrap();
    let offer = session.initial_offer().unwrap();
    assert!(!offer.sdp.contains("transport-wide-cc"), "{}", offer.sdp);
    assert_eq!(sections(&offer.sdp, "video"), 0);
}

#[test]
fn two_connections_offer_nothing_until_somebody_publishes() {
    let now = Instant::now();
    let options = SessionOptions {
        mode: PeerMode::Dual,
        ..SessionOptions::default()
    };
    let missing = Session::new(options.clone(), local(), now).unwrap_err();
    assert_eq!(missing, SessionError::NoSecondAddress);
    let mut addresses = local();
    addresses.subscriber = Some(SocketAddr::from(([127, 0, 0, 1], 40_001)));
    let mut session = Session::new(options, addresses, now).unwrap();
    assert!(session.initial_offer().is_none());
    signal(&mut session, join(), now);
    assert_eq!(requests(&mut session), []);
}

#[test]
fn more_sections_are_offered_when_the_server_asks() {
    let (mut session, mut server) = joined(SessionOptions::default());
    let asked = lk::MediaSectionsRequirement {
        num_audios: 2,
        num_videos: 1,
    };
    let now = server.now;
    signal(&mut session, Message::MediaSectionsRequirement(asked), now);
    let second = offer(&mut session);
    assert_eq!(
        (
            second.id,
            sections(&second.sdp, "audio"),
            sections(&second.sdp, "video")
        ),
        (2, 5, 4)
    );
    // While it is in flight the newest wish waits.
    signal(&mut session, Message::MediaSectionsRequirement(asked), now);
    assert_eq!(requests(&mut session), []);
    let answer = server.answer(&second);
    signal(&mut session, Message::Answer(answer), now);
    assert_eq!(sections(&offer(&mut session).sdp, "audio"), 7);
}

#[test]
fn an_offer_that_changes_nothing_uses_up_no_section() {
    let (mut session, mut server) = joined(SessionOptions::default());
    let now = server.now;
    let nothing = lk::MediaSectionsRequirement::default();
    for id in 2..5 {
        signal(
            &mut session,
            Message::MediaSectionsRequirement(nothing),
            now,
        );
        let again = offer(&mut session);
        assert_eq!(again.id, id);
        assert_eq!(
            sections(&again.sdp, "audio") + sections(&again.sdp, "video"),
            6
        );
        assert_eq!(again.sdp.matches("a=recvonly").count(), 6, "{}", again.sdp);
        let answer = server.answer(&again);
        signal(&mut session, Message::Answer(answer), now);
    }
}

#[test]
fn an_answer_to_an_earlier_offer_is_dropped() {
    let (mut session, mut server) = joined(SessionOptions::default());
    let now = server.now;
    let nothing = lk::MediaSectionsRequirement::default();
    signal(
        &mut session,
        Message::MediaSectionsRequirement(nothing),
        now,
    );
    let second = offer(&mut session);
    let answer = server.answer(&second);
    let mut stale = answer.clone();
    stale.id = 1;
    signal(&mut session, Message::Answer(stale), now);
    assert_eq!(session.counters().stale_answers, 1);
    signal(&mut session, Message::Answer(answer), now);
    assert_eq!((session.counters().stale_answers, session.end()), (1, None));
}

#[test]
fn a_track_is_announced_named_offered_and_opened() {
    let (mut session, mut server) = joined(SessionOptions::default());
    let now = server.now;
    let track = session.publish(camera(), now);
    let request = match requests(&mut session).as_slice() {
        [Request::AddTrack(request)] => request.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        (
            request.layers.len(),
            request.simulcast_codecs[0].codec.as_str()
        ),
        (3, "vp8")
    );
    let published = lk::TrackPublishedResponse {
        cid: request.cid.clone(),
        track: Some(lk::TrackInfo {
            sid: "TR_1".into(),
            ..Default::default()
        }),
    };
    signal(&mut session, Message::TrackPublished(published), now);
    let second = offer(&mut session);
    assert!(second.sdp.contains(&request.cid));
    assert!(
        second.sdp.contains("a=simulcast:send q;h;f"),
        "{}",
        second.sdp
    );
    assert_eq!(session.track_sid(track), Ok("TR_1"));
    let answer = server.answer(&second);
    signal(&mut session, Message::Answer(answer), now);
    assert!(events(&mut session).contains(&SessionEvent::Sending(track)));
    // Media is not connected.
    let packet = RtpOut {
        payload: vec![0; 10].into(),
        timestamp: 0,
        marker: true,
        audio_level: None,
    };
    let written = session.write(track, Layer::Low, packet, now);
    assert_eq!(written, Err(WriteError::NotReady));
    // Its end is offered.
    session.unpublish(track, now).unwrap();
    assert!(offer(&mut session).sdp.contains("a=inactive"));
    assert_eq!(
        session.track_sid(track),
        Err(PublicationError::UnknownTrack)
    );
}

#[test]
fn a_refused_track_says_why() {
    let (mut session, server) = joined(SessionOptions::default());
    let now = server.now;
    let track = session.publish(TrackSpec::microphone(), now);
    let Some(Request::AddTrack(request)) = requests(&mut session).pop() else {
        panic!("an announcement");
    };
    let refusal = lk::RequestResponse {
        reason: lk::request_response::Reason::NotAllowed.into(),
        message: "not you".into(),
        request: Some(lk::request_response::Request::AddTrack(request)),
        ..Default::default()
    };
    signal(&mut session, Message::RequestResponse(refusal), now);
    let cause = "NOT_ALLOWED: not you".to_owned();
    assert_eq!(
        events(&mut session),
        [SessionEvent::PublishRefused { track, cause }]
    );
}

#[test]
fn a_track_that_the_server_never_names_is_given_up() {
    let (mut session, server) = joined(SessionOptions::default());
    let start = server.now;
    session.publish(TrackSpec::microphone(), start);
    session.handle_timeout(start + Duration::from_secs(9));
    signal(
        &mut session,
        Message::Pong(0),
        start + Duration::from_secs(9),
    );
    session.handle_timeout(start + Duration::from_secs(10));
    let refused = |event: &SessionEvent| matches!(event, SessionEvent::PublishRefused { .. });
    assert!(events(&mut session).iter().any(refused));
}

#[test]
fn the_end_is_the_last_event_and_told_to_the_server() {
    let (mut session, server) = joined(SessionOptions::default());
    session.leave(server.now);
    assert!(matches!(
        requests(&mut session).as_slice(),
        [Request::Leave(_)]
    ));
    assert_eq!(events(&mut session), [SessionEvent::Ended(EndReason::Left)]);
    signal(&mut session, join(), server.now);
    session.handle_timeout(server.now + Duration::from_secs(100));
    assert_eq!(
        (events(&mut session), session.poll_timeout()),
        (vec![], None)
    );
}

#[test]
fn a_server_that_sends_the_client_away_says_what_to_do() {
    let (mut session, server) = joined(SessionOptions::default());
    let leave = lk::LeaveRequest {
        action: lk::leave_request::Action::Reconnect.into(),
        reason: lk::DisconnectReason::ServerShutdown.into(),
        ..Default::default()
    };
    signal(&mut session, Message::Leave(leave), server.now);
    let text = session.end().unwrap().to_string();
    assert!(
        text.contains("SERVER_SHUTDOWN") && text.contains("join again"),
        "{text}"
    );
}

#[test]
fn media_that_never_connects_ends_it() {
    let (mut session, server) = joined(SessionOptions::default());
    let mut now = server.now;
    while session.end().is_none() {
        now = session
            .poll_timeout()
            .unwrap()
            .max(now + Duration::from_millis(1));
        signal(&mut session, Message::Pong(0), now);
        session.handle_timeout(now);
    }
    assert_eq!(session.end(), Some(&EndReason::MediaTimeout));
    assert!(now - server.now < Duration::from_secs(21));
}

#[test]
fn descriptions_and_datagrams_of_strangers_are_no_panic() {
    let (mut session, server) = joined(SessionOptions::default());
    let now = server.now;
    let from = SocketAddr::from(([192, 0, 2, 9], 9));
    for byte in 0..=255 {
        session.handle_datagram(Connection::Publisher, from, &[byte; 60], now);
        session.handle_datagram(Connection::Subscriber, from, &[byte], now);
    }
    let trickle = lk::TrickleRequest {
        candidate_init: "{\"candidate\":\"nonsense\"}".into(),
        ..Default::default()
    };
    signal(&mut session, Message::Trickle(trickle), now);
    assert_eq!(session.end(), None);
    let nothing = lk::MediaSectionsRequirement::default();
    signal(
        &mut session,
        Message::MediaSectionsRequirement(nothing),
        now,
    );
    let nonsense = lk::SessionDescription {
        sdp: "nonsense".into(),
        ..Default::default()
    };
    signal(&mut session, Message::Answer(nonsense), now);
    assert!(matches!(session.end(), Some(EndReason::MediaFailed(_))));
}

fn resuming(attempts: u32) -> SessionOptions {
    SessionOptions {
        resume_attempts: attempts,
        ..SessionOptions::default()
    }
}

/// A camera that is named and opened; what is known of its sources: `a=ssrc` and `a=msid` lines.
fn with_camera(session: &mut Session, server: &mut Server) -> Vec<String> {
    let now = server.now;
    session.publish(camera(), now);
    let Some(Request::AddTrack(request)) = requests(session).pop() else {
        panic!("an announcement");
    };
    let published = lk::TrackPublishedResponse {
        cid: request.cid,
        track: Some(lk::TrackInfo {
            sid: "TR_1".into(),
            ..Default::default()
        }),
    };
    signal(session, Message::TrackPublished(published), now);
    let second = offer(session);
    let answer = server.answer(&second);
    signal(session, Message::Answer(answer), now);
    events(session);
    names(&second.sdp)
}

/// How a description calls what we send.
fn names(sdp: &str) -> Vec<String> {
    let (_, section) = sdp.split_once("a=sendonly").unwrap();
    let section = section.split("m=").next().unwrap();
    let named = |line: &&str| line.starts_with("a=msid:") || line.starts_with("a=rid:");
    section.lines().filter(named).map(str::to_owned).collect()
}

/// The signalling breaks, and is there again.
fn redialled(session: &mut Session, now: Instant) -> Instant {
    session.handle_signal_end("it broke".into(), now);
    assert_eq!(requests(session), []);
    let at = session.resume.poll_timeout().unwrap();
    assert!(
        at >= now
            && session
                .poll_redial(now - Duration::from_millis(1))
                .is_none()
    );
    let redial = session.poll_redial(at).unwrap();
    assert_eq!(redial.participant_sid, "PA_me");
    session.handle_redialled(at);
    at
}

#[test]
fn a_lost_signal_is_tried_again_with_pauses_and_ends_in_the_end() {
    let (mut session, server) = joined(resuming(2));
    let mut now = server.now;
    session.handle_signal_end("it broke".into(), now);
    let lost = EndReason::SignalClosed("it broke".into());
    assert_eq!(events(&mut session), [SessionEvent::Resuming(lost.clone())]);
    for _ in 0..2 {
        assert!(session.is_resuming() && session.has_lost_signal());
        now = session.resume.poll_timeout().unwrap();
        assert!(session.poll_redial(now).is_some());
        assert!(session.poll_redial(now).is_none(), "one at a time");
        session.handle_redial_failed("refused".into(), false, now);
    }
    assert_eq!(events(&mut session), [SessionEvent::Ended(lost)]);
}

#[test]
fn a_client_that_may_not_come_back_ends_at_once() {
    let (mut session, server) = joined(resuming(9));
    session.handle_signal_end("it broke".into(), server.now);
    let at = session.resume.poll_timeout().unwrap();
    session.poll_redial(at).unwrap();
    session.handle_redial_failed("401".into(), true, at);
    assert_eq!(session.end(), Some(&EndReason::SignalClosed("401".into())));
}

#[test]
fn a_server_that_says_nothing_on_the_new_connection_is_tried_again() {
    let (mut session, server) = joined(resuming(9));
    let at = redialled(&mut session, server.now);
    assert!(!session.has_lost_signal());
    session.handle_timeout(at + Duration::from_secs(5));
    assert!(session.has_lost_signal());
    assert_eq!(session.end(), None);
}

#[test]
fn the_first_thing_that_is_said_again_is_what_the_client_has() {
    let (mut session, mut server) = joined(resuming(9));
    let before = with_camera(&mut session, &mut server);
    session.subscribe(&["TR_x"], false);
    let at = redialled(&mut session, server.now);
    // Of the past.
    signal(&mut session, Message::Pong(0), at);
    session.mute(TrackHandle(0), true).unwrap();
    assert_eq!(requests(&mut session), []);
    signal(
        &mut session,
        Message::Reconnect(lk::ReconnectResponse::default()),
        at,
    );
    let said = requests(&mut session);
    let [
        Request::SyncState(state),
        Request::Offer(restart),
        Request::Subscription(_),
        Request::Mute(_),
    ] = said.as_slice()
    else {
        panic!("{said:?}");
    };
    let subscription = state.subscription.as_ref().unwrap();
    assert_eq!(
        (subscription.track_sids.as_slice(), subscription.subscribe),
        (&["TR_x".to_owned()][..], false)
    );
    assert_eq!(state.publish_tracks[0].track.as_ref().unwrap().sid, "TR_1");
    assert_eq!(names(&restart.sdp), before);
    let answer = server.answer(restart);
    signal(&mut session, Message::Answer(answer), at);
    assert_eq!(session.end(), None);
}

#[test]
fn a_fresh_transport_of_the_server_keeps_sections_names_and_sources() {
    let (mut session, mut server) = joined(resuming(9));
    let before = with_camera(&mut session, &mut server);
    let at = redialled(&mut session, server.now);
    signal(
        &mut session,
        Message::Reconnect(lk::ReconnectResponse::default()),
        at,
    );
    let said = requests(&mut session);
    let Some(Request::Offer(restart)) = said.last() else {
        panic!("{said:?}");
    };
    let mids = |sdp: &str| -> Vec<String> {
        let mids = sdp.lines().filter(|line| line.starts_with("a=mid:"));
        mids.map(str::to_owned).collect()
    };
    let streams = |session: &mut Session| {
        let mid = session.publications.mids()[0];
        let ssrcs = session.publisher.call(|rtc| {
            let mut api = rtc.direct_api();
            let of = |layer: Layer| Some(api.stream_tx_by_mid(mid, Some(layer.rid()))?.ssrc());
            Ok(Layer::ALL.map(of))
        });
        ssrcs.unwrap()
    };
    let sources = streams(&mut session);
    assert!(sources.iter().all(Option::is_some));
    let mut fresh = Server::new(server.now);
    let answer = fresh.answer(restart);
    signal(&mut session, Message::Answer(answer), at);
    assert_eq!(session.end(), None);
    assert_eq!(streams(&mut session), sources);
    // And it goes on negotiating, with the sections that it had.
    let nothing = lk::MediaSectionsRequirement {
        num_audios: 1,
        num_videos: 0,
    };
    // As if media were connected.
    session.handle_way(Connection::Publisher, at);
    assert!(!session.is_resuming());
    signal(&mut session, Message::MediaSectionsRequirement(nothing), at);
    let next = offer(&mut session);
    assert_eq!(names(&next.sdp), before);
    assert_eq!(mids(&next.sdp)[..8], mids(&restart.sdp)[..]);
    let answer = fresh.answer(&next);
    signal(&mut session, Message::Answer(answer), at);
    assert_eq!(session.end(), None);
}

/// Publishes a track, whose offer is not answered yet.
fn offered_microphone(session: &mut Session, now: Instant) -> TrackHandle {
    let track = session.publish(TrackSpec::microphone(), now);
    let said = requests(session);
    let Some(Request::AddTrack(request)) = said.last() else {
        panic!("{said:?}");
    };
    let published = lk::TrackPublishedResponse {
        cid: request.cid.clone(),
        track: Some(lk::TrackInfo {
            sid: "TR_mic".into(),
            ..Default::default()
        }),
    };
    signal(session, Message::TrackPublished(published), now);
    assert!(matches!(requests(session).as_slice(), [Request::Offer(_)]));
    track
}

/// The server may have taken an offer whose answer got lost, and ends what the next one leaves out.
#[test]
fn a_track_whose_answer_was_lost_is_offered_with_the_restart() {
    for same_transport in [true, false] {
        let (mut session, mut server) = joined(resuming(9));
        with_camera(&mut session, &mut server);
        let track = offered_microphone(&mut session, server.now);
        let at = redialled(&mut session, server.now);
        signal(
            &mut session,
            Message::Reconnect(lk::ReconnectResponse::default()),
            at,
        );
        let said = requests(&mut session);
        let Some(Request::Offer(restart)) = said.last() else {
            panic!("{said:?}");
        };
        let cid = session.publications.all[&track].cid.clone();
        assert!(
            restart.sdp.contains(&format!(" {cid}\r\n")),
            "{}",
            restart.sdp
        );
        let mut fresh = Server::new(server.now);
        let answering = if same_transport {
            &mut server
        } else {
            &mut fresh
        };
        let answer = answering.answer(restart);
        signal(&mut session, Message::Answer(answer), at);
        assert_eq!(session.end(), None);
        let sending = events(&mut session);
        assert!(
            sending.contains(&SessionEvent::Sending(track)),
            "{sending:?}"
        );
        session.handle_way(Connection::Publisher, at);
        assert_eq!(requests(&mut session), [], "nothing is left to offer");
    }
}

#[test]
fn a_server_that_wants_the_client_to_resume_is_left_without_an_end() {
    let (mut session, server) = joined(resuming(9));
    let leave = lk::LeaveRequest {
        action: lk::leave_request::Action::Resume.into(),
        reason: lk::DisconnectReason::Migration.into(),
        ..Default::default()
    };
    signal(&mut session, Message::Leave(leave), server.now);
    assert!(session.has_lost_signal());
    let at = session.resume.poll_timeout().unwrap();
    session.poll_redial(at).unwrap();
    session.handle_redialled(at);
    let leave = lk::LeaveRequest {
        action: lk::leave_request::Action::Reconnect.into(),
        reason: lk::DisconnectReason::StateMismatch.into(),
        ..Default::default()
    };
    signal(&mut session, Message::Leave(leave), at);
    assert!(session.end().unwrap().to_string().contains("join again"));
}
