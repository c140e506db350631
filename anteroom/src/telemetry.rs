//! Logs and metrics of the process.

use crate::metrics::Metrics;
use anyhow::Context as _;
use metrics_exporter_prometheus::PrometheusBuilder;
use observe::Metric;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

const DEFAULT_FILTER: &str = "info";
/// These stand whatever `ANTEROOM_LOG` says: below these levels the HTTP libraries print whole URLs,
/// with tokens in them, Pingora reports every refused connection as an error, and str0m and its DTLS warn
/// of what clients offer and send, as do the readers of STUN, which is our clients' business. Prefixes of
/// targets.
const CEILINGS: [(&str, LevelFilter); 8] = [
    ("pingora", LevelFilter::ERROR),
    ("str0m", LevelFilter::ERROR),
    ("dimpl", LevelFilter::ERROR),
    ("stun_types", LevelFilter::ERROR),
    ("turn_types", LevelFilter::ERROR),
    ("h2", LevelFilter::WARN),
    ("hyper", LevelFilter::WARN),
    ("tungstenite", LevelFilter::WARN),
];
/// How often histograms are drained, so that an unscraped process does not grow.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
/// Seconds; from a call on loopback to LiveKit's connection timeout. Alerts want 0.5 and 2.
const DURATION_BUCKETS_S: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 10.0,
];

/// Starts logging to standard error: `ANTEROOM_LOG` is a tracing filter, `ANTEROOM_LOG_FORMAT=json`
/// gives one JSON object a line.
pub(crate) fn init_logs() {
    let wanted =
        EnvFilter::try_from_env("ANTEROOM_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let ceilings = Targets::new()
        .with_default(LevelFilter::TRACE)
        .with_targets(CEILINGS);
    let json = std::env::var("ANTEROOM_LOG_FORMAT").is_ok_and(|format| format == "json");
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let layer = if json {
        layer.json().boxed()
    } else {
        layer.boxed()
    };
    let registry = tracing_subscriber::registry().with(layer.with_filter(wanted.and(ceilings)));
    // A second subscriber can only exist in tests: the first one stays.
    let _ = registry.try_init();
}

/// Installs the process-wide metrics recorder, with the catalogues of the roles that run here. `folder`
/// is where they write.
pub(crate) fn init_metrics(roles: &[&[Metric]], folder: PathBuf) -> anyhow::Result<Metrics> {
    let recorder = PrometheusBuilder::new()
        .set_buckets(&DURATION_BUCKETS_S)
        .context("metrics buckets")?
        .install_recorder()
        .context("install the metrics recorder")?;
    for catalogue in roles {
        observe::describe(catalogue);
        observe::register(catalogue, &[]);
    }
    Ok(Metrics::new(recorder, folder))
}

/// Keeps the recorder small for as long as the process lives.
pub(crate) async fn upkeep(metrics: Metrics) {
    let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
    loop {
        ticks.tick().await;
        metrics.run_upkeep();
    }
}
