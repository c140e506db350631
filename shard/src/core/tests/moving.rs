//! A room leaves this shard, as this shard sees it.

use super::node::FakeNode;
use super::*;
use proto::media::{NodeCommand, Speaker, TransportLoss};
use signal_request::Message as Ask;

/// A frozen meeting of ada, who has a microphone, and bo; the export is under way.
fn frozen() -> (Script, FakeNode, Peer, Peer) {
    let (mut script, [ada, bo]) = Script::meeting(["ada", "bo"]);
    script.publish(&ada, "mic");
    script.pass(Duration::from_secs(1));
    script.outputs();
    let mut node = FakeNode::default();
    for peer in [&ada, &bo] {
        let holds = super::node::Holds::Transport(PeerMode::Single);
        node.participants.insert(peer.sid.clone(), holds);
    }
    let key = room("standup");
    assert_eq!(script.core.begin_move(&key, script.now), Ok(()));
    script.expect(&["n1 < export"]);
    node.exports.push(script.core.rooms()[0].sid.clone());
    (script, node, ada, bo)
}

fn export(script: &mut Script, node: &mut FakeNode) {
    script.event(node.answer_export().unwrap());
    script.expect(&["exported [ada,bo]"]);
}

#[test]
fn a_frozen_room_says_nothing_and_goes_on_in_order_if_it_stays() {
    let (mut script, mut node, ada, bo) = frozen();
    let status = script.core.rooms().remove(0);
    assert!(!status.live && status.moving);
    export(&mut script, &mut node);
    script.ask(&ada, Ask::Ping(1));
    script.ask(&bo, Ask::AddTrack(track("cam")));
    script.event(NodeEvent::SectionsWanted {
        participant: ada.sid.clone(),
        audio: 1,
        video: 0,
    });
    script.ask(&ada, Ask::Ping(2));
    for active in [true, false] {
        script.event(NodeEvent::Speakers {
            room: status.sid.clone(),
            speakers: vec![Speaker {
                participant: bo.sid.clone(),
                level: 0.5,
                active,
            }],
        });
    }
    script.core.handle_session_closed(bo.session, script.now);
    // Due in the meantime: tokens, and bo's figures.
    script.pass(Duration::from_secs(4));
    script.expect(&[]);
    let key = room("standup");
    script.core.cancel_move(&key, script.now);
    script.expect(&[
        "ada < pong 1006000",
        "bo < published cam",
        "n1 < publish bo cam",
        "ada < sections 1 0",
        "ada < pong 1006000",
        "ada < speakers bo:0 silent",
    ]);
    script.pass(Duration::from_secs(30));
    let lines = script.outputs();
    assert_eq!(lines[0], "n1 < remove bo");
}

#[test]
fn timers_of_a_frozen_room_wait() {
    let (mut script, [ada, bo]) = Script::meeting(["ada", "bo"]);
    script.core.handle_session_closed(bo.session, script.now);
    script.pass(Duration::from_secs(28));
    script.outputs();
    let key = room("standup");
    assert_eq!(script.core.begin_move(&key, script.now), Ok(()));
    script.expect(&["n1 < export"]);
    script.pass(Duration::from_secs(3));
    script.expect(&[]);
    script.core.cancel_move(&key, script.now);
    script.pass(Duration::ZERO);
    script.expect(&[
        "n1 < remove bo",
        "ada < update bo:disconnected[] SIGNAL_CLOSE",
    ]);
    assert_eq!(script.sid_of(ada.session), ada.sid);
}

#[test]
fn joins_and_resumes_are_turned_away_and_may_come_again() {
    let (mut script, _node, ada, _bo) = frozen();
    let key = room("standup");
    assert_eq!(script.core.check_join(&key), Err(JoinRefusal::Moving));
    script.attempt(request("cy"));
    script.expect(&["cy refused: Moving"]);
    let mut join = request("ada");
    join.resume = Some(Resume {
        participant: ada.sid.clone(),
        reason: 1,
        sync_state: None,
    });
    script.attempt(join);
    // No `Leave`, which would end the session.
    script.expect(&["ada x the room is moving: try again"]);
    assert_eq!(script.sid_of(ada.session), ada.sid);
    assert!(JoinRefusal::Moving.retry() && JoinRefusal::Moving.status() == 503);
}

#[test]
fn a_room_that_stands_still_for_too_long_goes_on_by_itself() {
    let (mut script, mut node, ada, _bo) = frozen();
    script.ask(&ada, Ask::Ping(1));
    script.pass(FREEZE_MAX);
    script.expect(&["move failed: TimedOut", "ada < pong 1007000"]);
    assert!(!script.core.seal_move(&room("standup")));
    // The answer to the first export is not taken for that to the second.
    let key = room("standup");
    assert_eq!(script.core.begin_move(&key, script.now), Ok(()));
    script.expect(&["n1 < export"]);
    let sid = script.core.rooms()[0].sid.clone();
    node.exports.push(sid);
    let first = node.answer_export().unwrap();
    script.event(first);
    script.expect(&[]);
    export(&mut script, &mut node);
}

#[test]
fn a_sealed_room_waits_for_its_verdict_whatever_happens() {
    let (mut script, mut node, ada, _bo) = frozen();
    let key = room("standup");
    assert!(!script.core.seal_move(&key), "nothing is exported");
    export(&mut script, &mut node);
    assert!(script.core.seal_move(&key));
    script.ask(&ada, Ask::Ping(1));
    script.pass(Duration::from_secs(60));
    script.core.handle_node_lost(&NodeId::new("n1"), script.now);
    script.expect(&[]);
    script.core.cancel_move(&key, script.now);
    let mut lines = script.outputs();
    lines.sort();
    assert_eq!(
        lines,
        [
            "ada < leave RECONNECT MEDIA_FAILURE",
            "ada x media failure",
            "bo < leave RECONNECT MEDIA_FAILURE",
            "bo x media failure",
            "room standup closed",
        ]
    );
}

#[test]
fn more_than_is_kept_ends_the_move_and_nothing_is_lost() {
    let (mut script, _node, ada, _bo) = frozen();
    for _ in 0..=limits::KEPT_SIGNALS_MAX {
        script.ask(&ada, Ask::Ping(1));
    }
    let lines = script.outputs();
    assert_eq!(lines[0], "move failed: Overflow");
    assert_eq!(lines.len(), limits::KEPT_SIGNALS_MAX + 2);

    let (mut script, _node, ada, _bo) = frozen();
    let long = "x".repeat(limits::KEPT_BYTES_MAX / 4);
    for id in 1..=4 {
        script.ask(&ada, Ask::Offer(sdp(id, "offer", &long)));
    }
    let lines = script.outputs();
    assert_eq!(lines[0], "move failed: Overflow");
}

#[test]
fn more_than_is_kept_after_the_seal_costs_the_talkative_client_its_connection() {
    for stays in [false, true] {
        let (mut script, mut node, ada, bo) = frozen();
        let key = room("standup");
        export(&mut script, &mut node);
        assert!(script.core.seal_move(&key));
        for _ in 0..limits::KEPT_SIGNALS_MAX + 9 {
            script.ask(&ada, Ask::Ping(1));
        }
        script.expect(&["ada x too many messages at once"]);
        script.core.handle_session_closed(ada.session, script.now);
        if stays {
            script.core.cancel_move(&key, script.now);
            script.expect(&[]);
            let participant = &script.core.rooms[&key].participants[&ada.sid];
            assert!(participant.session.is_none() && participant.deadlines.resume.is_some());
        } else {
            assert!(script.core.complete_move(&key, script.now));
            script.expect(&["moved, 0 late", "bo x the room has moved"]);
        }
        assert_eq!(script.core.index.sessions.contains_key(&bo.session), stays);
    }
}

#[test]
fn a_room_that_has_moved_is_gone_but_for_its_media() {
    let (mut script, mut node, ada, bo) = frozen();
    let key = room("standup");
    export(&mut script, &mut node);
    script.ask(&bo, Ask::AddTrack(track("cam")));
    script.ask(&bo, Ask::Ping(1));
    assert!(script.core.complete_move(&key, script.now));
    let mut lines = script.outputs();
    assert_eq!(lines.remove(0), "moved, 1 late");
    lines.sort();
    assert_eq!(
        lines,
        ["ada x the room has moved", "bo x the room has moved"]
    );
    assert_eq!(script.core.rooms(), []);
    assert!(!script.core.is_live(&key));
    assert!(script.core.index.sessions.is_empty() && script.core.index.participants.is_empty());
    // Late news of its transports and clients concern nobody.
    script.event(NodeEvent::Disconnected {
        participant: ada.sid.clone(),
        reason: TransportLoss::PeerClosed,
    });
    script.ask(&ada, Ask::Ping(1));
    script.core.handle_session_closed(ada.session, script.now);
    script.expect(&["hung up ada"]);

    script.core.pull(&key, &ada.sid, script.now);
    script.expect(&["n1 < detach ada"]);
    node.obey(NodeCommand::Detach {
        participant: ada.sid.clone(),
    });
    script.core.pull(&key, &ada.sid, script.now);
    script.expect(&[]);
    script.event(node.answer_detach().unwrap());
    script.expect(&["pulled ada Some(0) +0"]);
    // What comes later still is told when the new shard asks again; then there is no more.
    assert!(node.send_data(&ada.sid));
    script.core.pull(&key, &ada.sid, script.now);
    script.expect(&["n1 < detach ada"]);
    node.obey(NodeCommand::Detach {
        participant: ada.sid.clone(),
    });
    script.event(node.answer_detach().unwrap());
    script.expect(&["pulled ada Some(1) +1"]);
    script.core.pull(&key, &ada.sid, script.now);
    script.expect(&["pulled ada None +0"]);
    // Nor does its end matter any more.
    script.event(NodeEvent::Disconnected {
        participant: ada.sid.clone(),
        reason: TransportLoss::PeerClosed,
    });
    script.expect(&[]);
    script
        .core
        .pull(&key, &ParticipantSid::new("PA_x"), script.now);
    script.expect(&["pulled PA_x None +0"]);
    // Bo is never asked for, and the node is.
    script.core.pull(&key, &bo.sid, script.now);
    script.expect(&["n1 < detach bo"]);
    script.pass(TAIL_MAX);
    let mut lines = script.outputs();
    assert_eq!(lines.remove(0), "pulled bo None +0");
    lines.sort();
    assert_eq!(lines, ["n1 < remove ada", "n1 < remove bo"]);
    assert!(script.core.tails.is_empty());
}

#[test]
fn the_media_of_a_moved_room_ends_soon_after_everybody_was_asked_for() {
    let (mut script, mut node, ada, bo) = frozen();
    let key = room("standup");
    export(&mut script, &mut node);
    assert!(script.core.complete_move(&key, script.now));
    let mut everybody_is_asked_for = |script: &mut Script| {
        for peer in [&ada, &bo] {
            script.core.pull(&key, &peer.sid, script.now);
            node.obey(NodeCommand::Detach {
                participant: peer.sid.clone(),
            });
            script.event(node.answer_detach().unwrap());
        }
        script.outputs();
    };
    everybody_is_asked_for(&mut script);
    // They come, and have no transport there yet.
    script.pass(TAIL_LINGER);
    script.expect(&[]);
    everybody_is_asked_for(&mut script);
    script.pass(TAIL_LINGER - Duration::from_millis(1));
    script.expect(&[]);
    script.pass(Duration::from_millis(1));
    assert_eq!(script.outputs().len(), 2);
}

#[test]
fn the_end_of_a_node_or_of_the_shard_ends_the_media_of_a_moved_room() {
    for node_dies in [true, false] {
        let (mut script, mut node, ada, _bo) = frozen();
        let key = room("standup");
        export(&mut script, &mut node);
        assert!(script.core.complete_move(&key, script.now));
        script.core.pull(&key, &ada.sid, script.now);
        script.outputs();
        if node_dies {
            script.core.handle_node_lost(&NodeId::new("n1"), script.now);
            script.expect(&["pulled ada None +0"]);
        } else {
            script.core.handle_shutdown(script.now);
            assert_eq!(script.outputs().len(), 3);
        }
        script.pass(Duration::from_secs(10));
        script.expect(&[]);
    }
}

#[test]
fn a_move_ends_with_what_ends_its_room() {
    let (mut script, _node, _ada, _bo) = frozen();
    script.core.handle_node_lost(&NodeId::new("n1"), script.now);
    let lines = script.outputs();
    assert_eq!(
        (lines[0].as_str(), lines.len()),
        ("move failed: NodeLost", 6)
    );

    let (mut script, _node, _ada, _bo) = frozen();
    script.core.handle_room_lost(&room("standup"), script.now);
    let lines = script.outputs();
    assert_eq!(
        (lines[0].as_str(), lines.len()),
        ("move failed: RoomLost", 7)
    );

    let (mut script, _node, _ada, _bo) = frozen();
    script.core.handle_shutdown(script.now);
    let lines = script.outputs();
    assert_eq!(lines[0], "move failed: ShuttingDown");
    assert!(!script.core.complete_move(&room("standup"), script.now));
}

#[test]
fn a_room_moves_once_at_a_time_and_only_from_where_it_is() {
    let (mut script, _node, _ada, _bo) = frozen();
    let begin = |script: &mut Script, name: &str| script.core.begin_move(&room(name), script.now);
    assert_eq!(begin(&mut script, "standup"), Err(MoveRefusal::Moving));
    assert_eq!(begin(&mut script, "retro"), Err(MoveRefusal::NotHere));
    assert!(
        !script.core.complete_move(&room("standup"), script.now),
        "not exported"
    );
    script.core.cancel_move(&room("retro"), script.now);
    script.expect(&[]);
}

#[test]
fn a_drain_waits_for_a_room_that_may_still_stay() {
    let (mut script, _node, ada, bo) = frozen();
    let key = room("standup");
    for peer in [&ada, &bo] {
        script.ask(peer, Ask::Leave(lk::LeaveRequest::default()));
    }
    script.core.set_draining(true, script.now);
    script.expect(&[]);
    script.core.cancel_move(&key, script.now);
    script.outputs();
    script.pass(Duration::ZERO);
    script.expect(&["room standup closed"]);
}

#[test]
fn a_drain_leaves_an_idle_room_alone_until_it_is_known_that_it_stays() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    script.ask(&ada, Ask::Leave(lk::LeaveRequest::default()));
    script.outputs();
    let key = room("standup");
    assert_eq!(script.core.begin_move(&key, script.now), Ok(()));
    script.expect(&["n1 < export"]);
    script.core.set_draining(true, script.now);
    script.expect(&[]);
    script.core.cancel_move(&key, script.now);
    script.pass(Duration::ZERO);
    script.expect(&["room standup closed"]);
}

#[test]
fn a_room_that_is_lost_after_its_node_asks_nothing_of_that_node() {
    let (mut script, mut node, _ada, _bo) = frozen();
    export(&mut script, &mut node);
    assert!(script.core.seal_move(&room("standup")));
    script.core.handle_node_lost(&NodeId::new("n1"), script.now);
    script.core.handle_room_lost(&room("standup"), script.now);
    let lines = script.outputs();
    assert_eq!(lines[0], "move failed: RoomLost");
    assert!(
        lines.iter().all(|line| !line.starts_with("n1 <")),
        "{lines:?}"
    );
}

#[test]
fn whoever_cannot_resume_elsewhere_does_not_move_whatever_its_node_exports() {
    let (mut script, [ada]) = Script::meeting(["ada"]);
    let connecting = script.join(request("bo"));
    let mut dual = request("cy");
    dual.mode = PeerMode::Dual;
    let dual = script.join(dual);
    script.event(NodeEvent::Connected {
        participant: dual.sid.clone(),
    });
    script.outputs();
    let mut node = FakeNode::default();
    for peer in [&ada, &connecting, &dual] {
        let holds = super::node::Holds::Transport(PeerMode::Single);
        node.participants.insert(peer.sid.clone(), holds);
    }
    let key = room("standup");
    assert_eq!(script.core.begin_move(&key, script.now), Ok(()));
    node.exports.push(script.core.rooms()[0].sid.clone());
    script.event(node.answer_export().unwrap());
    script.expect(&["n1 < export", "exported [ada]"]);
    // Nor does what they ask for.
    for peer in [&connecting, &dual] {
        script.ask(peer, Ask::AddTrack(track("cam")));
        script.bind(peer, &TrackSid::new("TR_x"), "cam");
    }
    assert!(script.core.complete_move(&key, script.now));
    let mut lines = script.outputs();
    assert_eq!(lines.remove(0), "moved, 0 late");
    lines.sort();
    assert_eq!(
        lines,
        [
            "ada x the room has moved",
            "bo < leave RECONNECT MIGRATION",
            "bo x the room has moved",
            "cy < leave RECONNECT MIGRATION",
            "cy x the room has moved",
        ]
    );
}

#[test]
fn a_section_that_is_found_while_the_room_stands_still_is_known_at_the_new_shard() {
    let (mut script, mut node, ada, _bo) = frozen();
    export(&mut script, &mut node);
    let mic = script.names.track("mic");
    script.bind(&ada, &mic, "mic");
    assert!(script.core.complete_move(&room("standup"), script.now));
    assert_eq!(script.outputs()[0], "moved, 1 late");
}
