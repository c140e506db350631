//! When a shard calls itself ready, and what it says when it does not.

use crate::support::{Options, PATIENCE, scripted_node, start, start_with};
use affinity::directory::{Directory, Reply, Request};
use proto::context::ClusterKey;
use proto::link::pair;
use proto::rpc::DirectoryService;
use shard::RpcDirectory;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;

#[tokio::test]
async fn a_shard_is_ready_with_a_lease_and_a_node_and_says_which_is_missing() {
    let options = Options {
        node: false,
        ..Options::default()
    };
    let mut shard = start_with(options).await;
    shard.ready_is(Err("node")).await;

    let (shard_end, node_end) = pair();
    shard.node_sink.send(shard_end).await.unwrap();
    let (heard, _commands) = mpsc::unbounded_channel();
    let node = tokio::spawn(scripted_node("n1", node_end, heard));
    shard.ready_is(Ok(())).await;

    shard.directory.cut.store(true, Ordering::Relaxed);
    shard.ready_is(Err("directory unreachable: cut")).await;
    shard.directory.cut.store(false, Ordering::Relaxed);
    shard.ready_is(Ok(())).await;

    node.abort();
    shard.ready_is(Err("node")).await;
    shard.stop.cancel();
    let ended = tokio::time::timeout(PATIENCE, &mut shard.running).await;
    ended.expect("an end in time").unwrap().unwrap();
    shard.ready_is(Err("shutting down")).await;
}

#[tokio::test]
async fn a_second_process_with_the_same_id_says_so() {
    let first = start().await;
    first.ready_is(Ok(())).await;
    let directory = Arc::clone(&first.directory) as Arc<dyn Directory>;
    let options = Options {
        directory: Some(directory),
        ..Options::default()
    };
    let second = start_with(options).await;
    second
        .ready_is(Err("another process holds the lease of shard `s1`"))
        .await;
    first.ready_is(Ok(())).await;
}

#[tokio::test]
async fn a_shard_with_another_cluster_secret_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let handler = |_: Request| async { Reply::NoLease };
    let service = DirectoryService::new(ClusterKey::new("theirs").unwrap(), handler);
    let gateway = tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    let ours = ClusterKey::new("ours").unwrap();
    let options = Options {
        directory: Some(Arc::new(RpcDirectory::new(&address, "s1", ours).unwrap())),
        ..Options::default()
    };
    let shard = start_with(options).await;
    shard.ready_is(Err("refused us")).await;
    gateway.abort();
}

#[tokio::test]
async fn a_shard_that_reaches_no_gateway_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let cluster = ClusterKey::new("cluster").unwrap();
    let directory = RpcDirectory::new(&address, "s1", cluster).unwrap();
    let options = Options {
        directory: Some(Arc::new(directory)),
        ..Options::default()
    };
    let shard = start_with(options).await;
    shard
        .ready_is(Err(&format!("no answer from {address}")))
        .await;
}
