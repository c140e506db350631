//! Freezes, as W3C's "Identifiers for WebRTC's Statistics API" defines `freezeCount`: the time
//! between two frames that are shown one after the other is at least max(3 x mean, mean + 150 ms),
//! the mean being that of the last 30 frames; `totalFreezesDuration` is the sum of these times.

/// Frames in the mean.
const HISTORY: usize = 30;
/// With fewer frames the mean says nothing, and no freeze is counted.
const HISTORY_MIN: usize = 5;
const MARGIN_NS: u64 = 150_000_000;

/// The time between two frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// How long, in nanoseconds.
    pub ns: u64,
    /// It is a freeze.
    pub frozen: bool,
}

/// Watches when frames are shown.
#[derive(Debug, Default)]
pub struct FreezeTracker {
    last_ns: Option<u64>,
    history: [u64; HISTORY],
    count: usize,
    sum: u64,
}

impl FreezeTracker {
    /// A frame is shown; the time since the one before.
    pub fn handle_frame(&mut self, now_ns: u64) -> Option<Gap> {
        let last_ns = self.last_ns.replace(now_ns)?;
        let ns = now_ns.saturating_sub(last_ns);
        let frozen = self.is_freeze(ns);
        if let Some(slot) = self.history.get_mut(self.count % HISTORY) {
            self.sum = self.sum.saturating_sub(*slot).saturating_add(ns);
            *slot = ns;
        }
        self.count += 1;
        Some(Gap { ns, frozen })
    }

    /// No frames are expected until the next one.
    pub fn handle_pause(&mut self) {
        self.last_ns = None;
    }

    /// The end: if no frame came for as long as a freeze takes, it is one.
    pub fn finish(&mut self, now_ns: u64) -> Option<Gap> {
        let ns = now_ns.saturating_sub(self.last_ns.take()?);
        self.is_freeze(ns).then_some(Gap { ns, frozen: true })
    }

    fn is_freeze(&self, ns: u64) -> bool {
        let filled = self.count.min(HISTORY);
        if filled < HISTORY_MIN {
            return false;
        }
        let mean = self.sum / u64::try_from(filled).unwrap_or(1).max(1);
        ns >= mean.saturating_mul(3).max(mean.saturating_add(MARGIN_NS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Frames every 40 ms, the last one at the time that is returned.
    fn playing(frames: u64) -> (FreezeTracker, u64) {
        let mut tracker = FreezeTracker::default();
        for frame in 0..frames {
            let gap = tracker.handle_frame(frame * 40 * MS);
            assert!(gap.is_none_or(|gap| !gap.frozen));
        }
        (tracker, (frames - 1) * 40 * MS)
    }

    #[test]
    fn the_limit_is_the_mean_and_150_ms_at_25_frames_a_second() {
        let (mut tracker, last) = playing(40);
        let gap = tracker.handle_frame(last + 189 * MS).unwrap();
        assert!(!gap.frozen);
        let (mut tracker, last) = playing(40);
        let gap = tracker.handle_frame(last + 190 * MS).unwrap();
        assert_eq!((gap.frozen, gap.ns), (true, 190 * MS));
    }

    #[test]
    fn the_limit_is_three_means_where_frames_are_rare() {
        let mut tracker = FreezeTracker::default();
        for frame in 0..20 {
            tracker.handle_frame(frame * 200 * MS);
        }
        assert!(!tracker.handle_frame((3800 + 599) * MS).unwrap().frozen);
        assert!(tracker.handle_frame((4399 + 700) * MS).unwrap().frozen);
    }

    #[test]
    fn a_pause_is_no_freeze_and_a_picture_that_stands_until_the_end_is() {
        let (mut tracker, last) = playing(40);
        tracker.handle_pause();
        assert_eq!(tracker.handle_frame(last + 5000 * MS), None);
        assert_eq!(tracker.finish(last + 5100 * MS), None);
        let (mut tracker, last) = playing(40);
        let end = tracker.finish(last + 5000 * MS).unwrap();
        assert_eq!((end.frozen, end.ns), (true, 5000 * MS));
    }

    #[test]
    fn the_first_frames_are_too_few_to_tell() {
        let (mut tracker, last) = playing(4);
        assert!(!tracker.handle_frame(last + 5000 * MS).unwrap().frozen);
    }
}
