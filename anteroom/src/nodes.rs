//! Media nodes in a shard's own process, kept running.

use proto::context::ClusterKey;
use proto::link::ShardEnd;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Pause before a node that failed is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Gives a node's TURN server the secret that shards make credentials with, if none is configured.
pub(crate) fn share_turn_secret(config: &mut sfu::Config, cluster: &ClusterKey) {
    if let Some(turn) = &mut config.turn {
        turn.secret.get_or_insert_with(|| cluster.turn_secret());
    }
}

/// The nodes of one process. They end after their shards, so that the shards have the last word to
/// the clients.
pub(crate) struct LocalNodes {
    /// With it they share rooms with other nodes.
    cluster: Option<ClusterKey>,
    running: JoinSet<()>,
    shutdown: CancellationToken,
}

impl LocalNodes {
    pub(crate) fn new(cluster: Option<ClusterKey>) -> Self {
        Self {
            cluster,
            running: JoinSet::new(),
            shutdown: CancellationToken::new(),
        }
    }

    /// Runs `node` for the shard behind `shard`; one that fails is bound and attached again.
    pub(crate) fn start(
        &mut self,
        node: sfu::Node,
        config: sfu::Config,
        shard: mpsc::Sender<ShardEnd>,
    ) {
        let (cluster, shutdown) = (self.cluster.clone(), self.shutdown.clone());
        self.running
            .spawn(keep_running(node, config, cluster, shard, shutdown));
    }

    /// Ends them; call it when the shards have ended.
    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        while self.running.join_next().await.is_some() {}
    }
}

async fn keep_running(
    first: sfu::Node,
    config: sfu::Config,
    cluster: Option<ClusterKey>,
    shard: mpsc::Sender<ShardEnd>,
    shutdown: CancellationToken,
) {
    let mut bound = Some(first);
    loop {
        let Some(node) = bound.take().or_else(|| bind(&config)) else {
            if pause(&shard, &shutdown).await {
                continue;
            } else {
                return;
            }
        };
        let (shard_end, node_end) = proto::link::pair();
        if shard.send(shard_end).await.is_err() {
            return;
        }
        if let Err(error) = node.run(node_end, cluster.clone(), shutdown.clone()).await {
            tracing::error!(node = config.id, "node ended, starting it again: {error}");
        }
        if !pause(&shard, &shutdown).await {
            return;
        }
    }
}

fn bind(config: &sfu::Config) -> Option<sfu::Node> {
    sfu::Node::bind(config.clone())
        .inspect_err(|error| tracing::error!(node = config.id, "node cannot start: {error}"))
        .ok()
}

/// False: nobody needs the node any more.
async fn pause(shard: &mpsc::Sender<ShardEnd>, shutdown: &CancellationToken) -> bool {
    tokio::select! {
        () = shutdown.cancelled() => false,
        () = shard.closed() => false,
        () = tokio::time::sleep(RESTART_PAUSE) => true,
    }
}
