//! `anteroom shard`: signalling, rooms, and a pool of nodes in this or other processes.

use crate::cli::RoleArgs;
use crate::nodes::LocalNodes;
use crate::{admin, config, process, telemetry};
use anyhow::Context as _;
use std::process::ExitCode;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Runs until a signal.
pub(crate) fn run(args: &RoleArgs) -> anyhow::Result<ExitCode> {
    telemetry::init_logs();
    let file = config::load(&args.config)?;
    let section = file
        .shard
        .clone()
        .context("the file has no section `shard`")?;
    let metrics = telemetry::init_metrics()?;
    process::runtime()?.block_on(async move {
        let shutdown = CancellationToken::new();
        process::watch_signals(shutdown.clone())?;
        process::ignore_hangup("shard")?;
        let shard = bind(&file, section.clone()).await?;
        let mut nodes = LocalNodes::new();
        for number in 1..=section.nodes {
            let config = node_config(&file, &section.id, number);
            let node = sfu::Node::bind(config.clone())?;
            nodes.start(node, config, shard.node_sink());
        }
        let readiness = shard.readiness();
        let router = admin::ready_when(move || readiness.state());
        admin::spawn(file.admin.listen, router, metrics, &shutdown).await?;
        tracing::info!(address = %shard.address(), "shard {} listens", section.id);
        let ended = shard.run(shutdown.clone()).await;
        nodes.stop().await;
        ended?;
        Ok(ExitCode::SUCCESS)
    })
}

async fn bind(file: &config::File, section: shard::Config) -> anyhow::Result<shard::Shard> {
    let cluster = file.cluster_key()?;
    let address = section.directory.clone().context(
        "shard.directory is missing: name the gateway's internal listener, such as \
         http://127.0.0.1:7891",
    )?;
    let directory = shard::RpcDirectory::new(&address, &section.id, cluster.clone())?;
    let deps = shard::Deps {
        keys: file.api_keys()?,
        cluster,
        rooms: file.rooms.case.into(),
        directory: Arc::new(directory),
    };
    Ok(shard::Shard::bind(section, deps).await?)
}

/// Nodes in a shard's process share the file's `node` section; their names tell them apart.
fn node_config(file: &config::File, shard: &str, number: u32) -> sfu::Config {
    let mut config = file.node.clone().unwrap_or_default();
    config.id = format!("{shard}-n{number}");
    config
}
