//! Several servers that belong together.

use crate::server::{RedisServer, eventually, free_port};
use directory::{RedisConfig, SecretText, SentinelConfig};
use redis::Value;
use std::fs;

/// A master, a replica, and three Sentinels that watch them.
pub(crate) struct Watched {
    pub(crate) servers: [RedisServer; 2],
    pub(crate) sentinels: Vec<RedisServer>,
}

/// A replica of `master`, in step with it.
pub(crate) async fn replica_of(master: &RedisServer) -> RedisServer {
    let place = format!("127.0.0.1 {}", master.port);
    let options = ["--replicaof", &place, "--repl-diskless-sync-delay", "0"];
    let replica = RedisServer::with(&options);
    let in_step = || info(&replica, "replication").contains("master_link_status:up");
    eventually("the replica is in step", in_step).await;
    let seen = || info(master, "replication").contains("state=online");
    eventually("the master sees its replica", seen).await;
    replica
}

pub(crate) fn info(server: &RedisServer, section: &str) -> String {
    let answer = server.try_command(&["INFO", section]);
    answer
        .ok()
        .and_then(|value| redis::from_redis_value(value).ok())
        .unwrap_or_default()
}

impl Watched {
    /// The master is called `mymaster`.
    pub(crate) async fn start() -> Self {
        let master = RedisServer::with(&["--repl-diskless-sync-delay", "0"]);
        let replica = replica_of(&master).await;
        let sentinels: Vec<RedisServer> = (0..3).map(|_| sentinel_of(master.port)).collect();
        for sentinel in &sentinels {
            let complete = || {
                let answer = sentinel.try_command(&["SENTINEL", "MASTER", "mymaster"]);
                let fields: Vec<String> = answer
                    .and_then(|value| Ok(redis::from_redis_value(value)?))
                    .unwrap_or_default();
                let field = |name: &str| {
                    let at = fields.iter().position(|field| field == name)?;
                    fields.get(at + 1).cloned()
                };
                field("num-other-sentinels").as_deref() == Some("2")
                    && field("num-slaves").as_deref() == Some("1")
            };
            eventually("a Sentinel knows all others", complete).await;
        }
        Self {
            servers: [master, replica],
            sentinels,
        }
    }

    pub(crate) fn config(&self) -> RedisConfig {
        RedisConfig {
            sentinel: Some(SentinelConfig {
                master: "mymaster".to_owned(),
                urls: self
                    .sentinels
                    .iter()
                    .map(|sentinel| SecretText::new(sentinel.url()))
                    .collect(),
                ..SentinelConfig::default()
            }),
            ..RedisConfig::default()
        }
    }

    /// Where the Sentinels send everybody.
    pub(crate) fn master_port(&self) -> Option<u16> {
        let question = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"];
        let answer = self.sentinels.first()?.try_command(&question).ok()?;
        let (_, port): (String, u16) = redis::from_redis_value(answer).ok()?;
        Some(port)
    }

    /// Waits until the Sentinels have made the replica the master.
    pub(crate) async fn failed_over(&self) {
        let new = self.servers[1].port;
        let done = || {
            self.master_port() == Some(new)
                && info(&self.servers[1], "replication").contains("role:master")
        };
        eventually("the replica is the master", done).await;
    }
}

fn sentinel_of(master: u16) -> RedisServer {
    let options = ["{folder}/sentinel.conf", "--sentinel"];
    RedisServer::prepared(&options, |folder, _| {
        let text = format!(
            "sentinel monitor mymaster 127.0.0.1 {master} 2\n\
             sentinel down-after-milliseconds mymaster 1000\n\
             sentinel failover-timeout mymaster 3000\n\
             dir {}\n",
            folder.display()
        );
        fs::write(folder.join("sentinel.conf"), text).unwrap();
    })
}

/// Three masters of a cluster that share the slots.
pub(crate) async fn cluster() -> Vec<RedisServer> {
    let nodes: Vec<RedisServer> = (0..3)
        .map(|_| {
            let bus = free_port().to_string();
            RedisServer::with(&[
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                &bus,
                "--cluster-node-timeout",
                "1000",
            ])
        })
        .collect();
    let thirds = [("0", "5461"), ("5462", "10922"), ("10923", "16383")];
    for (node, (first, last)) in nodes.iter().zip(thirds) {
        node.command(&["CLUSTER", "ADDSLOTSRANGE", first, last]);
    }
    for node in &nodes[1..] {
        let port = node.port.to_string();
        let bus = cluster_bus(node);
        nodes[0].command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
    }
    for node in &nodes {
        let complete = || {
            let answer = node.try_command(&["CLUSTER", "INFO"]);
            let text: String = answer
                .and_then(|value: Value| Ok(redis::from_redis_value(value)?))
                .unwrap_or_default();
            text.contains("cluster_state:ok") && text.contains("cluster_known_nodes:3")
        };
        eventually("the cluster is whole", complete).await;
    }
    nodes
}

fn cluster_bus(node: &RedisServer) -> String {
    let answer = node.command(&["CONFIG", "GET", "cluster-port"]);
    let (_, port): (String, String) = redis::from_redis_value(answer).unwrap();
    port
}
