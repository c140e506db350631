//! H.264 byte streams (H.264 annex B): what ffmpeg writes H.264 into.
//!
//! NAL units between start codes; access units between access unit delimiters, which the encoder is
//! told to write. Delimiters, SEI messages and filler are dropped: they cost packets and say nothing.

use super::Frame;

const NAL_IDR: u8 = 5;
const NAL_SEI: u8 = 6;
const NAL_DELIMITER: u8 = 9;
const NAL_FILLER: u8 = 12;

/// The access units of a file, each `duration_us` long, NAL units behind four bytes of length;
/// `None` if the file does not start with a key frame.
pub(super) fn frames(file: &[u8], duration_us: u32) -> Option<Vec<Frame>> {
    let mut frames = Vec::new();
    let mut unit = Unit::default();
    for nal in nals(file) {
        match nal.first()? & 0x1f {
            NAL_DELIMITER => frames.extend(std::mem::take(&mut unit).finish(duration_us)),
            NAL_SEI | NAL_FILLER => {}
            kind => unit.push(nal, kind == NAL_IDR)?,
        }
    }
    frames.extend(unit.finish(duration_us));
    frames.first()?.key.then_some(frames)
}

#[derive(Default)]
struct Unit {
    bytes: Vec<u8>,
    key: bool,
}

impl Unit {
    fn push(&mut self, nal: &[u8], key: bool) -> Option<()> {
        self.bytes
            .extend(u32::try_from(nal.len()).ok()?.to_be_bytes());
        self.bytes.extend(nal);
        self.key |= key;
        Some(())
    }

    fn finish(self, duration_us: u32) -> Option<Frame> {
        (!self.bytes.is_empty()).then(|| Frame {
            key: self.key,
            duration_us,
            bytes: self.bytes.into(),
        })
    }
}

/// The NAL units of a byte stream, without start codes and trailing zeros.
fn nals(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    let starts = file
        .windows(3)
        .enumerate()
        .filter(|(_, window)| *window == [0, 0, 1])
        .map(|(at, _)| at);
    let ends = starts.clone().skip(1).chain([file.len()]);
    starts.zip(ends).filter_map(|(start, end)| {
        let nal = file.get(start + 3..end)?;
        let len = nal.iter().rposition(|byte| *byte != 0)? + 1;
        nal.get(..len)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn access_units_come_out_with_lengths_and_without_delimiters_and_sei() {
        let file = [
            0, 0, 0, 1, 9, 0xf0, 0, 0, 0, 1, 0x67, 1, 0, 0, 1, 0x68, 2, 0, 0, 1, 6, 5, 0, 0, 1,
            0x65, 7, 8, 0, 0, 0, 1, 9, 0xf0, 0, 0, 1, 0x41, 3,
        ];
        let frames = frames(&file, 40_000).unwrap();
        assert_eq!(frames.len(), 2);
        let key = [
            0, 0, 0, 2, 0x67, 1, 0, 0, 0, 2, 0x68, 2, 0, 0, 0, 3, 0x65, 7, 8,
        ];
        assert!(frames[0].key && *frames[0].bytes == key);
        assert!(!frames[1].key && *frames[1].bytes == [0, 0, 0, 2, 0x41, 3]);
    }

    #[test]
    fn a_stream_without_a_key_frame_at_its_start_is_none() {
        assert!(frames(&[0, 0, 1, 0x41, 3], 1).is_none());
        assert!(frames(&[], 1).is_none());
    }

    proptest! {
        #[test]
        fn no_file_breaks_the_reader(bytes in proptest::collection::vec(0_u8..3, 0..60)) {
            let _ = frames(&bytes, 1);
        }
    }
}
