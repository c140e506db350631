//! Which rooms this shard owns: the shared state around [`affinity::ownership::Ownership`].
//!
//! Owns: the waiters of [`Owner::acquire`], the count of who still needs a room (requests on their
//! way in ([`Pin`]) and the core ([`Owner::host`])), and the news for the core. A room that neither
//! needs is released. Must not: know what happens in a room, or talk to anybody; `driver` does.

mod driver;
mod news;
mod pin;

pub(crate) use driver::OwnershipDriver;
pub(crate) use news::News;
pub(crate) use pin::{Legacy, Pin};

use crate::figures::Figures;
use affinity::directory::{
    Binding, Directory, DirectoryIncarnation, Epoch, Holder, Incarnation, Life, Reply, Request,
};
use affinity::ownership::{Keep, KeepDuty, Kept, NoLeaseWhy, Ownership, RefusedWhy};
use affinity::{RoomKey, ShardId};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};

/// How long a request waits for a room before it is told to come again. Below the 5 s that native
/// clients wait for an answer.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a request waits after "no lease" or "grace" before it asks again. A first lease wakes it
/// earlier, but not everything that refuses ends with one.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// How long a relayed renewal may take: the asking shard's own deadline is near.
const RELAY_TIMEOUT: Duration = Duration::from_millis(400);
/// How long a question about somebody else's room may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_millis(1_000);
/// Shards whose address is remembered; beyond, all are forgotten. As many as a large deployment has.
const ADDRESSES_MAX: usize = 1024;
/// Tries to leave a room's options at the directory. They matter after a crash only.
const PUT_TRIES: usize = 3;

type Answer = Result<Epoch, RefusedWhy>;

struct Shared {
    ownership: Ownership,
    /// Requests that wait for the directory's word. Bounded by the number of pins, and those by the
    /// session permits that every request needs first.
    waiters: HashMap<RoomKey, Vec<oneshot::Sender<Answer>>>,
    /// Requests that need the room, whether they are waiting or about to join.
    pins: HashMap<RoomKey, u32>,
    /// Rooms that the core holds, and under which claim.
    hosted: HashMap<RoomKey, Epoch>,
    /// What came with rooms that are ours and that the core does not hold yet.
    legacies: HashMap<RoomKey, (Epoch, Legacy)>,
    /// Rooms that are on their way to another shard.
    moving: HashSet<RoomKey>,
    /// Where other lives were when the topology named them last: one that is taken out of it gives its
    /// rooms away, and is asked about them.
    addresses: HashMap<ShardId, (Incarnation, String)>,
    /// For the core. At most a few per room, taken out before the core does anything else.
    news: VecDeque<News>,
}

/// Handle to the ownership task; cheap to clone.
#[derive(Clone)]
pub(crate) struct Owner {
    shared: Arc<Mutex<Shared>>,
    directory: Arc<dyn Directory>,
    figures: Figures,
    /// The machine has something to send.
    work: Arc<Notify>,
    /// There is news.
    told: Arc<Notify>,
    /// A lease was taken or renewed.
    leased: Arc<Notify>,
}

/// What [`Owner::host`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hosting {
    /// Ours: go on.
    Held,
    /// Ours, but the core still holds the room's life under an earlier claim: end that one first.
    HeldEarlier,
    /// The claim is gone.
    NotOurs,
}

impl Owner {
    pub(crate) fn new(shard: ShardId, directory: Arc<dyn Directory>, now: Instant) -> Self {
        let figures = Figures::new(&shard);
        let shared = Shared {
            ownership: Ownership::new(shard, fresh(), now),
            waiters: HashMap::new(),
            pins: HashMap::new(),
            hosted: HashMap::new(),
            legacies: HashMap::new(),
            moving: HashSet::new(),
            addresses: HashMap::new(),
            news: VecDeque::new(),
        };
        Self {
            shared: Arc::new(Mutex::new(shared)),
            directory,
            figures,
            work: Arc::new(Notify::new()),
            told: Arc::new(Notify::new()),
            leased: Arc::new(Notify::new()),
        }
    }

    /// The shard's metrics.
    pub(crate) fn figures(&self) -> &Figures {
        &self.figures
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // The data stays usable: every change under the lock is complete in itself.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes this shard the owner of `room`, or says who or what is in the way, within 3 s.
    pub(crate) async fn acquire(&self, room: RoomKey) -> Result<Pin, RefusedWhy> {
        let mut pin = Pin::new(self, room);
        let deadline = tokio::time::Instant::now() + ACQUIRE_TIMEOUT;
        let mut late = RefusedWhy::Unknown;
        loop {
            let leased = self.leased.notified();
            let answer = tokio::time::timeout_at(deadline, self.ask(&pin.room)).await;
            match answer.unwrap_or_else(|_| Err(late.clone())) {
                Ok(epoch) => {
                    pin.epoch = epoch;
                    return Ok(pin);
                }
                // They pass by themselves: right after a start, after the directory's, and before we
                // know that another shard has ended.
                Err(why @ (RefusedWhy::NoLease | RefusedWhy::Grace | RefusedWhy::Held { .. }))
                    if tokio::time::Instant::now() < deadline =>
                {
                    late = why;
                    let _ = tokio::time::timeout(ASK_AGAIN, leased).await;
                }
                Err(why) => return Err(why),
            }
        }
    }

    async fn ask(&self, room: &RoomKey) -> Answer {
        let answer = {
            let now = Instant::now();
            let mut shared = self.lock();
            if let Some(epoch) = shared.ownership.owned(room, now) {
                return Ok(epoch);
            }
            let (waiter, answer) = oneshot::channel();
            shared.waiters.entry(room.clone()).or_default().push(waiter);
            shared.ownership.acquire(room.clone(), now);
            answer
        };
        self.work.notify_one();
        answer.await.unwrap_or(Err(RefusedWhy::Unknown))
    }

    /// Whether the room is ours now.
    pub(crate) fn is_owned(&self, room: &RoomKey) -> bool {
        self.lock().ownership.owned(room, Instant::now()).is_some()
    }

    /// For those who do not open rooms: the room if it is live here, else who has it; `None` if
    /// nobody has.
    pub(crate) async fn find_live(&self, room: RoomKey) -> Result<Option<Pin>, RefusedWhy> {
        let mut pin = Pin::new(self, room);
        let now = Instant::now();
        if let Some(epoch) = self.lock().ownership.owned(&pin.room, now) {
            pin.epoch = epoch;
            return Ok(Some(pin));
        }
        let rooms = vec![pin.room.clone()];
        let lookup = self.directory.call(Request::Lookup { rooms });
        match tokio::time::timeout(LOOKUP_TIMEOUT, lookup).await {
            Ok(Ok(Reply::Bindings(mut bindings))) => match bindings.pop().flatten() {
                // Handed over to us a moment ago.
                Some(owner) if self.is_ours(&owner) => {
                    self.acquire(pin.room.clone()).await.map(Some)
                }
                Some(owner) => Err(RefusedWhy::Owned { shard: owner.shard }),
                None => Ok(None),
            },
            _ => Err(RefusedWhy::Unknown),
        }
    }

    fn is_ours(&self, owner: &Binding) -> bool {
        let holder = self.lock().ownership.holder();
        holder.shard == owner.shard && holder.incarnation == owner.incarnation
    }

    /// The core is about to hold `room`, claimed under `epoch`.
    pub(crate) fn host(&self, room: &RoomKey, epoch: Epoch, now: Instant) -> Hosting {
        let mut shared = self.lock();
        if shared.ownership.owned(room, now) != Some(epoch) {
            return Hosting::NotOurs;
        }
        match shared.hosted.insert(room.clone(), epoch) {
            Some(previous) if previous != epoch => Hosting::HeldEarlier,
            _ => Hosting::Held,
        }
    }

    /// What the room's last owner has left, once.
    pub(crate) fn take_legacy(&self, room: &RoomKey, epoch: Epoch) -> Option<Legacy> {
        let (claim, legacy) = self.lock().legacies.remove(room)?;
        (claim == epoch).then_some(legacy)
    }

    /// Whether the core still holds the life of the room that ended under `epoch`; it must end it now.
    pub(crate) fn forget(&self, room: &RoomKey, epoch: Epoch) -> bool {
        let mut shared = self.lock();
        let same = shared.hosted.get(room) == Some(&epoch);
        if same {
            shared.hosted.remove(room);
        }
        same
    }

    /// The core has stopped `room`.
    pub(crate) fn stopped(&self, room: &RoomKey) {
        let mut shared = self.lock();
        shared.hosted.remove(room);
        shared.release_unneeded(room, Instant::now());
        drop(shared);
        self.work.notify_one();
    }

    /// Hands a room over; the news says what became of it. False: it is not ours to give.
    pub(crate) fn transfer(&self, room: &RoomKey, to: &Life, now: Instant) -> bool {
        let mut shared = self.lock();
        let given = shared
            .ownership
            .transfer(room, to.shard.clone(), to.incarnation, now);
        drop(shared);
        self.work.notify_one();
        given
    }

    /// Joins of a room that is on its way to another shard wait for a moment.
    pub(crate) fn set_moving(&self, room: &RoomKey, moving: bool) {
        let mut shared = self.lock();
        if moving {
            shared.moving.insert(room.clone());
        } else {
            shared.moving.remove(room);
        }
    }

    pub(crate) fn is_moving(&self, room: &RoomKey) -> bool {
        self.lock().moving.contains(room)
    }

    /// The claim under which the room is ours now.
    pub(crate) fn epoch(&self, room: &RoomKey, now: Instant) -> Option<Epoch> {
        self.lock().ownership.owned(room, now)
    }

    /// Whether the core's room of this claim is ours now: live, in the words of the protocol.
    pub(crate) fn owns(&self, room: &RoomKey, epoch: Epoch, now: Instant) -> bool {
        self.epoch(room, now) == Some(epoch)
    }

    /// Leaves the room's options at the directory, in the background.
    pub(crate) fn keep_options(&self, room: RoomKey, options: String) {
        let (holder, epoch) = {
            let shared = self.lock();
            let Some(epoch) = shared.ownership.owned(&room, Instant::now()) else {
                return;
            };
            (shared.ownership.holder(), epoch)
        };
        let directory = Arc::clone(&self.directory);
        tokio::spawn(put_options(directory, holder, room, epoch, options));
    }

    /// The other shards that take rooms, as the directory named them last.
    pub(crate) fn heirs(&self) -> Vec<Life> {
        let shared = self.lock();
        let takes = |life: &&Life| life.accepts && !life.url.is_empty();
        shared.ownership.others().filter(takes).cloned().collect()
    }

    /// Where another life of the deployment is reached, or was when the topology still named it.
    pub(crate) fn other(&self, shard: &ShardId) -> Option<Life> {
        let shared = self.lock();
        let mut others = shared.ownership.others();
        let mut life = others.find(|life| life.shard == *shard)?.clone();
        if life.url.is_empty()
            && let Some((incarnation, url)) = shared.addresses.get(shard)
            && *incarnation == life.incarnation
        {
            life.url.clone_from(url);
        }
        Some(life)
    }

    /// Another shard asks to be kept alive.
    pub(crate) async fn keep(&self, keep: Keep) -> Kept {
        let duty = self.lock().ownership.handle_keep(keep, Instant::now());
        let renewal = match duty {
            KeepDuty::Answer(kept) => return kept,
            KeepDuty::Relay(renewal) => renewal,
        };
        let call = self.directory.call(renewal);
        if let Ok(Ok(reply)) = tokio::time::timeout(RELAY_TIMEOUT, call).await {
            return Kept::Relayed(reply);
        }
        let kept = self.lock().ownership.relay_failed(Instant::now());
        self.work.notify_one();
        kept
    }

    /// This shard wants no new rooms any more.
    pub(crate) fn leave(&self) {
        self.lock().ownership.set_leaving(true, Instant::now());
        self.work.notify_one();
    }

    /// Whether this shard holds a lease, else why not.
    pub(crate) fn lease(&self, now: Instant) -> Result<(), NoLeaseWhy> {
        self.lock().ownership.lease(now)
    }

    /// Whether it goes on only by the promises of the others.
    pub(crate) fn is_on_hold(&self, now: Instant) -> bool {
        self.lock().ownership.is_on_hold(now)
    }

    /// How long this shard owns its rooms yet if nothing is heard any more, milliseconds. 0: not at
    /// all.
    pub(crate) fn remaining_ms(&self, now: Instant) -> u64 {
        let deadline = self.lock().ownership.first_deadline();
        let left = deadline.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
    }

    /// The directory life under which this shard holds its lease.
    pub(crate) fn directory(&self) -> Option<DirectoryIncarnation> {
        self.lock().ownership.directory()
    }
}

impl Shared {
    fn pin(&mut self, room: &RoomKey) {
        *self.pins.entry(room.clone()).or_default() += 1;
    }

    fn unpin(&mut self, room: &RoomKey, now: Instant) {
        if let Some(count) = self.pins.get_mut(room) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.pins.remove(room);
            }
        }
        self.release_unneeded(room, now);
    }

    fn release_unneeded(&mut self, room: &RoomKey, now: Instant) {
        let needed = self.pins.contains_key(room) || self.hosted.contains_key(room);
        if needed {
            return;
        }
        self.legacies.remove(room);
        // A wish, too, that nobody has any more.
        self.waiters.remove(room);
        self.ownership.release(room, now);
    }

    fn note_addresses(&mut self) {
        for life in self.ownership.others() {
            let known = self.addresses.get(&life.shard);
            let is_known = known.is_some_and(|(incarnation, url)| {
                *incarnation == life.incarnation && *url == life.url
            });
            if is_known || life.url.is_empty() {
                continue;
            }
            if self.addresses.len() >= ADDRESSES_MAX {
                self.addresses.clear();
            }
            let address = (life.incarnation, life.url.clone());
            self.addresses.insert(life.shard.clone(), address);
        }
    }

    fn answer(&mut self, room: &RoomKey, answer: &Answer) {
        for waiter in self.waiters.remove(room).unwrap_or_default() {
            // A waiter that has timed out is no loss.
            let _ = waiter.send(answer.clone());
        }
    }
}

async fn put_options(
    directory: Arc<dyn Directory>,
    holder: Holder,
    room: RoomKey,
    epoch: Epoch,
    options: String,
) {
    for _ in 0..PUT_TRIES {
        let put = Request::PutOptions {
            holder: holder.clone(),
            room: room.clone(),
            epoch,
            options: options.clone(),
        };
        match directory.call(put).await {
            Ok(Reply::Done) => return,
            Ok(other) => {
                tracing::debug!(room = room.as_str(), ?other, "room options not kept");
                return;
            }
            Err(error) => tracing::debug!(room = room.as_str(), %error, "room options not kept"),
        }
    }
}

fn fresh() -> Incarnation {
    Incarnation(rand::random())
}

/// Sleeps until `at`, for ever if there is no such moment.
pub(crate) async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
pub(crate) mod tests;
