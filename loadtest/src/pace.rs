//! When a publisher sends which frame.
//!
//! Owns: the schedule of one looped clip and how late it is kept. Must not: sleep or send. Simulcast
//! layers share one pacer: their frames are made at the same times.

use crate::media::{Codec, Stream};
use std::time::Duration;

/// Later than this, frames are left out until the next key frame: sending them all at once would
/// measure a burst that no camera makes.
const LATENESS_MAX: Duration = Duration::from_secs(1);
/// Key frames that are asked for more often are not made more often, as encoders do.
const KEY_INTERVAL_MIN: Duration = Duration::from_millis(300);

/// The durations and key frames of a loop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clip {
    clock_rate: u32,
    /// Microseconds, and whether decoding can start there.
    frames: Vec<(u32, bool)>,
}

impl Clip {
    /// The schedule of a stream; `None` if it has no frames or lasts no time.
    #[must_use]
    pub fn of(stream: &Stream) -> Option<Self> {
        let frames = stream
            .frames
            .iter()
            .map(|frame| (frame.duration_us.max(1), frame.key));
        Self::new(stream.codec, frames.collect())
    }

    fn new(codec: Codec, frames: Vec<(u32, bool)>) -> Option<Self> {
        let clock_rate = codec.clock_rate();
        (!frames.is_empty()).then_some(Self { clock_rate, frames })
    }

    /// The next key frame at or behind `from`, in the loop.
    fn key_from(&self, from: usize) -> usize {
        let len = self.frames.len();
        let mut places = (0..len).map(|step| (from + step) % len);
        let is_key = |place: &usize| self.frames.get(*place).is_some_and(|frame| frame.1);
        places.find(is_key).unwrap_or(from)
    }
}

/// A frame to be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Which frame of the clip.
    pub index: usize,
    /// Number of the frame since the start, without gaps.
    pub number: u32,
    /// RTP timestamp.
    pub timestamp: u32,
    /// How long after its time this is.
    pub lateness: Duration,
}

/// The pace of one track. Times are since the start of the run.
#[derive(Clone, Debug)]
pub struct Pacer {
    clip: Clip,
    next: usize,
    number: u32,
    start: Duration,
    /// Media time of the next frame.
    media_us: u64,
    first_timestamp: u32,
    key_wanted: bool,
    last_key: Option<Duration>,
    skipped: u64,
}

impl Pacer {
    /// Plays a clip from `start` on; the first RTP timestamp should be random (RFC 3550 section 5.1).
    #[must_use]
    pub fn new(clip: Clip, first_timestamp: u32, start: Duration) -> Self {
        Self {
            clip,
            next: 0,
            number: 0,
            start,
            media_us: 0,
            first_timestamp,
            key_wanted: false,
            last_key: None,
            skipped: 0,
        }
    }

    /// Somebody cannot decode: the next frame is a key frame, if the last is not too near.
    pub fn handle_key_request(&mut self) {
        self.key_wanted = true;
    }

    /// Nothing was sent for a while (mute): goes on now, with a key frame.
    pub fn handle_resume(&mut self, now: Duration) {
        let played = now.saturating_sub(self.start);
        self.media_us = self.media_us.max(micros(played));
        self.key_wanted = true;
        self.last_key = None;
    }

    /// When the next frame is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Duration {
        self.start + Duration::from_micros(self.media_us)
    }

    /// The next frame that is due, or `None` until [`Pacer::poll_timeout`]. Call until `None`.
    pub fn poll_due(&mut self, now: Duration) -> Option<Due> {
        let lateness = now.checked_sub(self.poll_timeout())?;
        if lateness > LATENESS_MAX {
            self.skip(now);
        }
        self.go_to_key(now);
        let due = Due {
            index: self.next,
            number: self.number,
            timestamp: self.timestamp(),
            lateness,
        };
        let (duration_us, key) = self.clip.frames.get(self.next).copied()?;
        if key {
            self.last_key = Some(now);
            self.key_wanted = false;
        }
        self.next = (self.next + 1) % self.clip.frames.len();
        self.number = self.number.wrapping_add(1);
        self.media_us += u64::from(duration_us);
        Some(due)
    }

    /// Frames that were left out because they were too late.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Goes on at the frame whose time it is. Decoders need a key frame then.
    fn skip(&mut self, now: Duration) {
        let played_us = micros(now.saturating_sub(self.start));
        let frame_us = self
            .clip
            .frames
            .get(self.next)
            .map_or(1, |frame| u64::from(frame.0));
        let left_out = played_us.saturating_sub(self.media_us) / frame_us;
        self.media_us += left_out * frame_us;
        self.skipped += left_out;
        self.key_wanted = true;
        self.last_key = None;
    }

    fn go_to_key(&mut self, now: Duration) {
        let soon = |last: Duration| now.saturating_sub(last) < KEY_INTERVAL_MIN;
        if self.key_wanted && !self.last_key.is_some_and(soon) {
            self.next = self.clip.key_from(self.next);
        }
    }

    fn timestamp(&self) -> u32 {
        let ticks = u128::from(self.media_us) * u128::from(self.clip.clock_rate) / 1_000_000;
        let low = u32::try_from(ticks & u128::from(u32::MAX)).unwrap_or(0);
        self.first_timestamp.wrapping_add(low)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);
    const START: Duration = Duration::from_secs(5);

    /// Ten frames of 40 ms, the first and the sixth are key frames.
    fn pacer() -> Pacer {
        pacer_of(10, 5)
    }

    fn pacer_of(count: usize, key_interval: usize) -> Pacer {
        let frames = (0..count).map(|index| (40_000, index % key_interval == 0));
        let clip = Clip::new(Codec::Vp8, frames.collect()).unwrap();
        Pacer::new(clip, u32::MAX, START)
    }

    #[test]
    fn frames_come_at_their_times_and_the_clip_is_a_loop() {
        let mut pacer = pacer();
        assert_eq!(pacer.poll_due(START - MS), None);
        let first = pacer.poll_due(START + 3 * MS).unwrap();
        assert_eq!(
            (first.index, first.number, first.timestamp),
            (0, 0, u32::MAX)
        );
        assert_eq!(first.lateness, 3 * MS);
        assert_eq!(pacer.poll_due(START + 39 * MS), None);
        assert_eq!(pacer.poll_timeout(), START + 40 * MS);
        let mut indexes = Vec::new();
        while let Some(due) = pacer.poll_due(START + 440 * MS) {
            indexes.push((due.index, due.timestamp));
        }
        assert_eq!(indexes.len(), 11);
        assert_eq!(indexes[0], (1, 3599));
        assert_eq!(indexes[9], (0, 35_999));
    }

    #[test]
    fn a_key_frame_is_sent_when_asked_for_but_not_all_the_time() {
        let mut pacer = pacer_of(40, 20);
        pacer.poll_due(START);
        pacer.handle_key_request();
        let mut indexes = Vec::new();
        for step in 1..10 {
            indexes.extend(pacer.poll_due(START + step * 40 * MS).map(|due| due.index));
        }
        // The last key frame was sent at 0 ms: the wish is served with the frame of 320 ms.
        assert_eq!(indexes, [1, 2, 3, 4, 5, 6, 7, 20, 21]);
    }

    #[test]
    fn what_is_too_late_is_left_out_up_to_a_key_frame() {
        let mut pacer = pacer();
        pacer.poll_due(START);
        let due = pacer.poll_due(START + 3000 * MS).unwrap();
        assert!(due.lateness > LATENESS_MAX);
        assert_eq!((due.index, due.number), (5, 1));
        assert_eq!(pacer.skipped(), 74);
        assert_eq!(due.timestamp, u32::MAX.wrapping_add(75 * 3600));
    }

    #[test]
    fn after_a_pause_it_goes_on_with_a_key_frame_and_is_not_late() {
        let mut pacer = pacer();
        pacer.poll_due(START);
        pacer.handle_resume(START + 2010 * MS);
        let due = pacer.poll_due(START + 2010 * MS).unwrap();
        assert_eq!((due.index, due.lateness), (5, Duration::ZERO));
        assert_eq!(pacer.skipped(), 0);
    }

    proptest! {
        #[test]
        fn the_rate_is_kept_whenever_it_is_asked(
            steps in proptest::collection::vec(1_u32..200, 1..200),
            wishes in proptest::collection::vec(any::<bool>(), 200),
        ) {
            let mut pacer = pacer();
            let mut now = START;
            let mut sent = 0;
            let mut last = None;
            for (step, wish) in steps.iter().zip(wishes) {
                now += *step * MS;
                if wish {
                    pacer.handle_key_request();
                }
                while let Some(due) = pacer.poll_due(now) {
                    prop_assert_eq!(due.number, sent);
                    prop_assert!(due.lateness < 200 * MS);
                    prop_assert!(last != Some(due.timestamp));
                    last = Some(due.timestamp);
                    sent += 1;
                }
                let elapsed = u32::try_from((now - START).as_millis()).unwrap();
                prop_assert_eq!(sent, elapsed / 40 + 1);
            }
        }
    }
}
