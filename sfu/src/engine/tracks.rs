//! Published tracks: announced, muted, gone.

use super::room::{MAX_TRACKS, Origin, Track};
use super::transport::Role;
use super::{Engine, ParticipantKey, TrackKey};
use proto::id::TrackSid;
use proto::media::{Kind, PublishedTrack};
use std::time::Instant;

impl Engine {
    pub(super) fn publish(&mut self, published: PublishedTrack, now: Instant) {
        if self.tracks_by_sid.contains_key(&published.track) {
            return;
        }
        let Some(owner) = self
            .participants_by_sid
            .get(&published.participant)
            .copied()
        else {
            return;
        };
        let Some(participant) = self.participants.get_mut(owner) else {
            return;
        };
        if participant.tracks.len() >= MAX_TRACKS {
            tracing::debug!(participant = %participant.sid, "too many tracks: ignored");
            return;
        }
        let sid = published.track.clone();
        let permitted = participant.permission.publish;
        let key = self.tracks.insert(Track {
            permitted,
            ..Track::new(published, owner, Origin::Here, now)
        });
        participant.tracks.push(key);
        self.tracks_by_sid.insert(sid, key);
        self.match_track(key, now);
        self.pictures_changed(owner);
        self.remind_later(owner, now);
    }

    pub(super) fn unpublish(&mut self, track: &TrackSid, now: Instant) {
        if let Some(key) = self.tracks_by_sid.get(track).copied() {
            self.drop_track(key, now);
        }
    }

    pub(super) fn drop_track(&mut self, key: TrackKey, now: Instant) {
        let Some(track) = self.tracks.get(key) else {
            return;
        };
        for subscription in track.subscriptions.clone() {
            self.drop_subscription(subscription, now);
        }
        let Some(track) = self.tracks.remove(key) else {
            return;
        };
        self.tracks_by_sid.remove(&track.sid);
        if let Some(participant) = self.participants.get_mut(track.owner) {
            participant.tracks.retain(|other| *other != key);
            let transport = participant.publisher;
            if let Some(transport) = transport.and_then(|key| self.transports.get_mut(key)) {
                transport.free(Role::Carries(key));
                for inbound in transport.inbound.values_mut() {
                    if inbound.track == Some(key) {
                        inbound.track = None;
                    }
                }
            }
        }
        self.hush(track.owner);
        self.pictures_changed(track.owner);
        self.forget_import(&track, now);
    }

    /// Others may be seen in the room now.
    pub(super) fn pictures_changed(&mut self, owner: ParticipantKey) {
        let room = self.participants.get(owner).map(|owner| owner.room);
        if let Some(room) = room.and_then(|room| self.rooms.get_mut(room)) {
            room.selected.refresh();
        }
    }

    /// Somebody without an open audio track has stopped speaking, however loud the last word was.
    fn hush(&mut self, owner: ParticipantKey) {
        let Some(participant) = self.participants.get(owner) else {
            return;
        };
        let audible = |key: &TrackKey| {
            let track = self.tracks.get(*key);
            track.is_some_and(|track| track.kind == Kind::Audio && track.is_open())
        };
        if !participant.tracks.iter().any(audible)
            && let Some(room) = self.rooms.get_mut(participant.room)
        {
            room.speakers.silence(owner);
            room.selected.silence(owner);
        }
    }

    pub(super) fn set_muted(&mut self, track: &TrackSid, muted: bool, now: Instant) {
        let Some(key) = self.tracks_by_sid.get(track).copied() else {
            return;
        };
        if let Some(track) = self.tracks.get_mut(key) {
            track.muted = muted;
        }
        self.gate(key, now);
    }

    /// A track was opened or closed: what is forwarded starts again at a key frame.
    pub(super) fn gate(&mut self, key: TrackKey, now: Instant) {
        let Some(track) = self.tracks.get(key) else {
            return;
        };
        for subscription in &track.subscriptions {
            if let Some(subscription) = self.subscriptions.get_mut(*subscription) {
                subscription.pause();
            }
        }
        let owner = track.owner;
        self.hush(owner);
        self.pictures_changed(owner);
        self.retarget(key, now);
    }
}
