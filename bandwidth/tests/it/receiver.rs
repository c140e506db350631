//! Feedback as Chromium sends it: each 50 to 100 ms, from behind the last one, or from what came late.

use crate::link::Arrival;
use crate::random::Random;
use crate::writer;

/// Milliseconds of a unit of the reference time.
const REFERENCE_MS: f64 = 64.0;

pub(crate) struct Receiver {
    /// Packets that were received in the last while, by continued number; microseconds.
    arrivals: std::collections::BTreeMap<i64, f64>,
    pending: Vec<Arrival>,
    next: Option<i64>,
    newest: i64,
    due: f64,
    packets: u8,
    random: Random,
    /// What the receiver's clock is ahead, microseconds.
    offset: f64,
}

impl Receiver {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            arrivals: std::collections::BTreeMap::new(),
            pending: Vec::new(),
            next: None,
            newest: 0,
            due: 0.0,
            packets: 0,
            random: Random::new(seed),
            offset: 1_234_567_890.0,
        }
    }

    pub(crate) fn push(&mut self, arrivals: &mut Vec<Arrival>) {
        self.pending.append(arrivals);
    }

    /// What has arrived by now is noted, and told if it is time. Returns FCI.
    pub(crate) fn poll(&mut self, now: f64) -> Option<Vec<u8>> {
        let mut later = Vec::new();
        for arrival in std::mem::take(&mut self.pending) {
            if arrival.at > now {
                later.push(arrival);
                continue;
            }
            let ahead = arrival.sequence.wrapping_sub(self.newest as u16) as i16;
            let number = self.newest + i64::from(ahead);
            self.newest = self.newest.max(number);
            self.arrivals.insert(number, arrival.at);
            let next = self.next.unwrap_or(number);
            self.next = Some(next.min(number));
        }
        self.pending = later;
        if now < self.due || self.arrivals.is_empty() {
            return None;
        }
        self.due = now + self.random.between(50_000.0, 100_000.0);
        self.write()
    }

    fn write(&mut self) -> Option<Vec<u8>> {
        let base = self.next?;
        let (last, _) = self.arrivals.last_key_value()?;
        let last = *last;
        if last < base {
            return None;
        }
        let first = self.arrivals.range(base..).next()?;
        let reference = ((first.1 + self.offset) / 1000.0 / REFERENCE_MS).floor();
        let ticks = |at: &f64| {
            ((at + self.offset - reference * REFERENCE_MS * 1000.0) / 250.0).round() as i64
        };
        let statuses: Vec<_> = (base..=last)
            .map(|number| self.arrivals.get(&number).map(ticks))
            .collect();
        self.packets = self.packets.wrapping_add(1);
        self.next = Some(last + 1);
        self.arrivals = self.arrivals.split_off(&(last - 300));
        let reference = reference as u64 as u32 & 0xff_ffff;
        Some(writer::fci(base as u16, reference, self.packets, &statuses))
    }
}
