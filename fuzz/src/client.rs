//! What servers send to our client: the answer to its handshake, messages, descriptions, packets.

use crate::records;
use client::fuzzing::{fingerprint, sections, upgrade_answer, with_name};
use client::{
    Connection, DatagramKind, Fidelity, LocalAddresses, RtpHead, Session, SessionEvent,
    SessionOptions,
};
use livekit_protocol as lk;
use lk::signal_response::Message;
use prost::Message as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

/// The text of a refusal, characters.
const TEXT_CHARS_MAX: usize = 300;
/// Media sections, and sources of one.
const SECTIONS_MAX: usize = 2000;
const SOURCES_MAX: usize = 16;
/// Longer than all that a session waits for.
const LONG: Duration = Duration::from_secs(120);

/// An answer to a WebSocket's handshake; the first byte says how it is cut.
pub fn client_upgrade(data: &[u8]) {
    let Some((cut, bytes)) = data.split_first() else {
        return;
    };
    let pieces: Vec<&[u8]> = bytes.chunks(usize::from(*cut).max(1)).collect();
    let whole = upgrade_answer(&[bytes]);
    let cut = upgrade_answer(&pieces);
    match (&whole, &cut) {
        // What is wrong may be seen before the end, or a limit be reached; what is right is the same.
        (Ok(whole), Ok(cut)) => assert_eq!(whole, cut, "it depends on the cut"),
        (Err(_), _) | (_, Err(_)) => {}
    }
    if let Ok(Some((_, text))) = whole {
        assert!(text.chars().count() <= TEXT_CHARS_MAX);
        assert!(!text.contains(['\n', '\r']), "more than a line");
    }
}

/// A description of the server's.
pub fn client_sdp(data: &[u8]) {
    let sdp = String::from_utf8_lossy(data);
    let found = sections(&sdp);
    assert!(found.len() <= SECTIONS_MAX);
    assert!(found.iter().all(|(_, sources)| *sources <= SOURCES_MAX));
    assert!(!fingerprint(&sdp).contains('\n'));

    let named = with_name(&sdp, "0", "stream", "track");
    assert_eq!(
        named.lines().count(),
        sdp.lines().count(),
        "lines came or went"
    );
    assert_eq!(sections(&named).len(), found.len());
    assert_eq!(with_name(&named, "0", "stream", "track"), named);
    // A section that is not there has no name.
    let other = with_name(&sdp, "no such section", "stream", "track");
    assert!(other.lines().eq(sdp.lines()));
}

fn session(fidelity: Fidelity) -> (Session, Instant) {
    let now = Instant::now();
    let local = LocalAddresses {
        publisher: SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000)),
        subscriber: None,
    };
    let options = SessionOptions {
        fidelity,
        resume_attempts: 2,
        ..SessionOptions::default()
    };
    let mut session = Session::new(options, local, now).expect("a session");
    let join = lk::JoinResponse {
        participant: Some(lk::ParticipantInfo {
            sid: "PA_me".to_owned(),
            ..lk::ParticipantInfo::default()
        }),
        ..lk::JoinResponse::default()
    };
    let join = lk::SignalResponse {
        message: Some(Message::Join(join)),
    };
    session.handle_signal(join, now);
    (session, now)
}

/// Everything that a session says; the end comes last and once.
fn poll(session: &mut Session) -> Vec<SessionEvent> {
    let events: Vec<SessionEvent> = std::iter::from_fn(|| session.poll_event()).collect();
    while session.poll_transmit().is_some() || session.poll_signal().is_some() {}
    let is_end = |event: &SessionEvent| matches!(event, SessionEvent::Ended(_));
    if let Some(at) = events.iter().position(is_end) {
        assert_eq!(at + 1, events.len(), "{events:?}");
        assert!(session.end().is_some() && session.poll_timeout().is_none());
    }
    events
}

/// Signalling messages of a server, as records.
pub fn client_signal(data: &[u8]) {
    let (mut session, now) = session(Fidelity::Full);
    poll(&mut session);
    for (_, record) in records(data) {
        let ended = session.end().is_some();
        if let Ok(message) = lk::SignalResponse::decode(record) {
            session.handle_signal(message, now);
        }
        let events = poll(&mut session);
        assert!(!ended || events.is_empty(), "after the end: {events:?}");
    }
    session.handle_timeout(now + LONG);
    poll(&mut session);
}

/// Datagrams of strangers, as records, to a client that counts.
pub fn client_datagrams(data: &[u8]) {
    let (mut session, now) = session(Fidelity::Counting);
    poll(&mut session);
    let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    for (_, record) in records(data) {
        session.handle_datagram(Connection::Publisher, from, record, now);
        assert_eq!(session.poll_event(), None, "a stranger was heard");
        assert_eq!(session.poll_transmit(), None, "a stranger was answered");
        assert_eq!(session.end(), None);
        let is_rtp = DatagramKind::of(record) == DatagramKind::Rtp;
        let head = RtpHead::parse(record);
        assert_eq!(head.is_some(), record.len() >= 12 && record[0] >> 6 == 2);
        if let (true, Some(head)) = (is_rtp, head) {
            assert_eq!(head.ssrc.to_be_bytes(), record[8..12]);
            assert_eq!(head.sequence.to_be_bytes(), record[2..4]);
        }
    }
}
