//! What the participants of one worker share.

use super::cause::Cause;
use super::clock::Clock;
use super::settings::RunSettings;
use crate::collect::Collector;
use crate::media::{Codec, Frame, Layer, Media};
use crate::pace::Clip;
use crate::progress::Counters;
use client::ConnectError;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

/// What all of a run share: read only, or counted once in a while.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) clock: Clock,
    pub(super) settings: Arc<RunSettings>,
    pub(super) media: Arc<Media>,
    /// For the progress line.
    pub(super) counters: Counters,
    /// Why the run ends at once.
    pub(super) fatal: OnceLock<Cause>,
    /// The newest loss of a connection, in words.
    pub(super) last_loss: Mutex<String>,
}

/// What the participants of one worker share. Its lock is never contended while a run goes on.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) common: Arc<Common>,
    collector: Mutex<Collector>,
    connected: AtomicUsize,
}

impl Common {
    /// How the clip of a layer is played; `None` if there is no such media.
    pub(super) fn clip(&self, codec: Codec, layer: Layer) -> Option<Clip> {
        Clip::of(self.media.stream(codec, layer)?)
    }

    pub(super) fn frame(&self, codec: Codec, layer: Layer, index: usize) -> Option<&Frame> {
        self.media.stream(codec, layer)?.frames.get(index)
    }
}

impl Desk {
    pub(super) fn new(common: Arc<Common>) -> Self {
        Self {
            common,
            collector: Mutex::default(),
            connected: AtomicUsize::new(0),
        }
    }

    pub(super) fn collector(&self) -> MutexGuard<'_, Collector> {
        // A participant that panicked has at most lost a count.
        self.collector
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The figures, for the last time.
    pub(super) fn take(&self) -> Collector {
        std::mem::take(&mut self.collector())
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.common.clock.is_over(now)
    }

    pub(super) fn ns(&self, now: Instant) -> u64 {
        self.common.clock.ns_before_curtain(now)
    }

    pub(super) fn connected(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }

    pub(super) fn note_connected(&self, is: bool) {
        let counter = &self.common.counters.connected;
        if is {
            self.connected.fetch_add(1, Ordering::Relaxed);
            add(counter, 1);
        } else {
            self.connected.fetch_sub(1, Ordering::Relaxed);
            counter.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Something went wrong, while it still counts.
    pub(super) fn note_error(&self, kind: &str, example: &str, now: Instant) {
        if !self.is_over(now) {
            self.collector().handle_error(kind, example, self.ns(now));
            add(&self.common.counters.errors, 1);
        }
    }

    /// A join failed. If nobody has ever joined, and trying again cannot help, the run ends.
    pub(super) fn note_refusal(&self, identity: &str, error: &ConnectError, now: Instant) {
        add(&self.common.counters.join_failures, 1);
        self.note_error(kind_of(error), &format!("{identity}: {error}"), now);
        let never = self.common.counters.joined.load(Ordering::Relaxed) == 0;
        if never && is_hopeless(error) {
            // The first cause is as good as any.
            let _ = self.common.fatal.set(Cause::NeverJoined(error.to_string()));
        }
    }

    /// A connection was lost that should not have been.
    pub(super) fn note_loss(&self, identity: &str, why: &str, now: Instant) {
        if !self.is_over(now) {
            self.note_error("connection lost", &format!("{identity}: {why}"), now);
            let last = self.common.last_loss.lock();
            why.clone_into(&mut last.unwrap_or_else(PoisonError::into_inner));
        }
    }
}

pub(super) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// What an error is called in the report: without names and numbers of this one case.
pub(super) fn kind_of(error: &ConnectError) -> &'static str {
    match error {
        ConnectError::Url(_) => "the URL is none",
        ConnectError::Unreachable { .. } => "server unreachable",
        ConnectError::Tls { .. } => "no TLS with the server",
        ConnectError::Timeout { .. } => "join timed out",
        ConnectError::Status { status, .. } => match status {
            401 | 403 => "join refused: not authorized",
            503 => "join refused: 503",
            _ => "join refused",
        },
        ConnectError::NotLiveKit { .. } => "server does not speak the protocol",
        ConnectError::Refused(_) => "join ended by the server",
        ConnectError::Socket { .. } => "no UDP socket",
        ConnectError::Header(_) | ConnectError::Session(_) => "client failed",
    }
}

/// Trying again, or with others, gives the same.
fn is_hopeless(error: &ConnectError) -> bool {
    match error {
        ConnectError::Status { status, .. } => matches!(status, 400..=499) && *status != 429,
        ConnectError::Url(_)
        | ConnectError::Unreachable { .. }
        | ConnectError::Tls { .. }
        | ConnectError::NotLiveKit { .. }
        | ConnectError::Header(_)
        | ConnectError::Session(_) => true,
        ConnectError::Timeout { .. } | ConnectError::Refused(_) | ConnectError::Socket { .. } => {
            false
        }
    }
}
