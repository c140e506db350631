//! The regular look at the directory, and what follows from it.
//!
//! Owns: the last [`Picture`], the witness that ends leases nobody renews, the announcement of our
//! topology, and the judgement which shards are dead for the placement of idle rooms.
//! Must not: stand in a request's way. Requests read the last picture and wait for nothing.

use super::announcer::Announcer;
use super::arrivals::Arrivals;
use super::{EmbeddedDirectory, Hints, Picture};
use affinity::directory::{Directory, Drain, Reply, Request, View, Witness};
use affinity::{RoomKey, Shard, ShardId, Topology};
use arc_swap::{ArcSwap, Guard};
use futures::future::join_all;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tracing::{info, warn};

/// How often the directory is looked at: a dead shard's rooms can be claimed this much later than at
/// the earliest.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Longest wait for one answer. Four looks, and short of what a witness takes for a gap.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(900);
/// A directory that is silent for this long makes the gateway unready.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// The gateway's eye on the directory.
pub(crate) struct Lookout {
    engine: Arc<dyn Directory>,
    /// The engine, if it is ours alone.
    embedded: Option<Arc<EmbeddedDirectory>>,
    hints: Hints,
    picture: ArcSwap<Picture>,
    /// Counts the pictures that everything else has caught up with.
    news: watch::Sender<u64>,
    inner: Mutex<Inner>,
}

struct Inner {
    witness: Witness,
    arrivals: Arrivals,
    announcer: Announcer,
    /// Since when the directory was not heard: our start, or its last answer.
    silent_since: Instant,
    /// Why the last look failed.
    failure: Option<String>,
}

impl Lookout {
    /// Looks at a directory that other gateways use, too.
    pub(crate) fn shared(engine: Arc<dyn Directory>, gateway: String, ours: &Topology) -> Self {
        Self::new(engine, None, gateway, ours)
    }

    /// Looks at our own directory, which knows the topology from now on.
    pub(crate) fn alone(embedded: Arc<EmbeddedDirectory>, ours: &Topology) -> Self {
        let engine = Arc::clone(&embedded) as Arc<dyn Directory>;
        let lookout = Self::new(engine, Some(embedded), "embedded".to_owned(), ours);
        lookout.set_topology(ours);
        lookout
    }

    fn new(
        engine: Arc<dyn Directory>,
        embedded: Option<Arc<EmbeddedDirectory>>,
        gateway: String,
        ours: &Topology,
    ) -> Self {
        let now = Instant::now();
        let mut arrivals = Arrivals::default();
        arrivals.set_shards(ids(ours), now);
        Self {
            engine,
            embedded,
            hints: Hints::default(),
            picture: ArcSwap::from_pointee(Picture::default()),
            news: watch::Sender::new(0),
            inner: Mutex::new(Inner {
                witness: Witness::default(),
                arrivals,
                announcer: Announcer::new(gateway, ours.shards().to_vec()),
                silent_since: now,
                failure: None,
            }),
        }
    }

    /// The engine, for shards of this process and for what operators order.
    pub(crate) fn engine(&self) -> &Arc<dyn Directory> {
        &self.engine
    }

    /// What is signed into every request, so that shards notice two gateways with a directory of
    /// their own each; 0 if ours is shared.
    pub(crate) fn incarnation(&self) -> u64 {
        let embedded = self.embedded.as_ref();
        embedded.map_or(0, |embedded| embedded.incarnation().0)
    }

    /// What the directory said last.
    pub(crate) fn picture(&self) -> Guard<Arc<Picture>> {
        self.picture.load()
    }

    /// Where rooms were last seen.
    pub(crate) fn hints(&self) -> &Hints {
        &self.hints
    }

    /// The shard to ask for the room, if there is a reason to prefer one to the ring's.
    pub(crate) fn hint(&self, room: &RoomKey) -> Option<ShardId> {
        let shard = self.hints.get(room)?;
        self.picture.load().trusts(&shard).then_some(shard)
    }

    /// A shard refused a room without naming another one. While the directory is silent it may have
    /// the room all the same.
    pub(crate) fn unlearn(&self, room: &RoomKey, shard: &ShardId) {
        if !self.picture.load().is_stale() {
            self.hints.forget(room, shard);
        }
    }

    /// Resolves with each picture from now on, after everything else has caught up with it.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Everything has caught up with the last picture.
    pub(crate) fn tell(&self) {
        self.news.send_modify(|count| *count += 1);
    }

    /// From now on these are the shards that may claim, as far as this gateway is asked.
    pub(crate) fn set_topology(&self, topology: &Topology) {
        let mut inner = self.lock();
        inner.arrivals.set_shards(ids(topology), Instant::now());
        inner.announcer.set_ours(topology.shards().to_vec());
        // At once where that is possible: shards of this process may claim now.
        if let Some(embedded) = &self.embedded
            && let Some(announcement) = inner.announcer.announcement()
            && embedded.handle(announcement.clone()).is_ok()
        {
            inner.announcer.announced(&announcement);
        }
    }

    /// Shards that get no idle rooms because they are dead.
    pub(crate) fn dead(&self) -> BTreeSet<ShardId> {
        self.lock().arrivals.dead()
    }

    /// Whether any shard ever had a lease.
    pub(crate) fn any_ever(&self) -> bool {
        self.lock().arrivals.any_ever()
    }

    /// Shards that other gateways have announced and ours does not name: a live room may be there.
    pub(crate) fn foreign(&self, ours: &Topology) -> Vec<Shard> {
        let picture = self.picture.load();
        let Some(view) = picture.view() else {
            return Vec::new();
        };
        let shards = view.topology.iter();
        let foreign = shards.filter(|shard| ours.shard(&shard.id).is_none());
        foreign.cloned().collect()
    }

    /// How the topology that another gateway has announced differs from ours.
    pub(crate) fn difference(&self) -> Option<String> {
        self.lock().announcer.differs().map(str::to_owned)
    }

    /// What is left of the shard's lease; `None` if it has none.
    pub(crate) fn lease_remaining(&self, shard: &ShardId) -> Option<Duration> {
        let leased = self.picture.load().lease(shard).is_some();
        let inner = self.lock();
        let remaining = || inner.witness.lease_remaining(shard, Instant::now());
        leased.then(|| remaining().unwrap_or_default())
    }

    /// Why idle rooms cannot be opened yet, if the directory lost its data.
    pub(crate) fn grace(&self) -> Option<String> {
        if !self.picture.load().is_in_grace() {
            return None;
        }
        let inner = self.lock();
        let ms = inner.witness.grace_remaining(Instant::now()).as_millis();
        if ms > 0 {
            return Some(format!(
                "the directory has just started: idle rooms can be opened in {ms} ms"
            ));
        }
        let awaited = inner.witness.awaited().into_iter().map(ShardId::as_str);
        let awaited: Vec<&str> = awaited.collect();
        Some(format!(
            "the directory lost its data, and idle rooms cannot be opened before more than half of \
             the shards are back or 15 min are over; waiting for: {}. Start them; one that was \
             removed from `gateway.shards` in the last 15 min counts, too",
            awaited.join(" ")
        ))
    }

    /// Why the directory counts as out of reach, if it does.
    pub(crate) fn silence(&self) -> Option<String> {
        let inner = self.lock();
        let cause = inner.failure.as_ref()?;
        let silent = inner.silent_since.elapsed();
        let never = self.picture.load().view().is_none();
        (never || silent >= SILENCE_MAX).then(|| {
            let seconds = silent.as_secs();
            format!(
                "the directory has not answered for {seconds} s, new rooms cannot be opened: {cause}"
            )
        })
    }

    /// One look. What the witness wants to say is said, and looked at again.
    pub(crate) async fn look(&self) {
        let Some(requests) = self.look_once().await else {
            return;
        };
        if requests.is_empty() {
            return;
        }
        let said = requests.into_iter().map(|request| self.call(request));
        for cause in join_all(said).await.into_iter().filter_map(Result::err) {
            self.failed(cause);
        }
        self.look_once().await;
    }

    async fn look_once(&self) -> Option<Vec<Request>> {
        match self.call(Request::Watch).await {
            Ok(Reply::View(view)) => Some(self.saw(view)),
            Ok(other) => {
                self.failed(format!("it answers a look with {other:?}"));
                None
            }
            Err(cause) => {
                self.failed(cause);
                None
            }
        }
    }

    /// A look that waits for nobody: our own directory answers in place. A shared one is left to the
    /// next look.
    pub(crate) fn look_at_once(&self) {
        let embedded = self.embedded.as_ref();
        if let Some(Ok(Reply::View(view))) = embedded.map(|engine| engine.handle(Request::Watch)) {
            self.saw(view);
        }
    }

    /// Says what has changed in our topology, if the directory does not know it.
    pub(crate) async fn announce(&self) {
        let Some(announcement) = self.lock().announcer.announcement() else {
            return;
        };
        // While it does not answer looks, it will not answer this.
        if self.picture.load().is_stale() {
            return;
        }
        match self.call(announcement.clone()).await {
            Ok(Reply::Refused { reason }) => warn!("the directory refuses our shards: {reason}"),
            Ok(_) => {}
            Err(cause) => return self.failed(cause),
        }
        let next = self.lock().announcer.announced(&announcement);
        for request in next {
            info!("an order went down with the directory's data and is given again: {request:?}");
            if let Err(cause) = self.call(request).await {
                self.failed(cause);
            }
        }
    }

    /// Empties a shard, or takes that back. The picture shows it afterwards.
    ///
    /// # Errors
    /// Why not, in words; `Ok(Err(_))` is the directory's own refusal.
    pub(crate) async fn set_drain(
        &self,
        shard: &ShardId,
        drain: Option<Drain>,
    ) -> Result<Result<(), String>, String> {
        let shard = shard.clone();
        let reply = self.call(Request::SetDrain { shard, drain }).await?;
        self.look_once().await;
        Ok(match reply {
            Reply::Refused { reason } => Err(reason),
            _ => Ok(()),
        })
    }

    /// One call, with an end.
    ///
    /// # Errors
    /// Why the outcome is unknown.
    pub(crate) async fn call(&self, request: Request) -> Result<Reply, String> {
        let asked = Instant::now();
        match tokio::time::timeout(ANSWER_TIMEOUT, self.engine.call(request)).await {
            Ok(Ok(reply)) => {
                metrics::histogram!("anteroom_gateway_directory_call_seconds")
                    .record(asked.elapsed());
                Ok(reply)
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!(
                "no answer within {} ms",
                ANSWER_TIMEOUT.as_millis()
            )),
        }
    }

    /// Takes a view in; returns what the witness wants to say.
    fn saw(&self, view: View) -> Vec<Request> {
        let now = Instant::now();
        let mut inner = self.lock();
        inner.witness.handle_view(&view, now);
        if let Some(text) = inner.announcer.handle_view(&view, now) {
            warn!(
                "another gateway has announced other shards than this one's file names ({text}): \
                 give all gateways the same list and reload them"
            );
        }
        let differs = inner.announcer.differs().is_some();
        set_flag("anteroom_gateway_topology_differs", differs);
        let picture = Picture::of(view, now);
        inner.arrivals.handle_picture(&picture, now);
        if inner.failure.take().is_some() {
            let seconds = inner.silent_since.elapsed().as_secs();
            info!("the directory answers again, after {seconds} s");
        }
        inner.silent_since = now;
        set_flag("anteroom_gateway_directory_stale", false);
        set_flag("anteroom_gateway_directory_grace", picture.is_in_grace());
        metrics::gauge!("anteroom_gateway_directory_rooms").set(as_gauge(picture.rooms()));
        self.picture.store(Arc::new(picture));
        metrics::gauge!("anteroom_gateway_hints").set(as_gauge(self.hints.len()));
        inner.witness.requests(now)
    }

    /// Keeps what was seen last.
    fn failed(&self, cause: String) {
        metrics::counter!("anteroom_gateway_directory_failures_total").increment(1);
        set_flag("anteroom_gateway_directory_stale", true);
        let mut inner = self.lock();
        if inner.failure.as_ref() != Some(&cause) {
            warn!("the directory does not answer, what it said last is used: {cause}");
            inner.failure = Some(cause);
        }
        let picture = self.picture.load();
        if !picture.is_stale() {
            self.picture.store(Arc::new(picture.grown_stale()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn set_flag(name: &'static str, is: bool) {
    metrics::gauge!(name).set(f64::from(u8::from(is)));
}

fn ids(topology: &Topology) -> impl Iterator<Item = ShardId> {
    topology.shards().iter().map(|shard| shard.id.clone())
}

pub(crate) fn as_gauge(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
