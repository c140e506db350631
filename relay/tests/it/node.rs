//! A relay on a runtime of its own, and what it has delivered.

use bytes::Bytes;
use proto::context::ClusterKey;
use proto::id::NodeId;
use relay::{Config, Figures, Handle, Incoming, Peer, Relay};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long something may take that takes some milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
pub(crate) const SECRET: &str = "a secret of some length";

pub(crate) struct Node {
    pub(crate) name: NodeId,
    pub(crate) address: SocketAddr,
    pub(crate) handle: Handle,
    incoming: Receiver<Incoming>,
    shutdown: CancellationToken,
    running: Option<JoinHandle<()>>,
    runtime: Option<Runtime>,
}

pub(crate) fn id(name: &str) -> NodeId {
    NodeId::new(name)
}

pub(crate) fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// Tries until it holds, or patience is at its end.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

impl Node {
    pub(crate) fn new(name: &str) -> Self {
        Self::at(name, any_port(), SECRET)
    }

    pub(crate) fn at(name: &str, bind: SocketAddr, secret: &str) -> Self {
        let config = || Config {
            node: id(name),
            bind,
            key: ClusterKey::new(secret).unwrap(),
        };
        let mut bound = None;
        // A socket of a runtime that was just ended may live a moment longer.
        eventually("to bind", || {
            bound = Relay::bind(config()).ok();
            bound.is_some()
        });
        let relay = bound.unwrap();
        let (address, handle) = (relay.address(), relay.handle());
        let (delivered, incoming) = channel();
        let deliver = move |incoming| {
            // Nobody listens when the test is at its end.
            let _ = delivered.send(incoming);
        };
        let shutdown = CancellationToken::new();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let stop = shutdown.clone();
        let running = runtime.spawn(async move { relay.run(deliver, stop).await.unwrap() });
        Self {
            name: id(name),
            address,
            handle,
            incoming,
            shutdown,
            running: Some(running),
            runtime: Some(runtime),
        }
    }

    pub(crate) fn peer(&self) -> Peer {
        Peer {
            node: self.name.clone(),
            address: self.address,
        }
    }

    pub(crate) fn knows(&self, others: &[&Self]) {
        let peers = others.iter().map(|other| other.peer()).collect();
        self.handle.set_peers(peers);
    }

    /// What comes next.
    pub(crate) fn next(&self) -> Incoming {
        self.next_within(PATIENCE).expect("something comes")
    }

    pub(crate) fn next_within(&self, limit: Duration) -> Option<Incoming> {
        match self.incoming.recv_timeout(limit) {
            Ok(incoming) => Some(incoming),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("the relay has ended"),
        }
    }

    pub(crate) fn expect_up(&self, other: &str) {
        assert_eq!(self.next(), Incoming::Up(id(other)));
    }

    pub(crate) fn expect_down(&self, other: &str) {
        assert_eq!(self.next(), Incoming::Down(id(other)));
    }

    pub(crate) fn expect_datagram(&self, sender: &str, payload: &Bytes) {
        let (from, bytes) = (id(sender), payload.clone());
        assert_eq!(self.next(), Incoming::Datagram { from, bytes });
    }

    pub(crate) fn expect_message(&self, sender: &str, payload: &Bytes) {
        let (from, bytes) = (id(sender), payload.clone());
        assert_eq!(self.next(), Incoming::Message { from, bytes });
    }

    pub(crate) fn figures(&self) -> Figures {
        self.handle.figures()
    }

    /// Without a word: nothing of it runs any more, and nothing is sent.
    pub(crate) fn die(mut self) -> SocketAddr {
        self.runtime.take().unwrap().shutdown_background();
        self.address
    }

    /// In good order.
    pub(crate) fn stop(mut self) {
        self.shutdown.cancel();
        let (runtime, running) = (self.runtime.take().unwrap(), self.running.take().unwrap());
        let ended = runtime.block_on(async { tokio::time::timeout(PATIENCE, running).await });
        ended.expect("it ends").expect("without a fault");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Two that know each other and are up.
pub(crate) fn pair() -> (Node, Node) {
    let (a, b) = (Node::new("a"), Node::new("b"));
    b.knows(&[&a]);
    a.knows(&[&b]);
    a.expect_up("b");
    b.expect_up("a");
    (a, b)
}
