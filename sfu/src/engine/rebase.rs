//! Sequence numbers and timestamps of one forwarded track, continuous across its sources.
//!
//! The subscriber must see one RTP stream although simulcast layers, mute and resume change what is
//! forwarded. Knows nothing about codecs or payloads.

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
    /// No packet with a higher number was sent before.
    pub(super) newest: bool,
}

/// The state of one outgoing stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Rebase {
    anchor: Option<Anchor>,
    newest: Option<Newest>,
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
    }

    /// Numbers for a packet of the current source; `None` if it is from before the switch, where
    /// its numbers belong to the source before.
    pub(super) fn map(&mut self, sequence: u64, timestamp: u32, now: Instant) -> Option<Numbers> {
        let anchor = self.anchor.as_ref()?;
        let ahead = sequence.checked_sub(anchor.sequence_in)?;
        let sequence = anchor.sequence_out + ahead;
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
            newest,
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
        assert!(rebase.map(12, 1920, now).unwrap().newest);
        let late = rebase.map(11, 960, now).unwrap();
        assert_eq!((late.sequence, late.newest), (1001, false));
        assert!(rebase.map(13, 2880, now).unwrap().newest);
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
