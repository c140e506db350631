//! VP9: all modes, with picture groups and with references.

use crate::driver::{
    Wire, assert_wishes_come_true, decode, drive, packetize, schedule, shuffle, wishes,
};
use crate::streams::{Frame, Mode, Plan, plans};
use payload::{Codec, Layers, Selector};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const ALL_MODES: &[Mode] = &[Mode::Full, Mode::Key, Mode::Independent];

fn wires(plan: &Plan, frames: &[Frame]) -> Vec<Wire> {
    packetize(frames, |index, packet| {
        (write(plan, frames, index, packet), None)
    })
}

fn write(plan: &Plan, frames: &[Frame], index: usize, packet: usize) -> Vec<u8> {
    let frame = &frames[index];
    let inter_picture = !frame.earlier.is_empty();
    let structure = frame.key && frame.layers.spatial == 0 && packet == 0;
    let flags = [
        (0x80, true),
        (0x40, inter_picture),
        (0x20, true),
        (0x10, plan.flexible),
        (0x08, packet == 0),
        (0x04, packet + 1 == frame.packets),
        (0x02, structure),
        (0x01, !frame.serves_upper),
    ];
    let set = flags.iter().filter(|flag| flag.1);
    let mut bytes = vec![set.map(|flag| flag.0).sum::<u8>()];
    bytes.extend(plan.picture_id_bytes(frame.picture));
    bytes.push(
        frame.layers.temporal << 5
            | u8::from(frame.switching_up) << 4
            | frame.layers.spatial << 1
            | u8::from(frame.inter_layer),
    );
    if !plan.flexible {
        bytes.push(plan.tl0(frame.picture));
    } else if inter_picture {
        let count = frame.earlier.len();
        for (at, reference) in frame.earlier.iter().enumerate() {
            let back = frame.picture - frames[*reference].picture;
            bytes.push(u8::try_from(back << 1).unwrap() | u8::from(at + 1 < count));
        }
    }
    if structure {
        bytes.push((plan.spatial - 1) << 5);
    }
    bytes.push(0xff);
    bytes
}

fn plan(spatial: u8, temporal: u8, mode: Mode) -> Plan {
    Plan {
        spatial,
        temporal,
        mode,
        keys_every: 24,
        sync_every: 1,
        pictures: 48,
        seed: 7,
        first_id: 0x7ff0,
        wide: true,
        flexible: false,
    }
}

/// What arrives of `plan` with these wishes, by picture.
fn arriving(plan: &Plan, wishes: &[(usize, Layers)]) -> BTreeMap<usize, Vec<Layers>> {
    let frames = plan.frames();
    let wires = wires(plan, &frames);
    let start = |picture: usize| {
        let of_picture = |wire: &Wire| frames[wire.frame].picture == picture;
        wires.iter().position(of_picture).unwrap()
    };
    let schedule = wishes.iter().map(|(at, layers)| (start(*at), *layers));
    let (sent, _) = drive(Codec::Vp9, &wires, &schedule.collect());
    let mut pictures: BTreeMap<usize, Vec<Layers>> = BTreeMap::new();
    for frame in decode(&frames, &sent) {
        let frame = &frames[frame];
        pictures
            .entry(frame.picture)
            .or_default()
            .push(frame.layers);
    }
    pictures
}

fn layers(spatial: u8, temporal: u8) -> Layers {
    Layers { spatial, temporal }
}

#[test]
fn a_lower_resolution_comes_with_the_next_picture_and_a_higher_with_the_next_key_picture() {
    let wishes = [(0, Layers::ALL), (3, layers(1, 2)), (8, Layers::ALL)];
    let pictures = arriving(&plan(3, 3, Mode::Full), &wishes);
    assert_eq!(pictures[&2].len(), 3);
    assert_eq!(pictures[&3], [layers(0, 2), layers(1, 2)]);
    assert_eq!(pictures[&23].len(), 2);
    assert_eq!(pictures[&24].len(), 3);
}

#[test]
fn a_frame_rate_changes_within_one_pattern() {
    let wishes = [(0, Layers::ALL), (3, layers(2, 0)), (10, Layers::ALL)];
    let pictures = arriving(&plan(3, 3, Mode::Full), &wishes);
    let seen: Vec<usize> = pictures.keys().copied().filter(|it| *it < 15).collect();
    assert_eq!(seen, [0, 1, 2, 4, 8, 10, 11, 12, 13, 14]);
}

#[test]
fn with_key_svc_lower_layers_come_with_key_pictures_only() {
    let pictures = arriving(&plan(3, 3, Mode::Key), &[(5, layers(1, 2))]);
    assert_eq!(pictures[&0].len(), 3);
    assert_eq!(pictures[&2], [layers(2, 1)]);
    assert_eq!(
        pictures[&23],
        [layers(2, 2)],
        "the lower layer cannot be entered"
    );
    assert_eq!(pictures[&24].len(), 2);
    assert_eq!(pictures[&25], [layers(1, 2)]);
}

#[test]
fn of_independent_layers_one_is_sent() {
    let wishes = [(0, layers(1, 2)), (3, layers(2, 2)), (26, layers(0, 2))];
    let pictures = arriving(&plan(3, 1, Mode::Independent), &wishes);
    assert_eq!(pictures[&1], [layers(1, 0)]);
    assert_eq!(pictures[&23], [layers(1, 0)]);
    assert_eq!(pictures[&25], [layers(2, 0)]);
    assert_eq!(pictures[&47], [layers(2, 0)]);
}

#[test]
fn a_key_picture_is_asked_for_where_only_that_helps() {
    let plan = plan(3, 1, Mode::Key);
    let frames = plan.frames();
    let wires = wires(&plan, &frames);
    let needs = |target: Layers, taken: usize| {
        let schedule = BTreeMap::from([(0, layers(1, 0)), (taken - 1, target)]);
        let (_, selector) = drive(Codec::Vp9, &wires[..taken], &schedule);
        selector.needs_keyframe()
    };
    assert!(!needs(layers(1, 0), 30));
    assert!(needs(layers(2, 0), 30));
    assert!(needs(layers(0, 0), 30));
    assert!(!Selector::default().needs_keyframe());
}

proptest! {
    #[test]
    fn nothing_undecodable_is_sent_and_wishes_come_true(
        plan in plans(ALL_MODES, 4),
        wishes in wishes(),
    ) {
        let frames = plan.frames();
        let wires = wires(&plan, &frames);
        let schedule = schedule(&wishes, wires.len());
        let (sent, _) = drive(Codec::Vp9, &wires, &schedule);
        let decoded = decode(&frames, &sent);
        assert_wishes_come_true(&plan, &frames, &wires, &schedule, &decoded);
        for packet in &sent {
            let is_it = |wire: &Wire| wire.frame == packet.frame && wire.payload == packet.payload;
            prop_assert!(wires.iter().any(is_it), "numbers stay");
        }
    }

    /// Lower layers of K-SVC and of independent ones may pass if they come late, but whole.
    #[test]
    fn late_packets_share_the_fate_of_their_frame(
        plan in plans(ALL_MODES, 4),
        target in (0..4_u8, 0..3_u8),
        delays in prop::collection::vec(0..4_u8, 1..40),
    ) {
        let frames = plan.frames();
        let wires = wires(&plan, &frames);
        let head = frames[0].packets;
        let mut order = wires[..head].to_vec();
        order.extend(shuffle(&wires[head..], &delays));
        let schedule = BTreeMap::from([(0, layers(target.0, target.1))]);
        let (sent, _) = drive(Codec::Vp9, &order, &schedule);
        let got: BTreeSet<usize> = sent.iter().map(|it| it.frame).collect();
        let target = layers(target.0, target.1);
        if plan.mode == Mode::Full {
            let needed = (0..frames.len()).filter(|it| plan.needs(target, &frames[*it]));
            prop_assert_eq!(&got, &needed.collect::<BTreeSet<usize>>());
        }
        for frame in got {
            let count = sent.iter().filter(|it| it.frame == frame).count();
            prop_assert_eq!(count, frames[frame].packets);
            prop_assert!(frames[frame].layers.within(target));
        }
    }
}
