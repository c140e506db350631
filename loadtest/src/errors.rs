//! What went wrong, by kind, in bounded memory.

use crate::numbers::seconds;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Kinds kept apart; what comes after them counts as [`OTHER`].
const KINDS_MAX: usize = 100;
/// Characters of a kind and of an example.
const TEXT_MAX: usize = 300;
/// The kind of all errors for which there is no more room.
const OTHER: &str = "other errors";

/// Errors of a run.
#[derive(Clone, Debug, Default)]
pub struct ErrorLog {
    kinds: BTreeMap<String, Seen>,
}

#[derive(Clone, Debug)]
struct Seen {
    count: u64,
    first_ns: u64,
    example: String,
}

impl ErrorLog {
    /// Counts an error. `kind` must not have names or numbers in it; `example` may.
    pub fn record(&mut self, kind: &str, example: &str, now_ns: u64) {
        let seen = Seen {
            count: 1,
            first_ns: now_ns,
            example: short(example),
        };
        self.add(short(kind), seen);
    }

    /// All of them.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.kinds.values().map(|seen| seen.count).sum()
    }

    /// Takes in what another worker saw.
    pub fn merge(&mut self, other: Self) {
        for (kind, seen) in other.kinds {
            self.add(kind, seen);
        }
    }

    /// What a report says: the most frequent first.
    #[must_use]
    pub fn report(&self) -> Vec<ErrorReport> {
        let mut rows: Vec<ErrorReport> = self
            .kinds
            .iter()
            .map(|(kind, seen)| ErrorReport {
                kind: kind.clone(),
                count: seen.count,
                first_at_s: seconds(seen.first_ns),
                example: seen.example.clone(),
            })
            .collect();
        rows.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.kind.cmp(&b.kind)));
        rows
    }

    fn add(&mut self, kind: String, new: Seen) {
        let known = self.kinds.contains_key(&kind) || self.kinds.len() < KINDS_MAX;
        let kind = if known { kind } else { OTHER.to_owned() };
        let Some(seen) = self.kinds.get_mut(&kind) else {
            self.kinds.insert(kind, new);
            return;
        };
        seen.count += new.count;
        if new.first_ns < seen.first_ns {
            seen.first_ns = new.first_ns;
            seen.example = new.example;
        }
    }
}

fn short(text: &str) -> String {
    text.chars().take(TEXT_MAX).collect()
}

/// One kind of error in a report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorReport {
    /// What went wrong.
    pub kind: String,
    /// How often.
    pub count: u64,
    /// When first, in seconds since the start of the run.
    pub first_at_s: f64,
    /// The first one, in full.
    pub example: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_comes_first_with_its_first_example() {
        let mut log = ErrorLog::default();
        log.record("refused", "alice: 401", 2_000_000_000);
        let mut other = ErrorLog::default();
        other.record("refused", "bob: 401", 1_000_000_000);
        other.record("closed", "carol", 0);
        log.merge(other);
        let rows = log.report();
        assert_eq!(log.count(), 3);
        let first = &rows[0];
        assert_eq!(
            (first.kind.as_str(), first.count, first.first_at_s),
            ("refused", 2, 1.0)
        );
        assert_eq!(first.example, "bob: 401");
    }

    #[test]
    fn kinds_and_texts_are_bounded_and_every_error_counts() {
        let mut log = ErrorLog::default();
        for number in 0..500 {
            log.record(&format!("kind {number}"), &"x".repeat(10_000), number);
        }
        let rows = log.report();
        assert_eq!(rows.len(), KINDS_MAX + 1);
        assert_eq!((rows[0].kind.as_str(), rows[0].count), (OTHER, 400));
        assert_eq!(rows[1].example.len(), TEXT_MAX);
        assert_eq!(log.count(), 500);
    }
}
