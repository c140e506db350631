//! Subscriptions: made, changed, ended.

use super::room::MAX_SUBSCRIPTIONS;
use super::subscription::Subscription;
use super::transport::Role;
use super::{Engine, SubscriptionKey, TrackKey};
use proto::id::{ParticipantSid, TrackSid};
use proto::media::TrackSettings;
use std::time::Instant;

impl Engine {
    pub(super) fn subscribe(
        &mut self,
        participant_sid: &ParticipantSid,
        track_sid: &TrackSid,
        settings: TrackSettings,
        now: Instant,
    ) {
        if self.subscription_of(participant_sid, track_sid).is_some() {
            self.set_track_settings(participant_sid, track_sid, settings, now);
            return;
        }
        let (Some(owner), Some(track_key)) = (
            self.participants_by_sid.get(participant_sid).copied(),
            self.tracks_by_sid.get(track_sid).copied(),
        ) else {
            tracing::debug!(participant = %participant_sid, track = %track_sid, "subscription to nothing ignored");
            return;
        };
        let room = self
            .tracks
            .get(track_key)
            .and_then(|track| self.participants.get(track.owner))
            .map(|publisher| publisher.room);
        let (Some(participant), Some(track)) = (
            self.participants.get_mut(owner),
            self.tracks.get_mut(track_key),
        ) else {
            return;
        };
        if Some(participant.room) != room {
            tracing::debug!(participant = %participant_sid, track = %track_sid, "subscription across rooms ignored");
            return;
        }
        if participant.subscriptions.len() >= MAX_SUBSCRIPTIONS {
            tracing::debug!(participant = %participant_sid, "too many subscriptions: ignored");
            return;
        }
        let key = self.subscriptions.insert(Subscription::new(
            owner,
            track_key,
            track.kind,
            settings,
            participant.permission.subscribe,
        ));
        participant.subscriptions.push(key);
        track.subscriptions.push(key);
        self.pictures_changed(owner);
        self.want_negotiation(owner, now);
    }

    pub(super) fn drop_subscription(&mut self, key: SubscriptionKey, now: Instant) {
        if self.park(key, now) {
            return;
        }
        let Some(subscription) = self.subscriptions.remove(key) else {
            return;
        };
        if let Some(track) = self.tracks.get_mut(subscription.track) {
            track.subscriptions.retain(|other| *other != key);
        }
        let owner = subscription.participant;
        if let Some(participant) = self.participants.get_mut(owner) {
            participant.subscriptions.retain(|other| *other != key);
        }
        if let Some(exit) = subscription.exit
            && let Some(transport) = self.transports.get_mut(exit.transport)
        {
            transport.free(Role::Sends(key));
            self.want_negotiation(owner, now);
        }
    }

    pub(super) fn subscription_of(
        &self,
        participant: &ParticipantSid,
        track: &TrackSid,
    ) -> Option<(TrackKey, SubscriptionKey)> {
        let participant = self.participants_by_sid.get(participant)?;
        let track_key = self.tracks_by_sid.get(track)?;
        let track = self.tracks.get(*track_key)?;
        track
            .subscriptions
            .iter()
            .find(|key| {
                self.subscriptions
                    .get(**key)
                    .is_some_and(|found| found.participant == *participant)
            })
            .map(|key| (*track_key, *key))
    }

    pub(super) fn set_track_settings(
        &mut self,
        participant: &ParticipantSid,
        track: &TrackSid,
        settings: TrackSettings,
        now: Instant,
    ) {
        let Some((track, key)) = self.subscription_of(participant, track) else {
            return;
        };
        if let Some(subscription) = self.subscriptions.get_mut(key) {
            if !settings.enabled {
                subscription.pause();
            }
            subscription.settings = settings;
        }
        self.say_wanted(track, now);
        self.retarget_one(key, now);
        let exit = self.subscriptions.get(key).and_then(|it| it.exit);
        if let Some(exit) = exit {
            self.share(exit.transport, now);
        }
    }
}
