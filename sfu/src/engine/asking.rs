//! How often one source is asked for a key frame.
//!
//! A key frame is ten times as large as another frame, and everybody in the room gets it. But whoever
//! comes sees nothing before the next one, and people come in bursts: at the start of a meeting, and when
//! a room moves. So a few may follow each other, and then there is a pause.

use std::time::{Duration, Instant};

/// So many requests
const BURST: usize = 3;
/// within this time.
const BURST_TIME: Duration = Duration::from_millis(1_500);
/// Least time between two requests: that long a key frame may be under way.
const LEAST: Duration = Duration::from_millis(100);

/// The requests to one source.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyframeAsks {
    /// When it was asked; the newest is first.
    asked: [Option<Instant>; BURST],
    /// Somebody waits, and the source may not be asked yet.
    waiting: bool,
}

impl KeyframeAsks {
    /// True if the source may be asked now; otherwise it is remembered.
    pub(super) fn may_ask(&mut self, now: Instant) -> bool {
        let within = |at: Option<Instant>, time| {
            at.is_some_and(|at| now.saturating_duration_since(at) < time)
        };
        let [newest, .., oldest] = self.asked;
        self.waiting = within(newest, LEAST) || within(oldest, BURST_TIME);
        if !self.waiting {
            self.asked.rotate_right(1);
            self.asked[0] = Some(now);
        }
        !self.waiting
    }

    /// Whether somebody waits for a request that was too early.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// A key frame has come: whoever was waiting has it.
    pub(super) fn came(&mut self) {
        self.waiting = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_key_frames_follow_each_other_and_then_two_a_second() {
        let start = Instant::now();
        let mut asks = KeyframeAsks::default();
        let asked: Vec<u64> = (0..4_000)
            .step_by(20)
            .filter(|ms| asks.may_ask(start + Duration::from_millis(*ms)))
            .collect();
        assert_eq!(
            asked,
            [0, 100, 200, 1_500, 1_600, 1_700, 3_000, 3_100, 3_200]
        );
    }

    #[test]
    fn what_is_too_early_is_remembered_until_a_key_frame_comes() {
        let start = Instant::now();
        let mut asks = KeyframeAsks::default();
        assert!(asks.may_ask(start));
        assert!(!asks.is_waiting());
        assert!(!asks.may_ask(start + Duration::from_millis(99)));
        assert!(asks.is_waiting());
        asks.came();
        assert!(!asks.is_waiting());
    }
}
