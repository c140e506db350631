//! How long nothing better is tried after a line let less through. A policy: no clock.
//!
//! Each try costs a key frame, and a picture that stands still if it fails. Who tries in vain waits longer
//! each time.

use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_secs(3);
/// The same if nothing comes through any more: on such a line a try in vain is heard, too.
const FIRST_PAUSED: Duration = Duration::from_secs(15);
const LONGEST: Duration = Duration::from_secs(60);
/// How long it takes until the key frame that something better began with is through.
const FRESH: Duration = Duration::from_millis(1200);
/// Something better that lasted for so long was not in vain.
const LASTED: Duration = Duration::from_secs(15);

/// The ups and downs of one subscription.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Setback {
    fell: Option<Instant>,
    rose: Option<Instant>,
    wait: Duration,
}

impl Setback {
    /// It gets less from now on, or nothing at all.
    pub(super) fn fall(&mut self, to_nothing: bool, now: Instant) {
        let first = if to_nothing { FIRST_PAUSED } else { FIRST };
        let lasted = |at| now.saturating_duration_since(at) >= LASTED;
        let in_vain = self.rose.take().is_some_and(|at| !lasted(at));
        let steps = self.fell.is_some_and(|at| !lasted(at));
        self.wait = match self.wait {
            // One fall after the other is one setback.
            wait if steps && !in_vain => wait.max(first),
            wait if in_vain => (2 * wait).clamp(first, LONGEST),
            _ => first,
        };
        self.fell = Some(now);
    }

    /// It gets more from now on.
    pub(super) fn rise(&mut self, now: Instant) {
        self.rose = Some(now);
    }

    /// It got more just now.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        let recent = |at| now.saturating_duration_since(at) < FRESH;
        self.rose.is_some_and(recent)
    }

    /// Nothing better is to be tried yet.
    pub(super) fn is_settling(&self, now: Instant) -> bool {
        let recent = |at| now.saturating_duration_since(at) < self.wait;
        self.fell.is_some_and(recent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Script {
        setback: Setback,
        now: Instant,
    }

    impl Script {
        fn new() -> Self {
            Self {
                setback: Setback::default(),
                now: Instant::now(),
            }
        }

        /// Falls, and says after how many whole seconds something better is tried, and tried.
        fn try_again(&mut self) -> u64 {
            self.setback.fall(false, self.now);
            let mut seconds = 0;
            while self.setback.is_settling(self.now) {
                self.now += Duration::from_secs(1);
                seconds += 1;
            }
            self.setback.rise(self.now);
            seconds
        }
    }

    #[test]
    fn who_tries_in_vain_waits_twice_as_long_each_time() {
        let mut script = Script::new();
        assert!(!script.setback.is_settling(script.now));
        let waits: Vec<u64> = (0..7).map(|_| script.try_again()).collect();
        assert_eq!(waits, [3, 6, 12, 24, 48, 60, 60]);
    }

    #[test]
    fn what_lasted_was_not_in_vain() {
        let mut script = Script::new();
        script.try_again();
        script.try_again();
        script.now += LASTED;
        assert_eq!(script.try_again(), 3);
    }

    #[test]
    fn a_fall_by_several_steps_is_one_setback() {
        let mut script = Script::new();
        script.setback.fall(false, script.now);
        script.now += Duration::from_millis(300);
        assert_eq!(script.try_again(), 3);
    }

    #[test]
    fn who_got_nothing_waits_longer() {
        let mut script = Script::new();
        script.setback.fall(false, script.now);
        script.setback.fall(true, script.now);
        script.now += Duration::from_secs(14);
        assert!(script.setback.is_settling(script.now));
        script.now += Duration::from_secs(1);
        assert!(!script.setback.is_settling(script.now));
    }
}
