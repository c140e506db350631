//! Foreign bytes do not break anything: noise, and good packets with damage.

use payload::{Codec, Layers, Packet, Reader, Selector, parse_all, starts_keyframe};
use proptest::prelude::*;

/// Orders, length, packet; see `parse_all`. From the figures of the formats.
const GOOD: [&[u8]; 7] = [
    // VP9: a key picture with structure, two layers; in flexible mode with three references.
    &[
        0xff, 16, 0xae, 0x92, 0x34, 0x00, 0x2a, 0x38, 0x01, 0x40, 0x00, 0xb4, 0x02, 0x80, 0x01,
        0x68, 0x00, 0x99,
    ],
    &[0x20, 6, 0xf1, 0x05, 0x24, 0x03, 0x05, 0x80],
    // VP8: with all fields, and with none.
    &[0x01, 7, 0xb0, 0xf0, 0x92, 0x34, 0x2a, 0xa7, 0x10],
    &[0x03, 2, 0x10, 0x01],
    // H264: parameter sets together, and a fragment.
    &[0x01, 5, 0x78, 0x00, 0x02, 0x67, 0x42],
    &[0x00, 3, 0x1c, 0x81, 0x00],
    // AV1: L1T2 with its structure.
    &[
        0xfd, 10, 0xc0, 0x00, 0x00, 0x90, 0x01, 0x7a, 0x18, 0xa0, 0x88, 0x40,
    ],
];

proptest! {
    #[test]
    fn noise_is_taken(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = parse_all(&bytes);
        for codec in [Codec::Vp8, Codec::Vp9, Codec::Av1, Codec::H264] {
            let _ = starts_keyframe(codec, &bytes);
        }
    }

    #[test]
    fn damaged_packets_are_taken(
        choice in prop::collection::vec(0..GOOD.len(), 1..40),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
    ) {
        let mut bytes: Vec<u8> = choice.iter().flat_map(|at| GOOD[*at].to_vec()).collect();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = parse_all(&bytes);
    }
}

#[test]
fn the_good_packets_are_forwarded() {
    let bytes: Vec<u8> = GOOD.concat();
    assert!(parse_all(&bytes) > GOOD.len());
    assert_eq!(parse_all(&[]), 0);
}

#[test]
fn once_a_stream_has_begun_nothing_is_allocated() {
    let streams: [(Codec, &[u8], &[u8]); 4] = [
        (Codec::Vp9, &GOOD[0][2..], &GOOD[1][2..]),
        (Codec::Vp8, &GOOD[2][2..], &GOOD[3][2..]),
        (Codec::H264, &GOOD[4][2..], &GOOD[5][2..]),
        (Codec::Av1, &GOOD[6][2..], &[0xc1, 0, 1]),
    ];
    for (codec, first, next) in streams {
        let (mut reader, mut selector) = (Reader::new(codec), Selector::default());
        let packet = reader.read(first, Some(first));
        assert_ne!(packet, Packet::Opaque, "{codec:?}");
        selector.switch(&packet, Layers::ALL);
        let _ = selector.take(&packet, true);
        let counted = allocation_counter::measure(|| {
            for target in 0..4 {
                let packet = reader.read(next, Some(next));
                selector.set_target(Layers {
                    spatial: 0,
                    temporal: target,
                });
                let _ = selector.take(&packet, true);
                selector.switch(&packet, Layers::ALL);
            }
        });
        assert_eq!(counted.count_total, 0, "{codec:?}");
    }
}
