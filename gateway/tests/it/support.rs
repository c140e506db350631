//! Fake shards, a running gateway, and clients.

use affinity::directory::{
    Directory, DirectoryFuture, DirectoryIncarnation, DirectoryLimits, DirectoryState,
    DirectoryUnreachable, Epoch, Holder, Incarnation, Renewal, Reply, Request as Call,
};
use affinity::{RoomCase, RoomKey, ShardId};
use axum::Router;
use axum::body::Body;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use gateway::{
    Config, Deps, Gateway, ListenConfig, Loaded, ReloadReport, ShardConfig, ShardStateConfig,
};
use http::{HeaderMap, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use proto::context::{CONTEXT_HEADER, ClusterKey, OWNER_HEADER, RoomContext};
use proto::token::{ApiKeys, Claims, VideoGrant};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio_util::sync::CancellationToken;

/// Renewals are numbered.
static NEXT_RENEWAL: AtomicU64 = AtomicU64::new(1);

/// Longest that a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn unix_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

pub(crate) fn cluster() -> ClusterKey {
    ClusterKey::new("cluster").unwrap()
}

pub(crate) fn keys() -> ApiKeys {
    ApiKeys::new(BTreeMap::from([("devkey".into(), "secret".into())])).unwrap()
}

pub(crate) fn token(room: &str) -> String {
    let claims = Claims {
        iss: "devkey".into(),
        sub: "ada".into(),
        exp: unix_s() + 600,
        video: VideoGrant {
            room: room.into(),
            room_join: true,
            ..Default::default()
        },
        ..Default::default()
    };
    keys().mint(&claims).unwrap()
}

/// What a fake shard saw.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) version: Version,
    pub(crate) context: RoomContext,
    pub(crate) body: Bytes,
}

#[derive(Default)]
struct ShardInner {
    id: String,
    seen: Mutex<Vec<Seen>>,
    /// Named in a 421, if set.
    owner: Mutex<Option<String>>,
    /// The same, for single rooms.
    owners: Mutex<BTreeMap<String, String>>,
    /// Answers to the question for its rooms, one after the other; the last one stays.
    lists: Mutex<Vec<String>>,
    lists_told: AtomicU64,
}

/// A shard that answers everything with its name.
pub(crate) struct FakeShard {
    pub(crate) address: SocketAddr,
    inner: Arc<ShardInner>,
    task: tokio::task::JoinHandle<()>,
}

impl FakeShard {
    pub(crate) async fn start(id: &str) -> Self {
        Self::start_at(id, "127.0.0.1:0".parse().unwrap()).await
    }

    pub(crate) async fn start_at(id: &str, address: SocketAddr) -> Self {
        let begun = Instant::now();
        // An earlier one at this address may not have let go of it yet.
        let listener = loop {
            match tokio::net::TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(ShardInner {
            id: id.to_owned(),
            ..ShardInner::default()
        });
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&inner));
        let task = tokio::spawn(serve(listener, router));
        Self {
            address,
            inner,
            task,
        }
    }

    pub(crate) fn config(&self) -> ShardConfig {
        shard_config(&self.inner.id, &format!("http://{}", self.address))
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.inner.seen.lock().unwrap().clone()
    }

    /// From now on every request is answered with a 421 that names `owner`.
    pub(crate) fn disown(&self, owner: &str) {
        *self.inner.owner.lock().unwrap() = Some(owner.to_owned());
    }

    /// Its lists of rooms, one for each time that it is asked; the last one stays.
    pub(crate) fn tell_rooms(&self, lists: &[&str]) {
        let lists = lists.iter().rev().map(|list| (*list).to_owned());
        *self.inner.lists.lock().unwrap() = lists.collect();
    }

    /// How often it was asked for its rooms.
    pub(crate) fn lists_told(&self) -> u64 {
        self.inner.lists_told.load(Ordering::SeqCst)
    }

    /// Who owns `room`, as far as this shard knows; `None`: itself.
    pub(crate) fn set_owner(&self, room: &str, owner: Option<&str>) {
        let mut owners = self.inner.owners.lock().unwrap();
        match owner {
            Some(owner) => owners.insert(room.to_owned(), owner.to_owned()),
            None => owners.remove(room),
        };
    }

    /// How many requests came since the start.
    pub(crate) fn count(&self) -> usize {
        self.inner.seen.lock().unwrap().len()
    }
}

impl Drop for FakeShard {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// As a shard does it: large headers and extended CONNECT over HTTP/2. Connections end with the task.
async fn serve(listener: tokio::net::TcpListener, router: Router) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let service = TowerToHyperService::new(router.clone());
        connections.spawn(async move {
            let mut builder = Builder::new(TokioExecutor::new());
            builder
                .http2()
                .enable_connect_protocol()
                .max_header_list_size(128 * 1024);
            let tcp = TokioIo::new(tcp);
            let _ = builder.serve_connection_with_upgrades(tcp, service).await;
        });
    }
}

pub(crate) fn shard_config(id: &str, url: &str) -> ShardConfig {
    ShardConfig {
        id: id.to_owned(),
        url: url.to_owned(),
        weight: 1,
        state: ShardStateConfig::Active,
    }
}

async fn answer(
    State(shard): State<Arc<ShardInner>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    request: Request,
) -> Response {
    let context = request.headers().get(CONTEXT_HEADER).unwrap();
    let now_ms = unix_s() * 1000;
    let context: RoomContext = cluster().verify(context.to_str().unwrap(), now_ms).unwrap();
    assert_eq!(context.shard, shard.id);
    let (parts, body) = request.into_parts();
    let body = if upgrade.is_ok() {
        Bytes::new()
    } else {
        body.collect().await.unwrap().to_bytes()
    };
    let target = parts.uri.path_and_query().unwrap().as_str().to_owned();
    if target == "/internal/rooms" {
        shard.lists_told.fetch_add(1, Ordering::SeqCst);
        let mut lists = shard.lists.lock().unwrap();
        let list = match lists.len() {
            0 => None,
            1 => lists.last().cloned(),
            _ => lists.pop(),
        };
        return Response::new(Body::from(list.unwrap_or("[]".to_owned())));
    }
    let owners = shard.owners.lock().unwrap().clone();
    let known = context.room.as_ref().and_then(|room| owners.get(room));
    let owner = known.cloned().or(shard.owner.lock().unwrap().clone());
    shard.seen.lock().unwrap().push(Seen {
        target,
        headers: parts.headers,
        version: parts.version,
        context,
        body,
    });
    if let Some(owner) = owner {
        let headers = [(OWNER_HEADER, owner)];
        return (StatusCode::MISDIRECTED_REQUEST, headers, "not mine").into_response();
    }
    match upgrade {
        Ok(upgrade) => {
            let id = shard.id.clone();
            upgrade.on_upgrade(move |socket| echo(socket, id))
        }
        Err(_) => ([("x-anteroom-private", "remark")], shard.id.clone()).into_response(),
    }
}

/// Says the shard's name, then what it hears.
async fn echo(mut socket: WebSocket, id: String) {
    let _ = socket.send(Message::Text(id.into())).await;
    while let Some(Ok(message)) = socket.recv().await {
        if matches!(message, Message::Text(_) | Message::Binary(_))
            && socket.send(message).await.is_err()
        {
            return;
        }
    }
}

/// A directory outside of all gateways, without a clock of its own, as Redis is.
pub(crate) struct SharedDirectory {
    state: Mutex<DirectoryState>,
    silent: AtomicBool,
}

impl SharedDirectory {
    pub(crate) fn start() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(Self::life(1, false)),
            silent: AtomicBool::new(false),
        })
    }

    fn life(number: u64, grace: bool) -> DirectoryState {
        let limits = DirectoryLimits::default();
        let life = DirectoryIncarnation(number);
        DirectoryState::new(life, Epoch(number << 32), grace, 0, limits)
    }

    /// From now on nobody gets an answer, or everybody again.
    pub(crate) fn set_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::SeqCst);
    }

    /// All data is lost.
    pub(crate) fn lose_everything(&self) {
        *self.state.lock().unwrap() = Self::life(2, true);
    }

    /// The shards that are to be emptied.
    pub(crate) fn drains(&self) -> Vec<String> {
        let drains = self.state.lock().unwrap().view().drains;
        drains.iter().map(|(shard, _)| shard.to_string()).collect()
    }

    pub(crate) fn ask(&self, request: Call) -> Reply {
        self.state.lock().unwrap().handle(request)
    }
}

impl Directory for SharedDirectory {
    fn call(&self, request: Call) -> DirectoryFuture<'_> {
        Box::pin(async move {
            if self.silent.load(Ordering::SeqCst) {
                return Err(DirectoryUnreachable("pulled the plug".to_owned()));
            }
            Ok(self.ask(request))
        })
    }
}

/// What the next load of the configuration returns.
#[derive(Clone)]
pub(crate) struct TestLoader(Arc<Mutex<Result<Loaded, String>>>);

impl TestLoader {
    pub(crate) fn set(&self, config: &Config) {
        *self.0.lock().unwrap() = Ok(loaded(config));
    }

    pub(crate) fn set_loaded(&self, loaded: Loaded) {
        *self.0.lock().unwrap() = Ok(loaded);
    }

    pub(crate) fn set_broken(&self, error: &str) {
        *self.0.lock().unwrap() = Err(error.to_owned());
    }
}

fn loaded(config: &Config) -> Loaded {
    Loaded {
        config: config.clone(),
        keys: keys(),
        rooms: RoomCase::Sensitive,
    }
}

/// A gateway on a thread of its own.
pub(crate) struct TestGateway {
    pub(crate) config: Config,
    pub(crate) address: SocketAddr,
    pub(crate) internal: Option<SocketAddr>,
    pub(crate) loader: TestLoader,
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) admin: Router,
    reload: Box<dyn Fn() -> Result<ReloadReport, String> + Send + Sync>,
    /// How often each shard has ended: a lease that is over is for a new life only.
    lives: Mutex<BTreeMap<String, u64>>,
    /// Rooms claimed for each shard.
    claimed: Mutex<BTreeMap<String, u32>>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

pub(crate) fn config(shards: Vec<ShardConfig>) -> Config {
    Config {
        listen: vec![ListenConfig {
            address: "127.0.0.1:0".to_owned(),
            tls: None,
        }],
        threads: 1,
        shutdown_grace_s: 0,
        shards,
        ..Config::default()
    }
}

impl TestGateway {
    pub(crate) fn start(config: Config) -> Self {
        Self::start_with(config, None, None)
    }

    pub(crate) fn start_watching(config: Config, watch: PathBuf) -> Self {
        Self::start_with(config, Some(watch), None)
    }

    /// One of several gateways.
    pub(crate) fn start_sharing(config: Config, directory: &Arc<SharedDirectory>) -> Self {
        Self::start_with(config, None, Some(directory.clone()))
    }

    fn start_with(
        config: Config,
        watch: Option<PathBuf>,
        directory: Option<Arc<dyn Directory>>,
    ) -> Self {
        let loader = TestLoader(Arc::new(Mutex::new(Ok(loaded(&config)))));
        let results = Arc::clone(&loader.0);
        let deps = Deps {
            keys: keys(),
            cluster: cluster(),
            rooms: RoomCase::Sensitive,
            loader: Arc::new(move || results.lock().unwrap().clone()),
            watch,
            directory,
            first_start: true,
        };
        let gateway = Gateway::bind(config.clone(), deps).unwrap();
        let stop = CancellationToken::new();
        Self {
            config,
            address: gateway.addresses()[0],
            internal: gateway.internal_address(),
            loader,
            directory: gateway.directory(),
            admin: gateway.admin_router(),
            reload: Box::new(gateway.reload_handle()),
            lives: Mutex::default(),
            claimed: Mutex::default(),
            stop: stop.clone(),
            thread: Some(std::thread::spawn(move || gateway.run(stop))),
        }
    }

    pub(crate) fn reload(&self) -> Result<ReloadReport, String> {
        (self.reload)()
    }

    pub(crate) fn reload_with(&self, config: &Config) -> Result<ReloadReport, String> {
        self.loader.set(config);
        self.reload()
    }

    /// Orders the end without waiting for it.
    pub(crate) fn begin_stop(&self) {
        self.stop.cancel();
    }

    pub(crate) fn is_running(&self) -> bool {
        self.thread
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
    }

    pub(crate) fn stop(mut self) -> Duration {
        let begun = Instant::now();
        self.stop.cancel();
        self.thread.take().unwrap().join().unwrap();
        begun.elapsed()
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.request("GET", target, &[], Bytes::new()).await
    }

    pub(crate) async fn request(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Answer {
        let client: Client<HttpConnector, Full<Bytes>> =
            Client::builder(TokioExecutor::new()).build_http();
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("http://{}{target}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = client.request(request.body(Full::new(body)).unwrap()).await;
        let (parts, body) = answer.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            text: String::from_utf8_lossy(&body).into_owned(),
        }
    }

    fn incarnation(&self, shard: &str) -> Incarnation {
        let ended = self.lives.lock().unwrap().get(shard).copied();
        Incarnation(7 + ended.unwrap_or(0))
    }

    /// Prolongs the lease of `shard`, or takes one.
    pub(crate) async fn renew(&self, shard: &str) -> Holder {
        let rooms = self.claimed.lock().unwrap().get(shard).copied();
        self.renew_with_rooms(shard, rooms.unwrap_or(0)).await
    }

    /// Prolongs the lease of `shard`, which wants no new rooms.
    pub(crate) async fn leave(&self, shard: &str) {
        let leaving = Renewal {
            leaving: true,
            ..Renewal::default()
        };
        self.renew_with(shard, leaving).await;
    }

    /// How many leases there are.
    pub(crate) async fn leases(&self) -> usize {
        match self.directory.call(Call::Watch).await.unwrap() {
            Reply::View(view) => view.leases.len(),
            other => panic!("{other:?}"),
        }
    }

    async fn renew_with_rooms(&self, shard: &str, rooms: u32) -> Holder {
        let renewal = Renewal {
            rooms,
            ..Renewal::default()
        };
        self.renew_with(shard, renewal).await
    }

    async fn renew_with(&self, shard: &str, renewal: Renewal) -> Holder {
        let mut holder = Holder {
            shard: ShardId::new(shard),
            incarnation: self.incarnation(shard),
            directory: None,
        };
        let renewal = Renewal {
            seq: NEXT_RENEWAL.fetch_add(1, Ordering::Relaxed),
            ..renewal
        };
        let renew = Call::Renew {
            holder: holder.clone(),
            renewal,
        };
        holder.directory = match self.directory.call(renew).await.unwrap() {
            Reply::Leased { directory, .. } => Some(directory),
            other => panic!("{other:?}"),
        };
        holder
    }

    /// Owns `room` on `shard` in the directory's eyes.
    pub(crate) async fn claim(&self, shard: &str, room: &str) {
        let holder = self.renew(shard).await;
        let room = RoomKey::from_claim(room, RoomCase::Sensitive).unwrap();
        let reply = self
            .directory
            .call(Call::Claim {
                holder,
                room,
                knows: 0,
            })
            .await;
        assert!(matches!(reply, Ok(Reply::Granted { .. })), "{reply:?}");
        let rooms = {
            let mut claimed = self.claimed.lock().unwrap();
            let rooms = claimed.entry(shard.to_owned()).or_default();
            *rooms += 1;
            *rooms
        };
        self.renew_with_rooms(shard, rooms).await;
    }

    /// The life of a shard ends in good order: it gives up its lease and its rooms.
    pub(crate) async fn resign(&self, shard: &str) {
        let holder = self.renew(shard).await;
        self.directory.call(Call::Resign { holder }).await.unwrap();
        *self
            .lives
            .lock()
            .unwrap()
            .entry(shard.to_owned())
            .or_default() += 1;
    }
}

impl Drop for TestGateway {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn shard(&self) -> &str {
        self.header("x-anteroom-shard").unwrap_or("-")
    }
}

/// Asks until the answer pleases.
pub(crate) async fn until<F, Fut>(mut condition: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < PATIENCE, "it did not happen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
