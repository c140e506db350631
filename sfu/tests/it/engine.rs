//! The media engine as its shard and its clients see it, in virtual time and without sockets.

mod peer;
mod world;

use peer::Got;
use proto::id::TrackSid;
use proto::media::{
    Kind, MediaPermission, NodeCommand, NodeEvent, PeerMode, Quality, TrackSettings, TransportLoss,
};
use sfu::engine::{Datagram, Transport};
use std::net::SocketAddr;
use std::time::Duration;
use str0m::media::MediaKind;
use world::{BASE, World, all};

const SIMULCAST: [&str; 3] = ["q", "h", "f"];

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Two participants, of whom alice publishes a microphone `TR_mic` and a simulcast camera `TR_cam`.
fn meeting(mode: PeerMode) -> World {
    let mut world = World::new();
    world.join("alice", mode);
    world.join("bob", mode);
    world.publish("alice", "TR_mic", Kind::Audio, &[]);
    world.publish("alice", "TR_cam", Kind::Video, &SIMULCAST);
    world
}

fn subscribed(mode: PeerMode) -> World {
    let mut world = meeting(mode);
    world.subscribe("bob", "TR_mic");
    world.subscribe("bob", "TR_cam");
    world.run(seconds(3));
    world
}

fn video(got: &[Got]) -> Vec<&Got> {
    got.iter().filter(|got| got.level.is_none()).collect()
}

fn audio(got: &[Got]) -> Vec<&Got> {
    got.iter().filter(|got| got.level.is_some()).collect()
}

/// The simulcast layer that a packet of the test camera belongs to.
fn layer(got: &Got) -> u8 {
    got.payload[7]
}

fn picture_id(got: &Got) -> u16 {
    u16::from_be_bytes([got.payload[2] & 0x7f, got.payload[3]])
}

fn is_keyframe(got: &Got) -> bool {
    got.payload[0] & 0x10 != 0 && got.payload[6] & 1 == 0
}

/// Without loss, the packets of one stream have numbers without a hole and times that only grow.
fn assert_continuous(packets: &[&Got]) {
    for pair in packets.windows(2) {
        let [before, after] = pair else { continue };
        assert_eq!(after.ssrc, before.ssrc);
        assert_eq!(after.sequence, before.sequence + 1);
        let step = after.timestamp.wrapping_sub(before.timestamp);
        assert!(step < 90_000 * 20, "time runs backwards by {step}");
    }
}

fn announced(world: &World, name: &str) -> String {
    let client = &world.clients[name];
    let described = client.node_offers.last().or(client.answers.last());
    described.unwrap().0.clone()
}

#[test]
fn a_subscriber_hears_and_sees_a_publisher_on_one_connection() {
    let mut world = subscribed(PeerMode::Single);
    assert!(announced(&world, "bob").contains("a=msid:PA_alice|TR_cam TR_cam"));
    let (_, mids) = world.clients["bob"].answers.last().unwrap();
    assert!(mids.values().any(|track| track.as_str() == "TR_cam"));
    let (_, own) = world.clients["alice"].answers.last().unwrap();
    assert_eq!(own.len(), 2, "the publisher's own tracks are named too");
    let got = world.take_got("bob");
    let (audio, video) = (audio(&got), video(&got));
    assert!(audio.len() > 100, "{} audio packets", audio.len());
    assert!(video.len() > 100, "{} video packets", video.len());
    assert_eq!(audio[0].sequence, 1000);
    assert_continuous(&audio);
    assert_continuous(&video);
    assert!(is_keyframe(video[0]));
    assert_eq!(layer(video[video.len() - 1]), b'f');
    assert!(video.iter().any(|got| got.marker));
    assert_eq!(audio[0].level, Some(-20));
    assert!(audio[0].payload.starts_with(b"opus"));
}

#[test]
fn a_subscriber_hears_and_sees_a_publisher_on_two_connections() {
    let mut world = subscribed(PeerMode::Dual);
    assert!(announced(&world, "bob").contains("a=msid:PA_alice|TR_cam TR_cam"));
    let got = world.take_got("bob");
    assert!(audio(&got).len() > 100);
    assert!(video(&got).len() > 100);
    assert_continuous(&audio(&got));
    assert_continuous(&video(&got));
    let mids = &world.clients["bob"].node_offers.last().unwrap().1;
    assert_eq!(mids.len(), 2);
}

#[test]
fn both_modes_meet_in_one_room() {
    let mut world = World::new();
    world.join("alice", PeerMode::Dual);
    world.join("bob", PeerMode::Single);
    world.publish("alice", "TR_a", Kind::Audio, &[]);
    world.publish("bob", "TR_b", Kind::Audio, &[]);
    world.subscribe("bob", "TR_a");
    world.subscribe("alice", "TR_b");
    world.run(seconds(1));
    assert!(world.take_got("alice").len() > 30);
    assert!(world.take_got("bob").len() > 30);
}

#[test]
fn tracks_are_bound_once_with_their_codec_whichever_comes_first() {
    let mut world = World::new();
    world.join("alice", PeerMode::Single);
    let cid = "cid-TR_late";
    world.offer("alice", &[(MediaKind::Video, &[], Some(cid))], &[]);
    world.run(seconds(1));
    assert_eq!(
        world.count(|event| matches!(event, NodeEvent::TrackBound { .. })),
        0
    );
    world.command(NodeCommand::Publish(proto::media::PublishedTrack {
        participant: world.clients["alice"].sid.clone(),
        track: TrackSid::new("TR_late"),
        cid: cid.into(),
        kind: Kind::Video,
        layers: vec![],
        muted: false,
    }));
    world.publish("alice", "TR_mic", Kind::Audio, &[]);
    let bound: Vec<(String, String)> = world
        .events
        .iter()
        .filter_map(|event| match event {
            NodeEvent::TrackBound { track, mime, .. } => Some((track.to_string(), mime.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(
        bound,
        [
            ("TR_late".to_owned(), "video/VP8".to_owned()),
            ("TR_mic".to_owned(), "audio/opus".to_owned())
        ]
    );
}

#[test]
fn a_burst_of_subscriptions_asks_once_and_only_for_what_is_missing() {
    let mut world = World::new();
    world.join("alice", PeerMode::Single);
    world.join("bob", PeerMode::Single);
    let tracks = ["TR_1", "TR_2", "TR_3", "TR_4"];
    for track in tracks {
        world.publish("alice", track, Kind::Audio, &[]);
    }
    for track in tracks {
        world.subscribe("bob", track);
    }
    world.run(seconds(1));
    // One audio section was free from the start.
    assert_eq!(world.clients["bob"].sections_wanted, [(3, 0)]);
    assert_eq!(world.clients["bob"].answers.last().unwrap().1.len(), 4);
    let got = world.take_got("bob");
    let mut ssrcs: Vec<u32> = got.iter().map(|got| got.ssrc).collect();
    ssrcs.sort_unstable();
    ssrcs.dedup();
    assert_eq!(ssrcs.len(), 4);
}

#[test]
fn a_client_that_does_not_offer_is_asked_again() {
    let mut world = meeting(PeerMode::Single);
    world.clients.get_mut("bob").unwrap().obedient = false;
    world.subscribe("bob", "TR_mic");
    world.run(seconds(4));
    assert_eq!(world.clients["bob"].sections_wanted, [(0, 0), (0, 0)]);
}

#[test]
fn a_freed_section_goes_inactive_and_is_reused_with_a_new_source() {
    let mut world = subscribed(PeerMode::Single);
    world.publish("alice", "TR_screen", Kind::Video, &[]);
    let before = video(&world.take_got("bob"))[0].clone();
    world.command(NodeCommand::Unsubscribe {
        participant: world.clients["bob"].sid.clone(),
        track: TrackSid::new("TR_cam"),
    });
    world.run(seconds(1));
    assert_eq!(world.clients["bob"].sections_wanted.last(), Some(&(0, 0)));
    assert!(!announced(&world, "bob").contains("TR_cam"));
    assert!(announced(&world, "bob").contains("a=inactive"));
    world.take_got("bob");
    world.subscribe("bob", "TR_screen");
    world.run(seconds(2));
    let got = world.take_got("bob");
    let after = video(&got);
    assert_eq!(after[0].mid, before.mid);
    assert_ne!(after[0].ssrc, before.ssrc);
    assert_eq!(after[0].sequence, 1000);
    assert!(is_keyframe(after[0]));
    assert_continuous(&after);
    assert_continuous(&audio(&got));
}

#[test]
fn unsubscribing_on_two_connections_frees_the_section() {
    let mut world = subscribed(PeerMode::Dual);
    world.command(NodeCommand::Unsubscribe {
        participant: world.clients["bob"].sid.clone(),
        track: TrackSid::new("TR_cam"),
    });
    world.run(seconds(1));
    assert!(announced(&world, "bob").contains("a=inactive"));
    world.take_got("bob");
    world.subscribe("bob", "TR_cam");
    world.run(seconds(2));
    let got = world.take_got("bob");
    assert!(is_keyframe(video(&got)[0]));
    assert_continuous(&audio(&got));
}

#[test]
fn only_one_offer_of_the_node_is_in_flight() {
    let mut world = meeting(PeerMode::Dual);
    let offers = world.clients["bob"].node_offers.len();
    world.clients.get_mut("bob").unwrap().obedient = false;
    world.subscribe("bob", "TR_mic");
    world.run(seconds(1));
    world.subscribe("bob", "TR_cam");
    world.run(seconds(1));
    assert_eq!(world.clients["bob"].node_offers.len(), offers + 1);
    let bob = world.clients.get_mut("bob").unwrap();
    bob.obedient = true;
    let (offer, _) = bob.node_offers.last().unwrap().clone();
    let sdp = bob.subscriber.as_mut().unwrap().answer(&offer);
    let participant = bob.sid.clone();
    world.command(NodeCommand::Answer {
        participant: participant.clone(),
        offer_id: 77,
        sdp: sdp.clone(),
    });
    world.run(seconds(1));
    assert_eq!(
        world.clients["bob"].node_offers.len(),
        offers + 1,
        "77 is stale"
    );
    world.command(NodeCommand::Answer {
        participant,
        offer_id: 0,
        sdp,
    });
    world.run(seconds(2));
    assert_eq!(world.clients["bob"].node_offers.len(), offers + 2);
    let got = world.take_got("bob");
    assert!(!video(&got).is_empty() && !audio(&got).is_empty());
}

#[test]
fn settings_choose_the_layer_and_the_switch_is_seamless() {
    let mut world = subscribed(PeerMode::Single);
    world.take_got("bob");
    world.run(Duration::from_millis(500));
    let size = |width, height| TrackSettings {
        width,
        height,
        ..TrackSettings::default()
    };
    world.settings("bob", "TR_cam", size(320, 180));
    world.run(seconds(2));
    world.settings("bob", "TR_cam", size(640, 360));
    world.run(seconds(2));
    let low = TrackSettings {
        max_quality: Quality::Low,
        ..TrackSettings::default()
    };
    world.settings("bob", "TR_cam", low);
    world.run(seconds(2));
    let got = world.take_got("bob");
    let video = video(&got);
    assert_continuous(&video);
    let mut layers: Vec<u8> = video.iter().map(|got| layer(got)).collect();
    for pair in video.windows(2) {
        let [before, after] = pair else { continue };
        if layer(before) != layer(after) {
            assert!(is_keyframe(after), "a layer is entered at a key frame");
        }
        let step = picture_id(after).wrapping_sub(picture_id(before)) & 0x7fff;
        assert!(step <= 1, "picture ids are continuous, not {step} apart");
        let tl0 = after.payload[4].wrapping_sub(before.payload[4]);
        assert!(tl0 <= 1, "TL0PICIDX is continuous, not {tl0} apart");
    }
    layers.dedup();
    assert_eq!(layers, b"fqhq");
}

#[test]
fn a_layer_that_stops_is_replaced_and_comes_back() {
    let mut world = subscribed(PeerMode::Single);
    world.take_got("bob");
    world.run(Duration::from_millis(500));
    let camera = |world: &mut World, on: bool| {
        let source = world
            .sources
            .iter_mut()
            .find(|source| source.kind == Kind::Video);
        source.unwrap().layers[2].on = on;
    };
    camera(&mut world, false);
    world.run(seconds(6));
    camera(&mut world, true);
    world.run(seconds(2));
    let got = world.take_got("bob");
    let video = video(&got);
    assert_continuous(&video);
    let mut layers: Vec<u8> = video.iter().map(|got| layer(got)).collect();
    layers.dedup();
    assert_eq!(layers, b"fhf");
}

#[test]
fn a_late_subscriber_gets_a_key_frame_of_its_own() {
    let mut world = subscribed(PeerMode::Single);
    let asked = |world: &World| world.sources[1].layers[2].keyframes;
    let before = asked(&world);
    world.run(seconds(5));
    assert_eq!(asked(&world), before, "nobody asks without need");
    world.join("carol", PeerMode::Single);
    world.subscribe("carol", "TR_cam");
    world.run(seconds(1));
    assert_eq!(asked(&world), before + 1);
    let got = world.take_got("carol");
    assert!(is_keyframe(&got[0]));
    assert_eq!(got[0].sequence, 1000);
}

#[test]
fn a_subscriber_that_lost_its_picture_gets_a_key_frame_but_not_a_flood() {
    let mut world = subscribed(PeerMode::Single);
    let before = world.sources[1].layers[2].keyframes;
    for _ in 0..10 {
        let got = world.clients["bob"].got().last().unwrap().clone();
        let bob = world.clients.get_mut("bob").unwrap();
        let ssrc = bob
            .got()
            .iter()
            .rev()
            .find(|got| got.level.is_none())
            .map(|got| got.ssrc);
        bob.publisher
            .rtc
            .direct_api()
            .stream_rx(&ssrc.unwrap_or(got.ssrc).into())
            .unwrap()
            .request_keyframe(str0m::media::KeyframeRequestKind::Pli);
        world.settle();
        world.run(Duration::from_millis(100));
    }
    world.run(seconds(1));
    let frames = world.sources[1].layers[2].keyframes - before;
    assert!((2..=4).contains(&frames), "{frames} key frames");
}

#[test]
fn a_muted_track_is_silent_and_goes_on_without_a_gap() {
    let mut world = subscribed(PeerMode::Single);
    let mute = |world: &mut World, muted| {
        for track in ["TR_mic", "TR_cam"] {
            world.command(NodeCommand::SetMuted {
                track: TrackSid::new(track),
                muted,
            });
        }
    };
    mute(&mut world, true);
    let before = world.take_got("bob");
    world.run(seconds(2));
    assert!(world.take_got("bob").is_empty());
    mute(&mut world, false);
    world.run(seconds(1));
    let after = world.take_got("bob");
    let all = [before, after].concat();
    assert_continuous(&audio(&all));
    assert_continuous(&video(&all));
    assert!(audio(&all).len() > 150);
}

#[test]
fn permissions_gate_both_directions() {
    let mut world = subscribed(PeerMode::Single);
    world.take_got("bob");
    let permit = |world: &mut World, name: &str, permission| {
        let participant = world.clients[name].sid.clone();
        world.command(NodeCommand::SetPermission {
            participant,
            permission,
        });
    };
    let no_publish = MediaPermission {
        publish: false,
        ..all()
    };
    let no_subscribe = MediaPermission {
        subscribe: false,
        ..all()
    };
    permit(&mut world, "alice", no_publish);
    world.run(seconds(1));
    assert!(world.take_got("bob").is_empty());
    permit(&mut world, "alice", all());
    permit(&mut world, "bob", no_subscribe);
    world.run(seconds(1));
    assert!(world.take_got("bob").is_empty());
    permit(&mut world, "bob", all());
    world.run(seconds(1));
    assert!(!world.take_got("bob").is_empty());
}

#[test]
fn a_disabled_subscription_is_silent_until_it_is_enabled() {
    let mut world = subscribed(PeerMode::Single);
    world.take_got("bob");
    let off = TrackSettings {
        enabled: false,
        ..TrackSettings::default()
    };
    world.settings("bob", "TR_cam", off);
    world.run(seconds(1));
    assert!(video(&world.take_got("bob")).is_empty());
    world.settings("bob", "TR_cam", TrackSettings::default());
    world.run(seconds(1));
    let got = world.take_got("bob");
    assert!(is_keyframe(video(&got)[0]));
}

/// A `DataPacket` with these fields: (sequence, destination, payload).
fn data_packet(sequence: u8, destination: Option<&str>, payload: &[u8]) -> Vec<u8> {
    let mut user = vec![0x12, u8::try_from(payload.len()).unwrap()];
    user.extend_from_slice(payload);
    let mut packet = vec![0x12, u8::try_from(user.len()).unwrap()];
    packet.extend(user);
    if sequence > 0 {
        packet.extend([0x80, 0x01, sequence]);
    }
    if let Some(destination) = destination {
        packet.extend([0x2a, u8::try_from(destination.len()).unwrap()]);
        packet.extend(destination.as_bytes());
    }
    packet
}

fn contains(packet: &[u8], text: &str) -> bool {
    packet
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

fn send(world: &mut World, name: &str, label: &str, packet: &[u8]) {
    let client = world.clients.get_mut(name).unwrap();
    assert!(client.publisher.send_data(label, packet));
    world.run(Duration::from_millis(200));
}

fn take_data(world: &mut World, name: &str) -> Vec<(String, Vec<u8>)> {
    std::mem::take(&mut world.clients.get_mut(name).unwrap().receiver().data)
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

#[test]
fn who_speaks_is_told_once_and_so_is_silence() {
    let mut world = meeting(PeerMode::Single);
    let speakers = |world: &mut World| -> Vec<(String, bool)> {
        let events = std::mem::take(&mut world.events);
        events
            .into_iter()
            .filter_map(|event| match event {
                NodeEvent::Speakers { speakers, .. } => Some(speakers),
                _ => None,
            })
            .flatten()
            .map(|speaker| (speaker.participant.to_string(), speaker.active))
            .collect()
    };
    world.run(seconds(2));
    assert_eq!(speakers(&mut world), [("PA_alice".to_owned(), true)]);
    world.run(seconds(2));
    assert_eq!(speakers(&mut world), []);
    world.sources[0].level = -127;
    world.run(seconds(3));
    assert_eq!(speakers(&mut world), [("PA_alice".to_owned(), false)]);
}

#[test]
fn garbage_from_anywhere_is_counted_and_changes_nothing() {
    let mut world = subscribed(PeerMode::Single);
    let peer = world.clients["bob"].publisher.address;
    let stranger = SocketAddr::from(([198, 51, 100, 9], 9));
    let mut random: u32 = 1;
    let before = world.engine.report().stray_packets;
    for round in 0..3000_usize {
        let mut contents: Vec<u8> = (0..round % 1500)
            .map(|_| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (random >> 24) as u8
            })
            .collect();
        // Look like STUN, DTLS, RTP and RTCP by turns.
        let first = [0x00, 0x16, 0x80, 0x81, 0x17, 0xff][round % 6];
        if let Some(byte) = contents.first_mut() {
            *byte = first;
        }
        for remote in [stranger, peer] {
            let datagram = Datagram {
                transport: Transport::Udp,
                remote,
                local: BASE,
                contents: &contents,
            };
            world.engine.handle_datagram(datagram, world.now);
        }
        let tcp = Datagram {
            transport: Transport::Tcp,
            remote: stranger,
            local: BASE,
            contents: &contents,
        };
        world.engine.handle_datagram(tcp, world.now);
    }
    assert!(world.engine.report().stray_packets >= before + 6000);
    world.engine.handle_tcp_closed(stranger, world.now);
    world.take_got("bob");
    world.run(seconds(2));
    assert_eq!(
        world.count(|event| matches!(event, NodeEvent::Disconnected { .. })),
        0
    );
    let got = world.take_got("bob");
    assert!(audio(&got).len() > 50 && video(&got).len() > 50);
}

#[test]
fn a_replayed_datagram_from_another_address_is_not_answered() {
    let mut world = World::new();
    world.join("alice", PeerMode::Single);
    let stray = world.engine.report().stray_packets;
    // A DTLS client hello from somewhere else, before and after ICE is done.
    let hello = [
        &[0x16, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..],
        &[0; 64],
    ]
    .concat();
    let datagram = Datagram {
        transport: Transport::Udp,
        remote: SocketAddr::from(([198, 51, 100, 9], 9)),
        local: BASE,
        contents: &hello,
    };
    world.engine.handle_datagram(datagram, world.now);
    assert_eq!(world.engine.report().stray_packets, stray + 1);
    assert!(world.engine.poll_transmit().is_none());
}

#[test]
fn bad_descriptions_and_candidates_are_refused_and_the_transport_stays() {
    let mut world = subscribed(PeerMode::Single);
    let participant = world.clients["alice"].sid.clone();
    let offer = |sdp: String, resume| NodeCommand::Offer {
        participant: participant.clone(),
        offer_id: 99,
        sdp,
        resume,
    };
    world.command(offer("hello".into(), None));
    world.command(offer(String::new(), Some(vec![])));
    world.command(offer("x".repeat(300_000), None));
    let half = world.clients["alice"].answers[0]
        .0
        .replace("a=fingerprint", "a=nothing");
    world.command(offer(half, None));
    for candidate in [
        "",
        "candidate:",
        "candidate:1 1 udp 1 x.local 1 typ host",
        "\0",
    ] {
        world.candidate("alice", candidate);
    }
    for _ in 0..200 {
        world.candidate(
            "alice",
            "candidate:1 1 udp 2113937151 192.0.2.77 9 typ host",
        );
    }
    let refused: Vec<u32> = world
        .events
        .iter()
        .filter_map(|event| match event {
            NodeEvent::Refused { offer_id, .. } => Some(*offer_id),
            _ => None,
        })
        .collect();
    assert_eq!(refused, [99, 99, 99, 99]);
    world.take_got("bob");
    world.run(seconds(1));
    assert!(!world.take_got("bob").is_empty());
}

#[test]
fn who_is_removed_leaves_nothing_behind() {
    let mut world = subscribed(PeerMode::Single);
    let report = world.engine.report();
    assert_eq!(
        (report.participants, report.tracks, report.rooms),
        (2, 2, 1)
    );
    assert!(report.packets_in > 0 && report.packets_out > 0);
    assert!(report.bytes_in > 0 && report.bytes_out > 0);
    world.command(NodeCommand::RemoveParticipant {
        participant: world.clients["alice"].sid.clone(),
    });
    world.sources.clear();
    world.clients.remove("alice");
    world.run(seconds(1));
    assert_eq!(world.clients["bob"].sections_wanted.last(), Some(&(0, 0)));
    world.command(NodeCommand::RemoveParticipant {
        participant: world.clients["bob"].sid.clone(),
    });
    world.clients.clear();
    let report = world.engine.report();
    assert_eq!(
        (report.participants, report.tracks, report.rooms),
        (0, 0, 0)
    );
    world.run(seconds(1));
    assert_eq!(world.engine.poll_timeout(), None);
}

#[test]
fn a_client_that_closes_its_connection_is_reported() {
    let mut world = subscribed(PeerMode::Single);
    world
        .clients
        .get_mut("bob")
        .unwrap()
        .publisher
        .rtc
        .close()
        .unwrap();
    world.settle();
    world.run(seconds(2));
    assert_eq!(
        world.count(|event| matches!(
            event,
            NodeEvent::Disconnected {
                reason: TransportLoss::PeerClosed,
                ..
            }
        )),
        1
    );
}
