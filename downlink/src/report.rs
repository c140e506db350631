//! Sender reports (RFC 3550 section 6.4.1) of somebody who keeps the connection, but does not see what
//! is sent: numbers are put right.

use crate::feedback::split;
use std::ops::Range;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SSRC: Range<usize> = 4..8;
/// The stream's time at the moment of the report, packets and bytes.
const FIGURES: Range<usize> = 16..28;
const BLOCKS: usize = 28;

/// What was sent of a source until now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Now, in the stream's own time.
    pub timestamp: u32,
    /// Packets.
    pub packets: u32,
    /// Bytes of payload.
    pub octets: u32,
}

/// Copies a compound packet behind `into`. Reports of senders get the numbers of `figures`, which is
/// asked for each source; of a source that has sent nothing the reports remain that it makes as a
/// receiver. What cannot be read is left out with everything behind it.
pub fn rewrite(
    mut compound: &[u8],
    into: &mut Vec<u8>,
    mut figures: impl FnMut(u32) -> Option<Figures>,
) {
    while let Some((packet, rest)) = split(compound) {
        compound = rest;
        let source = packet.get(SSRC).and_then(<[u8]>::first_chunk::<4>);
        let (Some([head, SENDER_REPORT, ..]), Some(source)) = (packet.first_chunk::<4>(), source)
        else {
            into.extend_from_slice(packet);
            continue;
        };
        match figures(u32::from_be_bytes(*source)) {
            Some(figures) => put_right(packet, into, figures),
            None => only_receive(*head, packet, into),
        }
    }
}

fn put_right(packet: &[u8], into: &mut Vec<u8>, figures: Figures) {
    let begin = into.len();
    into.extend_from_slice(packet);
    let place = into
        .get_mut(begin..)
        .and_then(|packet| packet.get_mut(FIGURES));
    for (place, value) in place
        .into_iter()
        .flat_map(|place| place.chunks_exact_mut(4))
        .zip([figures.timestamp, figures.packets, figures.octets])
    {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

fn only_receive(head: u8, packet: &[u8], into: &mut Vec<u8>) {
    let blocks = packet.get(BLOCKS..).unwrap_or_default();
    // At most 31 blocks of 6 words.
    let words = (1 + blocks.len() / 4) as u16;
    let [high, low] = words.to_be_bytes();
    into.extend_from_slice(&[head, RECEIVER_REPORT, high, low]);
    into.extend_from_slice(packet.get(SSRC).unwrap_or_default());
    into.extend_from_slice(blocks);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sender_report(ssrc: u32, blocks: u8) -> Vec<u8> {
        let mut packet = vec![0x80 | blocks, SENDER_REPORT, 0, 6 + 6 * blocks];
        packet.extend_from_slice(&ssrc.to_be_bytes());
        packet.extend_from_slice(&[1; 8]);
        packet.extend_from_slice(&[2; 12]);
        packet.extend(0..24 * blocks);
        packet
    }

    const NAMES: [u8; 8] = [0x81, 202, 0, 1, 0, 0, 0, 9];

    #[test]
    fn who_sends_gets_its_own_numbers() {
        let compound = [sender_report(5, 1), NAMES.to_vec()].concat();
        let mut written = b"x".to_vec();
        rewrite(&compound, &mut written, |ssrc| {
            assert_eq!(ssrc, 5);
            Some(Figures {
                timestamp: 0x0a0b_0c0d,
                packets: 3,
                octets: 900,
            })
        });
        let mut expected = compound.clone();
        expected[16..28].copy_from_slice(&[10, 11, 12, 13, 0, 0, 0, 3, 0, 0, 3, 132]);
        assert_eq!(written[1..], expected);
    }

    #[test]
    fn who_has_sent_nothing_reports_as_a_receiver() {
        let compound = [sender_report(5, 2), NAMES.to_vec()].concat();
        let mut written = Vec::new();
        rewrite(&compound, &mut written, |_| None);
        let blocks: Vec<u8> = (0..48).collect();
        let head = [0x82, RECEIVER_REPORT, 0, 13, 0, 0, 0, 5];
        assert_eq!(written, [head.as_slice(), &blocks, &NAMES].concat());
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes: Vec<u8>, known: bool) {
            let mut written = Vec::new();
            let figures = Figures {
                timestamp: 1,
                packets: 2,
                octets: 3,
            };
            rewrite(&bytes, &mut written, |_| known.then_some(figures));
            prop_assert!(written.len() <= bytes.len());
        }
    }
}
