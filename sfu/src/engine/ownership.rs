//! How long the shard owns its rooms, by this node's own clock. A policy: it forwards nothing itself.
//!
//! The node asks and counts from the moment of asking, so that neither a delay on the way nor a step
//! of anybody's clock can make it believe too long in a shard that has lost its rooms. No command is
//! needed to stop media: the deadline passes by itself.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Time between two questions. A shard with a lease of 3 s, renewed each second, answers 1.25 s at
/// worst: two questions may go unanswered before media stops.
pub(super) const ASK_EVERY: Duration = Duration::from_millis(500);
/// Most questions that wait for an answer. The oldest is forgotten: an answer that takes 8 s says
/// nothing about now.
const MAX_ASKED: usize = 16;

/// What this node knows of the shard's ownership.
#[derive(Debug, Default)]
pub(super) struct Ownership {
    last_nonce: u64,
    /// Questions without an answer, oldest first.
    asked: VecDeque<(u64, Instant)>,
    /// Media may flow before this moment.
    until: Option<Instant>,
    /// What was told last of whether media flows.
    told: bool,
}

impl Ownership {
    /// The number of a new question.
    pub(super) fn ask(&mut self, now: Instant) -> u64 {
        if self.asked.len() >= MAX_ASKED {
            self.asked.pop_front();
        }
        self.last_nonce += 1;
        self.asked.push_back((self.last_nonce, now));
        self.last_nonce
    }

    /// The shard's answer. One to a question that is older than the last one answered, or unknown,
    /// changes nothing; a newer one replaces what was said before, even by less.
    pub(super) fn answer(&mut self, nonce: u64, owned_for: Duration) {
        let Some(at) = self.asked.iter().position(|(asked, _)| *asked == nonce) else {
            return;
        };
        if let Some((_, asked_at)) = self.asked.drain(..=at).next_back() {
            self.until = asked_at.checked_add(owned_for);
        }
    }

    /// True if media may be forwarded and data taken.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Whether media flows, if that changed since the last look.
    pub(super) fn changed(&mut self, now: Instant) -> Option<bool> {
        let open = self.is_open(now);
        (std::mem::replace(&mut self.told, open) != open).then_some(open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn nothing_flows_before_the_first_answer() {
        let now = Instant::now();
        let mut ownership = Ownership::default();
        let nonce = ownership.ask(now);
        assert!(!ownership.is_open(now));
        ownership.answer(nonce, SECOND);
        assert!(ownership.is_open(now));
    }

    #[test]
    fn the_deadline_counts_from_asking_however_late_the_answer_is() {
        let start = Instant::now();
        let mut ownership = Ownership::default();
        let first = ownership.ask(start);
        ownership.ask(start + SECOND * 5);
        ownership.answer(first, SECOND * 3);
        assert!(ownership.is_open(start + SECOND * 3 - Duration::from_millis(1)));
        assert!(!ownership.is_open(start + SECOND * 3));
        assert!(!ownership.is_open(start + SECOND * 5));
    }

    #[test]
    fn a_newer_answer_counts_even_if_it_is_less_and_an_older_one_no_more() {
        let start = Instant::now();
        let mut ownership = Ownership::default();
        let (first, second) = (ownership.ask(start), ownership.ask(start));
        ownership.answer(second, Duration::ZERO);
        ownership.answer(first, SECOND);
        ownership.answer(first + 100, SECOND);
        assert!(!ownership.is_open(start));
    }

    #[test]
    fn unanswered_questions_are_bounded_and_the_oldest_is_void() {
        let start = Instant::now();
        let mut ownership = Ownership::default();
        let first = ownership.ask(start);
        for _ in 0..MAX_ASKED {
            ownership.ask(start);
        }
        assert_eq!(ownership.asked.len(), MAX_ASKED);
        ownership.answer(first, SECOND);
        assert!(!ownership.is_open(start));
        ownership.answer(first + 1, Duration::MAX);
        assert!(!ownership.is_open(start), "no such moment");
    }

    #[test]
    fn a_change_is_told_once() {
        let start = Instant::now();
        let mut ownership = Ownership::default();
        assert_eq!(ownership.changed(start), None);
        let nonce = ownership.ask(start);
        ownership.answer(nonce, SECOND);
        assert_eq!(ownership.changed(start), Some(true));
        assert_eq!(ownership.changed(start), None);
        assert_eq!(ownership.changed(start + SECOND), Some(false));
    }
}
