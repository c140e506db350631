//! Who else is in the room, as far as needed to name the tracks that arrive.
//!
//! Keeps little: in a room of hundreds every client knows every other one.

use crate::track::Kind;
use livekit_protocol as lk;
use std::collections::BTreeMap;

/// Participants that are remembered. Beyond: their tracks arrive without an identity.
const PEOPLE_MAX: usize = 20_000;
/// Tracks of one of them. Beyond: they arrive without a source.
const TRACKS_MAX: usize = 256;

#[derive(Default)]
pub(super) struct People {
    known: BTreeMap<String, Person>,
    owners: BTreeMap<String, String>,
}

struct Person {
    identity: String,
    tracks: Vec<Published>,
}

struct Published {
    sid: String,
    kind: Kind,
    source: lk::TrackSource,
}

/// What is known of a track.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Described<'a> {
    pub(super) participant_sid: &'a str,
    pub(super) identity: &'a str,
    pub(super) kind: Kind,
    pub(super) source: lk::TrackSource,
}

impl People {
    /// They came or changed.
    pub(super) fn put(&mut self, info: &lk::ParticipantInfo) {
        if self.known.len() >= PEOPLE_MAX && !self.known.contains_key(&info.sid) {
            return;
        }
        self.forget_tracks(&info.sid);
        let tracks = info.tracks.iter().take(TRACKS_MAX).filter_map(|track| {
            let kind = match track.r#type() {
                lk::TrackType::Audio => Kind::Audio,
                lk::TrackType::Video => Kind::Video,
                lk::TrackType::Data => return None,
            };
            Some(Published {
                sid: track.sid.clone(),
                kind,
                source: track.source(),
            })
        });
        let person = Person {
            identity: info.identity.clone(),
            tracks: tracks.collect(),
        };
        for track in &person.tracks {
            self.owners.insert(track.sid.clone(), info.sid.clone());
        }
        self.known.insert(info.sid.clone(), person);
    }

    /// They left.
    pub(super) fn remove(&mut self, sid: &str) {
        self.forget_tracks(sid);
        self.known.remove(sid);
    }

    pub(super) fn track(&self, sid: &str) -> Option<Described<'_>> {
        let (_, owner) = self.owners.get_key_value(sid)?;
        let person = self.known.get(owner)?;
        let track = person.tracks.iter().find(|track| track.sid == sid)?;
        Some(Described {
            participant_sid: owner,
            identity: &person.identity,
            kind: track.kind,
            source: track.source,
        })
    }

    pub(super) fn identity(&self, sid: &str) -> Option<&str> {
        Some(&self.known.get(sid)?.identity)
    }

    /// The participant who has this track.
    pub(super) fn owner(&self, track: &str) -> Option<&str> {
        self.owners.get(track).map(String::as_str)
    }

    fn forget_tracks(&mut self, sid: &str) {
        if let Some(person) = self.known.get(sid) {
            for track in &person.tracks {
                self.owners.remove(&track.sid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ann(tracks: &[&str]) -> lk::ParticipantInfo {
        let track = |sid: &&str| lk::TrackInfo {
            sid: (*sid).to_owned(),
            r#type: lk::TrackType::Video.into(),
            source: lk::TrackSource::Camera.into(),
            ..Default::default()
        };
        lk::ParticipantInfo {
            sid: "PA_ann".into(),
            identity: "ann".into(),
            tracks: tracks.iter().map(track).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn a_track_is_known_while_its_owner_has_it() {
        let mut people = People::default();
        people.put(&ann(&["TR_1", "TR_2"]));
        let track = people.track("TR_2").unwrap();
        assert_eq!((track.identity, track.participant_sid), ("ann", "PA_ann"));
        assert_eq!(
            (track.kind, track.source),
            (Kind::Video, lk::TrackSource::Camera)
        );
        people.put(&ann(&["TR_1"]));
        assert_eq!(people.track("TR_2"), None);
        assert_eq!(people.owner("TR_1"), Some("PA_ann"));
        people.remove("PA_ann");
        assert_eq!(people.track("TR_1"), None);
        assert_eq!(people.identity("PA_ann"), None);
    }
}
