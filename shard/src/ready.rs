//! Whether a shard can take participants, and if not, why.
//!
//! Owns: the few facts about the driver that are of interest outside of it. Must not: change anything.

use crate::ownership::Owner;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

/// What the driver says of itself.
#[derive(Debug, Default)]
pub(crate) struct Condition {
    nodes: AtomicUsize,
    stopping: AtomicBool,
    leaving: AtomicBool,
}

impl Condition {
    pub(crate) fn set_nodes(&self, attached: usize) {
        self.nodes.store(attached, Ordering::Relaxed);
    }

    pub(crate) fn set_leaving(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    pub(crate) fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

/// Asks a shard whether it is ready; cheap to clone, valid from [`Shard::bind`](crate::Shard::bind)
/// until after its end.
#[derive(Clone)]
pub struct ReadyHandle {
    owner: Owner,
    condition: Arc<Condition>,
}

impl ReadyHandle {
    pub(crate) fn new(owner: Owner, condition: Arc<Condition>) -> Self {
        Self { owner, condition }
    }

    /// Ready: the shard holds a lease and at least one node is attached. Never waits.
    ///
    /// # Errors
    /// What is missing, in words for the operator: addresses and ids may stand in it.
    pub fn state(&self) -> Result<(), String> {
        if self.condition.stopping.load(Ordering::Relaxed) {
            return Err("the shard is shutting down".to_owned());
        }
        if self.condition.leaving.load(Ordering::Relaxed) {
            return Err("the shard ends: its rooms go to the others".to_owned());
        }
        self.owner
            .lease(Instant::now())
            .map_err(|why| format!("no lease from the directory: {why}"))?;
        if self.condition.nodes.load(Ordering::Relaxed) == 0 {
            return Err("no media node is attached: start one for this shard".to_owned());
        }
        Ok(())
    }
}
