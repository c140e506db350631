//! Who speaks in a room, from the audio levels of RFC 6464. A policy: no clock, no transport.
//!
//! A window counts how much of it was loud; the loudness of the loud part is smoothed over windows,
//! so that a cough does not make a speaker and a breath does not end one.

use super::ParticipantKey;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Length of a window.
pub(super) const WINDOW: Duration = Duration::from_millis(400);
/// A packet at most this many dB below full scale is loud.
const LOUD_DBOV: u8 = 35;
/// This share of a window's packets must be loud.
const LOUD_SHARE: f32 = 0.4;
/// Windows with fewer packets count as this many: 60 ms packets give seven, DTX silence one.
const FEWEST_PACKETS: u32 = 5;
/// Weight of the newest window.
const SMOOTHING: f32 = 0.6;
/// Smoothed loudness that starts a speaker: most of one loud window.
const START: f32 = 0.0105;
/// Smoothed loudness that ends a speaker; below `START`, so that pauses between words do not.
const STOP: f32 = 0.004;
/// Levels are told in eighths, so that a steady voice causes no messages.
const STEPS: f32 = 8.0;

/// A change worth telling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Change {
    /// Who.
    pub(super) participant: ParticipantKey,
    /// Loudness, 0.0 to 1.0.
    pub(super) level: f32,
    /// False: stopped.
    pub(super) active: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Voice {
    packets: u32,
    loud: u32,
    loudness: f32,
    smoothed: f32,
    told: f32,
    active: bool,
}

/// The speakers of one room.
#[derive(Debug)]
pub(super) struct Speakers {
    voices: BTreeMap<ParticipantKey, Voice>,
    window_ends: Instant,
}

impl Speakers {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            voices: BTreeMap::new(),
            window_ends: now + WINDOW,
        }
    }

    /// An audio packet with this level, in dB below full scale: 0 loudest, 127 silence.
    pub(super) fn observe(&mut self, participant: ParticipantKey, dbov: u8) {
        let voice = self.voices.entry(participant).or_default();
        voice.packets += 1;
        if dbov <= LOUD_DBOV {
            voice.loud += 1;
            voice.loudness += 10_f32.powf(-f32::from(dbov) / 20.0);
        }
    }

    /// Forgets somebody. No end of speech is told: the whole participant is told to be gone.
    pub(super) fn forget(&mut self, participant: ParticipantKey) {
        self.voices.remove(&participant);
    }

    /// Somebody cannot be heard any more: the next window says that they stopped.
    pub(super) fn silence(&mut self, participant: ParticipantKey) {
        if let Some(voice) = self.voices.get_mut(&participant) {
            *voice = Voice {
                told: voice.told,
                active: voice.active,
                ..Voice::default()
            };
        }
    }

    /// Closes the window if it is over and returns what changed.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Vec<Change> {
        if now < self.window_ends {
            return Vec::new();
        }
        self.window_ends = now + WINDOW;
        let mut changes = Vec::new();
        for (participant, voice) in &mut self.voices {
            if let Some((level, active)) = voice.close_window() {
                changes.push(Change {
                    participant: *participant,
                    level,
                    active,
                });
            }
        }
        self.voices
            .retain(|_, voice| voice.active || voice.smoothed > 0.001);
        changes
    }
}

impl Voice {
    fn close_window(&mut self) -> Option<(f32, bool)> {
        let packets = self.packets.max(FEWEST_PACKETS) as f32;
        let loudness = if self.loud as f32 / packets >= LOUD_SHARE {
            self.loudness / self.loud as f32
        } else {
            0.0
        };
        self.packets = 0;
        self.loud = 0;
        self.loudness = 0.0;
        self.smoothed += (loudness - self.smoothed) * SMOOTHING;
        self.active = self.smoothed >= if self.active { STOP } else { START };
        let level = if self.active {
            ((self.smoothed * STEPS).ceil() / STEPS).min(1.0)
        } else {
            0.0
        };
        let changed = (level - self.told).abs() > f32::EPSILON;
        self.told = level;
        changed.then_some((level, self.active))
    }
}

#[cfg(test)]
mod tests {
    use super::super::arena::Arena;
    use super::super::room::Participant;
    use super::*;

    struct Script {
        speakers: Speakers,
        now: Instant,
        who: ParticipantKey,
    }

    fn script() -> Script {
        let now = Instant::now();
        Script {
            speakers: Speakers::new(now),
            now,
            who: Arena::<Participant>::key_for_tests(),
        }
    }

    impl Script {
        fn window(&mut self, packets: usize, dbov: u8) -> Vec<(f32, bool)> {
            for _ in 0..packets {
                self.speakers.observe(self.who, dbov);
            }
            self.now += WINDOW;
            self.speakers
                .handle_timeout(self.now)
                .into_iter()
                .map(|change| (change.level, change.active))
                .collect()
        }
    }

    #[test]
    fn a_voice_starts_after_one_window_and_is_told_once() {
        let mut script = script();
        assert_eq!(script.window(20, 30), vec![(0.125, true)]);
        assert_eq!(script.window(20, 30), vec![]);
        assert_eq!(script.window(20, 30), vec![]);
    }

    #[test]
    fn silence_ends_a_voice_after_a_pause_and_is_told_once() {
        let mut script = script();
        for _ in 0..5 {
            script.window(20, 25);
        }
        let mut told = Vec::new();
        let mut windows = 0;
        while told.is_empty() {
            told = script.window(20, 127);
            windows += 1;
            assert!(windows < 10);
        }
        assert!(windows >= 2);
        assert_eq!(told, vec![(0.0, false)]);
        assert_eq!(script.window(0, 0), vec![]);
    }

    #[test]
    fn who_cannot_be_heard_any_more_has_stopped_with_the_next_window() {
        let mut script = script();
        for _ in 0..5 {
            script.window(20, 3);
        }
        script.speakers.observe(script.who, 3);
        script.speakers.silence(script.who);
        assert_eq!(script.window(0, 0), vec![(0.0, false)]);
        assert!(script.speakers.voices.is_empty());
        script.speakers.silence(script.who);
        assert_eq!(script.window(0, 0), vec![]);
    }

    #[test]
    fn a_click_and_quiet_noise_are_no_speakers() {
        let mut script = script();
        assert_eq!(script.window(1, 5), vec![]);
        assert_eq!(script.window(20, 50), vec![]);
    }

    #[test]
    fn much_louder_is_told_again() {
        let mut script = script();
        script.window(20, 30);
        let told = script.window(20, 3);
        assert_eq!(told.len(), 1);
        assert!(told[0].0 > 0.3 && told[0].1);
    }
}
