//! A shard's life: bind, run, end in good order.

use crate::clock;
use crate::config::{Config, ConfigError};
use crate::core::{Core, CoreConfig, TurnIssuing};
use crate::driver::{self, DrainSettings, Driver, INPUT_QUEUE, Input};
use crate::http::{self, App};
use crate::nodes::{self, ATTACH_QUEUE};
use crate::ownership::{Owner, OwnershipDriver};
use crate::peers::Peers;
use crate::ready::{Condition, ReadyHandle};
use crate::whip::Registry;
use crate::{accept, node_listener};
use affinity::RoomCase;
use affinity::directory::Directory;
use proto::context::ClusterKey;
use proto::link::ShardEnd;
use proto::media::Selection;
use proto::token::ApiKeys;
use proto::turn::TurnSecret;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Signalling connections of one shard, upgrades under way included. Beyond: 503.
const SESSIONS_MAX: u32 = 20_000;
/// How long clients may take to hear that the shard ends.
const TELL_TIMEOUT: Duration = Duration::from_secs(3);
/// How long clients may take afterwards to close their side.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// What a shard needs from outside.
pub struct Deps {
    /// API keys: tokens are checked again here.
    pub keys: ApiKeys,
    /// The cluster secret: the gateway's statements and the nodes' greetings are signed with it.
    pub cluster: ClusterKey,
    /// How room names compare; the same as the gateway's.
    pub rooms: RoomCase,
    /// Who owns which room.
    pub directory: Arc<dyn Directory>,
}

/// Why a shard did not start, or ended.
#[derive(Debug, Error)]
pub enum ShardError {
    /// The settings cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address is in use or not ours.
    #[error("shard cannot listen on {address} ({setting}): {source}")]
    Bind {
        /// Which setting.
        setting: &'static str,
        /// Its value.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// One of the shard's own tasks died: a bug. The process should end, the room's clients come
    /// back elsewhere.
    #[error("the shard's {0} task ended unexpectedly: see the log above, then restart the shard")]
    TaskEnded(&'static str),
}

/// How a shard is told to end.
#[derive(Clone, Default)]
pub struct Stop {
    /// Its rooms go to other shards first, or end, as its settings say.
    pub when_empty: CancellationToken,
    /// At once: all clients are told to join again.
    pub now: CancellationToken,
}

/// A bound shard, ready to run.
pub struct Shard {
    config: Config,
    deps: Deps,
    listener: TcpListener,
    address: SocketAddr,
    internal: Option<(TcpListener, SocketAddr)>,
    node_sink: mpsc::Sender<ShardEnd>,
    attached: mpsc::Receiver<ShardEnd>,
    owner: Owner,
    condition: Arc<Condition>,
}

impl Shard {
    /// Checks the settings and binds `listen` and `internal`, so that a wrong address is known at
    /// once.
    ///
    /// # Errors
    /// See [`ShardError`].
    pub async fn bind(config: Config, deps: Deps) -> Result<Self, ShardError> {
        config.validate()?;
        let (listener, address) = bind("shard.listen", config.listen).await?;
        let internal = match config.internal {
            Some(internal) => Some(bind("shard.internal", internal).await?),
            None => None,
        };
        let (node_sink, attached) = mpsc::channel(ATTACH_QUEUE);
        let directory = Arc::clone(&deps.directory);
        let owner = Owner::new(config.shard_id(), directory, Instant::now());
        Ok(Self {
            config,
            deps,
            listener,
            address,
            internal,
            node_sink,
            attached,
            owner,
            condition: Arc::default(),
        })
    }

    /// Where the gateway reaches this shard.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where nodes of other processes attach.
    pub fn internal_address(&self) -> Option<SocketAddr> {
        self.internal.as_ref().map(|(_, address)| *address)
    }

    /// Takes the links of nodes in this process ([`proto::link::pair`]); the node's first message
    /// must be its Hello.
    pub fn node_sink(&self) -> mpsc::Sender<ShardEnd> {
        self.node_sink.clone()
    }

    /// Tells whether this shard can take participants; of use while it runs.
    pub fn readiness(&self) -> ReadyHandle {
        ReadyHandle::new(self.owner.clone(), Arc::clone(&self.condition))
    }

    /// Serves until it is told to `stop`. What is left of its clients then comes back elsewhere; it
    /// gives up the lease and returns, within about 5 s after `stop.now` or after it is empty.
    ///
    /// # Errors
    /// [`ShardError::TaskEnded`].
    pub async fn run(self, stop: Stop) -> Result<(), ShardError> {
        let id = self.config.id.clone();
        tracing::info!(shard = %id, address = %self.address, "shard serving");
        // Our own end is not that of others who share the token.
        let shutdown = stop.now.child_token();
        let mut running = self.start(&shutdown);
        let result = tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            () = emptied(running.inputs.clone(), Arc::clone(&running.empty), &stop.when_empty) => {
                shutdown.cancel();
                Ok(())
            }
            _ = &mut running.driver => Err(ShardError::TaskEnded("core")),
            _ = &mut running.ownership => Err(ShardError::TaskEnded("ownership")),
        };
        if result.is_ok() {
            running.end().await;
        }
        tracing::info!(shard = %id, "shard ended");
        result
    }

    fn start(self, shutdown: &CancellationToken) -> Running {
        let Self {
            config,
            deps,
            listener,
            internal,
            node_sink,
            attached,
            owner,
            condition,
            ..
        } = self;
        let stop = CancellationToken::new();
        let (inputs, received) = mpsc::channel(INPUT_QUEUE);

        let resign = Arc::new(Notify::new());
        let peers = Peers::new(&config.id, deps.cluster.clone());
        let ownership = OwnershipDriver::new(owner.clone(), peers.clone());
        let empty = Arc::new(Notify::new());
        let node_attached = Arc::new(Notify::new());
        let core = core_config(&config, &deps.cluster);
        let driver = Driver::new(driver::Parts {
            shard: config.shard_id(),
            core: Core::new(core, Instant::now()),
            owner: owner.clone(),
            keys: deps.keys.clone(),
            peers,
            inputs: inputs.downgrade(),
            drain: DrainSettings {
                ordered: Duration::from_secs(config.drain_deadline_s),
                leaving: Duration::from_secs(config.stop_deadline_s),
            },
            empty: Arc::clone(&empty),
            attached: Arc::clone(&node_attached),
            condition,
            shutdown: shutdown.clone(),
        });
        let sessions_max = usize::try_from(SESSIONS_MAX).unwrap_or(usize::MAX);
        let permits = Arc::new(Semaphore::new(sessions_max));
        let untold = Arc::new(Semaphore::new(sessions_max));
        let app = App {
            shard: config.id,
            keys: deps.keys,
            cluster: deps.cluster.clone(),
            rooms: deps.rooms,
            web: config.web,
            owner,
            inputs: inputs.clone(),
            node_attached,
            permits: Arc::clone(&permits),
            untold: Arc::clone(&untold),
            next_session: AtomicU64::new(1),
            resources: Registry::default(),
            stopping: shutdown.clone(),
        };
        if let Some((internal, _)) = internal {
            let serving = node_listener::serve(internal, deps.cluster, node_sink, stop.clone());
            tokio::spawn(async move {
                if let Err(error) = serving.await {
                    tracing::error!(%error, "the listener for nodes failed");
                }
            });
        }
        tokio::spawn(nodes::run(attached, inputs.clone()));
        tokio::spawn(accept::serve(
            listener,
            http::router(Arc::new(app)),
            stop.clone(),
        ));
        Running {
            driver: tokio::spawn(driver.run(received)),
            ownership: tokio::spawn(ownership.run(Arc::clone(&resign))),
            inputs,
            empty,
            permits,
            untold,
            resign,
            stop,
        }
    }
}

async fn bind(
    setting: &'static str,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), ShardError> {
    let failed = |source| ShardError::Bind {
        setting,
        address,
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

fn core_config(config: &Config, cluster: &ClusterKey) -> CoreConfig {
    let secret = match &config.turn.secret {
        Some(secret) => TurnSecret::new(secret),
        None => TurnSecret::new(&cluster.turn_secret()),
    };
    let lifetime = Duration::from_secs(config.turn.lifetime_s);
    CoreConfig {
        turn: secret.map(|secret| TurnIssuing { secret, lifetime }),
        limits: config.limits,
        node_selector: config.node_selector,
        spread: config.spread,
        selection: Selection {
            voices: config.loudest_n,
            pictures: config.last_n,
        },
        empty_timeout: config.empty_timeout(),
        departure_timeout: config.departure_timeout(),
        seed: rand::random(),
        unix_ms: clock::unix_ms_signed(),
        ..CoreConfig::default()
    }
}

/// Returns when the shard was told to leave, and is empty.
async fn emptied(inputs: mpsc::Sender<Input>, empty: Arc<Notify>, leave: &CancellationToken) {
    leave.cancelled().await;
    let _ = inputs.send(Input::Leave).await;
    drop(inputs);
    empty.notified().await;
}

/// The tasks of a shard. Dropping it ends them.
struct Running {
    driver: JoinHandle<()>,
    ownership: JoinHandle<()>,
    inputs: mpsc::Sender<Input>,
    empty: Arc<Notify>,
    permits: Arc<Semaphore>,
    untold: Arc<Semaphore>,
    resign: Arc<Notify>,
    stop: CancellationToken,
}

impl Running {
    /// Clients first, while the rooms are still ours; then the lease; then the listeners, so that
    /// whoever comes meanwhile hears why.
    async fn end(&mut self) {
        let _ = self.inputs.send(Input::Shutdown).await;
        let all_told = self.untold.acquire_many(SESSIONS_MAX);
        if tokio::time::timeout(TELL_TIMEOUT, all_told).await.is_err() {
            tracing::warn!("some clients did not take their goodbye in time");
        }
        self.resign.notify_one();
        let _ = (&mut self.ownership).await;
        // Some may still be answering our close frames: closing on them could undo what was sent.
        let all_ended = self.permits.acquire_many(SESSIONS_MAX);
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, all_ended).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
        self.driver.abort();
        self.ownership.abort();
    }
}
