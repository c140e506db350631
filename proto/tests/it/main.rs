//! The links between processes, over real loopback connections.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use proto::context::ClusterKey;
use proto::id::{NodeId, ParticipantSid, RoomSid};
use proto::link::ShardEnd;
use proto::media::{CarriedData, MEDIA_PROTOCOL, NodeCommand, NodeEvent, ToWorker};
use proto::rpc::{DirectoryClient, DirectoryService, NodeLinkService, RpcError, connect_node};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;

fn key(secret: &str) -> ClusterKey {
    ClusterKey::new(secret).expect("a secret")
}

async fn listen() -> (TcpListenerStream, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    (TcpListenerStream::new(listener), address)
}

async fn serve_directory(secret: &str) -> String {
    let (incoming, address) = listen().await;
    let service = DirectoryService::new(key(secret), |question: String| async move {
        format!("{question}, answered")
    });
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(incoming));
    address
}

async fn serve_node_links(secret: &str) -> (String, mpsc::Receiver<ShardEnd>) {
    let (incoming, address) = listen().await;
    let (attached_tx, attached_rx) = mpsc::channel(4);
    let service = NodeLinkService::new(key(secret), attached_tx);
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(incoming));
    (address, attached_rx)
}

fn directory_client(address: &str, secret: &str) -> DirectoryClient<String, String> {
    DirectoryClient::new(address, "shard/s1".into(), key(secret)).expect("a client")
}

#[tokio::test]
async fn a_directory_call_brings_its_answer_back() {
    let address = serve_directory("one").await;
    let client = directory_client(&address, "one");
    assert_eq!(
        client.call("who".into()).await.expect("an answer"),
        "who, answered"
    );
    assert_eq!(
        client.call("what".into()).await.expect("an answer"),
        "what, answered"
    );
}

#[tokio::test]
async fn another_cluster_secret_is_refused_with_the_reason() {
    let address = serve_directory("one").await;
    let error = directory_client(&address, "two")
        .call("who".into())
        .await
        .expect_err("refused");
    let RpcError::Refused { reason, .. } = error else {
        panic!("{error:?}")
    };
    assert!(reason.contains("another cluster secret"), "{reason}");
}

#[tokio::test]
async fn nobody_there_is_unreachable_and_a_bad_address_is_named() {
    let (incoming, address) = listen().await;
    drop(incoming);
    let error = directory_client(&address, "one")
        .call("who".into())
        .await
        .expect_err("nobody");
    assert!(matches!(error, RpcError::Unreachable { .. }), "{error:?}");
    for bad in ["127.0.0.1:1", "https://h:1", "http://", "ftp://h"] {
        let error = DirectoryClient::<String, String>::new(bad, "shard/s1".into(), key("one"));
        assert!(matches!(error.err(), Some(RpcError::Address(_))), "{bad}");
    }
}

#[tokio::test]
async fn a_node_link_carries_messages_both_ways_and_ends_on_both_sides() {
    let (address, mut attached) = serve_node_links("one").await;
    let mut node = connect_node(&address, "node/n1", &key("one"))
        .await
        .expect("attached");
    let mut shard = attached.recv().await.expect("the node arrives");

    let hello = NodeEvent::Hello {
        node: NodeId::new("n1"),
        protocol: MEDIA_PROTOCOL,
        turn: None,
        workers: 1,
        relay: None,
    };
    node.events.send(hello.clone()).await.expect("sent");
    assert_eq!(shard.events.recv().await, Some(hello));

    let command = NodeCommand::RemoveParticipant {
        participant: ParticipantSid::new("PA_1"),
    };
    let remove = ToWorker { worker: 2, command };
    shard.commands.send(remove.clone()).await.expect("sent");
    assert_eq!(node.commands.recv().await, Some(remove));

    drop(shard);
    assert_eq!(node.commands.recv().await, None, "the node sees the end");

    let node = connect_node(&address, "node/n1", &key("one"))
        .await
        .expect("attached again");
    let mut shard = attached.recv().await.expect("the node arrives again");
    drop(node);
    assert_eq!(shard.events.recv().await, None, "the shard sees the end");
}

#[tokio::test]
async fn a_node_with_another_secret_is_refused() {
    let (address, _attached) = serve_node_links("one").await;
    let refused = connect_node(&address, "node/n1", &key("two")).await;
    assert!(matches!(refused.err(), Some(RpcError::Refused { .. })));
}

#[test]
fn carried_packets_are_base64_text_and_what_later_versions_leave_out_has_a_meaning() {
    let deliver = NodeCommand::Deliver {
        room: RoomSid::new("RM_1"),
        data: vec![CarriedData {
            from: ParticipantSid::new("PA_1"),
            sequence: 7,
            age_ms: 0,
            packet: vec![0xff, 0x00, 0x10],
        }],
    };
    let text = serde_json::to_string(&deliver).expect("JSON");
    assert!(text.contains(r#""packet":"/wAQ""#), "{text}");
    let back: NodeCommand = serde_json::from_str(&text).expect("our own words");
    assert_eq!(back, deliver);
    let without_age = text.replace(r#""age_ms":0,"#, "");
    let back: NodeCommand = serde_json::from_str(&without_age).expect("a default");
    assert_eq!(back, deliver);
    let garbled = text.replace("/wAQ", "/w?Q");
    assert!(serde_json::from_str::<NodeCommand>(&garbled).is_err());
}
