//! H.264 in RTP, packetization mode 1 (RFC 6184): parameter sets in one STAP-A, slices alone or in
//! FU-A fragments.

use super::{MEDIA_MAX, PAYLOAD_MAX, Piece, Placement, split};
use crate::stamp::SEI_LEN;

const TYPE_MASK: u8 = 0x1f;
const NRI_MASK: u8 = 0x60;
const SPS: u8 = 7;
const PPS: u8 = 8;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;
const FU_START: u8 = 0x80;
const FU_END: u8 = 0x40;
/// Length field of a unit in a STAP-A.
const LENGTH_LEN: usize = 2;

/// `frame`: NAL units, each behind its length in four bytes.
pub(super) fn pieces(frame: &[u8], placement: Placement) -> Vec<Piece> {
    let is_parameters = |nal: &&[u8]| matches!(nal_type(nal), SPS | PPS);
    let (parameters, mut slices): (Vec<&[u8]>, Vec<&[u8]>) = nals(frame).partition(is_parameters);
    let decodable = placement == Placement::Decodable;
    let mut pieces = Vec::new();
    let mut before = Vec::new();
    for nal in &parameters {
        push_unit(&mut before, nal);
    }
    let room = PAYLOAD_MAX.saturating_sub(1 + LENGTH_LEN + SEI_LEN);
    if before.len() > room {
        // Parameter sets of this size are not ours; they travel alone.
        slices.splice(0..0, parameters);
        before.clear();
    }
    let mut after = Vec::new();
    if decodable
        && let [slice] = slices.as_slice()
        && before.len() + LENGTH_LEN + slice.len() <= room
    {
        push_unit(&mut after, slice);
        slices.clear();
    }
    if !before.is_empty() || !after.is_empty() {
        let all = nals(frame).map(|nal| nal.first().copied().unwrap_or(0) & NRI_MASK);
        let header = STAP_A | all.max().unwrap_or(0);
        pieces.push(Piece::Aggregate {
            header,
            before,
            after,
        });
    } else if decodable {
        pieces.push(Piece::Sei);
    }
    let stamped = |bytes| match placement {
        Placement::EveryPacket => Piece::End(bytes),
        Placement::Decodable => Piece::Bare(bytes),
    };
    for nal in slices {
        pieces.extend(fragments(nal).into_iter().map(stamped));
    }
    pieces
}

/// A unit of a STAP-A: length, then the NAL unit.
pub(super) fn push_unit(bytes: &mut Vec<u8>, nal: &[u8]) {
    bytes.extend(u16::try_from(nal.len()).unwrap_or(u16::MAX).to_be_bytes());
    bytes.extend(nal);
}

/// The NAL unit as it is, or in FU-A fragments.
fn fragments(nal: &[u8]) -> Vec<Vec<u8>> {
    let Some((header, body)) = nal.split_first().filter(|_| nal.len() > MEDIA_MAX) else {
        return vec![nal.to_vec()];
    };
    let indicator = (header & !TYPE_MASK) | FU_A;
    let chunks: Vec<&[u8]> = split(body, MEDIA_MAX - 2).collect();
    let last = chunks.len().saturating_sub(1);
    let fragment = |(index, chunk): (usize, &&[u8])| {
        let start = if index == 0 { FU_START } else { 0 };
        let end = if index == last { FU_END } else { 0 };
        let mut bytes = vec![indicator, start | end | (header & TYPE_MASK)];
        bytes.extend(*chunk);
        bytes
    };
    chunks.iter().enumerate().map(fragment).collect()
}

fn nal_type(nal: &[u8]) -> u8 {
    nal.first().copied().unwrap_or(0) & TYPE_MASK
}

fn nals(mut frame: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = frame.split_first_chunk::<4>()?;
        let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
        let (nal, rest) = rest.split_at_checked(len)?;
        frame = rest;
        Some(nal)
    })
    .filter(|nal| !nal.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(nals: &[&[u8]]) -> Vec<u8> {
        let mut frame = Vec::new();
        for nal in nals {
            frame.extend(u32::try_from(nal.len()).unwrap().to_be_bytes());
            frame.extend(*nal);
        }
        frame
    }

    fn long(header: u8) -> Vec<u8> {
        let mut nal = vec![header];
        nal.extend((1..=250).cycle().take(2499));
        nal
    }

    #[test]
    fn a_key_frame_is_its_parameter_sets_in_one_packet_then_fragments() {
        let slice = long(0x65);
        let frame = frame(&[&[0x67, 1], &[0x68, 2], &slice]);
        let pieces = pieces(&frame, Placement::EveryPacket);
        assert_eq!(pieces.len(), 4);
        let Piece::Aggregate { header, before, .. } = &pieces[0] else {
            panic!("{pieces:?}");
        };
        assert_eq!(
            (*header, before.as_slice()),
            (0x78, [0, 2, 0x67, 1, 0, 2, 0x68, 2].as_slice())
        );
        let mut joined = vec![0x65];
        for (index, piece) in pieces[1..].iter().enumerate() {
            let Piece::End(bytes) = piece else {
                panic!("{piece:?}");
            };
            assert_eq!(bytes[..2], [0x7c, [0x85, 0x05, 0x45][index]]);
            joined.extend(&bytes[2..]);
        }
        assert_eq!(joined, slice);
    }

    #[test]
    fn a_small_slice_travels_alone_or_with_the_sei_message_before_it() {
        let frame = frame(&[&[0x41, 1, 2]]);
        let alone = pieces(&frame, Placement::EveryPacket);
        assert!(matches!(&alone[..], [Piece::End(bytes)] if *bytes == [0x41, 1, 2]));
        let with_sei = pieces(&frame, Placement::Decodable);
        let [Piece::Aggregate { before, after, .. }] = &with_sei[..] else {
            panic!("{with_sei:?}");
        };
        assert!(before.is_empty() && *after == [0, 3, 0x41, 1, 2]);
    }

    #[test]
    fn a_large_slice_for_a_decoder_has_the_sei_message_in_a_packet_before_it() {
        let slice = long(0x41);
        let pieces = pieces(&frame(&[&slice]), Placement::Decodable);
        assert!(matches!(
            pieces[..],
            [Piece::Sei, Piece::Bare(_), Piece::Bare(_), Piece::Bare(_)]
        ));
    }

    proptest! {
        #[test]
        fn no_frame_breaks_the_packetizer_and_no_packet_is_too_large(
            sizes in proptest::collection::vec((0_u8..=255, 0_usize..3000), 0..5),
            tail: Vec<u8>,
        ) {
            let units: Vec<Vec<u8>> =
                sizes.iter().map(|(header, size)| vec![*header; *size]).collect();
            let units: Vec<&[u8]> = units.iter().map(Vec::as_slice).collect();
            let mut bytes = frame(&units);
            bytes.extend(tail);
            for placement in [Placement::EveryPacket, Placement::Decodable] {
                for piece in pieces(&bytes, placement) {
                    let len = match piece {
                        Piece::End(bytes) => bytes.len() + crate::stamp::STAMP_LEN,
                        Piece::Bare(bytes) => bytes.len(),
                        Piece::Sei => SEI_LEN,
                        Piece::Aggregate { before, after, .. } =>
                            1 + LENGTH_LEN + SEI_LEN + before.len() + after.len(),
                    };
                    prop_assert!(len <= PAYLOAD_MAX);
                }
            }
        }
    }
}
