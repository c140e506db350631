//! Does the delay grow? (draft-ietf-rmcat-gcc-02 section 5; libwebrtc's trendline estimator)
//!
//! The slope of the smoothed delay over the last bursts, against a threshold that follows the slopes
//! which the network shows anyway.

use crate::arrival::Spacing;

/// Bursts of which the slope is taken.
const POINTS: usize = 20;
/// Of the old value in the smoothed delay.
const SMOOTHING: f64 = 0.9;
/// From a slope to milliseconds: so many bursts as were seen, up to this, ...
const BURSTS_MAX: u32 = 60;
/// ... times this.
const GAIN: f64 = 4.0;
/// Milliseconds.
const THRESHOLD_START: f64 = 12.5;
const THRESHOLD_MIN: f64 = 6.0;
const THRESHOLD_MAX: f64 = 600.0;
/// Per millisecond, while slopes are above the threshold; slow, so that a growing queue is not taken for
/// what the network does anyway.
const THRESHOLD_UP: f64 = 0.0087;
/// Per millisecond, while slopes are below it.
const THRESHOLD_DOWN: f64 = 0.039;
/// Slopes further above the threshold do not move it: a single event.
const OUTLIER: f64 = 15.0;
/// Milliseconds between bursts that count for the threshold, at most.
const STEP_MAX: f64 = 100.0;
/// The slope stays above the threshold so many milliseconds before it counts.
const OVERUSE_AFTER: f64 = 10.0;
/// Longer gaps at the receiver are no delay: sleep, or a clock that was set.
const GAP_MAX_MICROS: u64 = 3_000_000;

/// What the delay says of the link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Usage {
    #[default]
    Normal,
    /// The delay grows: more comes than leaves.
    Over,
    /// The delay shrinks: a queue drains.
    Under,
}

/// Milliseconds each.
#[derive(Clone, Copy, Debug, Default)]
struct Point {
    at: f64,
    delay: f64,
}

#[derive(Debug)]
pub(crate) struct Trendline {
    points: [Point; POINTS],
    filled: usize,
    next: usize,
    bursts: u32,
    /// At the receiver since the first burst, milliseconds.
    clock: f64,
    delay: f64,
    smoothed: f64,
    threshold: f64,
    previous: f64,
    over_for: Option<f64>,
    over_times: u32,
    usage: Usage,
}

impl Default for Trendline {
    fn default() -> Self {
        Self {
            points: [Point::default(); POINTS],
            filled: 0,
            next: 0,
            bursts: 0,
            clock: 0.0,
            delay: 0.0,
            smoothed: 0.0,
            threshold: THRESHOLD_START,
            previous: 0.0,
            over_for: None,
            over_times: 0,
            usage: Usage::Normal,
        }
    }
}

impl Trendline {
    pub(crate) fn usage(&self) -> Usage {
        self.usage
    }

    /// One burst more. A gap starts it anew.
    pub(crate) fn push(&mut self, spacing: Spacing) {
        if spacing.arrived.saturating_sub(spacing.sent).unsigned_abs() > GAP_MAX_MICROS {
            *self = Self::default();
            return;
        }
        let arrived = spacing.arrived as f64 / 1000.0;
        let sent = spacing.sent as f64 / 1000.0;
        self.bursts = (self.bursts + 1).min(BURSTS_MAX);
        self.clock += arrived;
        self.delay += arrived - sent;
        self.smoothed = SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * self.delay;
        let point = Point {
            at: self.clock,
            delay: self.smoothed,
        };
        if let Some(place) = self.points.get_mut(self.next) {
            *place = point;
        }
        self.next = (self.next + 1) % POINTS;
        self.filled = (self.filled + 1).min(POINTS);
        let slope = self.slope().unwrap_or(0.0);
        self.judge(slope * f64::from(self.bursts) * GAIN, sent);
    }

    /// Least squares. None before there are enough points.
    fn slope(&self) -> Option<f64> {
        if self.filled < POINTS {
            return None;
        }
        let (mut at, mut delay) = (0.0, 0.0);
        for point in &self.points {
            at += point.at;
            delay += point.delay;
        }
        let (at, delay) = (at / POINTS as f64, delay / POINTS as f64);
        let (mut above, mut below) = (0.0, 0.0);
        for point in &self.points {
            let distance = point.at - at;
            above += distance * (point.delay - delay);
            below += distance * distance;
        }
        (below > 0.0).then(|| above / below)
    }

    fn judge(&mut self, trend: f64, elapsed: f64) {
        if trend > self.threshold {
            let over_for = self.over_for.map_or(elapsed / 2.0, |over| over + elapsed);
            self.over_for = Some(over_for);
            self.over_times += 1;
            let lasts = over_for > OVERUSE_AFTER && self.over_times > 1;
            if lasts && trend >= self.previous {
                self.over_for = Some(0.0);
                self.over_times = 0;
                self.usage = Usage::Over;
            }
        } else {
            self.over_for = None;
            self.over_times = 0;
            self.usage = if trend < -self.threshold {
                Usage::Under
            } else {
                Usage::Normal
            };
        }
        self.previous = trend;
        self.adapt(trend.abs(), elapsed);
    }

    fn adapt(&mut self, trend: f64, elapsed: f64) {
        let distance = trend - self.threshold;
        if distance > OUTLIER {
            return;
        }
        let speed = if distance < 0.0 {
            THRESHOLD_DOWN
        } else {
            THRESHOLD_UP
        };
        let moved = self.threshold + speed * distance * elapsed.min(STEP_MAX);
        self.threshold = moved.clamp(THRESHOLD_MIN, THRESHOLD_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn push(trendline: &mut Trendline, sent_ms: f64, arrived_ms: f64) {
        trendline.push(Spacing {
            sent: (sent_ms * 1000.0) as i64,
            arrived: (arrived_ms * 1000.0) as i64,
        });
    }

    fn steady() -> Trendline {
        let mut trendline = Trendline::default();
        for _ in 0..60 {
            push(&mut trendline, 20.0, 20.0);
        }
        assert_eq!(trendline.usage(), Usage::Normal);
        trendline
    }

    #[test]
    fn a_growing_queue_is_overuse_within_twenty_bursts() {
        let mut trendline = steady();
        let seen = (0..20).position(|_| {
            push(&mut trendline, 20.0, 26.0);
            trendline.usage() == Usage::Over
        });
        assert!(seen.is_some_and(|bursts| bursts < 12), "{seen:?}");
    }

    #[test]
    fn a_draining_queue_is_underuse_and_an_even_one_is_normal() {
        let mut trendline = steady();
        for _ in 0..15 {
            push(&mut trendline, 20.0, 14.0);
        }
        assert_eq!(trendline.usage(), Usage::Under);
        for _ in 0..60 {
            push(&mut trendline, 20.0, 20.0);
        }
        assert_eq!(trendline.usage(), Usage::Normal);
    }

    #[test]
    fn what_the_network_always_does_raises_the_threshold() {
        let mut trendline = steady();
        let (calm, mut highest) = (trendline.threshold, 0.0_f64);
        for round in 0..400 {
            let wave = if round / 20 % 2 == 0 { 2.0 } else { -2.0 };
            push(&mut trendline, 20.0, 20.0 + wave);
            highest = highest.max(trendline.threshold);
        }
        assert!(highest > 1.5 * calm, "{highest}");
    }

    #[test]
    fn a_gap_starts_it_anew() {
        let mut trendline = steady();
        push(&mut trendline, 20.0, 5000.0);
        assert_eq!(trendline.filled, 0);
    }

    proptest! {
        #[test]
        fn any_spacing_leaves_it_sane(spacings: Vec<(i64, i64)>) {
            let mut trendline = Trendline::default();
            for (sent, arrived) in spacings {
                trendline.push(Spacing { sent, arrived });
                prop_assert!(trendline.threshold >= THRESHOLD_MIN);
                prop_assert!(trendline.threshold <= THRESHOLD_MAX);
            }
        }
    }
}
