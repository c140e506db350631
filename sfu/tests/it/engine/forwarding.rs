//! Media from publishers to subscribers: continuity, layers, key frames, gates, speakers.

use super::*;

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
    world.run(seconds(2));
    let seen = world.clients["bob"].got();
    assert_eq!(layer(video(seen).last().unwrap()), b'h', "after 2 s");
    world.run(seconds(4));
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
fn a_key_frame_is_asked_for_when_the_subscriber_can_be_sent_to_and_not_before() {
    let mut world = meeting(PeerMode::Single);
    let asked = |world: &World| world.sources[1].layers[2].keyframes;
    let before = asked(&world);
    world.add("carol", PeerMode::Single);
    world.subscribe("carol", "TR_cam");
    world.clients.get_mut("carol").unwrap().unplugged = true;
    world.offer("carol", &[(MediaKind::Video, &[], None)], &[]);
    world.run(seconds(3));
    assert!(announced(&world, "carol").contains("TR_cam"), "it is bound");
    assert_eq!(asked(&world), before, "a key frame now would be lost");
    assert_eq!(world.engine().report().packets_out, 0);

    world.clients.get_mut("carol").unwrap().unplugged = false;
    world.run(seconds(3));
    assert_eq!(asked(&world), before + 1);
    let got = world.take_got("carol");
    assert!(is_keyframe(&got[0]));
    assert_eq!(got[0].sequence, 1000);
}

#[test]
fn a_request_waits_a_little_for_others_who_are_about_to_be_there() {
    let mut world = meeting(PeerMode::Single);
    let asked = |world: &World| world.sources[1].layers[2].keyframes;
    world.run(seconds(3));
    let before = asked(&world);
    for name in ["dave", "carol"] {
        world.add(name, PeerMode::Single);
        world.subscribe(name, "TR_cam");
        world.clients.get_mut(name).unwrap().unplugged = name == "dave";
        world.offer(name, &[(MediaKind::Video, &[], None)], &[]);
    }
    while !world.clients["carol"].publisher.connected {
        world.run(Duration::from_millis(10));
    }
    world.run(Duration::from_millis(140));
    assert_eq!(asked(&world), before, "one key frame is for both");
    world.run(Duration::from_millis(200));
    assert_eq!(asked(&world), before + 1, "but dave does not come");
    assert!(world.take_got("carol").first().is_some_and(is_keyframe));
}

#[test]
fn whoever_connects_sees_a_key_frame_at_once() {
    let mut world = meeting(PeerMode::Single);
    // At different times, so that none of them profits from what is done now and then.
    for name in ["carol", "dave", "erin", "frank"] {
        world.run(Duration::from_millis(2_130));
        world.add(name, PeerMode::Single);
        world.subscribe(name, "TR_cam");
        world.offer(name, &[(MediaKind::Video, &[], None)], &[]);
        while !world.clients[name].publisher.connected {
            world.run(Duration::from_millis(10));
        }
        world.run(Duration::from_millis(70));
        let seen = world.take_got(name);
        assert!(seen.first().is_some_and(is_keyframe), "{name} waits");
    }
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
    // A burst, and two a second.
    assert!((2..=5).contains(&frames), "{frames} key frames");
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
fn who_mutes_in_the_middle_of_a_word_has_stopped_speaking_at_once() {
    let stopped = |world: &World| {
        world.count(|event| match event {
            NodeEvent::Speakers { speakers, .. } => speakers.iter().any(|speaker| !speaker.active),
            _ => false,
        })
    };
    let mute = |world: &mut World, muted| {
        world.command(NodeCommand::SetMuted {
            track: TrackSid::new("TR_mic"),
            muted,
        });
    };
    let mut world = meeting(PeerMode::Single);
    world.run(seconds(3));
    mute(&mut world, true);
    world.run(Duration::from_millis(500));
    assert_eq!(stopped(&world), 1);
    mute(&mut world, false);
    world.run(seconds(3));
    world.command(NodeCommand::SetPermission {
        participant: world.clients["alice"].sid.clone(),
        permission: MediaPermission {
            publish: false,
            ..all()
        },
    });
    world.run(Duration::from_millis(500));
    assert_eq!(stopped(&world), 2);
    world.command(NodeCommand::SetPermission {
        participant: world.clients["alice"].sid.clone(),
        permission: all(),
    });
    world.run(seconds(3));
    world.command(NodeCommand::Unpublish {
        track: TrackSid::new("TR_mic"),
    });
    world.run(Duration::from_millis(500));
    assert_eq!(stopped(&world), 3);
}

#[test]
fn lost_video_packets_are_sent_again() {
    let mut world = subscribed(PeerMode::Single);
    world.take_got("bob");
    world.lose_every = Some(20);
    world.run(seconds(3));
    world.lose_every = None;
    world.run(seconds(1));
    let got = world.take_got("bob");
    let mut sequences: Vec<u64> = video(&got).iter().map(|got| got.sequence).collect();
    let in_order = sequences.is_sorted();
    sequences.sort_unstable();
    assert!(!in_order, "some came by retransmission");
    let (first, last) = (sequences[0], sequences[sequences.len() - 1]);
    assert_eq!(sequences, (first..=last).collect::<Vec<_>>());
}

/// What a packet costs does not grow with its receivers, as far as memory is asked for.
#[test]
fn nothing_is_allocated_for_a_packet_that_one_more_receiver_gets() {
    const NAMES: [&str; 8] = ["bob", "cat", "dan", "eve", "fay", "gus", "hal", "ida"];
    let costs = |names: &[&'static str]| {
        let mut world = World::new();
        world.join("alice", PeerMode::Single);
        world.publish("alice", "TR_cam", Kind::Video, &[]);
        for name in names {
            world.join(name, PeerMode::Single);
            world.subscribe(name, "TR_cam");
        }
        // Histories are as long as they get, buffers as large.
        world.run(seconds(3));
        for name in names {
            world.take_got(name);
        }
        world.allocations = 0;
        world.run(seconds(4));
        let packets = world.take_got("bob").len() as u64;
        assert!(packets > 100, "{packets} packets");
        (packets, world.allocations)
    };
    let (packets, one) = costs(&NAMES[..1]);
    let (same, eight) = costs(&NAMES);
    assert_eq!(packets, same);
    // str0m takes two for a packet that arrives: its payload, and the event.
    assert!(one < 4 * packets, "{one} allocations for {packets} packets");
    assert!(
        eight <= one + packets / 20,
        "{one} allocations for one receiver, {eight} for eight, of {packets} packets"
    );
}
