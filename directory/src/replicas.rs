//! Whether the replicas have what was written.
//!
//! Owns: one `WAIT` for all that one connection wrote before it. A `WAIT` blocks its connection: one for
//! each write would make them pass one after the other. Must not: decide which writes need it.

use crate::error::StartError;
use crate::link::{Link, Stage};
use redis::Value;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;

/// The writes of one connection.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    /// How many were answered.
    answered: AtomicU64,
    /// Locked while a `WAIT` is on its way; whoever comes then shares the next one.
    confirmed: Mutex<Confirmed>,
}

#[derive(Debug, Default)]
struct Confirmed {
    up_to: u64,
    replicas: u64,
}

impl Writes {
    /// How many replicas have a write of this connection that was answered before this call. Waits until
    /// `wanted` have it, or for `timeout`, and as long for a `WAIT` that is on its way already.
    pub(crate) async fn confirm(
        &self,
        link: &Link,
        wanted: u32,
        timeout: Duration,
    ) -> Result<u64, StartError> {
        let mine = self.answered.fetch_add(1, Ordering::SeqCst) + 1;
        let mut confirmed = self.confirmed.lock().await;
        if confirmed.up_to >= mine {
            return Ok(confirmed.replicas);
        }
        let up_to = self.answered.load(Ordering::SeqCst);
        let mut wait = redis::cmd("WAIT");
        wait.arg(wanted);
        wait.arg(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        let replicas = match link.run(&wait, Stage::Later).await? {
            Value::Int(have) => u64::try_from(have).unwrap_or(0),
            _ => {
                return Err(StartError::Refused {
                    address: link.address().to_owned(),
                    cause: "no number from WAIT".to_owned(),
                });
            }
        };
        *confirmed = Confirmed { up_to, replicas };
        Ok(replicas)
    }
}
