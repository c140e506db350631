//! Data packets.

use super::*;

fn contains(packet: &[u8], text: &str) -> bool {
    packet
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

fn data_reaches_the_others(mode: PeerMode) {
    let mut world = World::new();
    for name in ["alice", "bob", "carol"] {
        world.join(name, mode);
    }
    send(
        &mut world,
        "alice",
        "_reliable",
        &data_packet(1, None, b"hello"),
    );
    for name in ["bob", "carol"] {
        let data = take_data(&mut world, name);
        assert_eq!(data.len(), 1, "{name}");
        assert_eq!(data[0].0, "_reliable");
        assert!(contains(&data[0].1, "hello"));
        assert!(contains(&data[0].1, "PA_alice"), "the sender is stamped");
    }
    assert!(take_data(&mut world, "alice").is_empty());
    send(
        &mut world,
        "alice",
        "_lossy",
        &data_packet(0, Some("carol"), b"psst"),
    );
    assert!(take_data(&mut world, "bob").is_empty());
    let data = take_data(&mut world, "carol");
    assert_eq!((data.len(), data[0].0.as_str()), (1, "_lossy"));
}

#[test]
fn data_packets_reach_the_others_on_one_connection() {
    data_reaches_the_others(PeerMode::Single);
}

#[test]
fn data_packets_reach_the_others_on_two_connections() {
    data_reaches_the_others(PeerMode::Dual);
}

fn who_is_in_the_room_is_heard_by(mode: PeerMode) {
    let mut world = World::new();
    world.join("alice", mode);
    world.join("carol", mode);
    let say = |world: &mut World, number: u8, text: &[u8]| {
        send(
            world,
            "alice",
            "_reliable",
            &data_packet(number, None, text),
        );
    };
    say(&mut world, 1, b"before");
    world.add("bob", mode);
    say(&mut world, 2, b"welcome");
    let packet = data_packet(3, Some("carol"), b"psst");
    send(&mut world, "alice", "_reliable", &packet);
    world.connect("bob", mode);
    say(&mut world, 4, b"after");
    let texts = |name, world: &mut World| -> Vec<&str> {
        let data = take_data(world, name);
        let words = ["before", "welcome", "psst", "after"];
        let word = |packet: &[u8]| words.into_iter().find(|word| contains(packet, word));
        data.iter().filter_map(|(_, packet)| word(packet)).collect()
    };
    assert_eq!(texts("bob", &mut world), ["welcome", "after"]);
    assert_eq!(texts("carol", &mut world).len(), 4);
}

#[test]
fn a_client_that_still_connects_gets_what_was_said_since_it_joined() {
    who_is_in_the_room_is_heard_by(PeerMode::Single);
    who_is_in_the_room_is_heard_by(PeerMode::Dual);
}

#[test]
fn who_may_not_subscribe_gets_data_on_the_connection_it_has() {
    let mut world = World::new();
    world.join("alice", PeerMode::Single);
    world.join("bob", PeerMode::Dual);
    world.command(NodeCommand::SetPermission {
        participant: world.clients["bob"].sid.clone(),
        permission: MediaPermission {
            subscribe: false,
            ..all()
        },
    });
    let packet = data_packet(1, None, b"hello");
    send(&mut world, "alice", "_reliable", &packet);
    assert!(take_data(&mut world, "bob").is_empty());
    assert_eq!(world.clients["bob"].publisher.data.len(), 1);
}

#[test]
fn packets_of_a_hidden_participant_name_no_sender() {
    let mut world = World::new();
    world.join("ghost", PeerMode::Single);
    world.join("bob", PeerMode::Single);
    let packet = data_packet(1, None, b"boo");
    send(&mut world, "ghost", "_reliable", &packet);
    let data = take_data(&mut world, "bob");
    assert_eq!(data.len(), 1);
    assert!(contains(&data[0].1, "boo") && !contains(&data[0].1, "ghost"));
}

#[test]
fn a_packet_longer_than_a_receiver_takes_does_not_stop_the_next() {
    let mut world = World::new();
    world.join("alice", PeerMode::Single);
    world.add("bob", PeerMode::Single);
    world.clients.get_mut("bob").unwrap().max_message = Some(100);
    world.connect("bob", PeerMode::Single);
    let strays = world.engine().report().stray_packets;
    let long = data_packet(1, None, &[b'x'; 100]);
    send(&mut world, "alice", "_reliable", &long);
    assert_eq!(world.engine().report().stray_packets, strays + 1);
    let short = data_packet(2, None, b"short");
    send(&mut world, "alice", "_reliable", &short);
    let data = take_data(&mut world, "bob");
    assert_eq!(data.len(), 1);
    assert!(contains(&data[0].1, "short"));
}

#[test]
fn data_needs_permission_and_sense_and_data_tracks_pass_as_they_are() {
    let mut world = World::new();
    world.join("alice", PeerMode::Single);
    world.join("bob", PeerMode::Single);
    send(&mut world, "alice", "_reliable", &[0x0b, 0xff, 0x00]);
    assert!(take_data(&mut world, "bob").is_empty());
    send(&mut world, "alice", "_data_track", &[0x0b, 0xff, 0x00]);
    assert_eq!(
        take_data(&mut world, "bob"),
        [("_data_track".to_owned(), vec![0x0b, 0xff, 0x00])]
    );
    world.command(NodeCommand::SetPermission {
        participant: world.clients["alice"].sid.clone(),
        permission: MediaPermission {
            publish_data: false,
            ..all()
        },
    });
    send(
        &mut world,
        "alice",
        "_reliable",
        &data_packet(1, None, b"hello"),
    );
    assert!(take_data(&mut world, "bob").is_empty());
    assert!(world.engine().report().stray_packets >= 2);
}
