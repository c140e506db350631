//! Transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1).
//!
//! A packet may claim 65,535 statuses in a few bytes: what did not arrive is told in runs, and each
//! packet that did arrive has a delta in the bytes, so that the work is bounded by the packet's length.

/// Bytes before the chunks: base sequence number, status count, reference time, feedback count.
const HEAD: usize = 8;
/// Symbols of one chunk, at most.
const VECTOR_MAX: u16 = 14;

/// One feedback packet, checked as a whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Feedback<'a> {
    /// The first packet that it speaks of.
    base: u16,
    /// Packets that it speaks of.
    count: u16,
    /// 24 bits, in units of 64 ms of the receiver's clock.
    pub(crate) reference: u32,
    /// Of the feedback packets that the receiver has sent, 8 bits.
    pub(crate) number: u8,
    chunks: &'a [u8],
    deltas: &'a [u8],
}

/// What is said of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// This one and those behind it have not arrived.
    Missing { first: u16, count: u16 },
    /// It arrived so many ticks of 250 µs after the reference time.
    Received { sequence: u16, ticks: i64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Symbol {
    Missing,
    /// A delta of one byte, unsigned.
    Small,
    /// A delta of two bytes, signed.
    Large,
}

impl Symbol {
    fn of(bits: u16) -> Option<Self> {
        match bits & 0b11 {
            0 => Some(Self::Missing),
            1 => Some(Self::Small),
            2 => Some(Self::Large),
            _ => None,
        }
    }

    fn delta_bytes(self) -> usize {
        match self {
            Self::Missing => 0,
            Self::Small => 1,
            Self::Large => 2,
        }
    }
}

/// Tells the symbols of a chunk, each with how often it stands there; `left` is how many are still to
/// come. None if one of them is reserved.
fn read_chunk(chunk: u16, left: u16, mut tell: impl FnMut(Symbol, u16)) -> Option<u16> {
    if chunk & 0x8000 == 0 {
        let run = (chunk & 0x1fff).min(left);
        tell(Symbol::of(chunk >> 13)?, run);
        return Some(run);
    }
    let bits = if chunk & 0x4000 == 0 { 1 } else { 2 };
    let symbols = (VECTOR_MAX / bits).min(left);
    for place in 1..=symbols {
        let symbol = chunk >> (VECTOR_MAX - place * bits);
        tell(Symbol::of(if bits == 1 { symbol & 1 } else { symbol })?, 1);
    }
    Some(symbols)
}

fn split_chunk(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (chunk, rest) = bytes.split_first_chunk()?;
    Some((u16::from_be_bytes(*chunk), rest))
}

impl<'a> Feedback<'a> {
    /// The part of a packet behind its two SSRCs. None if it contradicts itself.
    pub(crate) fn parse(fci: &'a [u8]) -> Option<Self> {
        let (head, body) = fci.split_first_chunk::<HEAD>()?;
        let [
            base_high,
            base_low,
            count_high,
            count_low,
            ref_high,
            ref_mid,
            ref_low,
            number,
        ] = *head;
        let count = u16::from_be_bytes([count_high, count_low]);
        if count == 0 {
            return None;
        }
        let (mut left, mut rest, mut delta_bytes) = (count, body, 0);
        while left > 0 {
            let (chunk, behind) = split_chunk(rest)?;
            rest = behind;
            left -= read_chunk(chunk, left, |symbol, times| {
                delta_bytes += symbol.delta_bytes() * usize::from(times);
            })?;
        }
        let (chunks, _) = body.split_at_checked(body.len() - rest.len())?;
        Some(Self {
            base: u16::from_be_bytes([base_high, base_low]),
            count,
            reference: u32::from_be_bytes([0, ref_high, ref_mid, ref_low]),
            number,
            chunks,
            deltas: rest.get(..delta_bytes)?,
        })
    }

    /// Tells all that is said, in the order of the numbers.
    pub(crate) fn read(&self, mut tell: impl FnMut(Report)) {
        let (mut sequence, mut left) = (self.base, self.count);
        let (mut chunks, mut deltas, mut ticks) = (self.chunks, self.deltas, 0_i64);
        while let Some((chunk, behind)) = split_chunk(chunks) {
            chunks = behind;
            let read = read_chunk(chunk, left, |symbol, times| {
                if symbol == Symbol::Missing {
                    tell(Report::Missing {
                        first: sequence,
                        count: times,
                    });
                    sequence = sequence.wrapping_add(times);
                    return;
                }
                for _ in 0..times {
                    ticks = ticks.saturating_add(take_delta(symbol, &mut deltas));
                    tell(Report::Received { sequence, ticks });
                    sequence = sequence.wrapping_add(1);
                }
            });
            left = left.saturating_sub(read.unwrap_or(left));
        }
    }
}

/// `parse` has seen that there are enough.
fn take_delta(symbol: Symbol, deltas: &mut &[u8]) -> i64 {
    let (taken, rest) = deltas
        .split_at_checked(symbol.delta_bytes())
        .unwrap_or_default();
    *deltas = rest;
    match *taken {
        [small] => i64::from(small),
        [high, low] => i64::from(i16::from_be_bytes([high, low])),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::writer;
    use proptest::prelude::*;

    fn told(fci: &[u8]) -> Option<Vec<Report>> {
        let mut told = Vec::new();
        Feedback::parse(fci)?.read(|report| told.push(report));
        Some(told)
    }

    /// One report a packet.
    fn spread(reports: Vec<Report>) -> Vec<(u16, Option<i64>)> {
        let mut spread = Vec::new();
        for report in reports {
            match report {
                Report::Missing { first, count } => {
                    spread.extend((0..count).map(|place| (first.wrapping_add(place), None)));
                }
                Report::Received { sequence, ticks } => spread.push((sequence, Some(ticks))),
            }
        }
        spread
    }

    #[test]
    fn the_three_kinds_of_chunk_are_read() {
        // A run of two small deltas, a vector of one bit (0, 1), a vector of two bits (large).
        let mut fci = vec![0xff, 0xff, 0, 17, 0, 0, 5, 9];
        for chunk in [0x2002_u16, 0x8000 | 1 << 12, 0xc000 | 0b10 << 12] {
            fci.extend_from_slice(&chunk.to_be_bytes());
        }
        fci.extend_from_slice(&[4, 8, 1, 0xff, 0xfe, 0]);
        let reports = spread(told(&fci).unwrap());
        assert_eq!(reports.len(), 17);
        let received: Vec<_> = reports.iter().filter(|(_, at)| at.is_some()).collect();
        assert_eq!(
            received,
            [
                &(65_535, Some(4)),
                &(0, Some(12)),
                &(2, Some(13)),
                &(15, Some(11))
            ]
        );
        let feedback = Feedback::parse(&fci).unwrap();
        assert_eq!((feedback.reference, feedback.number), (5, 9));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let fci = writer::fci(7, 0, 3, &[Some(1), None, Some(900)]);
        assert!(told(&fci).is_some());
        assert!(told(&fci[..HEAD + 1]).is_none(), "a chunk is cut off");
        assert!(told(&fci[..HEAD + 4]).is_none(), "a delta is missing");
        assert!(told(&[0, 0, 0, 0, 0, 0, 0, 0]).is_none(), "of no packet");
        let reserved = [0, 0, 0, 1, 0, 0, 0, 0, 0x60, 1];
        assert!(told(&reserved).is_none(), "a reserved symbol");
        let empty_runs = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        assert!(told(&empty_runs).is_none(), "runs that never get there");
    }

    #[test]
    fn a_claim_of_65_535_losses_is_a_few_reports() {
        let mut fci = vec![0, 0, 0xff, 0xff, 0, 0, 0, 0];
        fci.extend_from_slice(&[0x1f, 0xff].repeat(9));
        assert_eq!(told(&fci).unwrap().len(), 9);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            base: u16,
            reference in 0_u32..1 << 24,
            count: u8,
            arrivals in prop::collection::vec(prop::option::of(-30_000_i64..30_000), 1..300),
        ) {
            let mut arrivals = arrivals;
            // Deltas of 16 bits reach that far from one packet to the next.
            let mut last = 0;
            for at in arrivals.iter_mut().flatten() {
                *at = (*at).clamp(last - 32_768, last + 32_767);
                last = *at;
            }
            let fci = writer::fci(base, reference, count, &arrivals);
            prop_assert_eq!(Feedback::parse(&fci).unwrap().reference, reference);
            let read = spread(told(&fci).unwrap());
            let wanted: Vec<_> = (0..).zip(&arrivals)
                .map(|(place, at)| (base.wrapping_add(place), *at)).collect();
            prop_assert_eq!(read, wanted);
        }

        #[test]
        fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Some(told) = told(&bytes) {
                prop_assert!(told.len() <= 14 * bytes.len());
            }
        }

        #[test]
        fn no_cut_or_flipped_packet_breaks_it(
            arrivals in prop::collection::vec(prop::option::of(0_i64..255), 1..100),
            cut in 0_usize..200,
            place in 0_usize..200,
            flip: u8,
        ) {
            let mut fci = writer::fci(1, 2, 3, &arrivals);
            fci.truncate(fci.len().saturating_sub(cut));
            if let Some(byte) = fci.get_mut(place) {
                *byte ^= flip;
            }
            if let Some(told) = told(&fci) {
                prop_assert!(told.len() <= 14 * fci.len());
            }
        }
    }
}
