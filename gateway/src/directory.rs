//! The directory that lives in this gateway.
//!
//! Owns: the lock around the memory engine, its clock, and the judgement which shards are dead for
//! the placement of idle rooms.
//! Must not: decide who owns a room; that is the engine's.

use affinity::directory::{
    Directory, DirectoryFuture, DirectoryIncarnation, DirectoryLimits, DirectoryUnreachable, Epoch,
    LEASE_MS, MemoryDirectory, Reply, Request, View,
};
use affinity::{RoomKey, ShardId, Topology};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a shard may take to show up after it became known, before idle rooms are placed
/// elsewhere; and to name its rooms after it has a lease.
const ARRIVAL: Duration = Duration::from_millis(LEASE_MS);

/// The memory engine behind a lock. Every call is short and none waits.
pub(crate) struct EmbeddedDirectory {
    inner: Mutex<Inner>,
    incarnation: DirectoryIncarnation,
}

struct Inner {
    memory: MemoryDirectory,
    /// One entry for each shard of the topology.
    seen: BTreeMap<ShardId, Seen>,
    /// Since when each lease is held. One entry for each lease of the engine, which limits them.
    leased_since: BTreeMap<ShardId, Instant>,
    /// The gateway ends: nothing is granted any more.
    closed: bool,
}

struct Seen {
    since: Instant,
    leased: bool,
}

/// A shard's lease, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeaseView {
    pub(crate) remaining: Option<Duration>,
    pub(crate) incarnation: Option<u64>,
    pub(crate) rooms: u32,
}

impl EmbeddedDirectory {
    /// A new life of the directory. With `first_start` no shard can have lived before, so that
    /// there is no grace.
    pub(crate) fn new(first_start: bool) -> Self {
        let incarnation = DirectoryIncarnation(rand::random());
        let memory = MemoryDirectory::new(
            incarnation,
            epoch_floor(),
            !first_start,
            DirectoryLimits::default(),
            Instant::now(),
        );
        Self {
            inner: Mutex::new(Inner {
                memory,
                seen: BTreeMap::new(),
                leased_since: BTreeMap::new(),
                closed: false,
            }),
            incarnation,
        }
    }

    pub(crate) fn incarnation(&self) -> DirectoryIncarnation {
        self.incarnation
    }

    /// Answers one request, until [`Self::close`].
    pub(crate) fn handle(&self, request: Request) -> Result<Reply, DirectoryUnreachable> {
        let mut inner = self.lock();
        let gives_back = matches!(request, Request::Release { .. } | Request::Resign { .. });
        if inner.closed && !gives_back {
            return Err(DirectoryUnreachable("the gateway ends".to_owned()));
        }
        let now = Instant::now();
        let new_lease = match &request {
            Request::Renew { holder, .. }
                if inner.memory.lease_remaining(&holder.shard, now).is_none() =>
            {
                Some(holder.shard.clone())
            }
            _ => None,
        };
        let reply = inner.memory.handle_request(request, now);
        if let (Some(shard), Reply::Leased { .. }) = (new_lease, &reply) {
            inner.leased_since.insert(shard, now);
        }
        Ok(reply)
    }

    /// Answers a request of another process. What another gateway asks is refused: there would be two
    /// with a directory in memory, and only one of them has the data.
    pub(crate) fn handle_from_outside(
        &self,
        request: Request,
    ) -> Result<Reply, DirectoryUnreachable> {
        match request {
            Request::Announce { gateway, .. } => Ok(Reply::Refused {
                reason: format!(
                    "gateway `{gateway}` cannot attach: this directory lives in the memory of one \
                     gateway; run one gateway, or configure a shared directory for all"
                ),
            }),
            Request::Watch
            | Request::Lapse { .. }
            | Request::EndGrace { .. }
            | Request::Forget { .. }
            | Request::SetDrain { .. } => Ok(Reply::Refused {
                reason: "only the gateway that holds this directory may do that".to_owned(),
            }),
            from_shard => self.handle(from_shard),
        }
    }

    /// From now on no lease is prolonged and no room is granted; giving back is still heard. A
    /// successor lets one lease pass before it grants anything, and counts from its start: whatever
    /// this life granted later would outlast that.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    /// Who owns the room now.
    pub(crate) fn owner(&self, room: &RoomKey) -> Option<ShardId> {
        let mut inner = self.lock();
        inner.memory.expire(Instant::now());
        Some(inner.memory.owner(room)?.shard.clone())
    }

    /// How long idle rooms cannot start yet.
    pub(crate) fn grace_remaining(&self) -> Duration {
        self.lock().memory.grace_remaining(Instant::now())
    }

    /// All leases and what else gateways need to know.
    pub(crate) fn view(&self) -> View {
        self.lock().memory.view()
    }

    pub(crate) fn lease(&self, shard: &ShardId) -> LeaseView {
        let inner = self.lock();
        let view = inner.memory.view();
        let lease = view.leases.iter().find(|lease| lease.shard == *shard);
        LeaseView {
            remaining: inner.memory.lease_remaining(shard, Instant::now()),
            incarnation: lease.map(|lease| lease.incarnation.0),
            rooms: lease.map_or(0, |lease| lease.rooms),
        }
    }

    /// From now on these are the shards that may claim.
    pub(crate) fn set_topology(&self, topology: &Topology) {
        let mut inner = self.lock();
        let shards = topology.shards();
        let now = Instant::now();
        let announce = Request::Announce {
            gateway: String::new(),
            topology: shards.to_vec(),
        };
        inner.memory.handle_request(announce, now);
        inner.seen.retain(|id, _| topology.shard(id).is_some());
        for shard in shards {
            inner.seen.entry(shard.id.clone()).or_insert(Seen {
                since: now,
                leased: false,
            });
        }
    }

    /// Lets leases run out. Call it at least once a second.
    pub(crate) fn tick(&self) {
        let mut inner = self.lock();
        let now = Instant::now();
        let Inner {
            memory,
            leased_since,
            ..
        } = &mut *inner;
        memory.expire(now);
        leased_since.retain(|shard, _| memory.lease_remaining(shard, now).is_some());
    }

    /// Whether the shard may have live rooms that are not known here yet: it, or we, have just
    /// started, and rooms are named one after the other.
    pub(crate) fn is_settling(&self, shard: &ShardId) -> bool {
        let inner = self.lock();
        let now = Instant::now();
        let leased = inner.memory.lease_remaining(shard, now).is_some();
        let since = inner.leased_since.get(shard).filter(|_| leased);
        !inner.memory.grace_remaining(now).is_zero()
            || since.is_some_and(|since| now.duration_since(*since) < ARRIVAL)
    }

    /// Shards that had a lease and lost it, or did not show up in time: idle rooms go elsewhere.
    /// The rooms that such a shard still owns in the directory's eyes are not touched by this.
    pub(crate) fn dead_shards(&self) -> BTreeSet<ShardId> {
        let mut inner = self.lock();
        let now = Instant::now();
        let Inner { memory, seen, .. } = &mut *inner;
        let mut dead = BTreeSet::new();
        for (id, seen) in seen {
            if memory.lease_remaining(id, now).is_some() {
                seen.leased = true;
            } else if seen.leased || now.duration_since(seen.since) > ARRIVAL {
                dead.insert(id.clone());
            }
        }
        dead
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Directory for EmbeddedDirectory {
    fn call(&self, request: Request) -> DirectoryFuture<'_> {
        Box::pin(std::future::ready(self.handle(request)))
    }
}

/// Claims of this life are numbered above those of earlier lives: the wall clock in milliseconds
/// outruns any rate of claims.
fn epoch_floor() -> Epoch {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    let ms = since_epoch.unwrap_or_default().as_millis();
    Epoch(u64::try_from(ms).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use affinity::directory::{Holder, Incarnation, Renewal};

    fn holder(directory: &EmbeddedDirectory) -> Holder {
        Holder {
            shard: ShardId::new("s1"),
            incarnation: Incarnation(1),
            directory: Some(directory.incarnation()),
        }
    }

    #[test]
    fn a_shard_may_have_unknown_rooms_in_grace_and_while_its_lease_is_young() {
        let shard = ShardId::new("s1");
        assert!(EmbeddedDirectory::new(false).is_settling(&shard));
        let directory = EmbeddedDirectory::new(true);
        assert!(!directory.is_settling(&shard));
        let holder = holder(&directory);
        let renew = Request::Renew {
            holder: holder.clone(),
            renewal: Renewal::default(),
        };
        directory.handle(renew).unwrap();
        directory.tick();
        assert!(directory.is_settling(&shard));
        directory.handle(Request::Resign { holder }).unwrap();
        assert!(!directory.is_settling(&shard));
    }

    #[test]
    fn a_closed_directory_takes_back_and_grants_nothing() {
        let directory = EmbeddedDirectory::new(true);
        let holder = holder(&directory);
        let renew = || Request::Renew {
            holder: holder.clone(),
            renewal: Renewal::default(),
        };
        assert!(matches!(
            directory.handle(renew()),
            Ok(Reply::Leased { .. })
        ));
        directory.close();
        assert!(directory.handle(renew()).is_err());
        let left = directory.lease(&holder.shard).remaining.unwrap();
        assert!(left <= Duration::from_millis(LEASE_MS));
        let resign = Request::Resign {
            holder: holder.clone(),
        };
        assert_eq!(directory.handle(resign), Ok(Reply::Released));
    }
}
