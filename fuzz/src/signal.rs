//! Signalling messages: read alike in both encodings, and harmless to everybody else in the room.

use affinity::directory::Epoch;
use affinity::{RoomCase, RoomKey};
use livekit_protocol as lk;
use lk::signal_response::Message;
use prost::Message as _;
use proto::id::NodeId;
use proto::media::{NodeCommand, PeerMode};
use proto::token::{Claims, VideoGrant};
use shard::core::limits::{CANDIDATE_BYTES_MAX, SDP_BYTES_MAX};
use shard::core::{Core, CoreConfig, Join, Output, SessionId, Signalling};
use shard::fuzzing;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const ADA: SessionId = SessionId(1);
const BO: SessionId = SessionId(2);
/// Largest message that any of ours may become, bytes.
const MESSAGE_MAX: usize = 4 * 1024 * 1024;

/// A binary frame.
pub fn signal_binary(data: &[u8]) {
    let Ok(request) = fuzzing::signal_binary(data) else {
        return;
    };
    let again = fuzzing::signal_binary(&request.encode_to_vec());
    assert_eq!(again.as_ref(), Ok(&request), "not what was read");
    obeyed(request);
}

/// A text frame.
pub fn signal_text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(request) = fuzzing::signal_text(text) else {
        return;
    };
    let json = serde_json::to_string(&request).expect("JSON");
    assert_eq!(fuzzing::signal_text(&json).as_ref(), Ok(&request), "{json}");
    let binary = fuzzing::signal_binary(&request.encode_to_vec());
    assert_eq!(binary.as_ref(), Ok(&request), "the encodings differ");
    obeyed(request);
}

/// Ada sends this in a meeting with Bo.
fn obeyed(request: lk::SignalRequest) {
    let Some(message) = request.message else {
        return;
    };
    let (mut core, mut now) = meeting();
    for message in [message.clone(), message] {
        core.handle_signal(ADA, message, now);
        for output in drain(&mut core) {
            let ends = match output {
                Output::Signal { session, message } => {
                    session == BO && matches!(message, Message::Leave(_))
                }
                Output::Close { session, .. } => session == BO,
                _ => false,
            };
            assert!(!ends, "Ada put Bo out");
        }
    }
    for _ in 0..8 {
        now += Duration::from_secs(20);
        core.handle_timeout(now);
        drain(&mut core);
    }
}

/// Everything that follows, looked at.
fn drain(core: &mut Core) -> Vec<Output> {
    let outputs: Vec<Output> = std::iter::from_fn(|| core.poll_output()).collect();
    for output in &outputs {
        match output {
            Output::Signal { message, .. } => said(message),
            Output::Node { command, .. } => commanded(command),
            _ => {}
        }
    }
    outputs
}

fn said(message: &Message) {
    if let Message::Update(update) = message {
        for participant in &update.participants {
            let known = matches!(participant.identity.as_str(), "ada" | "bo");
            assert!(known, "an invented participant: {participant:?}");
        }
    }
    let message = Some(message.clone());
    let bytes = lk::SignalResponse { message }.encoded_len();
    assert!(bytes <= MESSAGE_MAX, "an answer of {bytes} bytes");
}

fn commanded(command: &NodeCommand) {
    match command {
        NodeCommand::Offer { sdp, .. } | NodeCommand::Answer { sdp, .. } => {
            assert!(sdp.len() <= SDP_BYTES_MAX, "{} bytes of SDP", sdp.len());
        }
        NodeCommand::Candidate { candidate, .. } => {
            assert!(!candidate.is_empty() && candidate.len() <= CANDIDATE_BYTES_MAX);
        }
        _ => {}
    }
}

fn meeting() -> (Core, Instant) {
    let now = Instant::now();
    let config = CoreConfig {
        seed: 7,
        unix_ms: 1_000_000,
        ..CoreConfig::default()
    };
    let mut core = Core::new(config, now);
    core.handle_node_attached(NodeId::new("n1"), 1, None, now);
    core.handle_join(join(ADA, "ada", PeerMode::Dual), now);
    core.handle_join(join(BO, "bo", PeerMode::Single), now);
    drain(&mut core);
    (core, now)
}

pub(crate) fn join(session: SessionId, identity: &str, mode: PeerMode) -> Join {
    let video = VideoGrant {
        room: "standup".to_owned(),
        room_join: true,
        can_update_own_metadata: Some(true),
        ..VideoGrant::default()
    };
    Join {
        session,
        room: RoomKey::from_claim("standup", RoomCase::Sensitive).expect("a room"),
        epoch: Epoch(1),
        claims: Claims {
            iss: "devkey".to_owned(),
            sub: identity.to_owned(),
            video,
            ..Claims::default()
        },
        mode,
        signalling: Signalling::Socket,
        client: lk::ClientInfo {
            protocol: 17,
            ..lk::ClientInfo::default()
        },
        auto_subscribe: true,
        adaptive_stream: false,
        resume: None,
        offer: None,
        add_tracks: Vec::new(),
        metadata: String::new(),
        attributes: BTreeMap::new(),
        stored_options: None,
    }
}
