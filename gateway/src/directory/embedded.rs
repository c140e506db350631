//! The directory that lives in this gateway.
//!
//! Owns: the lock around the memory engine, and its clock.
//! Must not: decide who owns a room; that is the engine's.

use affinity::directory::{
    Directory, DirectoryFuture, DirectoryIncarnation, DirectoryLimits, DirectoryUnreachable, Epoch,
    MemoryDirectory, Reply, Request,
};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The memory engine behind a lock. Every call is short and none waits.
pub(crate) struct EmbeddedDirectory {
    inner: Mutex<Inner>,
    incarnation: DirectoryIncarnation,
}

struct Inner {
    memory: MemoryDirectory,
    /// The gateway ends: nothing is granted any more.
    closed: bool,
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
        let is_heard = matches!(
            request,
            Request::Release { .. } | Request::Resign { .. } | Request::Watch
        );
        if inner.closed && !is_heard {
            return Err(DirectoryUnreachable("the gateway ends".to_owned()));
        }
        Ok(inner.memory.handle_request(request, Instant::now()))
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
                     gateway; run one gateway, or configure a shared directory for all \
                     (`directory: {{redis: ...}}`)"
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
    use affinity::ShardId;
    use affinity::directory::{Holder, Incarnation, Renewal};

    #[test]
    fn a_closed_directory_takes_back_and_grants_nothing() {
        let directory = EmbeddedDirectory::new(true);
        let holder = Holder {
            shard: ShardId::new("s1"),
            incarnation: Incarnation(1),
            directory: Some(directory.incarnation()),
        };
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
        let Ok(Reply::View(view)) = directory.handle(Request::Watch) else {
            panic!("it can still be looked at");
        };
        assert_eq!(view.leases.len(), 1);
        let resign = Request::Resign {
            holder: holder.clone(),
        };
        assert_eq!(directory.handle(resign), Ok(Reply::Released));
    }
}
