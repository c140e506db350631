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
    assert!(world.engine.report().stray_packets >= 2);
}
