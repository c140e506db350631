//! Rooms in which only the loudest are heard, or only those who spoke last are seen.

use super::*;
use proto::media::Selection;
use std::collections::BTreeSet;

const NAMES: [&str; 4] = ["ann", "bob", "cat", "dan"];

/// Four people who hear and see all others, as far as the room lets them.
fn room(selection: Selection) -> World {
    let mut world = World::new();
    world.selection = selection;
    world.level = -70;
    for name in NAMES {
        world.join(name, PeerMode::Single);
    }
    for name in NAMES {
        world.publish(name, &format!("TR_mic_{name}"), Kind::Audio, &[]);
        world.publish(name, &format!("TR_cam_{name}"), Kind::Video, &[]);
    }
    for name in NAMES {
        for other in NAMES.iter().filter(|other| **other != name) {
            world.subscribe(name, &format!("TR_mic_{other}"));
            world.subscribe(name, &format!("TR_cam_{other}"));
        }
    }
    world.run(seconds(2));
    world
}

fn speaks(world: &mut World, name: &str, loud: bool) {
    let own = world
        .sources
        .iter_mut()
        .filter(|source| source.client == name);
    for source in own {
        source.level = if loud { -15 } else { -70 };
    }
}

/// How many voices and pictures come to somebody.
fn gets(world: &mut World, name: &str) -> (usize, usize) {
    world.take_got(name);
    world.run(seconds(1));
    let got = world.take_got(name);
    let sections = |packets: Vec<&Got>| {
        packets
            .iter()
            .map(|got| &got.mid)
            .collect::<BTreeSet<_>>()
            .len()
    };
    (sections(audio(&got)), sections(video(&got)))
}

fn paused(world: &World, name: &str) -> BTreeSet<String> {
    let mut paused = BTreeSet::new();
    for event in &world.events {
        if let NodeEvent::StreamState {
            participant,
            track,
            paused: is,
        } = event
            && *participant == world.clients[name].sid
        {
            if *is {
                paused.insert(track.as_str().to_owned());
            } else {
                paused.remove(track.as_str());
            }
        }
    }
    paused
}

#[test]
fn without_a_selection_everybody_gets_everything() {
    let mut world = room(Selection::default());
    assert_eq!(gets(&mut world, "dan"), (3, 3));
    assert!(paused(&world, "dan").is_empty());
}

#[test]
fn the_loudest_are_heard_without_a_gap_in_anybody_s_numbers() {
    let mut world = room(Selection {
        voices: 2,
        pictures: 0,
    });
    speaks(&mut world, "ann", true);
    speaks(&mut world, "bob", true);
    world.run(seconds(1));
    assert_eq!(gets(&mut world, "dan"), (2, 3));
    assert_eq!(gets(&mut world, "ann"), (1, 3), "nobody hears himself");

    // Others talk.
    world.take_got("dan");
    for round in 0..6 {
        for (index, name) in NAMES.iter().enumerate() {
            speaks(&mut world, name, (index + round) % 4 < 2);
        }
        world.run(seconds(1));
    }
    let got = world.take_got("dan");
    let mut voices = BTreeSet::new();
    for mid in audio(&got)
        .iter()
        .map(|got| got.mid.clone())
        .collect::<BTreeSet<_>>()
    {
        let of = audio(&got).into_iter().filter(|it| it.mid == mid);
        let of: Vec<&Got> = of.collect();
        assert!(
            of.windows(2)
                .all(|two| two[0].sequence + 1 == two[1].sequence)
        );
        voices.insert(mid);
    }
    assert_eq!(voices.len(), 3, "everybody was heard at some time");
}

#[test]
fn a_mute_makes_room_for_another_voice() {
    let mut world = room(Selection {
        voices: 1,
        pictures: 0,
    });
    speaks(&mut world, "ann", true);
    world.run(seconds(1));
    assert_eq!(gets(&mut world, "dan").0, 1);
    world.command(NodeCommand::SetMuted {
        track: TrackSid::new("TR_mic_ann"),
        muted: true,
    });
    world.run(seconds(1));
    assert_eq!(gets(&mut world, "dan").0, 1, "bob or cat");
    assert_eq!(gets(&mut world, "ann").0, 1);
}

#[test]
fn those_who_spoke_last_are_seen_and_clients_hear_of_the_others() {
    let mut world = room(Selection {
        voices: 0,
        pictures: 2,
    });
    assert_eq!(gets(&mut world, "dan"), (3, 2));
    assert_eq!(
        paused(&world, "dan"),
        BTreeSet::from(["TR_cam_cat".to_owned()])
    );
    assert_eq!(
        paused(&world, "ann"),
        BTreeSet::from(["TR_cam_dan".to_owned()])
    );

    speaks(&mut world, "cat", true);
    world.run(seconds(3));
    assert_eq!(
        paused(&world, "dan"),
        BTreeSet::from(["TR_cam_bob".to_owned()])
    );
    assert_eq!(gets(&mut world, "dan"), (3, 2));
    assert_eq!(gets(&mut world, "cat").1, 2);
}

#[test]
fn a_shared_screen_is_seen_besides() {
    let mut world = room(Selection {
        voices: 0,
        pictures: 1,
    });
    world.screens = true;
    world.publish("cat", "TR_screen", Kind::Video, &[]);
    world.subscribe("dan", "TR_screen");
    world.run(seconds(2));
    assert_eq!(gets(&mut world, "dan"), (3, 2));
    assert!(!paused(&world, "dan").contains("TR_screen"));
}

#[test]
fn a_camera_that_is_off_gives_its_place_to_the_next() {
    let mut world = room(Selection {
        voices: 0,
        pictures: 1,
    });
    assert_eq!(
        paused(&world, "dan"),
        BTreeSet::from(["TR_cam_bob".into(), "TR_cam_cat".into()])
    );
    world.command(NodeCommand::SetMuted {
        track: TrackSid::new("TR_cam_ann"),
        muted: true,
    });
    world.run(seconds(1));
    assert_eq!(
        paused(&world, "dan"),
        BTreeSet::from(["TR_cam_ann".into(), "TR_cam_cat".into()])
    );
    assert_eq!(gets(&mut world, "dan").1, 1);
}

#[test]
fn the_room_may_want_something_else_when_the_next_one_comes() {
    let mut world = room(Selection::default());
    world.selection = Selection {
        voices: 0,
        pictures: 1,
    };
    world.join("eve", PeerMode::Single);
    world.run(seconds(1));
    assert_eq!(gets(&mut world, "dan").1, 1);
}
