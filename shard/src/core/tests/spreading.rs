//! A room on several workers and nodes: who goes where, and which tracks each member has.

use super::node::FakeNode;
use super::*;
use crate::core::SpreadConfig;
use proptest::prelude::*;
use proto::media::NodeCommand;
use signal_request::Message as Ask;
use std::collections::BTreeSet;

/// A shard whose rooms have two participants on each worker.
fn crowded(nodes: &[(&str, u16)]) -> Script {
    let mut script = Script::without_nodes(CoreConfig {
        spread: SpreadConfig {
            participants: 2,
            subscriptions: 1_000,
        },
        ..config()
    });
    for (node, workers) in nodes {
        attach(&mut script, node, *workers);
    }
    script.outputs();
    script
}

fn attach(script: &mut Script, node: &str, workers: u16) {
    let address = format!("192.0.2.1:{}", 7000 + node.len());
    let relay = Some(address.parse().unwrap());
    let node = NodeId::new(node);
    let now = script.now;
    script.core.handle_node_attached(node, workers, relay, now);
}

fn seats(script: &Script) -> Vec<String> {
    let room = script.core.rooms.values().next().unwrap();
    let mut seats: Vec<_> = room
        .participants
        .values()
        .map(|p| format!("{} {}", p.identity, p.member))
        .collect();
    seats.sort();
    seats
}

fn connect(script: &mut Script, identity: &str) -> Peer {
    let peer = script.join(request(identity));
    script.said_by(&peer, |participant| NodeEvent::Connected { participant });
    script.outputs();
    peer
}

impl Script {
    /// An event of the node that has the participant.
    fn said_by(&mut self, peer: &Peer, event: impl FnOnce(ParticipantSid) -> NodeEvent) {
        let room = self.core.rooms.values().next().unwrap();
        let node = room.member_of(&peer.sid).node.clone();
        let event = event(peer.sid.clone());
        self.core.handle_node_event(&node, event, self.now);
    }

    fn publish_there(&mut self, peer: &Peer, cid: &str) -> TrackSid {
        self.ask(peer, Ask::AddTrack(track(cid)));
        self.outputs();
        let sid = self.names.track(cid);
        let track = sid.clone();
        self.said_by(peer, |participant| NodeEvent::TrackBound {
            participant,
            track,
            mid: cid.into(),
            mime: "video/VP8".into(),
        });
        sid
    }
}

#[test]
fn nodes_are_told_of_each_other() {
    let mut script = crowded(&[]);
    attach(&mut script, "n1", 1);
    script.expect(&["n1 < peers []"]);
    attach(&mut script, "n20", 1);
    script.expect(&["n1 < peers [n20]", "n20 < peers [n1]"]);
    script
        .core
        .handle_node_attached(NodeId::new("alone"), 1, None, script.now);
    script.expect(&["n1 < peers [n20]", "n20 < peers [n1]"]);
    script
        .core
        .handle_node_lost(&NodeId::new("n20"), script.now);
    script.expect(&["n1 < peers []"]);
}

#[test]
fn a_room_fills_the_workers_of_its_node_and_then_another_node() {
    let mut script = crowded(&[("n1", 2), ("n2", 1)]);
    for identity in ["a", "b", "c", "d", "e", "f", "g"] {
        connect(&mut script, identity);
    }
    let expected = [
        "a n1/0", "b n1/0", "c n1/1", "d n1/1", "e n2/0", "f n2/0", "g n1/0",
    ];
    assert_eq!(seats(&script), expected);
}

#[test]
fn a_node_that_others_cannot_reach_shares_no_room() {
    let mut script = crowded(&[("n1", 1)]);
    let alone = NodeId::new("alone");
    script.core.handle_node_attached(alone, 3, None, script.now);
    // The selector takes the emptiest, by name if there are two.
    for identity in ["a", "b", "c"] {
        connect(&mut script, identity);
    }
    assert_eq!(seats(&script), ["a alone/0", "b alone/0", "c alone/1"]);
    for identity in ["d", "e", "f", "g"] {
        connect(&mut script, identity);
    }
    let elsewhere = seats(&script)
        .into_iter()
        .filter(|seat| seat.contains("n1"));
    assert_eq!(elsewhere.count(), 0);
}

#[test]
fn a_room_does_not_grow_onto_a_node_that_others_cannot_reach() {
    let mut script = crowded(&[("n1", 1)]);
    let alone = NodeId::new("zz");
    script.core.handle_node_attached(alone, 3, None, script.now);
    for identity in ["a", "b", "c", "d"] {
        connect(&mut script, identity);
    }
    assert_eq!(seats(&script), ["a n1/0", "b n1/0", "c n1/0", "d n1/0"]);
}

#[test]
fn a_track_is_imported_once_a_member_for_as_long_as_somebody_there_takes_it() {
    let mut script = crowded(&[("n1", 1), ("n2", 1)]);
    let ada = connect(&mut script, "ada");
    connect(&mut script, "bo");
    let cy = connect(&mut script, "cy");
    script.attempt(request("di"));
    let lines = script.outputs();
    assert!(
        lines.contains(&"n2 < add di Single".to_owned()),
        "{lines:?}"
    );
    script.publish_there(&ada, "cam");
    let lines = script.outputs();
    let node = |line: &&String| line.starts_with('n');
    let commands: Vec<_> = lines.iter().filter(node).collect();
    let mut sorted = commands.clone();
    sorted.sort();
    assert_eq!(
        sorted,
        [
            "n1 < subscribe bo cam",
            "n2 < import cam from n1/0",
            "n2 < subscribe cy cam",
            "n2 < subscribe di cam",
        ]
    );
    let place = |wanted: &str| commands.iter().position(|line| line.contains(wanted));
    assert!(place("import") < place("subscribe cy") && place("import") < place("subscribe di"));

    script.ask(&cy, Ask::Leave(lk::LeaveRequest::default()));
    assert!(
        !script
            .outputs()
            .iter()
            .any(|line| line.contains("unpublish"))
    );
    let sid = script.names.track("cam");
    script.ask(
        &ada,
        Ask::Mute(lk::MuteTrackRequest {
            sid: sid.as_str().to_owned(),
            muted: true,
        }),
    );
    let lines = script.outputs();
    assert_eq!(lines[..2], ["n1 < muted cam true", "n2 < muted cam true"]);
}

#[test]
fn when_the_last_one_stops_the_import_ends() {
    let mut script = crowded(&[("n1", 1), ("n2", 1)]);
    let ada = connect(&mut script, "ada");
    connect(&mut script, "bo");
    let cy = connect(&mut script, "cy");
    let cam = script.publish_there(&ada, "cam");
    script.outputs();
    let wish = |subscribe| {
        Ask::Subscription(lk::UpdateSubscription {
            track_sids: vec![cam.as_str().to_owned()],
            subscribe,
            participant_tracks: Vec::new(),
        })
    };
    script.ask(&cy, wish(false));
    script.expect(&["n2 < unsubscribe cy cam", "n2 < unpublish cam"]);
    script.ask(&cy, wish(true));
    script.expect(&["n2 < import cam from n1/0", "n2 < subscribe cy cam"]);
    script.ask(&ada, Ask::Leave(lk::LeaveRequest::default()));
    let lines = script.outputs();
    let at_n2: Vec<_> = lines.iter().filter(|line| line.starts_with("n2")).collect();
    assert_eq!(at_n2, ["n2 < unpublish cam"]);
}

#[test]
fn members_are_told_of_each_other_and_when_they_are_alone_again() {
    let mut script = crowded(&[("n1", 1), ("n2", 1)]);
    connect(&mut script, "ada");
    connect(&mut script, "bo");
    script.attempt(request("cy"));
    let told = |script: &mut Script| -> Vec<String> {
        let lines = script.outputs().into_iter();
        lines.filter(|line| line.contains("others")).collect()
    };
    assert_eq!(
        told(&mut script),
        ["n1 < others [n2/0]", "n2 < others [n1/0]"]
    );
    let cy = script.core.rooms.values().next().unwrap();
    let cy = cy.identities[&Identity::new("cy")].clone();
    script.attempt(request("di"));
    assert_eq!(told(&mut script), Vec::<String>::new());
    for who in [cy, script.identity("di")] {
        script.core.handle_node_event(
            &NodeId::new("n2"),
            NodeEvent::Disconnected {
                participant: who,
                reason: TransportLoss::Fault,
            },
            script.now,
        );
    }
    assert_eq!(told(&mut script), ["n1 < others []"]);
}

impl Script {
    fn identity(&self, name: &str) -> ParticipantSid {
        let room = self.core.rooms.values().next().unwrap();
        room.identities[&Identity::new(name)].clone()
    }
}

#[test]
fn a_lost_node_takes_its_own_participants_with_it_and_nobody_else() {
    let mut script = crowded(&[("n1", 1), ("n2", 1), ("n3", 1)]);
    for identity in ["ada", "bo", "cy", "di"] {
        connect(&mut script, identity);
    }
    script.core.handle_node_lost(&NodeId::new("n1"), script.now);
    let lines = script.outputs();
    let leaves = |who: &str| {
        lines
            .iter()
            .any(|l| l.starts_with(&format!("{who} < leave RECONNECT")))
    };
    assert!(leaves("ada") && leaves("bo"), "{lines:?}");
    assert!(!leaves("cy") && !leaves("di"), "{lines:?}");
    assert!(!lines.iter().any(|line| line == "room standup closed"));
    // The others hear of both in one message.
    let told = lines.iter().filter(|line| line.starts_with("cy < update"));
    assert_eq!(told.count(), 1, "{lines:?}");
    // It goes on where the others are, with whoever comes back.
    connect(&mut script, "ada");
    let room = script.core.rooms();
    assert_eq!(room[0].node.as_str(), "n2");
    assert_eq!(seats(&script), ["ada n3/0", "cy n2/0", "di n2/0"]);
}

#[test]
fn a_room_on_two_nodes_moves_as_a_whole() {
    let mut script = crowded(&[("n1", 1), ("n2", 1)]);
    let ada = connect(&mut script, "ada");
    connect(&mut script, "bo");
    connect(&mut script, "cy");
    script.publish_there(&ada, "cam");
    script.outputs();
    script
        .core
        .begin_move(&room("standup"), script.now)
        .unwrap();
    script.expect(&["n1 < export", "n2 < export"]);
    let sid = script.core.rooms()[0].sid.clone();
    let packet = |from: &str, sequence, age_ms| proto::media::CarriedData {
        from: ParticipantSid::new(from),
        sequence,
        age_ms,
        packet: vec![1],
    };
    let answer = |who: &[ParticipantSid], data| NodeEvent::Exported {
        room: sid.clone(),
        worker: 0,
        media: who.iter().map(media).collect(),
        data,
    };
    let both = vec![packet("x", 1, 90), packet("y", 1, 50)];
    let more = vec![packet("x", 1, 91), packet("y", 1, 51), packet("x", 2, 20)];
    let first = answer(&[script.identity("ada"), script.identity("bo")], both);
    let second = answer(&[script.identity("cy")], more);
    script
        .core
        .handle_node_event(&NodeId::new("n1"), first, script.now);
    script.expect(&[]);
    script
        .core
        .handle_node_event(&NodeId::new("n2"), second, script.now);
    let Some(Output::RoomExported { state, .. }) = script.next() else {
        panic!("not exported");
    };
    assert_eq!(state.participants(), 3);
    let data: Vec<_> = state
        .data
        .iter()
        .map(|p| (p.from.as_str(), p.sequence))
        .collect();
    assert_eq!(data, [("x", 1), ("y", 1), ("x", 2)]);

    let mut new = crowded(&[("n1", 2)]);
    new.core.import_room(*state, Epoch(2), new.now).unwrap();
    new.names = std::mem::take(&mut script.names);
    let lines = new.outputs();
    let count = |what: &str| lines.iter().filter(|line| line.contains(what)).count();
    assert_eq!(
        (count("adopt"), count("import"), count("deliver")),
        (3, 1, 2),
        "{lines:?}"
    );

    assert!(script.core.seal_move(&room("standup")));
    assert!(script.core.complete_move(&room("standup"), script.now));
    new.names = Names::default();
    script.names = Names::default();
    while script.core.poll_output().is_some() {}
    script.pass(TAIL_MAX);
    let mut undone = Vec::new();
    while let Some(output) = script.core.poll_output() {
        if let Output::Node { member, command } = output {
            undone.push((member.node.as_str().to_owned(), command));
        }
    }
    let removed = |node: &str| {
        let removed = |it: &&(String, NodeCommand)| {
            it.0 == node && matches!(it.1, NodeCommand::RemoveParticipant { .. })
        };
        undone.iter().filter(removed).count()
    };
    assert_eq!((removed("n1"), removed("n2")), (2, 1));
    assert!(matches!(&undone[0], (node, NodeCommand::Unpublish { .. }) if node == "n2"));
}

fn media(who: &ParticipantSid) -> proto::media::CarriedMedia {
    proto::media::CarriedMedia {
        participant: who.clone(),
        sections: Vec::new(),
        streams: Vec::new(),
        channels: Vec::new(),
        last_data_sequence: 0,
        joined_after: BTreeMap::new(),
    }
}

/// The members' nodes, each of which trips over what it was not told.
#[derive(Default)]
struct Members(BTreeMap<Member, FakeNode>);

impl Members {
    fn obey(&mut self, core: &mut Core) {
        while let Some(output) = core.poll_output() {
            if let Output::Node { member, command } = output
                && core.nodes.workers(&member.node).any(|one| one == member)
            {
                self.0.entry(member).or_default().obey(command);
            }
        }
    }

    fn check(&self, core: &Core) {
        let (mut participants, mut tracks) = (BTreeSet::new(), BTreeSet::new());
        let (mut subscriptions, mut imports) = (BTreeSet::new(), BTreeSet::new());
        for room in core.rooms.values() {
            for (sid, participant) in &room.participants {
                let member = &participant.member;
                participants.insert((member, sid));
                tracks.extend(participant.tracks.keys().map(|track| (member, track)));
                for track in &participant.subscriptions {
                    subscriptions.insert((member, (sid.clone(), track.clone())));
                    let from = &room.participants[&room.owners[track]].member;
                    if from != member {
                        imports.insert((member, (track, from)));
                    }
                }
            }
            let used: BTreeSet<&Member> = room.participants.values().map(|p| &p.member).collect();
            assert_eq!(used, room.members.all().collect());
            for (member, load) in room.members.loads() {
                let there = room.participants.values().filter(|p| p.member == *member);
                let counts = there.map(|p| (1, p.subscriptions.len()));
                let counts = counts.fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
                assert_eq!((load.participants, load.subscriptions), counts);
                let mut others = used.clone();
                others.remove(member);
                let told: BTreeSet<&Member> = self.0[member].others.iter().collect();
                assert_eq!(told, others);
            }
        }
        let all = || self.0.iter();
        assert_eq!(
            participants,
            all()
                .flat_map(|(m, n)| n.participants.keys().map(move |p| (m, p)))
                .collect()
        );
        assert_eq!(
            tracks,
            all()
                .flat_map(|(m, n)| n.tracks.keys().map(move |t| (m, t)))
                .collect()
        );
        assert_eq!(
            imports,
            all()
                .flat_map(|(m, n)| n.imports.iter().map(move |i| (m, i)))
                .collect()
        );
        let held = all().flat_map(|(m, n)| n.subscriptions.iter().map(move |s| (m, s.clone())));
        assert_eq!(subscriptions, held.collect());
    }
}

proptest! {
    #[test]
    fn whatever_happens_each_member_has_what_its_participants_take(
        steps in prop::collection::vec((0..9_u8, 0..8_usize, 0..8_usize), 1..120),
    ) {
        let mut script = crowded(&[("n1", 2), ("n2", 1), ("n3", 2)]);
        let mut members = Members::default();
        let mut people: BTreeMap<usize, Peer> = BTreeMap::new();
        let mut tracks: Vec<(usize, TrackSid)> = Vec::new();
        for (what, who, other) in steps {
            let peer = people.get(&who).cloned();
            match (what, peer) {
                (0 | 1, _) => {
                    let session = script.attempt(request(&format!("p{who}")));
                    members.obey(&mut script.core);
                    let sid = script.sid_of(session);
                    let peer = Peer { session, sid };
                    script.said_by(&peer, |participant| NodeEvent::Connected { participant });
                    people.insert(who, peer);
                }
                (2, Some(peer)) => {
                    script.ask(&peer, Ask::Leave(lk::LeaveRequest::default()));
                    people.remove(&who);
                }
                (3 | 4, Some(peer)) if script.core.index.participants.contains_key(&peer.sid) => {
                    let cid = format!("{who}-{other}-{}", tracks.len());
                    script.ask(&peer, Ask::AddTrack(track(&cid)));
                    members.obey(&mut script.core);
                    let room = script.core.rooms.values().next().unwrap();
                    let of_peer = &room.participants[&peer.sid].tracks;
                    let found = of_peer.iter().find(|(_, track)| track.cid == cid);
                    let Some((sid, _)) = found else { continue };
                    let sid = sid.clone();
                    tracks.push((who, sid.clone()));
                    script.said_by(&peer, |participant| NodeEvent::TrackBound {
                        participant, track: sid, mid: cid, mime: "video/VP8".into(),
                    });
                }
                (5 | 6, Some(peer)) if !tracks.is_empty() => {
                    let (_, sid) = &tracks[other % tracks.len()];
                    script.ask(&peer, Ask::Subscription(lk::UpdateSubscription {
                        track_sids: vec![sid.as_str().to_owned()],
                        subscribe: what == 5,
                        participant_tracks: Vec::new(),
                    }));
                }
                (7, _) if other == 0 => {
                    let node = NodeId::new(["n1", "n2", "n3"][who % 3]);
                    members.0.retain(|member, _| member.node != node);
                    script.core.handle_node_lost(&node, script.now);
                    members.obey(&mut script.core);
                    attach(&mut script, node.as_str(), 2);
                }
                (8, Some(peer)) if !tracks.is_empty() => {
                    let (_, sid) = &tracks[other % tracks.len()];
                    script.ask(&peer, Ask::Mute(lk::MuteTrackRequest {
                        sid: sid.as_str().to_owned(),
                        muted: other % 2 == 0,
                    }));
                }
                _ => {}
            }
            members.obey(&mut script.core);
            members.check(&script.core);
        }
        script.core.handle_shutdown(script.now);
        members.obey(&mut script.core);
        members.check(&script.core);
    }
}

fn report(script: &mut Script, node: &str, stress: f32) {
    let report = proto::media::NodeReport {
        stress,
        ..Default::default()
    };
    let node = NodeId::new(node);
    let event = NodeEvent::Report(report);
    script.core.handle_node_event(&node, event, script.now);
}

fn busy(script: &mut Script, node: &str) {
    for _ in 0..20 {
        report(script, node, 1.0);
    }
}

#[test]
fn a_busy_node_gets_nobody_else_and_its_people_stay() {
    let mut script = crowded(&[("n1", 2), ("n2", 2)]);
    connect(&mut script, "a");
    busy(&mut script, "n1");
    connect(&mut script, "b");
    assert_eq!(seats(&script), ["a n1/0", "b n2/0"]);
    let mut join = request("c");
    join.room = room("retro");
    script.join(join);
    let retro = script
        .core
        .rooms()
        .into_iter()
        .find(|it| it.room == room("retro"));
    assert_eq!(retro.unwrap().node.as_str(), "n2");
}

#[test]
fn when_all_nodes_are_busy_nobody_comes_in_until_one_is_not() {
    let mut script = crowded(&[("n1", 1), ("n2", 1)]);
    connect(&mut script, "a");
    busy(&mut script, "n1");
    busy(&mut script, "n2");
    for name in ["standup", "retro"] {
        let refused = script.core.check_join(&room(name));
        assert_eq!(refused, Err(JoinRefusal::Overloaded));
    }
    script.attempt(request("b"));
    script.expect(&["b refused: Overloaded"]);
    assert_eq!(seats(&script), ["a n1/0"]);
    report(&mut script, "n2", 0.0);
    connect(&mut script, "b");
    assert_eq!(seats(&script), ["a n1/0", "b n2/0"]);
}

#[test]
fn one_busy_second_is_not_held_against_a_node() {
    let mut script = crowded(&[("n1", 1)]);
    report(&mut script, "n1", 1.0);
    assert_eq!(script.core.check_join(&room("standup")), Ok(()));
    let mut without_limit = Script::without_nodes(CoreConfig {
        limits: Limits {
            node_stress: 0,
            ..Limits::default()
        },
        ..config()
    });
    attach(&mut without_limit, "n1", 1);
    busy(&mut without_limit, "n1");
    assert_eq!(without_limit.core.check_join(&room("standup")), Ok(()));
}

#[test]
fn a_node_that_is_about_to_end_gets_nobody_else() {
    let mut script = crowded(&[("n1", 1), ("n2", 1)]);
    connect(&mut script, "a");
    let draining = NodeEvent::Draining;
    script
        .core
        .handle_node_event(&NodeId::new("n1"), draining, script.now);
    connect(&mut script, "b");
    assert_eq!(seats(&script), ["a n1/0", "b n2/0"]);
    script
        .core
        .handle_node_event(&NodeId::new("n2"), NodeEvent::Draining, script.now);
    let refused = script.core.check_join(&room("standup"));
    assert_eq!(refused, Err(JoinRefusal::Overloaded));
}
