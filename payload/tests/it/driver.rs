//! Runs a made-up stream through a selector, and looks at what comes out with a decoder's eyes.

use crate::streams::{Frame, Plan, references};
use payload::{Codec, Edits, Layers, Packet, Reader, Selector};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// A packet on its way.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    pub(crate) frame: usize,
    pub(crate) payload: Vec<u8>,
    pub(crate) descriptor: Option<Vec<u8>>,
    pub(crate) marker: bool,
}

/// A packet that was sent on.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) frame: usize,
    pub(crate) payload: Vec<u8>,
    pub(crate) descriptor: Option<Vec<u8>>,
    pub(crate) marker: bool,
}

/// A place among the packets, and the layers wanted from there on.
pub(crate) type Wish = (prop::sample::Index, u8, u8);

pub(crate) fn wishes() -> impl Strategy<Value = Vec<Wish>> {
    prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, 0..4_u8), 0..12)
}

/// The wishes by packet; the first from the beginning.
pub(crate) fn schedule(wishes: &[Wish], packets: usize) -> BTreeMap<usize, Layers> {
    let mut schedule = BTreeMap::from([(0, Layers::ALL)]);
    for (at, spatial, temporal) in wishes {
        let layers = Layers {
            spatial: *spatial,
            temporal: *temporal,
        };
        schedule.insert(at.index(packets), layers);
    }
    schedule
}

/// The packets of `frames`, each frame written by `write` with the number of its packet.
pub(crate) fn packetize(
    frames: &[Frame],
    write: impl Fn(usize, usize) -> (Vec<u8>, Option<Vec<u8>>),
) -> Vec<Wire> {
    let mut wires = Vec::new();
    for (index, frame) in frames.iter().enumerate() {
        let next = frames.get(index + 1);
        let last_of_picture = next.is_none_or(|next| next.picture != frame.picture);
        for packet in 0..frame.packets {
            let (payload, descriptor) = write(index, packet);
            wires.push(Wire {
                frame: index,
                payload,
                descriptor,
                marker: last_of_picture && packet + 1 == frame.packets,
            });
        }
    }
    wires
}

pub(crate) fn drive(
    codec: Codec,
    wires: &[Wire],
    schedule: &BTreeMap<usize, Layers>,
) -> (Vec<Sent>, Selector) {
    let (mut reader, mut selector) = (Reader::new(codec), Selector::default());
    let mut sent = Vec::new();
    for (at, wire) in wires.iter().enumerate() {
        let packet = reader.read(&wire.payload, wire.descriptor.as_deref());
        assert_ne!(packet, Packet::Opaque);
        if at == 0 {
            selector.switch(&packet, Layers::ALL);
        }
        if let Some(target) = schedule.get(&at) {
            selector.set_target(*target);
        }
        let Some(passage) = selector.take(&packet, wire.marker).passage() else {
            continue;
        };
        let mut payload = wire.payload.clone();
        passage.edits.apply(&mut payload);
        assert_eq!(passage.edits == Edits::default(), payload == wire.payload);
        let mut descriptor = wire.descriptor.clone();
        if let (Some(change), Some(original), Packet::Av1(frame)) =
            (passage.descriptor, &wire.descriptor, &packet)
        {
            let written = change.write(original, frame).unwrap();
            descriptor = Some(written.as_bytes().to_vec());
        }
        sent.push(Sent {
            frame: wire.frame,
            payload,
            descriptor,
            marker: passage.marker,
        });
    }
    (sent, selector)
}

/// The frames that arrive whole. None arrives in part, none without what it refers to, and no picture
/// without its end.
pub(crate) fn decode(frames: &[Frame], sent: &[Sent]) -> BTreeSet<usize> {
    let mut counts = BTreeMap::new();
    for packet in sent {
        *counts.entry(packet.frame).or_insert(0) += 1;
    }
    for (frame, count) in &counts {
        assert_eq!(*count, frames[*frame].packets, "frame {frame} in part");
        for reference in references(frames, *frame) {
            let known = counts.contains_key(&reference);
            assert!(known, "frame {frame} without {reference}");
        }
    }
    for (at, packet) in sent.iter().enumerate() {
        let picture = frames[packet.frame].picture;
        let next = sent.get(at + 1).map(|next| frames[next.frame].picture);
        assert!(
            packet.marker || next == Some(picture),
            "picture {picture} has no end"
        );
    }
    counts.into_keys().collect()
}

/// What a receiver whose wish is older than a key picture gets is what its layers need, from the
/// picture behind the key picture to the next wish.
pub(crate) fn assert_wishes_come_true(
    plan: &Plan,
    frames: &[Frame],
    wires: &[Wire],
    schedule: &BTreeMap<usize, Layers>,
    decoded: &BTreeSet<usize>,
) {
    let mut key_picture = None;
    let mut target = Layers::ALL;
    for (at, wire) in wires.iter().enumerate() {
        let frame = &frames[wire.frame];
        let begins = at == 0 || frames[wires[at - 1].frame].picture != frame.picture;
        if let Some(layers) = schedule.get(&at) {
            (target, key_picture) = (*layers, None);
        }
        if frame.key && begins {
            key_picture = Some(frame.picture);
        }
        // The next wish may come in the middle of a picture, which belongs to the old one.
        if key_picture.is_some_and(|key| key < frame.picture) {
            let needed = plan.needs(target, frame);
            let got = decoded.contains(&wire.frame);
            assert_eq!(got, needed, "frame {} for {target:?}", wire.frame);
        }
    }
}

/// Packets come in another order: each may be late by some.
pub(crate) fn shuffle(wires: &[Wire], delays: &[u8]) -> Vec<Wire> {
    let mut order: Vec<(usize, &Wire)> = wires.iter().enumerate().collect();
    let delay = |at: usize| usize::from(delays[at % delays.len()]);
    order.sort_by_key(|(at, _)| at + delay(*at));
    order.into_iter().map(|(_, wire)| wire.clone()).collect()
}
