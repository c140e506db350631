//! Frames into RTP payloads, each with its stamp.
//!
//! Owns: payload descriptors, fragmentation and where the stamp goes ([`Placement`]). Must not: know
//! RTP headers; sequence numbers, timestamps and SSRCs are the transport's.

mod h264;
mod opus;
mod vp8;

use crate::media::{Codec, Frame, Layer};
use crate::stamp::{STAMP_LEN, Stamp};

/// Bytes of a payload at most: with RTP header and extensions, SRTP tag, UDP and IPv6 it stays below
/// the 1,280 bytes that every path carries (RFC 8200 section 5).
pub const PAYLOAD_MAX: usize = 1150;
/// What is left of a payload for media.
const MEDIA_MAX: usize = PAYLOAD_MAX - STAMP_LEN;

/// Which packets carry a stamp, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Each packet, at its end: latency of every packet. Servers forward it, but a decoder finds
    /// the stamps inside of its picture.
    EveryPacket,
    /// One packet of each frame, where decoders pass over it: behind the last partition of VP8, in
    /// an SEI message of H.264. For rooms that browsers look into. Opus decodes in both ways, its
    /// stamp is padding (RFC 6716 section 3.2.5).
    Decodable,
}

/// One RTP payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// At most [`PAYLOAD_MAX`].
    pub bytes: Vec<u8>,
    /// The marker bit: last packet of a picture. Never set for audio.
    pub marker: bool,
}

/// Makes payloads of one stream: one track, one layer.
#[derive(Debug)]
pub struct Packetizer {
    codec: Codec,
    layer: Layer,
    placement: Placement,
    sequence: u32,
    vp8: vp8::Ids,
}

impl Packetizer {
    /// A packetizer whose picture ids start somewhere that depends on `start`: layers of one track
    /// shall differ, as browsers' do.
    #[must_use]
    pub fn new(codec: Codec, layer: Layer, placement: Placement, start: u16) -> Self {
        Self {
            codec,
            layer,
            placement,
            sequence: 0,
            vp8: vp8::Ids::new(start),
        }
    }

    /// The payloads of the next frame. `number` counts the track's frames, `now_ns` is the clock of
    /// [`Stamp::sent_ns`]: call this when the frame is sent, not before.
    pub fn handle_frame(&mut self, frame: &Frame, number: u32, now_ns: u64) -> Vec<Payload> {
        let pieces = match self.codec {
            Codec::Vp8 => vp8::pieces(&frame.bytes, self.vp8.next(), self.placement),
            Codec::H264 => h264::pieces(&frame.bytes, self.placement),
            Codec::Opus => opus::pieces(&frame.bytes),
        };
        let count = pieces.len();
        let packets = u16::try_from(count).unwrap_or(u16::MAX);
        let mut payloads = Vec::with_capacity(count);
        for (index, piece) in pieces.into_iter().enumerate() {
            let stamp = Stamp {
                sent_ns: now_ns,
                sequence: self.sequence,
                frame: number,
                index: u16::try_from(index).unwrap_or(u16::MAX),
                packets,
                layer: self.layer,
                key: frame.key,
            };
            self.sequence = self.sequence.wrapping_add(1);
            payloads.push(Payload {
                bytes: piece.finish(&stamp),
                marker: self.codec.is_video() && index + 1 == count,
            });
        }
        payloads
    }
}

/// A payload to which only the stamp is missing.
#[derive(Debug)]
enum Piece {
    /// The stamp comes last.
    End(Vec<u8>),
    /// No stamp.
    Bare(Vec<u8>),
    /// H.264: the SEI message alone.
    Sei,
    /// H.264: NAL units in one packet, the SEI message between them.
    Aggregate {
        header: u8,
        before: Vec<u8>,
        after: Vec<u8>,
    },
}

impl Piece {
    fn finish(self, stamp: &Stamp) -> Vec<u8> {
        match self {
            Self::End(mut bytes) => {
                bytes.extend(stamp.encode());
                bytes
            }
            Self::Bare(bytes) => bytes,
            Self::Sei => stamp.sei(),
            Self::Aggregate {
                header,
                before,
                after,
            } => {
                let mut bytes = vec![header];
                bytes.extend(before);
                h264::push_unit(&mut bytes, &stamp.sei());
                bytes.extend(after);
                bytes
            }
        }
    }
}

/// As few chunks as possible of about the same size: runs of equal packets can be sent in one call
/// (UDP GSO), and that is how browsers split.
fn split(bytes: &[u8], max: usize) -> impl Iterator<Item = &[u8]> {
    let count = bytes.len().div_ceil(max).max(1);
    bytes.chunks(bytes.len().div_ceil(count).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Media, MediaSettings, synthetic::synthetic};

    fn media() -> Media {
        synthetic(&MediaSettings {
            seconds: 3,
            ..MediaSettings::default()
        })
    }

    fn packetizer(codec: Codec, placement: Placement) -> Packetizer {
        Packetizer::new(codec, Layer::High, placement, 7)
    }

    #[test]
    fn every_packet_is_small_enough_and_stamped_in_order() {
        let media = media();
        for codec in [Codec::Vp8, Codec::H264, Codec::Opus] {
            let layer = if codec.is_video() {
                Layer::High
            } else {
                Layer::Low
            };
            let stream = media.stream(codec, layer).unwrap();
            let mut packetizer = packetizer(codec, Placement::EveryPacket);
            let mut sequence = 0;
            for (number, frame) in (0..).zip(&stream.frames) {
                let payloads = packetizer.handle_frame(frame, number, 5);
                let count = payloads.len();
                for (index, payload) in payloads.iter().enumerate() {
                    assert!(payload.bytes.len() <= PAYLOAD_MAX);
                    assert_eq!(payload.marker, codec.is_video() && index + 1 == count);
                    let stamp = Stamp::find(codec, &payload.bytes).unwrap();
                    let place = (usize::from(stamp.index), usize::from(stamp.packets));
                    assert_eq!(place, (index, count));
                    assert_eq!((stamp.sequence, stamp.frame), (sequence, number));
                    assert_eq!((stamp.key, stamp.layer), (frame.key, Layer::High));
                    sequence += 1;
                }
            }
            assert!(sequence > 100);
        }
    }

    #[test]
    fn one_packet_of_each_frame_is_stamped_where_browsers_look() {
        let media = media();
        for codec in [Codec::Vp8, Codec::H264] {
            let stream = media.stream(codec, Layer::High).unwrap();
            let mut packetizer = packetizer(codec, Placement::Decodable);
            for (number, frame) in (0..).zip(&stream.frames) {
                let payloads = packetizer.handle_frame(frame, number, 5);
                let found: Vec<Stamp> = payloads
                    .iter()
                    .filter_map(|payload| Stamp::find(codec, &payload.bytes))
                    .collect();
                assert_eq!(found.len(), 1);
                assert_eq!(usize::from(found[0].packets), payloads.len());
            }
        }
    }

    #[test]
    fn chunks_are_of_about_the_same_size() {
        let bytes = vec![0; 2500];
        let sizes: Vec<_> = split(&bytes, 1000).map(<[u8]>::len).collect();
        assert_eq!(sizes, [834, 834, 832]);
        assert_eq!(split(&[], 1000).count(), 0);
    }
}
