//! `anteroom node`: one media server.

use crate::cli::RoleArgs;
use crate::process::EndSignals;
use crate::{admin, config, nodes, process, telemetry};
use anyhow::Context as _;
use std::process::ExitCode;
use std::time::Duration;

/// Runs until a signal, attached to the shard named in the file.
pub(crate) fn run(args: &RoleArgs) -> anyhow::Result<ExitCode> {
    telemetry::init_logs();
    let file = config::load(&args.config)?;
    let mut section = file
        .node
        .clone()
        .context("the file has no section `node`")?;
    anyhow::ensure!(
        section.shard.is_some(),
        "node.shard is missing: name the shard's internal listener, such as http://127.0.0.1:7911"
    );
    let cluster = file.cluster_key()?;
    nodes::share_turn_secret(&mut section, &cluster);
    let metrics = telemetry::init_metrics(&[sfu::METRICS], ".".into())?;
    process::runtime()?.block_on(async move {
        let stop = sfu::Stop::default();
        let shutdown = stop.now.clone();
        watch_signals(stop.clone(), Duration::from_secs(section.drain_s.into()))?;
        process::ignore_hangup("node")?;
        admin::spawn(
            file.admin.listen,
            admin::ready_when(|| Ok(())),
            metrics,
            &shutdown,
        )
        .await?;
        let node = sfu::Node::bind(section)?;
        node.run_attached(cluster, stop).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// The first SIGTERM or SIGINT lets those who are here stay for a while, the second ends the node, the
/// third the process.
fn watch_signals(stop: sfu::Stop, drain: Duration) -> anyhow::Result<()> {
    if drain.is_zero() {
        return process::watch_signals(stop.now);
    }
    let mut signals = EndSignals::watch()?;
    tokio::spawn(async move {
        signals.next().await;
        tracing::info!(at_most = ?drain, "the node ends when it is empty; a second signal: now");
        stop.when_empty.cancel();
        if tokio::time::timeout(drain, signals.next()).await.is_err() {
            tracing::info!("the node ends: it has waited long enough");
        }
        stop.now.cancel();
        signals.next().await;
        std::process::exit(130);
    });
    Ok(())
}
