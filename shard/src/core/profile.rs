//! What a participant shows of itself: name, metadata, attributes.
//!
//! Owns: the rules for changing them. Must not: decide who may; the token does.

use super::limits::{ATTRIBUTES_BYTES_MAX, METADATA_BYTES_MAX, NAME_BYTES_MAX};
use super::room::Room;
use super::tracks::refusal;
use super::turn::Turn;
use super::updates::Reach;
use livekit_protocol as lk;
use lk::request_response::{Reason, Request};
use proto::id::ParticipantSid;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use thiserror::Error;

/// Clients from here on understand that a request was met.
const OK_RESPONSE_PROTOCOL: i32 = 15;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Profile {
    pub(super) name: String,
    pub(super) metadata: String,
    pub(super) attributes: BTreeMap<String, String>,
}

/// Something is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum ProfileError {
    #[error("the name is longer than 256 bytes")]
    Name,
    #[error("the metadata is longer than 64 KiB")]
    Metadata,
    #[error("the attributes are longer than 64 KiB together")]
    Attributes,
}

impl Profile {
    /// Takes over what is given: an empty text keeps the old one, an empty attribute value deletes
    /// the attribute. All or nothing.
    pub(super) fn merge(
        &mut self,
        name: &str,
        metadata: &str,
        attributes: &BTreeMap<String, String>,
    ) -> Result<(), ProfileError> {
        if name.len() > NAME_BYTES_MAX {
            return Err(ProfileError::Name);
        }
        if metadata.len() > METADATA_BYTES_MAX {
            return Err(ProfileError::Metadata);
        }
        let mut merged = self.attributes.clone();
        for (key, value) in attributes {
            if value.is_empty() {
                merged.remove(key);
            } else {
                merged.insert(key.clone(), value.clone());
            }
        }
        let bytes: usize = merged.iter().map(|(k, v)| k.len() + v.len()).sum();
        if bytes > ATTRIBUTES_BYTES_MAX {
            return Err(ProfileError::Attributes);
        }
        self.attributes = merged;
        if !name.is_empty() {
            name.clone_into(&mut self.name);
        }
        if !metadata.is_empty() {
            metadata.clone_into(&mut self.metadata);
        }
        Ok(())
    }
}

impl Room {
    /// `UpdateParticipantMetadata` from a client, about itself.
    pub(super) fn update_profile(
        &mut self,
        who: &ParticipantSid,
        request: lk::UpdateParticipantMetadata,
        turn: &mut Turn<'_>,
    ) {
        let Some(participant) = self.participants.get_mut(who) else {
            return;
        };
        let id = request.request_id;
        let outcome = if participant.permission.update_metadata {
            let attributes = request.attributes.clone().into_iter().collect();
            let merged = participant
                .profile
                .merge(&request.name, &request.metadata, &attributes);
            merged.map_err(|error| (Reason::LimitExceeded, error.to_string()))
        } else {
            let text = "the access token does not allow it: set canUpdateOwnMetadata";
            Err((Reason::NotAllowed, text.to_owned()))
        };
        match outcome {
            Ok(()) => {
                let understands = participant.protocol >= OK_RESPONSE_PROTOCOL;
                self.announce(who, Reach::Everybody, turn);
                if understands {
                    let message = refusal(Reason::Ok, String::new(), id, None);
                    self.tell(who, message, turn);
                }
            }
            Err((reason, text)) => {
                let request = Some(Request::UpdateMetadata(request));
                self.tell(who, refusal(reason, text, id, request), turn);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_keeps_what_is_not_given_and_takes_nothing_if_a_part_is_too_long() {
        let mut profile = Profile {
            name: "Ada".into(),
            metadata: "old".into(),
            attributes: BTreeMap::from([("a".into(), "1".into()), ("b".into(), "2".into())]),
        };
        let change = BTreeMap::from([("a".into(), String::new()), ("c".into(), "3".into())]);
        assert_eq!(profile.merge("", "new", &change), Ok(()));
        let expected = Profile {
            name: "Ada".into(),
            metadata: "new".into(),
            attributes: BTreeMap::from([("b".into(), "2".into()), ("c".into(), "3".into())]),
        };
        assert_eq!(profile, expected);

        let long = BTreeMap::from([("d".into(), "x".repeat(ATTRIBUTES_BYTES_MAX))]);
        let error = profile.merge("Eve", "evil", &long);
        assert_eq!(error, Err(ProfileError::Attributes));
        assert_eq!(profile, expected);
    }
}
