//! Counting what went well, and remembering the first thing that did not.

/// A count of exchanges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) done: u64,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
}

impl Tally {
    /// Counts one exchange; false if it failed.
    pub(crate) fn count<T>(&mut self, outcome: Result<T, String>) -> bool {
        match outcome {
            Ok(_) => self.done += 1,
            Err(error) => {
                self.errors += 1;
                self.first_error.get_or_insert(error);
                return false;
            }
        }
        true
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.done += other.done;
        self.errors += other.errors;
        if self.first_error.is_none() {
            self.first_error = other.first_error;
        }
    }
}

/// The value that `share` (0 to 1) of all are not above; 0 of nothing. Sorts.
pub(crate) fn quantile(values: &mut [u64], share: f64) -> u64 {
    values.sort_unstable();
    let rank = (values.len() as f64 * share).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quantile_is_a_value_that_was_there() {
        let mut values: Vec<u64> = (1..=100).rev().collect();
        assert_eq!(quantile(&mut values, 0.5), 50);
        assert_eq!(quantile(&mut values, 0.99), 99);
        assert_eq!(quantile(&mut values, 1.0), 100);
        assert_eq!(quantile(&mut [], 0.5), 0);
        assert_eq!(quantile(&mut [7], 0.0), 7);
    }

    #[test]
    fn the_first_error_stays() {
        let mut tally = Tally::default();
        assert!(tally.count(Ok(())));
        assert!(!tally.count::<()>(Err("one".to_owned())));
        assert!(!tally.count::<()>(Err("two".to_owned())));
        let mut all = Tally::default();
        all.add(tally);
        assert_eq!((all.done, all.errors), (1, 2));
        assert_eq!(all.first_error.as_deref(), Some("one"));
    }
}
