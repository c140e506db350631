//! Media sections: asked for, bound, freed and used again.

use super::*;

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
        screen: false,
        codec: String::new(),
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
fn a_client_that_lost_its_own_wish_to_offer_a_track_is_reminded_a_few_times() {
    let mut world = World::new();
    world.join("alice", PeerMode::Single);
    world.clients.get_mut("alice").unwrap().obedient = false;
    let alice = world.clients["alice"].sid.clone();
    world.command(NodeCommand::Publish(world::announced(
        alice,
        "TR_mic",
        Kind::Audio,
        &[],
    )));
    world.run(Duration::from_millis(2_900));
    assert_eq!(world.clients["alice"].sections_wanted, [], "it has time");
    world.run(seconds(60));
    assert_eq!(world.clients["alice"].sections_wanted, [(0, 0); 3]);
}

#[test]
fn a_client_that_offers_is_not_reminded() {
    let mut world = World::new();
    world.join("alice", PeerMode::Single);
    world.publish("alice", "TR_mic", Kind::Audio, &[]);
    world.run(seconds(20));
    assert_eq!(world.clients["alice"].sections_wanted, []);
}

#[test]
fn a_client_without_its_first_offer_is_not_reminded_of_later_ones() {
    let mut world = World::new();
    world.add("alice", PeerMode::Single);
    let alice = world.clients["alice"].sid.clone();
    world.command(NodeCommand::Publish(world::announced(
        alice,
        "TR_mic",
        Kind::Audio,
        &[],
    )));
    world.run(seconds(20));
    assert_eq!(world.clients["alice"].sections_wanted, []);
    world.connect("alice", PeerMode::Single);
    world.run(seconds(20));
    assert_eq!(world.clients["alice"].sections_wanted, [(0, 0); 3]);
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
fn a_section_freed_and_wanted_again_at_once_is_inactive_in_between() {
    let mut world = subscribed(PeerMode::Single);
    world.publish("alice", "TR_screen", Kind::Video, &[]);
    let before = video(&world.take_got("bob"))[0].clone();
    let answers = world.clients["bob"].answers.len();
    world.command(NodeCommand::Unsubscribe {
        participant: world.clients["bob"].sid.clone(),
        track: TrackSid::new("TR_cam"),
    });
    world.subscribe("bob", "TR_screen");
    world.run(seconds(2));
    let later = &world.clients["bob"].answers[answers..];
    let [(inactive, _), (bound, _)] = later else {
        panic!("{} answers", later.len());
    };
    assert!(inactive.contains("a=inactive") && !inactive.contains("TR_screen"));
    assert!(bound.contains("TR_screen"));
    assert_eq!(world.clients["bob"].sections_wanted.last(), Some(&(0, 0)));
    let got = world.take_got("bob");
    let last = *video(&got).last().unwrap();
    assert_eq!(last.mid, before.mid);
    assert_ne!(last.ssrc, before.ssrc);
}

#[test]
fn an_offer_that_was_on_its_way_already_does_not_answer_the_wish() {
    let mut world = subscribed(PeerMode::Single);
    world.publish("alice", "TR_screen", Kind::Video, &[]);
    world.clients.get_mut("bob").unwrap().obedient = false;
    let asked = world.clients["bob"].sections_wanted.len();
    world.subscribe("bob", "TR_screen");
    world.run(Duration::from_millis(100));
    assert_eq!(world.clients["bob"].sections_wanted[asked..], [(0, 1)]);
    world.publish("bob", "TR_bob", Kind::Audio, &[]);
    world.run(seconds(1));
    assert_eq!(world.clients["bob"].sections_wanted[asked..], [(0, 1)]);
    world.clients.get_mut("bob").unwrap().obedient = true;
    world.run(seconds(4));
    assert_eq!(world.clients["bob"].sections_wanted[asked..], [(0, 1)]);
    assert!(announced(&world, "bob").contains("TR_screen"));
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
fn a_section_on_two_connections_is_used_again_with_a_new_name_and_source() {
    let mut world = subscribed(PeerMode::Dual);
    world.publish("alice", "TR_screen", Kind::Video, &[]);
    let before = video(&world.take_got("bob"))[0].clone();
    let sections = |world: &World| announced(world, "bob").matches("\r\nm=").count();
    let count = sections(&world);
    world.command(NodeCommand::Unsubscribe {
        participant: world.clients["bob"].sid.clone(),
        track: TrackSid::new("TR_cam"),
    });
    world.run(seconds(1));
    assert!(announced(&world, "bob").contains("a=inactive"));
    world.subscribe("bob", "TR_screen");
    world.run(seconds(2));
    let offer = announced(&world, "bob");
    assert!(offer.contains("a=msid:PA_alice|TR_screen TR_screen"));
    assert!(!offer.contains("TR_cam TR_cam"), "{offer}");
    let mids = &world.clients["bob"].node_offers.last().unwrap().1;
    assert_eq!(mids[&before.mid].as_str(), "TR_screen");
    let got = world.take_got("bob");
    let seen: Vec<&Got> = video(&got)
        .into_iter()
        .filter(|got| got.ssrc != before.ssrc)
        .collect();
    assert!(seen.len() > 20, "{} packets", seen.len());
    assert_eq!((&seen[0].mid, seen[0].sequence), (&before.mid, 1000));
    assert!(offer.contains(&format!("a=ssrc:{} ", seen[0].ssrc)));
    assert!(is_keyframe(seen[0]));
    assert_continuous(&seen);
    // Many times over: the description does not grow.
    for _ in 0..3 {
        for (track, gone) in [("TR_cam", "TR_screen"), ("TR_screen", "TR_cam")] {
            world.command(NodeCommand::Unsubscribe {
                participant: world.clients["bob"].sid.clone(),
                track: TrackSid::new(gone),
            });
            world.run(seconds(1));
            world.subscribe("bob", track);
            world.run(seconds(1));
        }
    }
    assert_eq!(sections(&world), count);
    world.take_got("bob");
    world.run(seconds(1));
    let got = world.take_got("bob");
    assert!(!video(&got).is_empty() && !audio(&got).is_empty());
    assert_continuous(&audio(&got));
}

#[test]
fn an_offer_that_is_never_answered_leaves_its_sections_usable() {
    let mut world = subscribed(PeerMode::Dual);
    let unsubscribe = NodeCommand::Unsubscribe {
        participant: world.clients["bob"].sid.clone(),
        track: TrackSid::new("TR_cam"),
    };
    let lose_an_offer = |world: &mut World| {
        world.run(seconds(1));
        world.command(NodeCommand::PrepareResume {
            participant: world.clients["bob"].sid.clone(),
        });
        world.clients.get_mut("bob").unwrap().obedient = true;
        world.run(seconds(1));
    };
    world.clients.get_mut("bob").unwrap().obedient = false;
    world.command(unsubscribe);
    lose_an_offer(&mut world);
    assert!(announced(&world, "bob").contains("a=inactive"));
    world.clients.get_mut("bob").unwrap().obedient = false;
    world.subscribe("bob", "TR_cam");
    lose_an_offer(&mut world);
    assert!(!announced(&world, "bob").contains("a=inactive"));
    world.take_got("bob");
    world.run(seconds(1));
    let got = world.take_got("bob");
    assert!(!video(&got).is_empty() && !audio(&got).is_empty());
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
