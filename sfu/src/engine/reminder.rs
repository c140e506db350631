//! When a client is reminded of a track that it announced and did not offer.
//!
//! LiveKit's Rust client can lose its own wish to negotiate: if a track is published while it makes an
//! offer for another reason, that offer may leave the track out, and no other follows. It would wait for
//! ever, and nobody would hear it. Any later offer brings the track along, so it is asked for one.

use super::negotiation::OFFER_PATIENCE;
use std::time::Instant;

/// A client that does not offer after so many requests does not mean to.
const TIMES: u8 = 3;

/// The reminders for one track.
#[derive(Debug)]
pub(super) struct Reminder {
    due: Instant,
    left: u8,
}

impl Reminder {
    /// For a track that was announced now.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            due: now + OFFER_PATIENCE,
            left: TIMES,
        }
    }

    /// When the client is to be asked; `None`: no more.
    pub(super) fn due(&self) -> Option<Instant> {
        (self.left > 0).then_some(self.due)
    }

    /// It was asked now, for this track or for another reason.
    pub(super) fn asked(&mut self, now: Instant) {
        if self.due <= now {
            self.left = self.left.saturating_sub(1);
        }
        self.due = now + OFFER_PATIENCE;
    }
}
