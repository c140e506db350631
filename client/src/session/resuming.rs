//! A session goes on over a new signalling connection.
//!
//! Owns: how often and when a new connection is tried, what is said first on it, and when the
//! session counts as resumed. The order is that of LiveKit's clients: a request that names the
//! participant, the server's `reconnect`, our view of the session (`sync_state`), an offer that
//! restarts ICE. Media goes on meanwhile as far as the old way carries it.
//!
//! A server may answer that offer from a fresh transport, with another DTLS certificate: then
//! [`super::succession`] makes a fresh peer connection that keeps sections, sources and channels.

use super::Session;
use crate::event::{EndReason, SessionEvent};
use crate::options::{Connection, PeerMode};
use livekit_protocol as lk;
use lk::signal_request::Message as Request;
use lk::signal_response::Message;
use std::time::{Duration, Instant};

/// Pauses before the attempts, milliseconds: those of LiveKit's clients. Later ones wait as long as
/// the last. Each is lengthened or shortened by up to a half at random; the first is at most 500 ms.
const PAUSES_MS: [u64; 6] = [0, 300, 1200, 2700, 4800, 7000];
/// Of the first pause: clients of a server that ends do not come back all at once.
const FIRST_PAUSE_MAX_MS: u64 = 500;
/// How long the server may take to say whether it goes on. LiveKit's clients wait 5 s.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);

/// What a new signalling connection must ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Redial {
    /// Who resumes, `PA_...`.
    pub(crate) participant_sid: String,
    /// A newer token than that of the join, if the server gave one.
    pub(crate) token: Option<String>,
}

/// How far a resume has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// None is under way.
    #[default]
    Idle,
    /// The next attempt is due then.
    Waiting { at: Instant },
    /// The connection is being made.
    Dialling,
    /// It is there; the server has to say whether it goes on.
    Greeting { due: Instant },
    /// It goes on; the way of media is being restarted.
    Restarting {
        /// The answer is there.
        answered: bool,
    },
}

pub(super) struct Resume {
    phase: Phase,
    attempts: u32,
    /// Why the session ends if nothing helps.
    reason: EndReason,
    random: u64,
    /// `PA_...`; empty before the join.
    participant_sid: String,
}

impl Resume {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            phase: Phase::Idle,
            attempts: 0,
            reason: EndReason::SignalClosed(String::new()),
            // Never 0, which would stay 0.
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            participant_sid: String::new(),
        }
    }

    pub(super) fn handle_join(&mut self, participant_sid: &str) {
        participant_sid.clone_into(&mut self.participant_sid);
    }

    /// Nothing can be said to the server.
    pub(super) fn is_offline(&self) -> bool {
        matches!(
            self.phase,
            Phase::Waiting { .. } | Phase::Dialling | Phase::Greeting { .. }
        )
    }

    pub(super) fn is_greeting(&self) -> bool {
        matches!(self.phase, Phase::Greeting { .. })
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting { at } => Some(at),
            Phase::Greeting { due } => Some(due),
            Phase::Idle | Phase::Dialling | Phase::Restarting { .. } => None,
        }
    }

    fn pause(&mut self) -> Duration {
        let longest = PAUSES_MS.len() - 1;
        let place = usize::try_from(self.attempts).unwrap_or(longest);
        let pause = PAUSES_MS.get(place.min(longest)).copied().unwrap_or(0);
        let random = self.random();
        Duration::from_millis(match pause {
            0 => random % FIRST_PAUSE_MAX_MS,
            pause => pause / 2 + random % pause,
        })
    }

    /// Xorshift: good enough to spread clients.
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> 11
    }
}

impl Session {
    /// The signalling connection is gone. The session resumes, if it may
    /// ([`SessionOptions::resume_attempts`](crate::SessionOptions::resume_attempts)), or ends.
    pub fn handle_signal_end(&mut self, cause: String, now: Instant) {
        self.lose_signal(EndReason::SignalClosed(cause), now);
    }

    /// A resume is under way.
    pub fn is_resuming(&self) -> bool {
        self.resume.phase != Phase::Idle
    }

    /// The old signalling connection is of no use any more, and there is no new one.
    pub(crate) fn has_lost_signal(&self) -> bool {
        matches!(self.resume.phase, Phase::Waiting { .. } | Phase::Dialling)
    }

    /// A signalling connection is to be made now; [`Session::handle_redialled`] or
    /// [`Session::handle_redial_failed`] must follow.
    pub(crate) fn poll_redial(&mut self, now: Instant) -> Option<Redial> {
        let due = matches!(self.resume.phase, Phase::Waiting { at } if at <= now);
        if !due || self.end.is_some() {
            return None;
        }
        self.resume.phase = Phase::Dialling;
        self.resume.attempts += 1;
        Some(Redial {
            participant_sid: self.resume.participant_sid.clone(),
            token: self.token.clone(),
        })
    }

    /// The connection is there.
    pub(crate) fn handle_redialled(&mut self, now: Instant) {
        if self.resume.phase == Phase::Dialling {
            let due = now + GREETING_TIMEOUT;
            self.resume.phase = Phase::Greeting { due };
        }
    }

    /// It could not be made; `forbidden`: nor will it ever.
    pub(crate) fn handle_redial_failed(&mut self, cause: String, forbidden: bool, now: Instant) {
        if forbidden {
            self.finish(EndReason::SignalClosed(cause), now);
        } else {
            self.lose_signal(EndReason::SignalClosed(cause), now);
        }
    }

    /// Tries again, or ends for this reason.
    pub(super) fn lose_signal(&mut self, reason: EndReason, now: Instant) {
        if self.end.is_some() {
            return;
        }
        // What ends a session for good is what happened first.
        if self.resume.phase == Phase::Idle {
            self.resume.attempts = 0;
            self.resume.reason = reason.clone();
        }
        let known = self.joined && !self.resume.participant_sid.is_empty();
        let begun = self.publisher.is_described() || self.options.mode == PeerMode::Dual;
        let left = self.options.resume_attempts > self.resume.attempts;
        if !(known && begun && left) {
            self.finish(self.resume.reason.clone(), now);
            return;
        }
        if self.resume.phase == Phase::Idle {
            self.out.say(SessionEvent::Resuming(reason));
        }
        let at = now + self.resume.pause();
        self.resume.phase = Phase::Waiting { at };
        self.keepalive.stop();
        self.media_due = None;
        for track in self.negotiation.roll_back() {
            self.publications.want_again(track);
        }
        self.out
            .signals
            .retain(|request| outlasts(request.message.as_ref()));
    }

    /// Nobody said in time whether the session goes on.
    pub(super) fn check_greeting(&mut self, now: Instant) {
        if matches!(self.resume.phase, Phase::Greeting { due } if due <= now) {
            let cause = "the server does not say whether the session goes on".to_owned();
            self.lose_signal(EndReason::SignalClosed(cause), now);
        }
    }

    /// The first message on the new connection. Others that come before it are of the past.
    pub(super) fn handle_greeting(&mut self, message: Message, now: Instant) {
        match message {
            Message::Reconnect(response) => self.handle_reconnect(&response, now),
            Message::Leave(leave) => self.handle_leave(&leave, now),
            // A server that does not know us has let us in once more: nobody is where we think.
            Message::Join(_) => {
                let (action, reason) = (
                    lk::leave_request::Action::Reconnect,
                    lk::DisconnectReason::StateMismatch,
                );
                self.finish(EndReason::ServerLeft { action, reason }, now);
            }
            _ => {}
        }
    }

    fn handle_reconnect(&mut self, response: &lk::ReconnectResponse, now: Instant) {
        self.resume.phase = Phase::Restarting { answered: false };
        self.keepalive.restart(now);
        self.publications.postpone(now);
        self.data.handle_acknowledged(response.last_message_seq);
        // Before whatever was asked for meanwhile.
        let waiting = std::mem::take(&mut self.out.signals);
        let state = self.sync_state();
        self.say(Request::SyncState(state));
        let restarts = self.restart_ice(now);
        self.out.signals.extend(waiting);
        if self.end.is_some() {
            return;
        }
        let primary_connected = self
            .peer(self.primary())
            .is_some_and(|peer| peer.reachable.is_some());
        if restarts || primary_connected {
            self.media_due = Some(now + self.options.media_timeout);
        }
        if !restarts && !primary_connected {
            // There was no media yet.
            self.conclude_resume(now);
        }
    }

    /// The answer to the offer that restarts ICE was taken, or the server's own offer was. `waits`: for
    /// the way to be found anew.
    pub(super) fn handle_restarted(&mut self, connection: Connection, waits: bool, now: Instant) {
        if connection != self.primary() {
            return;
        }
        if let Phase::Restarting { answered } = &mut self.resume.phase {
            *answered = true;
            if !waits {
                self.conclude_resume(now);
            }
        }
    }

    /// A connection has found its way.
    pub(super) fn handle_way(&mut self, connection: Connection, now: Instant) {
        let restarted = self.resume.phase == Phase::Restarting { answered: true };
        if restarted && connection == self.primary() {
            self.conclude_resume(now);
        }
    }

    fn conclude_resume(&mut self, now: Instant) {
        let attempts = self.resume.attempts;
        self.resume.phase = Phase::Idle;
        self.media_due = None;
        self.out.counters.resumes += 1;
        self.out.say(SessionEvent::Resumed { attempts });
        self.repeat_data(now);
        self.announce(now);
        self.offer(now);
    }

    /// Our view of the session.
    fn sync_state(&self) -> lk::SyncState {
        let wanted = !self.options.auto_subscribe;
        lk::SyncState {
            subscription: Some(self.subscription(&self.wishes.tracks(wanted), wanted)),
            publish_tracks: self.publications.to_wire(),
            data_channels: self.data.to_wire(),
            track_sids_disabled: self.wishes.disabled(),
            datachannel_receive_states: self.data.received_to_wire(),
            ..lk::SyncState::default()
        }
    }
}

/// What was asked for on a connection that is gone is asked for on the next one, but for what belongs
/// to the old one.
fn outlasts(message: Option<&Request>) -> bool {
    !matches!(
        message,
        None | Some(
            Request::Offer(_)
                | Request::Answer(_)
                | Request::Trickle(_)
                | Request::Ping(_)
                | Request::PingReq(_)
                | Request::SyncState(_)
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_differ_between_clients() {
        let pauses = |seed| {
            let mut resume = Resume::new(seed);
            let mut pauses = Vec::new();
            for attempt in 0..12 {
                resume.attempts = attempt;
                pauses.push(resume.pause());
            }
            pauses
        };
        let ann = pauses(1);
        assert!(ann[0] < Duration::from_millis(FIRST_PAUSE_MAX_MS));
        for (pause, nominal) in ann.iter().skip(1).zip([300, 1200, 2700, 4800, 7000, 7000]) {
            let nominal = Duration::from_millis(nominal);
            assert!(
                *pause >= nominal / 2 && *pause <= nominal * 3 / 2,
                "{pause:?}"
            );
        }
        assert_ne!(ann, pauses(2));
        assert_eq!(ann, pauses(1));
    }
}
