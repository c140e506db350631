//! Where the lines of an axis go.

/// An axis from 0, or from a power of ten.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    pub(super) min: f64,
    pub(super) max: f64,
    /// Value and label.
    pub(super) ticks: Vec<(f64, String)>,
    log: bool,
}

/// Decades of a logarithmic axis at most: from 1 µs to 2 minutes in milliseconds are nine.
const DECADES_MAX: usize = 10;

impl Axis {
    /// From 0 to a round number at or above `max`, with about so many steps.
    pub(super) fn linear(max: f64, steps: f64) -> Self {
        let max = if max.is_finite() && max > 0.0 {
            max
        } else {
            1.0
        };
        let step = round_step(max / steps);
        let count = (max / step - 1e-9).ceil().max(1.0);
        Self::with_step(step * count, step)
    }

    /// From 0 to exactly `max`.
    pub(super) fn up_to(max: f64, steps: f64) -> Self {
        let max = if max.is_finite() && max > 0.0 {
            max
        } else {
            1.0
        };
        Self::with_step(max, round_step(max / steps))
    }

    fn with_step(max: f64, step: f64) -> Self {
        let decimals = if step >= 1.0 && step.fract() == 0.0 {
            0
        } else {
            (-step.log10().floor()).clamp(0.0, 6.0) as usize + usize::from(is_quarter(step))
        };
        let ticks = (0..20)
            .map(|index| f64::from(index) * step)
            .take_while(|value| *value <= max * (1.0 + 1e-9))
            .map(|value| (value, format!("{value:.decimals$}")))
            .collect();
        Self {
            min: 0.0,
            max,
            ticks,
            log: false,
        }
    }

    /// Logarithmic, with lines at 1, 2 and 5 of each decade, or at 1 if there are many decades.
    pub(super) fn log(min: f64, max: f64) -> Self {
        let min = if min.is_finite() && min > 0.0 {
            min
        } else {
            0.1
        };
        let max = if max.is_finite() && max > min {
            max
        } else {
            min * 10.0
        };
        let first = min.log10().floor();
        let mut lines: Vec<f64> = (0_u32..)
            .take(DECADES_MAX)
            .map(|decade| 10_f64.powf(first + f64::from(decade)))
            .flat_map(|decade| [decade, decade * 2.0, decade * 5.0])
            .collect();
        let from = lines
            .iter()
            .rposition(|line| *line <= min * 1.001)
            .unwrap_or(0);
        let to = lines.iter().position(|line| *line >= max * 0.999);
        lines = lines
            .get(from..=to.unwrap_or(lines.len() - 1))
            .unwrap_or_default()
            .to_vec();
        let (low, high) = (lines.first().copied(), lines.last().copied());
        let many = lines.len() > 9;
        let is_decade = |line: &f64| (line.log10() - line.log10().round()).abs() < 1e-6;
        let ticks = lines
            .into_iter()
            .filter(|line| !many || is_decade(line))
            .map(|line| (line, plain(line)))
            .collect();
        Self {
            min: low.unwrap_or(min),
            max: high.unwrap_or(max),
            ticks,
            log: true,
        }
    }

    /// Where a value is, 0 to 1.
    pub(super) fn place(&self, value: f64) -> f64 {
        let place = if self.log {
            let span = self.max.log10() - self.min.log10();
            (value.max(self.min).log10() - self.min.log10()) / span
        } else {
            (value - self.min) / (self.max - self.min)
        };
        if place.is_finite() {
            place.clamp(0.0, 1.0)
        } else {
            0.0
        }
    }
}

/// 1, 2, 2.5 or 5 of a power of ten, at or above `raw`.
fn round_step(raw: f64) -> f64 {
    let power = 10_f64.powf(raw.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0];
    let fits = steps
        .iter()
        .find(|step| *step * power >= raw * (1.0 - 1e-9));
    fits.copied().unwrap_or(10.0) * power
}

fn is_quarter(step: f64) -> bool {
    let mantissa = step / 10_f64.powf(step.log10().floor());
    (mantissa - 2.5).abs() < 1e-6
}

fn plain(value: f64) -> String {
    if value >= 0.999 {
        return format!("{value:.0}");
    }
    let text = format!("{value:.4}");
    text.trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|tick| tick.1.as_str()).collect()
    }

    #[test]
    fn lines_are_at_round_numbers() {
        assert_eq!(
            labels(&Axis::linear(93.0, 4.0)),
            ["0", "25", "50", "75", "100"]
        );
        assert_eq!(
            labels(&Axis::linear(0.9, 4.0)),
            ["0.00", "0.25", "0.50", "0.75", "1.00"]
        );
        assert_eq!(labels(&Axis::linear(7.0, 4.0)), ["0", "2", "4", "6", "8"]);
        assert_eq!(
            labels(&Axis::up_to(60.0, 6.0)),
            ["0", "10", "20", "30", "40", "50", "60"]
        );
        assert_eq!(
            labels(&Axis::log(3.0, 180.0)),
            ["2", "5", "10", "20", "50", "100", "200"]
        );
        assert_eq!(labels(&Axis::log(0.03, 9000.0))[..3], ["0.1", "1", "10"]);
    }

    #[test]
    fn places_are_shares_of_the_axis() {
        let axis = Axis::linear(100.0, 4.0);
        assert_eq!(
            (axis.place(0.0), axis.place(50.0), axis.place(900.0)),
            (0.0, 0.5, 1.0)
        );
        let axis = Axis::log(1.0, 100.0);
        assert!((axis.place(10.0) - 0.5).abs() < 1e-9);
        assert_eq!(axis.place(0.0), 0.0);
    }

    proptest! {
        #[test]
        fn any_values_make_an_axis(min in any::<f64>(), max in any::<f64>(), value in any::<f64>()) {
            for axis in [Axis::linear(max, 4.0), Axis::up_to(max, 6.0), Axis::log(min, max)] {
                prop_assert!(axis.ticks.len() <= 30);
                prop_assert!((0.0..=1.0).contains(&axis.place(value)));
            }
        }
    }
}
