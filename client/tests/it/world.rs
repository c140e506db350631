//! A shard with a media node, as one process has them, and tokens for it.

use affinity::directory::{
    Directory, DirectoryFuture, DirectoryIncarnation, DirectoryLimits, Epoch, MemoryDirectory,
    Request,
};
use affinity::{RoomCase, ShardId, ShardState};
use client::{AccessToken, ConnectOptions, PeerMode};
use proto::context::{CONTEXT_HEADER, ClusterKey, RoomContext};
use proto::token::ApiKeys;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// Nothing on loopback takes this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
const DIRECTORY: u64 = 77;

/// A directory in this process, with one shard.
struct TestDirectory(Mutex<MemoryDirectory>);

impl TestDirectory {
    fn new() -> Self {
        let mut memory = MemoryDirectory::new(
            DirectoryIncarnation(DIRECTORY),
            Epoch(0),
            false,
            DirectoryLimits::default(),
            Instant::now(),
        );
        let announce = Request::Announce {
            gateway: "g1".to_owned(),
            topology: vec![affinity::Shard {
                id: ShardId::new("s1"),
                url: String::new(),
                weight: 1,
                state: ShardState::Active,
            }],
        };
        memory.handle_request(announce, Instant::now());
        Self(Mutex::new(memory))
    }
}

impl Directory for TestDirectory {
    fn call(&self, request: Request) -> DirectoryFuture<'_> {
        let reply = self
            .0
            .lock()
            .unwrap()
            .handle_request(request, Instant::now());
        Box::pin(std::future::ready(Ok(reply)))
    }
}

/// A way to the shard that can be cut.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Relay {
    pub(crate) async fn to(world: &World) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let to = world.address;
        let task = tokio::spawn(async move {
            // With the relay all its connections end.
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                connections.spawn(async move {
                    let mut server = TcpStream::connect(to).await?;
                    tokio::io::copy_bidirectional(&mut client, &mut server).await
                });
            }
        });
        Self { address, task }
    }

    /// Nobody gets through any more.
    pub(crate) fn cut(self) {
        self.task.abort();
    }
}

pub(crate) struct World {
    address: SocketAddr,
    cluster: ClusterKey,
    stop: shard::Stop,
    nodes: CancellationToken,
    shard: JoinHandle<Result<(), shard::ShardError>>,
    node: JoinHandle<Result<(), sfu::NodeError>>,
}

impl World {
    pub(crate) async fn start() -> Self {
        let secrets = BTreeMap::from([("devkey".to_owned(), "secret".to_owned())]);
        let cluster = ClusterKey::new("cluster").unwrap();
        let deps = shard::Deps {
            keys: ApiKeys::new(secrets).unwrap(),
            cluster: cluster.clone(),
            rooms: RoomCase::Sensitive,
            directory: Arc::new(TestDirectory::new()),
        };
        let config = shard::Config {
            id: "s1".to_owned(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            ..shard::Config::default()
        };
        let shard = shard::Shard::bind(config, deps).await.unwrap();
        let node = sfu::Node::bind(sfu::Config {
            udp_port: 0,
            bind: vec![Ipv4Addr::LOCALHOST.into()],
            ..sfu::Config::default()
        })
        .unwrap();
        let (shard_end, node_end) = proto::link::pair();
        shard.node_sink().send(shard_end).await.unwrap();
        let (address, ready) = (shard.address(), shard.readiness());
        let (stop, nodes) = (shard::Stop::default(), CancellationToken::new());
        let world = Self {
            address,
            cluster,
            node: tokio::spawn(node.run(node_end, None, nodes.clone())),
            shard: tokio::spawn(shard.run(stop.clone())),
            stop,
            nodes,
        };
        let start = Instant::now();
        while ready.state().is_err() {
            assert!(start.elapsed() < PATIENCE, "{:?}", ready.state());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        world
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How somebody joins the room, with what the gateway would add.
    pub(crate) fn options(&self, room: &str, identity: &str, mode: PeerMode) -> ConnectOptions {
        let token = AccessToken::new(room, identity).sign("devkey", "secret");
        self.options_with(room, token.unwrap(), mode)
    }

    pub(crate) fn options_with(&self, room: &str, token: String, mode: PeerMode) -> ConnectOptions {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let statement = RoomContext {
            room: Some(room.to_owned()),
            shard: "s1".to_owned(),
            directory: DIRECTORY,
            generation: 1,
            client: "192.0.2.1".to_owned(),
            expires_ms: u64::try_from(now.as_millis()).unwrap() + 10_000,
        };
        let context = self.cluster.sign(&statement);
        let mut options = ConnectOptions::new(format!("ws://{}", self.address), token);
        options.headers = vec![(CONTEXT_HEADER.to_owned(), context)];
        options.session.mode = mode;
        options
    }

    /// The shard ends, then the node, as in a process that is stopped.
    pub(crate) async fn stop(self) {
        self.stop.now.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.shard).await;
        ended.expect("the shard ends").unwrap().unwrap();
        self.nodes.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.node).await;
        ended.expect("the node ends").unwrap().unwrap();
    }
}
