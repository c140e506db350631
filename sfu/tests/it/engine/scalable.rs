//! Streams that carry several resolutions: each subscriber gets those that it wants, as one stream.

use super::dependency::Frame;
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
    codec: Codec,
    picture: u16,
    /// Of the lowest layer of the next picture, where frames are counted.
    frame: u16,
    /// Bytes of a frame of each layer, the lowest first.
    pub(crate) bytes: [usize; 3],
    /// The encoder leaves out its highest layer, and says nothing of it.
    pub(crate) stop_highest: bool,
    /// Nothing that is sent tells of layers.
    pub(crate) silent: bool,
    /// Nothing is sent yet.
    pub(crate) off: bool,
    begun: bool,
}

impl Camera {
    fn new(codec: Codec, bytes: [usize; 3]) -> Self {
        Self {
            codec,
            // Near the wraps of 15 and 16 bits.
            picture: 0x7ff0,
            frame: 0xfff0,
            bytes,
            stop_highest: false,
            silent: false,
            off: false,
            begun: false,
        }
    }

    pub(crate) fn codec(&self) -> &'static str {
        match self.codec {
            Codec::Av1 => "AV1",
            _ => "VP9",
        }
    }

    /// The packets of a picture.
    pub(crate) fn shoot(&mut self, timestamp: u32, key: bool) -> Vec<Sent> {
        if self.off {
            return Vec::new();
        }
        let key = !std::mem::replace(&mut self.begun, true) || key;
        self.picture = (self.picture + 1) & 0x7fff;
        let highest = if self.stop_highest { 1 } else { 2 };
        let places = (0..=highest).flat_map(|layer| {
            let packets = self.packets(layer);
            (0..packets).map(move |index| (layer, index))
        });
        let last = (highest, self.packets(highest) - 1);
        let packet = |place: (u8, usize)| Sent {
            codec: Some(match self.codec {
                Codec::Av1 => str0m::format::Codec::Av1,
                _ => str0m::format::Codec::Vp9,
            }),
            timestamp,
            marker: place == last,
            level: None,
            payload: match self.codec {
                Codec::Av1 => self.av1(place.0, key && place == (0, 0)),
                _ => self.vp9(place.0, place.1, key),
            },
            descriptor: (self.codec == Codec::Av1 && !self.silent)
                .then(|| self.descriptor(place.0, place.1, key)),
        };
        let sent = places.map(packet).collect();
        self.frame = self.frame.wrapping_add(3);
        sent
    }

    fn packets(&self, layer: u8) -> usize {
        PACKETS_MIN.max(self.bytes[usize::from(layer)] / PAYLOAD_BYTES)
    }

    /// An aggregation header (section 4.4); what follows nobody looks at.
    fn av1(&self, layer: u8, starts: bool) -> Vec<u8> {
        let bytes = self.bytes[usize::from(layer)] / self.packets(layer);
        let mut payload = vec![0xa5; bytes.max(2)];
        payload[0] = if starts { 0x08 } else { 0x00 };
        payload
    }

    fn descriptor(&self, layer: u8, index: usize, key: bool) -> Vec<u8> {
        let frame = Frame {
            number: self.frame.wrapping_add(u16::from(layer)),
            layer,
            key,
            starts: index == 0,
            ends: index + 1 == self.packets(layer),
        };
        frame.descriptor()
    }

    /// RFC 9628 section 4.2.
    fn vp9(&self, layer: u8, index: usize, key: bool) -> Vec<u8> {
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
    timestamp: u32,
    /// VP9's.
    picture: Option<u16>,
    /// The decode targets that AV1's structure came with.
    active: Option<u32>,
    layers: Layers,
    key: bool,
    begins: bool,
    ends: bool,
    marker: bool,
}

fn seen(got: &[Got]) -> Vec<Seen> {
    let described = got.iter().any(|got| got.descriptor.is_some());
    let codec = if described { Codec::Av1 } else { Codec::Vp9 };
    let mut reader = Reader::new(codec);
    let with_content = got.iter().filter(|got| !got.payload.is_empty());
    let read = |got| read(&mut reader, got);
    with_content.filter_map(read).collect()
}

/// `None`: it is from before AV1's structure.
fn read(reader: &mut Reader, got: &Got) -> Option<Seen> {
    let packet = reader.read(&got.payload, got.descriptor.as_deref());
    let info = packet.info(got.marker);
    let seen = Seen {
        sequence: got.sequence,
        timestamp: got.timestamp,
        picture: None,
        active: None,
        layers: info.layers,
        key: false,
        begins: info.begins_frame,
        ends: info.ends_frame,
        marker: got.marker,
    };
    match packet {
        Packet::Vp9(it) => Some(Seen {
            picture: it.numbers.picture_id.map(|id| id.value),
            key: !it.is_inter_picture(),
            ..seen
        }),
        Packet::Av1(it) => Some(Seen {
            active: it.new_structure.then_some(it.active_targets()),
            // Of its own picture.
            key: it.references().all(|back| back < 3),
            ..seen
        }),
        _ => None,
    }
}

/// What the last packets of a client were, of which so many came before.
fn seen_since(world: &World, name: &str, before: usize) -> Vec<Seen> {
    let got = world.clients[name].got();
    let newest = got.get(before..).unwrap_or_default();
    let first = newest.first().map_or(u64::MAX, |got| got.sequence);
    let all = seen(got).into_iter();
    all.filter(|it| it.sequence >= first).collect()
}

/// The layers that come in the next second, but for key pictures.
fn next_layers(world: &mut World, name: &str) -> BTreeSet<u8> {
    let before = world.clients[name].got().len();
    world.run(seconds(1));
    spatial(&seen_since(world, name, before))
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
    for picture in seen.chunk_by(|one, other| one.timestamp == other.timestamp) {
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
        if let (Some(before), Some(after)) = (pair[0].picture, pair[1].picture) {
            let step = after.wrapping_sub(before) & 0x7fff;
            assert!(step <= 1, "pictures {step} apart");
        }
        let another = pair[1].timestamp != pair[0].timestamp;
        let switches = another && pair[1].layers.spatial != pair[0].layers.spatial;
        assert!(
            !switches || pair[1].key,
            "a layer is entered at a key picture"
        );
    }
}

fn limited(max_quality: Quality) -> TrackSettings {
    TrackSettings {
        max_quality,
        ..TrackSettings::default()
    }
}

const CODECS: [Codec; 2] = [Codec::Vp9, Codec::Av1];
/// 150, 500 and 1,700 kbit/s.
const BYTES: [usize; 3] = [750, 2_500, 8_500];

/// Bob and carol watch alice's scalable camera.
fn watched(codec: Codec) -> World {
    let mut world = World::new();
    for name in ["alice", "bob", "carol"] {
        world.join(name, PeerMode::Single);
    }
    world.publish_scalable("alice", "TR_cam", Camera::new(codec, BYTES));
    for name in ["bob", "carol"] {
        world.subscribe(name, "TR_cam");
    }
    world
}

#[test]
fn each_subscriber_gets_the_resolution_that_it_wants_as_one_stream() {
    for codec in CODECS {
        let mut world = watched(codec);
        world.settings("bob", "TR_cam", limited(Quality::Low));
        world.run(seconds(3));
        assert_eq!(next_layers(&mut world, "bob"), BTreeSet::from([0]));
        assert_eq!(next_layers(&mut world, "carol"), BTreeSet::from([2]));
        for name in ["bob", "carol"] {
            let got = world.take_got(name);
            assert!(got.len() >= 200);
            assert_continuous(&video(&got));
            assert_decodable(&seen(&got));
        }
    }
}

#[test]
fn nobody_gets_more_than_it_wants_for_a_moment() {
    for codec in CODECS {
        let mut world = World::new();
        world.join("alice", PeerMode::Single);
        world.join("bob", PeerMode::Single);
        let mut camera = Camera::new(codec, BYTES);
        camera.off = true;
        world.publish_scalable("alice", "TR_cam", camera);
        world.subscribe("bob", "TR_cam");
        world.settings("bob", "TR_cam", limited(Quality::Medium));
        world.run(seconds(1));
        world.sources[0].layers[0].camera().off = false;
        world.run(seconds(1));
        let seen = seen(&world.take_got("bob"));
        assert!(seen[0].key && seen.len() > 40);
        let highest = seen.iter().map(|it| it.layers.spatial).max();
        assert_eq!(highest, Some(1));
    }
}

#[test]
fn another_resolution_begins_at_a_key_picture_that_is_asked_for_at_once() {
    for codec in CODECS {
        let mut world = watched(codec);
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
        assert_eq!(next_layers(&mut world, "carol"), BTreeSet::from([2]));
    }
}

#[test]
fn a_packet_that_comes_late_has_its_place_before_and_after_what_was_left_out() {
    for codec in CODECS {
        let mut world = watched(codec);
        world.settings("bob", "TR_cam", limited(Quality::Low));
        world.settings("carol", "TR_cam", limited(Quality::Medium));
        world.run(seconds(3));
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
            assert!(
                empty > 10,
                "{empty} holes of what {name} does not get are filled"
            );
            assert_decodable(&seen(&got));
        }
    }
}

#[test]
fn a_thin_line_gets_a_lower_layer_and_no_pause() {
    for codec in CODECS {
        let mut world = watched(codec);
        world.run(seconds(4));
        world.narrow("bob", 800_000);
        world.run(seconds(10));
        let before = world.clients["bob"].got().len();
        assert_eq!(next_layers(&mut world, "carol"), BTreeSet::from([2]));
        world.run(seconds(4));
        let seen = seen_since(&world, "bob", before);
        let count = |layer| {
            let here = |it: &&Seen| it.layers.spatial == layer && !it.key;
            seen.iter().filter(here).count()
        };
        let counts = [count(0), count(1), count(2)];
        assert!(counts[1] > 200 && counts[2] == 0, "{counts:?}");
        let paused = |event: &NodeEvent| matches!(event, NodeEvent::StreamState { .. });
        assert_eq!(world.count(paused), 0);
        world.narrow("bob", 20_000_000);
        world.run(seconds(20));
        assert_eq!(next_layers(&mut world, "bob"), BTreeSet::from([2]));
    }
}

#[test]
fn a_layer_that_stops_is_replaced_by_the_one_below() {
    for codec in CODECS {
        let mut world = watched(codec);
        world.run(seconds(4));
        world.sources[0].layers[0].camera().stop_highest = true;
        world.run(seconds(3));
        assert_eq!(next_layers(&mut world, "bob"), BTreeSet::from([1]));
        world.sources[0].layers[0].camera().stop_highest = false;
        world.run(seconds(3));
        assert_eq!(next_layers(&mut world, "bob"), BTreeSet::from([2]));
    }
}

#[test]
fn what_tells_nothing_of_its_layers_passes_whole_and_as_it_came() {
    let mut world = World::new();
    world.join("alice", PeerMode::Single);
    world.join("bob", PeerMode::Single);
    let mut camera = Camera::new(Codec::Av1, BYTES);
    camera.silent = true;
    camera.shoot(0, true);
    let picture: Vec<Vec<u8>> = (camera.shoot(0, false).into_iter())
        .map(|sent| sent.payload)
        .collect();
    world.publish_scalable("alice", "TR_cam", camera);
    world.subscribe("bob", "TR_cam");
    world.settings("bob", "TR_cam", limited(Quality::Low));
    world.run(seconds(2));
    let got = world.take_got("bob");
    assert_continuous(&video(&got));
    let pictures: Vec<&[Got]> = got
        .chunk_by(|one, other| one.timestamp == other.timestamp)
        .collect();
    assert!(pictures.len() > 40);
    // Behind the key frames of the beginning.
    for got in &pictures[20..pictures.len() - 1] {
        let payloads: Vec<&Vec<u8>> = got.iter().map(|got| &got.payload).collect();
        assert_eq!(payloads, picture.iter().collect::<Vec<_>>());
    }
}

#[test]
fn receivers_of_av1_learn_which_targets_they_get() {
    let mut world = watched(Codec::Av1);
    world.settings("bob", "TR_cam", limited(Quality::Low));
    world.run(seconds(2));
    let active = |world: &mut World, name| {
        let got = world.take_got(name);
        let told: Vec<u32> = seen(&got).iter().filter_map(|it| it.active).collect();
        told.last().copied()
    };
    assert_eq!(active(&mut world, "bob"), Some(0b001));
    assert_eq!(active(&mut world, "carol"), Some(0b111));
}

/// Even where descriptors and payloads differ from receiver to receiver.
#[test]
fn nothing_is_allocated_for_a_scalable_packet_that_one_more_receiver_gets() {
    for codec in CODECS {
        let costs = |names: &[&'static str]| {
            let mut world = World::new();
            world.join("alice", PeerMode::Single);
            world.publish_scalable("alice", "TR_cam", Camera::new(codec, [100; 3]));
            for name in names {
                world.join(name, PeerMode::Single);
                world.subscribe(name, "TR_cam");
                world.settings(name, "TR_cam", limited(Quality::Medium));
            }
            world.run(seconds(8));
            world.take_got("bob");
            world.allocations = 0;
            world.run(seconds(4));
            (world.take_got("bob").len() as u64, world.allocations)
        };
        let (packets, one) = costs(&["bob"]);
        let (same, five) = costs(&["bob", "cat", "dan", "eve", "fay"]);
        assert!(packets > 180 && packets == same, "{packets} and {same}");
        assert!(five <= one + packets / 20, "{one} and {five} of {packets}");
    }
}
