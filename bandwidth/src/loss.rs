//! What got lost, and when that means that the link is full (draft-ietf-rmcat-gcc-02 section 6).

use std::time::{Duration, Instant};

/// Slots of the loss that is told and that holds growth.
const SLOTS: usize = 5;
const SLOT: Duration = Duration::from_millis(200);
/// Fewer packets say nothing.
const PACKETS_MIN: u32 = 20;
/// Below, the loss is the link's own, above it is ours.
const TOLERATED: f64 = 0.10;
/// So many standard deviations above what is tolerated: with 5 % of random loss each tenth verdict on
/// twenty packets would be above it by chance.
const DEVIATIONS: f64 = 2.0;
/// Between two verdicts, and a round trip.
const VERDICT_AFTER: Duration = Duration::from_millis(300);

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    all: u32,
    lost: u32,
}

impl Count {
    fn share(self) -> f64 {
        f64::from(self.lost) / f64::from(self.all.max(1))
    }
}

#[derive(Debug)]
pub(crate) struct Loss {
    slots: [Count; SLOTS],
    slot: usize,
    slot_since: Instant,
    /// Since the last verdict.
    pending: Count,
    judged: Instant,
}

impl Loss {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            slots: [Count::default(); SLOTS],
            slot: 0,
            slot_since: now,
            pending: Count::default(),
            judged: now,
        }
    }

    /// Goes on to the slot of `now`.
    pub(crate) fn advance(&mut self, now: Instant) {
        let slots = now.saturating_duration_since(self.slot_since).as_millis() / SLOT.as_millis();
        for _ in 0..slots.min(SLOTS as u128) {
            self.slot = (self.slot + 1) % SLOTS;
            if let Some(slot) = self.slots.get_mut(self.slot) {
                *slot = Count::default();
            }
        }
        if slots > 0 {
            self.slot_since = now;
        }
    }

    pub(crate) fn note_received(&mut self) {
        self.count(|count| count.all = count.all.saturating_add(1));
    }

    pub(crate) fn note_lost(&mut self) {
        self.count(|count| {
            count.all = count.all.saturating_add(1);
            count.lost = count.lost.saturating_add(1);
        });
    }

    /// It was told as lost before.
    pub(crate) fn note_late(&mut self) {
        self.count(|count| count.lost = count.lost.saturating_sub(1));
    }

    fn count(&mut self, change: impl Fn(&mut Count)) {
        change(&mut self.pending);
        if let Some(slot) = self.slots.get_mut(self.slot) {
            change(slot);
        }
    }

    /// Of the last second, 0 to 1.
    pub(crate) fn share(&self) -> f64 {
        let sum = self.slots.iter().fold(Count::default(), |sum, slot| Count {
            all: sum.all.saturating_add(slot.all),
            lost: sum.lost.saturating_add(slot.lost),
        });
        sum.share()
    }

    /// The share that was lost since the last verdict, if that is too much and if it is time to say so.
    pub(crate) fn verdict(&mut self, now: Instant, round_trip: Duration) -> Option<f64> {
        let elapsed = now.saturating_duration_since(self.judged);
        let Count { all, lost } = self.pending;
        if all < PACKETS_MIN || elapsed < VERDICT_AFTER + round_trip {
            return None;
        }
        let share = self.pending.share();
        self.pending = Count::default();
        self.judged = now;
        let deviation = (f64::from(all) * TOLERATED * (1.0 - TOLERATED)).sqrt();
        let limit = f64::from(all) * TOLERATED + DEVIATIONS * deviation;
        (f64::from(lost) > limit).then_some(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIP: Duration = Duration::from_millis(50);

    fn with(all: u32, lost: u32, now: Instant) -> Loss {
        let mut loss = Loss::new(now);
        for place in 0..all {
            if place < lost {
                loss.note_lost();
            } else {
                loss.note_received();
            }
        }
        loss
    }

    #[test]
    fn loss_of_a_link_is_tolerated_and_loss_of_a_full_one_is_not() {
        let start = Instant::now();
        let later = start + VERDICT_AFTER + TRIP;
        assert_eq!(with(100, 10, start).verdict(later, TRIP), None);
        assert_eq!(with(100, 15, start).verdict(later, TRIP), None, "by chance");
        assert_eq!(with(100, 30, start).verdict(later, TRIP), Some(0.3));
        assert_eq!(with(19, 19, start).verdict(later, TRIP), None, "too few");
    }

    #[test]
    fn the_same_loss_is_judged_once_and_not_too_soon() {
        let start = Instant::now();
        let mut loss = with(100, 50, start);
        assert_eq!(loss.verdict(start + VERDICT_AFTER, TRIP), None);
        let later = start + VERDICT_AFTER + TRIP;
        assert_eq!(loss.verdict(later, TRIP), Some(0.5));
        assert_eq!(loss.verdict(later + Duration::from_secs(1), TRIP), None);
        assert!(loss.share() > 0.49, "but it is still told");
    }

    #[test]
    fn packets_that_come_late_are_not_lost() {
        let now = Instant::now();
        let mut loss = with(10, 5, now);
        for _ in 0..5 {
            loss.note_late();
        }
        assert_eq!(loss.share(), 0.0);
        loss.note_late();
        assert_eq!(loss.share(), 0.0);
    }

    #[test]
    fn after_a_second_loss_is_forgotten() {
        let start = Instant::now();
        let mut loss = with(10, 5, start);
        loss.advance(start + 4 * SLOT);
        assert_eq!(loss.share(), 0.5);
        loss.advance(start + 5 * SLOT);
        assert_eq!(loss.share(), 0.0);
        loss.advance(start + Duration::from_secs(1_000_000));
        assert_eq!(loss.share(), 0.0);
    }
}
