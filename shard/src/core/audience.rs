//! Who may receive a participant's tracks, by its own choice.
//!
//! Owns: the `SubscriptionPermission` of a publisher, and what subscribers were told about it. Must
//! not: know grants; those are the token's.

use super::limits::{PERMISSION_ENTRIES_MAX, WISHES_MAX};
use super::participant::Participant;
use super::room::Room;
use super::turn::Turn;
use livekit_protocol as lk;
use lk::signal_response::Message;
use proto::id::{ParticipantSid, TrackSid};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The tracks that somebody may receive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Granted {
    all: bool,
    tracks: BTreeSet<String>,
}

/// Those who may receive the tracks of a participant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Audience {
    #[default]
    Everybody,
    /// A subscriber is named by either.
    Listed {
        sids: BTreeMap<String, Granted>,
        identities: BTreeMap<String, Granted>,
    },
}

impl Audience {
    fn from_wire(permission: lk::SubscriptionPermission) -> Self {
        if permission.all_participants {
            return Self::Everybody;
        }
        let listed = permission.track_permissions;
        let entries: usize = listed.iter().map(|entry| 1 + entry.track_sids.len()).sum();
        let (mut sids, mut identities) = (BTreeMap::new(), BTreeMap::new());
        if entries <= PERMISSION_ENTRIES_MAX {
            for entry in listed {
                for (granted, name) in [
                    (&mut sids, &entry.participant_sid),
                    (&mut identities, &entry.participant_identity),
                ] {
                    let granted: &mut Granted = granted.entry(name.clone()).or_default();
                    granted.all |= entry.all_tracks;
                    granted.tracks.extend(entry.track_sids.iter().cloned());
                }
            }
        }
        Self::Listed { sids, identities }
    }

    pub(super) fn allows(&self, subscriber: &Participant, track: &TrackSid) -> bool {
        let Self::Listed { sids, identities } = self else {
            return true;
        };
        let by_sid = sids.get(subscriber.sid.as_str());
        let by_identity = identities.get(subscriber.identity.as_str());
        let covers = |granted: &Granted| granted.all || granted.tracks.contains(track.as_str());
        by_sid.into_iter().chain(by_identity).any(covers)
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
        owner.audience = Audience::from_wire(permission);
        let tracks: Vec<TrackSid> = owner.tracks.keys().cloned().collect();
        let others: Vec<ParticipantSid> = self.participants.keys().cloned().collect();
        for other in others.iter().filter(|other| *other != who) {
            for track in &tracks {
                self.reconcile(other, track, turn);
            }
        }
    }

    /// Tells a subscriber whether the owner of a track lets it have it, if it has heard otherwise, or
    /// has heard nothing and waits for the track.
    pub(super) fn tell_allowed(
        &mut self,
        subscriber: &ParticipantSid,
        track: &TrackSid,
        allowed: bool,
        waits: bool,
        turn: &mut Turn<'_>,
    ) {
        let owner = self.owners.get(track).cloned();
        let (Some(owner), Some(participant)) = (owner, self.participants.get_mut(subscriber))
        else {
            return;
        };
        let told = participant.told_allowed.get(track);
        let is_new = told.is_none();
        let full = participant.told_allowed.len() >= WISHES_MAX;
        if told.copied().unwrap_or(true) == allowed || is_new && (full || !waits) {
            return;
        }
        participant.told_allowed.insert(track.clone(), allowed);
        turn.signal(participant, permission_update(&owner, track, allowed));
    }

    /// Says again what a client was told, as it may have missed that.
    pub(super) fn repeat_allowed(&self, who: &ParticipantSid, turn: &mut Turn<'_>) {
        let Some(participant) = self.participants.get(who) else {
            return;
        };
        for (track, allowed) in &participant.told_allowed {
            if let Some(owner) = self.owners.get(track) {
                turn.signal(participant, permission_update(owner, track, *allowed));
            }
        }
    }
}

fn permission_update(owner: &ParticipantSid, track: &TrackSid, allowed: bool) -> Message {
    Message::SubscriptionPermissionUpdate(lk::SubscriptionPermissionUpdate {
        participant_sid: owner.as_str().to_owned(),
        track_sid: track.as_str().to_owned(),
        allowed,
    })
}
