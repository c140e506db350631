//! What a packet costs for one receiver, and to be read once for all.

#![allow(clippy::expect_used, reason = "a bench that cannot start says so")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use payload::{Codec, Layers, Packet, Reader, Selector};
use std::hint::black_box;

/// Pictures of a run.
const PICTURES: u16 = 64;

/// L3T3 of VP9 with two packets a frame, and whether each ends its picture.
fn vp9() -> Vec<(Vec<u8>, bool)> {
    let mut packets = Vec::new();
    for picture in 0..PICTURES {
        let temporal = [0, 2, 1, 2][usize::from(picture % 4)];
        for spatial in 0..3_u8 {
            for end in [false, true] {
                let predicted = u8::from(picture > 0) << 6;
                let place = u8::from(!end) << 3 | u8::from(end) << 2;
                let first = 0xa0 | predicted | place | u8::from(spatial == 2);
                let [high, low] = (picture | 0x8000).to_be_bytes();
                let layer = temporal << 5 | 0x10 | spatial << 1 | u8::from(spatial > 0);
                let tl0 = u8::try_from(picture / 4).expect("few");
                let bytes = vec![first, high, low, layer, tl0, 0, 0];
                packets.push((bytes, end && spatial == 2));
            }
        }
    }
    packets
}

/// L1T3 of VP8 with two packets a picture.
fn vp8() -> Vec<(Vec<u8>, bool)> {
    let mut packets = Vec::new();
    for picture in 0..PICTURES {
        let temporal = [0, 2, 1, 2][usize::from(picture % 4)];
        for end in [false, true] {
            let [high, low] = (picture | 0x8000).to_be_bytes();
            let first = 0x80 | u8::from(!end) << 4;
            let tl0 = u8::try_from(picture / 4).expect("few");
            let bytes = vec![
                first,
                0xe0,
                high,
                low,
                tl0,
                temporal << 6 | 0x20,
                u8::from(picture > 0),
            ];
            packets.push((bytes, end));
        }
    }
    packets
}

fn h264() -> Vec<(Vec<u8>, bool)> {
    let packet = |at: u16| {
        let unit = if at % 4 < 2 { 0x7c } else { 0x1c };
        (vec![unit, 0x81, 0, 0], at % 2 == 1)
    };
    (0..PICTURES * 2).map(packet).collect()
}

/// L1T2 of AV1: the key frame with its structure, then frames by their templates.
fn av1() -> Vec<(Vec<u8>, bool)> {
    let structure = [0xc0, 0x00, 0x00, 0x90, 0x01, 0x7a, 0x18, 0xa0, 0x88, 0x40];
    let mut packets = vec![(structure.to_vec(), true)];
    for number in 1..PICTURES {
        let [high, low] = number.to_be_bytes();
        let template = u8::from(number % 2 == 1);
        packets.push((vec![0xc0 | template, high, low], true));
    }
    packets
}

fn take(criterion: &mut Criterion) {
    let runs = [
        ("VP9 L3T3", Codec::Vp9, vp9()),
        ("VP8 L1T3", Codec::Vp8, vp8()),
        ("H264", Codec::H264, h264()),
        ("AV1 L1T2", Codec::Av1, av1()),
    ];
    for (name, codec, wires) in runs {
        let mut reader = Reader::new(codec);
        let packets: Vec<(Packet, bool)> = wires
            .iter()
            .map(|(bytes, end)| (reader.read(bytes, Some(bytes)), *end))
            .collect();
        assert!(packets.iter().all(|it| it.0 != Packet::Opaque), "{name}");
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(packets.len().try_into().expect("few")));
        group.bench_function("read", |bencher| {
            bencher.iter(|| {
                for (bytes, _) in &wires {
                    black_box(reader.read(black_box(bytes), Some(bytes)));
                }
            });
        });
        for (what, spatial, temporal) in [("all", 7, 7), ("fewer", 1, 1), ("least", 0, 0)] {
            let target = Layers { spatial, temporal };
            group.bench_function(format!("take, {what} layers"), |bencher| {
                let mut selector = Selector::default();
                bencher.iter(|| {
                    selector.switch(&packets[0].0, target);
                    for (packet, end) in &packets {
                        black_box(selector.take(black_box(packet), *end));
                    }
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, take);
criterion_main!(benches);
