//! H264 (RFC 6184) by its NAL headers, which end-to-end encryption leaves readable.
//!
//! There is no layer to be read. What can be told is whether a picture is referred to (`nal_ref_idc`,
//! H.264 section 7.4.1), the same for all slices of a picture: two temporal layers.

use crate::edits::Edits;
use crate::verdict::{Passage, Verdict};

/// Most NAL units looked at in one aggregation packet; a key frame names itself early.
const MAX_AGGREGATED: usize = 32;
const NAL_SLICE: u8 = 1;
const NAL_DATA_PARTITION_C: u8 = 4;
const NAL_IDR: u8 = 5;
const NAL_SPS: u8 = 7;
const NAL_STAP_A: u8 = 24;
const NAL_FU_A: u8 = 28;
const TYPE: u8 = 0x1f;
const REFERENCE: u8 = 0x60;

/// What one packet says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// A parameter set or an IDR slice begins in it.
    pub starts_keyframe: bool,
    /// It has slices of a picture that no other refers to, and nothing else. Parameter sets,
    /// supplemental information and delimiters may serve other pictures.
    pub droppable: bool,
}

impl Packet {
    /// `None`: it is no H264 payload.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let header = *payload.first()?;
        match header & TYPE {
            NAL_STAP_A => Some(read_aggregated(payload.get(1..)?)),
            NAL_FU_A => {
                // The indicator has the importance, the fragment's header the type.
                let fragment = *payload.get(1)?;
                let unit = (header & REFERENCE) | (fragment & TYPE);
                Some(Self {
                    starts_keyframe: fragment & 0x80 != 0 && is_key(unit),
                    droppable: is_droppable(unit),
                })
            }
            _ => Some(Self {
                starts_keyframe: is_key(header),
                droppable: is_droppable(header),
            }),
        }
    }
}

fn is_key(unit: u8) -> bool {
    matches!(unit & TYPE, NAL_IDR | NAL_SPS)
}

fn is_droppable(unit: u8) -> bool {
    unit & REFERENCE == 0 && matches!(unit & TYPE, NAL_SLICE..=NAL_DATA_PARTITION_C)
}

fn read_aggregated(mut rest: &[u8]) -> Packet {
    let mut droppable = false;
    for looked_at in 0..=MAX_AGGREGATED {
        let Some((size, after)) = rest.split_first_chunk::<2>() else {
            return Packet {
                starts_keyframe: false,
                droppable,
            };
        };
        let size = usize::from(u16::from_be_bytes(*size));
        let Some(unit) = after.first().filter(|_| looked_at < MAX_AGGREGATED) else {
            break;
        };
        if is_key(*unit) {
            return Packet {
                starts_keyframe: true,
                droppable: false,
            };
        }
        droppable = is_droppable(*unit) && (droppable || looked_at == 0);
        rest = after.get(size..).unwrap_or_default();
    }
    Packet::default()
}

/// The two temporal layers of one H264 stream for one receiver: pictures that are referred to, and
/// all. Both changes happen with the next picture.
///
/// A late packet of a picture that was left out may pass: nothing tells which picture it is of. Nothing
/// refers to it.
#[derive(Clone, Debug)]
pub struct Selector {
    target: u8,
    /// The target at the beginning of the picture.
    limit: u8,
    /// The last packet ended its picture.
    ended: bool,
}

impl Default for Selector {
    fn default() -> Self {
        Self {
            target: 1,
            limit: 1,
            ended: true,
        }
    }
}

impl Selector {
    /// 0: only pictures that are referred to.
    pub fn set_target(&mut self, temporal: u8) {
        self.target = temporal;
    }

    /// Decides about a packet. `marker` as it came.
    pub fn take(&mut self, packet: &Packet, marker: bool) -> Verdict {
        if self.ended {
            self.limit = self.target;
        }
        self.ended = marker;
        if packet.droppable && self.limit == 0 {
            return Verdict::Drop;
        }
        Verdict::Forward(Passage {
            marker,
            edits: Edits::default(),
            descriptor: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_frames_are_found_alone_aggregated_and_fragmented() {
        let starts = |packet: &[u8]| Packet::parse(packet).is_some_and(|it| it.starts_keyframe);
        assert!(starts(&[0x65, 0x88]));
        assert!(starts(&[0x78, 0, 2, 0x67, 0x42]));
        assert!(starts(&[0x78, 0, 1, 0x06, 0, 1, 0x65]));
        assert!(starts(&[0x7c, 0x85, 0x00]));
        assert!(!starts(&[0x7c, 0x05, 0x00]));
        assert!(!starts(&[0x61, 0x00]));
        assert!(!starts(&[]));
    }

    #[test]
    fn slices_that_nothing_refers_to_are_droppable_and_delimiters_are_not() {
        let droppable = |packet: &[u8]| Packet::parse(packet).unwrap().droppable;
        assert!(droppable(&[0x01, 0x88]));
        assert!(droppable(&[0x1c, 0x81]));
        assert!(droppable(&[0x1c, 0x01]));
        assert!(droppable(&[0x18, 0, 1, 0x01, 0, 1, 0x01]));
        assert!(!droppable(&[0x18, 0, 1, 0x01, 0, 1, 0x06]));
        assert!(!droppable(&[0x18, 0, 1, 0x06, 0, 1, 0x01]));
        assert!(!droppable(&[0x18, 0, 1, 0x01, 0, 1]));
        assert!(!droppable(&[0x41, 0x88]));
        assert!(!droppable(&[0x5c, 0x81]));
        assert!(!droppable(&[0x09, 0xf0]), "a delimiter");
        assert!(!droppable(&[0x06, 0x05]), "supplemental information");
    }

    #[test]
    fn a_picture_is_sent_whole_or_not_at_all() {
        let slice = Packet::parse(&[0x01, 0x88]).unwrap();
        let mut selector = Selector::default();
        assert!(selector.take(&slice, false).passage().is_some());
        selector.set_target(0);
        assert!(selector.take(&slice, true).passage().is_some());
        assert_eq!(selector.take(&slice, false), Verdict::Drop);
        selector.set_target(1);
        assert_eq!(selector.take(&slice, true), Verdict::Drop);
        assert!(selector.take(&slice, true).passage().is_some());
    }
}
