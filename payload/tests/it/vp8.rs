//! VP8: temporal layers leave without a gap in the picture ids.

use crate::driver::{
    Sent, Wire, assert_wishes_come_true, decode, drive, packetize, schedule, shuffle, wishes,
};
use crate::streams::{Frame, Mode, Plan, plans};
use payload::vp8::{Descriptor, Selector};
use payload::{Codec, Layers};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn wires(plan: &Plan, frames: &[Frame]) -> Vec<Wire> {
    packetize(frames, |index, packet| {
        (write(plan, frames, index, packet), None)
    })
}

fn write(plan: &Plan, frames: &[Frame], index: usize, packet: usize) -> Vec<u8> {
    let frame = &frames[index];
    let referred_to = frames.iter().any(|other| other.earlier.contains(&index));
    let first = 0x80 | u8::from(!referred_to) << 5 | u8::from(packet == 0) << 4;
    let mut bytes = vec![first, 0xe0];
    bytes.extend(plan.picture_id_bytes(frame.picture));
    bytes.push(plan.tl0(frame.picture));
    let of_base = |it: &usize| frames[*it].layers.temporal == 0;
    let sync = frame.layers.temporal > 0 && frame.earlier.iter().all(of_base);
    bytes.push(frame.layers.temporal << 6 | u8::from(sync) << 5);
    bytes.push(u8::from(!frame.key));
    bytes
}

fn picture_id(payload: &[u8]) -> u16 {
    let descriptor = Descriptor::parse(payload).unwrap();
    descriptor.numbers.picture_id.unwrap().value
}

/// Each picture's id is one more than that of the picture before.
fn assert_no_gap(frames: &[Frame], sent: &[Sent], mask: u16) {
    let mut ids = BTreeMap::new();
    for packet in sent {
        let picture = frames[packet.frame].picture;
        let id = picture_id(&packet.payload);
        assert_eq!(
            *ids.entry(picture).or_insert(id),
            id,
            "two ids for {picture}"
        );
    }
    let ids: Vec<u16> = ids.into_values().collect();
    for pair in ids.windows(2) {
        assert_eq!(pair[1].wrapping_sub(pair[0]) & mask, 1, "{pair:?}");
    }
}

fn mask(plan: &Plan) -> u16 {
    if plan.wide { 0x7fff } else { 0x7f }
}

proptest! {
    #[test]
    fn nothing_undecodable_is_sent_and_no_picture_id_is_missing(
        plan in plans(&[Mode::Full], 1),
        wishes in wishes(),
    ) {
        let frames = plan.frames();
        let wires = wires(&plan, &frames);
        let schedule = schedule(&wishes, wires.len());
        let (sent, _) = drive(Codec::Vp8, &wires, &schedule);
        let decoded = decode(&frames, &sent);
        assert_wishes_come_true(&plan, &frames, &wires, &schedule, &decoded);
        assert_no_gap(&frames, &sent, mask(&plan));
    }

    #[test]
    fn late_packets_keep_the_number_of_their_picture(
        plan in plans(&[Mode::Full], 1),
        temporal in 0..3_u8,
        delays in prop::collection::vec(0..2_u8, 1..40),
    ) {
        // No picture comes as a whole behind a later one: then a gap is open for it.
        let frames: Vec<Frame> = plan.frames().into_iter().map(|it| Frame { packets: 3, ..it }).collect();
        let wires = wires(&plan, &frames);
        let mut order = wires[..3].to_vec();
        order.extend(shuffle(&wires[3..], &delays));
        let target = Layers { spatial: 0, temporal };
        let schedule = BTreeMap::from([(0, target)]);
        let (sent, _) = drive(Codec::Vp8, &order, &schedule);
        assert_no_gap(&frames, &sent, mask(&plan));
    }
}

/// X, S, then I L T, a 15 bit picture id, TL0PICIDX, TID and Y, one byte of a key or delta frame.
fn packet(id: u16, tl0: u8, temporal: u8, sync: bool, key: bool) -> Vec<u8> {
    let [high, low] = (id | 0x8000).to_be_bytes();
    let layer = temporal << 6 | u8::from(sync) << 5;
    vec![0x90, 0xe0, high, low, tl0, layer, u8::from(!key)]
}

fn base(id: u16, tl0: u8) -> Vec<u8> {
    packet(id, tl0, 0, false, true)
}

fn pass(selector: &mut Selector, payload: &[u8]) -> Option<Vec<u8>> {
    let descriptor = Descriptor::parse(payload).unwrap();
    let passage = selector.take(&descriptor, true).passage()?;
    let mut payload = payload.to_vec();
    passage.edits.apply(&mut payload);
    Some(payload)
}

fn switch(selector: &mut Selector, payload: &[u8]) {
    selector.switch(Descriptor::parse(payload).as_ref());
}

#[test]
fn the_first_source_is_not_touched() {
    let mut selector = Selector::default();
    switch(&mut selector, &base(17, 3));
    assert_eq!(pass(&mut selector, &base(17, 3)).unwrap(), base(17, 3));
    assert_eq!(pass(&mut selector, &base(18, 4)).unwrap(), base(18, 4));
}

#[test]
fn a_new_source_continues_the_ids_of_the_old_one() {
    let mut selector = Selector::default();
    switch(&mut selector, &base(17, 3));
    pass(&mut selector, &base(17, 3)).unwrap();
    switch(&mut selector, &base(30_000, 200));
    assert_eq!(
        pass(&mut selector, &base(30_000, 200)).unwrap(),
        base(18, 4)
    );
    assert_eq!(
        pass(&mut selector, &base(30_001, 201)).unwrap(),
        base(19, 5)
    );
}

#[test]
fn what_has_no_numbers_is_left_alone() {
    let mut selector = Selector::default();
    switch(&mut selector, &base(1, 1));
    pass(&mut selector, &base(1, 1)).unwrap();
    selector.switch(None);
    assert_eq!(pass(&mut selector, &[0x10, 0]).unwrap(), [0x10, 0]);
}

#[test]
fn short_picture_ids_stay_short() {
    let mut selector = Selector::default();
    switch(&mut selector, &base(300, 0));
    pass(&mut selector, &base(300, 0)).unwrap();
    let short = [0x90, 0x80, 0x05, 0x00];
    switch(&mut selector, &short);
    // 301, of which 7 bits are left.
    let passed = pass(&mut selector, &short).unwrap();
    assert_eq!(passed, [0x90, 0x80, 0x2d, 0x00]);
}

#[test]
fn ids_wrap_around_over_what_is_left_out_and_across_sources() {
    let mut selector = Selector::default();
    selector.set_target(0);
    switch(&mut selector, &base(0x7ffe, 0xff));
    assert_eq!(
        pass(&mut selector, &base(0x7ffe, 0xff)).unwrap(),
        base(0x7ffe, 0xff)
    );
    assert_eq!(
        pass(&mut selector, &packet(0x7fff, 0xff, 1, true, false)),
        None
    );
    let next = packet(0, 0, 0, false, false);
    assert_eq!(
        pass(&mut selector, &next).unwrap(),
        packet(0x7fff, 0, 0, false, false)
    );
    // Late, of the picture before what was left out.
    assert_eq!(
        pass(&mut selector, &base(0x7ffe, 0xff)).unwrap(),
        base(0x7ffe, 0xff)
    );
    assert_eq!(
        pass(&mut selector, &packet(0x7fff, 0xff, 1, true, false)),
        None
    );
    switch(&mut selector, &base(500, 9));
    assert_eq!(pass(&mut selector, &base(500, 9)).unwrap(), base(0, 1));
}

#[test]
fn an_upper_layer_is_entered_where_it_refers_to_the_base_layer_alone() {
    let mut selector = Selector::default();
    selector.set_target(0);
    assert!(pass(&mut selector, &base(1, 0)).is_some());
    assert!(pass(&mut selector, &packet(2, 0, 1, true, false)).is_none());
    selector.set_target(1);
    assert!(pass(&mut selector, &packet(3, 0, 1, false, false)).is_none());
    assert!(pass(&mut selector, &packet(4, 0, 1, true, false)).is_some());
    assert!(pass(&mut selector, &packet(5, 0, 1, false, false)).is_some());
    assert!(pass(&mut selector, &packet(6, 0, 2, true, false)).is_none());
}

#[test]
fn a_layer_that_lost_nothing_but_what_nobody_refers_to_comes_back_at_once() {
    let mut selector = Selector::default();
    assert!(pass(&mut selector, &base(1, 0)).is_some());
    selector.set_target(0);
    let mut unreferenced = packet(2, 0, 1, false, false);
    unreferenced[0] |= 0x20;
    assert!(pass(&mut selector, &unreferenced).is_none());
    selector.set_target(1);
    assert!(pass(&mut selector, &packet(3, 0, 1, false, false)).is_some());
}
