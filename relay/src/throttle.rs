//! Log lines that a stranger can cause: not more than one in a while.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two lines.
const EVERY: Duration = Duration::from_secs(5);

/// Says when to log again.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    silent: u64,
}

impl Throttle {
    /// Something to log happened at `now`: how many before it were not logged, if this one is to be.
    pub(crate) fn admit(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let soon = |last: Instant| now.saturating_duration_since(last) < EVERY;
        if state.last.is_some_and(soon) {
            state.silent += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.silent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_a_while_tells_how_many_were_left_out() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        assert_eq!(throttle.admit(start), Some(0));
        assert_eq!(throttle.admit(start + EVERY / 2), None);
        assert_eq!(throttle.admit(start + EVERY / 2), None);
        assert_eq!(throttle.admit(start + EVERY), Some(2));
        assert_eq!(throttle.admit(start + 3 * EVERY), Some(0));
    }
}
