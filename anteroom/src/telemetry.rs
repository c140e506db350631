//! Logs and metrics of the process.

use anyhow::Context as _;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::io::IsTerminal as _;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

const DEFAULT_FILTER: &str = "info";
/// These stand whatever `ANTEROOM_LOG` says: below warning the HTTP libraries print whole URLs, with
/// tokens in them, and Pingora reports every refused connection as an error, which is our clients'
/// business.
const FIXED_DIRECTIVES: [&str; 6] = [
    "pingora_core=error",
    "pingora_proxy=error",
    "h2=warn",
    "hyper=warn",
    "hyper_util=warn",
    "tungstenite=warn",
];
/// How often histograms are drained, so that an unscraped process does not grow.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
/// Seconds; from a loopback join to LiveKit's connection timeout.
const DURATION_BUCKETS_S: [f64; 10] = [0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0];

/// Starts logging to standard error: `ANTEROOM_LOG` is a tracing filter, `ANTEROOM_LOG_FORMAT=json`
/// gives one JSON object a line.
pub(crate) fn init_logs() {
    let wanted =
        EnvFilter::try_from_env("ANTEROOM_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let fixed = FIXED_DIRECTIVES
        .into_iter()
        .filter_map(|text| text.parse().ok());
    let filter = fixed.fold(wanted, EnvFilter::add_directive);
    let json = std::env::var("ANTEROOM_LOG_FORMAT").is_ok_and(|format| format == "json");
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // A second subscriber can only exist in tests: the first one stays.
    let _ = if json {
        builder.json().try_init()
    } else {
        builder.try_init()
    };
}

/// Installs the process-wide metrics recorder.
pub(crate) fn init_metrics() -> anyhow::Result<PrometheusHandle> {
    PrometheusBuilder::new()
        .set_buckets(&DURATION_BUCKETS_S)
        .context("metrics buckets")?
        .install_recorder()
        .context("install the metrics recorder")
}

/// Keeps the recorder small for as long as the process lives.
pub(crate) async fn upkeep(handle: PrometheusHandle) {
    let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
    loop {
        ticks.tick().await;
        handle.run_upkeep();
    }
}
