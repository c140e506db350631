//! How good everybody's connection is.
//!
//! Owns: the room's picture of it and what clients hear. Must not: judge; nodes do. Nobody is ever told to be
//! lost: a client that hears it of itself begins anew.

use super::room::Room;
use super::turn::Turn;
use livekit_protocol as lk;
use lk::ConnectionQuality;
use lk::signal_response::Message;
use proto::id::ParticipantSid;
use proto::media::Rating;

impl Room {
    /// A participant's connection got better or worse.
    pub(super) fn handle_rating(
        &mut self,
        who: &ParticipantSid,
        rating: Rating,
        turn: &mut Turn<'_>,
    ) {
        let Some(participant) = self.participants.get_mut(who) else {
            return;
        };
        participant.rating = Some(rating);
        let update = message(vec![info(who, rating)]);
        if !participant.is_visible() {
            self.tell(who, update, turn);
            return;
        }
        for participant in self.participants.values() {
            turn.signal(participant, update.clone());
        }
    }

    /// How good connections are, for somebody who has not heard so far.
    pub(super) fn send_ratings(&self, who: &ParticipantSid, turn: &mut Turn<'_>) {
        let visible = self.participants.values().filter(|it| it.is_visible());
        let rated = visible.filter_map(|it| Some(info(&it.sid, it.rating?)));
        let ratings: Vec<_> = rated.collect();
        if !ratings.is_empty() {
            self.tell(who, message(ratings), turn);
        }
    }
}

fn info(who: &ParticipantSid, rating: Rating) -> lk::ConnectionQualityInfo {
    let (quality, score) = match rating {
        Rating::Poor => (ConnectionQuality::Poor, 2.0),
        Rating::Good => (ConnectionQuality::Good, 3.5),
        Rating::Excellent => (ConnectionQuality::Excellent, 5.0),
    };
    lk::ConnectionQualityInfo {
        participant_sid: who.as_str().to_owned(),
        quality: quality.into(),
        score,
    }
}

fn message(updates: Vec<lk::ConnectionQualityInfo>) -> Message {
    Message::ConnectionQuality(lk::ConnectionQualityUpdate { updates })
}
