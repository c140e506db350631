//! Two shards with a node each, clients that behave as LiveKit's do, and somebody who carries a room
//! from one shard to the other.

use super::node::{FakeNode, View, check};
use super::*;
use lk::signal_response::Message;
use proto::media::NodeCommand;
use signal_request::Message as Ask;

pub(super) struct Shard {
    pub(super) core: Core,
    pub(super) node: FakeNode,
}

/// What a client does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It is connected.
    Stay,
    /// Its connection is gone.
    Resume,
    /// It was told to.
    Rejoin,
    /// It was told to, or it left.
    StayAway,
}

pub(super) struct Person {
    pub(super) seat: Option<(usize, Peer)>,
    join: Join,
    pub(super) next: Next,
    pub(super) view: View,
    pub(super) tracks: Vec<TrackSid>,
    /// Of the answers to its resumes.
    pub(super) last_message_seq: Vec<u32>,
    pub(super) heard: Vec<Message>,
    pub(super) joins: u32,
}

pub(super) struct Story {
    pub(super) shards: [Shard; 2],
    /// Where the room is.
    pub(super) owner: usize,
    pub(super) now: Instant,
    pub(super) people: BTreeMap<String, Person>,
    sessions: u64,
    pub(super) exported: Option<RoomState>,
    pub(super) late: Option<Vec<LateSignal>>,
    pub(super) failures: Vec<MoveFailure>,
    pub(super) lose_pulls: bool,
}

impl Story {
    /// The second shard's clock is ten minutes behind.
    pub(super) fn new() -> Self {
        let now = Instant::now();
        let shard = |seed, unix_ms| {
            let config = CoreConfig {
                seed,
                unix_ms,
                ..CoreConfig::default()
            };
            let mut core = Core::new(config, now);
            core.handle_node_attached(NodeId::new("n1"), 1, None, now);
            let node = FakeNode::default();
            Shard { core, node }
        };
        Self {
            shards: [shard(7, 1_600_000), shard(8, 1_000_000)],
            owner: 0,
            now,
            people: BTreeMap::new(),
            sessions: 0,
            exported: None,
            late: None,
            failures: Vec::new(),
            lose_pulls: false,
        }
    }

    /// A meeting of `size`; every second one has a microphone, the first one a camera as well.
    pub(super) fn meeting(size: usize) -> Self {
        let mut story = Self::new();
        for number in 0..size {
            story.join(request(&format!("p{number}")));
        }
        for number in (0..size).step_by(2) {
            story.publish(&format!("p{number}"), "mic");
        }
        story.publish("p0", "cam");
        story.pass(Duration::from_secs(1));
        story
    }

    pub(super) fn join(&mut self, mut join: Join) {
        let identity = join.claims.sub.clone();
        join.session = self.next_session();
        let peer = Peer {
            session: join.session,
            sid: ParticipantSid::new(""),
        };
        let person = self.people.entry(identity).or_insert_with(|| Person {
            seat: None,
            join: join.clone(),
            next: Next::Stay,
            view: View::default(),
            tracks: Vec::new(),
            last_message_seq: Vec::new(),
            heard: Vec::new(),
            joins: 0,
        });
        person.seat = Some((self.owner, peer));
        person.next = Next::Stay;
        person.tracks.clear();
        self.shards[self.owner].core.handle_join(join, self.now);
        self.pump();
    }

    /// Comes back as its client would.
    pub(super) fn come_back(&mut self, identity: &str) {
        let session = self.next_session();
        let person = self.people.get_mut(identity).unwrap();
        let mut join = person.join.clone();
        match person.next {
            Next::Stay | Next::StayAway => return,
            Next::Rejoin => return self.join(join),
            Next::Resume => {}
        }
        let (_, peer) = person.seat.clone().unwrap();
        join.session = session;
        join.resume = Some(Resume {
            participant: peer.sid.clone(),
            reason: 1,
            sync_state: None,
        });
        person.seat = Some((self.owner, Peer { session, ..peer }));
        person.next = Next::Stay;
        self.shards[self.owner].core.handle_join(join, self.now);
        self.pump();
    }

    pub(super) fn everybody_comes_back(&mut self) {
        for identity in self.people.keys().cloned().collect::<Vec<_>>() {
            self.come_back(&identity);
        }
    }

    fn next_session(&mut self) -> SessionId {
        self.sessions += 1;
        SessionId(self.sessions)
    }

    pub(super) fn peer(&self, identity: &str) -> (usize, Peer) {
        self.people[identity].seat.clone().unwrap()
    }

    pub(super) fn ask(&mut self, identity: &str, message: Ask) {
        let (side, peer) = self.peer(identity);
        self.shards[side]
            .core
            .handle_signal(peer.session, message, self.now);
        self.pump();
    }

    /// Announces a track and offers it.
    pub(super) fn publish(&mut self, identity: &str, cid: &str) {
        self.ask(identity, Ask::AddTrack(track(cid)));
        self.offer(identity);
    }

    fn offer(&mut self, identity: &str) {
        let sections = self.people[identity].tracks.iter();
        let sections = sections.map(|t| format!("m=audio 9 X 1\r\na=mid:{t}\r\na=sendonly\r\n"));
        let text: String = sections.collect();
        self.ask(identity, Ask::Offer(sdp(1, "offer", &text)));
    }

    pub(super) fn mute(&mut self, identity: &str) {
        let sid = self.people[identity].tracks[0].as_str().to_owned();
        self.ask(
            identity,
            Ask::Mute(lk::MuteTrackRequest { sid, muted: true }),
        );
    }

    pub(super) fn leave(&mut self, identity: &str) {
        self.ask(identity, Ask::Leave(lk::LeaveRequest::default()));
    }

    /// A data packet, at the node that the client's transport leads to.
    pub(super) fn send_data(&mut self, identity: &str, side: usize) -> bool {
        let (_, peer) = self.peer(identity);
        self.shards[side].node.send_data(&peer.sid)
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        for shard in &mut self.shards {
            shard.core.handle_timeout(self.now);
        }
        self.pump();
    }

    /// Freezes the room, as far as the export.
    pub(super) fn begin(&mut self) {
        let owner = &mut self.shards[self.owner];
        assert_eq!(owner.core.begin_move(&room("standup"), self.now), Ok(()));
        self.pump();
    }

    /// The directory has given the room to the other shard.
    pub(super) fn complete(&mut self) {
        let key = room("standup");
        let state = self.exported.take().unwrap();
        let state = RoomState::from_json(&state.to_json().unwrap()).unwrap();
        let [a, b] = &mut self.shards;
        let (from, to) = if self.owner == 0 { (a, b) } else { (b, a) };
        assert_eq!(to.core.check_import(&state), Ok(()));
        assert!(from.core.seal_move(&key));
        assert!(from.core.complete_move(&key, self.now));
        assert_eq!(from.core.rooms(), []);
        assert_eq!(to.core.import_room(state, Epoch(9), self.now), Ok(()));
        self.owner = 1 - self.owner;
        self.pump();
        let late = serde_json::to_string(&self.late.take().unwrap()).unwrap();
        let late = serde_json::from_str(&late).unwrap();
        let core = &mut self.shards[self.owner].core;
        core.handle_late(&key, late, self.now);
        self.pump();
    }

    /// Cores, nodes and clients talk until there is nothing to say.
    pub(super) fn pump(&mut self) {
        loop {
            let mut quiet = true;
            for side in 0..2 {
                while let Some(output) = self.shards[side].core.poll_output() {
                    quiet = false;
                    self.deliver(side, output);
                }
            }
            if quiet {
                break;
            }
        }
        for shard in &self.shards {
            check(&shard.core, &shard.node);
        }
    }

    fn deliver(&mut self, side: usize, output: Output) {
        match output {
            Output::Signal { session, message } => self.hear(side, session, message),
            Output::Close { session, .. } | Output::JoinRefused { session, .. } => {
                self.closed(side, session);
            }
            Output::Node { command, .. } => self.command(side, command),
            Output::RoomExported { state, .. } => self.exported = Some(*state),
            Output::Moved { late, .. } => self.late = Some(late),
            Output::MoveFailed { why, .. } => self.failures.push(why),
            Output::Pull { room, participant } => {
                if !self.lose_pulls {
                    let old = &mut self.shards[1 - side].core;
                    old.pull(&room, &participant, self.now);
                }
            }
            Output::Pulled {
                room,
                participant,
                media,
                data,
            } => {
                let pulled = media.map(|media| (*media, data));
                let new = &mut self.shards[1 - side].core;
                new.handle_pulled(&room, &participant, pulled, self.now);
            }
            Output::HungUp { room, participant } => {
                let new = &mut self.shards[1 - side].core;
                new.handle_hung_up(&room, &participant, self.now);
            }
            Output::RoomClosed { .. }
            | Output::MintRefreshToken { .. }
            | Output::OfferRefused { .. }
            | Output::RoomOptions { .. } => {}
        }
    }

    fn whose(&self, side: usize, session: SessionId) -> Option<String> {
        let mut people = self.people.iter();
        let found = people.find(|(_, person)| {
            let seat = person.seat.as_ref();
            seat.is_some_and(|(at, peer)| (*at, peer.session) == (side, session))
        });
        found.map(|(identity, _)| identity.clone())
    }

    fn closed(&mut self, side: usize, session: SessionId) {
        if let Some(identity) = self.whose(side, session) {
            let person = self.people.get_mut(&identity).unwrap();
            if person.next == Next::Stay {
                person.next = Next::Resume;
            }
        }
    }

    fn hear(&mut self, side: usize, session: SessionId, message: Message) {
        let Some(identity) = self.whose(side, session) else {
            return;
        };
        let person = self.people.get_mut(&identity).unwrap();
        person.heard.push(message.clone());
        match message {
            Message::Join(join) => {
                let sid = join.participant.unwrap().sid;
                person.seat.as_mut().unwrap().1.sid = ParticipantSid::new(sid);
                person.view = View::default();
                person.view.take(&join.other_participants);
                person.joins += 1;
                self.offer(&identity);
            }
            Message::Update(update) => person.view.take(&update.participants),
            Message::TrackPublished(published) => {
                let sid = TrackSid::new(published.track.unwrap().sid);
                if !person.tracks.contains(&sid) {
                    person.tracks.push(sid);
                }
            }
            Message::Reconnect(reconnect) => {
                person.last_message_seq.push(reconnect.last_message_seq);
                let published = |sid: &TrackSid| lk::TrackPublishedResponse {
                    track: Some(lk::TrackInfo {
                        sid: sid.as_str().into(),
                        ..lk::TrackInfo::default()
                    }),
                    ..lk::TrackPublishedResponse::default()
                };
                let state = lk::SyncState {
                    publish_tracks: person.tracks.iter().map(published).collect(),
                    ..lk::SyncState::default()
                };
                self.ask(&identity, Ask::SyncState(state));
                self.offer(&identity);
            }
            Message::Leave(leave) => {
                person.next = match leave.action() {
                    lk::leave_request::Action::Disconnect => Next::StayAway,
                    lk::leave_request::Action::Resume => Next::Resume,
                    lk::leave_request::Action::Reconnect => Next::Rejoin,
                };
            }
            _ => {}
        }
    }

    fn command(&mut self, side: usize, command: NodeCommand) {
        let node = &mut self.shards[side].node;
        node.obey(command.clone());
        let mut events = Vec::new();
        match command {
            NodeCommand::PrepareResume { participant } => events.push(NodeEvent::ResumeReady {
                last_data_sequence: node.sequences.get(&participant).copied().unwrap_or(0),
                participant,
            }),
            NodeCommand::Offer {
                participant,
                offer_id,
                ..
            } => {
                events.push(NodeEvent::Answer {
                    participant: participant.clone(),
                    offer_id,
                    sdp: "v=0".into(),
                    mid_to_track: BTreeMap::new(),
                });
                let own = node
                    .tracks
                    .iter()
                    .filter(|(_, owner)| **owner == participant);
                for (track, _) in own {
                    events.push(NodeEvent::TrackBound {
                        participant: participant.clone(),
                        track: track.clone(),
                        mid: track.as_str().into(),
                        mime: "audio/opus".into(),
                    });
                }
                events.push(NodeEvent::Connected { participant });
            }
            _ => {}
        }
        events.extend(node.answer_export());
        events.extend(node.answer_detach());
        for event in events {
            let core = &mut self.shards[side].core;
            core.handle_node_event(&NodeId::new("n1"), event, self.now);
        }
    }

    /// Nobody saw anybody leave, and everybody sees everybody with the same names and tracks.
    pub(super) fn assert_nobody_left(&self) {
        for (identity, person) in &self.people {
            assert_eq!(
                person.view.gone,
                Vec::<String>::new(),
                "as {identity} sees it"
            );
            for (other, them) in &self.people {
                let sid = &them.seat.as_ref().unwrap().1.sid;
                let seen = person.view.others.get(sid.as_str());
                if identity != other {
                    let seen = seen.map(|(_, tracks)| tracks.clone());
                    let tracks = them.tracks.iter().map(|track| track.as_str().to_owned());
                    assert_eq!(seen, Some(tracks.collect()), "{identity} of {other}");
                }
            }
        }
    }

    pub(super) fn sids(&self) -> BTreeMap<String, (ParticipantSid, Vec<TrackSid>)> {
        let people = self.people.iter().map(|(identity, person)| {
            let sid = person.seat.as_ref().unwrap().1.sid.clone();
            (identity.clone(), (sid, person.tracks.clone()))
        });
        people.collect()
    }
}
