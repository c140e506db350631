//! `anteroom node`: one media server.

use crate::cli::RoleArgs;
use crate::{admin, config, nodes, process, telemetry};
use anyhow::Context as _;
use std::process::ExitCode;
use tokio_util::sync::CancellationToken;

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
        let shutdown = CancellationToken::new();
        process::watch_signals(shutdown.clone())?;
        process::ignore_hangup("node")?;
        admin::spawn(
            file.admin.listen,
            admin::ready_when(|| Ok(())),
            metrics,
            &shutdown,
        )
        .await?;
        let node = sfu::Node::bind(section)?;
        node.run_attached(cluster, shutdown).await?;
        Ok(ExitCode::SUCCESS)
    })
}
