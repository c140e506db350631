//! How changes of participants reach the others.
//!
//! Owns: who hears a `ParticipantUpdate`, when, and its version. Must not: decide about the change itself.
//!
//! In a large room, changes of those who only watch are told together: a thousand who come one after the other
//! would be half a million messages. Nothing that is sent waits for them. (LiveKit's server does so in all rooms.)

use super::api::Output;
use super::participant::Participant;
use super::room::{Room, is_due};
use super::turn::{Due, Subject, Turn};
use livekit_protocol as lk;
use lk::signal_response::Message;
use proto::id::{Identity, ParticipantSid};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// A room with so many participants is large.
const LARGE: usize = 50;
/// How long changes wait for each other.
const GATHER: Duration = Duration::from_millis(100);

/// Who hears of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// The participant that it is about, too.
    Everybody,
    /// It knows already.
    Others,
}

/// Changes that wait for others.
#[derive(Debug, Default)]
pub(super) struct LateUpdates {
    /// About whom.
    whom: BTreeSet<ParticipantSid>,
    at: Option<Instant>,
}

impl Room {
    /// Tells the room that a participant changed. A hidden one is only told itself.
    pub(super) fn announce(&mut self, who: &ParticipantSid, reach: Reach, turn: &mut Turn<'_>) {
        let Some(participant) = self.participants.get_mut(who) else {
            return;
        };
        participant.version += 1;
        if reach == Reach::Everybody {
            turn.signal(participant, update(vec![participant.to_wire()]));
        }
        self.tell_others(who, turn);
    }

    /// Tells the others how a participant is now, if they may know of it.
    pub(super) fn tell_others(&mut self, who: &ParticipantSid, turn: &mut Turn<'_>) {
        let Some(participant) = self.participants.get(who) else {
            return;
        };
        if !participant.is_visible() {
            return;
        }
        if participant.tracks.is_empty() && self.participants.len() >= LARGE {
            self.tell_later(who, turn);
        } else {
            let info = participant.to_wire();
            self.late_updates.whom.remove(who);
            self.broadcast_info(&info, turn);
        }
    }

    fn tell_later(&mut self, who: &ParticipantSid, turn: &mut Turn<'_>) {
        self.late_updates.whom.insert(who.clone());
        if self.late_updates.at.is_none() {
            let at = turn.now + GATHER;
            self.late_updates.at = Some(at);
            turn.arm(at, Due::Updates, Subject::Room(self.sid.clone()));
        }
    }

    /// Time to tell what has gathered.
    pub(super) fn tell_late_updates(&mut self, turn: &mut Turn<'_>) {
        if !is_due(self.late_updates.at, turn.now) {
            return;
        }
        let LateUpdates { whom, .. } = std::mem::take(&mut self.late_updates);
        let them = whom.iter().filter_map(|who| self.participants.get(who));
        let infos: Vec<lk::ParticipantInfo> = them.map(Participant::to_wire).collect();
        for listener in self.participants.values() {
            let others = infos.iter().filter(|it| it.sid != listener.sid.as_str());
            let others: Vec<_> = others.cloned().collect();
            if !others.is_empty() {
                turn.signal(listener, update(others));
            }
        }
    }

    /// Sends a participant's state to all others.
    fn broadcast_info(&self, info: &lk::ParticipantInfo, turn: &mut Turn<'_>) {
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
