//! The shards and nodes that `up` starts in its own process.

use super::Secrets;
use crate::cli::UpArgs;
use crate::nodes::LocalNodes;
use affinity::directory::Directory;
use anyhow::Context as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZero;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Shards with one node each, bound and not yet running.
pub(super) struct Embedded {
    shards: Vec<shard::Shard>,
    nodes: LocalNodes,
    addresses: Vec<(String, SocketAddr)>,
    media_ports: Vec<u16>,
}

/// Media threads of each node: all nodes together have one for each core.
fn workers(shards: u32) -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let cores = u16::try_from(cores).unwrap_or(u16::MAX);
    let share = cores / u16::try_from(shards.max(1)).unwrap_or(u16::MAX);
    share.clamp(1, 64)
}

impl Embedded {
    /// Binds `args.shards` shards on free loopback ports and a node for each, from UDP 7882 up.
    pub(super) async fn bind(
        args: &UpArgs,
        secrets: &Secrets,
        directory: Arc<dyn Directory>,
    ) -> anyhow::Result<Self> {
        let mut embedded = Self {
            shards: Vec::new(),
            nodes: LocalNodes::new(None),
            addresses: Vec::new(),
            media_ports: Vec::new(),
        };
        for number in 1..=args.shards {
            embedded
                .bind_one(number, args.shards, secrets, directory.clone())
                .await?;
        }
        Ok(embedded)
    }

    async fn bind_one(
        &mut self,
        number: u32,
        of: u32,
        secrets: &Secrets,
        directory: Arc<dyn Directory>,
    ) -> anyhow::Result<()> {
        let id = format!("s{number}");
        let config = shard::Config {
            id: id.clone(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            web: shard::WebConfig {
                enabled: true,
                tokens: true,
            },
            ..shard::Config::default()
        };
        let deps = shard::Deps {
            keys: secrets.keys.clone(),
            cluster: secrets.cluster.clone(),
            rooms: secrets.rooms,
            directory,
        };
        let shard = shard::Shard::bind(config, deps).await?;
        let turn = sfu::TurnConfig {
            secret: Some(secrets.cluster.turn_secret()),
            ..sfu::TurnConfig::default()
        };
        let config = sfu::Config {
            id: format!("n{number}"),
            workers: workers(of),
            turn: Some(turn),
            ..sfu::Config::default()
        };
        let node = sfu::Node::bind(config.clone())?;
        self.addresses.push((id, shard.address()));
        self.media_ports.extend(node.udp_ports());
        self.nodes.start(node, config, shard.node_sink());
        self.shards.push(shard);
        Ok(())
    }

    /// Names and addresses of the shards, for the gateway's topology.
    pub(super) fn addresses(&self) -> &[(String, SocketAddr)] {
        &self.addresses
    }

    /// UDP (and TCP) ports that clients send media to.
    pub(super) fn media_ports(&self) -> &[u16] {
        &self.media_ports
    }

    /// Runs all of them until `shutdown`; one that fails ends the others, and its error is returned.
    pub(super) async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut tasks = JoinSet::new();
        for shard in self.shards {
            let shutdown = shutdown.clone();
            tasks.spawn(async move {
                let stop = shard::Stop {
                    now: shutdown.clone(),
                    ..shard::Stop::default()
                };
                let ended = shard.run(stop).await;
                shutdown.cancel();
                ended
            });
        }
        let mut result = Ok(());
        while let Some(ended) = tasks.join_next().await {
            let ended = ended
                .context("a shard's task")
                .and_then(|ended| ended.context("shard"));
            result = result.and(ended);
        }
        self.nodes.stop().await;
        result
    }
}
