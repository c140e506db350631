//! Who may receive a participant's tracks, by its own choice.
//!
//! Owns: the `SubscriptionPermission` of a publisher. Must not: know grants; those are the token's.

use super::limits::PERMISSION_ENTRIES_MAX;
use super::participant::Participant;
use super::room::Room;
use super::turn::Turn;
use livekit_protocol as lk;
use lk::signal_response::Message;
use proto::id::{ParticipantSid, TrackSid};

/// Those who may receive the tracks of a participant.
#[derive(Clone, Debug, Default)]
pub(super) enum Audience {
    #[default]
    Everybody,
    Listed(Vec<lk::TrackPermission>),
}

impl Audience {
    fn from_wire(permission: lk::SubscriptionPermission) -> Self {
        if permission.all_participants {
            return Self::Everybody;
        }
        let listed = permission.track_permissions;
        let entries: usize = listed.iter().map(|entry| 1 + entry.track_sids.len()).sum();
        if entries > PERMISSION_ENTRIES_MAX {
            return Self::Listed(Vec::new());
        }
        Self::Listed(listed)
    }

    pub(super) fn allows(&self, subscriber: &Participant, track: &TrackSid) -> bool {
        let Self::Listed(entries) = self else {
            return true;
        };
        let about = |entry: &&lk::TrackPermission| {
            entry.participant_sid == subscriber.sid.as_str()
                || entry.participant_identity == subscriber.identity.as_str()
        };
        let covers = |entry: &lk::TrackPermission| {
            entry.all_tracks || entry.track_sids.iter().any(|sid| sid == track.as_str())
        };
        entries.iter().filter(about).any(covers)
    }
}

impl Room {
    /// `SubscriptionPermission` from a publisher.
    pub(super) fn set_audience(
        &mut self,
        who: &ParticipantSid,
        permission: lk::SubscriptionPermission,
        turn: &mut Turn<'_>,
    ) {
        let Some(owner) = self.participants.get_mut(who) else {
            return;
        };
        let before = std::mem::replace(&mut owner.audience, Audience::from_wire(permission));
        let after = owner.audience.clone();
        let tracks: Vec<TrackSid> = owner.tracks.keys().cloned().collect();
        let others: Vec<ParticipantSid> = self.participants.keys().cloned().collect();
        for other in others.iter().filter(|other| *other != who) {
            for track in &tracks {
                let Some(subscriber) = self.participants.get(other) else {
                    continue;
                };
                let allowed = after.allows(subscriber, track);
                if allowed != before.allows(subscriber, track) {
                    let update = lk::SubscriptionPermissionUpdate {
                        participant_sid: who.as_str().to_owned(),
                        track_sid: track.as_str().to_owned(),
                        allowed,
                    };
                    turn.signal(subscriber, Message::SubscriptionPermissionUpdate(update));
                    self.reconcile(other, track, turn);
                }
            }
        }
    }
}
