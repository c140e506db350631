//! Scripts: inputs, then exactly the outputs that follow, in order, with nothing left over.
//!
//! Outputs are written as lines, with identities and client track ids in place of random sids:
//! `ada < update bo:active[cam]` is a message to ada's client, `n1 < subscribe ada cam` a command to
//! the node n1, `ada x left` a closed connection.

mod arriving;
mod draining;
mod invariants;
mod joining;
mod layers;
mod leaving;
mod migrating;
mod moving;
mod negotiation;
mod node;
mod options;
mod publishing;
mod rendering;
mod resources;
mod resuming;
mod simulating;
mod spreading;
mod story;
mod subscribing;
mod talking;

use super::*;
use affinity::RoomCase;
use affinity::directory::Epoch;
use livekit_protocol as lk;
use proto::id::{ParticipantSid, TrackSid};
use proto::media::PeerMode;
use proto::token::{Claims, VideoGrant};
use rendering::Names;
use std::time::Duration;

/// The state of a meeting of so many (`p0`, `p1`, ...) in the room `standup`, as it is exported.
pub(crate) fn exported(size: usize) -> RoomState {
    let mut story = story::Story::meeting(size);
    story.begin();
    story.exported.unwrap()
}

/// For tests of what is around the core.
impl RoomState {
    pub(crate) fn somebody(&self) -> (ParticipantSid, Claims) {
        let first = &self.participants[0];
        (first.sid.clone(), first.claims.clone())
    }

    /// Somebody's track.
    pub(crate) fn track(&self) -> (ParticipantSid, TrackSid) {
        let mut participants = self.participants.iter();
        let owner = participants.find(|p| !p.tracks.is_empty()).unwrap();
        (owner.sid.clone(), owner.tracks[0].sid.clone())
    }

    pub(crate) fn media_of(&self, sid: &ParticipantSid) -> proto::media::CarriedMedia {
        let mut participants = self.participants.iter();
        participants.find(|p| p.sid == *sid).unwrap().media.clone()
    }

    pub(crate) fn carry(&mut self, packet: proto::media::CarriedData) {
        self.data.push(packet);
    }
}

/// Somebody who has joined.
#[derive(Clone, Debug)]
struct Peer {
    session: SessionId,
    sid: ParticipantSid,
}

struct Script {
    core: Core,
    now: Instant,
    names: Names,
    sessions: u64,
}

impl Script {
    /// A shard with one node.
    fn new() -> Self {
        let mut script = Self::without_nodes(config());
        script
            .core
            .handle_node_attached(NodeId::new("n1"), 1, None, script.now);
        script
    }

    fn without_nodes(config: CoreConfig) -> Self {
        let now = Instant::now();
        Self {
            core: Core::new(config, now),
            now,
            names: Names::default(),
            sessions: 0,
        }
    }

    /// A meeting in which everybody is connected, with nothing left to say.
    fn meeting<const N: usize>(identities: [&str; N]) -> (Self, [Peer; N]) {
        let mut script = Self::new();
        let peers = identities.map(|identity| {
            let peer = script.join(request(identity));
            script.event(NodeEvent::Connected {
                participant: peer.sid.clone(),
            });
            peer
        });
        script.pass(Duration::from_secs(1));
        script.outputs();
        (script, peers)
    }

    /// Joins and leaves the outputs for the test to look at.
    fn attempt(&mut self, mut join: Join) -> SessionId {
        self.sessions += 1;
        let session = SessionId(self.sessions);
        join.session = session;
        self.names.session(session, join.claims.identity());
        self.core.handle_join(join, self.now);
        session
    }

    /// Joins, and forgets the outputs.
    fn join(&mut self, join: Join) -> Peer {
        let session = self.attempt(join);
        self.outputs();
        let sid = self.sid_of(session);
        Peer { session, sid }
    }

    fn sid_of(&self, session: SessionId) -> ParticipantSid {
        self.core.index.sessions[&session].participant.clone()
    }

    fn ask(&mut self, peer: &Peer, message: signal_request::Message) {
        self.core.handle_signal(peer.session, message, self.now);
    }

    fn event(&mut self, event: NodeEvent) {
        self.core
            .handle_node_event(&NodeId::new("n1"), event, self.now);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.core.handle_timeout(self.now);
    }

    /// Announces a track, negotiates it, and forgets the outputs.
    fn publish(&mut self, peer: &Peer, cid: &str) -> TrackSid {
        self.ask(peer, signal_request::Message::AddTrack(track(cid)));
        self.outputs();
        let sid = self.names.track(cid);
        self.bind(peer, &sid, cid);
        self.outputs();
        sid
    }

    /// The node answers an offer.
    fn answer(&mut self, peer: &Peer, offer_id: u32) {
        self.event(NodeEvent::Answer {
            participant: peer.sid.clone(),
            offer_id,
            sdp: "v=0".into(),
            mid_to_track: BTreeMap::new(),
        });
    }

    /// The node finds the track on a section named after its cid.
    fn bind(&mut self, peer: &Peer, track: &TrackSid, cid: &str) {
        let mime = if cid == "mic" {
            "audio/opus"
        } else {
            "video/VP8"
        };
        self.event(NodeEvent::TrackBound {
            participant: peer.sid.clone(),
            track: track.clone(),
            mid: cid.into(),
            mime: mime.into(),
        });
    }

    fn next(&mut self) -> Option<Output> {
        let output = self.core.poll_output()?;
        self.names.learn(&output);
        Some(output)
    }

    fn outputs(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(output) = self.next() {
            lines.push(self.names.line(&output));
        }
        lines
    }

    /// All that is left to say is this.
    #[track_caller]
    fn expect(&mut self, expected: &[&str]) {
        let lines = self.outputs();
        assert_eq!(lines, expected, "got:\n{}", lines.join("\n"));
    }
}

fn config() -> CoreConfig {
    CoreConfig {
        seed: 7,
        unix_ms: 1_000_000,
        ..CoreConfig::default()
    }
}

fn room(name: &str) -> RoomKey {
    RoomKey::from_claim(name, RoomCase::Sensitive).unwrap()
}

/// A single-connection client that takes every track.
fn request(identity: &str) -> Join {
    Join {
        session: SessionId(0),
        room: room("standup"),
        epoch: Epoch(1),
        claims: Claims {
            iss: "devkey".into(),
            sub: identity.into(),
            video: VideoGrant {
                room: "standup".into(),
                room_join: true,
                ..VideoGrant::default()
            },
            ..Claims::default()
        },
        mode: PeerMode::Single,
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

/// `mic` is audio, anything else is video.
fn track(cid: &str) -> lk::AddTrackRequest {
    let (kind, source) = if cid == "mic" {
        (lk::TrackType::Audio, lk::TrackSource::Microphone)
    } else {
        (lk::TrackType::Video, lk::TrackSource::Camera)
    };
    lk::AddTrackRequest {
        cid: cid.into(),
        r#type: kind.into(),
        source: source.into(),
        ..lk::AddTrackRequest::default()
    }
}

fn sdp(id: u32, kind: &str, sdp: &str) -> lk::SessionDescription {
    lk::SessionDescription {
        r#type: kind.into(),
        sdp: sdp.into(),
        id,
        ..lk::SessionDescription::default()
    }
}
