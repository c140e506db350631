//! VP8 in RTP (RFC 7741): a descriptor with a picture id of 15 bits and TL0PICIDX, as browsers send
//! it with simulcast.

use super::{MEDIA_MAX, Piece, Placement, split};

const PICTURE_ID_MASK: u16 = 0x7fff;
/// X: extended control bits follow.
const EXTENDED: u8 = 0x80;
/// S: start of a partition; with partition index 0, start of the frame.
const START: u8 = 0x10;
/// I, L, T: picture id, TL0PICIDX and TID are there.
const FIELDS: u8 = 0xe0;
const DESCRIPTOR_LEN: usize = 6;

/// The picture id and TL0PICIDX of the next frame.
#[derive(Debug)]
pub(super) struct Ids {
    picture_id: u16,
    tl0: u8,
}

impl Ids {
    pub(super) fn new(start: u16) -> Self {
        let [_, tl0] = start.to_be_bytes();
        let picture_id = start.wrapping_mul(257) & PICTURE_ID_MASK;
        Self { picture_id, tl0 }
    }

    /// There is one temporal layer: each frame is of layer 0.
    pub(super) fn next(&mut self) -> (u16, u8) {
        let ids = (self.picture_id, self.tl0);
        self.picture_id = self.picture_id.wrapping_add(1) & PICTURE_ID_MASK;
        self.tl0 = self.tl0.wrapping_add(1);
        ids
    }
}

pub(super) fn pieces(frame: &[u8], ids: (u16, u8), placement: Placement) -> Vec<Piece> {
    let (picture_id, tl0) = ids;
    let [high, low] = (picture_id | 0x8000).to_be_bytes();
    let mut start = START;
    let payloads: Vec<Vec<u8>> = split(frame, MEDIA_MAX - DESCRIPTOR_LEN)
        .map(|chunk| {
            let mut bytes = vec![EXTENDED | start, FIELDS, high, low, tl0, 0];
            start = 0;
            bytes.extend(chunk);
            bytes
        })
        .collect();
    let last = payloads.len().saturating_sub(1);
    let stamped = |index| placement == Placement::EveryPacket || index == last;
    let pieces = payloads.into_iter().enumerate();
    pieces
        .map(|(index, bytes)| {
            if stamped(index) {
                Piece::End(bytes)
            } else {
                Piece::Bare(bytes)
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(piece: &Piece) -> &[u8] {
        match piece {
            Piece::End(bytes) | Piece::Bare(bytes) => bytes,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_first_packet_starts_the_frame_and_all_carry_the_ids() {
        let frame: Vec<u8> = (0..=255).cycle().take(2500).collect();
        let pieces = pieces(&frame, (300, 9), Placement::EveryPacket);
        assert_eq!(pieces.len(), 3);
        assert_eq!(bytes(&pieces[0])[..6], [0x90, 0xe0, 0x81, 0x2c, 9, 0]);
        assert_eq!(bytes(&pieces[1])[..6], [0x80, 0xe0, 0x81, 0x2c, 9, 0]);
        let joined: Vec<u8> = pieces
            .iter()
            .flat_map(|piece| bytes(piece)[6..].to_vec())
            .collect();
        assert_eq!(joined, frame);
    }

    #[test]
    fn a_decoder_gets_the_stamp_behind_the_last_partition_only() {
        let pieces = pieces(&[1; 2500], (0, 0), Placement::Decodable);
        let kinds: Vec<_> = pieces
            .iter()
            .map(|piece| matches!(piece, Piece::End(_)))
            .collect();
        assert_eq!(kinds, [false, false, true]);
    }

    #[test]
    fn ids_wrap_at_their_widths() {
        let mut ids = Ids {
            picture_id: PICTURE_ID_MASK,
            tl0: 255,
        };
        assert_eq!(ids.next(), (0x7fff, 255));
        assert_eq!(ids.next(), (0, 0));
    }
}
