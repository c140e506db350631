//! A node as its shard and its clients see it: real sockets on loopback, real str0m clients.

mod client;
mod world;

use client::Via;
use proto::context::ClusterKey;
use proto::id::NodeId;
use proto::link::{NodeEnd, ShardEnd, pair};
use proto::media::{MEDIA_PROTOCOL, NodeEvent};
use proto::rpc::NodeLinkService;
use sfu::{Config, Node, NodeError};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;
use world::World;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Long enough for a loaded machine; nothing waits that long when all is well.
const PATIENCE: Duration = Duration::from_secs(30);

fn loopback() -> Config {
    Config {
        udp_port: 0,
        bind: vec![LOOPBACK],
        ..Config::default()
    }
}

/// Publishes from one client to another and sends a data packet, over the transport given.
async fn media_and_data_flow(config: Config, via: Via) {
    flow(World::start(config), via, 0).await;
}

/// The same where so many others wait in other rooms.
async fn flow(mut world: World, via: Via, others: u16) {
    world.join("alice", via);
    world.join("bob", via);
    world.publish_audio("alice");
    world.subscribe("bob");
    world.offer("alice");
    world.offer("bob");
    world
        .until("both are connected", World::all_connected)
        .await;
    world
        .until("bob hears alice", |world| world.client("bob").samples > 20)
        .await;

    let open = |world: &World| {
        let has_channel = |who| world.client(who).channel("_reliable").is_some();
        has_channel("alice") && has_channel("bob")
    };
    world.until("data channels are open", open).await;
    world.say("alice", "_reliable", b"hello bob");
    world
        .until("bob reads alice's message", |world| {
            world.client("bob").has_read(b"hello bob")
        })
        .await;
    assert!(
        world.client("bob").has_read(b"alice"),
        "the sender's identity is stamped in"
    );
    assert!(!world.client("alice").has_read(b"hello bob"), "no echo");

    let counted = |world: &World| {
        world.report().is_some_and(|report| {
            report.participants == 2 + u32::from(others)
                && report.packets_out > 20
                && report.bytes_in > 0
        })
    };
    world.until("the report shows it", counted).await;
    if others > 0 {
        assert!(world.is_at_worker(others.into()), "each has one worker");
    }
    world.stop().await.expect("the node stops without an error");
}

#[tokio::test]
async fn media_and_data_flow_over_udp() {
    // With a public address besides, which leads nowhere from here: it must not be in the way.
    let behind_nat = Config {
        public_ip: vec![IpAddr::from([203, 0, 113, 7])],
        ..loopback()
    };
    media_and_data_flow(behind_nat, Via::Udp).await;
}

#[tokio::test]
async fn media_and_data_flow_over_udp_on_ipv6() {
    if UdpSocket::bind("[::1]:0").is_err() {
        println!("skipped: this machine has no IPv6 loopback");
        return;
    }
    let both = Config {
        bind: vec![LOOPBACK, IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])],
        ..loopback()
    };
    media_and_data_flow(both, Via::UdpV6).await;
}

#[tokio::test]
async fn rooms_are_spread_over_workers_each_with_ports_of_its_own() {
    for others in 0..3 {
        let node = Config {
            workers: 3,
            ..loopback()
        };
        let mut world = World::start(node);
        for other in 0..others {
            world.add(&format!("waiting-{other}"), &format!("RM_{other}"));
        }
        flow(world, Via::Udp, others).await;
    }
}

#[tokio::test]
async fn media_and_data_flow_over_tcp() {
    media_and_data_flow(loopback(), Via::Tcp).await;
}

#[tokio::test]
async fn garbage_on_the_media_ports_is_counted_and_harms_nobody() {
    let mut world = World::start(loopback());
    world.join("alice", Via::Udp);
    world.join("bob", Via::Tcp);
    world.publish_audio("alice");
    world.subscribe("bob");
    world.offer("alice");
    world.offer("bob");
    world
        .until("bob hears alice", |world| world.client("bob").samples > 5)
        .await;

    let silent = TcpStream::connect(world.tcp()).unwrap();
    let sent = throw_garbage(world.udp(), world.tcp());
    let counted = |world: &World| {
        world
            .report()
            .is_some_and(|report| report.stray_packets >= sent)
    };
    world.until("the garbage is counted", counted).await;

    let before = world.client("bob").samples;
    let goes_on = |world: &World| world.client("bob").samples > before + 20;
    world.until("bob still hears alice", goes_on).await;
    world
        .until("the silent connection is closed", |_| is_closed(&silent))
        .await;
    world
        .until("bob hears on", |world| {
            world.client("bob").samples > before + 40
        })
        .await;
    world.stop().await.expect("the node stops without an error");
}

/// Sends what no client sends; returns how many of them must be counted at least.
fn throw_garbage(udp: SocketAddr, tcp: SocketAddr) -> u64 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut count = 0;
    let mut throw = |bytes: &[u8]| {
        socket.send_to(bytes, udp).unwrap();
        count += 1;
    };
    // Every first byte, so that each protocol's parser is met, at lengths around their headers.
    for first in 0..=255_u8 {
        for length in [1, 12, 20, 1200] {
            throw(&vec![first; length]);
        }
    }
    throw(&[0x80; 60_000]);
    // A binding request with a user name that belongs to nobody (RFC 8489 section 14.3).
    let mut stun = vec![0, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42];
    stun.extend([7; 12]);
    stun.extend([0, 6, 0, 8]);
    stun.extend(b"none:who");
    throw(&stun);

    let connect = || TcpStream::connect(tcp).unwrap();
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 4000],
        &[0x16, 3, 1, 2, 0],
    ] {
        // The node may close before all is written.
        let _ = connect().write_all(garbage);
    }
    let mut framed = connect();
    for length in [0_u16, 1, 20, 2048] {
        framed.write_all(&length.to_be_bytes()).unwrap();
        framed.write_all(&vec![0x2a; usize::from(length)]).unwrap();
    }
    // Cut off in the middle of a frame.
    connect().write_all(&[0, 100, 1, 2, 3]).unwrap();
    // A kernel may drop some of a burst, UDP being what it is.
    count / 2
}

fn is_closed(mut stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    matches!(stream.read(&mut [0]), Ok(0))
}

#[tokio::test]
async fn a_taken_port_means_the_next_free_one() {
    let first = Node::bind(loopback()).unwrap();
    let port = first.udp_ports()[0];
    let second = Node::bind(Config {
        udp_port: port,
        ..loopback()
    });
    let second = second.unwrap();
    assert!(second.udp_ports()[0] > port);
    assert_eq!(second.udp_ports(), second.tcp_ports());
}

#[tokio::test]
async fn hello_tells_of_the_turn_server() {
    let (mut shard, node_end) = pair();
    let turn = sfu::TurnConfig {
        udp_port: 0,
        domain: Some("turn.example.org".to_owned()),
        secret: Some("a secret for tests".to_owned()),
        ..sfu::TurnConfig::default()
    };
    let config = Config {
        turn: Some(turn),
        ..loopback()
    };
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(
        Node::bind(config)
            .unwrap()
            .run(node_end, None, shutdown.clone()),
    );
    let Some(NodeEvent::Hello {
        turn: Some(offer), ..
    }) = shard.events.recv().await
    else {
        panic!("a Hello with TURN");
    };
    assert_eq!(offer.urls.len(), 2);
    let is_ours = |url: &String| url.starts_with("turn:turn.example.org:");
    assert!(offer.urls.iter().all(is_ours), "{offer:?}");
    shutdown.cancel();
    assert!(running.await.unwrap().is_ok());
}

#[tokio::test]
async fn hello_comes_first_and_a_closed_link_ends_the_node() {
    let (mut shard, node_end) = pair();
    let config = Config {
        workers: 3,
        ..loopback()
    };
    let node = Node::bind(config).unwrap();
    let running = tokio::spawn(node.run(node_end, None, CancellationToken::new()));
    let hello = NodeEvent::Hello {
        node: NodeId::new("n1"),
        protocol: MEDIA_PROTOCOL,
        turn: None,
        workers: 3,
        relay: None,
    };
    assert_eq!(shard.events.recv().await, Some(hello));
    let (mut reported, mut asked) = (false, false);
    while !reported || !asked {
        let event = timeout(PATIENCE, shard.events.recv()).await.unwrap();
        reported |= matches!(event, Some(NodeEvent::Report(_)));
        asked |= matches!(event, Some(NodeEvent::AskOwned { .. }));
    }
    drop(shard);
    let ended = timeout(PATIENCE, running).await.unwrap().unwrap();
    assert!(ended.is_ok(), "{ended:?}");
}

#[tokio::test]
async fn a_shard_that_takes_no_events_has_stalled() {
    let (_commands, command_rx) = mpsc::channel(1);
    let (event_tx, _events) = mpsc::channel(2);
    let link = NodeEnd {
        commands: command_rx,
        events: event_tx,
    };
    let node = Node::bind(loopback()).unwrap();
    let ended = timeout(PATIENCE, node.run(link, None, CancellationToken::new()))
        .await
        .unwrap();
    assert!(matches!(ended, Err(NodeError::LinkStalled)), "{ended:?}");
}

/// A shard's door for nodes, in a runtime of its own so that it can vanish as if killed.
struct Door {
    runtime: Option<Runtime>,
    attached: mpsc::Receiver<ShardEnd>,
}

impl Door {
    async fn open(address: SocketAddr, cluster: &ClusterKey) -> Self {
        let listener = bind_patiently(address).await;
        let runtime = Runtime::new().unwrap();
        let (attached_tx, attached) = mpsc::channel(4);
        let service = NodeLinkService::new(cluster.clone(), attached_tx);
        runtime.spawn(async move {
            let incoming = TcpIncoming::from(tokio::net::TcpListener::from_std(listener).unwrap());
            let server = tonic::transport::Server::builder().add_service(service);
            server.serve_with_incoming(incoming).await
        });
        Self {
            runtime: Some(runtime),
            attached,
        }
    }

    async fn next_node(&mut self) -> ShardEnd {
        let mut shard = timeout(PATIENCE, self.attached.recv())
            .await
            .unwrap()
            .unwrap();
        let first = timeout(PATIENCE, shard.events.recv()).await.unwrap();
        assert!(matches!(first, Some(NodeEvent::Hello { .. })), "{first:?}");
        shard
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The door before may still be closing, or another test may have the port for a moment.
async fn bind_patiently(address: SocketAddr) -> TcpListener {
    let bound = async {
        loop {
            match TcpListener::bind(address) {
                Ok(listener) => return listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let listener = timeout(PATIENCE, bound).await.unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

#[tokio::test]
async fn an_attached_node_comes_back_when_its_shard_does() {
    let cluster = ClusterKey::new("a cluster secret for this test").unwrap();
    let free = TcpListener::bind((LOOPBACK, 0)).unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let node = Node::bind(Config {
        shard: Some(format!("http://{address}")),
        ..loopback()
    });
    let node = node.unwrap();
    let port = node.udp_ports()[0];
    let shutdown = CancellationToken::new();
    // Before the shard is there: the node keeps trying.
    let running = tokio::spawn(node.run_attached(cluster.clone(), shutdown.clone()));

    let mut door = Door::open(address, &cluster).await;
    let shard = door.next_node().await;
    let mut world = World::on(shard, port);
    world.join("alice", Via::Udp);
    world.offer("alice");
    world
        .until("alice is connected", World::all_connected)
        .await;
    let counted = |world: &World| {
        world
            .report()
            .is_some_and(|report| report.participants == 1)
    };
    world.until("the report shows alice", counted).await;
    drop(world);
    drop(door);

    let mut door = Door::open(address, &cluster).await;
    let mut shard = door.next_node().await;
    let report = loop {
        match timeout(PATIENCE, shard.events.recv()).await.unwrap() {
            Some(NodeEvent::Report(report)) => break report,
            Some(NodeEvent::AskOwned { .. }) => {}
            other => panic!("a report was expected, not {other:?}"),
        }
    };
    assert_eq!(report.participants, 0, "a new link starts from nothing");

    shutdown.cancel();
    let ended = timeout(PATIENCE, running).await.unwrap().unwrap();
    assert!(ended.is_ok(), "{ended:?}");
}

#[tokio::test]
async fn an_attached_node_needs_an_address_to_attach_to() {
    let cluster = ClusterKey::new("a cluster secret for this test").unwrap();
    let node = Node::bind(loopback()).unwrap();
    let ended = node.run_attached(cluster, CancellationToken::new()).await;
    assert!(matches!(ended, Err(NodeError::NoShard)));
    let config = Config {
        shard: Some("shard-1:7000".to_owned()),
        ..loopback()
    };
    assert!(matches!(Node::bind(config), Err(NodeError::Shard(_))));
}
