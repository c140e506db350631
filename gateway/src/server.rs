//! Putting a gateway together, and running it.

use crate::admin::Admin;
use crate::background::Background;
use crate::config::Config;
use crate::directory::{EmbeddedDirectory, Lookout};
use crate::edge::Edge;
use crate::error::GatewayError;
use crate::ghosts::{Ghosts, Report};
use crate::hold::{HOLD_MAX, Holds, KNOCK_EVERY};
use crate::listen::{BoundService, bind, local_address};
use crate::proxy::EdgeProxy;
use crate::reload::{Outside, Reloader, RunningListener};
use crate::report::ReloadReport;
use crate::roll_call::RollCall;
use crate::snapshot::{Circumstances, Loaded, Snapshot};
use crate::sni::SniService;
use crate::tls::{self, Certificates};
use crate::way::Shared;
use affinity::RoomCase;
use affinity::directory::{Directory, Reply, Request};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use axum::Router;
use pingora::apps::HttpServerOptions;
use pingora::listeners::tls::Acceptor;
use pingora::proxy::HttpProxy;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server, ShutdownSignal, ShutdownSignalWatch};
use pingora::services::background::background_service;
use proto::context::ClusterKey;
use proto::rpc::DirectoryClient;
use proto::token::ApiKeys;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::thread;
use tokio_util::sync::CancellationToken;

/// Reads the configuration file. The error already names line, column and cause.
pub type Loader = Arc<dyn Fn() -> Result<Loaded, String> + Send + Sync>;

/// Tries of one request: the first, one redirect, one dead kept connection, and as many as it may
/// knock while it waits for a shard (see `hold.rs`).
const TRIES_MAX: usize = 3 + (HOLD_MAX.as_millis() / KNOCK_EVERY.as_millis()) as usize;
/// Idle connections to shards that are kept.
const POOL_SIZE: usize = 256;
/// How long blocking work may take after the grace, seconds.
const RUNTIME_SHUTDOWN_S: u64 = 1;

/// What a gateway needs besides its section of the file.
pub struct Deps {
    /// API keys that sign access tokens.
    pub keys: ApiKeys,
    /// The secret that all programs of the deployment share.
    pub cluster: ClusterKey,
    /// Whether room names differ by case.
    pub rooms: RoomCase,
    /// Reads the configuration again.
    pub loader: Loader,
    /// The file to watch for changes.
    pub watch: Option<PathBuf>,
    /// The directory that this gateway shares with others. `None`: it keeps one in its own memory,
    /// and is the only gateway.
    pub directory: Option<Arc<dyn Directory>>,
    /// No shard can have held a room before (everything starts in one process): no grace. It matters
    /// to a directory in memory alone.
    pub first_start: bool,
}

/// A gateway whose addresses are taken, ready to run.
pub struct Gateway {
    config: Config,
    cluster: ClusterKey,
    state: Arc<ArcSwap<Snapshot>>,
    lookout: Arc<Lookout>,
    embedded: Option<Arc<EmbeddedDirectory>>,
    reloader: Arc<Reloader>,
    calls: Arc<RollCall>,
    ghosts: Arc<ArcSwap<Report>>,
    listeners: Vec<Listener>,
    sni: Option<SniService>,
    internal: Option<(TcpListener, SocketAddr)>,
    watch: Option<PathBuf>,
}

struct Listener {
    socket: TcpListener,
    configured: String,
    address: SocketAddr,
    certificates: Option<Arc<Certificates>>,
    acceptor: Option<Arc<Acceptor>>,
}

impl Listener {
    fn running(&self) -> RunningListener {
        RunningListener {
            address: self.configured.clone(),
            certificates: self.certificates.clone(),
        }
    }
}

impl Gateway {
    /// Checks the configuration, reads certificates and takes the listen addresses.
    ///
    /// # Errors
    /// See [`GatewayError`].
    pub fn bind(config: Config, deps: Deps) -> Result<Self, GatewayError> {
        if let Some(address) = &config.directory {
            return Err(ask_to_attach(address, &deps.cluster));
        }
        let loaded = Loaded {
            config,
            keys: deps.keys,
            rooms: deps.rooms,
        };
        let snapshot = Snapshot::build(&loaded, 1, &[], &Circumstances::default())
            .map_err(GatewayError::Config)?;
        if deps.directory.is_some() && loaded.config.internal.is_some() {
            return Err(GatewayError::Config(
                "gateway.internal is the door to a directory in this gateway's memory, and all \
                 share one: remove `gateway.internal`, and `shard.directory` at the shards"
                    .to_owned(),
            ));
        }
        let (lookout, embedded) = match deps.directory {
            Some(shared) => {
                let lookout = Lookout::shared(shared, name(&loaded.config), &snapshot.topology);
                (lookout, None)
            }
            None => {
                let embedded = Arc::new(EmbeddedDirectory::new(deps.first_start));
                let lookout = Lookout::alone(Arc::clone(&embedded), &snapshot.topology);
                (lookout, Some(embedded))
            }
        };
        let lookout = Arc::new(lookout);
        let state = Arc::new(ArcSwap::from_pointee(snapshot));

        // No reload has been refused.
        metrics::gauge!("anteroom_reload_last_ok").set(1.0);
        let listeners = take_listeners(&loaded.config)?;
        let sni = SniService::take(loaded.config.sni.as_ref())?;
        let internal = take_internal(&loaded.config)?;
        let config = loaded.config.clone();
        let reloader = Arc::new(Reloader {
            loader: deps.loader,
            state: Arc::clone(&state),
            lookout: Arc::clone(&lookout),
            listeners: listeners.iter().map(Listener::running).collect(),
            started: loaded,
            reloading: Mutex::new(()),
            swapping: Mutex::new(Outside::default()),
        });
        let calls = RollCall::new(
            Arc::clone(&state),
            Arc::clone(&lookout),
            deps.cluster.clone(),
        );
        Ok(Self {
            config,
            cluster: deps.cluster,
            calls: Arc::new(calls),
            ghosts: Arc::default(),
            state,
            lookout,
            embedded,
            reloader,
            listeners,
            sni,
            internal,
            watch: deps.watch,
        })
    }

    /// The addresses taken, in the order of `listen`.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners
            .iter()
            .map(|listener| listener.address)
            .collect()
    }

    /// The address taken for [`crate::SniConfig`].
    pub fn sni_address(&self) -> Option<SocketAddr> {
        self.sni.as_ref().map(SniService::address)
    }

    /// The internal address taken.
    pub fn internal_address(&self) -> Option<SocketAddr> {
        self.internal.as_ref().map(|(_, address)| *address)
    }

    /// The directory, for shards in this process.
    pub fn directory(&self) -> Arc<dyn Directory> {
        Arc::clone(self.lookout.engine())
    }

    /// `GET /readyz`, `GET /v1/shards`, `GET /v1/rooms`, `POST /v1/reload`,
    /// `POST /v1/shards/{id}/drain`, `POST /v1/shards/{id}/undrain`. It checks no credentials: that is
    /// the admin listener's.
    pub fn admin_router(&self) -> Router {
        let admin = Admin {
            state: Arc::clone(&self.state),
            lookout: Arc::clone(&self.lookout),
            reloader: Arc::clone(&self.reloader),
            calls: Arc::clone(&self.calls),
            ghosts: Arc::clone(&self.ghosts),
        };
        admin.router()
    }

    /// A handle that reloads the configuration, for callers in this process. It may block on files.
    pub fn reload_handle(&self) -> impl Fn() -> Result<ReloadReport, String> + Send + Sync + use<> {
        let reloader = Arc::clone(&self.reloader);
        move || reloader.reload("caller")
    }

    /// Serves until `shutdown` is cancelled and the grace is over. Blocks; call it on a thread that
    /// is not part of an async runtime's workers. `SIGHUP` reloads; all other signals are the
    /// caller's.
    pub fn run(self, shutdown: CancellationToken) {
        let conf = server_conf(&self.config);
        let mut server = Server::new_with_opt_and_conf(None, conf);
        server.bootstrap();
        let shared = Shared {
            state: self.state,
            lookout: Arc::clone(&self.lookout),
            holds: Arc::new(Holds::default()),
            cluster: self.cluster.clone(),
        };
        let proxy = Arc::new(http_proxy(shared.clone(), &server.configuration));
        for listener in self.listeners {
            let edge = Edge {
                proxy: Arc::clone(&proxy),
                tls: listener.acceptor,
                shared: shared.clone(),
            };
            server.add_service(BoundService::new(listener.socket, listener.address, edge));
        }
        if let Some(sni) = self.sni {
            server.add_service(sni);
        }
        let ghosts = Ghosts {
            calls: self.calls,
            lookout: Arc::clone(&self.lookout),
            report: self.ghosts,
        };
        let background = Background {
            ghosts,
            lookout: self.lookout,
            embedded: self.embedded.clone(),
            reloader: self.reloader,
            cluster: self.cluster,
            watch: self.watch,
            internal: Mutex::new(self.internal.map(|(socket, _)| socket)),
        };
        server.add_service(background_service("gateway", background));
        server.run(RunArgs {
            shutdown_signal: Box::new(TokenWatch {
                token: shutdown,
                embedded: self.embedded,
            }),
        });
    }
}

/// What the directory calls this gateway in its log.
fn name(config: &Config) -> String {
    let first = config.listen.first();
    let address = first.map_or("gateway", |listen| listen.address.as_str());
    format!("{address}, process {}", std::process::id())
}

fn http_proxy(shared: Shared, conf: &Arc<ServerConf>) -> HttpProxy<EdgeProxy> {
    let edge_proxy = EdgeProxy {
        shared,
        // 0 is the group of the shared connections.
        serial: AtomicU64::new(1),
    };
    let mut proxy = HttpProxy::new(edge_proxy, Arc::clone(conf));
    let mut options = HttpServerOptions::default();
    // Plain CONNECT is refused by us; the extended one carries WebSockets (RFC 8441).
    options.allow_connect_method_proxying = true;
    proxy.server_options = Some(options);
    proxy.handle_init_modules();
    proxy
}

fn server_conf(config: &Config) -> ServerConf {
    let threads = match config.threads {
        0 => thread::available_parallelism().map_or(1, std::num::NonZero::get),
        threads => threads,
    };
    ServerConf {
        threads,
        grace_period_seconds: Some(config.shutdown_grace_s),
        graceful_shutdown_timeout_seconds: Some(RUNTIME_SHUTDOWN_S),
        max_retries: TRIES_MAX,
        upstream_keepalive_pool_size: POOL_SIZE,
        ..ServerConf::default()
    }
}

fn take_listeners(config: &Config) -> Result<Vec<Listener>, GatewayError> {
    let listeners = config.listen.iter().map(|listen| {
        let invalid =
            |cause| GatewayError::Config(format!("gateway.listen '{}': {cause}", listen.address));
        let entries = tls::load_listener(listen);
        let certificates = entries
            .map_err(GatewayError::Config)?
            .map(|entries| Arc::new(Certificates::new(entries)));
        let acceptor = certificates.clone().map(tls::acceptor).transpose();
        let socket = bind(&listen.address, "gateway.listen")?;
        Ok(Listener {
            address: local_address(&socket, "gateway.listen")?,
            configured: listen.address.clone(),
            socket,
            certificates,
            acceptor: acceptor.map_err(invalid)?.map(Arc::new),
        })
    });
    listeners.collect()
}

fn take_internal(config: &Config) -> Result<Option<(TcpListener, SocketAddr)>, GatewayError> {
    let Some(address) = config.internal else {
        return Ok(None);
    };
    let socket = bind(&address.to_string(), "gateway.internal")?;
    let address = local_address(&socket, "gateway.internal")?;
    Ok(Some((socket, address)))
}

/// An embedded directory serves one gateway. It is asked all the same, so that its own words explain
/// the refusal.
fn ask_to_attach(address: &str, cluster: &ClusterKey) -> GatewayError {
    let (target, cluster) = (address.to_owned(), cluster.clone());
    // A thread of its own: the caller may be inside an async runtime.
    let asked = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        runtime.block_on(async {
            let client =
                DirectoryClient::<Request, Reply>::new(&target, "gateway/new".into(), cluster)
                    .map_err(|error| error.to_string())?;
            let gateway = "new".to_owned();
            client
                .call(Request::Announce {
                    gateway,
                    topology: Vec::new(),
                })
                .await
                .map_err(|error| error.to_string())
        })
    });
    let reason = match asked.join() {
        Ok(Ok(Reply::Refused { reason })) => reason,
        Ok(Ok(_)) => "this version of Anteroom has one gateway to a directory".to_owned(),
        Ok(Err(error)) => error,
        Err(_) => "the question failed".to_owned(),
    };
    GatewayError::SecondGateway {
        address: address.to_owned(),
        reason,
    }
}

/// Ends the server when the token is cancelled. Signals stay with the caller.
struct TokenWatch {
    token: CancellationToken,
    embedded: Option<Arc<EmbeddedDirectory>>,
}

#[async_trait]
impl ShutdownSignalWatch for TokenWatch {
    async fn recv(&self) -> ShutdownSignal {
        self.token.cancelled().await;
        // Before anything else ends: see there.
        if let Some(embedded) = &self.embedded {
            embedded.close();
        }
        ShutdownSignal::GracefulTerminate
    }
}
