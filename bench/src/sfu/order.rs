//! What the publishers are to do, and what everybody has counted.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What all cameras do at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Nothing.
    Still,
    /// A packet a frame: everything is alive, nothing is loaded.
    Warm,
    /// Whole frames, so many of them.
    Run { begin: Instant, frames: u32 },
}

/// What one participant has counted.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Videos of which something has come.
    sources: AtomicUsize,
    /// The camera's packets are taken.
    can_send: AtomicBool,
    /// Packets that came: repeated ones and small ones (padding) do not count.
    pub(crate) received: Count,
    /// Packets that were written.
    pub(crate) sent: Count,
    /// Decrypted packets that are none of ours.
    pub(crate) wrong: Count,
    /// From writing a packet until the kernel had it here, µs, of those that decrypt.
    delays_us: Mutex<Vec<u64>>,
    /// How late frames were written, µs.
    late_us: Mutex<Vec<u64>>,
    /// Why it ended, if it was not told to.
    ended: Mutex<Option<String>>,
}

impl Tally {
    /// A new measurement begins.
    pub(crate) fn reset(&self) {
        for count in [&self.received, &self.sent, &self.wrong] {
            count.0.store(0, Ordering::Relaxed);
        }
        self.delays_us().clear();
        self.late_us().clear();
    }

    pub(crate) fn sources(&self) -> usize {
        self.sources.load(Ordering::Relaxed)
    }

    pub(crate) fn set_sources(&self, count: usize) {
        self.sources.store(count, Ordering::Relaxed);
    }

    pub(crate) fn can_send(&self) -> bool {
        self.can_send.load(Ordering::Relaxed)
    }

    pub(crate) fn set_can_send(&self) {
        self.can_send.store(true, Ordering::Relaxed);
    }

    pub(crate) fn delays_us(&self) -> MutexGuard<'_, Vec<u64>> {
        locked(&self.delays_us)
    }

    pub(crate) fn late_us(&self) -> MutexGuard<'_, Vec<u64>> {
        locked(&self.late_us)
    }

    pub(crate) fn ended(&self) -> MutexGuard<'_, Option<String>> {
        locked(&self.ended)
    }
}

/// A count that only grows.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a panic left behind is still good to read.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
