//! Lost connections, resumes and ICE restarts.

use super::*;

#[test]
fn a_publisher_resumes_on_a_fresh_connection_and_its_simulcast_goes_on() {
    let mut world = subscribed(PeerMode::Single);
    let channels = [("_lossy", 0), ("_reliable", 2)];
    send(
        &mut world,
        "alice",
        "_reliable",
        &data_packet(9, None, b"before"),
    );
    take_data(&mut world, "bob");
    world.command(NodeCommand::PrepareResume {
        participant: world.clients["alice"].sid.clone(),
    });
    assert!(world.events.iter().any(|event| matches!(
        event,
        NodeEvent::ResumeReady {
            last_data_sequence: 9,
            ..
        }
    )));
    let connected = world.count(|event| matches!(event, NodeEvent::Connected { .. }));
    let bound = world.count(|event| matches!(event, NodeEvent::TrackBound { .. }));
    let before = world.take_got("bob");
    world.resume("alice", &channels);
    world.run(seconds(3));
    assert!(world.clients["alice"].publisher.connected);
    assert_eq!(
        world.count(|event| matches!(event, NodeEvent::Connected { .. })),
        connected + 1
    );
    assert_eq!(
        world.count(|event| matches!(event, NodeEvent::TrackBound { .. })),
        bound,
        "the tracks were announced before"
    );
    assert_eq!(
        world.count(|event| matches!(event, NodeEvent::Disconnected { .. })),
        0
    );
    let after = world.take_got("bob");
    let (heard, seen) = (audio(&after).len(), video(&after).len());
    assert!(
        heard > 50 && seen > 50,
        "{heard} audio, {seen} video packets"
    );
    let all = [before, after].concat();
    assert_continuous(&audio(&all));
    assert_continuous(&video(&all));
    let last = all.iter().rev().find(|got| got.level.is_none()).unwrap();
    assert_eq!(layer(last), b'f');
    send(
        &mut world,
        "alice",
        "_reliable",
        &data_packet(9, None, b"again"),
    );
    assert!(
        take_data(&mut world, "bob").is_empty(),
        "9 was taken before"
    );
    send(
        &mut world,
        "alice",
        "_reliable",
        &data_packet(10, None, b"after"),
    );
    assert_eq!(take_data(&mut world, "bob").len(), 1);
}

#[test]
fn a_subscriber_resumes_on_a_fresh_connection_with_the_same_sections() {
    let mut world = subscribed(PeerMode::Single);
    let before = world.clients["bob"].answers.last().unwrap().1.clone();
    world.take_got("bob");
    world.command(NodeCommand::PrepareResume {
        participant: world.clients["bob"].sid.clone(),
    });
    world.resume("bob", &[("_reliable", 2)]);
    world.run(seconds(3));
    assert_eq!(world.clients["bob"].answers.last().unwrap().1, before);
    let got = world.take_got("bob");
    assert!(audio(&got).len() > 50 && video(&got).len() > 50);
    assert_eq!(audio(&got)[0].sequence, 1000);
    assert!(is_keyframe(video(&got)[0]));
    assert_continuous(&audio(&got));
    assert_continuous(&video(&got));
    send(
        &mut world,
        "alice",
        "_reliable",
        &data_packet(1, None, b"hello"),
    );
    assert_eq!(take_data(&mut world, "bob").len(), 1);
}

#[test]
fn reliable_data_that_comes_during_a_resume_waits_for_it() {
    let mut world = subscribed(PeerMode::Single);
    let channels = [("_reliable", 2)];
    let say = |world: &mut World, sequence, text: &[u8]| {
        let alice = world.clients.get_mut("alice").unwrap();
        let packet = data_packet(sequence, None, text);
        assert!(alice.publisher.send_data("_reliable", &packet));
        world.settle();
    };
    let texts = |world: &mut World| -> Vec<u8> {
        let data = take_data(world, "bob").into_iter();
        // Key and length of the user packet, key and length of its payload.
        data.map(|(_, packet)| packet[4]).collect()
    };
    let plug = |world: &mut World, plugged: bool| {
        world.clients.get_mut("bob").unwrap().unplugged = !plugged;
    };
    plug(&mut world, false);
    world.resume("bob", &channels);
    say(&mut world, 1, b"1");
    say(&mut world, 2, b"2");
    assert!(!world.clients["bob"].publisher.connected);
    plug(&mut world, true);
    world.run(seconds(2));
    assert_eq!(texts(&mut world), b"12");
    // Without any transport in between.
    plug(&mut world, false);
    world.run(seconds(35));
    say(&mut world, 3, b"3");
    world.resume("bob", &channels);
    say(&mut world, 4, b"4");
    plug(&mut world, true);
    world.run(seconds(2));
    say(&mut world, 5, b"5");
    assert_eq!(texts(&mut world), b"345");
}

#[test]
fn a_peer_that_vanished_is_given_up_and_can_resume() {
    let mut world = subscribed(PeerMode::Single);
    world.clients.get_mut("alice").unwrap().unplugged = true;
    world.run(seconds(25));
    assert_eq!(
        world.count(|event| matches!(event, NodeEvent::Disconnected { .. })),
        0
    );
    world.run(seconds(10));
    assert_eq!(
        world.count(|event| matches!(
            event,
            NodeEvent::Disconnected {
                reason: TransportLoss::IceTimeout,
                ..
            }
        )),
        1
    );
    let refused = |world: &World| world.count(|event| matches!(event, NodeEvent::Refused { .. }));
    let alice = world.clients.get_mut("alice").unwrap();
    alice.unplugged = false;
    world.take_got("bob");
    world.resume("alice", &[("_reliable", 2)]);
    world.run(seconds(3));
    assert_eq!(refused(&world), 0);
    let got = world.take_got("bob");
    assert!(audio(&got).len() > 50 && video(&got).len() > 50);
}

#[test]
fn an_ice_restart_on_two_connections_keeps_them() {
    let mut world = subscribed(PeerMode::Dual);
    let connected = world.count(|event| matches!(event, NodeEvent::Connected { .. }));
    world.command(NodeCommand::PrepareResume {
        participant: world.clients["bob"].sid.clone(),
    });
    world.restart_ice("bob");
    world.run(seconds(2));
    world.take_got("bob");
    world.run(seconds(2));
    let got = world.take_got("bob");
    assert!(audio(&got).len() > 50 && video(&got).len() > 50);
    assert_eq!(
        world.count(|event| matches!(event, NodeEvent::Connected { .. })),
        connected + 1
    );
    let answer = &world.clients["bob"].answers.last().unwrap().0;
    assert!(
        answer.contains("a=ice-ufrag:00a7"),
        "the worker stays in the ufrag"
    );
}
