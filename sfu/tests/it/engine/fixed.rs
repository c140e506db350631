//! Clients that offer only once: tracks take turns in their sections.

use super::*;
use str0m::media::Mid;

/// A viewer with one section of each kind, in a room where alice has joined.
fn watched() -> (World, [Mid; 2]) {
    let mut world = World::new();
    world.join("alice", PeerMode::Single);
    world.add("viewer", PeerMode::Single);
    let receiving: &[(MediaKind, &[&str], Option<&str>)] =
        &[(MediaKind::Audio, &[], None), (MediaKind::Video, &[], None)];
    let mids = world.offer("viewer", receiving, &[]);
    world.run(seconds(2));
    assert!(world.clients["viewer"].publisher.connected);
    (world, [mids[0], mids[1]])
}

/// The newest video packet that has come.
fn newest(got: &[Got]) -> Got {
    let newest = video(got).into_iter().max_by_key(|got| got.sequence);
    newest.expect("video").clone()
}

fn unpublish(world: &mut World, track: &str) {
    let track = TrackSid::new(track);
    world.command(NodeCommand::Unpublish { track });
}

#[test]
fn every_section_is_answered_as_if_it_carried_something() {
    let (world, mids) = watched();
    let (answer, tracks) = &world.clients["viewer"].answers[0];
    assert!(tracks.is_empty());
    assert_eq!(answer.matches("a=sendonly").count(), 2);
    for (kind, mid) in ["audio", "video"].iter().zip(mids) {
        assert!(answer.contains(&format!("a=msid:anteroom {kind}-{mid}\r\n")));
    }
}

#[test]
fn a_later_track_starts_in_a_free_section_without_another_offer() {
    let (mut world, _) = watched();
    world.publish("alice", "TR_mic", Kind::Audio, &[]);
    world.publish("alice", "TR_cam", Kind::Video, &SIMULCAST);
    world.subscribe("viewer", "TR_mic");
    world.subscribe("viewer", "TR_cam");
    world.run(seconds(3));
    let viewer = &world.clients["viewer"];
    assert!(audio(viewer.got()).len() > 50);
    assert!(video(viewer.got()).len() > 20);
    assert_eq!(viewer.sections_wanted, []);
    assert_eq!(viewer.offers, 1);
}

#[test]
fn the_next_track_goes_on_in_the_stream_of_the_one_that_is_gone() {
    let (mut world, _) = watched();
    world.publish("alice", "TR_one", Kind::Video, &[]);
    world.subscribe("viewer", "TR_one");
    world.run(seconds(2));
    let before = newest(&world.take_got("viewer"));
    unpublish(&mut world, "TR_one");
    world.run(seconds(2));
    world.take_got("viewer");

    world.publish("alice", "TR_two", Kind::Video, &[]);
    world.subscribe("viewer", "TR_two");
    world.run(seconds(2));
    let got = world.take_got("viewer");
    let after = video(&got);
    assert!(after.len() > 20);
    assert!(after.iter().all(|got| got.ssrc == before.ssrc));
    let first = after.iter().map(|got| got.sequence).min().unwrap();
    assert!(
        (before.sequence + 1..before.sequence + 20).contains(&first),
        "{first} after {}",
        before.sequence
    );
    let ahead = newest(&got).timestamp.wrapping_sub(before.timestamp);
    assert!(ahead < u32::MAX / 2, "time runs backwards");
    assert_eq!(world.clients["viewer"].sections_wanted, []);
}

#[test]
fn one_track_too_many_waits_for_a_section() {
    let (mut world, _) = watched();
    for track in ["TR_one", "TR_two"] {
        world.publish("alice", track, Kind::Video, &[]);
        world.subscribe("viewer", track);
    }
    world.run(seconds(2));
    let before = newest(&world.take_got("viewer"));
    unpublish(&mut world, "TR_one");
    world.run(seconds(2));
    let got = world.take_got("viewer");
    assert!(newest(&got).sequence > before.sequence + 20);
    assert!(video(&got).iter().all(|got| got.ssrc == before.ssrc));
}

#[test]
fn a_section_that_waits_survives_an_ice_restart() {
    let (mut world, _) = watched();
    world.publish("alice", "TR_one", Kind::Video, &[]);
    world.subscribe("viewer", "TR_one");
    world.run(seconds(2));
    let before = newest(&world.take_got("viewer"));
    unpublish(&mut world, "TR_one");
    world.run(seconds(1));
    world.restart_ice("viewer");
    world.run(seconds(2));
    world.publish("alice", "TR_two", Kind::Video, &[]);
    world.subscribe("viewer", "TR_two");
    world.run(seconds(2));
    let after = newest(&world.take_got("viewer"));
    assert_eq!(after.ssrc, before.ssrc);
    assert!(after.sequence > before.sequence);
}

#[test]
fn its_connection_is_closed_when_it_is_removed_and_nothing_is_left() {
    for fixed in [true, false] {
        let (mut world, _) = watched();
        let name = if fixed { "viewer" } else { "alice" };
        let participant = world.clients[name].sid.clone();
        world.command(NodeCommand::RemoveParticipant { participant });
        world.run(seconds(1));
        // LiveKit's clients hear it from the shard, and may come back.
        assert_eq!(world.clients[name].publisher.closed, fixed);
        assert_eq!(world.engine().report().participants, 1);
    }
}
