//! Session descriptions on their way between a client and its node.
//!
//! Owns: how many of a client's descriptions its node has to work on at a time. Must not: read more of
//! SDP than whether a track is still sent.

use super::leave::Farewell;
use super::limits::SDP_BYTES_MAX;
use super::resume::ResumePhase;
use super::room::Room;
use super::turn::Turn;
use livekit_protocol as lk;
use lk::DisconnectReason;
use lk::signal_response::Message;
use proto::id::ParticipantSid;
use proto::media::{NodeCommand, OpenChannel, PeerMode};

/// What is under way for one participant. A node takes some milliseconds for an offer, on one path for
/// all its participants, so each has one offer there at a time.
#[derive(Debug, Default)]
pub(super) struct Negotiation {
    /// The node has an offer that it has not answered.
    is_at_node: bool,
    /// The client has offered media or channels: a connection comes of it.
    has_begun: bool,
    /// The newest offer since then. Earlier ones are never answered: clients wait for the answer to
    /// their newest only.
    next: Option<lk::SessionDescription>,
    /// Offers of the node that the client has not answered: it cannot answer more often.
    answers_due: u32,
}

impl Negotiation {
    /// Whether a connection is or was being made.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// A client that resumes offers anew.
    pub(super) fn resume(&mut self) {
        self.next = None;
    }

    /// Commands are answered in order: whatever the node had is done with.
    pub(super) fn resumed(&mut self) {
        self.is_at_node = false;
    }
}

impl Room {
    /// An offer for the connection on which the client sends.
    pub(super) fn handle_offer(
        &mut self,
        who: &ParticipantSid,
        description: lk::SessionDescription,
        turn: &mut Turn<'_>,
    ) {
        if description.sdp.len() > SDP_BYTES_MAX {
            let reason = DisconnectReason::StateMismatch;
            self.remove(who, reason, Farewell::Disconnect, turn);
            return;
        }
        let Some(participant) = self.participants.get_mut(who) else {
            return;
        };
        let resume = match std::mem::take(&mut participant.resume) {
            ResumePhase::Idle => None,
            ResumePhase::Ready { channels } => Some(channels),
            ResumePhase::Preparing { sync_state, .. } => {
                let offer = Some(description);
                participant.resume = ResumePhase::Preparing { sync_state, offer };
                return;
            }
        };
        // The first offer after a resume is for a fresh transport: no earlier one matters to it.
        if participant.negotiation.is_at_node && resume.is_none() {
            participant.negotiation.next = Some(description);
        } else {
            self.send_offer(who, description, resume, turn);
        }
    }

    fn send_offer(
        &mut self,
        who: &ParticipantSid,
        description: lk::SessionDescription,
        resume: Option<Vec<OpenChannel>>,
        turn: &mut Turn<'_>,
    ) {
        let Some(participant) = self.participants.get_mut(who) else {
            return;
        };
        participant.negotiation.is_at_node = true;
        participant.negotiation.has_begun |= description.sdp.contains("\nm=");
        self.unpublish_silenced(who, &description.sdp, turn);
        let command = NodeCommand::Offer {
            participant: who.clone(),
            offer_id: description.id,
            sdp: description.sdp,
            resume,
        };
        self.command(who, command, turn);
    }

    /// The node's answer. If the client has offered again since, it is of no use to the client.
    pub(super) fn handle_node_answer(
        &mut self,
        who: &ParticipantSid,
        answer: lk::SessionDescription,
        turn: &mut Turn<'_>,
    ) {
        let Some(participant) = self.participants.get_mut(who) else {
            return;
        };
        participant.negotiation.is_at_node = false;
        match participant.negotiation.next.take() {
            Some(next) => self.send_offer(who, next, None, turn),
            None => turn.signal(participant, Message::Answer(answer)),
        }
    }

    /// The node's offer, for the connection on which the client receives.
    pub(super) fn handle_node_offer(
        &mut self,
        who: &ParticipantSid,
        offer: lk::SessionDescription,
        turn: &mut Turn<'_>,
    ) {
        if let Some(participant) = self.participants.get_mut(who) {
            participant.negotiation.answers_due += 1;
            turn.signal(participant, Message::Offer(offer));
        }
    }

    /// The answer to the node's offer.
    pub(super) fn handle_answer(
        &mut self,
        who: &ParticipantSid,
        description: lk::SessionDescription,
        turn: &mut Turn<'_>,
    ) {
        let Some(participant) = self.participants.get_mut(who) else {
            return;
        };
        let due = participant.negotiation.answers_due.checked_sub(1);
        let Some(due) = due.filter(|_| participant.mode == PeerMode::Dual) else {
            return;
        };
        if description.sdp.len() > SDP_BYTES_MAX {
            return;
        }
        participant.negotiation.answers_due = due;
        let command = NodeCommand::Answer {
            participant: who.clone(),
            offer_id: description.id,
            sdp: description.sdp,
        };
        self.command(who, command, turn);
    }
}
