//! How often one source is asked for a key frame.
//!
//! A key frame is ten times as large as another frame, and everybody in the room gets it. But whoever
//! comes sees nothing before the next one, and people come in bursts: at the start of a meeting, and when
//! a room moves. So a few may follow each other, and then they come at a steady pace: nobody waits longer
//! than that (a generic cell rate algorithm, ITU-T I.371, without a queue).

use std::time::{Duration, Instant};

/// The steady pace.
const PACE: Duration = Duration::from_millis(500);
/// So many requests may be ahead of it.
const BURST: u32 = 3;
/// Least time between two requests: libwebrtc forgets one that comes within 300 ms of the one before, and
/// whoever needs it would wait for the next. Some more, because packets do not take equally long.
const LEAST: Duration = Duration::from_millis(320);
/// A request waits so long at most for others who are about to be there: one key frame is for all, and
/// who came just after it would have to wait for the next.
const GATHER: Duration = Duration::from_millis(200);

/// The requests to one source.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyframeAsks {
    asked: Option<Instant>,
    /// When the next request would be due if all had kept the pace.
    due: Option<Instant>,
    /// Since when somebody has been waiting, because the source may not be asked yet.
    waiting: Option<Instant>,
}

impl KeyframeAsks {
    /// True if the source may be asked now; otherwise it is remembered. `more_come`: others who need the
    /// key frame are about to be there.
    pub(super) fn may_ask(&mut self, more_come: impl FnOnce() -> bool, now: Instant) -> bool {
        let too_soon = self.asked.is_some_and(|asked| now < asked + LEAST);
        let ahead = self.due.is_some_and(|due| now + PACE * (BURST - 1) < due);
        let since = *self.waiting.get_or_insert(now);
        if too_soon || ahead || (now < since + GATHER && more_come()) {
            return false;
        }
        self.waiting = None;
        self.asked = Some(now);
        self.due = Some(self.due.map_or(now, |due| due.max(now)) + PACE);
        true
    }

    /// Somebody waits for a key frame: it is asked for soon.
    pub(super) fn want(&mut self, now: Instant) {
        self.waiting.get_or_insert(now);
    }

    /// Whether somebody waits for a request that was too early.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// A key frame has come: whoever was waiting has it.
    pub(super) fn came(&mut self) {
        self.waiting = None;
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
            .filter(|ms| asks.may_ask(|| false, start + Duration::from_millis(*ms)))
            .collect();
        assert_eq!(
            asked,
            [0, 320, 640, 960, 1_280, 1_600, 2_000, 2_500, 3_000, 3_500]
        );
    }

    #[test]
    fn who_comes_after_a_burst_waits_for_one_pace_at_most() {
        let start = Instant::now();
        let mut asks = KeyframeAsks::default();
        let mut asks_at = |ms| asks.may_ask(|| false, start + Duration::from_millis(ms));
        assert!((0..6).all(|number| asks_at(number * 320)));
        assert!(!asks_at(1_980));
        assert!(asks_at(2_000));
        // Nobody asked for a while: a burst again, and no more than that.
        assert!((0..6).all(|number| asks_at(9_000 + number * 320)));
        assert!(!asks_at(10_980));
    }

    #[test]
    fn what_is_too_early_is_remembered_until_a_key_frame_comes() {
        let start = Instant::now();
        let mut asks = KeyframeAsks::default();
        assert!(asks.may_ask(|| false, start));
        assert!(!asks.is_waiting());
        assert!(!asks.may_ask(|| false, start + Duration::from_millis(319)));
        assert!(asks.is_waiting());
        asks.came();
        assert!(!asks.is_waiting());
    }
    #[test]
    fn one_key_frame_is_for_all_who_come_soon() {
        let start = Instant::now();
        let ms = |ms| start + Duration::from_millis(ms);
        let mut asks = KeyframeAsks::default();
        assert!(!asks.may_ask(|| true, ms(0)));
        assert!(!asks.may_ask(|| true, ms(60)));
        assert!(asks.may_ask(|| false, ms(90)), "all are there");
        assert!(!asks.may_ask(|| true, ms(1_000)));
        assert!(!asks.may_ask(|| true, ms(1_199)));
        assert!(asks.may_ask(|| true, ms(1_200)), "somebody does not come");
    }
}
