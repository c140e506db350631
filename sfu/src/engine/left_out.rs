//! Which packets of a source were left out on purpose: the numbers behind them close up, while what is
//! merely missing keeps its number, because it may still come.

/// Numbers behind the newest that are remembered: more than a second of a rich video, within which what
/// is missing comes or is given up.
const MEMORY: u64 = 512;
const WORD: u64 = 64;

/// The memory of one source's way to one receiver.
#[derive(Clone, Debug, Default)]
pub(super) struct LeftOut {
    /// The newest number that came.
    newest: Option<u64>,
    /// By number modulo [`MEMORY`]: it was left out.
    bits: [u64; (MEMORY / WORD) as usize],
    /// So many were, up to the newest.
    count: u64,
}

impl LeftOut {
    /// How many before this number, which is sent on, were left out. `None`: it was left out itself, or
    /// is too far back to know.
    pub(super) fn before(&mut self, number: u64) -> Option<u64> {
        if self.is_newer(number) {
            self.advance(number);
            return Some(self.count);
        }
        let newest = self.newest?;
        if newest - number >= MEMORY || self.has(number) {
            return None;
        }
        let since = (number + 1..=newest).filter(|later| self.has(*later));
        self.count.checked_sub(since.count() as u64)
    }

    /// This number is not sent on. False: later ones have been, or are left out, so that its place
    /// stays.
    pub(super) fn leave_out(&mut self, number: u64) -> bool {
        if !self.is_newer(number) {
            return false;
        }
        self.advance(number);
        self.set(number, true);
        self.count += 1;
        true
    }

    fn is_newer(&self, number: u64) -> bool {
        self.newest.is_none_or(|newest| number > newest)
    }

    /// What is skipped is missing.
    fn advance(&mut self, number: u64) {
        let first = self.newest.map_or(number, |newest| newest + 1);
        for skipped in first.max(number.saturating_sub(MEMORY - 1))..=number {
            self.set(skipped, false);
        }
        self.newest = Some(number);
    }

    fn has(&self, number: u64) -> bool {
        let word = self.bits.get(place(number));
        word.is_some_and(|word| word >> (number % WORD) & 1 != 0)
    }

    fn set(&mut self, number: u64, left_out: bool) {
        if let Some(word) = self.bits.get_mut(place(number)) {
            let bit = 1 << (number % WORD);
            *word = if left_out { *word | bit } else { *word & !bit };
        }
    }
}

/// Below 8.
fn place(number: u64) -> usize {
    ((number % MEMORY) / WORD) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_counted_before_and_not_behind_a_late_one() {
        let mut left_out = LeftOut::default();
        assert_eq!(left_out.before(100), Some(0));
        assert!(left_out.leave_out(101));
        // 102 is missing.
        assert!(left_out.leave_out(103));
        assert_eq!(left_out.before(104), Some(2));
        assert_eq!(left_out.before(102), Some(1));
        assert_eq!(left_out.before(103), None, "it has no number");
        assert_eq!(left_out.before(99), Some(0));
    }

    #[test]
    fn one_that_comes_late_to_be_left_out_keeps_its_place() {
        let mut left_out = LeftOut::default();
        left_out.before(100);
        left_out.before(102);
        assert!(!left_out.leave_out(101));
        assert_eq!(left_out.before(103), Some(0));
        assert_eq!(left_out.before(101), Some(0));
    }

    #[test]
    fn the_memory_ends_and_nothing_old_shines_through() {
        let mut left_out = LeftOut::default();
        for number in 0..MEMORY {
            left_out.leave_out(number);
        }
        assert_eq!(left_out.before(MEMORY + 10), Some(MEMORY));
        assert_eq!(left_out.before(MEMORY + 5), Some(MEMORY), "missing");
        assert_eq!(left_out.before(11), None, "left out");
        assert_eq!(left_out.before(10), None, "forgotten");
        assert_eq!(left_out.before(9 * MEMORY), Some(MEMORY));
        assert_eq!(left_out.before(9 * MEMORY - 3), Some(MEMORY));
    }
}
