//! What the page says in words: the verdict, the figures that matter, and lists.

use super::markup::Html;
use super::unit::Unit;
use crate::report::{Report, Verdict};
use crate::slo::{SloRow, SloUnit};

/// The verdict and its reasons.
pub(super) fn banner(report: &Report) -> Html {
    let missed: Vec<&SloRow> = report.slo.iter().filter(|row| !row.passed).collect();
    let all = report.slo.len();
    let mut out = Html::default();
    let (markup, text) = match report.verdict {
        Verdict::Valid => (
            "<div class=\"banner plain\"><strong>Valid</strong><p>",
            "The load generator kept up. No objectives were given.".to_owned(),
        ),
        Verdict::Passed => (
            "<div class=\"banner good\"><strong>Passed</strong><p>",
            match all {
                1 => "The objective was kept, and the load generator kept up.".to_owned(),
                _ => format!("All {all} objectives were kept, and the load generator kept up."),
            },
        ),
        Verdict::Failed => (
            "<div class=\"banner bad\"><strong>Failed</strong><p>",
            match missed.len() {
                0 => "The run could not go on to its end.".to_owned(),
                count => format!("{count} of {all} objectives were missed."),
            },
        ),
        Verdict::Invalid => (
            "<div class=\"banner warn\"><strong>Invalid</strong><p>",
            "The load generator could not keep up: these figures say nothing about the server. \
             Give it more cores, or run fewer participants."
                .to_owned(),
        ),
    };
    out.raw(markup).text(&text);
    if report.run.interrupted {
        out.raw(" The run was stopped before its end.");
    }
    if let Some(cause) = &report.run.broken {
        out.raw(" ").text(cause);
    }
    out.raw("</p>");
    let own = report.generator.iter().flat_map(|own| &own.reasons);
    let mut reasons: Vec<String> = own.cloned().collect();
    reasons.extend(missed.iter().map(|row| miss(row)));
    if !reasons.is_empty() {
        out.raw("<ul>");
        for reason in reasons {
            out.raw("<li>").text(&reason).raw("</li>");
        }
        out.raw("</ul>");
    }
    out.raw("</div>\n");
    out
}

fn miss(row: &SloRow) -> String {
    let reached = row
        .value
        .map_or("nothing was measured".to_owned(), |value| {
            format!("reached {}", words(row.unit, value))
        });
    format!(
        "{}: {reached}, limit {}",
        row.name,
        words(row.unit, row.limit)
    )
}

fn words(unit: SloUnit, value: f64) -> String {
    match unit {
        SloUnit::Ms => Unit::Ms.words(value),
        SloUnit::Share => Unit::Share.words(value),
        SloUnit::Count => Unit::Count.words(value),
        SloUnit::Cores => Unit::Cores.words(value),
        SloUnit::Mib => Unit::Bytes.words(value * 1_048_576.0),
    }
}

/// The figures that matter.
pub(super) fn tiles(report: &Report) -> Html {
    let joins = &report.joins;
    let media = &report.media;
    let none = || "–".to_owned();
    let ms = |value: Option<f64>| value.map_or_else(none, |value| Unit::Ms.words(value));
    let came = media.packets_received > 0;
    let share = |value: f64| {
        if came {
            Unit::Share.words(value)
        } else {
            none()
        }
    };
    let seconds = report.run.duration_s.max(1.0);
    let mean = |bytes: u64| Unit::Bits.words(crate::numbers::as_f64(bytes) * 8.0 / seconds);
    let cpu = report
        .servers
        .iter()
        .filter_map(|server| server.cpu_cores)
        .reduce(|a, b| a + b);
    let tiles = [
        (
            "Joined",
            format!("{} of {}", joins.succeeded, joins.attempted),
            format!("p95 {}", ms(joins.total.map(|total| total.p95_ms))),
            joins.failed > 0,
        ),
        (
            "Latency p99",
            ms(media.latency.map(|latency| latency.p99_ms)),
            format!("p50 {}", ms(media.latency.map(|latency| latency.p50_ms))),
            false,
        ),
        (
            "Packet loss",
            share(media.loss),
            format!("{} packets", media.lost),
            false,
        ),
        (
            "Frozen",
            share(media.freeze_ratio),
            format!("{} freezes", media.freezes),
            false,
        ),
        (
            "Received",
            mean(media.bytes_received),
            format!("{} sent", mean(media.bytes_sent)),
            false,
        ),
        (
            "Server CPU",
            cpu.map_or_else(none, |cpu| Unit::Cores.words(cpu)),
            "all processes, mean".to_owned(),
            false,
        ),
        (
            "Reconnects",
            report.reconnects.count.to_string(),
            format!(
                "back after {}",
                ms(report.reconnects.recovery.map(|times| times.p95_ms))
            ),
            false,
        ),
        (
            "Errors",
            report.error_count.to_string(),
            format!("{} kinds", report.errors.len()),
            report.error_count > 0,
        ),
    ];
    let mut out = Html::default();
    out.raw("<dl class=\"tiles\">\n");
    for (name, value, more, bad) in tiles {
        out.raw(if bad {
            "<div class=\"bad\"><dt>"
        } else {
            "<div><dt>"
        });
        out.text(name)
            .raw("</dt><dd><b>")
            .text(&value)
            .raw("</b><span>");
        out.text(&more).raw("</span></dd></div>\n");
    }
    out.raw("</dl>\n");
    out
}

/// Each objective.
pub(super) fn objectives(report: &Report) -> Html {
    let mut out = table(&["Objective", "Limit", "Reached", ""]);
    for row in &report.slo {
        let reached = row
            .value
            .map_or("not measured".to_owned(), |value| words(row.unit, value));
        out.raw("<tr><td><code>")
            .text(&row.name)
            .raw("</code></td><td class=\"n\">");
        out.text(&words(row.unit, row.limit))
            .raw("</td><td class=\"n\">")
            .text(&reached);
        out.raw(if row.passed {
            "</td><td class=\"mark good\">✓ kept</td></tr>\n"
        } else {
            "</td><td class=\"mark bad\">✗ missed</td></tr>\n"
        });
    }
    close(out)
}

/// Errors by kind, and servers that did not answer.
pub(super) fn errors(report: &Report) -> Html {
    if report.errors.is_empty() && report.servers.iter().all(|server| server.failures == 0) {
        let mut out = Html::default();
        out.raw("<p class=\"none\">None.</p>\n");
        return out;
    }
    let mut out = table(&["What", "Count", "First", "For example"]);
    for error in &report.errors {
        out.raw("<tr><td>")
            .text(&error.kind)
            .raw("</td><td class=\"n\">");
        out.text(&error.count.to_string())
            .raw("</td><td class=\"n\">");
        out.text(&format!("{:.1} s", error.first_at_s))
            .raw("</td><td class=\"long\">");
        out.text(&error.example).raw("</td></tr>\n");
    }
    for server in report.servers.iter().filter(|server| server.failures > 0) {
        out.raw("<tr><td>metrics of ").text(&server.name);
        out.raw(" could not be read</td><td class=\"n\">")
            .text(&server.failures.to_string());
        out.raw("</td><td></td><td class=\"long\">");
        out.text(server.last_failure.as_deref().unwrap_or(""))
            .raw("</td></tr>\n");
    }
    close(out)
}

/// The worst streams.
pub(super) fn streams(report: &Report) -> Html {
    let heads = [
        "Stream", "Codec", "Lost", "Frozen", "Freezes", "Jitter", "Slowest", "Rate",
    ];
    let mut out = table(&heads);
    for stream in &report.worst_streams {
        let slowest = crate::numbers::as_f64(stream.latency_max_us) / 1000.0;
        let cells = [
            Unit::Share.words(stream.loss),
            Unit::Share.words(stream.freeze_ratio),
            stream.freezes.to_string(),
            Unit::Ms.words(stream.jitter_ms),
            Unit::Ms.words(slowest),
            Unit::Bits.words(stream.bitrate),
        ];
        out.raw("<tr><td>").text(&stream.name).raw("</td><td>");
        out.text(&format!("{:?}", stream.codec)).raw("</td>");
        for cell in &cells {
            out.raw("<td class=\"n\">").text(cell).raw("</td>");
        }
        out.raw("</tr>\n");
    }
    close(out)
}

/// What was run, and where.
/// Participants over other implementations of WebRTC.
pub(super) fn witnesses(report: &Report) -> Html {
    let heads = [
        "Participant",
        "Implementation",
        "Joined",
        "First frame",
        "Streams",
        "Packets",
        "Lost",
        "Frames",
        "Freezes",
        "Frozen",
        "Trouble",
    ];
    let mut out = table(&heads);
    let ms = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |ms| Unit::Ms.words(ms));
    for witness in &report.witnesses {
        let cells = [
            ms(witness.joined_ms),
            ms(witness.first_frame_ms),
            witness.streams.to_string(),
            witness.packets.to_string(),
            witness.lost.to_string(),
            witness.frames.to_string(),
            witness.freezes.to_string(),
            format!("{:.1} s", witness.frozen_s),
        ];
        out.raw("<tr><td>").text(&witness.name).raw("</td><td>");
        out.raw(witness.kind.title()).raw("</td>");
        for cell in &cells {
            out.raw("<td class=\"n\">").text(cell).raw("</td>");
        }
        out.raw("<td>")
            .text(witness.error.as_deref().unwrap_or("none"))
            .raw("</td></tr>\n");
    }
    close(out)
}

pub(super) fn run(report: &Report) -> Html {
    let run = &report.run;
    let stopped = if run.interrupted {
        ", stopped before its end"
    } else {
        ""
    };
    let own = [
        ("Program".to_owned(), run.tool.clone()),
        ("Server".to_owned(), run.url.clone()),
        ("Began".to_owned(), date(run.started_unix_s)),
        (
            "Lasted".to_owned(),
            format!("{:.1} s{stopped}", run.duration_s),
        ),
        ("Seed".to_owned(), run.seed.to_string()),
    ];
    let mut out = Html::default();
    out.raw("<dl class=\"run\">\n");
    for (name, value) in own.iter().chain(&run.settings).chain(&run.machine) {
        out.raw("<div><dt>")
            .text(name)
            .raw("</dt><dd>")
            .text(value)
            .raw("</dd></div>\n");
    }
    out.raw("</dl>\n");
    out
}

fn table(heads: &[&'static str]) -> Html {
    let mut out = Html::default();
    out.raw("<div class=\"scroll\"><table>\n<thead><tr>");
    for head in heads {
        out.raw("<th>").raw(head).raw("</th>");
    }
    out.raw("</tr></thead>\n<tbody>\n");
    out
}

fn close(mut out: Html) -> Html {
    out.raw("</tbody></table></div>\n");
    out
}

/// A moment in UTC. Days to a date by Howard Hinnant's `civil_from_days`.
pub(super) fn date(unix_s: u64) -> String {
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days() {
        for (unix_s, text) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_399, "2000-02-28 23:59 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (1_709_164_800, "2024-02-29 00:00 UTC"),
            (1_795_305_600, "2026-11-22 00:00 UTC"),
        ] {
            assert_eq!(date(unix_s), text);
        }
    }

    #[test]
    fn an_invalid_run_says_why_and_what_to_do() {
        let mut report = Report {
            verdict: Verdict::Invalid,
            ..Report::default()
        };
        report.run.interrupted = true;
        let text = banner(&report).finish();
        assert!(text.contains("could not keep up") && text.contains("stopped before its end"));
    }

    #[test]
    fn a_missed_objective_is_named_with_what_was_reached() {
        let row = SloRow {
            name: "loss_max".to_owned(),
            limit: 0.001,
            value: Some(0.02),
            unit: SloUnit::Share,
            passed: false,
        };
        assert_eq!(miss(&row), "loss_max: reached 2 %, limit 0.1 %");
        let unmeasured = SloRow { value: None, ..row };
        assert_eq!(
            miss(&unmeasured),
            "loss_max: nothing was measured, limit 0.1 %"
        );
    }
}
