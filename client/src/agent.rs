//! Who lives in a client's task and decides what it does.

use crate::event::SessionEvent;
use crate::session::Session;
use std::time::Instant;
use tokio::sync::mpsc;

/// Events that wait for [`Client::next_event`](crate::Client::next_event). Beyond: the newest are
/// dropped and counted; packets first, see [`RESERVED`].
const EVENTS_MAX: usize = 4096;
/// Of these, places that packets may not take: what happens matters more than what arrives.
const RESERVED: usize = 1024;

/// Decides what a client does. It is called in the client's own task, so it must not block, and it
/// may use the [`Session`] as it likes; whatever that has to send goes out afterwards.
pub trait Agent: Send + 'static {
    /// Something happened. Packets come here too, one by one, hundreds a second.
    fn handle_event(&mut self, event: SessionEvent, session: &mut Session, now: Instant);

    /// When [`Agent::handle_timeout`] shall be called next. The clock ticks in milliseconds.
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// It is time, or later.
    fn handle_timeout(&mut self, session: &mut Session, now: Instant) {
        let _ = (session, now);
    }
}

/// Puts all events into a queue, for whoever reads them elsewhere.
#[derive(Debug)]
pub struct EventQueue {
    events: mpsc::Sender<SessionEvent>,
    dropped: u64,
}

impl EventQueue {
    pub(crate) fn new() -> (Self, mpsc::Receiver<SessionEvent>) {
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        let queue = Self {
            events: sender,
            dropped: 0,
        };
        (queue, receiver)
    }

    /// Events that found the queue full.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl Agent for EventQueue {
    fn handle_event(&mut self, event: SessionEvent, _session: &mut Session, _now: Instant) {
        let full = event.is_media() && self.events.capacity() <= RESERVED;
        if full || self.events.try_send(event).is_err() {
            self.dropped += 1;
        }
    }
}
