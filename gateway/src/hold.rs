//! Requests that wait for a shard instead of being sent away.
//!
//! A client that is refused comes back after a pause that grows with each refusal. Where a shard has
//! died the directory says so within a lease, and the request is then one hop from its new home.
//!
//! Owns: how many may wait, for how long, and who knocks at a shard that did not open. Must not:
//! decide where a request goes.

use affinity::ShardId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Longest wait, from the request's head on. More than a lease (3 s) and one look at the directory,
/// less than LiveKit's Rust client waits for an answer (5 s).
pub(crate) const HOLD_MAX: Duration = Duration::from_secs(4);
/// How often one request knocks at a shard that cannot be reached.
pub(crate) const KNOCK_EVERY: Duration = Duration::from_millis(250);
/// Most requests that wait at one time, some KB each: the participants of a large shard. Beyond, a
/// request is refused at once.
const HELD_MAX: usize = 4_000;
/// All waiting requests together knock at one shard this often at most. The first that is let in
/// tells the others.
const KNOCK_GAP: Duration = Duration::from_millis(25);

/// All requests that wait.
pub(crate) struct Holds {
    slots: Arc<Semaphore>,
    /// When somebody knocked last at shards that did not open. An entry for each such shard.
    shut: Mutex<BTreeMap<ShardId, Instant>>,
    opened: Notify,
}

impl Default for Holds {
    fn default() -> Self {
        Self::with_limit(HELD_MAX)
    }
}

impl Holds {
    fn with_limit(held: usize) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(held)),
            shut: Mutex::new(BTreeMap::new()),
            opened: Notify::new(),
        }
    }

    /// A place to wait; `None` if all are taken.
    pub(crate) fn enter(&self) -> Option<Held> {
        let permit = Arc::clone(&self.slots).try_acquire_owned().ok()?;
        metrics::gauge!("anteroom_gateway_held_requests").increment(1.0);
        Some(Held(permit))
    }

    /// The shard could not be connected to.
    pub(crate) fn is_shut(&self, shard: &ShardId, now: Instant) {
        self.lock().insert(shard.clone(), now);
    }

    /// The shard has just been connected to: whoever waits for it goes.
    pub(crate) fn is_open(&self, shard: &ShardId) {
        if self.lock().remove(shard).is_some() {
            self.opened.notify_waiters();
        }
    }

    /// Resolves when some shard is open again.
    pub(crate) fn opened(&self) -> Notified<'_> {
        self.opened.notified()
    }

    /// Whether a request may try the shard now. `waited`: it has not knocked for [`KNOCK_EVERY`].
    pub(crate) fn may_knock(&self, shard: &ShardId, waited: bool, now: Instant) -> bool {
        let mut shut = self.lock();
        let Some(last) = shut.get_mut(shard) else {
            return true;
        };
        let may = waited && now >= *last + KNOCK_GAP;
        if may {
            *last = now;
        }
        may
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ShardId, Instant>> {
        self.shut.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place to wait, as long as this lives.
pub(crate) struct Held(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit);

impl Drop for Held {
    fn drop(&mut self) {
        metrics::gauge!("anteroom_gateway_held_requests").decrement(1.0);
    }
}

/// How a wait has ended, for the counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The directory gave the room up: another shard is asked.
    Placed,
    /// The same shard can be reached again.
    Reached,
    /// Nothing has changed in time.
    Expired,
    /// There was no place to wait.
    Full,
}

impl Ending {
    pub(crate) fn count(self) {
        let result = match self {
            Self::Placed => "placed",
            Self::Reached => "reached",
            Self::Expired => "expired",
            Self::Full => "full",
        };
        metrics::counter!("anteroom_gateway_holds_total", "result" => result).increment(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_more_places_than_the_limit_and_one_that_is_left_is_free() {
        let holds = Holds::with_limit(2);
        let (one, _two) = (holds.enter().unwrap(), holds.enter().unwrap());
        assert!(holds.enter().is_none());
        drop(one);
        assert!(holds.enter().is_some());
    }

    #[test]
    fn many_waiting_requests_knock_as_one_and_all_go_once_the_shard_is_open() {
        let (holds, now, shard) = (Holds::default(), Instant::now(), ShardId::new("s1"));
        assert!(
            holds.may_knock(&shard, false, now),
            "nobody was refused yet"
        );
        holds.is_shut(&shard, now);
        let later = now + KNOCK_GAP;
        assert!(!holds.may_knock(&shard, true, now));
        assert!(!holds.may_knock(&shard, false, later), "it knocked before");
        assert!(holds.may_knock(&shard, true, later));
        assert!(!holds.may_knock(&shard, true, later), "another one did");
        holds.is_open(&shard);
        assert!(holds.may_knock(&shard, false, later));
    }
}
