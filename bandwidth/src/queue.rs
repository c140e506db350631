//! How long the queue on the way is at its shortest.
//!
//! Jitter lets some packets through at once; a link that is full lets none. So the least delay of the
//! last packets over the least of the last seconds is a queue that does not go away.

/// Microseconds in which the shortest delay counts as that of an empty queue. Clocks drift apart by
/// some milliseconds in it.
const BASE_SPAN: i64 = 10_000_000;
/// Microseconds in which no packet may be quicker: two frames at least.
const RECENT_SPAN: i64 = 100_000;
/// Of the old values in what is usual: a second and a half of spans.
const USUAL: f64 = 15.0 / 16.0;
/// Microseconds that are a queue where the network is even.
const STANDING: i64 = 25_000;
/// Nothing but a full link makes all packets wait so long, where the network is even.
const DEEP: i64 = 100_000;
/// So many mean deviations above what is usual is unusual.
const DEVIATIONS: f64 = 3.0;
/// Microseconds that may be usual, at most: a queue that grows slowly is not to be learnt.
const USUAL_MAX: f64 = 75_000.0;

/// The least of one to two spans.
#[derive(Debug)]
struct Least {
    span: i64,
    since: i64,
    current: Option<i64>,
    previous: Option<i64>,
}

impl Least {
    fn new(span: i64) -> Self {
        Self {
            span,
            since: 0,
            current: None,
            previous: None,
        }
    }

    /// Whether it begins a span.
    fn push(&mut self, at: i64, value: i64) -> bool {
        let begins = self.current.is_none() || at.saturating_sub(self.since) >= self.span;
        if begins {
            self.previous = self.current;
            self.since = at;
            self.current = Some(value);
        }
        self.current = self.current.min(Some(value));
        begins
    }

    /// None before there is a whole span.
    fn whole(&self) -> Option<i64> {
        Some(self.current?.min(self.previous?))
    }

    fn any(&self) -> Option<i64> {
        let current = self.current?;
        Some(self.previous.map_or(current, |least| least.min(current)))
    }
}

/// How the queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// None, or no more than usual.
    Usual,
    /// More than usual.
    Standing,
    /// Far more.
    Deep,
}

#[derive(Debug)]
pub(crate) struct Queue {
    base: Least,
    recent: Least,
    /// Mean of the least delays over the base, and their mean deviation, microseconds.
    usual: f64,
    deviation: f64,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            base: Least::new(BASE_SPAN),
            recent: Least::new(RECENT_SPAN),
            usual: 0.0,
            deviation: 0.0,
        }
    }
}

impl Queue {
    /// A packet with its times of departure and arrival, each on its own clock, microseconds.
    pub(crate) fn push(&mut self, sent: i64, arrived: i64) {
        let delay = arrived.saturating_sub(sent);
        self.base.push(arrived, delay);
        if self.recent.push(arrived, delay)
            && let Some((least, base)) = self.recent.previous.zip(self.base.any())
        {
            self.learn(least.saturating_sub(base) as f64);
        }
    }

    fn learn(&mut self, least: f64) {
        let distance = (least - self.usual).abs();
        self.deviation = USUAL * self.deviation + (1.0 - USUAL) * distance;
        self.usual = USUAL * self.usual + (1.0 - USUAL) * least;
    }

    pub(crate) fn level(&self) -> Level {
        let usual = (self.usual + DEVIATIONS * self.deviation).clamp(0.0, USUAL_MAX) as i64;
        match self.standing() {
            standing if standing >= DEEP.saturating_add(2 * usual) => Level::Deep,
            standing if standing >= STANDING.saturating_add(usual) => Level::Standing,
            _ => Level::Usual,
        }
    }

    /// Microseconds that every packet of the last tenth of a second has waited.
    fn standing(&self) -> i64 {
        let standing = self.recent.whole().zip(self.base.any());
        standing.map_or(0, |(recent, base)| recent.saturating_sub(base))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets each 10 ms with these delays in milliseconds.
    fn with(delays: impl IntoIterator<Item = i64>) -> Queue {
        let mut queue = Queue::default();
        for (sent, delay) in (0..).step_by(10_000).zip(delays) {
            queue.push(sent, sent + delay * 1000);
        }
        queue
    }

    #[test]
    fn one_quick_packet_says_that_there_is_no_queue() {
        let jitter = (0..100).map(|place| if place % 10 == 0 { 20 } else { 120 });
        assert_eq!(with(jitter).standing(), 0);
    }

    #[test]
    fn a_queue_that_all_packets_wait_in_is_seen() {
        let filling = (0..100).map(|place| if place < 50 { 20 } else { 70 });
        assert_eq!(with(filling).standing(), 50_000);
        assert_eq!(with([20, 20]).standing(), 0, "too early to say");
    }

    #[test]
    fn after_some_seconds_the_shortest_delay_is_the_usual_one() {
        let moved = (0..4000).map(|place| if place < 50 { 20 } else { 70 });
        assert_eq!(with(moved).standing(), 0);
    }
}
