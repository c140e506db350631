//! What a sequence number says: next, late, again, or a new source (RFC 3550 appendix A.1).

/// A larger step forward or back is another source (RFC 3550's MAX_DROPOUT).
const STEP_MAX: u16 = 3000;
/// Sequence numbers remembered, so that what comes again is told from what comes late.
const REMEMBERED: u64 = 4096;
const WORDS: usize = 64;
const _: () = assert!(WORDS * 64 == 4096 && 3000 < 4096);

/// What a packet is to the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Newer than all before; so many were left out.
    Next {
        /// Sequence numbers that have not come.
        missing: u64,
    },
    /// It fills a gap.
    Late,
    /// It was here before.
    Duplicate,
    /// Far from all others, and alone: not counted.
    Stray,
    /// Far from all before, but the second of its kind: a new source.
    Restart,
}

/// Extends sequence numbers and remembers which have come.
#[derive(Debug)]
pub struct SequenceTracker {
    highest: Option<u64>,
    seen: Box<[u64; WORDS]>,
    /// The sequence number that makes a stray packet a restart.
    awaited: Option<u16>,
}

impl Default for SequenceTracker {
    fn default() -> Self {
        Self {
            highest: None,
            seen: Box::new([0; WORDS]),
            awaited: None,
        }
    }
}

impl SequenceTracker {
    /// Takes the next packet.
    pub fn handle(&mut self, sequence: u16) -> Arrival {
        let Some(highest) = self.highest else {
            self.begin(sequence);
            return Arrival::Next { missing: 0 };
        };
        let step = sequence.wrapping_sub(low(highest)).cast_signed();
        if step.unsigned_abs() > STEP_MAX {
            if self.awaited.replace(sequence.wrapping_add(1)) == Some(sequence) {
                self.begin(sequence);
                return Arrival::Restart;
            }
            return Arrival::Stray;
        }
        self.awaited = None;
        let extended = self.extended(sequence);
        if extended > highest {
            for skipped in highest + 1..extended {
                self.mark(skipped, false);
            }
            self.mark(extended, true);
            self.highest = Some(extended);
            return Arrival::Next {
                missing: extended - highest - 1,
            };
        }
        if self.mark(extended, true) {
            return Arrival::Duplicate;
        }
        Arrival::Late
    }

    /// Another source follows: its first packet may have any number.
    pub fn handle_restart(&mut self) {
        self.highest = None;
        self.awaited = None;
    }

    /// The number without wraps, near the highest so far.
    #[must_use]
    pub fn extended(&self, sequence: u16) -> u64 {
        let Some(highest) = self.highest else {
            return START + u64::from(sequence);
        };
        let step = sequence.wrapping_sub(low(highest)).cast_signed();
        highest.saturating_add_signed(i64::from(step))
    }

    fn begin(&mut self, sequence: u16) {
        let extended =
            self.highest.map_or(START, |highest| highest & !0xffff) + u64::from(sequence);
        // What came before the first packet was not for us: it shall not count as late.
        self.seen.fill(u64::MAX);
        self.highest = Some(extended);
        self.awaited = None;
    }

    /// Notes whether it has come; true if it had before.
    fn mark(&mut self, extended: u64, come: bool) -> bool {
        let place = extended % REMEMBERED;
        let bit = 1_u64 << (place % 64);
        let word = usize::try_from(place / 64).unwrap_or(0);
        let Some(word) = self.seen.get_mut(word) else {
            return false;
        };
        let before = *word & bit != 0;
        *word = if come { *word | bit } else { *word & !bit };
        before
    }
}

/// Extended numbers start here, so that a step back from the first one stays above zero.
const START: u64 = 1 << 16;

fn low(extended: u64) -> u16 {
    u16::try_from(extended & 0xffff).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn arrivals(sequence: &[u16]) -> Vec<Arrival> {
        let mut tracker = SequenceTracker::default();
        sequence
            .iter()
            .map(|sequence| tracker.handle(*sequence))
            .collect()
    }

    const NEXT: Arrival = Arrival::Next { missing: 0 };

    #[test]
    fn gaps_late_ones_and_duplicates_are_told_apart_across_the_wrap() {
        let seen = arrivals(&[65_533, 65_534, 1, 0, 1, 65_535, 65_535]);
        let gap = Arrival::Next { missing: 2 };
        let expected = [
            NEXT,
            NEXT,
            gap,
            Arrival::Late,
            Arrival::Duplicate,
            Arrival::Late,
            Arrival::Duplicate,
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn what_comes_from_before_the_first_packet_is_not_counted_as_late() {
        assert_eq!(arrivals(&[100, 99])[1], Arrival::Duplicate);
    }

    #[test]
    fn one_packet_far_away_is_a_stray_and_two_in_a_row_are_a_new_source() {
        let seen = arrivals(&[10, 30_000, 11, 40_000, 40_001, 40_002]);
        let expected = [
            NEXT,
            Arrival::Stray,
            NEXT,
            Arrival::Stray,
            Arrival::Restart,
            NEXT,
        ];
        assert_eq!(seen, expected);
    }

    proptest! {
        #[test]
        fn a_shuffled_lossy_stream_is_counted_exactly(
            start: u16,
            lost in proptest::collection::vec(any::<bool>(), 10..400),
            swaps in proptest::collection::vec(0_usize..400, 0..50),
        ) {
            let mut kept: Vec<u16> = (0_u16..)
                .zip(&lost)
                .filter(|(index, lost)| *index == 0 || !**lost)
                .map(|(index, _)| start.wrapping_add(index))
                .collect();
            let len = kept.len();
            for at in swaps {
                // The first stays first: what is before it is not known to be missing.
                if at > 0 && at + 1 < len {
                    kept.swap(at, at + 1);
                }
            }
            let highest = kept.iter().map(|sequence| sequence.wrapping_sub(start)).max().unwrap();
            let mut missing = 0;
            for arrival in arrivals(&kept) {
                match arrival {
                    Arrival::Next { missing: more } => missing += more,
                    Arrival::Late => missing -= 1,
                    other => prop_assert!(false, "{other:?}"),
                }
            }
            prop_assert_eq!(usize::try_from(missing).unwrap(), usize::from(highest) + 1 - len);
        }
    }
}
