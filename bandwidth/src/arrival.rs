//! Times of arrival: the receiver's clock, and how the spacing of bursts changes on the way.

use std::time::{Duration, Instant};

const TICK_MICROS: i64 = 250;
/// A reference time is in units of 64 ms, in 24 bits.
const REFERENCE_TICKS: i64 = 256;
const REFERENCE_BITS: u32 = 24;
/// A clock that disagrees with ours by more was set or restarted: nothing from before compares with it.
const JUMP_MICROS: i64 = 10_000_000;
/// What leaves within it is one burst (libwebrtc: 5 ms). A frame leaves at once.
const BURST_MICROS: i64 = 5_000;

/// Continues the receiver's clock beyond 24 bits.
#[derive(Debug, Default)]
pub(crate) struct ReceiverClock {
    last: Option<Reference>,
}

#[derive(Clone, Copy, Debug)]
struct Reference {
    raw: u32,
    /// In microseconds from the first one on.
    micros: i64,
    /// When we read it.
    at: Instant,
}

/// What a reference time stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    micros: i64,
    /// It does not compare with earlier ones.
    pub(crate) jumped: bool,
}

impl Base {
    /// Microseconds of the receiver's clock, `ticks` behind the reference time.
    pub(crate) fn arrival(self, ticks: i64) -> i64 {
        self.micros
            .saturating_add(ticks.saturating_mul(TICK_MICROS))
    }
}

impl ReceiverClock {
    pub(crate) fn read(&mut self, raw: u32, now: Instant) -> Base {
        let Some(last) = self.last else {
            self.last = Some(Reference {
                raw,
                micros: 0,
                at: now,
            });
            return Base {
                micros: 0,
                jumped: false,
            };
        };
        let shift = 32 - REFERENCE_BITS;
        let units = ((raw.wrapping_sub(last.raw) << shift) as i32) >> shift;
        let passed = i64::from(units) * REFERENCE_TICKS * TICK_MICROS;
        let expected = micros(now.saturating_duration_since(last.at));
        let jumped = (passed - expected).abs() > JUMP_MICROS;
        let passed = if jumped { expected } else { passed };
        let micros = last.micros.saturating_add(passed);
        self.last = Some(Reference {
            raw,
            micros,
            at: now,
        });
        Base { micros, jumped }
    }
}

/// Whole microseconds.
pub(crate) fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX / 4)
}

/// From one burst to the next, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spacing {
    /// Between their departures.
    pub(crate) sent: i64,
    /// Between their arrivals.
    pub(crate) arrived: i64,
}

/// Cuts packets into bursts. The first packet of a burst stands for it: it sees what earlier bursts left
/// in the queue, while those behind it see the burst itself.
#[derive(Debug, Default)]
pub(crate) struct Bursts {
    /// Departure and arrival of the first packet of the current burst.
    first: Option<(i64, i64)>,
}

impl Bursts {
    /// A packet with its times of departure and arrival, each on its own clock. Packets from before the
    /// current burst say nothing.
    pub(crate) fn push(&mut self, sent: i64, arrived: i64) -> Option<Spacing> {
        let Some((first_sent, first_arrived)) = self.first else {
            self.first = Some((sent, arrived));
            return None;
        };
        if sent.saturating_sub(first_sent) <= BURST_MICROS {
            return None;
        }
        self.first = Some((sent, arrived));
        Some(Spacing {
            sent: sent.saturating_sub(first_sent),
            arrived: arrived.saturating_sub(first_arrived),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_receivers_clock_goes_on_where_24_bits_end() {
        let start = Instant::now();
        let mut clock = ReceiverClock::default();
        assert_eq!(clock.read(0xff_ffff, start).arrival(4), 1000);
        let later = start + Duration::from_millis(128);
        let base = clock.read(1, later);
        assert_eq!((base.arrival(0), base.jumped), (128_000, false));
        let base = clock.read(0, later);
        assert_eq!((base.arrival(0), base.jumped), (64_000, false), "reordered");
    }

    #[test]
    fn a_clock_that_jumps_starts_anew_where_ours_is() {
        let start = Instant::now();
        let mut clock = ReceiverClock::default();
        clock.read(100, start);
        let later = start + Duration::from_millis(100);
        let base = clock.read(100_000, later);
        assert_eq!((base.arrival(0), base.jumped), (100_000, true));
        assert!(!clock.read(100_001, later).jumped);
        assert!(clock.read(0, later).jumped, "back");
        let much_later = start + Duration::from_secs(3600);
        assert!(!clock.read(3600 * 1000 / 64, much_later).jumped);
    }

    #[test]
    fn a_frame_is_one_burst_and_its_first_packet_stands_for_it() {
        let mut bursts = Bursts::default();
        assert_eq!(bursts.push(0, 100_000), None);
        assert_eq!(bursts.push(1_000, 112_000), None, "same burst");
        let spacing = Spacing {
            sent: 40_000,
            arrived: 45_000,
        };
        assert_eq!(bursts.push(40_000, 145_000), Some(spacing));
        assert_eq!(bursts.push(20_000, 146_000), None, "came late");
    }
}
