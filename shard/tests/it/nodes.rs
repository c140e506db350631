//! Nodes that attach and go.

use crate::support::{Options, PATIENCE, scripted_node, start, start_with};
use livekit_protocol::leave_request;
use livekit_protocol::signal_response::Message as Response;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

#[tokio::test]
async fn a_node_of_another_process_takes_the_rooms_of_a_shard_without_one() {
    let options = Options {
        node: false,
        internal: true,
        ..Options::default()
    };
    let shard = start_with(options).await;
    let target = format!("/rtc/v1?access_token={}", shard.token("standup", "ann"));
    let refused = shard.open(&target, "standup").await.err().unwrap();
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(refused.body.contains("node"), "{}", refused.body);
    shard.directory.given_back("standup").await;

    let address = format!("http://{}", shard.internal.unwrap());
    let end = proto::rpc::connect_node(&address, "node/n9", &shard.cluster)
        .await
        .unwrap();
    let (heard, _commands) = mpsc::unbounded_channel();
    tokio::spawn(scripted_node("n9", end, heard));
    let start = Instant::now();
    let mut client = loop {
        match shard.open(&target, "standup").await {
            Ok(client) => break client,
            Err(refused) => assert_eq!(refused.status, 503, "{}", refused.body),
        }
        assert!(start.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(matches!(client.next().await, Response::Join(_)));
}

#[tokio::test]
async fn when_a_node_is_lost_its_participants_are_told_to_come_back() {
    let mut shard = start().await;
    let mut client = shard.join("standup", "ann").await;
    shard.node.take().unwrap().abort();
    let leave = |message| match message {
        Response::Leave(leave) => Some(leave),
        _ => None,
    };
    let leave = client.next_where(leave).await;
    assert_eq!(leave.action(), leave_request::Action::Reconnect);
}
