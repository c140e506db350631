//! Which rooms this shard owns: drives [`affinity::ownership::Ownership`] over a [`Directory`].
//!
//! Owns: the task that carries out the machine's requests, the waiters of [`Owner::acquire`], and the
//! count of who still needs a room: requests on their way in ([`Pin`]) and the core ([`Owner::host`]).
//! A room that neither needs is released. Must not: know what happens in a room.

use affinity::directory::{Directory, DirectoryIncarnation, DirectoryUnreachable, Epoch};
use affinity::directory::{Incarnation, Reply, Request};
use affinity::ownership::{Event, NoLeaseWhy, Ownership, RefusedWhy, RequestId};
use affinity::{RoomKey, ShardId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;

/// How long a request waits for a room before it is told to come again.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a request waits after "no lease" before it asks again. A first lease wakes it earlier, but
/// not everything that refuses ends with one: a single room may be between two claims.
const LEASE_RETRY: Duration = Duration::from_millis(100);
/// How long one call to the directory may take; afterwards its outcome is unknown. Longer than the
/// RPC's own limit, so that the RPC's better error text wins.
const CALL_TIMEOUT: Duration = Duration::from_millis(1_500);
/// How long the last words to the directory may take at shutdown; afterwards the lease just ends.
const RESIGN_TIMEOUT: Duration = Duration::from_millis(1_500);

/// A room that this shard no longer owns.
#[derive(Debug)]
pub(crate) struct LostRoom {
    pub(crate) room: RoomKey,
    pub(crate) epoch: Epoch,
}

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
}

/// Handle to the ownership task; cheap to clone.
#[derive(Clone)]
pub(crate) struct Owner {
    shared: Arc<Mutex<Shared>>,
    /// The machine has something to send.
    work: Arc<Notify>,
    /// A lease was taken or renewed.
    leased: Arc<Notify>,
}

/// Keeps a room owned while a join is on its way to the core.
pub(crate) struct Pin {
    owner: Owner,
    pub(crate) room: RoomKey,
    pub(crate) epoch: Epoch,
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
    pub(crate) fn new(shard: ShardId, now: Instant) -> Self {
        let shared = Shared {
            ownership: Ownership::new(shard, fresh(), now),
            waiters: HashMap::new(),
            pins: HashMap::new(),
            hosted: HashMap::new(),
        };
        Self {
            shared: Arc::new(Mutex::new(shared)),
            work: Arc::new(Notify::new()),
            leased: Arc::new(Notify::new()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // The data stays usable: every change under the lock is complete in itself.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes this shard the owner of `room`, or says who or what is in the way, within 2 s.
    pub(crate) async fn acquire(&self, room: RoomKey) -> Result<Pin, RefusedWhy> {
        self.lock().pin(&room);
        let mut pin = Pin {
            owner: self.clone(),
            room,
            epoch: Epoch::default(),
        };
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
                Err(RefusedWhy::NoLease) if tokio::time::Instant::now() < deadline => {
                    late = RefusedWhy::NoLease;
                    // Right after start: the first lease is a round trip away.
                    let _ = tokio::time::timeout(LEASE_RETRY, leased).await;
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

    /// Whether the core still holds the life of the room that was lost; it must end it now.
    pub(crate) fn forget(&self, lost: &LostRoom) -> bool {
        let mut shared = self.lock();
        let same = shared.hosted.get(&lost.room) == Some(&lost.epoch);
        if same {
            shared.hosted.remove(&lost.room);
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

    /// Whether this shard holds a lease, else why not.
    pub(crate) fn lease(&self, now: Instant) -> Result<(), NoLeaseWhy> {
        self.lock().ownership.lease(now)
    }

    /// How long this shard owns its rooms yet if nothing renews its lease, milliseconds. 0: not at
    /// all.
    pub(crate) fn remaining_ms(&self, now: Instant) -> u64 {
        let deadline = self.lock().ownership.deadline();
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
        if !needed && self.ownership.owned(room, now).is_some() {
            self.ownership.release(room, now);
        }
    }

    fn answer(&mut self, room: &RoomKey, answer: &Answer) {
        for waiter in self.waiters.remove(room).unwrap_or_default() {
            // A waiter that has timed out is no loss.
            let _ = waiter.send(answer.clone());
        }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.owner.lock().unpin(&self.room, Instant::now());
        self.owner.work.notify_one();
    }
}

fn fresh() -> Incarnation {
    Incarnation(rand::random())
}

type Call = (RequestId, Result<Reply, DirectoryUnreachable>);

/// The task that talks to the directory.
pub(crate) struct OwnershipDriver {
    owner: Owner,
    directory: Arc<dyn Directory>,
    lost: mpsc::Sender<LostRoom>,
    calls: JoinSet<Call>,
}

impl OwnershipDriver {
    pub(crate) fn new(
        owner: Owner,
        directory: Arc<dyn Directory>,
        lost: mpsc::Sender<LostRoom>,
    ) -> Self {
        Self {
            owner,
            directory,
            lost,
            calls: JoinSet::new(),
        }
    }

    /// Runs until `resign` is notified, then gives everything back.
    pub(crate) async fn run(mut self, resign: Arc<Notify>) {
        loop {
            let wake = self.step().await;
            tokio::select! {
                Some(call) = self.calls.join_next() => self.handle_call(call),
                () = self.owner.work.notified() => {}
                () = sleep_until(wake) => {}
                () = resign.notified() => break,
            }
        }
        self.owner.lock().ownership.resign(Instant::now());
        let last_words = tokio::time::timeout(RESIGN_TIMEOUT, self.finish()).await;
        if last_words.is_err() {
            tracing::warn!("the directory did not hear our resignation: the lease ends by itself");
        }
    }

    async fn finish(&mut self) {
        self.step().await;
        while let Some(call) = self.calls.join_next().await {
            self.handle_call(call);
            self.step().await;
        }
    }

    fn handle_call(&mut self, call: Result<Call, tokio::task::JoinError>) {
        if let Ok((id, reply)) = call {
            if let Err(error) = &reply {
                metrics::counter!("anteroom_shard_directory_failures_total").increment(1);
                tracing::debug!(%error, "directory call failed");
            }
            self.owner
                .lock()
                .ownership
                .handle_reply(id, reply, fresh(), Instant::now());
        }
    }

    /// One pass: timers, requests out, events out. Returns when to wake at the latest.
    async fn step(&mut self) -> Option<Instant> {
        let (lost, wake) = {
            let owner = self.owner.clone();
            let mut shared = owner.lock();
            let now = Instant::now();
            if shared
                .ownership
                .poll_timeout()
                .is_some_and(|(at, _)| at <= now)
            {
                shared.ownership.handle_timeout(fresh(), now);
            }
            let lost = self.drain_events(&mut shared, now);
            while let Some((id, request)) = shared.ownership.poll_request(now) {
                self.spawn_call(id, request);
            }
            (lost, shared.ownership.poll_timeout().map(|(at, _)| at))
        };
        for room in lost {
            // The receiver is the driver: it only goes away at the very end.
            let _ = self.lost.send(room).await;
        }
        wake
    }

    fn drain_events(&mut self, shared: &mut Shared, now: Instant) -> Vec<LostRoom> {
        let mut lost = Vec::new();
        // Several shards may share a process.
        let shard = shared.ownership.shard().clone();
        while let Some(event) = shared.ownership.poll_event() {
            match event {
                Event::Granted { room, epoch, .. } => {
                    shared.answer(&room, &Ok(epoch));
                    shared.release_unneeded(&room, now);
                }
                Event::Refused { room, why } => shared.answer(&room, &Err(why)),
                Event::Lost { room, epoch, why } => {
                    tracing::warn!(room = room.as_str(), epoch = epoch.0, ?why, "room lost");
                    metrics::counter!("anteroom_shard_rooms_lost_total").increment(1);
                    lost.push(LostRoom { room, epoch });
                }
                Event::Moved { .. } | Event::Stays { .. } | Event::Drain(_) => {}
                Event::Leased { directory } => {
                    tracing::info!(%shard, directory = directory.0, "lease held");
                    self.owner.leased.notify_waiters();
                }
                Event::Fenced => {
                    tracing::warn!(%shard, "the lease has ended: all rooms given up");
                }
                Event::NotLeased { why } => {
                    tracing::warn!(%shard, %why, "no lease: this shard takes nobody in");
                }
            }
        }
        lost
    }

    /// Spawned, so that the request leaves now: the lease is counted from this moment.
    fn spawn_call(&mut self, id: RequestId, request: Request) {
        let directory = Arc::clone(&self.directory);
        self.calls.spawn(async move {
            let call = tokio::time::timeout(CALL_TIMEOUT, directory.call(request));
            let timed_out = |_| Err(DirectoryUnreachable("no answer in time".to_owned()));
            (id, call.await.unwrap_or_else(timed_out))
        });
    }
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
