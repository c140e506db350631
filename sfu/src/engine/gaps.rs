//! Which packets of a stream from another member did not come. A policy without a clock.
//!
//! What goes over may be lost; a receiver could only ask its own member for it, which does not have it
//! either. So what is missing is asked for once, as soon as something behind it comes.

use std::collections::VecDeque;

/// A jump over more packets than this is no loss: the stream began anew, or stood still.
const JUMP_MAX: u64 = 64;
/// Most that are waited for. The oldest are given up.
const AWAITED_MAX: usize = 128;

/// What is known of one stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Gaps {
    newest: Option<u64>,
    awaited: VecDeque<u64>,
}

impl Gaps {
    /// A packet has come: which ones before it are missing? False: it is one that was here before.
    pub(super) fn note(&mut self, sequence: u64, missing: &mut Vec<u64>) -> bool {
        let Some(newest) = self.newest else {
            self.newest = Some(sequence);
            return true;
        };
        if sequence <= newest {
            // One that was asked for comes once, and one of an earlier life of the stream not at all.
            let place = self.awaited.iter().position(|awaited| *awaited == sequence);
            return place.and_then(|place| self.awaited.remove(place)).is_some();
        }
        self.newest = Some(sequence);
        if sequence - newest > JUMP_MAX {
            self.awaited.clear();
            return true;
        }
        for lost in newest + 1..sequence {
            if self.awaited.len() >= AWAITED_MAX {
                self.awaited.pop_front();
            }
            self.awaited.push_back(lost);
            missing.push(lost);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn missing(gaps: &mut Gaps, sequence: u64) -> Option<Vec<u64>> {
        let mut missing = Vec::new();
        gaps.note(sequence, &mut missing).then_some(missing)
    }

    #[test]
    fn what_is_missing_is_asked_for_once_and_taken_once() {
        let mut gaps = Gaps::default();
        assert_eq!(missing(&mut gaps, 10), Some(vec![]));
        assert_eq!(missing(&mut gaps, 13), Some(vec![11, 12]));
        assert_eq!(missing(&mut gaps, 14), Some(vec![]));
        assert_eq!(missing(&mut gaps, 11), Some(vec![]));
        assert_eq!(missing(&mut gaps, 11), None, "twice");
        assert_eq!(missing(&mut gaps, 9), None, "from before");
        assert_eq!(missing(&mut gaps, 13), None, "twice");
    }

    #[test]
    fn a_jump_is_no_loss() {
        let mut gaps = Gaps::default();
        missing(&mut gaps, 0);
        assert_eq!(missing(&mut gaps, JUMP_MAX), Some((1..JUMP_MAX).collect()));
        assert_eq!(missing(&mut gaps, 2 * JUMP_MAX + 1), Some(vec![]));
        assert_eq!(missing(&mut gaps, 1), None, "given up");
    }

    proptest! {
        #[test]
        fn nothing_is_taken_twice(sequences in prop::collection::vec(0..200_u64, 0..400)) {
            let mut gaps = Gaps::default();
            let mut taken = std::collections::BTreeSet::new();
            for sequence in sequences {
                let mut asked = Vec::new();
                if gaps.note(sequence, &mut asked) {
                    prop_assert!(taken.insert(sequence));
                }
                prop_assert!(gaps.awaited.len() <= AWAITED_MAX);
                prop_assert!(asked.iter().all(|it| !taken.contains(it)));
            }
        }
    }
}
