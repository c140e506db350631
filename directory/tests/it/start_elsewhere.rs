//! Replicas, Sentinels and clusters: the right server is found, the wrong one is named.

use crate::replicated::{Watched, cluster, replica_of};
use crate::server::RedisServer;
use crate::{mistake, outcome};
use directory::{RedisConfig, RedisDirectory, SecretText, SentinelConfig, StartError};

fn sentinels(master: &str, urls: &[String]) -> RedisConfig {
    RedisConfig {
        sentinel: Some(SentinelConfig {
            master: master.to_owned(),
            urls: urls.iter().map(SecretText::new).collect(),
            ..SentinelConfig::default()
        }),
        ..RedisConfig::default()
    }
}

fn cluster_at(urls: &[String]) -> RedisConfig {
    RedisConfig {
        cluster: urls.iter().map(SecretText::new).collect(),
        ..RedisConfig::default()
    }
}

#[tokio::test]
async fn a_replica_is_not_taken_for_the_master_and_missing_replicas_are_counted() {
    let master = RedisServer::start();
    let mut wanting = RedisConfig::at(master.url());
    wanting.replicas = 1;
    let text = mistake(&wanting).await;
    assert!(text.contains("only 0 of 1 replicas"), "{text}");
    assert!(outcome(&wanting).await.unwrap_err().is_passing());

    let replica = replica_of(&master).await;
    let text = mistake(&RedisConfig::at(replica.url())).await;
    assert!(text.contains("is a replica"), "{text}");
    assert_eq!(outcome(&wanting).await, Ok(()));
}

#[tokio::test]
async fn sentinels_lead_to_the_master_also_after_a_fail_over() {
    let mut watched = Watched::start().await;
    let directory = RedisDirectory::connect(&watched.config()).await.unwrap();
    let before = directory.probe().await.unwrap().address;
    assert_eq!(before, format!("127.0.0.1:{}", watched.servers[0].port));

    // The first Sentinel asked is not there either.
    watched.sentinels[0].kill();
    watched.sentinels.remove(0);
    watched.servers[0].kill();
    watched.failed_over().await;
    let began = std::time::Instant::now();
    let after = loop {
        match directory.probe().await {
            Ok(info) => break info.address,
            Err(error) => assert!(began.elapsed().as_secs() < 15, "{error}"),
        }
    };
    assert_eq!(after, format!("127.0.0.1:{}", watched.servers[1].port));
}

#[tokio::test]
async fn what_is_wrong_around_sentinels_is_named() {
    let watched = Watched::start().await;
    let url = watched.sentinels[0].url();
    let text = mistake(&sentinels("nobody", std::slice::from_ref(&url))).await;
    assert!(text.contains("knows no master `nobody`"), "{text}");
    let text = mistake(&RedisConfig::at(&url)).await;
    assert!(text.contains("is a Sentinel"), "{text}");
    let text = mistake(&sentinels("mymaster", &[watched.servers[0].url()])).await;
    assert!(text.contains("it is no Sentinel"), "{text}");

    let gone = format!("redis://127.0.0.1:{}", crate::server::free_port());
    let text = mistake(&sentinels("mymaster", &[gone.clone(), gone.clone()])).await;
    assert!(
        text.contains("cannot be reached: Connection refused"),
        "{text}"
    );
    assert_eq!(outcome(&sentinels("mymaster", &[gone, url])).await, Ok(()));
}

#[tokio::test]
async fn a_cluster_is_entered_at_any_node_and_only_as_a_cluster() {
    let nodes = cluster().await;
    for node in &nodes {
        assert_eq!(outcome(&cluster_at(&[node.url()])).await, Ok(()));
        let text = mistake(&RedisConfig::at(node.url())).await;
        assert!(text.contains("is a node of a cluster"), "{text}");
    }
    let addresses: std::collections::BTreeSet<String> = [
        described(&cluster_at(&[nodes[0].url()])).await,
        described(&cluster_at(&[nodes[1].url()])).await,
    ]
    .into();
    assert_eq!(addresses.len(), 1, "all keys are at one node");

    let alone = RedisServer::start();
    let text = mistake(&cluster_at(&[alone.url()])).await;
    assert!(text.contains("is not in cluster mode"), "{text}");
}

async fn described(config: &RedisConfig) -> String {
    let directory = RedisDirectory::connect(config).await.unwrap();
    directory.probe().await.unwrap().address
}

#[tokio::test]
async fn a_slot_without_a_node_is_named() {
    let bus = crate::server::free_port().to_string();
    let empty = RedisServer::with(&["--cluster-enabled", "yes", "--cluster-port", &bus]);
    let error = outcome(&cluster_at(&[empty.url()])).await.unwrap_err();
    assert!(matches!(error, StartError::ClusterDown { .. }), "{error}");
}
