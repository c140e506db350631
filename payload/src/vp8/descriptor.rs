//! The payload descriptor (RFC 7741 section 4.2).
//!
//! Only this is looked at, and the first bit behind it: the rest may be encrypted end to end.

use crate::numbers::{Numbers, PictureId, Tl0};

const EXTENDED: u8 = 0x80;
const NON_REFERENCE: u8 = 0x20;
const STARTS_PARTITION: u8 = 0x10;
const PARTITION: u8 = 0x07;
const HAS_PICTURE_ID: u8 = 0x80;
const HAS_TL0: u8 = 0x40;
const HAS_TID: u8 = 0x20;
const HAS_KEYIDX: u8 = 0x10;

/// What the descriptor of one packet says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// Bytes before the VP8 data.
    pub bytes: usize,
    /// Picture id and TL0PICIDX.
    pub numbers: Numbers,
    /// TID; 0 if the stream does not tell.
    pub temporal: u8,
    /// Y: refers to the base layer alone.
    pub layer_sync: bool,
    /// N: nothing refers to it.
    pub non_reference: bool,
    /// S with partition 0: the first packet of its frame.
    pub begins_frame: bool,
    /// The first packet of a key frame.
    pub starts_keyframe: bool,
}

impl Descriptor {
    /// `None`: it is no VP8 payload.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let first = *payload.first()?;
        let begins = first & STARTS_PARTITION != 0 && first & PARTITION == 0;
        let mut found = Self {
            bytes: 1,
            non_reference: first & NON_REFERENCE != 0,
            begins_frame: begins,
            ..Self::default()
        };
        if first & EXTENDED != 0 {
            found.read_extension(payload)?;
        }
        // P of the frame header (RFC 6386 section 9.1) is 0 in key frames.
        let key = payload.get(found.bytes).is_some_and(|byte| byte & 1 == 0);
        found.starts_keyframe = begins && key;
        Some(found)
    }

    fn read_extension(&mut self, payload: &[u8]) -> Option<()> {
        let present = *payload.get(1)?;
        let mut at = 2;
        if present & HAS_PICTURE_ID != 0 {
            let id = PictureId::read(payload, at)?;
            at += id.size();
            self.numbers.picture_id = Some(id);
        }
        if present & HAS_TL0 != 0 {
            self.numbers.tl0 = Some(Tl0::read(payload, at)?);
            at += 1;
        }
        if present & (HAS_TID | HAS_KEYIDX) != 0 {
            let octet = *payload.get(at)?;
            at += 1;
            if present & HAS_TID != 0 {
                self.temporal = octet >> 6;
                self.layer_sync = octet & 0x20 != 0;
            }
        }
        self.bytes = at;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figure_of_section_4_2_is_read() {
        // X, N, S; I, L, T, K; a long picture id; TL0PICIDX; TID 2, Y, KEYIDX 7; a key frame's byte.
        let packet = [0xb0, 0xf0, 0x92, 0x34, 0x2a, 0xa7, 0x10];
        let found = Descriptor::parse(&packet).unwrap();
        let (id, tl0) = (
            found.numbers.picture_id.unwrap(),
            found.numbers.tl0.unwrap(),
        );
        assert_eq!((id.offset, id.wide, id.value), (2, true, 0x1234));
        assert_eq!((tl0.offset, tl0.value), (4, 0x2a));
        assert_eq!(
            (found.temporal, found.layer_sync, found.bytes),
            (2, true, 6)
        );
        assert!(found.non_reference && found.begins_frame && found.starts_keyframe);
        for cut in 0..6 {
            let parsed = Descriptor::parse(&packet[..cut]);
            assert_eq!(parsed.is_some(), cut == 6, "{cut} bytes");
        }
    }

    #[test]
    fn a_short_picture_id_and_a_key_index_alone_are_read() {
        let found = Descriptor::parse(&[0x80, 0x90, 0x05, 0xe7, 0x01]).unwrap();
        let id = found.numbers.picture_id.unwrap();
        assert_eq!((id.offset, id.wide, id.value), (2, false, 5));
        assert_eq!(
            (found.temporal, found.layer_sync, found.bytes),
            (0, false, 4)
        );
    }

    #[test]
    fn key_frames_start_with_the_first_partition_and_a_clear_p_bit() {
        let starts = |packet: &[u8]| Descriptor::parse(packet).unwrap().starts_keyframe;
        assert!(starts(&[0x10, 0x00, 0x00]));
        assert!(!starts(&[0x10, 0x01, 0x00]));
        assert!(!starts(&[0x00, 0x00, 0x00]));
        assert!(!starts(&[0x11, 0x00, 0x00]));
        assert!(!starts(&[0x10]));
    }
}
