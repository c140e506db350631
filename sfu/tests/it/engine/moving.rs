//! Rooms that move from node to node while everybody talks.

use super::chat::Chat;
use super::world::{NodeIndex, announced};
use super::*;
use proto::id::{Identity, ParticipantSid, RoomSid};
use proto::media::{CarriedData, CarriedMedia, CarriedRole, CarriedSection, CarriedStream};
use proto::media::{NewParticipant, OpenChannel, SectionKind};

const A: NodeIndex = 0;
const B: NodeIndex = 1;
const C: NodeIndex = 2;
/// Between two things that everybody says.
const TURN: Duration = Duration::from_millis(50);

/// Alice's.
const TRACKS: [&str; 3] = ["TR_mic", "TR_talk", "TR_cam"];

fn room() -> RoomSid {
    RoomSid::new("RM_1")
}

/// Alice publishes, bob watches, both talk.
struct Meeting {
    world: World,
    chat: Chat,
}

impl Meeting {
    fn new(keep_sent: bool) -> Self {
        let mut world = World::with_nodes(3);
        for name in ["alice", "bob"] {
            world.join(name, PeerMode::Single);
        }
        world.publish("alice", "TR_mic", Kind::Audio, &[]);
        world.publish("alice", "TR_talk", Kind::Audio, &[]);
        world.publish("alice", "TR_cam", Kind::Video, &SIMULCAST);
        for track in TRACKS {
            world.subscribe("bob", track);
        }
        world.run(seconds(3));
        let chat = Chat::new(&["alice", "bob"], keep_sent);
        let mut meeting = Self { world, chat };
        meeting.pass(seconds(1));
        meeting
    }

    /// Time passes, and everybody talks.
    fn pass(&mut self, duration: Duration) {
        let end = self.world.now + duration;
        while self.world.now < end {
            self.chat.turn(&mut self.world);
            self.world.run(TURN);
        }
    }

    fn last_event<T>(&self, node: NodeIndex, pick: impl Fn(&NodeEvent) -> Option<T>) -> T {
        let events = self.world.nodes[node].events.iter();
        events.rev().find_map(pick).expect("the node said it")
    }

    fn export(&mut self, node: NodeIndex) -> (Vec<CarriedMedia>, Vec<CarriedData>) {
        self.world
            .command_at(node, NodeCommand::Export { room: room() });
        self.last_event(node, |event| match event {
            NodeEvent::Exported {
                room: of,
                media,
                data,
                ..
            } if *of == room() => Some((media.clone(), data.clone())),
            _ => None,
        })
    }

    fn adopt(&mut self, node: NodeIndex, media: CarriedMedia) {
        let sid = media.participant.clone();
        let name = sid.as_str().strip_prefix("PA_").unwrap().to_owned();
        let participant = NewParticipant {
            selection: Default::default(),
            room: room(),
            participant: sid,
            identity: Identity::new(name),
            mode: PeerMode::Single,
            permission: all(),
            hidden: false,
            fixed: false,
        };
        self.world
            .command_at(node, NodeCommand::Adopt { participant, media });
    }

    fn deliver(&mut self, node: NodeIndex, data: Vec<CarriedData>) {
        let command = NodeCommand::Deliver { room: room(), data };
        self.world.command_at(node, command);
    }

    /// The room comes to another node; its clients are not there yet.
    fn begin(&mut self, from: NodeIndex, to: NodeIndex) {
        let (media, data) = self.export(from);
        assert_eq!(media.len(), 2);
        for media in media {
            self.adopt(to, media);
        }
        let alice = ParticipantSid::new("PA_alice");
        let mic = announced(alice.clone(), "TR_mic", Kind::Audio, &[]);
        let talk = announced(alice.clone(), "TR_talk", Kind::Audio, &[]);
        let camera = announced(alice, "TR_cam", Kind::Video, &SIMULCAST);
        for track in [mic, talk, camera] {
            self.world.command_at(to, NodeCommand::Publish(track));
        }
        // In another order: what is where must not follow from it.
        for track in TRACKS.into_iter().rev() {
            let command = NodeCommand::Subscribe {
                participant: ParticipantSid::new("PA_bob"),
                track: TrackSid::new(track),
                settings: TrackSettings::default(),
            };
            self.world.command_at(to, command);
        }
        self.deliver(to, data);
    }

    /// Lets a client go, and takes up what the old node said of it last.
    fn pull(&mut self, name: &'static str, to: NodeIndex) -> CarriedMedia {
        let from = self.world.clients[name].node;
        let participant = self.world.clients[name].sid.clone();
        let detach = NodeCommand::Detach { participant };
        self.world.command_at(from, detach);
        self.pass(Duration::from_millis(150));
        let sid = self.world.clients[name].sid.clone();
        let (media, data) = self.last_event(from, |event| match event {
            NodeEvent::Detached {
                participant,
                media,
                data,
            } if *participant == sid => Some((media.as_ref().clone(), data.clone())),
            _ => None,
        });
        self.adopt(to, media.clone());
        self.deliver(to, data);
        media
    }

    /// A client resumes at the node that its room went to.
    fn follow(&mut self, name: &'static str, to: NodeIndex) {
        self.chat.begin_resume(name);
        self.pass(Duration::from_millis(100));
        let media = self.pull(name, to);
        self.resume(name, to, &media);
    }

    fn resume(&mut self, name: &'static str, to: NodeIndex, media: &CarriedMedia) {
        let sid = self.world.clients[name].sid.clone();
        let prepare = NodeCommand::PrepareResume {
            participant: sid.clone(),
        };
        self.world.command_at(to, prepare);
        let last = self.last_event(to, |event| match event {
            NodeEvent::ResumeReady {
                participant,
                last_data_sequence,
            } if *participant == sid => Some(*last_data_sequence),
            _ => None,
        });
        assert!(last >= media.last_data_sequence);
        self.world.clients.get_mut(name).unwrap().node = to;
        let open: Vec<(&str, u16)> = media
            .channels
            .iter()
            .map(|channel| (channel.label.as_str(), channel.id))
            .collect();
        assert_eq!(open.len(), 3);
        // Clients do not mention this one.
        let listed: Vec<_> = open
            .iter()
            .filter(|(label, _)| *label != "_data_track")
            .copied()
            .collect();
        self.world.resume_listing(name, &open, &listed);
        let open = |meeting: &Self| {
            let channels = &meeting.world.clients[name].publisher.channels;
            channels.contains_key("_reliable") && channels.contains_key("_data_track")
        };
        for _ in 0..100 {
            if !open(self) {
                self.pass(TURN);
            }
        }
        assert!(open(self), "{name} resumes");
        self.chat.end_resume(&mut self.world, name, last);
    }

    /// All have gone: the old node forgets them.
    fn end(&mut self, node: NodeIndex) {
        for name in ["alice", "bob"] {
            let participant = self.world.clients[name].sid.clone();
            let remove = NodeCommand::RemoveParticipant { participant };
            self.world.command_at(node, remove);
        }
    }

    /// What the client was told last of its sections.
    fn sections(&self, name: &str) -> std::collections::BTreeMap<String, TrackSid> {
        self.world.clients[name].answers.last().unwrap().1.clone()
    }

    /// Bob hears and sees alice.
    fn assert_flows(&mut self) {
        self.world.take_got("bob");
        self.pass(seconds(3));
        let got = self.world.take_got("bob");
        let (heard, seen) = (audio(&got).len(), video(&got).len());
        assert!(heard > 100 && seen > 100, "{heard} audio, {seen} video");
        assert_eq!(layer(video(&got).last().unwrap()), b'f');
    }

    fn assert_no_trouble(&self) {
        let trouble = |event: &NodeEvent| {
            matches!(
                event,
                NodeEvent::Refused { .. } | NodeEvent::Disconnected { .. }
            )
        };
        assert_eq!(self.world.count(trouble), 0);
    }
}

fn both_move(order: [&'static str; 2], keep_sent: bool) {
    let mut meeting = Meeting::new(keep_sent);
    let before = (meeting.sections("alice"), meeting.sections("bob"));
    for (from, to) in [(A, B), (B, C)] {
        meeting.begin(from, to);
        meeting.pass(Duration::from_millis(200));
        for name in order {
            meeting.follow(name, to);
        }
        let after = (meeting.sections("alice"), meeting.sections("bob"));
        assert_eq!(after, before, "the same sections for the same tracks");
        meeting.end(from);
        meeting.assert_flows();
        let wanted = |event: &&NodeEvent| matches!(event, NodeEvent::SectionsWanted { .. });
        let events = &meeting.world.nodes[to].events;
        assert_eq!(
            events.iter().filter(wanted).count(),
            0,
            "nothing is missing"
        );
    }
    meeting.chat.turn(&mut meeting.world);
    meeting.chat.assert_complete();
    meeting.assert_no_trouble();
    send(&mut meeting.world, "alice", "_data_track", b"frame");
    let frame = ("_data_track".to_owned(), b"frame".to_vec());
    assert!(take_data(&mut meeting.world, "bob").contains(&frame));
    let report = meeting.world.engine().report();
    assert_eq!((report.participants, report.rooms), (0, 0), "nothing stays");
}

#[test]
fn publisher_and_subscriber_move_twice_and_no_message_is_lost() {
    both_move(["alice", "bob"], true);
}

#[test]
fn subscriber_and_publisher_move_twice_and_no_message_is_lost() {
    both_move(["bob", "alice"], true);
}

#[test]
fn clients_that_forget_what_has_left_them_lose_no_message_either() {
    both_move(["alice", "bob"], false);
    both_move(["bob", "alice"], false);
}

#[test]
fn simulcast_goes_on_although_clients_name_no_layers_any_more() {
    let mut meeting = Meeting::new(true);
    meeting.world.nameless = true;
    for (from, to) in [(A, B), (B, C)] {
        meeting.begin(from, to);
        meeting.follow("bob", to);
        meeting.follow("alice", to);
        meeting.assert_flows();
    }
}

#[test]
fn what_is_on_its_way_when_a_client_is_let_go_is_still_taken() {
    let mut meeting = Meeting::new(false);
    meeting.begin(A, B);
    let detach = NodeCommand::Detach {
        participant: ParticipantSid::new("PA_alice"),
    };
    meeting.world.command_at(A, detach);
    meeting.chat.say(&mut meeting.world, "alice");
    meeting.chat.begin_resume("alice");
    meeting.world.run(Duration::from_millis(10));
    let media = meeting.pull("alice", B);
    meeting.resume("alice", B, &media);
    meeting.follow("bob", B);
    meeting.pass(seconds(1));
    meeting.chat.turn(&mut meeting.world);
    meeting.chat.assert_complete();
}

#[test]
fn a_client_that_was_let_go_is_seen_and_heard_as_long_as_it_sends() {
    let mut meeting = Meeting::new(true);
    meeting.begin(A, B);
    meeting.chat.begin_resume("alice");
    meeting.pull("alice", B);
    meeting.world.take_got("bob");
    let alice = meeting.world.clients.get_mut("alice").unwrap();
    let late = data_packet(100, None, b"late");
    assert!(alice.publisher.send_data("_reliable", &late));
    meeting.world.run(seconds(1));
    let got = meeting.world.take_got("bob");
    assert!(audio(&got).len() > 40 && video(&got).len() > 40);
    let data = take_data(&mut meeting.world, "bob");
    assert!(data.iter().any(says_late));
    // Said once more, should the first answer have been lost.
    let detached = |event: &NodeEvent| matches!(event, NodeEvent::Detached { .. });
    let told = meeting.world.count(detached);
    let detach = NodeCommand::Detach {
        participant: ParticipantSid::new("PA_alice"),
    };
    meeting.world.command_at(A, detach);
    assert_eq!(meeting.world.count(detached), told + 1);
}

#[test]
fn what_comes_to_the_old_node_after_the_pull_is_told_when_it_is_asked_again() {
    let mut meeting = Meeting::new(false);
    meeting.begin(A, B);
    meeting.follow("bob", B);
    // Alice's client takes itself for reconnected while its old transport still stands.
    let media = meeting.pull("alice", B);
    meeting.pass(Duration::from_millis(200));
    meeting.chat.begin_resume("alice");
    meeting.pass(Duration::from_millis(100));
    let detach = NodeCommand::Detach {
        participant: ParticipantSid::new("PA_alice"),
    };
    meeting.world.command_at(A, detach);
    let rest = meeting.last_event(A, |event| match event {
        NodeEvent::Detached { data, .. } => Some(data.clone()),
        _ => None,
    });
    let said = rest.last().unwrap().sequence;
    assert!(said > media.last_data_sequence);
    meeting.deliver(B, rest);
    meeting.resume("alice", B, &media);
    meeting.pass(seconds(1));
    meeting.chat.turn(&mut meeting.world);
    meeting.chat.assert_complete();
}

#[test]
fn packets_that_have_been_on_their_way_for_too_long_are_not_sent_again() {
    let mut meeting = Meeting::new(true);
    let carried = |sequence, age_ms| {
        let mut packet = data_packet(0, None, b"late");
        // Field 16.
        packet.extend([
            0x80,
            0x01,
            0x80 | (sequence & 0x7f) as u8,
            (sequence >> 7) as u8,
        ]);
        CarriedData {
            from: ParticipantSid::new("PA_gone"),
            sequence,
            age_ms,
            packet,
        }
    };
    take_data(&mut meeting.world, "bob");
    // Clients know for a while only what they have.
    meeting.deliver(A, vec![carried(200, 10_001), carried(201, 10_000)]);
    meeting.world.run(seconds(1));
    let late = take_data(&mut meeting.world, "bob");
    assert_eq!(late.iter().filter(|got| says_late(got)).count(), 1);
}

fn says_late((_, packet): &(String, Vec<u8>)) -> bool {
    packet.windows(4).any(|word| word == b"late")
}

#[test]
fn what_the_old_node_sent_in_vain_comes_from_the_new_one() {
    let mut meeting = Meeting::new(false);
    // Bob's network fails; alice goes on, and what she says is acknowledged.
    meeting.world.clients.get_mut("bob").unwrap().unplugged = true;
    for _ in 0..10 {
        meeting.chat.say(&mut meeting.world, "alice");
        meeting.world.run(TURN);
    }
    meeting.chat.begin_resume("bob");
    meeting.begin(A, B);
    meeting.world.clients.get_mut("bob").unwrap().unplugged = false;
    let (media, _) = meeting.export(A);
    let of = |name: &str| {
        let sid = ParticipantSid::new(name);
        let found = media.iter().find(|media| media.participant == sid);
        found.unwrap().clone()
    };
    // A is dead: nothing more is heard of it.
    let said = of("PA_alice").last_data_sequence;
    assert!(said >= 10);
    meeting.resume("bob", B, &of("PA_bob"));
    meeting.chat.begin_resume("alice");
    meeting.resume("alice", B, &of("PA_alice"));
    meeting.pass(seconds(1));
    let heard = meeting.chat.heard("bob", "alice");
    assert!(heard.contains(&said) && heard.contains(&(said - 9)));
}

#[test]
fn a_room_that_moved_by_half_goes_on_when_the_rest_comes() {
    let mut meeting = Meeting::new(true);
    meeting.begin(A, B);
    meeting.follow("alice", B);
    meeting.pass(seconds(2));
    let report = meeting.world.nodes[B].engine.report();
    assert_eq!((report.participants, report.tracks), (2, 3));
    assert!(report.packets_in > 100, "alice sends");
    assert_eq!(report.packets_out, 0, "bob is not there");
    let unnumbered = data_packet(0, None, b"hello");
    send(&mut meeting.world, "alice", "_reliable", &unnumbered);
    meeting.follow("bob", B);
    meeting.assert_flows();
    assert_eq!(meeting.chat.loose("bob"), 1);
    meeting.chat.turn(&mut meeting.world);
    meeting.chat.assert_complete();
    meeting.assert_no_trouble();
}

#[test]
fn a_room_that_moved_by_half_moves_on_as_it_is() {
    let mut meeting = Meeting::new(true);
    let before = meeting.sections("bob");
    meeting.begin(A, B);
    meeting.follow("alice", B);
    // Bob never came to B.
    meeting.begin(B, C);
    meeting.follow("alice", C);
    // B still holds what A said of him before.
    meeting.chat.begin_resume("bob");
    let media = meeting.pull("bob", B);
    assert!(!media.sections.is_empty());
    let (carried, _) = meeting.export(B);
    let bob = carried
        .iter()
        .find(|media| media.participant.as_str() == "PA_bob");
    meeting.adopt(C, bob.unwrap().clone());
    meeting.resume("bob", C, &media);
    assert_eq!(meeting.sections("bob"), before);
    meeting.assert_flows();
    meeting.assert_no_trouble();
}

#[test]
fn a_track_that_ends_between_two_nodes_is_answered_inactive() {
    let mut meeting = Meeting::new(true);
    let mut before = meeting.sections("bob").into_iter();
    let (mic, _) = before
        .find(|(_, track)| track.as_str() == "TR_mic")
        .unwrap();
    meeting.begin(A, B);
    meeting.world.command_at(
        B,
        NodeCommand::Unpublish {
            track: TrackSid::new("TR_mic"),
        },
    );
    // There is another one for its place.
    let alice = ParticipantSid::new("PA_alice");
    let new = announced(alice, "TR_new", Kind::Audio, &[]);
    meeting.world.command_at(B, NodeCommand::Publish(new));
    let subscribe = NodeCommand::Subscribe {
        participant: ParticipantSid::new("PA_bob"),
        track: TrackSid::new("TR_new"),
        settings: TrackSettings::default(),
    };
    meeting.world.command_at(B, subscribe);
    meeting.world.clients.get_mut("bob").unwrap().obedient = false;
    meeting.follow("alice", B);
    meeting.follow("bob", B);
    assert!(!meeting.sections("bob").contains_key(&mic));
    let sections = meeting.sections("bob");
    let tracks: Vec<&str> = sections.values().map(TrackSid::as_str).collect();
    assert_eq!(tracks.len(), 2);
    assert!(!tracks.contains(&"TR_mic"));
    let answer = &meeting.world.clients["bob"].answers.last().unwrap().0;
    assert!(answer.contains("a=inactive"));
}

#[test]
fn who_joined_lately_does_not_hear_what_was_said_before() {
    let mut meeting = Meeting::new(true);
    meeting.world.join("carol", PeerMode::Single);
    let carol = &mut meeting.world.clients.get_mut("carol").unwrap().publisher;
    carol.data.clear();
    let (media, data) = meeting.export(A);
    let of = |name: &str| {
        let sid = ParticipantSid::new(format!("PA_{name}"));
        media
            .iter()
            .find(|media| media.participant == sid)
            .unwrap()
            .clone()
    };
    let joined_after = of("carol").joined_after;
    assert!(joined_after[&ParticipantSid::new("PA_alice")] > 10);
    assert!(of("alice").joined_after.is_empty());
    for media in &media {
        meeting.adopt(B, media.clone());
    }
    meeting.deliver(B, data);
    // She resumes here, after a few more words.
    let carol = of("carol");
    meeting.world.command_at(
        B,
        NodeCommand::Deliver {
            room: room(),
            data: vec![late_word()],
        },
    );
    meeting.resume("carol", B, &carol);
    meeting.world.run(seconds(1));
    let heard = take_data(&mut meeting.world, "carol");
    assert_eq!(heard.len(), 1, "only what was said since");
}

fn late_word() -> CarriedData {
    let mut packet = data_packet(0, None, b"late");
    // Field 16: 200.
    packet.extend([0x80, 0x01, 0xc8, 0x01]);
    CarriedData {
        from: ParticipantSid::new("PA_alice"),
        sequence: 200,
        age_ms: 0,
        packet,
    }
}

#[test]
fn a_room_that_nobody_knows_is_exported_empty() {
    let mut world = World::new();
    world.command(NodeCommand::Export { room: room() });
    let empty = NodeEvent::Exported {
        room: room(),
        worker: 0xa7,
        media: Vec::new(),
        data: Vec::new(),
    };
    assert!(world.events.contains(&empty));
}

#[test]
fn two_connections_are_not_taken_over() {
    let mut meeting = Meeting::new(true);
    let (media, _) = meeting.export(A);
    let participant = NewParticipant {
        selection: Default::default(),
        room: room(),
        participant: ParticipantSid::new("PA_dual"),
        identity: Identity::new("dual"),
        mode: PeerMode::Dual,
        permission: all(),
        hidden: false,
        fixed: false,
    };
    let media = media[0].clone();
    meeting
        .world
        .command_at(B, NodeCommand::Adopt { participant, media });
    let refused = |event: &NodeEvent| matches!(event, NodeEvent::Refused { .. });
    assert_eq!(meeting.world.count(refused), 1);
    assert_eq!(meeting.world.nodes[B].engine.report().participants, 0);
}

#[test]
fn senseless_carried_state_is_bounded_and_the_client_resumes_anyway() {
    let mut meeting = Meeting::new(true);
    meeting.begin(A, B);
    let (media, _) = meeting.export(A);
    let bob = media
        .into_iter()
        .find(|media| media.participant.as_str() == "PA_bob");
    let bob = bob.unwrap();
    let mut hostile = bob.clone();
    let section = |mid: String, role| CarriedSection {
        mid,
        kind: SectionKind::Data,
        role,
        stale: true,
    };
    let known = bob.sections[0].mid.clone();
    let roles = [
        CarriedRole::Carries(TrackSid::new("TR_mic")),
        CarriedRole::Sends(TrackSid::new("TR_mic")),
        CarriedRole::Sends(TrackSid::new("TR_none")),
        CarriedRole::Idle,
    ];
    for index in 0..4000_usize {
        let role = roles[index % roles.len()].clone();
        hostile.sections.push(section(known.clone(), role.clone()));
        hostile
            .sections
            .push(section(format!("{index}\u{e4}"), role.clone()));
        hostile.sections.push(section(format!("m{index}"), role));
        hostile.streams.push(CarriedStream {
            ssrc: index as u32 % 7,
            rtx: Some(index as u32 % 5),
            mid: [known.as_str(), "nowhere", "\u{e4}", ""][index % 4].to_owned(),
            rid: [None, Some("q"), Some("much too long"), Some("")][index % 4].map(str::to_owned),
        });
        hostile.channels.push(OpenChannel {
            label: ["_reliable", "_lossy", "else"][index % 3].to_owned(),
            id: index as u16 % 3,
        });
    }
    meeting.adopt(B, hostile);
    let data = (0..5000_u32).map(|index| CarriedData {
        from: ParticipantSid::new(["PA_alice", "PA_nobody"][index as usize % 2]),
        sequence: index % 3,
        age_ms: index.wrapping_mul(1_000_000),
        packet: vec![index as u8; index as usize % 40],
    });
    meeting.deliver(B, data.collect());
    meeting.chat.begin_resume("bob");
    meeting.resume("bob", B, &bob);
    assert!(meeting.world.clients["bob"].publisher.connected);
    meeting.assert_no_trouble();
}

#[test]
fn a_room_that_comes_back_before_its_traces_are_gone_starts_afresh() {
    let mut meeting = Meeting::new(true);
    meeting.begin(A, B);
    // Nobody followed: B gives it back.
    meeting.begin(B, A);
    let report = meeting.world.engine().report();
    assert_eq!((report.participants, report.tracks), (2, 3));
    meeting.world.take_got("bob");
    meeting.world.run(seconds(1));
    assert!(meeting.world.take_got("bob").is_empty());
    meeting.follow_home("alice");
    meeting.follow_home("bob");
    meeting.assert_flows();
}

impl Meeting {
    /// Resumes at the first node without anything that another node says.
    fn follow_home(&mut self, name: &'static str) {
        let (media, _) = self.export(B);
        let sid = self.world.clients[name].sid.clone();
        let media = media.into_iter().find(|media| media.participant == sid);
        self.chat.begin_resume(name);
        self.world.clients.get_mut(name).unwrap().node = B;
        self.resume(name, A, &media.unwrap());
    }
}

#[test]
fn data_that_was_not_acknowledged_when_a_client_resumed_is_sent_again() {
    let mut meeting = Meeting::new(true);
    // Bob's network fails: what is sent to him is lost with his old connection.
    meeting.world.clients.get_mut("bob").unwrap().unplugged = true;
    for _ in 0..10 {
        meeting.chat.say(&mut meeting.world, "alice");
        meeting.world.run(TURN);
    }
    meeting.chat.begin_resume("bob");
    let (media, _) = meeting.export(A);
    let bob = media
        .into_iter()
        .find(|media| media.participant.as_str() == "PA_bob");
    meeting.world.clients.get_mut("bob").unwrap().unplugged = false;
    meeting.resume_here("bob", &bob.unwrap());
    meeting.pass(seconds(2));
    meeting.chat.turn(&mut meeting.world);
    meeting.chat.assert_complete();
    assert!(meeting.chat.repeated("bob") > 0, "the node cannot know");
    assert_eq!(meeting.chat.repeated("alice"), 0);
}

impl Meeting {
    /// Resumes at the same node.
    fn resume_here(&mut self, name: &'static str, media: &CarriedMedia) {
        let open: Vec<(&str, u16)> = media
            .channels
            .iter()
            .map(|channel| (channel.label.as_str(), channel.id))
            .collect();
        self.world.resume(name, &open);
        self.pass(seconds(2));
        self.chat
            .end_resume(&mut self.world, name, media.last_data_sequence);
    }
}
