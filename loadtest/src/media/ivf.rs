//! The IVF container: what ffmpeg writes VP8 into.
//!
//! A header of 32 bytes (`DKIF`, version, header length, fourcc, size, time base), then for each
//! frame length (4 bytes), time (8 bytes) and the frame; all in little endian.

use super::Frame;

const HEADER_LEN: usize = 32;

/// The frames of a VP8 file, each `duration_us` long; `None` if it is no such file or is cut off.
pub(super) fn vp8_frames(file: &[u8], duration_us: u32) -> Option<Vec<Frame>> {
    let (header, mut rest) = file.split_first_chunk::<HEADER_LEN>()?;
    if !header.starts_with(b"DKIF") || header.get(8..12)? != b"VP80" {
        return None;
    }
    let mut frames = Vec::new();
    while let Some((len, after)) = rest.split_first_chunk::<4>() {
        let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        let (bytes, next) = after.get(8..)?.split_at_checked(len)?;
        // RFC 6386 section 9.1: the lowest bit of the frame tag is clear in key frames.
        let key = bytes.first()? & 1 == 0;
        frames.push(Frame {
            key,
            duration_us,
            bytes: bytes.into(),
        });
        rest = next;
    }
    (rest.is_empty() && frames.first()?.key).then_some(frames)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(frames: &[&[u8]]) -> Vec<u8> {
        let mut file = vec![0; HEADER_LEN];
        file[..4].copy_from_slice(b"DKIF");
        file[8..12].copy_from_slice(b"VP80");
        for frame in frames {
            file.extend(u32::try_from(frame.len()).unwrap().to_le_bytes());
            file.extend([0; 8]);
            file.extend(*frame);
        }
        file
    }

    #[test]
    fn frames_come_out_with_their_key_flags() {
        let frames = vp8_frames(&file(&[&[0x10, 1, 2], &[0x31, 3]]), 40_000).unwrap();
        let seen: Vec<_> = frames
            .iter()
            .map(|frame| (frame.key, frame.bytes.len()))
            .collect();
        assert_eq!(seen, [(true, 3), (false, 2)]);
        assert_eq!(frames[1].duration_us, 40_000);
    }

    #[test]
    fn a_file_that_is_cut_off_or_starts_without_a_key_frame_is_none() {
        let good = file(&[&[0x10, 1, 2]]);
        assert!(vp8_frames(&good[..good.len() - 1], 1).is_none());
        assert!(vp8_frames(&file(&[&[0x31, 3]]), 1).is_none());
        assert!(vp8_frames(&file(&[]), 1).is_none());
        assert!(vp8_frames(b"RIFF", 1).is_none());
    }

    proptest! {
        #[test]
        fn no_file_breaks_the_reader(tail: Vec<u8>) {
            let mut bytes = file(&[]);
            bytes.extend(tail);
            let _ = vp8_frames(&bytes, 1);
        }
    }
}
