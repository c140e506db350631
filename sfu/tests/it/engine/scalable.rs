//! Streams that carry several resolutions: each subscriber gets those that it wants, as one stream.

use super::peer::Sent;
use super::*;
use payload::{Codec, Layers, Packet, Reader};
use std::collections::BTreeSet;

/// Least packets of a frame (one spatial layer of one picture), and the longest payload, about.
const PACKETS_MIN: usize = 2;
const PAYLOAD_BYTES: usize = 1_000;

/// A camera whose stream has three spatial layers (`L3T1_KEY`): in key pictures they build on each
/// other, afterwards each stands alone.
pub(crate) struct Camera {
    picture: u16,
    /// Bytes of a frame of each layer, the lowest first.
    pub(crate) bytes: [usize; 3],
    /// The encoder leaves out its highest layer, and says nothing of it.
    pub(crate) stop_highest: bool,
}

impl Camera {
    pub(crate) fn vp9(bytes: [usize; 3]) -> Self {
        Self {
            // Near the wrap of 15 bits.
            picture: 0x7ff0,
            bytes,
            stop_highest: false,
        }
    }

    pub(crate) fn codec(&self) -> &'static str {
        "VP9"
    }

    /// The packets of a picture.
    pub(crate) fn shoot(&mut self, timestamp: u32, key: bool) -> Vec<Sent> {
        self.picture = (self.picture + 1) & 0x7fff;
        let highest = if self.stop_highest { 1 } else { 2 };
        let places = (0..=highest).flat_map(|layer| {
            let packets = self.packets(layer);
            (0..packets).map(move |index| (layer, index))
        });
        let last = (highest, self.packets(highest) - 1);
        let packet = |place| Sent {
            timestamp,
            marker: place == last,
            level: None,
            payload: self.packet(place.0, place.1, key),
        };
        places.map(packet).collect()
    }

    fn packets(&self, layer: u8) -> usize {
        PACKETS_MIN.max(self.bytes[usize::from(layer)] / PAYLOAD_BYTES)
    }

    /// RFC 9628 section 4.2.
    fn packet(&self, layer: u8, index: usize, key: bool) -> Vec<u8> {
        let has_structure = key && layer == 0 && index == 0;
        let mut first = 0x80 | 0x20;
        for (set, flag) in [
            (!key, 0x40),
            (index == 0, 0x08),
            (index + 1 == self.packets(layer), 0x04),
            (has_structure, 0x02),
            (!key || layer == 2, 0x01),
        ] {
            first |= if set { flag } else { 0 };
        }
        let [high, low] = (self.picture | 0x8000).to_be_bytes();
        let on_lower = u8::from(key && layer > 0);
        let tl0 = self.picture as u8;
        let mut payload = vec![first, high, low, (layer << 1) | on_lower, tl0];
        if has_structure {
            // Three layers, nothing else.
            payload.push(0x40);
        }
        let bytes = self.bytes[usize::from(layer)] / self.packets(layer);
        payload.resize(payload.len().max(bytes), 0xa5);
        payload
    }
}

/// What a packet was read as.
struct Seen {
    sequence: u64,
    picture: u16,
    layers: Layers,
    key: bool,
    begins: bool,
    ends: bool,
    marker: bool,
}

fn seen(got: &[Got]) -> Vec<Seen> {
    let mut reader = Reader::new(Codec::Vp9);
    let with_content = got.iter().filter(|got| !got.payload.is_empty());
    let read = |got: &Got| match reader.read(&got.payload, None) {
        Packet::Vp9(it) => Seen {
            sequence: got.sequence,
            picture: it.numbers.picture_id.unwrap().value,
            layers: it.layers,
            key: !it.is_inter_picture(),
            begins: it.begins_frame(),
            ends: it.ends_frame(),
            marker: got.marker,
        },
        other => panic!("{other:?}"),
    };
    with_content.map(read).collect()
}

fn spatial(seen: &[Seen]) -> BTreeSet<u8> {
    let inter = seen.iter().filter(|it| !it.key);
    inter.map(|it| it.layers.spatial).collect()
}

/// A picture can be decoded: all layers that its highest one needs are there, once the numbers are
/// put in order, and the marker is on the last packet and nowhere else.
fn assert_decodable(seen: &[Seen]) {
    let mut seen: Vec<&Seen> = seen.iter().collect();
    seen.sort_unstable_by_key(|it| it.sequence);
    for picture in seen.chunk_by(|one, other| one.picture == other.picture) {
        let mut layers: Vec<u8> = picture.iter().map(|it| it.layers.spatial).collect();
        let frames = picture.chunk_by(|one, other| one.layers == other.layers);
        for frame in frames {
            assert!(frame[0].begins && frame[frame.len() - 1].ends);
        }
        layers.dedup();
        let highest = layers[layers.len() - 1];
        let lowest = if picture[0].key { 0 } else { highest };
        assert_eq!(layers, (lowest..=highest).collect::<Vec<_>>());
        let ends = picture.iter().filter(|it| it.marker).count();
        assert!(ends == 1 && picture.last().is_some_and(|it| it.marker && it.ends));
    }
    for pair in seen.windows(2) {
        let step = pair[1].picture.wrapping_sub(pair[0].picture) & 0x7fff;
        assert!(step <= 1, "pictures {step} apart");
        let switches = pair[1].layers.spatial != pair[0].layers.spatial && step == 1;
        assert!(!switches || pair[1].key, "a layer is entered at a key picture");
    }
}

fn limited(max_quality: Quality) -> TrackSettings {
    TrackSettings {
        max_quality,
        ..TrackSettings::default()
    }
}

/// Bob and carol watch alice's scalable camera: 150, 500 and 1,700 kbit/s.
fn watched() -> World {
    let mut world = World::new();
    for name in ["alice", "bob", "carol"] {
        world.join(name, PeerMode::Single);
    }
    world.publish_scalable("alice", "TR_cam", Camera::vp9([750, 2_500, 8_500]));
    for name in ["bob", "carol"] {
        world.subscribe(name, "TR_cam");
    }
    world
}

#[test]
fn each_subscriber_gets_the_resolution_that_it_wants_as_one_stream() {
    let mut world = watched();
    world.settings("bob", "TR_cam", limited(Quality::Low));
    world.run(seconds(3));
    world.take_got("bob");
    world.take_got("carol");
    world.run(seconds(2));
    let (bob, carol) = (world.take_got("bob"), world.take_got("carol"));
    assert!(bob.len() >= 90 && carol.len() >= 90);
    assert_eq!(spatial(&seen(&bob)), BTreeSet::from([0]));
    assert_eq!(spatial(&seen(&carol)), BTreeSet::from([2]));
    for got in [&bob, &carol] {
        assert_continuous(&video(got));
        assert_decodable(&seen(got));
    }
}

#[test]
fn nobody_gets_more_than_it_wants_for_a_moment() {
    let mut world = World::new();
    world.join("alice", PeerMode::Single);
    world.join("bob", PeerMode::Single);
    world.sources.clear();
    world.publish_scalable("alice", "TR_cam", Camera::vp9([750, 2_500, 8_500]));
    world.subscribe("bob", "TR_cam");
    world.settings("bob", "TR_cam", limited(Quality::Medium));
    world.run(seconds(2));
    let got = world.take_got("bob");
    let layers = seen(&got).iter().map(|it| it.layers.spatial).max();
    assert_eq!(layers, Some(1));
}

#[test]
fn another_resolution_begins_at_a_key_picture_that_is_asked_for_at_once() {
    let mut world = watched();
    world.run(seconds(4));
    for (quality, layer) in [
        (Quality::Low, 0),
        (Quality::Medium, 1),
        (Quality::Low, 0),
        (Quality::High, 2),
    ] {
        let before = world.sources[0].layers[0].keyframes;
        world.settings("bob", "TR_cam", limited(quality));
        world.run(Duration::from_millis(300));
        assert_eq!(world.sources[0].layers[0].keyframes, before + 1);
        let got = world.clients["bob"].got();
        assert_eq!(seen(got).last().unwrap().layers.spatial, layer);
        world.run(seconds(2));
    }
    let got = world.take_got("bob");
    assert_continuous(&video(&got));
    assert_decodable(&seen(&got));
    assert_eq!(spatial(&seen(&world.take_got("carol"))), BTreeSet::from([2]));
}

#[test]
fn a_packet_that_comes_late_has_its_place_before_and_after_what_was_left_out() {
    let mut world = watched();
    world.settings("bob", "TR_cam", limited(Quality::Low));
    world.settings("carol", "TR_cam", limited(Quality::Medium));
    world.run(seconds(3));
    world.take_got("bob");
    world.take_got("carol");
    world.late_every = Some(7);
    world.run(seconds(4));
    world.late_every = None;
    world.run(seconds(1));
    for name in ["bob", "carol"] {
        let got = world.take_got(name);
        let mut sequences: Vec<u64> = got.iter().map(|got| got.sequence).collect();
        assert!(!sequences.is_sorted(), "some came late");
        sequences.sort_unstable();
        let all = sequences[0]..=sequences[sequences.len() - 1];
        assert_eq!(sequences, all.collect::<Vec<_>>(), "no hole is left");
        let empty = got.iter().filter(|got| got.payload.is_empty()).count();
        assert!(empty > 10, "{empty} holes of what {name} does not get are filled");
        assert_decodable(&seen(&got));
    }
}

#[test]
fn a_thin_line_gets_a_lower_layer_and_no_pause() {
    let mut world = watched();
    world.run(seconds(4));
    world.narrow("bob", 800_000);
    world.run(seconds(10));
    world.take_got("bob");
    world.take_got("carol");
    world.run(seconds(5));
    let got = world.take_got("bob");
    let count = |layer| {
        let here = |it: &&Seen| it.layers.spatial == layer && !it.key;
        seen(&got).iter().filter(here).count()
    };
    let counts = [count(0), count(1), count(2)];
    assert!(counts[1] > 200 && counts[2] == 0, "{counts:?}");
    let paused = |event: &NodeEvent| matches!(event, NodeEvent::StreamState { .. });
    assert_eq!(world.count(paused), 0);
    assert_eq!(spatial(&seen(&world.take_got("carol"))), BTreeSet::from([2]));
    world.narrow("bob", 20_000_000);
    world.run(seconds(20));
    world.take_got("bob");
    world.run(seconds(1));
    assert_eq!(spatial(&seen(&world.take_got("bob"))), BTreeSet::from([2]));
}

#[test]
fn a_layer_that_stops_is_replaced_by_the_one_below() {
    let mut world = watched();
    world.run(seconds(4));
    world.take_got("bob");
    world.sources[0].layers[0].camera().stop_highest = true;
    world.run(seconds(3));
    world.take_got("bob");
    world.run(seconds(2));
    assert_eq!(spatial(&seen(&world.take_got("bob"))), BTreeSet::from([1]));
    world.sources[0].layers[0].camera().stop_highest = false;
    world.run(seconds(3));
    world.take_got("bob");
    world.run(seconds(1));
    assert_eq!(spatial(&seen(&world.take_got("bob"))), BTreeSet::from([2]));
}
