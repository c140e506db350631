//! The end of a run in a few lines of text.

use crate::distribution::Quantiles;
use crate::report::{Report, Verdict};
use crate::slo::SloRow;

/// For a terminal: the verdict, the figures that matter, and what was missed. Without a newline at its
/// end.
#[must_use]
pub fn text(report: &Report) -> String {
    let media = &report.media;
    let joins = &report.joins;
    let mut lines = vec![format!(
        "{}: {} of {} joins, {}; {} errors, {} reconnects",
        verdict(report.verdict),
        joins.succeeded,
        joins.attempted,
        times("to the first frame", joins.total),
        report.error_count,
        report.reconnects.count
    )];
    lines.push(format!(
        "media: {}, loss {:.3} %, out of order {:.3} %, frozen {:.3} % of the time, {} packets received",
        times("latency", media.latency),
        media.loss * 100.0,
        media.reordering * 100.0,
        media.freeze_ratio * 100.0,
        media.packets_received
    ));
    for server in &report.servers {
        let cores = server
            .cpu_cores
            .map_or("–".to_owned(), |cores| format!("{cores:.2}"));
        let memory = server.memory_bytes_max.map_or("–".to_owned(), |bytes| {
            format!("{:.0} MiB", bytes / f64::from(1 << 20))
        });
        lines.push(format!("server {}: {cores} cores, {memory}", server.name));
    }
    if let Some(own) = &report.generator {
        let cores = own
            .cpu_cores
            .map_or("–".to_owned(), |cores| format!("{cores:.2}"));
        let late = times("late", own.lateness);
        lines.push(format!("generator: {cores} of {} cores, {late}", own.cores));
    }
    lines.extend(report.slo.iter().filter(|row| !row.passed).map(missed));
    for error in report.errors.iter().take(3) {
        lines.push(format!(
            "error, {} times: {} ({})",
            error.count, error.kind, error.example
        ));
    }
    lines.join("\n")
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Valid => "valid",
        Verdict::Passed => "passed",
        Verdict::Failed => "failed",
        Verdict::Invalid => "invalid",
    }
}

fn times(what: &str, times: Option<Quantiles>) -> String {
    times.map_or_else(
        || format!("{what} –"),
        |times| {
            let Quantiles {
                p50_ms,
                p95_ms,
                p99_ms,
                ..
            } = times;
            format!("{what} p50 {p50_ms} p95 {p95_ms} p99 {p99_ms} ms")
        },
    )
}

fn missed(row: &SloRow) -> String {
    let value = row
        .value
        .map_or("nothing was measured".to_owned(), |value| value.to_string());
    format!("missed: {} is {value}, limit {}", row.name, row.limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::ErrorLog;
    use crate::slo::Slo;

    #[test]
    fn what_was_missed_and_why_is_said() {
        let mut errors = ErrorLog::default();
        errors.record("join refused", "ann: 503", 0);
        let mut report = Report {
            error_count: errors.count(),
            errors: errors.report(),
            ..Report::default()
        };
        report.judge(Some(&Slo::without_errors()));
        let text = text(&report);
        assert!(text.starts_with("failed: 0 of 0 joins"), "{text}");
        assert!(text.contains("missed: errors_max is 1, limit 0"), "{text}");
        assert!(
            text.ends_with("error, 1 times: join refused (ann: 503)"),
            "{text}"
        );
    }
}
