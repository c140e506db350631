//! What a forwarding server must know of a video packet: the layers of scalable streams, where they
//! can be entered and left, and what differs for one receiver.
//!
//! A packet is read once ([`Reader::read`]); then the [`Selector`] of each receiver says whether it gets
//! it and how it is written ([`Selector::take`]). Neither allocates: only a selector begins on the heap,
//! and AV1's structure grows with key frames. Only payload descriptors, NAL headers and header
//! extensions are looked at: what lies behind them may be encrypted end to end.
//!
//! Owns: the payload formats' descriptors, and what can be decoded without what. Must not: know of RTP
//! sequence numbers, time, bandwidth or rooms. Pages: `docs/design/layers.md`.

pub mod av1;
mod edits;
pub mod h264;
mod numbers;
mod order;
mod packet;
mod selector;
mod verdict;
pub mod vp8;
pub mod vp9;

pub use edits::Edits;
pub use numbers::{Numbers, PictureId, Tl0};
pub use packet::{Codec, Info, Packet, Reader, Standing, starts_keyframe};
pub use selector::Selector;
pub use verdict::{Layers, Passage, Verdict};

/// Most packets that [`parse_all`] makes of its bytes.
const PARSED_MAX: usize = 256;

/// A door for fuzz targets: takes `bytes` for packets of each codec in turn (a byte for marker, switch
/// and target, one for the length, then the payload or descriptor), and does with them all that is done
/// with packets. Returns how many were forwarded.
#[must_use]
pub fn parse_all(bytes: &[u8]) -> usize {
    [Codec::Vp8, Codec::Vp9, Codec::Av1, Codec::H264]
        .into_iter()
        .map(|codec| parse_as(codec, bytes))
        .sum()
}

fn parse_as(codec: Codec, mut rest: &[u8]) -> usize {
    let (mut reader, mut selector) = (Reader::new(codec), Selector::default());
    let mut forwarded = 0;
    for _ in 0..PARSED_MAX {
        let Some(([orders, length], after)) = rest.split_first_chunk::<2>() else {
            break;
        };
        let length = usize::from(*length).min(after.len());
        let (bytes, after) = after.split_at(length);
        rest = after;
        let packet = reader.read(bytes, Some(bytes));
        let target = Layers {
            spatial: (orders >> 2) & 0x07,
            temporal: orders >> 5,
        };
        if orders & 2 != 0 {
            selector.switch(&packet, target);
        }
        selector.set_target(target);
        let verdict = selector.take(&packet, orders & 1 != 0);
        forwarded += usize::from(write(bytes, &packet, verdict));
    }
    forwarded
}

fn write(bytes: &[u8], packet: &Packet, verdict: Verdict) -> bool {
    let Some(passage) = verdict.passage() else {
        return false;
    };
    passage.edits.apply(&mut bytes.to_vec());
    if let (Some(change), Packet::Av1(frame)) = (passage.descriptor, packet) {
        let _ = change.write(bytes, frame);
    }
    true
}
