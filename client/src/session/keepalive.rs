//! Pings: when the next one is due, and when the server counts as gone.

use livekit_protocol as lk;
use std::time::{Duration, Instant};

/// If the server does not say how often.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// If the server does not say how long it may be silent.
const PING_TIMEOUT: Duration = Duration::from_secs(15);

pub(super) struct Keepalive {
    /// Pings carry the milliseconds since then: the server only returns them.
    epoch: Instant,
    interval: Duration,
    timeout: Duration,
    /// `None` before the join.
    next_ping: Option<Instant>,
    heard: Instant,
    round_trip: Duration,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    Nothing,
    Ping(lk::Ping),
    Gone,
}

impl Keepalive {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            epoch: now,
            interval: PING_INTERVAL,
            timeout: PING_TIMEOUT,
            next_ping: None,
            heard: now,
            round_trip: Duration::ZERO,
        }
    }

    /// Begins, with the server's times in seconds; 0: it did not say.
    pub(super) fn start(&mut self, interval_s: i32, timeout_s: i32, now: Instant) {
        let or = |seconds: i32, default| match u64::try_from(seconds) {
            Ok(0) | Err(_) => default,
            Ok(seconds) => Duration::from_secs(seconds),
        };
        self.interval = or(interval_s, PING_INTERVAL);
        // Shorter than the interval it would fire between two pings.
        self.timeout = or(timeout_s, PING_TIMEOUT).max(self.interval * 2);
        self.next_ping = Some(now + self.interval);
        self.heard = now;
    }

    /// Nobody is there to be pinged.
    pub(super) fn stop(&mut self) {
        self.next_ping = None;
    }

    /// Somebody is there again, with the same times.
    pub(super) fn restart(&mut self, now: Instant) {
        self.next_ping = Some(now + self.interval);
        self.heard = now;
    }

    pub(super) fn handle_message(&mut self, now: Instant) {
        self.heard = now;
    }

    /// The answer to a ping: how long it took.
    pub(super) fn handle_pong(&mut self, pong: &lk::Pong, now: Instant) -> Option<Duration> {
        let sent = u64::try_from(pong.last_ping_timestamp).ok()?;
        let took = now.saturating_duration_since(self.epoch);
        self.round_trip = took.checked_sub(Duration::from_millis(sent))?;
        Some(self.round_trip)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        Some(self.next_ping?.min(self.heard + self.timeout))
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Verdict {
        let Some(next_ping) = self.next_ping else {
            return Verdict::Nothing;
        };
        if self.heard + self.timeout <= now {
            return Verdict::Gone;
        }
        if now < next_ping {
            return Verdict::Nothing;
        }
        self.next_ping = Some(now + self.interval);
        let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        Verdict::Ping(lk::Ping {
            timestamp: millis(now.saturating_duration_since(self.epoch)),
            rtt: millis(self.round_trip),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn pings_come_as_often_as_the_server_says_and_measure_the_way() {
        let start = Instant::now();
        let mut alive = Keepalive::new(start);
        assert_eq!(alive.poll_timeout(), None);
        alive.start(2, 10, start);
        assert_eq!(alive.poll_timeout(), Some(start + 2 * SECOND));
        assert_eq!(alive.handle_timeout(start + SECOND), Verdict::Nothing);
        let Verdict::Ping(ping) = alive.handle_timeout(start + 2 * SECOND) else {
            panic!("a ping is due");
        };
        let pong = lk::Pong {
            last_ping_timestamp: ping.timestamp,
            timestamp: 0,
        };
        let after = start + 2 * SECOND + Duration::from_millis(7);
        assert_eq!(
            alive.handle_pong(&pong, after),
            Some(Duration::from_millis(7))
        );
        assert_eq!(alive.poll_timeout(), Some(start + 4 * SECOND));
    }

    #[test]
    fn a_server_that_says_nothing_is_gone_in_time() {
        let start = Instant::now();
        let mut alive = Keepalive::new(start);
        alive.start(0, 0, start);
        alive.handle_message(start + 3 * SECOND);
        assert!(matches!(
            alive.handle_timeout(start + 17 * SECOND),
            Verdict::Ping(_)
        ));
        assert_eq!(alive.handle_timeout(start + 18 * SECOND), Verdict::Gone);
    }

    #[test]
    fn a_pong_from_the_future_is_no_measurement() {
        let start = Instant::now();
        let mut alive = Keepalive::new(start);
        for sent in [-1, 1_000_000] {
            let pong = lk::Pong {
                last_ping_timestamp: sent,
                timestamp: 0,
            };
            assert_eq!(alive.handle_pong(&pong, start), None);
        }
    }
}
