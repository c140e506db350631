//! What of a room everybody gets: the loudest voices, the pictures of those who spoke last.
//!
//! Owns: how the policies [`Loudest`] and [`LastN`] are fed and carried out. Shared screens and packets
//! without a level are left alone.

use super::last_n::LastN;
use super::loudest::{Loudest, Verdict};
use super::{Engine, ParticipantKey, RoomKey, SubscriptionKey};
use proto::media::{Kind, Selection};
use std::time::Instant;

/// The policies of one room, if it has any.
#[derive(Debug, Default)]
pub(super) struct Selected {
    selection: Selection,
    loudest: Option<Loudest<ParticipantKey>>,
    last: Option<LastN<ParticipantKey>>,
    /// Who is seen may have changed.
    stale: bool,
}

impl Selected {
    pub(super) fn new(selection: Selection) -> Self {
        let some = |count: u16| (count > 0).then_some(usize::from(count));
        Self {
            selection,
            loudest: some(selection.voices).map(Loudest::new),
            last: some(selection.pictures).map(LastN::new),
            stale: true,
        }
    }

    pub(super) fn selection(&self) -> Selection {
        self.selection
    }

    /// The shard wants it otherwise from now on.
    pub(super) fn change(&mut self, selection: Selection, people: &[ParticipantKey]) {
        if self.selection != selection {
            *self = Self::new(selection);
            people.iter().for_each(|who| self.add(*who));
        }
    }

    pub(super) fn add(&mut self, who: ParticipantKey) {
        self.stale = true;
        if let Some(last) = &mut self.last {
            last.add(who);
        }
    }

    pub(super) fn forget(&mut self, who: ParticipantKey) {
        self.stale = true;
        self.silence(who);
        if let Some(last) = &mut self.last {
            last.forget(who);
        }
    }

    /// Somebody has no voice any more.
    pub(super) fn silence(&mut self, who: ParticipantKey) {
        if let Some(loudest) = &mut self.loudest {
            loudest.forget(who);
        }
    }

    /// Somebody begins to speak.
    pub(super) fn spoke(&mut self, who: ParticipantKey) {
        self.stale |= self.last.as_mut().is_some_and(|last| last.spoke(who));
    }

    /// A picture or somebody who sees it came, went, or was changed.
    pub(super) fn refresh(&mut self) {
        self.stale = true;
    }
}

impl Engine {
    /// A voice with this level, in dB below full scale: true if the room hears it.
    pub(super) fn is_heard(&mut self, owner: ParticipantKey, dbov: u8, now: Instant) -> bool {
        let room = self.participants.get(owner).map(|owner| owner.room);
        let room = room.and_then(|room| self.rooms.get_mut(room));
        let Some(loudest) = room.and_then(|room| room.selected.loudest.as_mut()) else {
            return true;
        };
        match loudest.observe(owner, dbov, now) {
            Verdict::Heard => true,
            Verdict::Unheard => false,
            Verdict::Enters(loser) => {
                if let Some(loser) = loser {
                    self.restart_voice(loser, now);
                }
                self.restart_voice(owner, now);
                true
            }
        }
    }

    /// The voice was left out, or is from now on: whoever hears it again hears no gap.
    fn restart_voice(&mut self, owner: ParticipantKey, now: Instant) {
        let Some(participant) = self.participants.get(owner) else {
            return;
        };
        for key in participant.tracks.clone() {
            let track = self.tracks.get(key);
            let Some(track) = track.filter(|track| track.kind == Kind::Audio) else {
                continue;
            };
            for subscription in &track.subscriptions {
                if let Some(subscription) = self.subscriptions.get_mut(*subscription) {
                    subscription.pause();
                }
            }
            self.retarget(key, now);
        }
    }

    /// Chooses anew who is seen, where that may have changed.
    pub(super) fn select_pictures(&mut self, now: Instant) {
        for key in self.rooms.keys() {
            let room = self.rooms.get_mut(key);
            let stale = room.is_some_and(|room| std::mem::take(&mut room.selected.stale));
            if stale {
                for (subscription, seen) in self.pictures_of(key) {
                    self.show(subscription, seen, now);
                }
            }
        }
    }

    /// All subscriptions to pictures in a room, and whether they are seen.
    fn pictures_of(&self, key: RoomKey) -> Vec<(SubscriptionKey, bool)> {
        let Some(room) = self.rooms.get(key) else {
            return Vec::new();
        };
        let mut pictures = Vec::new();
        for viewer in &room.participants {
            let last = room.selected.last.as_ref();
            let seen = last.map(|last| last.seen_by(*viewer, |who| self.has_picture(who)));
            let seen: Option<Vec<ParticipantKey>> = seen.map(Iterator::collect);
            let Some(participant) = self.participants.get(*viewer) else {
                continue;
            };
            for key in &participant.subscriptions {
                let subscription = self.subscriptions.get(*key);
                let track = subscription.and_then(|it| self.tracks.get(it.track));
                let Some(track) = track.filter(|track| track.kind == Kind::Video) else {
                    continue;
                };
                let is_seen = |seen: &Vec<ParticipantKey>| seen.contains(&track.owner);
                let shown = track.screen || seen.as_ref().is_none_or(is_seen);
                pictures.push((*key, shown));
            }
        }
        pictures
    }

    fn has_picture(&self, who: ParticipantKey) -> bool {
        let Some(participant) = self.participants.get(who) else {
            return false;
        };
        let mut tracks = participant.tracks.iter();
        tracks.any(|key| {
            let track = self.tracks.get(*key);
            track.is_some_and(|it| it.kind == Kind::Video && !it.screen && it.is_open())
        })
    }

    fn show(&mut self, key: SubscriptionKey, shown: bool, now: Instant) {
        let Some(subscription) = self.subscriptions.get_mut(key) else {
            return;
        };
        if std::mem::replace(&mut subscription.shown, shown) == shown {
            return;
        }
        if !shown {
            subscription.pause();
        }
        self.retarget_one(key, now);
        self.say_stream_state(key);
    }
}
