//! AV1, by dependency descriptors that the test writes.

use crate::driver::{
    Wire, assert_wishes_come_true, decode, drive, packetize, schedule, shuffle, wishes,
};
use crate::streams::{Frame, Mode, Plan, plans, references};
use payload::av1::{Change, Selector, Structure};
use payload::{Codec, Layers};
use proptest::prelude::*;
use std::collections::BTreeMap;

const ALL_MODES: &[Mode] = &[Mode::Full, Mode::Key, Mode::Independent];

/// A descriptor in the making, the highest bit first.
#[derive(Default)]
struct Bits(Vec<bool>);

impl Bits {
    fn put(&mut self, number: usize, count: usize) {
        self.0
            .extend((0..count).rev().map(|bit| number >> bit & 1 != 0));
    }

    /// `ns(range)`.
    fn put_below(&mut self, number: usize, range: usize) {
        let width = usize::try_from(range.ilog2()).unwrap() + 1;
        let short = (1 << width) - range;
        if number < short {
            self.put(number, width - 1);
        } else {
            self.put(number + short, width);
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let byte = |bits: &[bool]| {
            let bits = bits.iter().enumerate();
            bits.fold(0, |byte, (at, bit)| byte | u8::from(*bit) << (7 - at))
        };
        self.0.chunks(8).map(byte).collect()
    }
}

/// A stream as its descriptors tell it.
struct Told<'a> {
    plan: &'a Plan,
    frames: &'a [Frame],
}

impl Told<'_> {
    fn targets(&self) -> Vec<Layers> {
        let spatial = 0..self.plan.spatial;
        let with_temporal =
            |spatial| (0..self.plan.temporal).map(move |temporal| Layers { spatial, temporal });
        spatial.flat_map(with_temporal).collect()
    }

    /// Not present, discardable, switch, required.
    fn indication(&self, index: usize, target: Layers) -> usize {
        let frame = &self.frames[index];
        if !self.plan.needs(target, frame) {
            return 0;
        }
        let begins_target = frame.layers.temporal == 0
            && ((frame.key && (frame.layers.spatial == 0 || !frame.inter_layer))
                || (frame.sync && frame.layers.spatial == target.spatial));
        if begins_target {
            return 2;
        }
        let near = self.frames.iter().enumerate().skip(index + 1).take(64);
        let mut needing = near.filter(|(_, other)| self.plan.needs(target, other));
        let used = needing.any(|(other, _)| references(self.frames, other).contains(&index));
        if used { 3 } else { 1 }
    }

    fn in_chain(&self, index: usize, chain: u8) -> bool {
        let layers = Layers {
            spatial: chain,
            temporal: 0,
        };
        self.plan.needs(layers, &self.frames[index])
    }

    /// How far back the chain's last frame is.
    fn chain_difference(&self, index: usize, chain: u8) -> usize {
        if self.frames[index].key
            && (0..index).rev().take(4).all(|it| {
                self.frames[it].picture != self.frames[index].picture || !self.in_chain(it, chain)
            })
        {
            return 0;
        }
        let before = (0..index).rev().find(|it| self.in_chain(*it, chain));
        index - before.unwrap()
    }

    fn differences(&self, index: usize) -> Vec<usize> {
        let found = references(self.frames, index);
        found.into_iter().map(|it| index - it).collect()
    }

    /// One template for each layer, without references: frames tell theirs themselves.
    fn put_structure(&self, bits: &mut Bits) {
        let targets = self.targets();
        bits.put(5, 6);
        bits.put(targets.len() - 1, 5);
        for (at, layers) in targets.iter().enumerate() {
            let next = targets.get(at + 1);
            bits.put(
                next.map_or(3, |next| 1 + usize::from(next.spatial > layers.spatial)),
                2,
            );
        }
        for template in &targets {
            for target in &targets {
                bits.put(if template.within(*target) { 3 } else { 0 }, 2);
            }
        }
        // Every template refers one back, to be told otherwise.
        targets.iter().for_each(|_| bits.put(0b10_0000, 6));
        let chains = usize::from(self.plan.spatial);
        bits.put_below(chains, targets.len() + 1);
        for target in &targets {
            bits.put_below(usize::from(target.spatial), chains);
        }
        targets
            .iter()
            .for_each(|_| (0..chains).for_each(|_| bits.put(1, 4)));
        bits.put(1, 1);
        (0..self.plan.spatial).for_each(|_| bits.put(0x013f_00b3, 32));
    }

    fn descriptor(&self, index: usize, packet: usize) -> Vec<u8> {
        let frame = &self.frames[index];
        let targets = self.targets();
        let template = targets.iter().position(|it| *it == frame.layers).unwrap();
        let structure = frame.key && frame.layers.spatial == 0 && packet == 0;
        let number = usize::from(self.plan.first_id) + index;
        let mut bits = Bits::default();
        bits.put(usize::from(packet == 0), 1);
        bits.put(usize::from(packet + 1 == frame.packets), 1);
        bits.put((template + 5) % 64, 6);
        bits.put(number % 0x1_0000, 16);
        bits.put(usize::from(structure), 1);
        bits.put(0b0111, 4);
        if structure {
            self.put_structure(&mut bits);
        }
        for target in &targets {
            bits.put(self.indication(index, *target), 2);
        }
        for difference in self.differences(index) {
            let nibbles =
                1 + usize::try_from((difference - 1).checked_ilog2().unwrap_or(0) / 4).unwrap();
            bits.put(nibbles, 2);
            bits.put(difference - 1, 4 * nibbles);
        }
        bits.put(0, 2);
        for chain in 0..self.plan.spatial {
            bits.put(self.chain_difference(index, chain), 8);
        }
        bits.bytes()
    }
}

fn wires(plan: &Plan, frames: &[Frame]) -> Vec<Wire> {
    let told = Told { plan, frames };
    packetize(frames, |index, packet| {
        (vec![0x10], Some(told.descriptor(index, packet)))
    })
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
        first_id: 0xfff0,
        wide: true,
        flexible: true,
    }
}

fn layers(spatial: u8, temporal: u8) -> Layers {
    Layers { spatial, temporal }
}

#[test]
fn a_descriptor_is_read_as_it_was_written() {
    let plan = plan(3, 3, Mode::Full);
    let frames = plan.frames();
    let told = Told {
        plan: &plan,
        frames: &frames,
    };
    let mut structure = Structure::default();
    for (index, frame) in frames.iter().enumerate() {
        for packet in 0..frame.packets {
            let read = structure.read(&told.descriptor(index, packet)).unwrap();
            let number = u16::try_from((usize::from(plan.first_id) + index) % 0x1_0000);
            assert_eq!(read.number, number.unwrap());
            assert_eq!(read.layers, frame.layers);
            assert_eq!(
                (read.starts, read.ends),
                (packet == 0, packet + 1 == frame.packets)
            );
            let differences: Vec<usize> = read.references().map(usize::from).collect();
            assert_eq!(differences, told.differences(index));
            assert!(read.targets().iter().eq(told.targets()));
            assert_eq!(read.active_targets(), 0x1ff);
        }
    }
}

#[test]
fn a_descriptor_without_its_structure_or_cut_short_is_not_read() {
    let plan = plan(2, 2, Mode::Full);
    let frames = plan.frames();
    let told = Told {
        plan: &plan,
        frames: &frames,
    };
    assert_eq!(Structure::default().read(&told.descriptor(1, 0)), None);
    let first = told.descriptor(0, 0);
    for cut in 0..first.len() {
        assert_eq!(
            Structure::default().read(&first[..cut]),
            None,
            "{cut} bytes"
        );
    }
}

#[test]
fn the_mask_of_active_targets_is_written_where_there_was_none_and_over_another() {
    let plan = plan(2, 2, Mode::Full);
    let frames = plan.frames();
    let told = Told {
        plan: &plan,
        frames: &frames,
    };
    for index in [0, 1, 5] {
        let mut structure = Structure::default();
        let first = structure.read(&told.descriptor(0, 0)).unwrap();
        let original = told.descriptor(index, 0);
        let frame = if index == 0 {
            first
        } else {
            structure.read(&original).unwrap()
        };
        let change = |active| Change { number: 9, active };
        let once = change(Some(0b0011)).write(&original, &frame).unwrap();
        let changed = structure.clone().read(once.as_bytes()).unwrap();
        assert_eq!((changed.active_targets(), changed.number), (0b0011, 9));
        let again = change(Some(0b0101))
            .write(once.as_bytes(), &changed)
            .unwrap();
        let read = structure.clone().read(again.as_bytes()).unwrap();
        assert_eq!(read.active_targets(), 0b0101);
        assert_eq!(again.as_bytes().len(), once.as_bytes().len());
        assert!(read.references().eq(frame.references()));
        let same = change(None).write(&original, &frame).unwrap();
        assert_eq!(same.as_bytes()[3..], original[3..]);
    }
}

/// The key frame of L1T2: template 0 of T0 refers two back, template 1 of T1 one back; two targets,
/// one chain.
fn key_of_two_rates(number: usize) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.put(0b11, 2);
    bits.put(0, 6);
    bits.put(number, 16);
    bits.put(0b10010, 5);
    bits.put(0, 6);
    bits.put(1, 5);
    bits.put(0b01_11, 4);
    bits.put(0b10_10_00_01, 8);
    bits.put(0b10_0010, 6);
    bits.put(0b10_0000, 6);
    bits.put_below(1, 3);
    bits.put_below(0, 1);
    bits.put_below(0, 1);
    bits.put(0b0010_0001, 8);
    bits.put(0, 1);
    // The key frame itself refers to nothing.
    bits.put(0, 2);
    bits.bytes()
}

#[test]
fn short_descriptors_are_read_by_their_template_and_grow_with_a_mask() {
    let mut structure = Structure::default();
    let key = structure.read(&key_of_two_rates(0)).unwrap();
    assert!(key.starts_keyframe() && key.new_structure && key.is_switching_point());
    let short = [0xc1, 0x00, 0x01];
    let frame = structure.read(&short).unwrap();
    assert_eq!(frame.layers, layers(0, 1));
    assert_eq!(frame.references().collect::<Vec<_>>(), [1]);
    assert!(frame.is_discardable());
    let change = Change {
        number: 1,
        active: Some(1),
    };
    let written = change.write(&short, &frame).unwrap();
    assert_eq!(written.as_bytes(), [0xc1, 0x00, 0x01, 0b0100_0010]);
}

/// Reads and takes whole frames, and says which were sent.
fn sent(descriptors: &[&[u8]], wishes: &[(usize, u8)]) -> Vec<bool> {
    let (mut structure, mut selector) = (Structure::default(), Selector::default());
    let mut sent = Vec::new();
    for (at, descriptor) in descriptors.iter().enumerate() {
        if let Some((_, temporal)) = wishes.iter().find(|wish| wish.0 == at) {
            selector.set_target(layers(0, *temporal));
        }
        let frame = structure.read(descriptor).unwrap();
        sent.push(selector.take(&frame, true).passage().is_some());
    }
    sent
}

#[test]
fn a_frame_of_the_target_that_refers_to_what_was_left_out_is_left_out() {
    let key = key_of_two_rates(0);
    // Frame 3 refers to frame 1, by its own references: one nibble, two back.
    let over_the_switch = [0xc1, 0, 3, 0b0001_0010, 0b0010_0000];
    let descriptors: [&[u8]; 5] = [
        &key,
        &[0xc1, 0, 1],
        &[0xc0, 0, 2],
        &over_the_switch,
        &[0xc1, 0, 5],
    ];
    let got = sent(&descriptors, &[(0, 0), (2, 1)]);
    assert_eq!(got, [true, false, true, false, true]);
}

#[test]
fn targets_that_are_not_active_are_left() {
    let key = key_of_two_rates(0);
    // Frame 2 says that the first target alone is active.
    let descriptors: [&[u8]; 5] = [
        &key,
        &[0xc1, 0, 1],
        &[0xc0, 0, 2, 0b0100_0010],
        &[0xc1, 0, 3],
        &[0xc0, 0, 4],
    ];
    assert_eq!(sent(&descriptors, &[]), [true, true, true, false, true]);
}

#[test]
fn a_late_structure_counts_if_it_is_newer_than_the_known_one() {
    let plan = Plan {
        first_id: 100,
        ..plan(2, 2, Mode::Full)
    };
    let frames = plan.frames();
    let told = Told {
        plan: &plan,
        frames: &frames,
    };
    let mut structure = Structure::default();
    let count = |structure: &mut Structure, number: u8| {
        let frame = structure.read(&[0xc5, 0, number]);
        frame.map(|frame| frame.targets().iter().count())
    };
    structure.read(&key_of_two_rates(50)).unwrap();
    assert_eq!(count(&mut structure, 90), None, "no such template");
    structure.read(&[0xc0, 0, 110]).unwrap();
    structure.read(&told.descriptor(0, 0)).unwrap();
    assert_eq!(count(&mut structure, 111), Some(4));
    structure.read(&key_of_two_rates(60)).unwrap();
    assert_eq!(count(&mut structure, 112), Some(4));
}

#[test]
fn the_receiver_is_told_which_targets_it_gets() {
    let plan = plan(2, 2, Mode::Full);
    let frames = plan.frames();
    let wires = wires(&plan, &frames);
    let schedule = BTreeMap::from([(0, layers(0, 1)), (30, layers(0, 0))]);
    let (sent, _) = drive(Codec::Av1, &wires, &schedule);
    let mut structure = Structure::default();
    let masks: Vec<u32> = sent
        .iter()
        .map(|packet| structure.read(packet.descriptor.as_ref().unwrap()))
        .map(|frame| frame.unwrap().active_targets())
        .collect();
    assert_eq!(masks.first(), Some(&0b0011));
    assert_eq!(masks.last(), Some(&0b0001));
    assert!(
        masks.is_sorted_by(|before, after| before >= after),
        "{masks:?}"
    );
}

#[test]
fn frame_numbers_continue_across_sources() {
    let plan = plan(1, 1, Mode::Full);
    let frames = plan.frames();
    let mut structure = Structure::default();
    let told = Told {
        plan: &plan,
        frames: &frames,
    };
    let mut selector = Selector::default();
    let first = structure.read(&told.descriptor(0, 0)).unwrap();
    assert_eq!(
        selector.take(&first, true).passage().unwrap().descriptor,
        None
    );
    let mut other = first;
    other.number = 77;
    selector.switch(&other);
    let passage = selector.take(&other, true).passage().unwrap();
    let number = passage.descriptor.unwrap().number;
    assert_eq!(number, first.number.wrapping_add(1));
}

#[test]
fn a_key_frame_is_asked_for_where_only_that_helps() {
    let plan = plan(3, 1, Mode::Key);
    let frames = plan.frames();
    let wires = wires(&plan, &frames);
    let needs = |target: Layers| {
        let schedule = BTreeMap::from([(0, layers(1, 0)), (25, target)]);
        let (_, selector) = drive(Codec::Av1, &wires[..40], &schedule);
        selector.needs_keyframe()
    };
    assert!(!needs(layers(1, 0)));
    assert!(needs(layers(2, 0)));
    assert!(needs(layers(0, 0)));
}

#[test]
fn a_lower_resolution_comes_at_once_and_lower_layers_of_key_svc_with_a_key_frame() {
    for (mode, at_once) in [(Mode::Full, true), (Mode::Key, false)] {
        let plan = plan(3, 3, mode);
        let frames = plan.frames();
        let wires = wires(&plan, &frames);
        let at = wires.iter().position(|it| frames[it.frame].picture == 3);
        let schedule = BTreeMap::from([(0, Layers::ALL), (at.unwrap(), layers(1, 2))]);
        let (sent, _) = drive(Codec::Av1, &wires, &schedule);
        let decoded = decode(&frames, &sent);
        let highest = |picture: usize| {
            let of_picture = decoded.iter().filter(|it| frames[**it].picture == picture);
            of_picture.map(|it| frames[*it].layers.spatial).max()
        };
        assert_eq!(highest(3), Some(if at_once { 1 } else { 2 }), "{mode:?}");
        assert_eq!(highest(24), Some(1));
    }
}

#[test]
fn a_missing_frame_of_the_chain_makes_a_key_frame_needed_after_a_while() {
    let plan = Plan {
        keys_every: 480,
        pictures: 240,
        ..plan(1, 1, Mode::Full)
    };
    let frames = plan.frames();
    let mut wires = wires(&plan, &frames);
    let lost: Vec<Wire> = wires.iter().filter(|it| it.frame == 10).cloned().collect();
    wires.retain(|wire| wire.frame != 10);
    let schedule = BTreeMap::from([(0, Layers::ALL)]);
    let until = |frame: usize| wires.iter().position(|it| it.frame == frame).unwrap();
    let needs = |wires: &[Wire]| drive(Codec::Av1, wires, &schedule).1.needs_keyframe();
    assert!(!needs(&wires[..until(90)]));
    assert!(needs(&wires[..until(120)]));
    let mut late = wires[..until(20)].to_vec();
    late.extend(lost);
    late.extend_from_slice(&wires[until(20)..]);
    assert!(!needs(&late));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn nothing_undecodable_is_sent_and_wishes_come_true(
        plan in plans(ALL_MODES, 3),
        wishes in wishes(),
    ) {
        let frames = plan.frames();
        let wires = wires(&plan, &frames);
        let schedule = schedule(&wishes, wires.len());
        let (sent, _) = drive(Codec::Av1, &wires, &schedule);
        let decoded = decode(&frames, &sent);
        assert_wishes_come_true(&plan, &frames, &wires, &schedule, &decoded);
    }

    #[test]
    fn late_packets_share_the_fate_of_their_frame(
        plan in plans(&[Mode::Full], 3),
        target in (0..3_u8, 0..3_u8),
        delays in prop::collection::vec(0..4_u8, 1..40),
    ) {
        let frames = plan.frames();
        let wires = wires(&plan, &frames);
        let head = frames[0].packets;
        let mut order = wires[..head].to_vec();
        order.extend(shuffle(&wires[head..], &delays));
        let target = layers(target.0, target.1);
        let (sent, _) = drive(Codec::Av1, &order, &BTreeMap::from([(0, target)]));
        let needed = order.iter().filter(|it| plan.needs(target, &frames[it.frame]));
        prop_assert!(sent.iter().map(|it| it.frame).eq(needed.map(|it| it.frame)));
    }
}
