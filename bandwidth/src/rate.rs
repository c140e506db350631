//! The rate itself: up slowly, down at once (draft-ietf-rmcat-gcc-02 section 5.5).

use crate::bitrate::Bitrate;
use crate::estimator::Config;
use crate::queue::Level;
use std::time::{Duration, Instant};

/// A second far from the last known limit.
const GROWTH: f64 = 1.08;
/// Bits that come along in each response time near that limit: a packet.
const STEP_BITS: f64 = 8.0 * 1200.0;
/// A sender hears of its change after a round trip and this: feedback, filters.
const RESPONSE: Duration = Duration::from_millis(100);
/// Without probes the rate is known up to what was carried, and so much more.
const CARRIED_FACTOR: f64 = 1.5;
const CARRIED_EXTRA: Bitrate = Bitrate::from_kbps(10);
/// Of what arrives when the link is full, so that the queue drains.
const BACK_OFF: f64 = 0.85;
/// Of the rate itself, for a queue that is short: that may be jitter, and what arrives of somebody who
/// sends little says little.
const STEP_BACK: f64 = 0.75;
/// What arrives is near the last known limit if it is no further from it, as a share.
const NEAR: f64 = 0.15;

#[derive(Debug)]
pub(crate) struct Rate {
    current: Bitrate,
    min: Bitrate,
    max: Bitrate,
    /// What arrived when the link was full.
    limit: Option<Bitrate>,
    grown: Option<Instant>,
    lowered: Option<Instant>,
}

impl Rate {
    pub(crate) fn new(config: Config) -> Self {
        let mut rate = Self {
            current: config.start,
            min: config.min,
            max: config.max,
            limit: None,
            grown: None,
            lowered: None,
        };
        rate.set(config.start);
        rate
    }

    pub(crate) fn current(&self) -> Bitrate {
        self.current
    }

    fn set(&mut self, to: Bitrate) {
        self.current = to.min(self.max).max(self.min);
    }

    /// The network is quiet; so much arrives.
    pub(crate) fn grow(&mut self, carried: Option<Bitrate>, round_trip: Duration, now: Instant) {
        let elapsed = self.grown.map_or(0.0, |last| {
            now.saturating_duration_since(last).as_secs_f64().min(1.0)
        });
        self.grown = Some(now);
        let Some(carried) = carried else {
            return;
        };
        let grown = if self.is_near_limit(carried) {
            let response = (round_trip + RESPONSE).as_secs_f64();
            let bits = STEP_BITS / response * elapsed;
            self.current.saturating_add(Bitrate::new(bits as u64))
        } else {
            self.current.scale(GROWTH.powf(elapsed))
        };
        let most = carried.scale(CARRIED_FACTOR).saturating_add(CARRIED_EXTRA);
        // What arrives without a queue is proven.
        self.set(grown.min(most).max(self.current).max(carried));
    }

    /// The network is not quiet: time passes without growth.
    pub(crate) fn hold(&mut self, now: Instant) {
        self.grown = Some(now);
    }

    fn is_near_limit(&mut self, carried: Bitrate) -> bool {
        let Some(limit) = self.limit else {
            return false;
        };
        if carried > limit.scale(1.0 + NEAR) {
            self.limit = None;
            return false;
        }
        carried >= limit.scale(1.0 - NEAR)
    }

    /// The link is full; so much arrives. False if the last time is too recent to show in what is seen.
    pub(crate) fn lower(
        &mut self,
        carried: Option<Bitrate>,
        level: Level,
        round_trip: Duration,
        now: Instant,
    ) -> bool {
        self.hold(now);
        let answer = round_trip.clamp(RESPONSE / 2, 3 * RESPONSE) + RESPONSE;
        let soon = |at| now.saturating_duration_since(at) < answer;
        if self.lowered.is_some_and(soon) {
            return false;
        }
        self.lowered = Some(now);
        let target = match (carried, level) {
            (Some(carried), Level::Deep) => carried.scale(BACK_OFF),
            (Some(carried), _) => carried.scale(BACK_OFF).max(self.current.scale(STEP_BACK)),
            (None, _) => self.current.scale(STEP_BACK),
        };
        self.limit = carried;
        let lower = target < self.current;
        self.set(target.min(self.current));
        lower
    }

    /// Packets get lost: a factor down, but not below what is proven to arrive.
    pub(crate) fn lower_by(&mut self, factor: f64, carried: Bitrate, now: Instant) {
        self.hold(now);
        let target = self.current.scale(factor).max(carried.scale(BACK_OFF));
        self.set(target.min(self.current));
    }

    /// A probe has come through.
    pub(crate) fn raise(&mut self, to: Bitrate) {
        self.set(to.max(self.current));
        if self.limit.is_some_and(|limit| to > limit.scale(1.0 + NEAR)) {
            self.limit = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIP: Duration = Duration::from_millis(50);

    fn kbps(kilobits: u64) -> Bitrate {
        Bitrate::from_kbps(kilobits)
    }

    fn rate(start: u64) -> Rate {
        Rate::new(Config {
            start: kbps(start),
            min: kbps(50),
            max: kbps(5000),
        })
    }

    fn grow_for(rate: &mut Rate, carried: Bitrate, from: Instant, seconds: u64) -> Instant {
        let mut now = from;
        for _ in 0..=10 * seconds {
            rate.grow(Some(carried), TRIP, now);
            now += Duration::from_millis(100);
        }
        now
    }

    #[test]
    fn it_grows_no_further_than_what_is_carried_bears_out() {
        let mut rate = rate(400);
        let now = grow_for(&mut rate, kbps(300), Instant::now(), 1);
        let second = rate.current().as_u64();
        assert!((431_000..=433_000).contains(&second), "{second}");
        let now = grow_for(&mut rate, kbps(400), now, 20);
        assert_eq!(rate.current(), kbps(610));
        grow_for(&mut rate, kbps(100), now, 1);
        assert_eq!(rate.current(), kbps(610), "it is not taken back either");
        let mut unknown = Rate::new(Config::default());
        let start = unknown.current();
        unknown.grow(None, TRIP, now + TRIP);
        assert_eq!(unknown.current(), start);
    }

    #[test]
    fn what_arrives_without_a_queue_is_proven() {
        let mut rate = rate(400);
        rate.grow(Some(kbps(1800)), TRIP, Instant::now());
        assert_eq!(rate.current(), kbps(1800));
    }

    #[test]
    fn near_the_last_limit_it_grows_by_a_packet_a_round_trip() {
        let mut rate = rate(1000);
        let now = Instant::now();
        assert!(rate.lower(Some(kbps(1000)), Level::Deep, TRIP, now));
        assert_eq!(rate.current(), kbps(850));
        let now = grow_for(&mut rate, kbps(860), now, 1);
        let near = rate.current().as_u64();
        assert!((923_000..=925_000).contains(&near), "{near}");
        grow_for(&mut rate, kbps(2000), now, 1);
        let beyond = rate.current().as_u64() as f64;
        assert!(beyond > 1.07 * near as f64, "the limit is gone");
    }

    #[test]
    fn a_deep_queue_lowers_it_to_what_arrives_and_a_short_one_by_steps() {
        let now = Instant::now();
        let mut deep = rate(2000);
        assert!(deep.lower(Some(kbps(200)), Level::Deep, TRIP, now));
        assert_eq!(deep.current(), kbps(170));
        let mut shallow = rate(2000);
        assert!(shallow.lower(Some(kbps(200)), Level::Standing, TRIP, now));
        assert_eq!(shallow.current(), kbps(1500));
        assert!(!shallow.lower(Some(kbps(200)), Level::Deep, TRIP, now + TRIP));
        let later = now + 4 * TRIP;
        assert!(shallow.lower(Some(kbps(1600)), Level::Standing, TRIP, later));
        assert_eq!(shallow.current(), kbps(1360));
    }

    #[test]
    fn it_is_never_raised_by_what_lowers_nor_lowered_by_what_raises() {
        let now = Instant::now();
        let mut rate = rate(400);
        assert!(!rate.lower(Some(kbps(900)), Level::Deep, TRIP, now));
        rate.lower_by(0.9, kbps(900), now);
        rate.raise(kbps(300));
        assert_eq!(rate.current(), kbps(400));
        rate.raise(kbps(1700));
        assert_eq!(rate.current(), kbps(1700));
        rate.lower_by(0.5, kbps(1200), now);
        assert_eq!(rate.current(), kbps(1020), "0.85 of what arrives");
    }

    #[test]
    fn it_stays_between_its_bounds() {
        let now = Instant::now();
        let mut rate = rate(400);
        rate.raise(kbps(9000));
        assert_eq!(rate.current(), kbps(5000));
        rate.lower_by(0.0, Bitrate::ZERO, now);
        assert_eq!(rate.current(), kbps(50));
    }
}
