//! A bottleneck: a rate with a bucket of tokens, a queue that drops its tail, then loss, delay and jitter.

use crate::random::Random;
use std::collections::VecDeque;

/// How packets are held up behind the bottleneck.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Jitter {
    None,
    /// Each packet by chance up to so many milliseconds; none overtakes another.
    Ordered(f64),
    /// The same, but they do overtake.
    Unordered(f64),
    /// Nothing passes for so many milliseconds now and then (a radio that is busy); then all at once.
    Pauses(f64),
}

#[derive(Clone, Debug)]
pub(crate) struct Conditions {
    pub(crate) kbps: f64,
    /// The longest queue in milliseconds.
    pub(crate) queue_ms: f64,
    pub(crate) delay_ms: f64,
    /// 0 to 1.
    pub(crate) loss: f64,
    pub(crate) jitter: Jitter,
    /// Bytes that pass at once after a rest.
    pub(crate) bucket: f64,
    /// Of feedback, 0 to 1.
    pub(crate) feedback_loss: f64,
}

impl Conditions {
    pub(crate) fn of(kbps: f64) -> Self {
        Self {
            kbps,
            queue_ms: 400.0,
            delay_ms: 25.0,
            loss: 0.0,
            jitter: Jitter::None,
            bucket: 0.0,
            feedback_loss: 0.0,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) sequence: u16,
    /// Microseconds.
    pub(crate) at: f64,
    /// In the queue, milliseconds.
    pub(crate) queued_ms: f64,
}

struct Waiting {
    sequence: u16,
    bytes: f64,
    since: f64,
}

pub(crate) struct Link {
    pub(crate) conditions: Conditions,
    queue: VecDeque<Waiting>,
    queued_bytes: f64,
    tokens: f64,
    last_arrival: f64,
    blocked_until: f64,
    random: Random,
}

impl Link {
    pub(crate) fn new(conditions: Conditions, seed: u64) -> Self {
        Self {
            conditions,
            queue: VecDeque::new(),
            queued_bytes: 0.0,
            tokens: 0.0,
            last_arrival: 0.0,
            blocked_until: 0.0,
            random: Random::new(seed),
        }
    }

    pub(crate) fn push(&mut self, sequence: u16, bytes: usize, now: f64) {
        let bytes = bytes as f64;
        let limit = self.conditions.kbps / 8.0 * self.conditions.queue_ms;
        if self.queued_bytes + bytes > limit.max(3000.0) {
            return;
        }
        self.queued_bytes += bytes;
        self.queue.push_back(Waiting {
            sequence,
            bytes,
            since: now,
        });
    }

    /// Serves the queue for `step` microseconds until `now`.
    pub(crate) fn serve(&mut self, now: f64, step: f64, arrived: &mut Vec<Arrival>) {
        self.tokens += self.conditions.kbps / 8000.0 * step;
        while let Some(front) = self.queue.front() {
            if front.bytes > self.tokens {
                break;
            }
            let Waiting {
                sequence,
                bytes,
                since,
            } = self.queue.pop_front().unwrap();
            self.tokens -= bytes;
            self.queued_bytes -= bytes;
            if self.random.unit() >= self.conditions.loss {
                let at = self.delayed(now);
                let queued_ms = (now - since) / 1000.0;
                arrived.push(Arrival {
                    sequence,
                    at,
                    queued_ms,
                });
            }
        }
        if self.queue.is_empty() {
            self.tokens = self.tokens.min(self.conditions.bucket);
        }
    }

    fn delayed(&mut self, now: f64) -> f64 {
        let at = now + self.conditions.delay_ms * 1000.0;
        match self.conditions.jitter {
            Jitter::None => at,
            Jitter::Unordered(most) => at + self.random.between(0.0, most) * 1000.0,
            Jitter::Ordered(most) => {
                let at = at + self.random.between(0.0, most) * 1000.0;
                self.last_arrival = self.last_arrival.max(at);
                self.last_arrival
            }
            Jitter::Pauses(most) => {
                if at > self.blocked_until + 50_000.0 && self.random.unit() < 0.02 {
                    self.blocked_until = at + self.random.between(0.3, 1.0) * most * 1000.0;
                }
                at.max(self.blocked_until)
            }
        }
    }
}
