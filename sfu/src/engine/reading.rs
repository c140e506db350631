//! What a packet tells by its payload: read once when it arrives, for all its receivers.
//!
//! Only descriptors and NAL headers are looked at, which end-to-end encryption leaves readable.

use payload::{Packet, Reader};
use str0m::format::Codec;

/// True if key frames of this codec can be told apart at all.
pub(super) fn detects(codec: Codec) -> bool {
    readable(codec).is_some()
}

fn readable(codec: Codec) -> Option<payload::Codec> {
    match codec {
        Codec::Vp8 => Some(payload::Codec::Vp8),
        Codec::Vp9 => Some(payload::Codec::Vp9),
        Codec::Av1 => Some(payload::Codec::Av1),
        Codec::H264 => Some(payload::Codec::H264),
        _ => None,
    }
}

/// The content of a packet, as far as it tells.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Content {
    /// Its frame and layers.
    pub(super) packet: Packet,
    /// A picture can begin with it.
    pub(super) starts: bool,
}

/// Reads the packets of one video source.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    codec: Codec,
    /// `None`: nothing is known of the codec.
    reader: Option<Reader>,
}

impl Reading {
    pub(super) fn new(codec: Codec) -> Self {
        Self {
            codec,
            reader: readable(codec).map(Reader::new),
        }
    }

    /// Reads the next packet, which may be of another codec than the one before. `descriptor`: its
    /// dependency descriptor, if it has one.
    pub(super) fn read(
        &mut self,
        codec: Codec,
        payload: &[u8],
        descriptor: Option<&[u8]>,
    ) -> Content {
        if codec != self.codec {
            *self = Self::new(codec);
        }
        let Some(reader) = &mut self.reader else {
            return Content {
                starts: true,
                ..Content::default()
            };
        };
        let packet = reader.read(payload, descriptor);
        Content {
            packet,
            starts: starts(codec, &packet, payload),
        }
    }
}

fn starts(codec: Codec, packet: &Packet, payload: &[u8]) -> bool {
    match packet {
        Packet::Opaque => {
            readable(codec).is_some_and(|codec| payload::starts_keyframe(codec, payload))
        }
        // Whoever comes anew can read no descriptor without the structure.
        Packet::Av1(frame) => frame.starts_keyframe() && frame.new_structure,
        readable => readable.info(false).starts_keyframe,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn starts(codec: Codec, payload: &[u8]) -> bool {
        Reading::new(codec).read(codec, payload, None).starts
    }

    #[test]
    fn a_picture_begins_with_a_key_frame_of_each_codec() {
        assert!(starts(Codec::Vp8, &[0x10, 0x00, 0x00]));
        assert!(!starts(Codec::Vp8, &[0x10, 0x01, 0x00]));
        assert!(starts(Codec::H264, &[0x65, 0x88]));
        assert!(!starts(Codec::H264, &[0x61, 0x00]));
        assert!(starts(Codec::Vp9, &[0x88, 0x01]));
        assert!(!starts(Codec::Vp9, &[0xc8, 0x01]));
    }

    #[test]
    fn av1_without_a_descriptor_names_the_start_of_its_sequence() {
        assert!(starts(Codec::Av1, &[0x08]));
        assert!(!starts(Codec::Av1, &[0x10]));
    }

    #[test]
    fn where_key_frames_cannot_be_told_every_packet_may_begin_a_picture() {
        assert!(!detects(Codec::H265) && starts(Codec::H265, &[0x00]));
    }

    #[test]
    fn a_source_that_changes_its_codec_is_read_by_the_new_one() {
        let mut reading = Reading::new(Codec::Vp8);
        assert!(!reading.read(Codec::Vp8, &[0x65, 0x88], None).starts);
        let content = reading.read(Codec::H264, &[0x65, 0x88], None);
        assert!(content.starts && matches!(content.packet, Packet::H264(_)));
    }

    proptest! {
        #[test]
        fn no_payload_breaks_the_reading(payload: Vec<u8>, descriptor: Option<Vec<u8>>) {
            for codec in [Codec::Vp8, Codec::H264, Codec::Vp9, Codec::Av1, Codec::H265] {
                let mut reading = Reading::new(codec);
                let _ = reading.read(codec, &payload, descriptor.as_deref());
            }
        }
    }
}
