//! A curve in bounded memory.

/// Points kept at most; then every second one goes, and of the next only every second is taken.
const POINTS_MAX: usize = 1200;

/// Values over time: (seconds since the start of the run, value).
#[derive(Clone, Debug)]
pub(crate) struct Series {
    points: Vec<(f64, f64)>,
    stride: usize,
    pushed: usize,
}

impl Default for Series {
    fn default() -> Self {
        Self {
            points: Vec::new(),
            stride: 1,
            pushed: 0,
        }
    }
}

impl Series {
    /// Takes a point later than all before.
    pub(crate) fn push(&mut self, at_s: f64, value: f64) {
        if self.pushed.is_multiple_of(self.stride) {
            self.points.push((at_s, value));
        }
        self.pushed += 1;
        if self.points.len() > POINTS_MAX {
            self.stride *= 2;
            let mut index = 0;
            self.points.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
    }

    pub(crate) fn points(&self) -> &[(f64, f64)] {
        &self.points
    }

    /// The largest value.
    pub(crate) fn max(&self) -> Option<f64> {
        self.points
            .iter()
            .map(|point| point.1)
            .max_by(f64::total_cmp)
    }

    /// Of a counter: how much it grew a second, between points. A counter that went back belongs to
    /// a new process: there is no rate.
    pub(crate) fn rates(&self) -> Vec<(f64, f64)> {
        let pairs = self.points.iter().zip(self.points.iter().skip(1));
        pairs
            .filter_map(|(before, after)| Some((after.0, rate(*before, *after)?)))
            .collect()
    }

    /// Of a counter: the mean of its growth a second, without spans in which it went back.
    pub(crate) fn mean_rate(&self) -> Option<f64> {
        let (mut span, mut growth) = (0.0, 0.0);
        for (before, after) in self.points.iter().zip(self.points.iter().skip(1)) {
            if rate(*before, *after).is_some() {
                span += after.0 - before.0;
                growth += after.1 - before.1;
            }
        }
        (span > 0.0).then(|| crate::numbers::rounded(growth / span))
    }
}

fn rate(before: (f64, f64), after: (f64, f64)) -> Option<f64> {
    let span = after.0 - before.0;
    (span > 0.0 && after.1 >= before.1)
        .then(|| crate::numbers::rounded((after.1 - before.1) / span))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_starts_anew_has_no_rate_there() {
        let mut series = Series::default();
        for (at, value) in [(0.0, 10.0), (1.0, 12.0), (2.0, 1.0), (4.0, 5.0)] {
            series.push(at, value);
        }
        assert_eq!(series.rates(), [(1.0, 2.0), (4.0, 2.0)]);
        assert_eq!(series.mean_rate(), Some(2.0));
        assert_eq!(series.max(), Some(12.0));
        assert_eq!(Series::default().mean_rate(), None);
    }

    #[test]
    fn points_are_bounded_and_cover_the_run() {
        let mut series = Series::default();
        for second in 0..20_000 {
            series.push(f64::from(second), f64::from(second));
        }
        assert!(series.points().len() <= POINTS_MAX);
        assert!(series.points().last().unwrap().0 > 19_900.0);
        assert!(series.rates().iter().all(|(_, rate)| *rate == 1.0));
    }
}
