//! Who speaks.
//!
//! Owns: the room's picture of speakers and its deltas to clients. Must not: measure loudness; nodes do.

use super::room::Room;
use super::turn::Turn;
use livekit_protocol as lk;
use lk::signal_response::Message;
use proto::id::ParticipantSid;
use proto::media::Speaker;

impl Room {
    /// Changes of who speaks, from the node.
    pub(super) fn handle_speakers(&mut self, changes: Vec<Speaker>, turn: &mut Turn<'_>) {
        let mut speakers = Vec::new();
        for change in changes {
            self.carried_speakers.remove(&change.participant);
            let known = self.participants.get(&change.participant);
            if !known.is_some_and(|participant| participant.is_visible()) {
                continue;
            }
            if change.active {
                self.speakers
                    .insert(change.participant.clone(), change.level);
            } else {
                self.speakers.remove(&change.participant);
            }
            speakers.push(info(&change.participant, change.level, change.active));
        }
        if speakers.is_empty() {
            return;
        }
        for participant in self.participants.values() {
            turn.signal(participant, message(speakers.clone()));
        }
    }

    /// Whoever spoke before a move and was not heard since is silent: the new node reports changes
    /// only, and never knew.
    pub(super) fn silence_carried(&mut self, turn: &mut Turn<'_>) {
        let carried = std::mem::take(&mut self.carried_speakers);
        let silent = carried.into_iter().map(|participant| Speaker {
            participant,
            level: 0.0,
            active: false,
        });
        self.handle_speakers(silent.collect(), turn);
    }

    /// Who speaks now, for somebody who has not heard the changes so far.
    pub(super) fn send_speakers(&self, who: &ParticipantSid, turn: &mut Turn<'_>) {
        let now = self.speakers.iter().filter(|(sid, _)| *sid != who);
        let speakers: Vec<_> = now.map(|(sid, level)| info(sid, *level, true)).collect();
        if !speakers.is_empty() {
            self.tell(who, message(speakers), turn);
        }
    }

    /// Who speaks now and who does not, for somebody who missed changes: what it heard last may be of
    /// any age.
    pub(super) fn send_all_speakers(&self, who: &ParticipantSid, turn: &mut Turn<'_>) {
        let visible = self.participants.values().filter(|p| p.is_visible());
        let state = |sid: &ParticipantSid| match self.speakers.get(sid) {
            Some(level) => info(sid, *level, true),
            None => info(sid, 0.0, false),
        };
        let speakers: Vec<_> = visible.map(|p| state(&p.sid)).collect();
        if !speakers.is_empty() {
            self.tell(who, message(speakers), turn);
        }
    }
}

fn info(participant: &ParticipantSid, level: f32, active: bool) -> lk::SpeakerInfo {
    lk::SpeakerInfo {
        sid: participant.as_str().to_owned(),
        level: if active { level } else { 0.0 },
        active,
    }
}

fn message(speakers: Vec<lk::SpeakerInfo>) -> Message {
    Message::SpeakersChanged(lk::SpeakersChanged { speakers })
}
