//! Media stops when the shard may not own its rooms any more, and goes on when it does again.

use super::*;
use proto::media::NodeReport;

fn report(world: &mut World) -> NodeReport {
    world.engine().report()
}

/// What came out in the next second.
fn got_in_a_second(world: &mut World) -> usize {
    world.take_got("bob");
    world.run(seconds(1));
    world.take_got("bob").len()
}

fn last_nonce(world: &World) -> u64 {
    let asked = world.events.iter().rev().find_map(|event| match event {
        NodeEvent::AskOwned { nonce, .. } => Some(*nonce),
        _ => None,
    });
    asked.unwrap()
}

#[test]
fn the_shard_is_asked_at_once_and_twice_a_second() {
    let mut world = World::new();
    let asked = |world: &World| world.count(|event| matches!(event, NodeEvent::AskOwned { .. }));
    assert_eq!(asked(&world), 1);
    world.run(seconds(3));
    assert_eq!(asked(&world), 7);
}

#[test]
fn media_and_data_stop_at_the_deadline_without_a_command_and_go_on_after_a_late_answer() {
    let mut world = subscribed(PeerMode::Single);
    world.owned_for = Some(seconds(3));
    world.run(seconds(1));
    world.owned_for = None;
    world.run(Duration::from_millis(2_400));
    assert!(got_in_a_second(&mut world) > 0, "up to the deadline");
    let before = report(&mut world);
    assert_eq!(got_in_a_second(&mut world), 0);
    let after = report(&mut world);
    assert_eq!(after.packets_out, before.packets_out);
    assert!(after.fenced_packets > before.fenced_packets + 100);

    // A message is neither taken nor lost.
    let packet = data_packet(1, None, b"hello");
    send(&mut world, "alice", "_reliable", &packet);
    assert!(take_data(&mut world, "bob").is_empty());
    world.run(seconds(20));
    let disconnected = |event: &NodeEvent| matches!(event, NodeEvent::Disconnected { .. });
    assert_eq!(world.count(disconnected), 0, "transports stay");

    world.owned_for = Some(seconds(3));
    world.take_got("bob");
    world.run(seconds(20));
    let got = world.take_got("bob");
    assert!(audio(&got).len() > 900 && video(&got).len() > 900);
    assert!(is_keyframe(video(&got)[0]));
    assert_eq!(take_data(&mut world, "bob").len(), 1);
}

#[test]
fn nothing_is_sent_again_behind_a_fence() {
    let mut world = subscribed(PeerMode::Single);
    world.lose_every = Some(2);
    world.run(Duration::from_millis(900));
    world.owned_for = Some(Duration::ZERO);
    let before = loop {
        world.run(Duration::from_millis(5));
        let report = report(&mut world);
        if report.fenced_packets > 0 {
            break report;
        }
    };
    world.run(seconds(1));
    let after = report(&mut world);
    assert_eq!(after.packets_out, before.packets_out);
}

#[test]
fn streams_go_on_without_a_gap_after_a_fence() {
    let mut world = subscribed(PeerMode::Single);
    let before = world.take_got("bob");
    world.owned_for = Some(Duration::ZERO);
    world.run(seconds(2));
    world.owned_for = Some(seconds(3));
    world.run(seconds(2));
    let all = [before, world.take_got("bob")].concat();
    assert_continuous(&audio(&all));
    assert_continuous(&video(&all));
}

#[test]
fn a_short_fence_between_question_and_late_answer_leaves_no_gap_either() {
    let mut world = subscribed(PeerMode::Single);
    let before = world.take_got("bob");
    let asked = last_nonce(&world);
    while last_nonce(&world) == asked {
        world.owned_for = Some(Duration::from_millis(550));
        world.run(Duration::from_millis(10));
    }
    world.owned_for = None;
    let asked = last_nonce(&world);
    while last_nonce(&world) == asked {
        world.run(Duration::from_millis(10));
    }
    world.run(Duration::from_millis(300));
    let fenced = report(&mut world).fenced_packets;
    assert!(fenced > 0);
    world.command(NodeCommand::Owned {
        nonce: last_nonce(&world),
        for_ms: 10_000,
    });
    world.run(seconds(2));
    assert_eq!(report(&mut world).fenced_packets, fenced);
    let all = [before, world.take_got("bob")].concat();
    assert_continuous(&audio(&all));
    assert_continuous(&video(&all));
}

#[test]
fn an_answer_to_an_old_question_extends_nothing_beyond_its_own_time() {
    let mut world = subscribed(PeerMode::Single);
    world.owned_for = Some(Duration::ZERO);
    world.run(seconds(1));
    world.owned_for = None;
    world.run(Duration::from_millis(600));
    let nonce = last_nonce(&world);
    world.run(seconds(4));
    world.command(NodeCommand::Owned {
        nonce,
        for_ms: 4_000,
    });
    assert_eq!(got_in_a_second(&mut world), 0);
    // The same words to a question of now.
    let nonce = last_nonce(&world);
    world.command(NodeCommand::Owned {
        nonce,
        for_ms: 4_000,
    });
    assert!(got_in_a_second(&mut world) > 0);
}

#[test]
fn nothing_flows_before_the_first_answer_but_clients_connect() {
    let mut world = World::new();
    world.owned_for = Some(Duration::ZERO);
    world.run(seconds(1));
    world.join("alice", PeerMode::Single);
    world.join("bob", PeerMode::Single);
    world.publish("alice", "TR_mic", Kind::Audio, &[]);
    world.subscribe("bob", "TR_mic");
    world.run(seconds(2));
    assert_eq!(got_in_a_second(&mut world), 0);
    assert!(world.clients["bob"].publisher.channels.is_empty());
    world.owned_for = Some(seconds(3));
    world.run(seconds(8));
    assert!(got_in_a_second(&mut world) > 0);
    send(
        &mut world,
        "alice",
        "_reliable",
        &data_packet(1, None, b"hello"),
    );
    assert_eq!(take_data(&mut world, "bob").len(), 1);
}

#[test]
fn packets_delivered_by_the_shard_wait_while_fenced() {
    let mut world = subscribed(PeerMode::Single);
    world.owned_for = Some(Duration::ZERO);
    world.run(seconds(1));
    world.command(NodeCommand::Deliver {
        room: proto::id::RoomSid::new("RM_1"),
        data: vec![proto::media::CarriedData {
            from: world.clients["alice"].sid.clone(),
            sequence: 1,
            age_ms: 0,
            packet: data_packet(1, None, b"hello"),
        }],
    });
    world.run(seconds(1));
    assert!(take_data(&mut world, "bob").is_empty());
    world.owned_for = Some(seconds(3));
    world.run(seconds(1));
    assert_eq!(take_data(&mut world, "bob").len(), 1);
}

#[test]
fn packets_that_wait_for_a_slow_receiver_are_not_sent_while_fenced() {
    let mut world = subscribed(PeerMode::Single);
    // Taken while the shard owns the room, but bob's channel is not there yet.
    world.clients.get_mut("bob").unwrap().unplugged = true;
    world.resume("bob", &[("_reliable", 2)]);
    send(
        &mut world,
        "alice",
        "_reliable",
        &data_packet(1, None, b"hello"),
    );
    world.owned_for = Some(Duration::ZERO);
    world.run(seconds(1));
    world.clients.get_mut("bob").unwrap().unplugged = false;
    world.run(seconds(5));
    assert!(world.clients["bob"].publisher.connected);
    assert!(take_data(&mut world, "bob").is_empty());
    world.owned_for = Some(seconds(3));
    // SCTP repeats its first words ever more rarely.
    world.run(seconds(30));
    assert_eq!(take_data(&mut world, "bob").len(), 1);
}
