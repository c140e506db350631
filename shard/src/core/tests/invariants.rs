//! Whatever clients and nodes do, and in whatever order: nothing panics, the tables agree with each
//! other, a client hears nothing before its answer, and a node only hears of what it knows.

use super::*;
use lk::signal_response::Message;
use proptest::prelude::*;
use proto::media::{NodeCommand, Speaker, TransportLoss};
use signal_request::Message as Ask;
use std::collections::BTreeSet;

const PEOPLE: [&str; 3] = ["ada", "bo", "cy"];

#[derive(Clone, Debug)]
enum Step {
    Join {
        who: usize,
        dual: bool,
        hidden: bool,
    },
    Resume {
        who: usize,
    },
    Close {
        who: usize,
    },
    Leave {
        who: usize,
    },
    AddTrack {
        who: usize,
        cid: usize,
    },
    Bind {
        who: usize,
    },
    Silence {
        who: usize,
    },
    Mute {
        who: usize,
        muted: bool,
    },
    Subscribe {
        who: usize,
        subscribe: bool,
    },
    Audience {
        who: usize,
        everybody: bool,
    },
    Sync {
        who: usize,
    },
    Connected {
        who: usize,
    },
    Lost {
        who: usize,
        closed: bool,
    },
    ResumeReady {
        who: usize,
    },
    Refused {
        who: usize,
    },
    Speak {
        who: usize,
    },
    Pass {
        seconds: u64,
    },
    NodeLost,
    RoomLost,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = || 0..PEOPLE.len();
    let step = prop_oneof![
        6 => (who(), any::<bool>(), prop::bool::weighted(0.2))
            .prop_map(|(who, dual, hidden)| Step::Join { who, dual, hidden }),
        3 => who().prop_map(|who| Step::Resume { who }),
        3 => who().prop_map(|who| Step::Close { who }),
        1 => who().prop_map(|who| Step::Leave { who }),
        5 => (who(), 0..3_usize).prop_map(|(who, cid)| Step::AddTrack { who, cid }),
        5 => who().prop_map(|who| Step::Bind { who }),
        1 => who().prop_map(|who| Step::Silence { who }),
        2 => (who(), any::<bool>()).prop_map(|(who, muted)| Step::Mute { who, muted }),
        3 => (who(), any::<bool>())
            .prop_map(|(who, subscribe)| Step::Subscribe { who, subscribe }),
        1 => (who(), any::<bool>())
            .prop_map(|(who, everybody)| Step::Audience { who, everybody }),
        2 => who().prop_map(|who| Step::Sync { who }),
        3 => who().prop_map(|who| Step::Connected { who }),
        1 => (who(), any::<bool>()).prop_map(|(who, closed)| Step::Lost { who, closed }),
        3 => who().prop_map(|who| Step::ResumeReady { who }),
        1 => who().prop_map(|who| Step::Refused { who }),
        1 => who().prop_map(|who| Step::Speak { who }),
        2 => (0..40_u64).prop_map(|seconds| Step::Pass { seconds }),
        1 => Just(Step::NodeLost),
        1 => Just(Step::RoomLost),
    ];
    prop::collection::vec(step, 1..60)
}

/// What the outside world knows.
struct World {
    script: Script,
    /// The newest session and sid that each person had.
    peers: [Option<Peer>; PEOPLE.len()],
    answered: BTreeSet<SessionId>,
    closed: BTreeSet<SessionId>,
    node_participants: BTreeSet<ParticipantSid>,
    node_tracks: BTreeMap<TrackSid, ParticipantSid>,
    node_subscriptions: BTreeSet<(ParticipantSid, TrackSid)>,
}

impl World {
    fn take(&mut self, step: Step) {
        match step {
            Step::Join { who, dual, hidden } => self.join(who, dual, hidden),
            Step::Resume { who } => self.resume(who),
            Step::NodeLost => {
                let node = NodeId::new("n1");
                self.script.core.handle_node_lost(&node, self.script.now);
                self.node_participants.clear();
                self.node_tracks.clear();
                self.node_subscriptions.clear();
                self.script.core.handle_node_attached(node, self.script.now);
            }
            Step::RoomLost => {
                let now = self.script.now;
                self.script.core.handle_room_lost(&room("standup"), now);
            }
            Step::Pass { seconds } => self.script.pass(Duration::from_secs(seconds)),
            step => self.by_peer(&step),
        }
    }

    fn join(&mut self, who: usize, dual: bool, hidden: bool) {
        let mut join = request(PEOPLE[who]);
        join.claims.video.hidden = hidden;
        if dual {
            join.mode = PeerMode::Dual;
        }
        self.enter(who, join);
    }

    fn resume(&mut self, who: usize) {
        let Some(peer) = &self.peers[who] else { return };
        let mut join = request(PEOPLE[who]);
        join.resume = Some(Resume {
            participant: peer.sid.clone(),
            reason: 0,
            sync_state: None,
        });
        self.enter(who, join);
    }

    fn enter(&mut self, who: usize, join: Join) {
        let session = self.script.attempt(join);
        if let Some(seat) = self.script.core.index.sessions.get(&session) {
            let sid = seat.participant.clone();
            self.peers[who] = Some(Peer { session, sid });
        }
    }

    fn by_peer(&mut self, step: &Step) {
        let (Step::Close { who }
        | Step::Leave { who }
        | Step::AddTrack { who, .. }
        | Step::Bind { who }
        | Step::Silence { who }
        | Step::Mute { who, .. }
        | Step::Subscribe { who, .. }
        | Step::Audience { who, .. }
        | Step::Sync { who }
        | Step::Connected { who }
        | Step::Lost { who, .. }
        | Step::ResumeReady { who }
        | Step::Refused { who }
        | Step::Speak { who }) = step
        else {
            return;
        };
        let Some(peer) = self.peers[*who].clone() else {
            return;
        };
        if let Some(ask) = self.ask(&peer, step) {
            self.script.ask(&peer, ask);
        } else if let Some(event) = self.event(&peer, step) {
            self.script.event(event);
        } else {
            let core = &mut self.script.core;
            core.handle_session_closed(peer.session, self.script.now);
        }
    }

    fn ask(&self, peer: &Peer, step: &Step) -> Option<Ask> {
        let any_track = self.node_tracks.keys().next();
        let any_track = any_track.map_or("TR_x".into(), |track| track.as_str().to_owned());
        Some(match step {
            Step::Leave { .. } => Ask::Leave(lk::LeaveRequest::default()),
            Step::AddTrack { cid, .. } => Ask::AddTrack(track(["mic", "cam", "screen"][*cid])),
            Step::Silence { .. } => Ask::Offer(sdp(1, "offer", "v=0\r\n")),
            Step::Mute { muted, .. } => {
                let own = self
                    .node_tracks
                    .iter()
                    .find(|(_, owner)| **owner == peer.sid);
                Ask::Mute(lk::MuteTrackRequest {
                    sid: own.map_or(any_track, |(track, _)| track.as_str().to_owned()),
                    muted: *muted,
                })
            }
            Step::Subscribe { subscribe, .. } => Ask::Subscription(lk::UpdateSubscription {
                track_sids: vec![any_track],
                subscribe: *subscribe,
                participant_tracks: Vec::new(),
            }),
            Step::Audience { everybody, .. } => {
                Ask::SubscriptionPermission(lk::SubscriptionPermission {
                    all_participants: *everybody,
                    track_permissions: Vec::new(),
                })
            }
            Step::Sync { .. } => Ask::SyncState(lk::SyncState::default()),
            _ => return None,
        })
    }

    fn event(&self, peer: &Peer, step: &Step) -> Option<NodeEvent> {
        let participant = peer.sid.clone();
        Some(match step {
            Step::Bind { .. } => {
                let mut own = self.node_tracks.iter();
                let own = own.rfind(|(_, owner)| **owner == peer.sid);
                NodeEvent::TrackBound {
                    participant,
                    track: own.map_or(TrackSid::new("TR_x"), |(track, _)| track.clone()),
                    mid: "0".into(),
                    mime: "video/VP8".into(),
                }
            }
            Step::Connected { .. } => NodeEvent::Connected { participant },
            Step::Lost { closed, .. } => NodeEvent::Disconnected {
                participant,
                reason: if *closed {
                    TransportLoss::PeerClosed
                } else {
                    TransportLoss::IceTimeout
                },
            },
            Step::ResumeReady { .. } => NodeEvent::ResumeReady {
                participant,
                last_data_sequence: 3,
            },
            Step::Refused { .. } => NodeEvent::Refused {
                participant,
                offer_id: 1,
                reason: "no".into(),
            },
            Step::Speak { .. } => NodeEvent::Speakers {
                room: self.script.core.rooms().first()?.sid.clone(),
                speakers: vec![Speaker {
                    participant,
                    level: 0.5,
                    active: true,
                }],
            },
            _ => return None,
        })
    }

    /// Follows the outputs as clients and a node would.
    fn follow(&mut self) {
        while let Some(output) = self.script.core.poll_output() {
            match output {
                Output::Signal { session, message } => {
                    assert!(!self.closed.contains(&session), "said after the close");
                    match message {
                        Message::Join(_) | Message::Reconnect(_) => {
                            assert!(self.answered.insert(session), "answered twice");
                        }
                        Message::Leave(_) => {}
                        other => {
                            assert!(self.answered.contains(&session), "too early: {other:?}");
                        }
                    }
                }
                Output::Close { session, .. } => {
                    assert!(self.closed.insert(session), "closed twice");
                }
                Output::Node { command, .. } => self.obey(command),
                Output::JoinRefused { .. }
                | Output::RoomClosed { .. }
                | Output::RoomOptions { .. }
                | Output::MintRefreshToken { .. } => {}
            }
        }
    }

    fn obey(&mut self, command: NodeCommand) {
        let known = |world: &Self, sid: &ParticipantSid| {
            assert!(world.node_participants.contains(sid), "unknown participant");
        };
        match command {
            NodeCommand::AddParticipant(new) => {
                assert!(
                    self.node_participants.insert(new.participant),
                    "added twice"
                );
            }
            NodeCommand::RemoveParticipant { participant } => {
                assert!(self.node_participants.remove(&participant), "removed twice");
                self.node_tracks.retain(|_, owner| *owner != participant);
                let tracks = &self.node_tracks;
                self.node_subscriptions
                    .retain(|(who, track)| *who != participant && tracks.contains_key(track));
            }
            NodeCommand::Publish(track) => {
                known(self, &track.participant);
                let before = self.node_tracks.insert(track.track, track.participant);
                assert_eq!(before, None);
            }
            NodeCommand::Unpublish { track } => {
                assert!(self.node_tracks.remove(&track).is_some(), "unknown track");
                self.node_subscriptions.retain(|(_, other)| *other != track);
            }
            NodeCommand::SetMuted { track, .. } => {
                assert!(self.node_tracks.contains_key(&track), "unknown track");
            }
            NodeCommand::Subscribe {
                participant, track, ..
            } => {
                known(self, &participant);
                assert!(self.node_tracks.contains_key(&track), "unknown track");
                let fresh = self.node_subscriptions.insert((participant, track));
                assert!(fresh, "subscribed twice");
            }
            NodeCommand::Unsubscribe { participant, track } => {
                let known = self.node_subscriptions.remove(&(participant, track));
                assert!(known, "unsubscribed from nothing");
            }
            NodeCommand::SetTrackSettings {
                participant, track, ..
            } => {
                assert!(self.node_subscriptions.contains(&(participant, track)));
            }
            NodeCommand::Offer { participant, .. }
            | NodeCommand::Answer { participant, .. }
            | NodeCommand::Candidate { participant, .. }
            | NodeCommand::PrepareResume { participant }
            | NodeCommand::Detach { participant }
            | NodeCommand::SetPermission { participant, .. } => known(self, &participant),
            NodeCommand::Adopt { participant, .. } => {
                self.node_participants.insert(participant.participant);
            }
            NodeCommand::Owned { .. }
            | NodeCommand::Export { .. }
            | NodeCommand::Deliver { .. } => {}
        }
    }

    /// The core's tables agree with each other and with the node's.
    fn check(&self) {
        let core = &self.script.core;
        let mut participants = BTreeSet::new();
        let mut tracks = BTreeMap::new();
        let mut subscriptions = BTreeSet::new();
        for room in core.rooms.values() {
            assert_eq!(core.index.rooms.get(&room.sid), Some(&room.key));
            assert_eq!(room.identities.len(), room.participants.len());
            for (sid, participant) in &room.participants {
                participants.insert(sid.clone());
                assert_eq!(core.index.participants.get(sid), Some(&room.key));
                assert_eq!(room.identities.get(&participant.identity), Some(sid));
                if let Some(session) = participant.session {
                    assert_eq!(&core.index.sessions[&session].participant, sid);
                }
                for track in participant.tracks.keys() {
                    tracks.insert(track.clone(), sid.clone());
                    assert_eq!(room.owners.get(track), Some(sid));
                }
                for track in &participant.subscriptions {
                    subscriptions.insert((sid.clone(), track.clone()));
                }
            }
        }
        let seated = core.index.sessions.values().map(|seat| &seat.participant);
        assert!(
            seated
                .collect::<BTreeSet<_>>()
                .is_subset(&participants.iter().collect())
        );
        assert_eq!(core.index.participants.len(), participants.len());
        assert_eq!(core.index.rooms.len(), core.rooms.len());
        assert_eq!(self.node_participants, participants);
        assert_eq!(self.node_tracks, tracks);
        assert_eq!(self.node_subscriptions, subscriptions);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn tables_stay_in_agreement_and_everybody_is_told_in_order(steps in steps()) {
        let mut world = World {
            script: Script::new(),
            peers: Default::default(),
            answered: BTreeSet::new(),
            closed: BTreeSet::new(),
            node_participants: BTreeSet::new(),
            node_tracks: BTreeMap::new(),
            node_subscriptions: BTreeSet::new(),
        };
        for step in steps {
            world.take(step);
            world.follow();
            world.check();
        }
        // Left alone, a shard becomes empty.
        for session in world.script.core.index.sessions.keys().copied().collect::<Vec<_>>() {
            world.script.core.handle_session_closed(session, world.script.now);
        }
        for _ in 0..3 {
            world.script.pass(Duration::from_secs(600));
            world.follow();
            world.check();
        }
        prop_assert_eq!(world.script.core.rooms(), []);
        prop_assert_eq!(world.script.core.poll_timeout(), None);
    }
}
