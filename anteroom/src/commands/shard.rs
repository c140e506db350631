//! `anteroom shard`: signalling, rooms, and a pool of nodes in this or other processes.

use crate::cli::RoleArgs;
use crate::nodes::{LocalNodes, share_turn_secret};
use crate::process::EndSignals;
use crate::traces::Traces;
use crate::{admin, config, process, telemetry};
use anyhow::Context as _;
use std::process::ExitCode;
use std::sync::Arc;

/// Runs until a signal.
pub(crate) fn run(args: &RoleArgs) -> anyhow::Result<ExitCode> {
    telemetry::init_logs();
    let file = config::load(&args.config)?;
    let section = file
        .shard
        .clone()
        .context("the file has no section `shard`")?;
    // A shard's file may ask for nodes in its own process.
    let roles: &[&[observe::Metric]] = match section.nodes {
        0 => &[shard::METRICS],
        _ => &[shard::METRICS, sfu::METRICS],
    };
    let metrics = telemetry::init_metrics(roles, ".".into())?;
    let runtime = process::runtime()?;
    let otlp = file.telemetry.otlp.as_ref();
    let _traces = Traces::start(otlp, "shard", runtime.handle())?;
    runtime.block_on(async {
        let stop = shard::Stop::default();
        watch_signals(stop.clone())?;
        let shutdown = stop.now.clone();
        process::ignore_hangup("shard")?;
        let shard = bind(&file, section.clone()).await?;
        let mut nodes = LocalNodes::new(Some(file.cluster_key()?));
        for number in 1..=section.nodes {
            let config = node_config(&file, &section.id, number)?;
            let node = sfu::Node::bind(config.clone())?;
            nodes.start(node, config, shard.node_sink());
        }
        let readiness = shard.readiness();
        let router = admin::ready_when(move || readiness.state());
        admin::spawn(file.admin.listen, router, metrics, &shutdown).await?;
        tracing::info!(address = %shard.address(), "shard {} listens", section.id);
        let ended = shard.run(stop).await;
        shutdown.cancel();
        nodes.stop().await;
        ended?;
        Ok(ExitCode::SUCCESS)
    })
}

/// The first SIGTERM or SIGINT lets the rooms go to other shards, the second ends the shard as soon as
/// its clients have been told, the third at once.
fn watch_signals(stop: shard::Stop) -> anyhow::Result<()> {
    let mut signals = EndSignals::watch()?;
    tokio::spawn(async move {
        signals.next().await;
        tracing::info!("the shard ends when its rooms have gone; a second signal: now");
        stop.when_empty.cancel();
        signals.shut_down(stop.now).await;
    });
    Ok(())
}

async fn bind(file: &config::File, section: shard::Config) -> anyhow::Result<shard::Shard> {
    let cluster = file.cluster_key()?;
    let directory = match crate::directory::open(file).await? {
        Some(shared) => shared,
        None => {
            let address = section.directory.clone().context(
                "shard.directory is missing: name the gateway's internal listener, such as \
                 http://127.0.0.1:7891",
            )?;
            let remote = shard::RpcDirectory::new(&address, &section.id, cluster.clone())?;
            Arc::new(remote)
        }
    };
    let deps = shard::Deps {
        keys: file.api_keys()?,
        cluster,
        rooms: file.rooms.case.into(),
        directory,
    };
    Ok(shard::Shard::bind(section, deps).await?)
}

/// Nodes in a shard's process share the file's `node` section; their names tell them apart.
fn node_config(file: &config::File, shard: &str, number: u32) -> anyhow::Result<sfu::Config> {
    let mut config = file.node.clone().unwrap_or_default();
    config.id = format!("{shard}-n{number}");
    share_turn_secret(&mut config, &file.cluster_key()?);
    Ok(config)
}
