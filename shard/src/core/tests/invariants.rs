//! Whatever clients and nodes do, and in whatever order, also while the room goes from one shard to
//! the other and back: nothing panics, the tables agree with each other, a client hears nothing
//! before its answer, a node only hears of what it knows, and the room is live in one place.

use super::node::{FakeNode, check};
use super::*;
use lk::signal_response::Message;
use proptest::prelude::*;
use proto::media::{CarriedData, CarriedMedia, Speaker, TransportLoss};
use signal_request::Message as Ask;
use std::collections::BTreeSet;

const PEOPLE: [&str; 3] = ["ada", "bo", "cy"];

#[derive(Clone, Copy, Debug)]
enum Way {
    Single,
    Dual,
    Resource,
}

#[derive(Clone, Debug)]
enum Step {
    Join {
        who: usize,
        way: Way,
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
    NodeLost {
        side: usize,
    },
    RoomLost,
    BeginMove,
    /// The nodes answer what they were asked for a move.
    NodesAnswer,
    SealMove,
    CancelMove,
    CompleteMove,
    /// The old shard's answer comes, or does not.
    Pulled {
        lost: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = || 0..PEOPLE.len();
    let way = prop_oneof![
        3 => Just(Way::Single),
        3 => Just(Way::Dual),
        2 => Just(Way::Resource),
    ];
    let step = prop_oneof![
        6 => (who(), way, prop::bool::weighted(0.2))
            .prop_map(|(who, way, hidden)| Step::Join { who, way, hidden }),
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
        1 => (0..2_usize).prop_map(|side| Step::NodeLost { side }),
        1 => Just(Step::RoomLost),
        3 => Just(Step::BeginMove),
        5 => Just(Step::NodesAnswer),
        1 => Just(Step::SealMove),
        1 => Just(Step::CancelMove),
        4 => Just(Step::CompleteMove),
        3 => any::<bool>().prop_map(|lost| Step::Pulled { lost }),
    ];
    prop::collection::vec(step, 1..60)
}

/// What the old shard says of a participant.
type Answer = Option<(CarriedMedia, Vec<CarriedData>)>;

/// A shard and its node.
struct Side {
    core: Core,
    node: FakeNode,
}

/// What the outside world knows.
struct World {
    sides: [Side; 2],
    /// Whose the room is.
    owner: usize,
    now: Instant,
    sessions: u64,
    /// The newest session and sid that each person had, and where.
    peers: [Option<(usize, Peer)>; PEOPLE.len()],
    answered: BTreeSet<SessionId>,
    closed: BTreeSet<SessionId>,
    exported: Option<RoomState>,
    late: Vec<LateSignal>,
    /// Questions and answers between the shards that are on their way, with who asked.
    pulls: Vec<(usize, ParticipantSid)>,
    pulled: Vec<(usize, ParticipantSid, Answer)>,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let side = |seed| {
            let mut core = Core::new(CoreConfig { seed, ..config() }, now);
            core.handle_node_attached(NodeId::new("n1"), 1, None, now);
            Side {
                core,
                node: FakeNode::default(),
            }
        };
        Self {
            sides: [side(7), side(8)],
            owner: 0,
            now,
            sessions: 0,
            peers: Default::default(),
            answered: BTreeSet::new(),
            closed: BTreeSet::new(),
            exported: None,
            late: Vec::new(),
            pulls: Vec::new(),
            pulled: Vec::new(),
        }
    }

    fn take(&mut self, step: Step) {
        let key = room("standup");
        let now = self.now;
        let owner = &mut self.sides[self.owner];
        match step {
            Step::Join { who, way, hidden } => self.join(who, way, hidden),
            Step::Resume { who } => self.resume(who),
            Step::NodeLost { side } => {
                let node = NodeId::new("n1");
                let side = &mut self.sides[side];
                side.core.handle_node_lost(&node, now);
                side.node.lose_everything();
                side.core.handle_node_attached(node, 1, None, now);
            }
            Step::RoomLost => owner.core.handle_room_lost(&key, now),
            Step::BeginMove => {
                if owner.core.begin_move(&key, now).is_ok() {
                    self.exported = None;
                }
            }
            Step::NodesAnswer => self.answer(),
            Step::SealMove => {
                let _ = owner.core.seal_move(&key);
            }
            Step::CancelMove => owner.core.cancel_move(&key, now),
            Step::CompleteMove => self.complete(),
            Step::Pulled { lost } => self.carry_pulls(lost),
            Step::Pass { seconds } => self.pass(Duration::from_secs(seconds)),
            step => self.by_peer(&step),
        }
    }

    fn answer(&mut self) {
        for side in &mut self.sides {
            let events = [side.node.answer_export(), side.node.answer_detach()];
            for event in events.into_iter().flatten() {
                side.core
                    .handle_node_event(&NodeId::new("n1"), event, self.now);
            }
        }
    }

    fn complete(&mut self) {
        let key = room("standup");
        let core = &mut self.sides[self.owner].core;
        if !core.seal_move(&key) {
            return;
        }
        assert!(core.complete_move(&key, self.now));
        self.follow();
        let state = self.exported.take().unwrap();
        self.owner = 1 - self.owner;
        let core = &mut self.sides[self.owner].core;
        let imported = core.import_room(state, Epoch(2), self.now);
        assert_eq!(imported, Ok(()));
        core.handle_late(&key, std::mem::take(&mut self.late), self.now);
    }

    fn carry_pulls(&mut self, lost: bool) {
        let key = room("standup");
        for (asker, participant) in std::mem::take(&mut self.pulls) {
            let asked = &mut self.sides[1 - asker].core;
            if !lost {
                asked.pull(&key, &participant, self.now);
            }
        }
        for (asker, participant, answer) in std::mem::take(&mut self.pulled) {
            let core = &mut self.sides[asker].core;
            core.handle_pulled(&key, &participant, answer.filter(|_| !lost), self.now);
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        for side in &mut self.sides {
            side.core.handle_timeout(self.now);
        }
    }

    fn join(&mut self, who: usize, way: Way, hidden: bool) {
        let mut join = request(PEOPLE[who]);
        join.claims.video.hidden = hidden;
        match way {
            Way::Single => {}
            Way::Dual => join.mode = PeerMode::Dual,
            Way::Resource => join.signalling = Signalling::Resource,
        }
        self.enter(who, join);
    }

    fn resume(&mut self, who: usize) {
        let Some((_, peer)) = &self.peers[who] else {
            return;
        };
        let mut join = request(PEOPLE[who]);
        join.resume = Some(Resume {
            participant: peer.sid.clone(),
            reason: 0,
            sync_state: None,
        });
        self.enter(who, join);
    }

    fn enter(&mut self, who: usize, mut join: Join) {
        self.sessions += 1;
        let session = SessionId(self.sessions);
        join.session = session;
        let core = &mut self.sides[self.owner].core;
        core.handle_join(join, self.now);
        if let Some(seat) = core.index.sessions.get(&session) {
            let sid = seat.participant.clone();
            self.peers[who] = Some((self.owner, Peer { session, sid }));
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
        let Some((side, peer)) = self.peers[*who].clone() else {
            return;
        };
        let ask = self.ask(side, &peer, step);
        let event = self.event(side, &peer, step);
        let core = &mut self.sides[side].core;
        if let Some(ask) = ask {
            core.handle_signal(peer.session, ask, self.now);
        } else if let Some(event) = event {
            core.handle_node_event(&NodeId::new("n1"), event, self.now);
        } else {
            core.handle_session_closed(peer.session, self.now);
        }
    }

    fn ask(&self, side: usize, peer: &Peer, step: &Step) -> Option<Ask> {
        let tracks = &self.sides[side].node.tracks;
        let any_track = tracks.keys().next();
        let any_track = any_track.map_or("TR_x".into(), |track| track.as_str().to_owned());
        Some(match step {
            Step::Leave { .. } => Ask::Leave(lk::LeaveRequest::default()),
            Step::AddTrack { cid, .. } => Ask::AddTrack(track(["mic", "cam", "screen"][*cid])),
            Step::Silence { .. } => Ask::Offer(sdp(1, "offer", "v=0\r\n")),
            Step::Mute { muted, .. } => {
                let own = tracks.iter().find(|(_, owner)| **owner == peer.sid);
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

    fn event(&self, side: usize, peer: &Peer, step: &Step) -> Option<NodeEvent> {
        let participant = peer.sid.clone();
        Some(match step {
            Step::Bind { .. } => {
                let mut own = self.sides[side].node.tracks.iter();
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
                room: self.sides[side].core.rooms().first()?.sid.clone(),
                speakers: vec![Speaker {
                    participant,
                    level: 0.5,
                    active: true,
                }],
            },
            _ => return None,
        })
    }

    /// Follows the outputs as clients, nodes and shards would.
    fn follow(&mut self) {
        for side in 0..2 {
            while let Some(output) = self.sides[side].core.poll_output() {
                self.follow_one(side, output);
            }
        }
    }

    fn follow_one(&mut self, side: usize, output: Output) {
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
            Output::Node { command, .. } => self.sides[side].node.obey(command),
            Output::RoomExported { state, .. } => self.exported = Some(*state),
            Output::Moved { late, .. } => self.late = late,
            Output::Pull { participant, .. } => self.pulls.push((side, participant)),
            Output::Pulled {
                participant,
                media,
                data,
                ..
            } => {
                let answer = media.map(|media| (*media, data));
                self.pulled.push((1 - side, participant, answer));
            }
            Output::HungUp { room, participant } => {
                let new = &mut self.sides[1 - side].core;
                new.handle_hung_up(&room, &participant, self.now);
            }
            Output::MoveFailed { .. }
            | Output::JoinRefused { .. }
            | Output::RoomClosed { .. }
            | Output::RoomOptions { .. }
            | Output::OfferRefused { .. }
            | Output::MintRefreshToken { .. } => {}
        }
    }

    fn check(&self) {
        for side in &self.sides {
            check(&side.core, &side.node);
        }
        let elsewhere = &self.sides[1 - self.owner].core;
        assert_eq!(elsewhere.rooms(), [], "live in two places");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn tables_stay_in_agreement_and_everybody_is_told_in_order(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
            world.follow();
            world.check();
        }
        // Left alone, shards become empty.
        for side in &mut world.sides {
            side.core.cancel_move(&room("standup"), world.now);
            for session in side.core.index.sessions.keys().copied().collect::<Vec<_>>() {
                side.core.handle_session_closed(session, world.now);
            }
        }
        for _ in 0..3 {
            world.pass(Duration::from_secs(600));
            world.follow();
            world.check();
        }
        for side in &world.sides {
            prop_assert_eq!(side.core.rooms(), []);
            prop_assert_eq!(side.core.poll_timeout(), None);
            prop_assert!(side.core.tails.is_empty() && side.node.participants.is_empty());
        }
    }
}
