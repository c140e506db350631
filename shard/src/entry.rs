//! How far a client has come, from its request to the first answer that it gets.
//!
//! Owns: the times and the trace that operators see. Must not: delay or change anything.

use crate::figures::Figures;
use livekit_protocol::JoinResponse;
use livekit_protocol::signal_response::Message;
use observe::{Side, Span};
use std::time::Instant;

/// The beginning of one signalling connection.
pub(crate) struct Entry {
    asked: Instant,
    figures: Figures,
    is_welcome: bool,
    is_answered: bool,
    /// The join; nothing once it is over.
    span: Span,
    /// What of it is under way.
    step: Span,
}

impl Entry {
    /// A client whose request was there at `asked`, and is let in. `span` is that of its join.
    pub(crate) fn new(asked: Instant, figures: Figures, span: Span) -> Self {
        Self {
            asked,
            figures,
            is_welcome: false,
            is_answered: false,
            step: span.child("enter the room", Side::Internal),
            span,
        }
    }

    /// The metrics of the shard.
    pub(crate) fn figures(&self) -> &Figures {
        &self.figures
    }

    /// The client is sent this.
    pub(crate) fn said(&mut self, message: &Message) {
        match message {
            Message::Join(response) if !self.is_welcome => {
                self.note_place(response);
                self.welcome();
            }
            Message::Reconnect(_) if !self.is_welcome => self.welcome(),
            Message::Answer(_) if !self.is_answered => {
                self.is_answered = true;
                self.reached("answer");
                self.end();
            }
            // With two connections the node offers first.
            Message::Offer(_) => self.end(),
            Message::Leave(leave) => {
                self.span.fail(leave.reason().as_str_name());
                self.end();
            }
            _ => {}
        }
    }

    fn welcome(&mut self) {
        self.is_welcome = true;
        self.reached("welcome");
        self.step = self.span.child("answer the offer", Side::Internal);
    }

    fn note_place(&mut self, response: &JoinResponse) {
        if !self.span.is_kept() {
            return;
        }
        if let Some(server) = &response.server_info {
            self.span.set("anteroom.node", server.node_id.clone());
        }
        if let Some(participant) = &response.participant {
            self.span
                .set("anteroom.participant", participant.sid.clone());
        }
    }

    fn reached(&self, until: &'static str) {
        let took = self.asked.elapsed();
        self.figures
            .took_as("anteroom_shard_join_seconds", "until", until, took);
    }

    /// The join is over: what follows is the meeting.
    fn end(&mut self) {
        self.step = Span::none();
        self.span = Span::none();
    }
}
