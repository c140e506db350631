//! How good a participant's connection is, in the three words that clients show. A policy without state.

use proto::media::Rating;
use std::time::Duration;

/// What there is to judge by.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Signs {
    /// The larger share of packets lost on the way here or there, 0.0 to 1.0.
    pub(super) loss: f32,
    pub(super) rtt: Duration,
    /// The line is too thin for a picture that is wanted.
    pub(super) starved: bool,
}

/// Points lost per percent of packets lost: speech suffers from 3 % on, and is hard to follow at 9 %.
const PER_LOSS: f32 = 7.0;
/// A round trip that nobody notices in a talk (ITU-T G.114: 150 ms one way).
const RTT_FREE: Duration = Duration::from_millis(300);
/// Points lost per 100 ms beyond.
const PER_RTT: f32 = 8.0;
const EXCELLENT: f32 = 80.0;
const GOOD: f32 = 40.0;

pub(super) fn rate(signs: Signs) -> Rating {
    let late = signs.rtt.saturating_sub(RTT_FREE).as_secs_f32() * 10.0;
    let points = 100.0 - PER_LOSS * 100.0 * signs.loss - PER_RTT * late;
    match points {
        _ if signs.starved => Rating::Poor,
        EXCELLENT.. => Rating::Excellent,
        GOOD.. => Rating::Good,
        _ => Rating::Poor,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rated(loss: f32, rtt: u64) -> Rating {
        rate(Signs {
            loss,
            rtt: Duration::from_millis(rtt),
            starved: false,
        })
    }

    #[test]
    fn loss_and_long_ways_cost() {
        assert_eq!(rated(0.0, 0), Rating::Excellent);
        assert_eq!(rated(0.028, 300), Rating::Excellent);
        assert_eq!(rated(0.03, 300), Rating::Good);
        assert_eq!(rated(0.0, 600), Rating::Good);
        assert_eq!(rated(0.085, 0), Rating::Good);
        assert_eq!(rated(0.09, 0), Rating::Poor);
        assert_eq!(rated(0.03, 1_000), Rating::Poor);
    }

    #[test]
    fn whoever_misses_a_picture_has_a_poor_line() {
        let signs = Signs {
            starved: true,
            ..Signs::default()
        };
        assert_eq!(rate(signs), Rating::Poor);
    }
}
