//! Which participant gets which track, and how.
//!
//! Owns: the rule that turns wishes and permissions into `Subscribe` and `Unsubscribe`. Must not:
//! know how a node forwards.

use super::limits::{SUBSCRIPTIONS_MAX, TRACK_SIDS_MAX, UNKNOWN_SIDS_MAX, WISHES_MAX};
use super::participant::{Participant, Wish};
use super::room::Room;
use super::tracks::Track;
use super::turn::{Due, Subject, Turn};
use livekit_protocol as lk;
use lk::SubscriptionError;
use lk::signal_response::Message;
use proto::id::{ParticipantSid, TrackSid};
use proto::media::{NodeCommand, Quality, TrackSettings};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a subscription that has become free may stay so: many end at once when somebody leaves.
const REFILL_DELAY: Duration = Duration::from_millis(100);

/// What there is to say about a participant and a track.
#[derive(Clone, Copy, Debug, Default)]
struct Verdict {
    /// The participant would have it.
    wanted: bool,
    /// The track's owner lets it.
    allowed: bool,
}

/// Whether a request that cannot be met is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    Answer,
    Ignore,
}

impl Room {
    /// Makes one subscription what it should be.
    pub(super) fn reconcile(
        &mut self,
        subscriber: &ParticipantSid,
        track: &TrackSid,
        turn: &mut Turn<'_>,
    ) {
        let Verdict { wanted, allowed } = self.judge(subscriber, track);
        self.tell_allowed(subscriber, track, allowed, wanted, turn);
        let Some(participant) = self.participants.get_mut(subscriber) else {
            return;
        };
        let (participant_sid, track_sid) = (subscriber.clone(), track.clone());
        let has = participant.subscriptions.contains(track);
        match (wanted && allowed, has) {
            (true, false) if participant.subscriptions.len() >= SUBSCRIPTIONS_MAX => {
                participant.is_starved = true;
            }
            (true, false) => {
                participant.subscriptions.insert(track.clone());
                participant.owed_ratings = true;
                let member = participant.member.clone();
                let command = NodeCommand::Subscribe {
                    participant: participant_sid,
                    track: track_sid,
                    settings: participant.settings(track),
                };
                self.attach(&member, track, turn);
                turn.node(&member, command);
                self.ratings_due(turn);
                self.tell_first_subscriber(track, turn);
            }
            (false, true) => {
                participant.subscriptions.remove(track);
                participant.paused.remove(track);
                let command = NodeCommand::Unsubscribe {
                    participant: participant_sid,
                    track: track_sid,
                };
                let (is_starved, member) = (participant.is_starved, participant.member.clone());
                turn.node(&member, command);
                self.detach(&member, track, turn);
                if is_starved {
                    self.refill_later(turn);
                }
            }
            (true, true) | (false, false) => {}
        }
    }

    /// Brings a participant's subscriptions in line with every track of the room.
    pub(super) fn reconcile_all(&mut self, subscriber: &ParticipantSid, turn: &mut Turn<'_>) {
        for track in &self.in_order(subscriber) {
            self.reconcile(subscriber, track, turn);
        }
    }

    /// All tracks. For one that cannot have all of them, those who came first are first, each with all
    /// that it sends.
    fn in_order(&self, subscriber: &ParticipantSid) -> Vec<TrackSid> {
        let mut tracks: Vec<(&TrackSid, &ParticipantSid)> = self.owners.iter().collect();
        let subscriber = self.participants.get(subscriber);
        if subscriber.is_some_and(Participant::is_resource) {
            let joined = |owner| self.participants.get(owner).map(|owner| owner.joined_ms);
            tracks.sort_by_key(|(_, owner)| (joined(*owner), *owner));
        }
        tracks.into_iter().map(|(track, _)| track.clone()).collect()
    }

    /// Offers a track to everybody in the room.
    pub(super) fn reconcile_track(&mut self, track: &TrackSid, turn: &mut Turn<'_>) {
        let participants: Vec<ParticipantSid> = self.participants.keys().cloned().collect();
        for participant in &participants {
            self.reconcile(participant, track, turn);
        }
    }

    /// Subscriptions have ended: if somebody waits for that, more are made soon.
    pub(super) fn refill_later(&mut self, turn: &mut Turn<'_>) {
        if self.refill_at.is_none() && self.participants.values().any(|p| p.is_starved) {
            let at = turn.now + REFILL_DELAY;
            self.refill_at = Some(at);
            turn.arm(at, Due::Refill, Subject::Room(self.sid.clone()));
        }
    }

    /// Gives participants who want more than they may have what has become free.
    pub(super) fn refill(&mut self, turn: &mut Turn<'_>) {
        let starved = self.participants.values().filter(|p| p.is_starved);
        let starved: Vec<ParticipantSid> = starved.map(|p| p.sid.clone()).collect();
        for who in &starved {
            let missing = self.missing(who);
            if let Some(participant) = self.participants.get_mut(who) {
                participant.is_starved = false;
            }
            for track in &missing {
                self.reconcile(who, track, turn);
            }
        }
    }

    /// What a participant should get and does not, up to one more than it has room for: that one
    /// shows that there is more.
    fn missing(&self, who: &ParticipantSid) -> Vec<TrackSid> {
        let Some(participant) = self.participants.get(who) else {
            return Vec::new();
        };
        let free = SUBSCRIPTIONS_MAX.saturating_sub(participant.subscriptions.len());
        let others = self.owners.keys();
        let others = others.filter(|track| !participant.subscriptions.contains(*track));
        let missing = others.filter(|track| {
            let verdict = self.judge_for(participant, track);
            verdict.wanted && verdict.allowed
        });
        missing.take(free + 1).cloned().collect()
    }

    fn judge(&self, subscriber: &ParticipantSid, track: &TrackSid) -> Verdict {
        match self.participants.get(subscriber) {
            Some(participant) => self.judge_for(participant, track),
            None => Verdict::default(),
        }
    }

    fn judge_for(&self, participant: &Participant, track: &TrackSid) -> Verdict {
        let Some(owner) = self.visible_owner(&participant.sid, track) else {
            return Verdict::default();
        };
        let bound = owner.tracks.get(track).is_some_and(Track::is_bound);
        Verdict {
            wanted: bound && participant.permission.subscribe && participant.wants(track),
            allowed: owner.audience.allows(participant, track),
        }
    }

    /// The owner of a track, if `viewer` may know of it and is somebody else.
    fn visible_owner(&self, viewer: &ParticipantSid, track: &TrackSid) -> Option<&Participant> {
        let owner = self.participants.get(self.owners.get(track)?)?;
        (owner.sid != *viewer && owner.is_visible()).then_some(owner)
    }

    fn tell_first_subscriber(&mut self, track: &TrackSid, turn: &mut Turn<'_>) {
        let owner = self.owners.get(track);
        let Some(owner) = owner.and_then(|owner| self.participants.get_mut(owner)) else {
            return;
        };
        let Some(published) = owner.tracks.get_mut(track) else {
            return;
        };
        if !std::mem::replace(&mut published.has_had_subscriber, true) {
            let track_sid = track.as_str().to_owned();
            turn.signal(
                owner,
                Message::TrackSubscribed(lk::TrackSubscribed { track_sid }),
            );
        }
    }

    /// `UpdateSubscription` from a client, or out of its `SyncState`.
    pub(super) fn update_subscription(
        &mut self,
        who: &ParticipantSid,
        request: &lk::UpdateSubscription,
        missing: Missing,
        turn: &mut Turn<'_>,
    ) {
        let listed = request.participant_tracks.iter();
        let listed = listed.flat_map(|entry| &entry.track_sids);
        let mut answers = UNKNOWN_SIDS_MAX;
        for track in self.named(request.track_sids.iter().chain(listed)) {
            match self.wish_for(who, &track, |wish| {
                wish.subscribe = Some(request.subscribe);
            }) {
                Ok(()) => self.reconcile(who, &track, turn),
                Err(error) if request.subscribe && missing == Missing::Answer && answers > 0 => {
                    answers -= 1;
                    let response = lk::SubscriptionResponse {
                        track_sid: track.as_str().to_owned(),
                        err: error.into(),
                    };
                    self.tell(who, Message::SubscriptionResponse(response), turn);
                }
                Err(_) => {}
            }
        }
    }

    /// `UpdateTrackSettings` from a client.
    pub(super) fn update_track_settings(
        &mut self,
        who: &ParticipantSid,
        request: &lk::UpdateTrackSettings,
        turn: &mut Turn<'_>,
    ) {
        let settings = settings_from_wire(request);
        for track in self.named(&request.track_sids) {
            self.set_track_settings(who, &track, settings, turn);
        }
    }

    /// Tracks that a resuming client had switched off.
    pub(super) fn disable_tracks(
        &mut self,
        who: &ParticipantSid,
        tracks: &[String],
        turn: &mut Turn<'_>,
    ) {
        for track in self.named(tracks) {
            let Some(participant) = self.participants.get(who) else {
                return;
            };
            let settings = TrackSettings {
                enabled: false,
                ..participant.settings(&track)
            };
            self.set_track_settings(who, &track, settings, turn);
        }
    }

    fn set_track_settings(
        &mut self,
        who: &ParticipantSid,
        track: &TrackSid,
        settings: TrackSettings,
        turn: &mut Turn<'_>,
    ) {
        let before = self.participants.get(who).map(|p| p.settings(track));
        let stored = self.wish_for(who, track, |wish| wish.settings = settings);
        if stored.is_err() || before == Some(settings) {
            return;
        }
        let subscribed = self
            .participants
            .get(who)
            .is_some_and(|p| p.subscriptions.contains(track));
        if subscribed {
            let command = NodeCommand::SetTrackSettings {
                participant: who.clone(),
                track: track.clone(),
                settings,
            };
            self.command(who, command, turn);
        }
    }

    /// The tracks that a message names, each once. A long list is no more work than the room has
    /// tracks.
    fn named<'a>(&self, sids: impl IntoIterator<Item = &'a String>) -> Vec<TrackSid> {
        let most = 2 * self.owners.len() + UNKNOWN_SIDS_MAX;
        let mut seen = BTreeSet::new();
        let sids = sids.into_iter().take(most.min(TRACK_SIDS_MAX));
        let fresh = sids.filter(|sid| seen.insert(sid.as_str()));
        fresh.map(TrackSid::new).collect()
    }

    /// Notes what a participant wants of a track that it may know of.
    fn wish_for(
        &mut self,
        who: &ParticipantSid,
        track: &TrackSid,
        change: impl FnOnce(&mut Wish),
    ) -> Result<(), SubscriptionError> {
        if self.visible_owner(who, track).is_none() {
            return Err(SubscriptionError::SeTrackNotfound);
        }
        let participant = self.participants.get_mut(who);
        let participant = participant.ok_or(SubscriptionError::SeUnknown)?;
        let full = participant.wishes.len() >= WISHES_MAX;
        if !participant.permission.subscribe || full && !participant.wishes.contains_key(track) {
            return Err(SubscriptionError::SeUnknown);
        }
        change(participant.wishes.entry(track.clone()).or_default());
        Ok(())
    }
}

/// Pixels decide where they are given, the quality otherwise, as in LiveKit.
fn settings_from_wire(request: &lk::UpdateTrackSettings) -> TrackSettings {
    let (enabled, max_quality) = match request.quality() {
        _ if request.width > 0 && request.height > 0 => (true, Quality::High),
        lk::VideoQuality::Low => (true, Quality::Low),
        lk::VideoQuality::Medium => (true, Quality::Medium),
        lk::VideoQuality::High => (true, Quality::High),
        lk::VideoQuality::Off => (false, Quality::High),
    };
    TrackSettings {
        enabled: enabled && !request.disabled,
        max_quality,
        width: request.width,
        height: request.height,
    }
}
