//! `anteroom gateway`: the edge proxy.

use crate::cli::RoleArgs;
use crate::traces::Traces;
use crate::{admin, config, directory, process, telemetry};
use anyhow::Context as _;
use gateway::{Deps, Gateway, Loaded};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Runs until a signal.
pub(crate) fn run(args: &RoleArgs) -> anyhow::Result<ExitCode> {
    telemetry::init_logs();
    let file = config::load(&args.config)?;
    let section = file
        .gateway
        .clone()
        .context("the file has no section `gateway`")?;
    let metrics = telemetry::init_metrics(&[gateway::METRICS], ".".into())?;
    let runtime = process::runtime()?;
    let otlp = file.telemetry.otlp.as_ref();
    let _traces = Traces::start(otlp, "gateway", runtime.handle())?;
    let shutdown = CancellationToken::new();
    let path = args.config.clone();
    let directory = runtime.block_on(directory::open(&file))?;
    let deps = Deps {
        keys: file.api_keys()?,
        cluster: file.cluster_key()?,
        rooms: file.rooms.case.into(),
        loader: Arc::new(move || load(&path)),
        watch: Some(args.config.clone()),
        directory,
        first_start: false,
    };
    let gateway = runtime.block_on(async {
        process::watch_signals(shutdown.clone())?;
        let gateway = Gateway::bind(section, deps)?;
        let router = gateway.admin_router();
        admin::spawn(file.admin.listen, router, metrics, &shutdown).await?;
        anyhow::Ok(gateway)
    })?;
    // Pingora brings its own runtimes and blocks this thread.
    gateway.run(shutdown);
    Ok(ExitCode::SUCCESS)
}

/// Reads the gateway's part of a file.
pub(super) fn load(path: &Path) -> Result<Loaded, String> {
    let file = config::load(path).map_err(|error| error.to_string())?;
    Ok(Loaded {
        keys: file.api_keys().map_err(|error| error.to_string())?,
        rooms: file.rooms.case.into(),
        config: file.gateway.ok_or("the file has no section `gateway`")?,
    })
}
