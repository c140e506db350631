//! How far a client has come, from its request to the first answer that it gets.
//!
//! Owns: the times that operators see. Must not: delay or change anything.

use crate::figures::Figures;
use livekit_protocol::signal_response::Message;
use std::time::Instant;

/// The beginning of one signalling connection.
pub(crate) struct Entry {
    asked: Instant,
    figures: Figures,
    is_welcome: bool,
    is_answered: bool,
}

impl Entry {
    /// A client whose request was there at `asked`.
    pub(crate) fn new(asked: Instant, figures: Figures) -> Self {
        Self {
            asked,
            figures,
            is_welcome: false,
            is_answered: false,
        }
    }

    /// The metrics of the shard.
    pub(crate) fn figures(&self) -> &Figures {
        &self.figures
    }

    /// The client was sent this.
    pub(crate) fn said(&mut self, message: &Message) {
        match message {
            Message::Join(_) | Message::Reconnect(_) if !self.is_welcome => {
                self.is_welcome = true;
                self.reached("welcome");
            }
            Message::Answer(_) if !self.is_answered => {
                self.is_answered = true;
                self.reached("answer");
            }
            _ => {}
        }
    }

    fn reached(&self, until: &'static str) {
        let took = self.asked.elapsed();
        self.figures
            .took_as("anteroom_shard_join_seconds", "until", until, took);
    }
}
