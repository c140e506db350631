//! What was sent and may still be reported on.

use crate::estimator::Why;
use std::collections::VecDeque;

/// Packets that are remembered: two seconds of 10 Mbit/s. Beyond: the oldest goes, and what is said of
/// it later is not heard.
pub(crate) const SENT_MAX: usize = 2048;
/// Reports come within a round trip and a feedback interval; a deep queue may add a second.
const AGE_MAX_MICROS: i64 = 2_000_000;
/// Microseconds that a packet may be overtaken by others, with the feedback that tells of it later. Until
/// then it is not lost.
const OVERTAKEN_MICROS: i64 = 200_000;

/// A packet that was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    /// Microseconds of the estimator's clock.
    pub(crate) at: i64,
    /// On the wire.
    pub(crate) bytes: u16,
    pub(crate) why: Why,
    pub(crate) fate: Fate,
}

/// What is known of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing yet.
    Open,
    /// Reported as missing. It may still come late.
    Missing,
    /// Reported as received.
    Received,
}

/// Numbers the packets, and keeps the latest.
#[derive(Debug, Default)]
pub(crate) struct History {
    sent: VecDeque<Sent>,
    /// The number of the next packet, continued beyond 16 bits.
    next: u64,
    /// All before this one are counted as lost or received.
    settled: u64,
}

impl History {
    /// Of the packet that comes next.
    pub(crate) fn next_sequence(&self) -> u16 {
        self.next as u16
    }

    /// Gives the packet its number. The oldest one is not looked at: it has left the processor's cache.
    pub(crate) fn push(&mut self, sent: Sent) -> u64 {
        if self.sent.len() >= SENT_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back(sent);
        let number = self.next;
        self.next += 1;
        number
    }

    /// Lets go what nobody will report on any more.
    pub(crate) fn forget(&mut self, now: i64) {
        while let Some(sent) = self.sent.front()
            && now.saturating_sub(sent.at) > AGE_MAX_MICROS
        {
            self.sent.pop_front();
        }
    }

    /// The whole number of one that was sent, from its last 16 bits. It may be long forgotten.
    fn unwrap(&self, sequence: u16) -> Option<u64> {
        let newest = self.next.checked_sub(1)?;
        let behind = (newest as u16).wrapping_sub(sequence);
        newest.checked_sub(u64::from(behind))
    }

    fn oldest(&self) -> u64 {
        self.next.saturating_sub(self.sent.len() as u64)
    }

    /// A packet that has arrived: its number, and what was known of it until now. None if it was never
    /// sent, is forgotten, or was reported before.
    pub(crate) fn receive(&mut self, sequence: u16) -> Option<(u64, Sent)> {
        let number = self.unwrap(sequence)?;
        let place = number.checked_sub(self.oldest())?;
        let sent = self.sent.get_mut(usize::try_from(place).ok()?)?;
        if sent.fate == Fate::Received {
            return None;
        }
        let before = *sent;
        sent.fate = Fate::Received;
        Some((number, before))
    }

    /// Whether it was already told as lost.
    pub(crate) fn is_settled(&self, number: u64) -> bool {
        number < self.settled
    }

    /// Tells the packets whose fate is certain, now that one which left at `newest` has arrived.
    pub(crate) fn settle(&mut self, newest: i64, mut tell: impl FnMut(&Sent)) {
        let oldest = self.oldest();
        self.settled = self.settled.max(oldest);
        let skip = usize::try_from(self.settled - oldest).unwrap_or(usize::MAX);
        let until = newest.saturating_sub(OVERTAKEN_MICROS);
        for sent in self.sent.range(skip.min(self.sent.len())..) {
            if sent.at > until {
                break;
            }
            self.settled += 1;
            if sent.fate != Fate::Open {
                tell(sent);
            }
        }
    }

    /// A feedback packet was lost: what is missing may have been in it.
    pub(crate) fn doubt(&mut self) {
        let skip = self.settled.saturating_sub(self.oldest());
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        for sent in self.sent.range_mut(skip.min(self.sent.len())..) {
            if sent.fate == Fate::Missing {
                sent.fate = Fate::Open;
            }
        }
    }

    /// Marks `count` packets as missing.
    pub(crate) fn miss(&mut self, first: u16, count: u16) {
        // The last one of the run must have been sent; the first may be forgotten.
        let last = first.wrapping_add(count.saturating_sub(1));
        let Some(end) = self.unwrap(last).filter(|_| count > 0) else {
            return;
        };
        let oldest = self.oldest();
        let start = end.saturating_sub(u64::from(count) - 1).max(oldest);
        for number in start..=end {
            let place = usize::try_from(number.saturating_sub(oldest)).unwrap_or(usize::MAX);
            if let Some(sent) = self.sent.get_mut(place)
                && sent.fate == Fate::Open
            {
                sent.fate = Fate::Missing;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with(count: u64) -> History {
        let mut history = History::default();
        for at in 0..count {
            let sent = Sent {
                at: at as i64,
                bytes: 1000,
                why: Why::Media,
                fate: Fate::Open,
            };
            assert_eq!(history.push(sent), at);
        }
        history
    }

    fn missed(history: &mut History, first: u16, count: u16) -> Vec<i64> {
        let is_missing = |sent: &&Sent| sent.fate == Fate::Missing;
        let before = history.sent.iter().filter(is_missing).map(|sent| sent.at);
        let before: Vec<_> = before.collect();
        history.miss(first, count);
        let missing = history.sent.iter().filter(is_missing).map(|sent| sent.at);
        missing.filter(|at| !before.contains(at)).collect()
    }

    #[test]
    fn packets_are_known_beyond_16_bits() {
        let mut history = with(2 * 65_536 + 10);
        let (number, sent) = history.receive(5).unwrap();
        assert_eq!((number, sent.at), (2 * 65_536 + 5, 2 * 65_536 + 5));
        assert_eq!(history.receive(65_535).unwrap().0, 2 * 65_536 - 1);
        assert!(history.receive(10).is_none(), "not sent yet");
        assert!(history.receive(40_000).is_none(), "forgotten");
        assert!(History::default().receive(0).is_none());
    }

    #[test]
    fn a_packet_is_received_once_even_if_it_was_missing_before() {
        let mut history = with(10);
        assert_eq!(missed(&mut history, 3, 2), [3, 4]);
        assert_eq!(missed(&mut history, 3, 3), [5], "told once");
        assert_eq!(history.receive(4).unwrap().1.fate, Fate::Missing);
        assert!(history.receive(4).is_none());
        assert_eq!(missed(&mut history, 4, 1), [0; 0]);
    }

    #[test]
    fn only_what_was_sent_can_be_missing() {
        let mut history = with(10);
        assert_eq!(missed(&mut history, 8, 60_000), [0; 0]);
        assert_eq!(missed(&mut history, 65_500, 40), [0, 1, 2, 3]);
        assert_eq!(missed(&mut history, 3, 0), [0; 0]);
        assert_eq!(missed(&mut History::default(), 0, 65_535), [0; 0]);
    }

    #[test]
    fn a_packet_is_lost_when_it_can_no_longer_have_been_overtaken() {
        let mut history = with(10);
        let fates = |history: &mut History, newest| {
            let mut fates = Vec::new();
            history.settle(newest, |sent| fates.push((sent.at, sent.fate)));
            fates
        };
        history.miss(2, 2);
        history.receive(3).unwrap();
        assert_eq!(fates(&mut history, OVERTAKEN_MICROS + 1), []);
        let settled = [(2, Fate::Missing), (3, Fate::Received)];
        assert_eq!(fates(&mut history, OVERTAKEN_MICROS + 5), settled);
        assert_eq!(fates(&mut history, OVERTAKEN_MICROS + 5), [], "once");
        assert!(history.is_settled(5) && !history.is_settled(6));
        history.miss(5, 2);
        history.doubt();
        let certain = fates(&mut history, OVERTAKEN_MICROS + 7);
        assert_eq!(certain, [], "the feedback on it may be lost");
        history.forget(i64::MAX);
        assert_eq!(fates(&mut history, i64::MAX), []);
        assert!(history.is_settled(9));
    }

    #[test]
    fn the_number_and_the_age_of_packets_are_limited() {
        let mut history = with(3 * SENT_MAX as u64);
        assert_eq!(history.sent.len(), SENT_MAX);
        history.forget(AGE_MAX_MICROS + 3 * SENT_MAX as i64 - 2);
        assert_eq!(history.sent.len(), 2);
        assert_eq!(history.receive(3 * SENT_MAX as u16 - 1).unwrap().0, 6143);
        history.forget(i64::MAX);
        assert!(history.sent.is_empty());
    }

    proptest! {
        #[test]
        fn no_claim_breaks_it(
            count in 0_u64..70_000,
            claims in prop::collection::vec((any::<u16>(), any::<u16>()), 0..20),
        ) {
            let mut history = with(count);
            for (first, run) in claims {
                prop_assert!(missed(&mut history, first, run).len() <= SENT_MAX);
                if let Some((number, _)) = history.receive(first) {
                    prop_assert_eq!(number as u16, first);
                    prop_assert!(number < count);
                }
            }
        }
    }
}
