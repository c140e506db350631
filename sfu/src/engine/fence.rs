//! Stops media and data while the shard may not own its rooms, and lets both go on.
//!
//! Data channel datagrams are kept from the transport, not taken and dropped: what is not
//! acknowledged is sent again, here or at the node that owns the room then.

use super::ownership::ASK_EVERY;
use super::timers::Timer;
use super::{Engine, TransportKey};
use proto::media::NodeEvent;
use std::time::{Duration, Instant};

impl Engine {
    /// Asks the shard how long it owns its rooms.
    pub(super) fn ask_owned(&mut self, now: Instant) {
        self.note_ownership(now);
        self.timers.set(Timer::Ownership, Some(now + ASK_EVERY));
        let nonce = self.ownership.ask(now);
        let worker = self.worker;
        let event = NodeEvent::AskOwned { worker, nonce };
        self.outbox.events.push_back(event);
    }

    /// The shard's answer.
    pub(super) fn take_owned(&mut self, nonce: u64, owned_for: Duration, now: Instant) {
        // First: the deadline may have passed since the last look, and passes no more after this.
        self.note_ownership(now);
        self.ownership.answer(nonce, owned_for);
        self.note_ownership(now);
    }

    /// True while nothing may be forwarded and no data taken.
    pub(super) fn is_fenced(&self, now: Instant) -> bool {
        !self.ownership.is_open(now)
    }

    /// True if the data channels of this transport must stand still. Before it is connected there
    /// are none, and its handshake goes on.
    pub(super) fn withholds_data(&self, key: TransportKey, now: Instant) -> bool {
        let transport = self.transports.get(key);
        transport.is_some_and(|transport| transport.connected) && self.is_fenced(now)
    }

    fn note_ownership(&mut self, now: Instant) {
        match self.ownership.changed(now) {
            Some(true) => self.reopen(now),
            Some(false) => {
                tracing::warn!(
                    "media stops: the shard has not said in time that it owns its rooms"
                );
            }
            None => {}
        }
    }

    fn reopen(&mut self, now: Instant) {
        tracing::info!("media flows: the shard owns its rooms");
        // Packets are missing in between: streams go on without a gap, at a key frame.
        for track in self.tracks.keys() {
            self.gate(track, now);
        }
        for transport in self.transports.keys() {
            self.flush_backlog(transport, now);
        }
    }
}
