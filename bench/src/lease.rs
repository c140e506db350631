//! Leases, as shards hold them: without, a gateway takes the origins for dead shards.

use affinity::ShardId;
use affinity::directory::{Holder, Incarnation, Renewal, Reply, Request};
use proto::context::ClusterKey;
use proto::rpc::DirectoryClient;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// How often a lease is renewed: a few times within its length.
const RENEW_EVERY: Duration = Duration::from_millis(500);

/// Holds the lease of one shard at one directory, for ever. A directory that is not there is waited
/// for, and one that has forgotten us gets a new life of the shard.
pub(crate) async fn hold(
    directory: String,
    cluster: ClusterKey,
    shard: String,
) -> anyhow::Result<()> {
    let peer = format!("shard/{shard}");
    let client = DirectoryClient::<Request, Reply>::new(&directory, peer, cluster)?;
    let mut life = Life::new(&shard);
    let mut clock = tokio::time::interval(RENEW_EVERY);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        match client.call(life.renewal()).await {
            Ok(Reply::Leased { directory, .. }) => life.holder.directory = Some(directory),
            Ok(_) => life = Life::new(&shard),
            Err(_) => {}
        }
    }
}

struct Life {
    holder: Holder,
    renewals: u64,
}

impl Life {
    fn new(shard: &str) -> Self {
        Self {
            holder: Holder {
                shard: ShardId::new(shard),
                incarnation: Incarnation(rand::random()),
                directory: None,
            },
            renewals: 0,
        }
    }

    fn renewal(&mut self) -> Request {
        self.renewals += 1;
        Request::Renew {
            holder: self.holder.clone(),
            renewal: Renewal {
                seq: self.renewals,
                ..Renewal::default()
            },
        }
    }
}
