//! The pure core of a client: no socket, no clock, no runtime.
//!
//! Inputs come in by `handle_*` and by verbs ([`Session::publish`], [`Session::write`]), outputs go out
//! by `poll_*`; after every input poll until there is nothing left: events first, because whoever
//! reads them may ask for more, then datagrams and messages. [`Session::poll_timeout`] says when
//! [`Session::handle_timeout`] is due.
//!
//! Owns: the state of one participation. Must not: look at the clock or the network.

mod answering;
mod data;
mod keepalive;
mod negotiation;
mod outbox;
mod peer;
mod people;
mod publications;
mod publishing;
mod receiving;
mod remote;
mod resuming;
mod signals;
mod succession;
mod wishes;
mod writing;

use crate::event::{EndReason, SessionEvent};
use crate::options::{Connection, LocalAddresses, PeerMode, SessionOptions};
use crate::timeline::Timeline;
use livekit_protocol as lk;
use std::time::Instant;
use thiserror::Error;

pub use data::DataError;
pub use outbox::{Counters, Transmit};
pub use publishing::PublicationError;
pub(crate) use resuming::Redial;
pub use writing::WriteError;

use answering::Answering;
use data::DataChannels;
use keepalive::Keepalive;
use negotiation::Negotiation;
use outbox::Outbox;
use peer::Peer;
use people::People;
use publications::Publications;
use remote::Remotes;
use resuming::Resume;
use wishes::Wishes;

/// Why there is no session.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SessionError {
    /// No address for the second connection.
    #[error("two peer connections need two local addresses")]
    NoSecondAddress,
    /// str0m could not make a peer connection.
    #[error("the peer connection cannot be made: {0}")]
    Peer(String),
}

/// One participation in a room, from the first offer to the end.
pub struct Session {
    options: SessionOptions,
    publisher: Peer,
    subscriber: Option<Peer>,
    negotiation: Negotiation,
    answering: Answering,
    publications: Publications,
    remotes: Remotes,
    people: People,
    data: DataChannels,
    keepalive: Keepalive,
    resume: Resume,
    wishes: Wishes,
    timeline: Timeline,
    out: Outbox,
    token: Option<String>,
    initial_offer: Option<lk::SessionDescription>,
    subscriber_is_primary: bool,
    media_due: Option<Instant>,
    joined: bool,
    end: Option<EndReason>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("joined", &self.joined)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// A session whose sockets are bound to `local`. Takes about 2 ms of CPU for each connection.
    ///
    /// # Errors
    /// An address is missing or unusable.
    pub fn new(
        options: SessionOptions,
        local: LocalAddresses,
        now: Instant,
    ) -> Result<Self, SessionError> {
        let subscriber = match options.mode {
            PeerMode::Single => None,
            PeerMode::Dual => {
                let address = local.subscriber.ok_or(SessionError::NoSecondAddress)?;
                Some(Peer::new(&options, address, now)?)
            }
        };
        let mut session = Self {
            publisher: Peer::new(&options, local.publisher, now)?,
            subscriber,
            negotiation: Negotiation::default(),
            answering: Answering::default(),
            publications: Publications::new(options.seed),
            remotes: Remotes::default(),
            people: People::default(),
            data: DataChannels::default(),
            keepalive: Keepalive::new(now),
            resume: Resume::new(options.seed),
            wishes: Wishes::default(),
            timeline: Timeline::new(now),
            out: Outbox::default(),
            token: None,
            initial_offer: None,
            subscriber_is_primary: false,
            media_due: None,
            joined: false,
            end: None,
            options,
        };
        if session.options.mode == PeerMode::Single {
            let offer = session.first_offer(now);
            session.initial_offer = Some(offer.map_err(SessionError::Peer)?);
        }
        Ok(session)
    }

    /// The offer that travels with the join; `None` with two connections.
    pub fn initial_offer(&self) -> Option<lk::SessionDescription> {
        self.initial_offer.clone()
    }

    /// The server is connected, for the [`Timeline`].
    pub fn handle_dialled(&mut self, now: Instant) {
        Timeline::mark(&mut self.timeline.dialled, now);
    }

    /// The WebSocket is open, for the [`Timeline`].
    pub fn handle_http(&mut self, now: Instant) {
        Timeline::mark(&mut self.timeline.http, now);
    }

    /// Time has come, or another time: too early does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.end.is_some() {
            return;
        }
        self.keep_alive(now);
        self.check_greeting(now);
        if self.media_due.is_some_and(|due| due <= now) {
            self.finish(EndReason::MediaTimeout, now);
        }
        if self.negotiation.is_overdue(now) {
            let cause = "the server answers no offer".to_owned();
            self.finish(EndReason::MediaFailed(cause), now);
        }
        if !self.resume.is_offline() {
            self.give_up_publications(now);
        }
        for connection in [Connection::Publisher, Connection::Subscriber] {
            if self
                .peer(connection)
                .is_some_and(|peer| peer.deadline() <= now)
            {
                self.drain(connection, now);
            }
        }
    }

    /// When [`Session::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.end.is_some() {
            return None;
        }
        let subscriber = self.subscriber.as_ref().map(Peer::deadline);
        let online = !self.resume.is_offline();
        let named = self.publications.poll_timeout().filter(|_| online);
        [
            Some(self.publisher.deadline()),
            subscriber,
            self.keepalive.poll_timeout(),
            self.media_due,
            self.negotiation.poll_timeout(),
            named,
            self.resume.poll_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        self.out.events.pop_front()
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.out.transmits.pop_front()
    }

    /// The next message to send. None while there is nobody to send it to.
    pub fn poll_signal(&mut self) -> Option<lk::SignalRequest> {
        if self.resume.is_offline() {
            return None;
        }
        self.out.signals.pop_front()
    }

    /// The moments of the join so far.
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// The system did not take a datagram.
    pub fn handle_unsent(&mut self) {
        self.out.counters.unsent_datagrams += 1;
    }

    /// What was counted beside the events.
    pub fn counters(&self) -> Counters {
        self.out.counters
    }

    /// One peer connection or two.
    pub fn mode(&self) -> PeerMode {
        self.options.mode
    }

    /// The server has let the client in.
    pub fn is_joined(&self) -> bool {
        self.joined
    }

    /// Why the session ended, once it has.
    pub fn end(&self) -> Option<&EndReason> {
        self.end.as_ref()
    }

    /// The newest token that the server gave, for the next join.
    pub fn refreshed_token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Leaves the room. The farewell is among the last messages and datagrams.
    pub fn leave(&mut self, now: Instant) {
        if self.end.is_some() {
            return;
        }
        self.say(lk::signal_request::Message::Leave(lk::LeaveRequest {
            reason: lk::DisconnectReason::ClientInitiated.into(),
            action: lk::leave_request::Action::Disconnect.into(),
            ..lk::LeaveRequest::default()
        }));
        self.finish(EndReason::Left, now);
    }

    /// Ends without a word, as a computer that falls asleep: nothing is sent any more, and the sockets
    /// stay open until the client is dropped or closed.
    pub fn vanish(&mut self) {
        if self.end.is_some() {
            return;
        }
        self.end = Some(EndReason::Vanished);
        self.out.hush();
        self.out.say(SessionEvent::Ended(EndReason::Vanished));
    }

    /// Ends it, once: connections say goodbye, and nothing is taken or said after the last event.
    fn finish(&mut self, reason: EndReason, now: Instant) {
        if self.end.is_some() {
            return;
        }
        for connection in [Connection::Publisher, Connection::Subscriber] {
            if let Some(peer) = self.peer_mut(connection) {
                peer.close();
                self.drain_quietly(connection, now);
            }
        }
        self.end = Some(reason.clone());
        self.out.say(SessionEvent::Ended(reason));
    }

    fn say(&mut self, message: lk::signal_request::Message) {
        self.out.signal(message);
    }

    fn peer(&self, connection: Connection) -> Option<&Peer> {
        match connection {
            Connection::Publisher => Some(&self.publisher),
            Connection::Subscriber => self.subscriber.as_ref(),
        }
    }

    fn peer_mut(&mut self, connection: Connection) -> Option<&mut Peer> {
        match connection {
            Connection::Publisher => Some(&mut self.publisher),
            Connection::Subscriber => self.subscriber.as_mut(),
        }
    }

    /// The connection on which the server says that a client has arrived.
    fn primary(&self) -> Connection {
        if self.subscriber.is_some() && self.subscriber_is_primary {
            Connection::Subscriber
        } else {
            Connection::Publisher
        }
    }
}

#[cfg(test)]
mod tests;
