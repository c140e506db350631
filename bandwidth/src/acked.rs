//! How much arrives, by the receiver's clock.

use crate::bitrate::Bitrate;

/// Microseconds of one slot.
const SLOT: i64 = 50_000;
const SLOTS: usize = 16;
/// Half a second: twelve frames, so that one more or less does not matter.
const LONG: usize = 10;
/// Five frames at 25 a second: what a full link lets through is even, and the answer must be quick.
const SHORT: usize = 4;

#[derive(Debug, Default)]
pub(crate) struct Acked {
    /// Bytes; the slot of number `n` is at `n % SLOTS`.
    slots: [u32; SLOTS],
    /// Number of the first and of the newest slot.
    range: Option<(i64, i64)>,
}

impl Acked {
    /// A packet that arrived at that microsecond. One that comes too late is not counted.
    pub(crate) fn push(&mut self, arrived: i64, bytes: u16) {
        let number = arrived.div_euclid(SLOT);
        let (first, newest) = self.range.unwrap_or((number, number));
        let ahead = number.saturating_sub(newest);
        if ahead <= -(SLOTS as i64) {
            return;
        }
        for step in 1..=ahead.min(SLOTS as i64) {
            if let Some(slot) = self.slots.get_mut(place(newest.saturating_add(step))) {
                *slot = 0;
            }
        }
        if ahead > SLOTS as i64 {
            self.slots = [0; SLOTS];
        }
        self.range = Some((first, newest.max(number)));
        if let Some(slot) = self.slots.get_mut(place(number)) {
            *slot = slot.saturating_add(u32::from(bytes));
        }
    }

    /// Over half a second. None before it is over.
    pub(crate) fn long(&self) -> Option<Bitrate> {
        self.over(LONG)
    }

    /// Over the last 200 ms.
    pub(crate) fn short(&self) -> Option<Bitrate> {
        self.over(SHORT)
    }

    /// The newest slot is not full yet and does not count.
    fn over(&self, slots: usize) -> Option<Bitrate> {
        let (first, newest) = self.range?;
        if newest.saturating_sub(first) < slots as i64 {
            return None;
        }
        let numbers = (1..=slots as i64).map(|step| newest.saturating_sub(step));
        let bytes = numbers.filter_map(|number| self.slots.get(place(number)));
        let bytes = bytes.map(|bytes| u64::from(*bytes)).sum();
        Bitrate::of(bytes, slots as i64 * SLOT)
    }
}

fn place(number: i64) -> usize {
    usize::try_from(number.rem_euclid(SLOTS as i64)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet each 10 ms from one time to another, in milliseconds.
    fn fill(acked: &mut Acked, times: std::ops::Range<i64>, bytes: u16) {
        for at in times.step_by(10) {
            acked.push(at * 1000, bytes);
        }
    }

    #[test]
    fn the_rate_is_that_of_whole_slots() {
        let mut acked = Acked::default();
        assert_eq!(acked.long(), None);
        fill(&mut acked, -300..150, 1000);
        assert_eq!(acked.long(), None, "too early");
        assert_eq!(acked.short(), Some(Bitrate::from_kbps(800)));
        fill(&mut acked, 150..230, 1000);
        assert_eq!(acked.long(), Some(Bitrate::from_kbps(800)));
    }

    #[test]
    fn the_short_rate_follows_sooner() {
        let mut acked = Acked::default();
        fill(&mut acked, 0..1000, 1000);
        fill(&mut acked, 1000..1250, 250);
        assert_eq!(acked.short(), Some(Bitrate::from_kbps(200)));
        assert_eq!(acked.long(), Some(Bitrate::from_kbps(560)));
    }

    #[test]
    fn silence_is_no_rate_and_far_jumps_end_at_once() {
        let mut acked = Acked::default();
        fill(&mut acked, 0..1000, 1000);
        acked.push(i64::MAX, 100);
        assert_eq!(acked.long(), Some(Bitrate::ZERO));
        acked.push(0, 100);
        acked.push(i64::MIN, 100);
        assert_eq!(acked.long(), Some(Bitrate::ZERO), "from the past");
    }
}
