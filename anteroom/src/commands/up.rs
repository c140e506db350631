//! `anteroom up`: gateway, shards and nodes in one process. The same parts as in separate processes,
//! talking over loopback and channels.

mod embedded;
mod late_directory;
mod topology;

use crate::cli::UpArgs;
use crate::traces::Traces;
use crate::{admin, config, directory, process, telemetry};
use affinity::directory::Directory;
use anyhow::Context as _;
use embedded::Embedded;
use late_directory::LateDirectory;
use proto::context::ClusterKey;
use proto::token::ApiKeys;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
pub(crate) use topology::EMBEDDED_URL;

/// API key of `anteroom up`, published: it protects nothing.
pub(crate) const DEV_API_KEY: &str = "devkey";
/// Its secret, published.
pub(crate) const DEV_API_SECRET: &str = "secret";
/// The room in the printed URL.
const FIRST_ROOM: &str = "standup";

/// Runs until a signal.
pub(crate) fn run(args: &UpArgs) -> anyhow::Result<ExitCode> {
    telemetry::init_logs();
    let metrics = telemetry::init_metrics(
        &[gateway::METRICS, shard::METRICS, sfu::METRICS],
        args.data.clone(),
    )?;
    let runtime = process::runtime()?;
    let shutdown = CancellationToken::new();
    let secrets = Secrets::choose(args)?;
    let otlp = secrets.file.as_ref();
    let otlp = otlp.and_then(|file| file.telemetry.otlp.as_ref());
    let _traces = Traces::start(otlp, "up", runtime.handle())?;
    let (gateway, embedded) = runtime.block_on(async {
        process::watch_signals(shutdown.clone())?;
        let shared = match &secrets.file {
            Some(file) => directory::open(file).await?,
            None => None,
        };
        let directory = Arc::new(LateDirectory::default());
        let embedded = Embedded::bind(args, &secrets, directory.clone()).await?;
        let gateway = build_gateway(args, &secrets, &embedded, shared)?;
        directory.fill(gateway.directory());
        admin::spawn(Some(args.admin), gateway.admin_router(), metrics, &shutdown).await?;
        anyhow::Ok((gateway, embedded))
    })?;

    let bound = gateway.addresses().first().copied().unwrap_or(args.bind);
    print_welcome(args, bound, &embedded);
    let roles = runtime.spawn(embedded.run(shutdown.clone()));
    // Pingora brings its own runtimes and blocks this thread.
    gateway.run(shutdown.clone());
    shutdown.cancel();
    runtime.block_on(roles).context("wait for the shards")??;
    Ok(ExitCode::SUCCESS)
}

/// Keys and secrets of this run.
pub(super) struct Secrets {
    pub(super) keys: ApiKeys,
    pub(super) cluster: ClusterKey,
    pub(super) rooms: affinity::RoomCase,
    /// Where they come from.
    file: Option<config::File>,
}

impl Secrets {
    /// From the file, else the published development key and a random cluster secret.
    fn choose(args: &UpArgs) -> anyhow::Result<Self> {
        if let Some(path) = &args.config {
            // Where the embedded shards listen is not known yet, and matters to the topology alone.
            let file = config::load_with(path, |file| file.gateway = None)?;
            return Ok(Self {
                keys: file.api_keys()?,
                cluster: file.cluster_key()?,
                rooms: file.rooms.case.into(),
                file: Some(file),
            });
        }
        let keys = BTreeMap::from([(DEV_API_KEY.to_owned(), DEV_API_SECRET.to_owned())]);
        let random: [u128; 2] = rand::random();
        let secret = format!("{:032x}{:032x}", random[0], random[1]);
        Ok(Self {
            keys: ApiKeys::new(keys)?,
            cluster: ClusterKey::new(&secret).context("a random secret is not empty")?,
            rooms: affinity::RoomCase::default(),
            file: None,
        })
    }
}

fn build_gateway(
    args: &UpArgs,
    secrets: &Secrets,
    embedded: &Embedded,
    shared: Option<Arc<dyn Directory>>,
) -> anyhow::Result<gateway::Gateway> {
    let source = topology::Source::new(args, secrets, embedded.addresses());
    let loader = move || source.load();
    let first = loader().map_err(anyhow::Error::msg)?;
    let deps = gateway::Deps {
        keys: secrets.keys.clone(),
        cluster: secrets.cluster.clone(),
        rooms: secrets.rooms,
        loader: Arc::new(loader),
        watch: args.config.clone(),
        directory: shared,
        // No shard of this process can have lived before it: nobody is owed a grace.
        first_start: args.config.is_none(),
    };
    Ok(gateway::Gateway::bind(first.config, deps)?)
}

fn print_welcome(args: &UpArgs, bound: SocketAddr, embedded: &Embedded) {
    let ports: Vec<String> = embedded.media_ports().iter().map(u16::to_string).collect();
    // A wildcard is no address to connect to; this machine itself always is.
    let mut shown = bound;
    if bound.ip().is_unspecified() {
        shown.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let keys = match args.config {
        None => format!("API key {DEV_API_KEY}, secret {DEV_API_SECRET}"),
        Some(_) => "API keys of your file".to_owned(),
    };
    println!(
        "Anteroom is up: {} shards, media on UDP and TCP {}",
        ports.len(),
        ports.join(", ")
    );
    println!();
    println!("  Join    http://{shown}/{FIRST_ROOM}   (open it in two tabs)");
    println!("  SDKs    ws://{shown}   {keys}");
    println!(
        "  Admin   http://{}   /v1/shards /v1/rooms /metrics",
        args.admin
    );
    println!();
    if !bound.ip().is_loopback() {
        println!("  {bound} is not loopback: anybody who reaches it can join every room, and");
        println!("  browsers give camera and microphone only to HTTPS or localhost pages.");
        println!();
    }
    println!("  Ctrl-C ends it.");
}
