//! Sequence numbers and timestamps of one forwarded track, continuous across its sources.
//!
//! The subscriber must see one RTP stream although simulcast layers, mute and resume change what is
//! forwarded. Knows nothing about codecs or payloads.

use super::left_out::LeftOut;
use std::time::{Duration, Instant};

/// First outgoing sequence number: below 65536 so that the receiver's rollover counter starts at 0
/// (RFC 3711 section 3.3.1), above 0 so that packets from before the first one can be told apart.
const FIRST_SEQUENCE: u64 = 1000;
/// First outgoing timestamp.
const FIRST_TIMESTAMP: u32 = 90_000;

/// Where the outgoing stream continues.
#[derive(Clone, Debug)]
struct Anchor {
    sequence_in: u64,
    sequence_out: u64,
    timestamp_in: u32,
    timestamp_out: u32,
}

/// The newest packet sent.
#[derive(Clone, Copy, Debug)]
struct Newest {
    sequence: u64,
    timestamp: u32,
    at: Instant,
}

/// The numbers of a packet as the subscriber sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbers {
    /// Extended sequence number.
    pub(super) sequence: u64,
    /// RTP timestamp.
    pub(super) timestamp: u32,
}

/// The state of one outgoing stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Rebase {
    anchor: Option<Anchor>,
    newest: Option<Newest>,
    /// Of the current source.
    left_out: LeftOut,
}

impl Rebase {
    /// From here on packets of another source are forwarded, `sequence` and `timestamp` first.
    /// `clock_rate` in Hz turns the pause since the last packet into timestamp units.
    pub(super) fn switch(&mut self, sequence: u64, timestamp: u32, clock_rate: u32, now: Instant) {
        let (sequence_out, timestamp_out) = match self.newest {
            None => (FIRST_SEQUENCE, FIRST_TIMESTAMP),
            Some(newest) => {
                let pause = now.saturating_duration_since(newest.at);
                let units = ticks(pause, clock_rate).max(1);
                (newest.sequence + 1, newest.timestamp.wrapping_add(units))
            }
        };
        self.anchor = Some(Anchor {
            sequence_in: sequence,
            sequence_out,
            timestamp_in: timestamp,
            timestamp_out,
        });
        self.left_out = LeftOut::default();
    }

    /// True if a packet is not from before the switch, where its numbers belong to the source before.
    pub(super) fn covers(&self, sequence: u64) -> bool {
        let anchor = self.anchor.as_ref();
        anchor.is_some_and(|anchor| sequence >= anchor.sequence_in)
    }

    /// A packet of the current source is not sent on, on purpose: its number goes to the next. False:
    /// those behind it have theirs already, and the receiver waits for this one.
    pub(super) fn leave_out(&mut self, sequence: u64) -> bool {
        !self.covers(sequence) || self.left_out.leave_out(sequence)
    }

    /// Numbers for a packet of the current source; `None` if it is from before the switch, was left out
    /// or is too old to know.
    pub(super) fn map(&mut self, sequence: u64, timestamp: u32, now: Instant) -> Option<Numbers> {
        let anchor = self.anchor.as_ref()?;
        let ahead = sequence.checked_sub(anchor.sequence_in)?;
        let closed = self.left_out.before(sequence)?;
        let sequence = anchor.sequence_out + ahead.checked_sub(closed)?;
        let timestamp = anchor
            .timestamp_out
            .wrapping_add(timestamp.wrapping_sub(anchor.timestamp_in));
        let newest = self.newest.is_none_or(|newest| sequence > newest.sequence);
        if newest {
            self.newest = Some(Newest {
                sequence,
                timestamp,
                at: now,
            });
        }
        Some(Numbers {
            sequence,
            timestamp,
        })
    }
}

/// A duration in timestamp units, at most an hour's worth.
fn ticks(duration: Duration, clock_rate: u32) -> u32 {
    let millis = duration.as_millis().min(3_600_000);
    u32::try_from(millis * u128::from(clock_rate) / 1000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// Over any switches, losses and reorderings within a source.
        #[test]
        fn no_number_is_ever_given_twice(
            sources in prop::collection::vec(
                (any::<u32>(), any::<u32>(), prop::collection::btree_set(0_u64..40, 1..20)),
                1..6,
            ),
        ) {
            let now = Instant::now();
            let mut rebase = Rebase::default();
            let mut seen = BTreeSet::new();
            for (sequence, timestamp, packets) in sources {
                let first = u64::from(sequence);
                rebase.switch(first, timestamp, 90_000, now);
                for packet in packets.into_iter().rev() {
                    let numbers = rebase.map(first + packet, timestamp, now).unwrap();
                    prop_assert!(seen.insert(numbers.sequence));
                    prop_assert!(numbers.sequence >= FIRST_SEQUENCE);
                }
            }
        }
    }

    /// What becomes of a packet that arrives, by its place in the stream.
    fn arrivals() -> impl Strategy<Value = Vec<(u64, bool)>> {
        // Delays put the packets out of order, and some never come.
        let packet = (
            0_u64..40,
            prop::bool::weighted(0.1),
            prop::bool::weighted(0.4),
        );
        prop::collection::vec(packet, 1..300).prop_map(|packets| {
            let mut came: Vec<(u64, u64, bool)> = Vec::new();
            for (place, (delay, lost, left_out)) in (0..).zip(packets) {
                if !lost {
                    came.push((place + delay / 8 * delay, place, left_out));
                }
            }
            came.sort_unstable();
            came.into_iter()
                .map(|(_, place, left_out)| (place, left_out))
                .collect()
        })
    }

    proptest! {
        /// Numbers close up over what was left out before anything behind it came, and over nothing
        /// else: whatever is missing or late has a number of its own, in the order of the source.
        #[test]
        fn numbers_close_up_over_what_is_left_out_and_nothing_else(
            first in any::<u32>(),
            arrivals in arrivals(),
        ) {
            let (first, now) = (u64::from(first), Instant::now());
            let mut rebase = Rebase::default();
            let first_came = arrivals.first().map_or(0, |(place, _)| *place);
            rebase.switch(first + first_came, 0, 90_000, now);
            let mut closed = BTreeSet::new();
            let mut newest = None;
            let mut given = Vec::new();
            for (place, left_out) in arrivals {
                let sequence = first + place;
                let in_order = newest.is_none_or(|newest| place > newest);
                newest = newest.max(Some(place));
                if !left_out {
                    given.push((place, rebase.map(sequence, 0, now)));
                } else if rebase.leave_out(sequence) {
                    prop_assert!(in_order || place < first_came);
                    closed.insert(place);
                } else {
                    prop_assert!(!in_order);
                    given.push((place, rebase.map(sequence, 0, now)));
                }
            }
            for (place, numbers) in given {
                let before = closed.range(first_came..place.max(first_came)).count() as u64;
                let expected = place
                    .checked_sub(first_came)
                    .map(|ahead| FIRST_SEQUENCE + ahead - before);
                prop_assert_eq!(numbers.map(|numbers| numbers.sequence), expected);
            }
        }
    }

    #[test]
    fn a_switch_goes_on_behind_what_was_sent_whatever_was_left_out() {
        let now = Instant::now();
        let mut rebase = Rebase::default();
        rebase.switch(10, 0, 90_000, now);
        rebase.map(10, 0, now).unwrap();
        assert!(rebase.leave_out(11) && rebase.leave_out(12));
        rebase.switch(500, 0, 90_000, now);
        assert_eq!(rebase.map(500, 0, now).unwrap().sequence, 1001);
        assert!(rebase.leave_out(13), "from before the switch");
        assert_eq!(rebase.map(501, 0, now).unwrap().sequence, 1002);
    }

    #[test]
    fn the_first_source_starts_at_a_low_number() {
        let now = Instant::now();
        let mut rebase = Rebase::default();
        assert_eq!(rebase.map(70_000, 5, now), None);
        rebase.switch(70_000, 5, 90_000, now);
        let first = rebase.map(70_000, 5, now).unwrap();
        assert_eq!((first.sequence, first.timestamp), (1000, 90_000));
        let next = rebase.map(70_001, 3005, now).unwrap();
        assert_eq!((next.sequence, next.timestamp), (1001, 93_000));
    }

    #[test]
    fn a_switch_continues_the_numbers_and_drops_what_came_before_it() {
        let start = Instant::now();
        let mut rebase = Rebase::default();
        rebase.switch(10, 0, 90_000, start);
        rebase.map(10, 0, start).unwrap();
        rebase.map(12, 3000, start).unwrap();
        let later = start + Duration::from_millis(100);
        rebase.switch(500, 1_000_000, 90_000, later);
        let first = rebase.map(500, 1_000_000, later).unwrap();
        assert_eq!(first.sequence, 1003);
        assert_eq!(first.timestamp, 90_000 + 3000 + 9000);
        assert_eq!(rebase.map(499, 999_000, later), None);
    }

    #[test]
    fn a_late_packet_keeps_its_own_number() {
        let now = Instant::now();
        let mut rebase = Rebase::default();
        rebase.switch(10, 0, 48_000, now);
        rebase.map(10, 0, now).unwrap();
        rebase.map(12, 1920, now).unwrap();
        let late = rebase.map(11, 960, now).unwrap();
        assert_eq!((late.sequence, late.timestamp), (1001, 90_960));
        assert_eq!(rebase.map(13, 2880, now).unwrap().sequence, 1003);
    }

    #[test]
    fn timestamps_wrap_around() {
        let now = Instant::now();
        let mut rebase = Rebase::default();
        rebase.switch(1, u32::MAX - 10, 90_000, now);
        rebase.map(1, u32::MAX - 10, now).unwrap();
        assert_eq!(rebase.map(2, 2989, now).unwrap().timestamp, 93_000);
    }
}
