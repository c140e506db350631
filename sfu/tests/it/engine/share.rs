//! Thin lines: clients get what their line takes, and hear what it does not.

use super::*;

/// Bytes of a frame at 25 a second: 150, 500 and 1,700 kbit/s.
const BYTES: [usize; 3] = [750, 2_500, 8_500];

/// Bob watches a camera with layers of real size. His line takes so many bits a second.
fn watching(bits_per_second: u64) -> World {
    let mut world = meeting(PeerMode::Single);
    for source in &mut world.sources {
        if source.kind == Kind::Video {
            for (layer, bytes) in source.layers.iter_mut().zip(BYTES) {
                layer.bytes = bytes;
            }
        }
    }
    world.run(seconds(2));
    world.narrow("bob", bits_per_second);
    world.subscribe("bob", "TR_mic");
    world.subscribe("bob", "TR_cam");
    world
}

/// The layers that came in the next seconds, and how many packets of each.
fn layers_in(world: &mut World, time: Duration) -> Vec<(u8, usize)> {
    world.take_got("bob");
    world.run(time);
    let got = world.take_got("bob");
    let video = video(&got);
    let count = |name| video.iter().filter(|got| layer(got) == name).count();
    let all = [b'q', b'h', b'f'].map(|name| (name, count(name)));
    all.into_iter().filter(|(_, count)| *count > 0).collect()
}

fn stream_states(world: &World) -> Vec<bool> {
    let states = world.events.iter().filter_map(|event| match event {
        NodeEvent::StreamState { paused, .. } => Some(*paused),
        _ => None,
    });
    states.collect()
}

#[test]
fn a_wide_line_gets_the_best_layer_and_nobody_says_a_word() {
    let mut world = watching(20_000_000);
    world.run(seconds(8));
    let layers = layers_in(&mut world, seconds(4));
    assert!(
        matches!(layers[..], [(b'f', packets)] if packets > 700),
        "{layers:?}"
    );
    assert!(stream_states(&world).is_empty());
}

#[test]
fn a_line_for_the_middle_layer_gets_that_and_its_queue_stays_short() {
    let mut world = watching(800_000);
    world.run(seconds(10));
    let lost = world.lines["bob"].lost;
    let layers = layers_in(&mut world, seconds(10));
    let packets: usize = layers.iter().map(|(_, packets)| packets).sum();
    let middle = layers.iter().find(|(name, _)| *name == b'h').unwrap().1;
    assert!(middle * 10 > packets * 8, "{layers:?}");
    let lost = world.lines["bob"].lost - lost;
    assert!(lost * 50 < packets as u64, "{lost} of {packets} lost");
}

#[test]
fn a_line_that_gets_thin_gets_less_within_two_seconds_and_all_again_when_it_is_wide() {
    let mut world = watching(20_000_000);
    world.run(seconds(8));
    world.narrow("bob", 400_000);
    world.run(seconds(2));
    let layers = layers_in(&mut world, seconds(5));
    assert!(layers.iter().all(|(name, _)| *name == b'q'), "{layers:?}");
    world.narrow("bob", 20_000_000);
    world.run(seconds(15));
    let layers = layers_in(&mut world, seconds(2));
    assert!(matches!(layers[..], [(b'f', _)]), "{layers:?}");
}

#[test]
fn sound_goes_on_where_no_picture_fits_and_the_client_hears_of_it() {
    let mut world = watching(20_000_000);
    world.run(seconds(6));
    world.narrow("bob", 100_000);
    world.run(seconds(6));
    world.take_got("bob");
    world.run(seconds(5));
    let got = world.take_got("bob");
    let sound = audio(&got).len();
    assert!(sound > 230, "{sound} of 250 packets of sound");
    // A probe repeats the last packet of the picture, which may have been lost.
    assert!(video(&got).len() <= 1);
    assert_eq!(stream_states(&world), [true]);
    world.narrow("bob", 20_000_000);
    world.run(seconds(20));
    assert_eq!(stream_states(&world), [true, false]);
    assert!(matches!(layers_in(&mut world, seconds(1))[..], [(b'f', _)]));
}

#[test]
fn the_larger_picture_gets_better_first() {
    let mut world = watching(20_000_000);
    world.publish("alice", "TR_screen", Kind::Video, &SIMULCAST);
    for source in world
        .sources
        .iter_mut()
        .filter(|source| source.kind == Kind::Video)
    {
        for (layer, bytes) in source.layers.iter_mut().zip(BYTES) {
            layer.bytes = bytes;
        }
    }
    world.subscribe("bob", "TR_screen");
    let sized = |width, height| TrackSettings {
        width,
        height,
        ..TrackSettings::default()
    };
    world.settings("bob", "TR_cam", sized(1280, 700));
    world.settings("bob", "TR_screen", sized(1280, 720));
    world.run(seconds(6));
    world.narrow("bob", 900_000);
    world.run(seconds(12));
    world.take_got("bob");
    world.run(seconds(5));
    let got = world.take_got("bob");
    let (_, tracks) = world.clients["bob"].answers.last().unwrap();
    let of = |track: &str| {
        let here = |got: &&&Got| tracks.get(&got.mid) == Some(&TrackSid::new(track));
        let video = video(&got);
        let packets = |name| {
            video
                .iter()
                .filter(here)
                .filter(|it| layer(it) == name)
                .count()
        };
        [b'q', b'h', b'f'].map(packets)
    };
    let (camera, screen) = (of("TR_cam"), of("TR_screen"));
    assert!(camera[0] > camera[1], "{camera:?} {screen:?}");
    assert!(screen[1] > screen[0], "{camera:?} {screen:?}");
}

#[test]
fn with_estimation_switched_off_a_thin_line_is_flooded() {
    let mut world = World::without_estimates();
    world.join("alice", PeerMode::Single);
    world.join("bob", PeerMode::Single);
    world.publish("alice", "TR_cam", Kind::Video, &[]);
    world.sources[0].layers[0].bytes = BYTES[2];
    world.subscribe("bob", "TR_cam");
    world.run(seconds(1));
    world.narrow("bob", 400_000);
    world.run(seconds(3));
    assert!(world.lines["bob"].lost > 300);
    assert!(stream_states(&world).is_empty());
}

fn wanted(world: &World) -> Vec<Option<Quality>> {
    let wanted = world.events.iter().filter_map(|event| match event {
        NodeEvent::LayersWanted { quality, .. } => Some(*quality),
        _ => None,
    });
    wanted.collect()
}

#[test]
fn a_publisher_hears_which_layers_are_wanted() {
    let mut world = meeting(PeerMode::Single);
    world.run(seconds(7));
    assert_eq!(wanted(&world), [None], "nobody looks");
    world.subscribe("bob", "TR_cam");
    world.run(seconds(1));
    assert_eq!(wanted(&world), [None, Some(Quality::High)]);
    let small = TrackSettings {
        width: 300,
        height: 150,
        ..TrackSettings::default()
    };
    world.settings("bob", "TR_cam", small);
    world.run(seconds(3));
    assert_eq!(wanted(&world).len(), 2, "not yet");
    world.run(seconds(3));
    assert_eq!(wanted(&world)[2..], [Some(Quality::Low)]);
    world.settings("bob", "TR_cam", TrackSettings::default());
    assert_eq!(wanted(&world)[3..], [Some(Quality::High)], "at once");
    let hidden = TrackSettings {
        enabled: false,
        ..TrackSettings::default()
    };
    world.settings("bob", "TR_cam", hidden);
    world.run(seconds(6));
    assert_eq!(wanted(&world)[4..], [None]);
}
