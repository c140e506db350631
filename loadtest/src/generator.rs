//! Could the generator keep up? A load test that sends late measures itself, and must say so.

use crate::distribution::{Distribution, Quantiles};
use crate::numbers::{ratio, rounded, seconds};
use crate::series::Series;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a generator may use and how late it may be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GeneratorLimits {
    /// Share of its cores that it may be busy, 0 to 1, on the average of the run.
    pub cpu_share_max: f64,
    /// How late 99 % of the frames may be sent, in milliseconds: half a frame at 25 a second.
    pub lateness_p99_ms_max: f64,
    /// Share of its packets that its own system may refuse, 0 to 1.
    pub unsent_max: f64,
}

impl Default for GeneratorLimits {
    fn default() -> Self {
        Self {
            cpu_share_max: 0.85,
            lateness_p99_ms_max: 20.0,
            unsent_max: 0.001,
        }
    }
}

/// The CPU time of a process, sampled.
#[derive(Clone, Debug, Default)]
pub struct CpuUse(Series);

impl CpuUse {
    /// The process has used so many seconds of CPU since it started.
    pub fn handle_sample(&mut self, cpu_seconds: f64, now_ns: u64) {
        self.0.push(rounded(seconds(now_ns)), cpu_seconds);
    }

    /// Cores in use between samples: (seconds since the start of the run, cores).
    #[must_use]
    pub fn curve(&self) -> Vec<(f64, f64)> {
        self.0.rates()
    }

    /// Cores in use on the average.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        self.0.mean_rate()
    }
}

/// CPU seconds of a process (user and system) from `/proc/self/stat` (proc_pid_stat(5), fields 14
/// and 15 in ticks of 10 ms); `None` if the text is not of that kind.
#[must_use]
pub fn cpu_seconds_of_stat(stat: &str) -> Option<f64> {
    /// `sysconf(_SC_CLK_TCK)` on every Linux that is in use.
    const TICKS_PER_SECOND: f64 = 100.0;
    // The second field, the name, is in brackets and may have blanks and brackets of its own.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some((f64::from(user) + f64::from(system)) / TICKS_PER_SECOND)
}

/// The generator in a report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GeneratorReport {
    /// Cores that it may use.
    pub cores: u32,
    /// Cores it used on the average; none if it was not measured.
    pub cpu_cores: Option<f64>,
    /// Over time: (seconds, cores).
    pub cpu: Vec<(f64, f64)>,
    /// How late frames were sent.
    pub lateness: Option<Quantiles>,
    /// Datagrams that its own system did not take: lost before the network.
    pub unsent: u64,
    /// What was allowed.
    pub limits: GeneratorLimits,
    /// Why the run says nothing about the server; empty if it is valid.
    pub reasons: Vec<String>,
}

impl GeneratorReport {
    /// Judges a generator of so many cores.
    #[must_use]
    pub fn new(cores: u32, cpu: &CpuUse, lateness: &Distribution, limits: GeneratorLimits) -> Self {
        let mut report = Self {
            cores,
            cpu_cores: cpu.mean(),
            cpu: cpu.curve(),
            lateness: lateness.quantiles(),
            unsent: 0,
            limits,
            reasons: Vec::new(),
        };
        let share = report.cpu_cores.map(|used| used / f64::from(cores.max(1)));
        if let Some(share) = share.filter(|share| *share > limits.cpu_share_max) {
            report.reasons.push(format!(
                "it used {:.0} % of its {cores} cores on the average (limit {:.0} %)",
                share * 100.0,
                limits.cpu_share_max * 100.0
            ));
        }
        let late = report.lateness.map(|lateness| lateness.p99_ms);
        if let Some(late) = late.filter(|late| *late > limits.lateness_p99_ms_max) {
            report.reasons.push(format!(
                "1 % of its frames were sent more than {late:.1} ms late (limit {} ms)",
                limits.lateness_p99_ms_max
            ));
        }
        report
    }

    /// Judges what its own system did not take, of so many packets.
    #[must_use]
    pub fn with_unsent(mut self, unsent: u64, packets: u64) -> Self {
        self.unsent = unsent;
        let share = ratio(unsent, packets);
        if share > self.limits.unsent_max {
            self.reasons.push(format!(
                "its own system did not take {:.2} % of its packets (limit {:.2} %)",
                share * 100.0,
                self.limits.unsent_max * 100.0
            ));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn cores_are_cpu_seconds_a_second() {
        let mut cpu = CpuUse::default();
        for (at, used) in [(0, 10.0), (1, 10.5), (2, 12.0), (4, 12.0)] {
            cpu.handle_sample(used, at * S);
        }
        assert_eq!(cpu.curve(), [(1.0, 0.5), (2.0, 1.5), (4.0, 0.0)]);
        assert_eq!(cpu.mean(), Some(0.5));
    }

    #[test]
    fn the_fourteenth_and_fifteenth_field_are_ticks() {
        let stat = "42 (load) test) S 1 42 42 0 -1 4194304 900 0 0 0 1250 250 0 0 20 0 9 0 1 1 1";
        assert_eq!(cpu_seconds_of_stat(stat), Some(15.0));
        assert_eq!(cpu_seconds_of_stat("42 (x"), None);
        assert_eq!(cpu_seconds_of_stat("42 (x) S 1"), None);
    }

    #[test]
    fn a_generator_that_is_busy_or_late_says_both() {
        let mut cpu = CpuUse::default();
        cpu.handle_sample(0.0, 0);
        cpu.handle_sample(19.0, 10 * S);
        let mut lateness = Distribution::default();
        for _ in 0..100 {
            lateness.record_us(30_000);
        }
        let report = GeneratorReport::new(2, &cpu, &lateness, GeneratorLimits::default());
        assert_eq!(report.reasons.len(), 2);
        assert!(report.reasons[0].contains("95 %"), "{:?}", report.reasons);
        assert!(report.reasons[1].contains("30"), "{:?}", report.reasons);
        let quiet = GeneratorReport::new(4, &cpu, &Distribution::default(), report.limits);
        assert!(quiet.reasons.is_empty());
    }
}
