//! Opus in RTP (RFC 7587): one packet a payload. The stamp is padding.

use super::Piece;
use crate::stamp::STAMP_LEN;

/// Low bits of the first byte: how many frames follow, and how.
const CODE_MASK: u8 = 0b11;
/// Code 3 (RFC 6716 section 3.2.5), constant rate, padded, one frame.
const ONE_FRAME_PADDED: u8 = 0x41;
/// A padding length of up to 254 is one byte.
const PADDING: [u8; 1] = [STAMP_LEN as u8];
const _: () = assert!(STAMP_LEN < 255);

/// A packet of one frame gets the padding that the stamp will be. Any other packet is not of our
/// making; there the stamp just follows.
pub(super) fn pieces(packet: &[u8]) -> Vec<Piece> {
    let Some((toc, frame)) = packet
        .split_first()
        .filter(|(toc, _)| *toc & CODE_MASK == 0)
    else {
        return vec![Piece::End(packet.to_vec())];
    };
    let mut bytes = vec![toc | CODE_MASK, ONE_FRAME_PADDED];
    bytes.extend(PADDING);
    bytes.extend(frame);
    vec![Piece::End(bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_frame_is_padded_so_that_decoders_do_not_hear_the_stamp() {
        let pieces = pieces(&[0x78, 1, 2, 3]);
        assert!(matches!(&pieces[..], [Piece::End(bytes)] if *bytes == [0x7b, 0x41, 32, 1, 2, 3]));
    }

    #[test]
    fn several_frames_and_nothing_are_left_as_they_are() {
        assert!(matches!(&pieces(&[0x79, 1])[..], [Piece::End(bytes)] if *bytes == [0x79, 1]));
        assert!(matches!(&pieces(&[])[..], [Piece::End(bytes)] if bytes.is_empty()));
    }
}
