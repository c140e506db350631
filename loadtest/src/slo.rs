//! Objectives: a YAML file of limits, what a run reached of them, and the exit code.
//!
//! ```yaml
//! join_p95_ms: 1000      # HTTP request to first frame
//! latency_p99_ms: 150    # end to end, packet by packet
//! loss_max: 0.1%         # or 0.001
//! freeze_ratio_max: 1%
//! errors_max: 0
//! ```
//!
//! A limit that is reached exactly is kept. A limit on something of which nothing was measured is
//! not: a run without media has no good latency.

mod load;

pub use load::SloError;

use crate::report::Report;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};
use std::fmt;

/// Exit code: the run is valid and keeps all objectives (or has none).
pub const EXIT_PASSED: u8 = 0;
/// Exit code: an objective was missed, or the run could not go on to its end.
pub const EXIT_FAILED: u8 = 1;
/// Exit code: nothing could be run: arguments, URL, keys or this machine are wrong.
pub const EXIT_USAGE: u8 = 2;
/// Exit code: the generator could not keep up; the figures say nothing about the server.
pub const EXIT_INVALID: u8 = 3;

/// The file. All limits are optional.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Slo {
    /// Time from the HTTP request to the first frame, in milliseconds: the median.
    pub join_p50_ms: Option<Amount>,
    /// The same, of which 95 % are not longer.
    pub join_p95_ms: Option<Amount>,
    /// The same, of which 99 % are not longer.
    pub join_p99_ms: Option<Amount>,
    /// Time from the HTTP request until media can flow, in milliseconds: 95 % are not longer.
    pub connect_p95_ms: Option<Amount>,
    /// End-to-end latency of packets, in milliseconds: the median.
    pub latency_p50_ms: Option<Amount>,
    /// The same, of which 95 % are not longer.
    pub latency_p95_ms: Option<Amount>,
    /// The same, of which 99 % are not longer.
    pub latency_p99_ms: Option<Amount>,
    /// Packets lost of those that should have come.
    pub loss_max: Option<Share>,
    /// Packets that came after a later one.
    pub reordering_max: Option<Share>,
    /// Time with a frozen picture of all time watched.
    pub freeze_ratio_max: Option<Share>,
    /// Joins that failed of all joins.
    pub join_failures_max: Option<Share>,
    /// Errors of any kind.
    pub errors_max: Option<Amount>,
    /// Connections that were made again.
    pub reconnects_max: Option<Amount>,
    /// Time until a cut connection was back, in milliseconds: 95 % are not longer.
    pub reconnect_p95_ms: Option<Amount>,
    /// CPU cores that all servers together used on the average.
    pub server_cpu_cores_max: Option<Amount>,
    /// Resident memory of all servers together at its largest, in MiB.
    pub server_memory_mib_max: Option<Amount>,
}

/// A limit that is a number of 0 or more.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, JsonSchema)]
pub struct Amount(f64);

/// A limit that is a share: `0.1%`, or 0.001.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, JsonSchema)]
pub struct Share(f64);

/// What a row's numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SloUnit {
    /// Milliseconds.
    Ms,
    /// A share, 0 to 1.
    Share,
    /// How often.
    Count,
    /// CPU cores.
    Cores,
    /// MiB.
    Mib,
}

/// One objective and what was reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SloRow {
    /// The key in the file.
    pub name: String,
    /// The limit; larger values miss it.
    pub limit: f64,
    /// What the run reached; none if nothing was measured.
    pub value: Option<f64>,
    /// What the numbers are.
    pub unit: SloUnit,
    /// The limit was kept.
    pub passed: bool,
}

impl Slo {
    /// What is asked of every run that has no file of objectives: no errors.
    #[must_use]
    pub fn without_errors() -> Self {
        Self {
            errors_max: Some(Amount(0.0)),
            ..Self::default()
        }
    }

    /// What a run reached, a row for each limit in the file.
    #[must_use]
    pub fn evaluate(&self, report: &Report) -> Vec<SloRow> {
        let times = self.times(report);
        let shares = self.shares(report);
        let numbers = self.numbers(report);
        let rows = times.into_iter().chain(shares).chain(numbers);
        rows.filter_map(|(name, limit, value, unit)| {
            let limit = limit?;
            Some(SloRow {
                name: name.to_owned(),
                limit,
                value,
                unit,
                passed: value.is_some_and(|value| value <= limit),
            })
        })
        .collect()
    }

    fn times(&self, report: &Report) -> Vec<Check> {
        let join = report.joins.total;
        let latency = report.media.latency;
        let reconnect = report.reconnects.recovery;
        let ms = |name, limit: Option<Amount>, value| {
            (name, limit.map(|limit| limit.0), value, SloUnit::Ms)
        };
        vec![
            ms(
                "join_p50_ms",
                self.join_p50_ms,
                join.map(|times| times.p50_ms),
            ),
            ms(
                "join_p95_ms",
                self.join_p95_ms,
                join.map(|times| times.p95_ms),
            ),
            ms(
                "join_p99_ms",
                self.join_p99_ms,
                join.map(|times| times.p99_ms),
            ),
            ms(
                "connect_p95_ms",
                self.connect_p95_ms,
                report.joins.connected.map(|times| times.p95_ms),
            ),
            ms(
                "latency_p50_ms",
                self.latency_p50_ms,
                latency.map(|times| times.p50_ms),
            ),
            ms(
                "latency_p95_ms",
                self.latency_p95_ms,
                latency.map(|times| times.p95_ms),
            ),
            ms(
                "latency_p99_ms",
                self.latency_p99_ms,
                latency.map(|times| times.p99_ms),
            ),
            ms(
                "reconnect_p95_ms",
                self.reconnect_p95_ms,
                reconnect.map(|times| times.p95_ms),
            ),
        ]
    }

    fn shares(&self, report: &Report) -> Vec<Check> {
        let media = &report.media;
        let came = media.packets_received > 0;
        let joins = &report.joins;
        let failed = crate::numbers::ratio(joins.failed, joins.attempted);
        let share = |name, limit: Option<Share>, value| {
            (name, limit.map(|limit| limit.0), value, SloUnit::Share)
        };
        vec![
            share("loss_max", self.loss_max, came.then_some(media.loss)),
            share(
                "reordering_max",
                self.reordering_max,
                came.then_some(media.reordering),
            ),
            share(
                "freeze_ratio_max",
                self.freeze_ratio_max,
                (media.frames > 0).then_some(media.freeze_ratio),
            ),
            share(
                "join_failures_max",
                self.join_failures_max,
                (joins.attempted > 0).then_some(failed),
            ),
        ]
    }

    fn numbers(&self, report: &Report) -> Vec<Check> {
        let cpu: Option<f64> = report
            .servers
            .iter()
            .filter_map(|server| server.cpu_cores)
            .reduce(sum);
        let memory = report
            .servers
            .iter()
            .filter_map(|server| server.memory_bytes_max)
            .reduce(sum);
        let count = crate::numbers::as_f64;
        let number = |name, limit: Option<Amount>, value, unit| {
            (name, limit.map(|limit| limit.0), value, unit)
        };
        let mib = memory.map(|bytes| bytes / f64::from(1 << 20));
        let errors = Some(count(report.error_count));
        let reconnects = Some(count(report.reconnects.count));
        vec![
            number("errors_max", self.errors_max, errors, SloUnit::Count),
            number(
                "reconnects_max",
                self.reconnects_max,
                reconnects,
                SloUnit::Count,
            ),
            number(
                "server_cpu_cores_max",
                self.server_cpu_cores_max,
                cpu,
                SloUnit::Cores,
            ),
            number(
                "server_memory_mib_max",
                self.server_memory_mib_max,
                mib,
                SloUnit::Mib,
            ),
        ]
    }
}

/// Name, limit, value, unit.
type Check = (&'static str, Option<f64>, Option<f64>, SloUnit);

fn sum(a: f64, b: f64) -> f64 {
    a + b
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(Number { share: false })
            .map(Self)
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(Number { share: true })
            .map(Self)
    }
}

/// Reads a limit; `share`: at most 1, and a percentage is allowed.
struct Number {
    share: bool,
}

impl Number {
    fn checked<E: de::Error>(&self, value: f64) -> Result<f64, E> {
        let max = if self.share { 1.0 } else { f64::MAX };
        if value.is_finite() && (0.0..=max).contains(&value) {
            return Ok(value);
        }
        Err(E::custom(if self.share {
            format!("{value} is no share: write 0.1%, or 0.001")
        } else {
            format!("{value} is no limit: write a number of 0 or more")
        }))
    }
}

impl de::Visitor<'_> for Number {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.share {
            "a share, as 0.1% or 0.001"
        } else {
            "a number of 0 or more"
        })
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<f64, E> {
        self.checked(value)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<f64, E> {
        self.checked(crate::numbers::as_f64(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<f64, E> {
        self.checked(value as f64)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<f64, E> {
        let percent = text.trim().strip_suffix('%').filter(|_| self.share);
        let number = percent.unwrap_or(text).trim().parse::<f64>();
        let number = number.map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))?;
        self.checked(if percent.is_some() {
            number / 100.0
        } else {
            number
        })
    }
}

#[cfg(test)]
mod tests;
