//! How many bits a second a stream has. Knows nothing about what they are.

use std::time::{Duration, Instant};

/// Shortest time that a rate is taken from.
const WINDOW: Duration = Duration::from_millis(500);
/// Weight of a window against all before it: a scene is a second or two.
const WEIGHT: f64 = 0.4;

/// Counts bytes, and tells their rate now and then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter {
    since: Instant,
    bytes: u64,
    rate: Option<f64>,
}

impl Meter {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            bytes: 0,
            rate: None,
        }
    }

    pub(super) fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Time passes; call it a few times a second. A stream that stands still keeps its rate: it says
    /// what the stream will have when it goes on.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed < WINDOW {
            return;
        }
        let bytes = std::mem::take(&mut self.bytes);
        self.since = now;
        if bytes > 0 {
            let rate = bytes as f64 * 8.0 / elapsed.as_secs_f64();
            let before = self.rate.unwrap_or(rate);
            self.rate = Some(before + WEIGHT * (rate - before));
        }
    }

    /// Bits per second; `None` before the first window.
    pub(super) fn rate(&self) -> Option<u64> {
        self.rate.map(|rate| rate as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_known_after_a_window_and_follows_slowly() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        meter.add(10_000);
        meter.handle_timeout(start + WINDOW / 2);
        assert_eq!(meter.rate(), None);
        meter.handle_timeout(start + WINDOW);
        assert_eq!(meter.rate(), Some(160_000));
        meter.add(20_000);
        meter.handle_timeout(start + 2 * WINDOW);
        assert_eq!(meter.rate(), Some(224_000), "two fifths of the way");
    }

    #[test]
    fn a_stream_that_stands_still_keeps_its_rate() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        meter.add(10_000);
        for windows in 1..10 {
            meter.handle_timeout(start + windows * WINDOW);
        }
        assert_eq!(meter.rate(), Some(160_000));
    }
}
