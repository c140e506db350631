//! `anteroom metrics-reference`: the page `docs/metrics.md`, made from the catalogues.

use crate::metrics;
use observe::{Label, Metric, Values};
use std::process::ExitCode;

/// The programs, and what is said of each.
const SECTIONS: [(&str, &str, &[Metric]); 4] = [
    (
        "Every program",
        "Its process (names as Prometheus' client libraries have them) and its machine, read when \
         somebody asks. On Linux only; what the system hides is absent.",
        metrics::METRICS,
    ),
    (
        "Gateway",
        "`anteroom gateway`, and `anteroom up`.",
        gateway::METRICS,
    ),
    (
        "Shard",
        "`anteroom shard`, and each shard of `anteroom up`.",
        shard::METRICS,
    ),
    (
        "Node",
        "`anteroom node`, and each node of `anteroom up` or of a shard with `nodes`.",
        sfu::METRICS,
    ),
];

/// Prints the page.
pub(crate) fn run() -> ExitCode {
    print!("{}", page());
    ExitCode::SUCCESS
}

fn page() -> String {
    let mut page = "# Metrics\n\n\
        Made by `anteroom metrics-reference > docs/metrics.md`; a test compares. Each program shows its own \
        at `/metrics` of its admin listener, all from the start, at 0: only series with a label whose values \
        are not known before (marked *) come with their first event. No label names a room or a participant. \
        Histograms are in seconds, with the bounds of `DURATION_BUCKETS_S`. Alerts and dashboards: \
        [operations](operations.md).\n"
        .to_owned();
    for (title, about, metrics) in SECTIONS {
        page.push_str(&format!("\n## {title}\n\n{about}\n\n"));
        page.push_str("| name | type | unit | labels | meaning |\n|---|---|---|---|---|\n");
        for metric in metrics {
            page.push_str(&row(metric));
        }
    }
    page
}

fn row(metric: &Metric) -> String {
    let labels: Vec<String> = metric.labels.iter().map(label).collect();
    format!(
        "| `{}` | {} | {} | {} | {} |\n",
        metric.name,
        metric.kind.word(),
        metric.unit(),
        labels.join("; "),
        metric.help
    )
}

fn label(label: &Label) -> String {
    match label.values {
        Values::Closed(values) => format!("`{}`: {}", label.name, values.join(", ")),
        Values::Open(what) => format!("`{}`*: {what}", label.name),
    }
}
