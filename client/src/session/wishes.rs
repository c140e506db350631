//! What the client wants to receive, where that differs from what it gets by itself: told to the
//! server again when a session resumes.

use livekit_protocol as lk;
use std::collections::{BTreeMap, BTreeSet};

/// Tracks of which a wish is remembered. Beyond: the server's own view holds.
const TRACKS_MAX: usize = 8192;

#[derive(Default)]
pub(super) struct Wishes {
    by_track: BTreeMap<String, bool>,
    disabled: BTreeSet<String>,
}

impl Wishes {
    pub(super) fn note(&mut self, tracks: &[&str], wanted: bool) {
        for track in tracks {
            if self.by_track.len() < TRACKS_MAX || self.by_track.contains_key(*track) {
                self.by_track.insert((*track).to_owned(), wanted);
            }
        }
    }

    pub(super) fn note_settings(&mut self, settings: &lk::UpdateTrackSettings) {
        for track in &settings.track_sids {
            if !settings.disabled {
                self.disabled.remove(track);
            } else if self.disabled.len() < TRACKS_MAX {
                self.disabled.insert(track.clone());
            }
        }
    }

    /// Tracks that are wanted, or not wanted.
    pub(super) fn tracks(&self, wanted: bool) -> Vec<&str> {
        let all = self.by_track.iter();
        let matching = all.filter(|(_, wish)| **wish == wanted);
        matching.map(|(track, _)| track.as_str()).collect()
    }

    /// Tracks that are not to be sent for now.
    pub(super) fn disabled(&self) -> Vec<String> {
        self.disabled.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_wish_holds() {
        let mut wishes = Wishes::default();
        wishes.note(&["TR_a", "TR_b"], true);
        wishes.note(&["TR_b"], false);
        assert_eq!(wishes.tracks(true), ["TR_a"]);
        assert_eq!(wishes.tracks(false), ["TR_b"]);
        let settings = |disabled| lk::UpdateTrackSettings {
            track_sids: vec!["TR_a".into()],
            disabled,
            ..Default::default()
        };
        wishes.note_settings(&settings(true));
        assert_eq!(wishes.disabled(), ["TR_a"]);
        wishes.note_settings(&settings(false));
        assert!(wishes.disabled().is_empty());
    }
}
