//! What a room is like: its metadata, its timeouts, how many it takes.
//!
//! Owns: where options come from and their bounds. Must not: store them; the directory does.

use super::api::CoreConfig;
use super::limits::METADATA_BYTES_MAX;
use proto::media::Selection;
use proto::token::{Claims, RoomConfig};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Options of a room. They come from the token that opens the room, or from an earlier life of it.
/// 0 and empty: as the shard has it. Unknown keys are ignored, since another version may have
/// written them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RoomOptions {
    /// Free text of the application, at most 64 KiB; a longer one is left out.
    pub metadata: String,
    /// How long the room waits for the first participant that keeps it, seconds.
    pub empty_timeout_s: u32,
    /// How long the room stays after the last one that kept it, seconds.
    pub departure_timeout_s: u32,
    /// Most participants that keep the room; others are not counted (as LiveKit). 0: no limit.
    pub max_participants: u32,
    /// Pictures that everybody gets at once, of those who spoke last.
    pub last_n: u32,
    /// Voices that everybody gets at once, the loudest ones.
    pub loudest_n: u32,
}

impl RoomOptions {
    /// Those that a token names.
    pub fn from_claims(claims: &Claims) -> Self {
        let config = claims.room_config.as_ref();
        config.map(Self::from_config).unwrap_or_default()
    }

    fn from_config(config: &RoomConfig) -> Self {
        let options = Self {
            metadata: config.metadata.clone(),
            empty_timeout_s: config.empty_timeout,
            departure_timeout_s: config.departure_timeout,
            max_participants: config.max_participants,
            last_n: config.last_n,
            loudest_n: config.loudest_n,
        };
        options.bounded()
    }

    /// There is nothing to keep.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Without what is too long.
    pub(super) fn bounded(mut self) -> Self {
        if self.metadata.len() > METADATA_BYTES_MAX {
            self.metadata.clear();
        }
        self
    }

    pub(super) fn empty_timeout(&self, config: &CoreConfig) -> Duration {
        given_or(self.empty_timeout_s, config.empty_timeout)
    }

    /// What everybody in the room gets.
    pub(super) fn selection(&self, config: &CoreConfig) -> Selection {
        let chosen = |given: u32, usual: u16| match given {
            0 => usual,
            given => u16::try_from(given).unwrap_or(u16::MAX),
        };
        Selection {
            voices: chosen(self.loudest_n, config.selection.voices),
            pictures: chosen(self.last_n, config.selection.pictures),
        }
    }

    pub(super) fn departure_timeout(&self, config: &CoreConfig) -> Duration {
        given_or(self.departure_timeout_s, config.departure_timeout)
    }
}

fn given_or(seconds: u32, usual: Duration) -> Duration {
    match seconds {
        0 => usual,
        given => Duration::from_secs(given.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_s_own_selection_wins_over_the_shard_s() {
        let config = CoreConfig {
            selection: Selection {
                voices: 5,
                pictures: 9,
            },
            ..CoreConfig::default()
        };
        let mut options = RoomOptions::default();
        assert_eq!(options.selection(&config), config.selection);
        options.last_n = 2;
        options.loudest_n = 70_000;
        let selection = options.selection(&config);
        assert_eq!((selection.pictures, selection.voices), (2, u16::MAX));
    }
}
