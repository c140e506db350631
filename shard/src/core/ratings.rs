//! How good everybody's connection is.
//!
//! Owns: the room's picture of it and what clients hear: of themselves, and of those whose tracks they receive.
//! Changes are told together: in a room of a thousand, each to everybody at once would be a million messages.
//! Must not: judge; nodes do. Nobody is ever told to be lost: a client that hears it of itself begins anew.

use super::participant::Participant;
use super::room::{Room, is_due};
use super::turn::{Due, Subject, Turn};
use livekit_protocol as lk;
use lk::ConnectionQuality;
use lk::signal_response::Message;
use proto::id::ParticipantSid;
use proto::media::Rating;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How long changes wait for each other. LiveKit's server lets 5 s pass.
const GATHER: Duration = Duration::from_secs(1);

/// What clients are to hear.
#[derive(Debug, Default)]
pub(super) struct RatingNews {
    changed: BTreeSet<ParticipantSid>,
    at: Option<Instant>,
}

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
        self.rating_news.changed.insert(who.clone());
        self.ratings_due(turn);
    }

    /// Somebody is to hear of people of whom it has not heard so far.
    pub(super) fn owe_ratings(&mut self, who: &ParticipantSid, turn: &mut Turn<'_>) {
        if let Some(participant) = self.participants.get_mut(who) {
            participant.owed_ratings = true;
            self.ratings_due(turn);
        }
    }

    /// Somebody is to hear of others soon.
    pub(super) fn ratings_due(&mut self, turn: &mut Turn<'_>) {
        if self.rating_news.at.is_none() {
            let at = turn.now + GATHER;
            self.rating_news.at = Some(at);
            turn.arm(at, Due::Ratings, Subject::Room(self.sid.clone()));
        }
    }

    /// Time to tell.
    pub(super) fn tell_ratings(&mut self, turn: &mut Turn<'_>) {
        if !is_due(self.rating_news.at, turn.now) {
            return;
        }
        let RatingNews { changed, .. } = std::mem::take(&mut self.rating_news);
        for participant in self.participants.values() {
            let updates = self.ratings_for(participant, &changed);
            if !updates.is_empty() {
                let update = lk::ConnectionQualityUpdate { updates };
                turn.signal(participant, Message::ConnectionQuality(update));
            }
        }
        for participant in self.participants.values_mut() {
            participant.owed_ratings = false;
        }
    }

    fn ratings_for(
        &self,
        listener: &Participant,
        changed: &BTreeSet<ParticipantSid>,
    ) -> Vec<lk::ConnectionQualityInfo> {
        let tracks = listener.subscriptions.iter();
        let owners = tracks.filter_map(|track| self.owners.get(track));
        let mut news: BTreeSet<&ParticipantSid> = owners
            .filter(|owner| listener.owed_ratings || changed.contains(*owner))
            .collect();
        if changed.contains(&listener.sid) {
            news.insert(&listener.sid);
        }
        let known = news.into_iter().filter_map(|who| {
            let participant = self.participants.get(who)?;
            let shown = participant.is_visible() || *who == listener.sid;
            shown.then_some(info(who, participant.rating?))
        });
        known.collect()
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
