//! What a receiver says of what it was sent (RFC 3550 section 6.4, RFC 4585 section 6.2.1).
//!
//! Only what this crate acts upon is read; the rest is for whoever keeps the connection.

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const TRANSPORT_FEEDBACK: u8 = 205;
const GENERIC_NACK: u8 = 1;
const TRANSPORT_WIDE: u8 = 15;
/// Bytes of a packet's head with the sender's SSRC.
const HEAD: usize = 8;
const SENDER_INFO: usize = 20;
const REPORT_BLOCK: usize = 24;

/// Something that a receiver said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feedback<'a> {
    /// It misses this packet of the source.
    Missing {
        /// The source, as the receiver knows it.
        ssrc: u32,
        /// The last 16 bits of its number.
        sequence: u16,
    },
    /// It has received something of the source.
    Received {
        /// The source.
        ssrc: u32,
    },
    /// When packets of all streams came: the feedback control information of
    /// draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1.
    Arrivals(&'a [u8]),
}

/// Reads a compound packet. What cannot be read ends it.
pub fn read<'a>(mut compound: &'a [u8], mut tell: impl FnMut(Feedback<'a>)) {
    while let Some((packet, rest)) = split(compound) {
        compound = rest;
        let Some([first, kind, ..]) = packet.first_chunk::<HEAD>() else {
            continue;
        };
        let count = first & 0x1f;
        match *kind {
            SENDER_REPORT => read_blocks(packet, HEAD + SENDER_INFO, count, &mut tell),
            RECEIVER_REPORT => read_blocks(packet, HEAD, count, &mut tell),
            TRANSPORT_FEEDBACK if count == GENERIC_NACK => read_nacks(packet, &mut tell),
            TRANSPORT_FEEDBACK if count == TRANSPORT_WIDE => {
                // Behind the source, which is any of them.
                if let Some(arrivals) = packet.get(HEAD + 4..) {
                    tell(Feedback::Arrivals(arrivals));
                }
            }
            _ => {}
        }
    }
}

/// The first packet of a compound one, and the rest.
pub(crate) fn split(compound: &[u8]) -> Option<(&[u8], &[u8])> {
    let [first, _, high, low] = *compound.first_chunk::<4>()?;
    if first >> 6 != 2 {
        return None;
    }
    let words = usize::from(u16::from_be_bytes([high, low]));
    compound.split_at_checked(4 * (words + 1))
}

fn read_blocks<'a>(packet: &[u8], at: usize, count: u8, tell: &mut impl FnMut(Feedback<'a>)) {
    let blocks = packet.get(at..).unwrap_or_default();
    for block in blocks.chunks_exact(REPORT_BLOCK).take(usize::from(count)) {
        if let Some(ssrc) = block.first_chunk() {
            let ssrc = u32::from_be_bytes(*ssrc);
            tell(Feedback::Received { ssrc });
        }
    }
}

fn read_nacks<'a>(packet: &[u8], tell: &mut impl FnMut(Feedback<'a>)) {
    let Some((ssrc, pairs)) = packet.get(HEAD..).and_then(<[u8]>::split_first_chunk) else {
        return;
    };
    let ssrc = u32::from_be_bytes(*ssrc);
    for pair in pairs.chunks_exact(4) {
        let [id_high, id_low, mask_high, mask_low] = *pair else {
            continue;
        };
        let first = u16::from_be_bytes([id_high, id_low]);
        let mask = u16::from_be_bytes([mask_high, mask_low]);
        let mut missing = |sequence| tell(Feedback::Missing { ssrc, sequence });
        missing(first);
        for bit in 0..16 {
            if mask & (1 << bit) != 0 {
                missing(first.wrapping_add(bit + 1));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told(compound: &[u8]) -> Vec<Feedback<'_>> {
        let mut told = Vec::new();
        read(compound, |feedback| told.push(feedback));
        told
    }

    fn report(sources: &[u32]) -> Vec<u8> {
        let words = u8::try_from(1 + 6 * sources.len()).unwrap();
        let count = u8::try_from(sources.len()).unwrap();
        let mut packet = vec![0x80 | count, RECEIVER_REPORT, 0, words, 0, 0, 0, 1];
        for source in sources {
            packet.extend_from_slice(&source.to_be_bytes());
            packet.extend_from_slice(&[0; 20]);
        }
        packet
    }

    fn nack(ssrc: u32, first: u16, mask: u16) -> Vec<u8> {
        let mut packet = vec![0x81, TRANSPORT_FEEDBACK, 0, 3, 0, 0, 0, 1];
        packet.extend_from_slice(&ssrc.to_be_bytes());
        packet.extend_from_slice(&first.to_be_bytes());
        packet.extend_from_slice(&mask.to_be_bytes());
        packet
    }

    #[test]
    fn a_compound_packet_is_read_to_its_end() {
        let compound = [report(&[7, 8]), nack(7, 65_535, 0b101), report(&[9])].concat();
        let missing = |sequence| Feedback::Missing { ssrc: 7, sequence };
        let received = |ssrc| Feedback::Received { ssrc };
        assert_eq!(
            told(&compound),
            [
                received(7),
                received(8),
                missing(65_535),
                missing(0),
                missing(2),
                received(9)
            ]
        );
        let mut sender = vec![0x81, SENDER_REPORT, 0, 12, 0, 0, 0, 1];
        sender.extend_from_slice(&[0; 20]);
        sender.extend_from_slice(&5_u32.to_be_bytes());
        sender.extend_from_slice(&[0; 20]);
        assert_eq!(told(&sender), [received(5)]);
    }

    #[test]
    fn arrivals_are_handed_on_as_they_came() {
        let mut packet = vec![0x8f, TRANSPORT_FEEDBACK, 0, 3, 0, 0, 0, 1, 0, 0, 0, 7];
        packet.extend_from_slice(&[1, 2, 3, 4]);
        let compound = [packet, report(&[9])].concat();
        let arrivals = Feedback::Arrivals(&[1, 2, 3, 4]);
        assert_eq!(told(&compound), [arrivals, Feedback::Received { ssrc: 9 }]);
        assert_eq!(told(&[0x8f, TRANSPORT_FEEDBACK, 0, 1, 0, 0, 0, 1]), []);
    }

    #[test]
    fn what_is_cut_off_is_not_read() {
        let compound = [report(&[7]), nack(7, 1, 0)].concat();
        assert_eq!(told(&compound[..compound.len() - 1]).len(), 1);
        let mut lies = report(&[7]);
        lies[0] = 0x9f;
        assert_eq!(told(&lies).len(), 1, "it says 31 blocks and has one");
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes: Vec<u8>) {
            let told = told(&bytes);
            prop_assert!(told.len() <= 17 * bytes.len());
        }
    }
}
