//! One room on several members: tracks and data packets from one to the other.

use super::world::{announced, member_at};
use super::*;
use proto::id::RoomSid;
use proto::media::{ImportedTrack, PublishedTrack};

const A: usize = 0;
const B: usize = 1;

fn camera() -> PublishedTrack {
    announced(
        proto::id::ParticipantSid::new("PA_alice"),
        "TR_cam",
        Kind::Video,
        &SIMULCAST,
    )
}

fn microphone(name: &str) -> PublishedTrack {
    let sid = proto::id::ParticipantSid::new(format!("PA_{name}"));
    announced(sid, &format!("TR_{name}"), Kind::Audio, &[])
}

/// As the shard does, before the first subscription there.
fn import(world: &mut World, to: usize, from: usize, track: PublishedTrack) {
    let imported = ImportedTrack {
        room: RoomSid::new("RM_1"),
        from: member_at(from),
        track,
    };
    world.command_at(to, NodeCommand::Import(imported));
}

/// Alice, with a microphone and a camera, is at A; bob and carol are at B and take both.
fn spread() -> World {
    let mut world = World::with_nodes(2);
    world.join("alice", PeerMode::Single);
    world.publish("alice", "TR_alice", Kind::Audio, &[]);
    world.publish("alice", "TR_cam", Kind::Video, &SIMULCAST);
    for name in ["bob", "carol"] {
        world.join_at(name, B);
    }
    import(&mut world, B, A, microphone("alice"));
    import(&mut world, B, A, camera());
    for name in ["bob", "carol"] {
        world.subscribe(name, "TR_alice");
        world.subscribe(name, "TR_cam");
    }
    world.run(seconds(3));
    world
}

fn wanted(world: &World) -> Vec<Option<Quality>> {
    let events = world.nodes[A].events.iter();
    let wanted = events.filter_map(|event| match event {
        NodeEvent::LayersWanted { quality, .. } => Some(*quality),
        _ => None,
    });
    wanted.collect()
}

#[test]
fn a_publisher_is_heard_and_seen_at_another_member() {
    let mut world = spread();
    for name in ["bob", "carol"] {
        let got = world.take_got(name);
        let (audio, video) = (audio(&got), video(&got));
        assert!(audio.len() > 100, "{} audio packets", audio.len());
        assert!(video.len() > 100, "{} video packets", video.len());
        assert_continuous(&audio);
        assert_continuous(&video);
        assert!(is_keyframe(video[0]));
        assert_eq!(layer(video[video.len() - 1]), b'f');
        assert_eq!(audio[0].level, Some(-20));
        assert!(video.iter().any(|got| got.marker));
    }
    let copies = world.nodes[A].engine.census().relayed_out;
    assert_eq!(copies, world.nodes[B].engine.census().relayed_in);
    // Nobody at A takes anything: all that left it are the copies, one for two subscribers.
    let report = world.nodes[A].engine.report();
    assert!(copies > 500 && copies <= report.packets_in, "{copies}");
    assert_eq!(
        world.nodes[B].engine.report().participants,
        2,
        "guests do not count"
    );
    assert_eq!(world.nodes[B].engine.report().tracks, 0);
}

#[test]
fn only_the_layers_that_somebody_wants_come_over_and_the_switch_is_seamless() {
    let mut world = spread();
    world.take_got("bob");
    world.run(Duration::from_millis(500));
    let small = TrackSettings {
        width: 320,
        height: 180,
        ..TrackSettings::default()
    };
    for name in ["bob", "carol"] {
        world.settings(name, "TR_cam", small);
    }
    world.run(seconds(2));
    let before = world.nodes[A].engine.census().relayed_out;
    world.run(seconds(1));
    let low = world.nodes[A].engine.census().relayed_out - before;
    world.run(seconds(4));
    assert_eq!(wanted(&world).last(), Some(&Some(Quality::Low)));
    world.settings("bob", "TR_cam", TrackSettings::default());
    world.run(seconds(2));
    assert_eq!(wanted(&world).last(), Some(&Some(Quality::High)));
    let before = world.nodes[A].engine.census().relayed_out;
    world.run(seconds(1));
    let all = world.nodes[A].engine.census().relayed_out - before;
    assert!(2 * low < all + 50, "50 of speech, and {low} of {all}");
    let got = world.take_got("bob");
    let video = video(&got);
    assert_continuous(&video);
    let mut layers: Vec<u8> = video.iter().map(|got| layer(got)).collect();
    layers.dedup();
    assert_eq!(layers, b"fqf");
    for pair in video.windows(2) {
        if layer(pair[0]) != layer(pair[1]) {
            assert!(is_keyframe(pair[1]), "a layer is entered at a key frame");
        }
    }
}

#[test]
fn a_late_subscriber_at_another_member_gets_one_key_frame() {
    let mut world = spread();
    let asked = |world: &World| world.sources[1].layers[2].keyframes;
    world.run(seconds(3));
    let before = asked(&world);
    world.join_at("dave", B);
    world.subscribe("dave", "TR_cam");
    world.run(seconds(1));
    assert_eq!(asked(&world), before + 1);
    let got = world.take_got("dave");
    assert!(is_keyframe(&got[0]));
}

#[test]
fn what_is_lost_between_members_is_asked_for_and_comes() {
    let mut world = spread();
    world.take_got("bob");
    world.lose_relayed = Some(10);
    world.run(seconds(5));
    world.lose_relayed = None;
    world.run(seconds(1));
    let mut got = world.take_got("bob");
    got.sort_by_key(|got| (got.level.is_none(), got.sequence));
    // In their order again, there is no hole.
    assert_continuous(&audio(&got));
    assert_continuous(&video(&got));
    assert!(video(&got).len() > 250, "{}", video(&got).len());
}

#[test]
fn muting_stops_a_track_everywhere_and_it_goes_on_without_a_gap() {
    let mut world = spread();
    world.take_got("bob");
    let mute = |world: &mut World, muted| {
        for node in [A, B] {
            let track = TrackSid::new("TR_cam");
            world.command_at(node, NodeCommand::SetMuted { track, muted });
        }
    };
    world.run(seconds(1));
    mute(&mut world, true);
    world.run(Duration::from_millis(100));
    let before = world.take_got("bob");
    world.run(seconds(2));
    let silent = world.take_got("bob");
    assert_eq!(video(&silent).len(), 0);
    mute(&mut world, false);
    world.run(seconds(2));
    let after = world.take_got("bob");
    let both: Vec<&Got> = video(&before).into_iter().chain(video(&after)).collect();
    assert!(video(&after).len() > 50);
    assert_continuous(&both);
}

#[test]
fn data_goes_to_all_members_and_only_to_those_it_is_meant_for() {
    let mut world = spread();
    let tell = |world: &mut World, node: usize, others: Vec<usize>| {
        let members = others.into_iter().map(member_at).collect();
        let room = RoomSid::new("RM_1");
        world.command_at(node, NodeCommand::SetMembers { room, members });
    };
    tell(&mut world, A, vec![B]);
    tell(&mut world, B, vec![A]);
    send(
        &mut world,
        "alice",
        "_reliable",
        &data_packet(1, None, b"hello"),
    );
    send(
        &mut world,
        "alice",
        "_lossy",
        &data_packet(0, Some("carol"), b"psst"),
    );
    send(&mut world, "bob", "_reliable", &data_packet(1, None, b"hi"));
    send(&mut world, "bob", "_data_track", &[1, 2, 3]);
    let labels = |data: Vec<(String, Vec<u8>)>| -> Vec<String> {
        data.into_iter().map(|(label, _)| label).collect()
    };
    assert_eq!(
        labels(take_data(&mut world, "alice")),
        ["_reliable", "_data_track"]
    );
    assert_eq!(labels(take_data(&mut world, "bob")), ["_reliable"]);
    assert_eq!(
        labels(take_data(&mut world, "carol")),
        ["_reliable", "_lossy", "_reliable", "_data_track"]
    );
    // Who is the last one here has nobody to tell.
    tell(&mut world, A, Vec::new());
    let before = world.relayed;
    world.command_at(
        B,
        NodeCommand::Unpublish {
            track: TrackSid::new("TR_cam"),
        },
    );
    world.command_at(
        B,
        NodeCommand::Unpublish {
            track: TrackSid::new("TR_alice"),
        },
    );
    world.run(seconds(4));
    let undone = world.relayed;
    assert!(undone > before);
    send(
        &mut world,
        "alice",
        "_reliable",
        &data_packet(2, None, b"alone"),
    );
    assert_eq!(world.relayed, undone);
}

#[test]
fn a_data_packet_that_comes_twice_is_handed_out_once() {
    let mut world = spread();
    let members = vec![member_at(B)];
    let room = RoomSid::new("RM_1");
    world.command_at(
        A,
        NodeCommand::SetMembers {
            room: room.clone(),
            members,
        },
    );
    send(
        &mut world,
        "alice",
        "_reliable",
        &data_packet(1, None, b"once"),
    );
    let export = NodeCommand::Export { room: room.clone() };
    world.command_at(A, export);
    let data = world.nodes[A].events.iter().find_map(|event| match event {
        NodeEvent::Exported { data, .. } => Some(data.clone()),
        _ => None,
    });
    assert_eq!(take_data(&mut world, "bob").len(), 1);
    world.command_at(
        B,
        NodeCommand::Deliver {
            room,
            data: data.unwrap(),
        },
    );
    world.run(seconds(1));
    assert_eq!(take_data(&mut world, "bob").len(), 0);
}

#[test]
fn a_copy_ends_when_its_member_says_nothing_any_more() {
    let mut world = spread();
    world.nodes.truncate(1);
    world.clients.retain(|name, _| *name == "alice");
    world.run(seconds(4));
    let before = world.nodes[A].engine.census().relayed_out;
    world.run(seconds(6));
    assert_eq!(world.nodes[A].engine.census().relayed_out, before);
    assert_eq!(wanted(&world).last(), Some(&None), "the camera may rest");
}

#[test]
fn the_others_hear_of_a_speaker_from_its_own_member_only() {
    let mut world = spread();
    world.run(seconds(2));
    let tells = |node: usize| {
        let mut events = world.nodes[node].events.iter();
        events.any(|event| matches!(event, NodeEvent::Speakers { .. }))
    };
    assert!(tells(A));
    assert!(!tells(B));
}

#[test]
fn the_last_import_takes_the_guest_with_it_and_the_room_goes_with_its_people() {
    let mut world = spread();
    for name in ["bob", "carol"] {
        let participant = world.clients[name].sid.clone();
        world.command_at(B, NodeCommand::RemoveParticipant { participant });
        world.clients.remove(name);
    }
    assert_eq!(world.nodes[B].engine.report().rooms, 1, "a guest is there");
    for track in ["TR_alice", "TR_cam"] {
        let track = TrackSid::new(track);
        world.command_at(B, NodeCommand::Unpublish { track });
    }
    let report = world.nodes[B].engine.report();
    assert_eq!((report.rooms, report.participants), (0, 0));
    world.run(seconds(4));
    let before = world.nodes[A].engine.census().relayed_out;
    world.run(seconds(1));
    assert_eq!(world.nodes[A].engine.census().relayed_out, before);
}

#[test]
fn what_makes_no_sense_is_passed_over() {
    let mut world = spread();
    // Of a room that is not here, of somebody who is here, twice.
    let elsewhere = ImportedTrack {
        room: RoomSid::new("RM_2"),
        from: member_at(A),
        track: microphone("zoe"),
    };
    world.command_at(B, NodeCommand::Import(elsewhere));
    import(&mut world, B, A, microphone("bob"));
    import(&mut world, B, A, camera());
    world.run(seconds(1));
    assert_eq!(world.nodes[B].engine.report().rooms, 1);
    assert_eq!(world.nodes[B].engine.report().participants, 2);
}
