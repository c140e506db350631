//! How changes of participants reach the others.
//!
//! Owns: who hears a `ParticipantUpdate`, and its version. Must not: decide about the change itself.

use super::api::Output;
use super::participant::Participant;
use super::room::Room;
use super::turn::{Due, Subject, Turn};
use livekit_protocol as lk;
use lk::signal_response::Message;
use proto::id::{Identity, ParticipantSid};

/// Who hears of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// The participant that it is about, too.
    Everybody,
    /// It knows already.
    Others,
}

impl Room {
    /// Tells the room that a participant changed. A hidden one is only told itself.
    pub(super) fn announce(&mut self, who: &ParticipantSid, reach: Reach, turn: &mut Turn<'_>) {
        let Some(participant) = self.participants.get_mut(who) else {
            return;
        };
        participant.version += 1;
        let info = participant.to_wire();
        let visible = participant.is_visible();
        if reach == Reach::Everybody {
            turn.signal(participant, update(vec![info.clone()]));
        }
        if visible {
            self.broadcast_info(&info, turn);
        }
    }

    /// Sends a participant's state to all others.
    pub(super) fn broadcast_info(&self, info: &lk::ParticipantInfo, turn: &mut Turn<'_>) {
        for other in self.participants.values() {
            if other.sid.as_str() != info.sid {
                turn.signal(other, update(vec![info.clone()]));
            }
        }
    }

    /// Tells everybody who is left of those who are gone.
    pub(super) fn broadcast_gone(&self, infos: &[lk::ParticipantInfo], turn: &mut Turn<'_>) {
        if infos.is_empty() {
            return;
        }
        for other in self.participants.values() {
            turn.signal(other, update(infos.to_vec()));
        }
    }

    /// Everybody whom a participant may know of, without itself.
    pub(super) fn others(&self, who: &ParticipantSid) -> Vec<lk::ParticipantInfo> {
        let others = self.participants.values().filter(|p| p.sid != *who);
        let visible = others.filter(|p| p.is_visible());
        visible.map(Participant::to_wire).collect()
    }

    /// Everybody, itself first, and those who left lately: a resuming client may have missed that, and
    /// keeps whom it does not find here. Whoever is back is not gone.
    pub(super) fn send_everybody(&self, who: &ParticipantSid, turn: &mut Turn<'_>) {
        let Some(participant) = self.participants.get(who) else {
            return;
        };
        let mut everybody = vec![participant.to_wire()];
        everybody.extend(self.others(who));
        let gone = self.departed.infos(turn.now);
        let gone = gone.filter(|info| {
            let identity = Identity::new(&info.identity);
            !self.identities.contains_key(&identity)
        });
        everybody.extend(gone.cloned());
        turn.signal(participant, update(everybody));
    }

    /// Has a fresh token minted, so that the client can still come back when the first has expired.
    pub(super) fn refresh_token(&mut self, who: &ParticipantSid, turn: &mut Turn<'_>) {
        let Some(participant) = self.participants.get_mut(who) else {
            return;
        };
        let at = turn.now + turn.config.token_refresh;
        participant.deadlines.token_refresh = Some(at);
        turn.arm(at, Due::TokenRefresh, Subject::Participant(who.clone()));
        if let Some(session) = participant.hears() {
            let claims = participant.current_claims();
            turn.outputs
                .push_back(Output::MintRefreshToken { session, claims });
        }
    }
}

fn update(participants: Vec<lk::ParticipantInfo>) -> Message {
    Message::Update(lk::ParticipantUpdate { participants })
}
