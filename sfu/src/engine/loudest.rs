//! Whose voices a room hears: the loudest ones. A policy: no clock, no transport.
//!
//! More than a few voices at once are noise, and each costs every listener a stream. A voice that is heard
//! stays heard until a louder one wants its place, so that nobody is cut off between two words.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Weight of the newest packet: a syllable is about five.
const WEIGHT: f32 = 0.25;
/// So much louder, in dB, must a voice be that takes another's place.
const MARGIN: f32 = 6.0;
/// A voice without packets for this long is silent.
const SILENT_AFTER: Duration = Duration::from_millis(400);
/// A voice that is not louder than this, in dB above full silence, takes nobody's place.
const AUDIBLE: f32 = 127.0 - 55.0;

/// What happens to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict<K> {
    /// It is heard.
    Heard,
    /// It is heard from now on, maybe in the place of another.
    Enters(Option<K>),
    /// It is not heard.
    Unheard,
}

#[derive(Clone, Copy, Debug)]
struct Voice {
    /// dB above full silence, smoothed.
    loudness: f32,
    at: Instant,
    heard: bool,
}

impl Voice {
    fn loudness(&self, now: Instant) -> f32 {
        let silent = now.saturating_duration_since(self.at) > SILENT_AFTER;
        if silent { 0.0 } else { self.loudness }
    }
}

/// The voices of a room.
#[derive(Debug)]
pub(super) struct Loudest<K> {
    /// How many are heard at once.
    limit: usize,
    voices: BTreeMap<K, Voice>,
}

impl<K: Copy + Ord> Loudest<K> {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            voices: BTreeMap::new(),
        }
    }

    /// A packet with this level, in dB below full scale: 0 loudest, 127 silence.
    pub(super) fn observe(&mut self, who: K, dbov: u8, now: Instant) -> Verdict<K> {
        let level = 127.0 - f32::from(dbov.min(127));
        let voice = self.voices.entry(who).or_insert(Voice {
            loudness: 0.0,
            at: now,
            heard: false,
        });
        let before = voice.loudness(now);
        voice.loudness = before + WEIGHT * (level - before);
        voice.at = now;
        let (heard, loudness) = (voice.heard, voice.loudness);
        if heard {
            return Verdict::Heard;
        }
        match self.place(loudness, now) {
            Some(loser) => self.enter(who, loser),
            None => Verdict::Unheard,
        }
    }

    /// The place for a voice: a free one (`Some(None)`), or that of a quieter one.
    fn place(&self, loudness: f32, now: Instant) -> Option<Option<K>> {
        let heard = self.voices.iter().filter(|(_, voice)| voice.heard);
        if heard.clone().count() < self.limit {
            return Some(None);
        }
        let quietest = heard
            .map(|(who, voice)| (*who, voice.loudness(now)))
            .min_by(|(_, a), (_, b)| a.total_cmp(b))?;
        (loudness > AUDIBLE && loudness > quietest.1 + MARGIN).then_some(Some(quietest.0))
    }

    fn enter(&mut self, who: K, loser: Option<K>) -> Verdict<K> {
        if let Some(loser) = loser.and_then(|loser| self.voices.get_mut(&loser)) {
            loser.heard = false;
        }
        if let Some(voice) = self.voices.get_mut(&who) {
            voice.heard = true;
        }
        Verdict::Enters(loser)
    }

    /// Somebody is gone, or muted: the place is free.
    pub(super) fn forget(&mut self, who: K) {
        self.voices.remove(&who);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STEP: Duration = Duration::from_millis(20);
    const LOUD: u8 = 20;
    const QUIET: u8 = 50;

    struct Script {
        loudest: Loudest<u32>,
        now: Instant,
        heard: Vec<u32>,
    }

    impl Script {
        fn new(limit: usize) -> Self {
            Self {
                loudest: Loudest::new(limit),
                now: Instant::now(),
                heard: Vec::new(),
            }
        }

        /// All of them talk for a while, each at a level.
        fn talk(&mut self, voices: &[(u32, u8)], packets: u32) -> Vec<u32> {
            for _ in 0..packets {
                self.now += STEP;
                for (who, level) in voices {
                    match self.loudest.observe(*who, *level, self.now) {
                        Verdict::Heard => assert!(self.heard.contains(who)),
                        Verdict::Enters(loser) => {
                            self.heard.retain(|other| Some(*other) != loser);
                            self.heard.push(*who);
                        }
                        Verdict::Unheard => assert!(!self.heard.contains(who)),
                    }
                }
            }
            self.heard.sort_unstable();
            self.heard.clone()
        }
    }

    #[test]
    fn the_first_are_heard_however_quiet_and_others_wait() {
        let mut script = Script::new(2);
        assert_eq!(script.talk(&[(1, QUIET), (2, 127), (3, 80)], 50), [1, 2]);
    }

    #[test]
    fn a_louder_voice_takes_the_place_of_the_quietest_within_a_word() {
        let mut script = Script::new(2);
        script.talk(&[(1, LOUD), (2, QUIET), (3, 127)], 50);
        assert_eq!(script.talk(&[(1, LOUD), (2, QUIET), (3, LOUD)], 15), [1, 3]);
    }

    #[test]
    fn about_as_loud_is_not_enough() {
        let mut script = Script::new(1);
        script.talk(&[(1, LOUD)], 50);
        assert_eq!(script.talk(&[(1, LOUD), (2, LOUD - 4)], 100), [1]);
    }

    #[test]
    fn whoever_stops_sending_makes_room() {
        let mut script = Script::new(1);
        script.talk(&[(1, 5)], 50);
        assert_eq!(script.talk(&[(2, LOUD)], 10), [1], "a pause between words");
        assert_eq!(script.talk(&[(2, LOUD)], 40), [2]);
    }

    #[test]
    fn noise_takes_nobody_s_place() {
        let mut script = Script::new(1);
        script.talk(&[(1, LOUD)], 10);
        assert_eq!(script.talk(&[(2, 80)], 100), [1]);
    }

    #[test]
    fn one_that_is_gone_makes_room_at_once() {
        let mut script = Script::new(1);
        script.talk(&[(1, LOUD)], 10);
        script.loudest.forget(1);
        script.heard.clear();
        assert_eq!(script.talk(&[(2, 80)], 1), [2]);
    }

    proptest! {
        #[test]
        fn no_more_than_the_limit_are_heard(
            limit in 1_usize..5,
            packets in proptest::collection::vec((0_u32..9, 0_u8..=127), 0..300),
        ) {
            let mut script = Script::new(limit);
            for packet in packets {
                prop_assert!(script.talk(&[packet], 1).len() <= limit);
            }
        }
    }
}
