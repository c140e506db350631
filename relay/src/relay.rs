//! The relay as a whole: a socket, whom to talk to, and who comes in.

use crate::close::Close;
use crate::handle::Handle;
use crate::handshake::{self, HandshakeError};
use crate::hello;
use crate::keeper::{ACCEPTED_MAX, Keeper};
use crate::shared::{Peers, Shared};
use crate::tls::TlsError;
use crate::transport;
use bytes::Bytes;
use proto::context::ClusterKey;
use proto::id::NodeId;
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, TokioRuntime, VarInt};
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Connections that have not proved themselves yet. More are refused.
pub const AUTHENTICATING_MAX: usize = 64;
/// From so many on, who connects must show first that its address is its own: it costs a round trip,
/// and takes nothing of ours.
const UNCHECKED_MAX: usize = AUTHENTICATING_MAX / 4;
/// The kernel's buffers, bytes, if it allows so much: 100 ms at 300 Mbit/s.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// How long peers are told at the end that it is one.
const FAREWELL: Duration = Duration::from_millis(300);

/// What a relay is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// Ourselves: 1 to [`crate::NODE_ID_BYTES_MAX`] bytes.
    pub node: NodeId,
    /// Where to listen, and whence to send. Port 0 takes a free one.
    pub bind: SocketAddr,
    /// The secret of the cluster.
    pub key: ClusterKey,
}

/// Another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub node: NodeId,
    /// Where its relay listens.
    pub address: SocketAddr,
}

/// What comes in. Of one peer: `Up`, then its traffic, then `Down`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A peer has proved itself.
    Up(NodeId),
    /// Its connection has ended. If it stays a peer, it is tried again.
    Down(NodeId),
    /// What may be lost and come out of order.
    Datagram {
        /// Who sent it.
        from: NodeId,
        /// As it was sent.
        bytes: Bytes,
    },
    /// What comes in its order.
    Message {
        /// Who sent it.
        from: NodeId,
        /// As it was sent.
        bytes: Bytes,
    },
}

/// Takes what comes in.
pub(crate) type Deliver = Arc<dyn Fn(Incoming) + Send + Sync>;

/// Why there is no relay.
#[derive(Debug, Error)]
pub enum RelayError {
    /// The own name is empty or too long.
    #[error("a node's name must have 1 to {max} bytes to talk to others", max = hello::NODE_ID_BYTES_MAX)]
    Name,
    /// The address cannot be used.
    #[error("the relay cannot listen on {0}")]
    Bind(SocketAddr, #[source] io::Error),
    /// No encryption.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The socket cannot be used by the runtime.
    #[error("the relay cannot be started")]
    Start(#[source] io::Error),
}

/// A relay that is ready to run.
#[derive(Debug)]
pub struct Relay {
    socket: UdpSocket,
    address: SocketAddr,
    server: quinn::ServerConfig,
    client: ClientConfig,
    shared: Arc<Shared>,
}

impl Relay {
    /// Takes the address. Needs no runtime.
    ///
    /// # Errors
    /// [`RelayError::Name`], [`RelayError::Bind`], [`RelayError::Tls`].
    pub fn bind(config: Config) -> Result<Self, RelayError> {
        if !hello::is_name(&config.node) {
            return Err(RelayError::Name);
        }
        let (socket, address) =
            bind(config.bind).map_err(|error| RelayError::Bind(config.bind, error))?;
        let (server, client) = transport::configs()?;
        Ok(Self {
            socket,
            address,
            server,
            client,
            shared: Arc::new(Shared::new(config.node, config.key)),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// For those who send.
    pub fn handle(&self) -> Handle {
        let shared = self.shared.clone();
        Handle { shared }
    }

    /// Runs until `shutdown`, and says good-bye to all peers then. `deliver` is called from many tasks
    /// and must not wait: what it holds up is the peer's traffic.
    ///
    /// Dropping the future ends it as well; `Down` is not delivered then.
    ///
    /// # Errors
    /// [`RelayError::Start`].
    pub async fn run(
        self,
        deliver: impl Fn(Incoming) + Send + Sync + 'static,
        shutdown: CancellationToken,
    ) -> Result<(), RelayError> {
        let endpoint = Endpoint::new(
            EndpointConfig::default(),
            Some(self.server),
            self.socket,
            Arc::new(TokioRuntime),
        );
        let running = Running {
            endpoint: endpoint.map_err(RelayError::Start)?,
            client: self.client,
            shared: self.shared,
            deliver: Arc::new(deliver),
            members: Arc::default(),
            leaving: HashMap::new(),
            authenticating: Arc::new(Semaphore::new(AUTHENTICATING_MAX)),
            tasks: JoinSet::new(),
            shutdown,
        };
        running.run().await;
        Ok(())
    }
}

fn bind(address: SocketAddr) -> io::Result<(UdpSocket, SocketAddr)> {
    let socket = UdpSocket::bind(address)?;
    let bound = socket.local_addr()?;
    let options = socket2::SockRef::from(&socket);
    // Less will do, at lower rates.
    let _ = options.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = options.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    Ok((socket, bound))
}

/// A peer, as the loop sees it.
#[derive(Debug)]
struct Member {
    address: SocketAddr,
    gone: CancellationToken,
    ended: CancellationToken,
    accepted: mpsc::Sender<Connection>,
}

type Members = Arc<Mutex<HashMap<NodeId, Member>>>;

struct Running {
    endpoint: Endpoint,
    client: ClientConfig,
    shared: Arc<Shared>,
    deliver: Deliver,
    members: Members,
    /// Peers that are none any more and whose `Down` has not been delivered yet: if they come back,
    /// they wait for it.
    leaving: HashMap<NodeId, CancellationToken>,
    authenticating: Arc<Semaphore>,
    tasks: JoinSet<()>,
    shutdown: CancellationToken,
}

impl Running {
    async fn run(mut self) {
        let shutdown = self.shutdown.clone();
        let mut peers = self.shared.peers.subscribe();
        peers.mark_changed();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                changed = peers.changed() => {
                    // The sender is our own.
                    if changed.is_ok() {
                        let now = peers.borrow_and_update().clone();
                        self.reconcile(&now);
                    }
                }
                incoming = self.endpoint.accept() => match incoming {
                    Some(incoming) => self.admit(incoming),
                    None => break,
                },
                Some(ended) = self.tasks.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "relay: a task died by a fault");
                    }
                }
            }
        }
        self.part().await;
    }

    /// Says good-bye.
    async fn part(mut self) {
        for member in locked(&self.members).values() {
            member.gone.cancel();
        }
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(FAREWELL, all).await;
        self.endpoint
            .close(VarInt::from_u32(Close::Done as u32), b"");
        let _ = tokio::time::timeout(FAREWELL, self.endpoint.wait_idle()).await;
    }

    /// Ends what is no peer any more and begins what is new.
    fn reconcile(&mut self, peers: &Peers) {
        self.leaving.retain(|_, ended| !ended.is_cancelled());
        let members = self.members.clone();
        let mut members = locked(&members);
        let leaving = members.extract_if(|node, member| peers.get(node) != Some(&member.address));
        for (node, member) in leaving {
            member.gone.cancel();
            self.leaving.insert(node, member.ended);
        }
        for (node, address) in peers.iter() {
            if !members.contains_key(node) {
                let member = self.begin(node, *address);
                members.insert(node.clone(), member);
            }
        }
    }

    fn begin(&mut self, node: &NodeId, address: SocketAddr) -> Member {
        let (accepted_tx, accepted) = mpsc::channel(ACCEPTED_MAX);
        let (gone, ended) = (CancellationToken::new(), CancellationToken::new());
        let keeper = Keeper {
            peer: node.clone(),
            address,
            shared: self.shared.clone(),
            deliver: self.deliver.clone(),
            endpoint: self.endpoint.clone(),
            client: self.client.clone(),
            gone: gone.clone(),
            accepted,
        };
        let predecessor = self.leaving.remove(node);
        let guard = ended.clone().drop_guard();
        self.tasks.spawn(async move {
            let _guard = guard;
            if let Some(predecessor) = predecessor {
                predecessor.cancelled().await;
            }
            keeper.run().await;
        });
        Member {
            address,
            gone,
            ended,
            accepted: accepted_tx,
        }
    }

    /// Somebody connects.
    fn admit(&mut self, incoming: quinn::Incoming) {
        let free = self.authenticating.available_permits();
        let is_checked = incoming.remote_address_validated();
        if free < AUTHENTICATING_MAX - UNCHECKED_MAX && !is_checked && incoming.may_retry() {
            // Fails only for one that may not be asked again.
            let _ = incoming.retry();
            return;
        }
        let Ok(permit) = self.authenticating.clone().try_acquire_owned() else {
            self.shared
                .refuse(incoming.remote_address(), &"too many at once");
            incoming.refuse();
            return;
        };
        let (shared, members) = (self.shared.clone(), self.members.clone());
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            shutdown
                .run_until_cancelled(authenticate(incoming, &shared, &members, permit))
                .await;
        });
    }
}

/// Finds out who has connected, and gives the connection to its keeper.
async fn authenticate(
    incoming: quinn::Incoming,
    shared: &Shared,
    members: &Members,
    _permit: OwnedSemaphorePermit,
) {
    let remote = incoming.remote_address();
    let outcome = handshake::in_time(async {
        let connection = incoming.await?;
        // Whom we connect to does not connect to us.
        let expected = |node: &NodeId| *node < shared.node && locked(members).contains_key(node);
        match handshake::accept(&connection, shared, expected).await {
            Ok(node) => Ok((node, connection)),
            Err(error) => {
                Close::Refused.close(&connection);
                Err(error)
            }
        }
    });
    match outcome.await {
        Ok((node, connection)) => hand_over(members, &node, connection),
        Err(error) if error.is_refusal() || matches!(error, HandshakeError::Late) => {
            shared.refuse(remote, &error);
        }
        Err(error) => tracing::debug!(%remote, %error, "relay: a connection did not come about"),
    }
}

/// It may have ceased to be a peer meanwhile, or connects faster than its connections can be ended:
/// then the connection is dropped, which closes it.
fn hand_over(members: &Members, node: &NodeId, connection: Connection) {
    if let Some(member) = locked(members).get(node) {
        let _ = member.accepted.try_send(connection);
    }
}

fn locked(
    members: &Mutex<HashMap<NodeId, Member>>,
) -> std::sync::MutexGuard<'_, HashMap<NodeId, Member>> {
    members.lock().unwrap_or_else(PoisonError::into_inner)
}
