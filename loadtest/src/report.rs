//! The report of a run: what `report.json` holds and `report.html` shows.
//!
//! The schema is [`schema`], made of the doc comments here. [`VERSION`] grows when a field changes
//! its meaning or goes; new fields do not change it.

use crate::distribution::Quantiles;
use crate::errors::ErrorReport;
use crate::generator::GeneratorReport;
use crate::phases::JoinReport;
use crate::receive::StreamSummary;
use crate::scrape::{ServerReport, ShardReport};
use crate::slo::{EXIT_FAILED, EXIT_INVALID, EXIT_PASSED, Slo, SloRow};
use crate::timeline::Point;
use crate::witness::Witness;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The version of the format.
pub const VERSION: u32 = 1;

/// One run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Version of this format: 1.
    pub version: u32,
    /// What the run says, in a word.
    pub verdict: Verdict,
    /// What was run.
    pub run: RunInfo,
    /// The joins.
    pub joins: JoinReport,
    /// The media.
    pub media: MediaReport,
    /// Connections that were made again.
    pub reconnects: ReconnectReport,
    /// The run in steps of time.
    pub timeline: Vec<Point>,
    /// Seconds of a step of the timeline.
    pub step_s: f64,
    /// The streams with the most trouble, the worst first.
    pub worst_streams: Vec<StreamSummary>,
    /// The servers' own figures, if their metrics could be had.
    pub servers: Vec<ServerReport>,
    /// Rooms and participants of each shard.
    pub shards: Vec<ShardReport>,
    /// The load generator's own state; none in a report that was not measured.
    pub generator: Option<GeneratorReport>,
    /// Participants with another WebRTC implementation than ours.
    #[serde(default)]
    pub witnesses: Vec<Witness>,
    /// All errors.
    pub error_count: u64,
    /// Errors by kind, the most frequent first.
    pub errors: Vec<ErrorReport>,
    /// The objectives; empty if none were given.
    pub slo: Vec<SloRow>,
}

/// What a run says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The generator kept up; there were no objectives.
    #[default]
    Valid,
    /// All objectives were kept.
    Passed,
    /// An objective was missed, or the run could not go on to its end.
    Failed,
    /// The generator could not keep up: the figures say nothing about the server.
    Invalid,
}

/// What was run, and where.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunInfo {
    /// The program and its version.
    pub tool: String,
    /// The profile's name.
    pub profile: String,
    /// The server's URL.
    pub url: String,
    /// When the run began, in seconds since 1970 (UTC).
    pub started_unix_s: u64,
    /// How long it lasted, in seconds.
    pub duration_s: f64,
    /// It was stopped before its end.
    pub interrupted: bool,
    /// Why it could not go on to its end, if it could not.
    #[serde(default)]
    pub broken: Option<String>,
    /// Rooms that were planned.
    pub rooms: u64,
    /// Participants in each.
    pub people: u64,
    /// The plan's seed.
    pub seed: u64,
    /// Further settings, name and value.
    pub settings: Vec<(String, String)>,
    /// The generator's machine, name and value.
    pub machine: Vec<(String, String)>,
}

/// All media of a run. Packets and bytes are of all receivers together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MediaReport {
    /// Streams received, one for each track and receiver.
    pub streams: u64,
    /// Packets sent by publishers.
    pub packets_sent: u64,
    /// Bytes of their payloads.
    pub bytes_sent: u64,
    /// Packets received, without duplicates.
    pub packets_received: u64,
    /// Bytes of their payloads.
    pub bytes_received: u64,
    /// Packets that never came.
    pub lost: u64,
    /// `lost` of all that should have come, 0 to 1.
    pub loss: f64,
    /// Packets that came after a later one, of all that came, 0 to 1.
    pub reordering: f64,
    /// Packets that came again.
    pub duplicates: u64,
    /// From the publisher's socket to the receiver's, packet by packet.
    pub latency: Option<Quantiles>,
    /// The latency's distribution: (milliseconds, share of packets that are not slower).
    pub latency_curve: Vec<(f64, f64)>,
    /// Interarrival jitter of the streams at their ends.
    pub jitter: Option<Quantiles>,
    /// Frames that receivers could show.
    pub frames: u64,
    /// How often a picture froze (W3C webrtc-stats' `freezeCount`).
    pub freezes: u64,
    /// Time with a frozen picture of all time watched, 0 to 1.
    pub freeze_ratio: f64,
    /// Changes of the simulcast layer that is shown.
    pub layer_switches: u64,
}

/// Connections that were lost and made again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReconnectReport {
    /// How often.
    pub count: u64,
    /// From the loss to the return.
    pub recovery: Option<Quantiles>,
}

impl Report {
    /// Judges the run by objectives.
    pub fn judge(&mut self, slo: Option<&Slo>) {
        self.slo = slo.map(|slo| slo.evaluate(self)).unwrap_or_default();
        let kept_up = self
            .generator
            .as_ref()
            .is_none_or(|own| own.reasons.is_empty());
        self.verdict = if self.run.broken.is_some() {
            Verdict::Failed
        } else if !kept_up {
            Verdict::Invalid
        } else if self.slo.is_empty() {
            Verdict::Valid
        } else if self.slo.iter().all(|row| row.passed) {
            Verdict::Passed
        } else {
            Verdict::Failed
        };
    }

    /// The program's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.verdict {
            Verdict::Valid | Verdict::Passed => EXIT_PASSED,
            Verdict::Failed => EXIT_FAILED,
            Verdict::Invalid => EXIT_INVALID,
        }
    }

    /// The text of `report.json`.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Only maps with keys that are no strings cannot be written, and there are none.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// A report from the text of a `report.json`.
    pub fn from_json(text: &str) -> Result<Self, ReportError> {
        let report: Self = serde_json::from_str(text)?;
        if report.version != VERSION {
            return Err(ReportError::Version(report.version));
        }
        Ok(report)
    }
}

/// The JSON schema of a report.
#[must_use]
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Report).to_value()
}

/// A file that is no report of ours.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// Not JSON, or other fields.
    #[error("this is no load test report: {0}")]
    Format(#[from] serde_json::Error),
    /// Of another version.
    #[error(
        "this report has version {0}, and this program reads version {VERSION}: use the program \
         that wrote it"
    )]
    Version(u32),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distribution::Distribution;
    use crate::generator::{CpuUse, GeneratorLimits};
    use std::path::Path;

    fn run_with(lateness_us: u64) -> Report {
        let mut lateness = Distribution::default();
        lateness.record_us(lateness_us);
        let limits = GeneratorLimits::default();
        Report {
            version: VERSION,
            generator: Some(GeneratorReport::new(
                2,
                &CpuUse::default(),
                &lateness,
                limits,
            )),
            ..Report::default()
        }
    }

    fn slo(text: &str) -> Slo {
        Slo::parse(Path::new("slo.yaml"), text).unwrap()
    }

    #[test]
    fn a_generator_that_could_not_keep_up_makes_all_else_void() {
        let kept = slo("errors_max: 0");
        let missed = slo("latency_p99_ms: 1");
        let cases = [
            (run_with(500), None, Verdict::Valid, 0),
            (run_with(500), Some(&kept), Verdict::Passed, 0),
            (run_with(500), Some(&missed), Verdict::Failed, 1),
            (run_with(90_000), Some(&kept), Verdict::Invalid, 3),
            (run_with(90_000), None, Verdict::Invalid, 3),
        ];
        for (mut report, slo, verdict, exit) in cases {
            report.judge(slo);
            assert_eq!((report.verdict, report.exit_code()), (verdict, exit));
        }
        let mut broken = run_with(500);
        broken.run.broken = Some("the server is gone".to_owned());
        broken.judge(Some(&kept));
        assert_eq!((broken.verdict, broken.exit_code()), (Verdict::Failed, 1));
    }

    #[test]
    fn a_report_is_read_as_it_was_written_and_others_are_refused() {
        let mut report = run_with(500);
        report.judge(None);
        assert_eq!(Report::from_json(&report.to_json()).unwrap(), report);
        report.version = 9;
        let error = Report::from_json(&report.to_json())
            .unwrap_err()
            .to_string();
        assert!(error.contains("version 9"), "{error}");
        assert!(Report::from_json("{}").is_err());
    }

    #[test]
    fn the_schema_names_what_is_in_a_report() {
        let schema = schema();
        let properties = schema["properties"].as_object().unwrap();
        let report = serde_json::to_value(run_with(1)).unwrap();
        for (key, _) in report.as_object().unwrap() {
            let described = properties.get(key).map(|property| property.to_string());
            assert!(
                described.is_some_and(|text| text.contains("description")),
                "{key}"
            );
        }
    }
}
