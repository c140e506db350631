//! The clock that all of a run shares: nanoseconds since its start.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Tells the time of a run, and when its curtain falls. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    start: Instant,
    /// Nothing is counted from here on, ns.
    curtain_ns: Arc<AtomicU64>,
}

impl Clock {
    pub(super) fn new(start: Instant, duration: Duration) -> Self {
        Self {
            start,
            curtain_ns: Arc::new(AtomicU64::new(nanos(duration))),
        }
    }

    /// Time since the start; nothing before it.
    pub(super) fn since(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.start)
    }

    /// The same in nanoseconds.
    pub(super) fn ns(&self, now: Instant) -> u64 {
        nanos(self.since(now))
    }

    /// The same, but before the curtain: what ends with it belongs to the last moment.
    pub(super) fn ns_before_curtain(&self, now: Instant) -> u64 {
        let curtain_ns = self.curtain_ns.load(Ordering::Relaxed);
        self.ns(now).min(curtain_ns.saturating_sub(1))
    }

    /// How long the measurement has lasted, at the end.
    pub(super) fn lasted(&self, now: Instant) -> Duration {
        let curtain_ns = self.curtain_ns.load(Ordering::Relaxed);
        self.since(now).min(Duration::from_nanos(curtain_ns))
    }

    pub(super) fn at(&self, since_start: Duration) -> Instant {
        self.start + since_start
    }

    /// The measurement is over.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.ns(now) >= self.curtain_ns.load(Ordering::Relaxed)
    }

    /// Ends the measurement now, if it has not ended yet.
    pub(super) fn drop_curtain(&self, now: Instant) {
        self.curtain_ns.fetch_min(self.ns(now), Ordering::Relaxed);
    }
}

/// Five hundred years fit.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curtain_falls_at_the_end_or_earlier_and_never_rises() {
        let start = Instant::now();
        let clock = Clock::new(start, Duration::from_secs(10));
        let at = |s| start + Duration::from_secs(s);
        assert!(!clock.is_over(at(9)) && clock.is_over(at(10)));
        assert_eq!(clock.ns_before_curtain(at(99)), 9_999_999_999);
        assert_eq!(clock.lasted(at(99)), Duration::from_secs(10));
        clock.drop_curtain(at(4));
        clock.drop_curtain(at(6));
        assert!(clock.is_over(at(4)) && !clock.is_over(at(3)));
        assert_eq!(clock.ns_before_curtain(at(6)), 3_999_999_999);
        assert_eq!(clock.since(start - Duration::from_secs(1)), Duration::ZERO);
    }
}
