//! Distributions of times in bounded memory, and what a report says of them.

use crate::numbers::{as_f64, rounded};
use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Longer times count as this: nobody waits longer.
const US_MAX: u64 = 120_000_000;
/// Digits that count: 1 % wide cells make some 10 kB, of which a worker has two for each step of
/// its timeline.
const DIGITS: u8 = 2;
/// Points of a [`Distribution::curve`] at most.
const CURVE_MAX: usize = 200;

/// Times from 1 µs to 2 minutes, each known to 1 %. Empty ones take no memory.
#[derive(Clone, Debug, Default)]
pub struct Distribution(Option<Box<Histogram<u32>>>);

impl Distribution {
    /// Counts a time.
    pub fn record(&mut self, time: Duration) {
        self.record_us(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// Counts a time in microseconds.
    pub fn record_us(&mut self, us: u64) {
        if self.0.is_none() {
            self.0 = Histogram::new_with_bounds(1, US_MAX, DIGITS)
                .ok()
                .map(Box::new);
        }
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(us.clamp(1, US_MAX));
        }
    }

    /// Takes the other's times in.
    pub fn merge(&mut self, other: &Self) {
        match (&mut self.0, &other.0) {
            (_, None) => {}
            (Some(ours), Some(theirs)) => {
                // The bounds are the same: this cannot fail.
                let _ = ours.add(theirs.as_ref());
            }
            (None, Some(_)) => *self = other.clone(),
        }
    }

    /// How many times were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, |histogram| histogram.len())
    }

    /// The time in milliseconds below which `share` (0 to 1) of all are; `None` without any.
    #[must_use]
    pub fn quantile_ms(&self, share: f64) -> Option<f64> {
        let histogram = self.0.as_ref().filter(|histogram| !histogram.is_empty())?;
        Some(ms(histogram.value_at_quantile(share)))
    }

    /// What a report says; `None` without any time.
    #[must_use]
    pub fn quantiles(&self) -> Option<Quantiles> {
        let histogram = self.0.as_ref().filter(|histogram| !histogram.is_empty())?;
        let at = |share| ms(histogram.value_at_quantile(share));
        Some(Quantiles {
            count: histogram.len(),
            min_ms: ms(histogram.min()),
            mean_ms: rounded(histogram.mean() / 1000.0),
            p50_ms: at(0.5),
            p95_ms: at(0.95),
            p99_ms: at(0.99),
            max_ms: ms(histogram.max()),
        })
    }

    /// The cumulative distribution: (milliseconds, share of all that are not longer), rising.
    #[must_use]
    pub fn curve(&self) -> Vec<(f64, f64)> {
        let Some(histogram) = self.0.as_ref().filter(|histogram| !histogram.is_empty()) else {
            return Vec::new();
        };
        let all = as_f64(histogram.len());
        let mut below = 0;
        let cells: Vec<(f64, f64)> = histogram
            .iter_recorded()
            .map(|cell| {
                below += cell.count_since_last_iteration();
                (ms(cell.value_iterated_to()), as_f64(below) / all)
            })
            .collect();
        thinned(cells)
    }
}

/// The first, the last, and between them every n-th.
fn thinned(cells: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let step = cells.len().div_ceil(CURVE_MAX).max(1);
    let last = cells.len().saturating_sub(1);
    let kept = cells.into_iter().enumerate();
    kept.filter(|(index, _)| index % step == 0 || *index == last)
        .map(|(_, cell)| cell)
        .collect()
}

fn ms(us: u64) -> f64 {
    rounded(as_f64(us) / 1000.0)
}

/// A distribution in a few numbers. All times are in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Quantiles {
    /// How many were measured.
    pub count: u64,
    /// The shortest.
    pub min_ms: f64,
    /// The mean.
    pub mean_ms: f64,
    /// Half of all are not longer.
    pub p50_ms: f64,
    /// 95 % are not longer.
    pub p95_ms: f64,
    /// 99 % are not longer.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_a_hundredth() {
        let mut distribution = Distribution::default();
        for ms in 1..=1000 {
            distribution.record(Duration::from_millis(ms));
        }
        let quantiles = distribution.quantiles().unwrap();
        assert_eq!(quantiles.count, 1000);
        for (seen, exact) in [
            (quantiles.min_ms, 1.0),
            (quantiles.p50_ms, 500.0),
            (quantiles.p95_ms, 950.0),
            (quantiles.p99_ms, 990.0),
            (quantiles.max_ms, 1000.0),
        ] {
            assert!((seen - exact).abs() <= exact * 0.011, "{seen} for {exact}");
        }
    }

    #[test]
    fn merged_ones_are_as_if_all_had_been_counted_by_one() {
        let (mut one, mut other, mut both) = Default::default();
        for us in [10, 20, 3_000_000, u64::MAX] {
            Distribution::record_us(&mut one, us);
            Distribution::record_us(&mut both, us);
        }
        for us in [0, 5, 70_000] {
            Distribution::record_us(&mut other, us);
            Distribution::record_us(&mut both, us);
        }
        one.merge(&other);
        assert_eq!(one.quantiles(), both.quantiles());
        let mut nothing = Distribution::default();
        nothing.merge(&both);
        nothing.merge(&Distribution::default());
        assert_eq!(nothing.quantiles(), both.quantiles());
    }

    #[test]
    fn a_curve_rises_to_one_and_stays_short() {
        let mut distribution = Distribution::default();
        assert!(distribution.curve().is_empty() && distribution.quantiles().is_none());
        for us in (1..2_000_000).step_by(97) {
            distribution.record_us(us);
        }
        let curve = distribution.curve();
        assert!(curve.len() <= CURVE_MAX + 1);
        assert!(curve.is_sorted());
        assert_eq!(curve.last().map(|point| point.1), Some(1.0));
    }
}
