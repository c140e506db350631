//! Which charts the page has, and of what.

use super::bars;
use super::markup::Html;
use super::plot::{Along, Draw, Plot, Series};
use super::unit::Unit;
use crate::phases::PhaseReport;
use crate::report::Report;
use crate::timeline::Point;

/// How long joins took, and how many were there.
pub(super) fn joining(report: &Report) -> Html {
    let joins = &report.joins;
    let mut rows: Vec<_> = joins.phases.iter().map(row).collect();
    rows.extend(joins.total.map(|total| ("in all", total)));
    let note = format!(
        "{} of {} joins; each phase from the end of the one before",
        joins.succeeded, joins.attempted
    );
    let mut out = open();
    out.add(bars::figure("Join time by phase", &note, &rows));
    let people = Plot {
        title: "Participants",
        note: "connected at the same time".to_owned(),
        quiet: "nobody joined",
        ..over_time(
            report,
            Unit::Count,
            vec![curve("connected", Draw::Area, report, |point| {
                Some(count(point.participants))
            })],
        )
    };
    out.add(people.figure());
    close(out)
}

fn row(phase: &PhaseReport) -> (&'static str, crate::distribution::Quantiles) {
    (phase.phase.title(), phase.times)
}

/// What receivers saw.
pub(super) fn media(report: &Report) -> Html {
    let mut out = open();
    for plot in [
        latency(report),
        latency_curve(report),
        loss(report),
        bitrate(report),
    ] {
        out.add(plot.figure());
    }
    for plot in [freezes(report), switches(report), reconnects(report)] {
        out.add(plot.figure());
    }
    out.add(packets(report).figure());
    close(out)
}

fn latency(report: &Report) -> Plot<'static> {
    let series = vec![
        curve("p50", Draw::Line, report, |point| point.latency_p50_ms),
        curve("p95", Draw::Line, report, |point| point.latency_p95_ms),
        curve("p99", Draw::Line, report, |point| point.latency_p99_ms),
    ];
    Plot {
        title: "End-to-end latency",
        note: "from the publisher's socket to the receiver's, every packet".to_owned(),
        limit: limit(report, "latency_p99_ms"),
        ..over_time(report, Unit::Ms, series)
    }
}

fn latency_curve(report: &Report) -> Plot<'static> {
    let latency = report.media.latency;
    let marks = latency.map(|latency| {
        vec![
            (latency.p50_ms, "p50"),
            (latency.p95_ms, "p95"),
            (latency.p99_ms, "p99"),
        ]
    });
    let note = latency.map_or(String::new(), |latency| {
        format!(
            "p50 {}, p95 {}, p99 {}, longest {}",
            Unit::Ms.words(latency.p50_ms),
            Unit::Ms.words(latency.p95_ms),
            Unit::Ms.words(latency.p99_ms),
            Unit::Ms.words(latency.max_ms)
        )
    });
    Plot {
        title: "Latency distribution",
        note,
        unit: Unit::Share,
        along: Along::LogMs,
        series: vec![Series {
            name: "packets".to_owned(),
            draw: Draw::Area,
            points: report.media.latency_curve.clone(),
        }],
        quiet: "",
        limit: None,
        marks: marks.unwrap_or_default(),
    }
}

fn loss(report: &Report) -> Plot<'static> {
    let media = &report.media;
    let series = vec![
        curve("lost", Draw::Area, report, |point| Some(point.loss)),
        curve("out of order", Draw::Line, report, |point| {
            Some(point.reordering)
        }),
    ];
    Plot {
        title: "Loss and reordering",
        note: format!(
            "{} lost, {} out of order, {} duplicates",
            Unit::Share.words(media.loss),
            Unit::Share.words(media.reordering),
            media.duplicates
        ),
        quiet: "every packet came, in order",
        limit: limit(report, "loss_max"),
        ..over_time(report, Unit::Share, media_series(report, series))
    }
}

fn bitrate(report: &Report) -> Plot<'static> {
    let series = vec![
        curve("received", Draw::Area, report, |point| {
            Some(point.receive_bitrate)
        }),
        curve("sent", Draw::Line, report, |point| Some(point.send_bitrate)),
    ];
    Plot {
        title: "Bitrate",
        note: "payloads, all participants together".to_owned(),
        quiet: "nothing was sent",
        ..over_time(report, Unit::Bits, series)
    }
}

fn packets(report: &Report) -> Plot<'static> {
    let series = vec![
        curve("packets received", Draw::Area, report, |point| {
            Some(point.receive_packets)
        }),
        curve("packets sent", Draw::Line, report, |point| {
            Some(point.send_packets)
        }),
        curve("frames shown", Draw::Line, report, |point| {
            Some(point.frames)
        }),
    ];
    Plot {
        title: "Packets and frames",
        note: format!("{} streams received", report.media.streams),
        quiet: "nothing was sent",
        ..over_time(report, Unit::PerSecond, series)
    }
}

fn freezes(report: &Report) -> Plot<'static> {
    let media = &report.media;
    let series = vec![curve("frozen", Draw::Columns, report, |point| {
        Some(point.freeze_ratio)
    })];
    Plot {
        title: "Freeze ratio",
        note: format!(
            "{} freezes, {} of the time watched",
            media.freezes,
            Unit::Share.words(media.freeze_ratio)
        ),
        quiet: "no picture froze",
        limit: limit(report, "freeze_ratio_max"),
        ..over_time(report, Unit::Share, media_series(report, series))
    }
}

fn switches(report: &Report) -> Plot<'static> {
    let series = vec![curve("switches", Draw::Columns, report, |point| {
        Some(count(point.layer_switches))
    })];
    Plot {
        title: "Layer switches",
        note: format!(
            "{} changes of the simulcast layer shown",
            report.media.layer_switches
        ),
        quiet: "no stream changed its layer",
        ..over_time(report, Unit::Count, media_series(report, series))
    }
}

fn reconnects(report: &Report) -> Plot<'static> {
    let series = vec![
        curve("reconnects", Draw::Columns, report, |point| {
            Some(count(point.reconnects))
        }),
        curve("failed joins", Draw::Columns, report, |point| {
            Some(count(point.join_failures))
        }),
    ];
    let recovery = report.reconnects.recovery.map(|times| {
        let (p50, p95) = (Unit::Ms.words(times.p50_ms), Unit::Ms.words(times.p95_ms));
        format!(", back after {p50} (p50), {p95} (p95)")
    });
    Plot {
        title: "Reconnects",
        note: format!(
            "{}{}",
            report.reconnects.count,
            recovery.unwrap_or_default()
        ),
        quiet: "no connection was lost",
        ..over_time(report, Unit::Count, series)
    }
}

/// The servers' own figures.
pub(super) fn server(report: &Report) -> Html {
    let mut out = open();
    let shards = &report.shards;
    let rooms = shards.iter().map(|shard| named(&shard.name, &shard.rooms));
    let servers = &report.servers;
    let cpu = servers
        .iter()
        .map(|server| named(&server.name, &server.cpu));
    let memory = servers
        .iter()
        .map(|server| named(&server.name, &server.memory_bytes));
    let sent = servers
        .iter()
        .filter(|server| !server.packets_out.is_empty());
    let packets = sent.map(|server| named(&server.name, &server.packets_out));
    let plots = [
        (
            "Rooms per shard",
            "as each shard counts them",
            Unit::Count,
            rooms.collect(),
        ),
        (
            "Server CPU",
            "cores in use, by process",
            Unit::Cores,
            cpu.collect(),
        ),
        (
            "Server memory",
            "resident, by process",
            Unit::Bytes,
            memory.collect(),
        ),
        (
            "Packets forwarded",
            "a second, by process",
            Unit::PerSecond,
            packets.collect(),
        ),
    ];
    for (title, note, unit, series) in plots {
        let plot = Plot {
            title,
            note: note.to_owned(),
            quiet: "none",
            ..over_time(report, unit, series)
        };
        out.add(plot.figure());
    }
    close(out)
}

/// The generator's own state.
pub(super) fn generator(report: &Report) -> Html {
    let own = report.generator.as_ref();
    let cores = own.map_or(0, |own| own.cores);
    let limit = own.map(|own| own.limits.cpu_share_max * f64::from(own.cores));
    let cpu = own.map(|own| named("CPU", &own.cpu)).into_iter();
    let mut out = open();
    let plot = Plot {
        title: "Generator CPU",
        note: format!("of {cores} cores; above its limit the run is invalid"),
        quiet: "none",
        limit,
        ..over_time(report, Unit::Cores, cpu.collect())
    };
    out.add(plot.figure());
    let series = vec![curve("p99", Draw::Area, report, |point| {
        point.lateness_p99_ms
    })];
    let plot = Plot {
        title: "Send lateness",
        note: "p99 of how long after their time frames were sent".to_owned(),
        quiet: "none",
        limit: own.map(|own| own.limits.lateness_p99_ms_max),
        ..over_time(report, Unit::Ms, series)
    };
    out.add(plot.figure());
    close(out)
}

fn over_time(report: &Report, unit: Unit, series: Vec<Series>) -> Plot<'static> {
    let last = report
        .timeline
        .last()
        .map_or(0.0, |point| point.at_s + report.step_s);
    Plot {
        title: "",
        note: String::new(),
        unit,
        along: Along::Time {
            until_s: report.run.duration_s.max(last),
            step_s: report.step_s,
        },
        series,
        quiet: "none",
        limit: None,
        marks: Vec::new(),
    }
}

fn curve(name: &str, draw: Draw, report: &Report, value: impl Fn(&Point) -> Option<f64>) -> Series {
    let points = report.timeline.iter();
    Series {
        name: name.to_owned(),
        draw,
        points: points
            .filter_map(|point| Some((point.at_s, value(point)?)))
            .collect(),
    }
}

fn named(name: &str, points: &[(f64, f64)]) -> Series {
    Series {
        name: name.to_owned(),
        draw: Draw::Line,
        points: points.to_vec(),
    }
}

/// Without a packet there is no loss and no freeze to be proud of.
fn media_series(report: &Report, series: Vec<Series>) -> Vec<Series> {
    if report.media.packets_received == 0 {
        return Vec::new();
    }
    series
}

fn limit(report: &Report, name: &str) -> Option<f64> {
    report
        .slo
        .iter()
        .find(|row| row.name == name)
        .map(|row| row.limit)
}

fn count(value: u64) -> f64 {
    crate::numbers::as_f64(value)
}

fn open() -> Html {
    let mut out = Html::default();
    out.raw("<div class=\"charts\">\n");
    out
}

fn close(mut out: Html) -> Html {
    out.raw("</div>\n");
    out
}
