//! How participants and rooms end.
//!
//! Owns: removal, the farewell to the client, and what the others and the node hear of it. Must not:
//! decide when.

use super::api::SessionId;
use super::members::Members;
use super::participant::Participant;
use super::room::{Room, is_due};
use super::turn::{Due, Subject, Turn};
use livekit_protocol as lk;
use lk::DisconnectReason;
use lk::leave_request::Action;
use lk::signal_response::Message;
use proto::id::{NodeId, ParticipantSid};
use proto::media::{NodeCommand, TransportLoss};
use std::collections::BTreeSet;

/// What the leaving client hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Farewell {
    /// Nothing, it knows.
    Silent,
    /// It shall stay away.
    Disconnect,
    /// It shall join again, with a new session.
    Reconnect,
}

/// The message of a farewell. Clients below protocol 13 read `can_reconnect` in place of `action`.
pub(super) fn leave_message(action: Action, reason: DisconnectReason) -> Message {
    Message::Leave(lk::LeaveRequest {
        can_reconnect: action != Action::Disconnect,
        reason: reason.into(),
        action: action.into(),
        regions: None,
    })
}

impl Room {
    /// Takes a participant out of the room and tells everybody concerned.
    pub(super) fn remove(
        &mut self,
        who: &ParticipantSid,
        reason: DisconnectReason,
        farewell: Farewell,
        turn: &mut Turn<'_>,
    ) {
        self.remove_all(std::slice::from_ref(who), reason, farewell, turn);
    }

    /// The same for many at once: the others hear of all of them in one message.
    pub(super) fn remove_all(
        &mut self,
        these: &[ParticipantSid],
        reason: DisconnectReason,
        farewell: Farewell,
        turn: &mut Turn<'_>,
    ) {
        let before = self.participants.len();
        let mut infos = Vec::new();
        for who in these {
            infos.extend(self.take_out(who, reason, farewell, turn));
        }
        if self.participants.len() == before {
            return;
        }
        self.tell_members(turn);
        self.broadcast_gone(&infos, turn);
        for info in &infos {
            self.departed.note(info, turn.kept_departed(), turn.now);
        }
        self.refill_later(turn);
        self.figures_changed(turn);
        self.presence_changed(turn);
    }

    /// Ends a participant's stay. Gives what the others are to hear of it.
    fn take_out(
        &mut self,
        who: &ParticipantSid,
        reason: DisconnectReason,
        farewell: Farewell,
        turn: &mut Turn<'_>,
    ) -> Option<lk::ParticipantInfo> {
        let gone = self.participants.remove(who)?;
        if self.identities.get(&gone.identity) == Some(who) {
            self.identities.remove(&gone.identity);
        }
        for track in gone.tracks.keys() {
            self.forget_track(track, turn);
        }
        for track in &gone.subscriptions {
            self.detach(&gone.member, track, turn);
        }
        self.members.leave(&gone.member);
        self.speakers.remove(who);
        // What it has said at the old shard still counts.
        self.ask_for_rest(who, gone.arrival, turn);
        dismiss(&gone, reason, farewell, turn);
        let participant = who.clone();
        turn.node(&gone.member, NodeCommand::RemoveParticipant { participant });
        gone.is_visible().then(|| gone.gone(reason))
    }

    /// Ends the room in good order.
    pub(super) fn close(&mut self, reason: DisconnectReason, turn: &mut Turn<'_>) {
        self.dismiss_all(reason, Farewell::Disconnect, &BTreeSet::new(), turn);
    }

    /// Ends the room for everybody at once. Participants hear nothing of each other's end.
    /// `lost`: nodes that are gone. The others shall drop their transports.
    pub(super) fn dismiss_all(
        &mut self,
        reason: DisconnectReason,
        farewell: Farewell,
        lost: &BTreeSet<NodeId>,
        turn: &mut Turn<'_>,
    ) {
        lost.iter().for_each(|node| self.forget_member_node(node));
        self.end_all_imports(turn);
        for (sid, participant) in std::mem::take(&mut self.participants) {
            dismiss(&participant, reason, farewell, turn);
            if !lost.contains(&participant.member.node) {
                let command = NodeCommand::RemoveParticipant { participant: sid };
                turn.node(&participant.member, command);
            }
        }
        self.members = Members::default();
        turn.index.rooms.remove(&self.sid);
        self.identities.clear();
        self.owners.clear();
        self.ended = true;
    }

    /// A participant's transports are gone.
    pub(super) fn handle_transport_lost(
        &mut self,
        who: &ParticipantSid,
        loss: TransportLoss,
        turn: &mut Turn<'_>,
    ) {
        let Some(participant) = self.participants.get_mut(who) else {
            return;
        };
        match loss {
            TransportLoss::Fault => {
                let reason = DisconnectReason::MediaFailure;
                self.remove(who, reason, Farewell::Reconnect, turn);
            }
            // It cannot resume: there is nothing to wait for.
            TransportLoss::PeerClosed if participant.is_resource() => {
                let reason = DisconnectReason::ClientInitiated;
                self.remove(who, reason, Farewell::Silent, turn);
            }
            TransportLoss::IceTimeout if participant.is_resource() => {
                let reason = DisconnectReason::ConnectionTimeout;
                self.remove(who, reason, Farewell::Silent, turn);
            }
            TransportLoss::PeerClosed if participant.session.is_none() => {
                self.hang_up(who, turn);
            }
            TransportLoss::PeerClosed | TransportLoss::IceTimeout => {
                participant.has_hung_up = loss == TransportLoss::PeerClosed;
                let at = turn.now + turn.config.resume_window;
                participant.deadlines.reconnect = Some(at);
                turn.arm(at, Due::Reconnect, Subject::Participant(who.clone()));
            }
        }
    }

    /// The client has closed both its signalling and its transports: there is nothing to wait for.
    pub(super) fn hang_up(&mut self, who: &ParticipantSid, turn: &mut Turn<'_>) {
        self.remove(who, DisconnectReason::SignalClose, Farewell::Silent, turn);
    }

    /// A deadline of a participant.
    pub(super) fn handle_participant_due(
        &mut self,
        who: &ParticipantSid,
        due: Due,
        turn: &mut Turn<'_>,
    ) {
        let Some(participant) = self.participants.get(who) else {
            return;
        };
        let deadlines = &participant.deadlines;
        match due {
            Due::Join if is_due(deadlines.join, turn.now) => {
                let reason = DisconnectReason::JoinFailure;
                self.remove(who, reason, Farewell::Disconnect, turn);
            }
            Due::Resume if is_due(deadlines.resume, turn.now) => {
                self.remove(who, DisconnectReason::SignalClose, Farewell::Silent, turn);
            }
            Due::Reconnect if is_due(deadlines.reconnect, turn.now) => {
                let reason = DisconnectReason::ConnectionTimeout;
                self.remove(who, reason, Farewell::Reconnect, turn);
            }
            Due::Pull if is_due(deadlines.pull, turn.now) => {
                self.pulled(who, None, turn);
            }
            Due::Confirm if is_due(deadlines.confirm, turn.now) => {
                self.confirm_now(who, turn);
            }
            Due::TokenRefresh if is_due(deadlines.token_refresh, turn.now) => {
                self.refresh_token(who, turn);
            }
            _ => {}
        }
    }
}

pub(super) fn dismiss(
    gone: &Participant,
    reason: DisconnectReason,
    farewell: Farewell,
    turn: &mut Turn<'_>,
) {
    turn.index.participants.remove(&gone.sid);
    let Some(session) = gone.session else {
        return;
    };
    let action = match farewell {
        Farewell::Silent => None,
        Farewell::Disconnect => Some(Action::Disconnect),
        Farewell::Reconnect => Some(Action::Reconnect),
    };
    if let Some(action) = action {
        turn.signal_session(session, leave_message(action, reason));
    }
    turn.close(session, close_reason(reason));
}

/// Refuses a resume: the client joins afresh with the same token and publishes again.
pub(super) fn refuse_resume(session: SessionId, turn: &mut Turn<'_>) {
    let reason = DisconnectReason::StateMismatch;
    turn.signal_session(session, leave_message(Action::Reconnect, reason));
    turn.close(session, close_reason(reason));
}

fn close_reason(reason: DisconnectReason) -> &'static str {
    match reason {
        DisconnectReason::ClientInitiated => "left",
        DisconnectReason::DuplicateIdentity => "somebody else joined with this identity",
        DisconnectReason::ServerShutdown => "server is shutting down",
        DisconnectReason::StateMismatch => "unknown session, join again",
        DisconnectReason::JoinFailure => "no media connection in time",
        DisconnectReason::RoomClosed => "room closed",
        DisconnectReason::Migration => "the room has moved",
        DisconnectReason::ConnectionTimeout => "media connection lost",
        DisconnectReason::MediaFailure => "media failure",
        _ => "removed",
    }
}
