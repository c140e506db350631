//! Finds where decoding can start: the first packet of a key frame, by codec.
//!
//! Looks at payload descriptors and NAL headers only, which end-to-end encryption leaves readable.

use str0m::format::Codec;
use str0m::rtp::Vp8Descriptor;

/// Most NAL units looked at in one aggregation packet; a key frame names itself early.
const MAX_AGGREGATED: usize = 32;
const NAL_IDR: u8 = 5;
const NAL_SPS: u8 = 7;
const NAL_STAP_A: u8 = 24;
const NAL_FU_A: u8 = 28;

/// True if `payload` is the first packet of a key frame of `codec`.
pub(super) fn starts_keyframe(codec: Codec, payload: &[u8]) -> bool {
    match codec {
        Codec::Vp8 => {
            Vp8Descriptor::parse(payload).is_ok_and(|found| found.starts_keyframe(payload))
        }
        Codec::H264 => h264(payload),
        Codec::Vp9 => vp9(payload),
        Codec::Av1 => av1(payload),
        _ => !detects(codec),
    }
}

/// True if key frames of this codec can be told apart at all.
pub(super) fn detects(codec: Codec) -> bool {
    matches!(codec, Codec::Vp8 | Codec::H264 | Codec::Vp9 | Codec::Av1)
}

/// RFC 6184: a parameter set or IDR slice, alone, aggregated or as the first fragment.
fn h264(payload: &[u8]) -> bool {
    let Some(header) = payload.first() else {
        return false;
    };
    match header & 0x1f {
        NAL_IDR | NAL_SPS => true,
        NAL_STAP_A => stap_a_has_key(payload.get(1..).unwrap_or_default()),
        NAL_FU_A => payload.get(1).is_some_and(|fragment| {
            let first = fragment & 0x80 != 0;
            first && matches!(fragment & 0x1f, NAL_IDR | NAL_SPS)
        }),
        _ => false,
    }
}

fn stap_a_has_key(mut rest: &[u8]) -> bool {
    for _ in 0..MAX_AGGREGATED {
        let Some((size, after)) = rest.split_first_chunk::<2>() else {
            return false;
        };
        let size = usize::from(u16::from_be_bytes(*size));
        let Some(nal) = after.first() else {
            return false;
        };
        if matches!(nal & 0x1f, NAL_IDR | NAL_SPS) {
            return true;
        }
        rest = after.get(size..).unwrap_or_default();
    }
    false
}

/// RFC 9628: beginning of a frame (B) that is not inter-picture predicted (P), lowest layer.
fn vp9(payload: &[u8]) -> bool {
    let Some(header) = payload.first() else {
        return false;
    };
    let predicted = header & 0x40 != 0;
    let begins = header & 0x08 != 0;
    if predicted || !begins {
        return false;
    }
    if header & 0x20 == 0 {
        return true;
    }
    // The layer octet follows a picture id of no, one or two octets.
    let mut at = 1;
    if header & 0x80 != 0 {
        let wide = payload.get(at).is_some_and(|octet| octet & 0x80 != 0);
        at += if wide { 2 } else { 1 };
    }
    payload
        .get(at)
        .is_some_and(|layer| (layer >> 1) & 0x07 == 0)
}

/// AV1 RTP payload: the N bit marks the first packet of a coded video sequence.
fn av1(payload: &[u8]) -> bool {
    payload.first().is_some_and(|header| header & 0x08 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn vp8_key_frames_start_with_the_first_partition_and_a_clear_p_bit() {
        assert!(starts_keyframe(Codec::Vp8, &[0x10, 0x00, 0x00]));
        assert!(!starts_keyframe(Codec::Vp8, &[0x10, 0x01, 0x00]));
        assert!(!starts_keyframe(Codec::Vp8, &[0x00, 0x00, 0x00]));
    }

    #[test]
    fn h264_key_frames_are_found_alone_aggregated_and_fragmented() {
        assert!(starts_keyframe(Codec::H264, &[0x65, 0x88]));
        assert!(starts_keyframe(Codec::H264, &[0x78, 0, 2, 0x67, 0x42]));
        assert!(starts_keyframe(
            Codec::H264,
            &[0x78, 0, 1, 0x06, 0, 1, 0x65]
        ));
        assert!(starts_keyframe(Codec::H264, &[0x7c, 0x85, 0x00]));
        assert!(!starts_keyframe(Codec::H264, &[0x7c, 0x05, 0x00]));
        assert!(!starts_keyframe(Codec::H264, &[0x61, 0x00]));
    }

    #[test]
    fn vp9_and_av1_key_frames_are_found() {
        assert!(starts_keyframe(Codec::Vp9, &[0x88, 0x01]));
        assert!(!starts_keyframe(Codec::Vp9, &[0xc8, 0x01]));
        assert!(!starts_keyframe(Codec::Vp9, &[0xa8, 0x01, 0x02]));
        assert!(starts_keyframe(Codec::Av1, &[0x08]));
        assert!(!starts_keyframe(Codec::Av1, &[0x10]));
    }

    proptest! {
        #[test]
        fn no_payload_breaks_the_detection(payload: Vec<u8>) {
            for codec in [Codec::Vp8, Codec::H264, Codec::Vp9, Codec::Av1, Codec::Opus] {
                let _ = starts_keyframe(codec, &payload);
            }
        }
    }
}
