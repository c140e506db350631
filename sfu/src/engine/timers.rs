//! The engine's one queue of deadlines. Knows nothing about what happens at them.

use super::{ParticipantKey, TransportKey};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A transport's own timers: STUN, DTLS, RTCP, SCTP.
    Transport(TransportKey),
    /// A client's line shall be probed, or its estimate looked at.
    Line(TransportKey),
    /// A participant's media sections shall be renegotiated.
    Negotiation(ParticipantKey),
    /// Speaker windows, layer choice, key frame retries, lost peers.
    Housekeeping,
    /// The shard shall be asked how long it owns its rooms.
    Ownership,
    /// What a participant that leaves for another node has on the way has arrived.
    Detach(ParticipantKey),
}

impl Timer {
    fn reason(self) -> &'static str {
        match self {
            Self::Transport(_) => "transport",
            Self::Line(_) => "line",
            Self::Negotiation(_) => "negotiation",
            Self::Housekeeping => "housekeeping",
            Self::Ownership => "ownership",
            Self::Detach(_) => "detach",
        }
    }
}

/// At most one deadline per [`Timer`], so it is bounded by the transports and participants.
#[derive(Default)]
pub(super) struct Timers {
    queue: BTreeSet<(Instant, Timer)>,
    set: BTreeMap<Timer, Instant>,
}

impl Timers {
    /// Sets, moves or (with `None`) clears a deadline.
    pub(super) fn set(&mut self, timer: Timer, at: Option<Instant>) {
        let before = match at {
            Some(at) => self.set.insert(timer, at),
            None => self.set.remove(&timer),
        };
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.queue.remove(&(before, timer));
        }
        if let Some(at) = at {
            self.queue.insert((at, timer));
        }
    }

    /// Sets a deadline unless an earlier one is set.
    pub(super) fn set_at_latest(&mut self, timer: Timer, at: Instant) {
        if self.set.get(&timer).is_none_or(|before| *before > at) {
            self.set(timer, Some(at));
        }
    }

    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.set.contains_key(&timer)
    }

    pub(super) fn next(&self) -> Option<(Instant, &'static str)> {
        self.queue.first().map(|(at, timer)| (*at, timer.reason()))
    }

    /// Takes one timer that is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let (at, timer) = *self.queue.first()?;
        if at > now {
            return None;
        }
        self.queue.pop_first();
        self.set.remove(&timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_moved_deadline_fires_once_at_its_new_time() {
        let start = Instant::now();
        let mut timers = Timers::default();
        timers.set(Timer::Housekeeping, Some(start));
        timers.set(Timer::Housekeeping, Some(start + Duration::from_secs(1)));
        assert_eq!(timers.pop_due(start), None);
        assert_eq!(
            timers.next(),
            Some((start + Duration::from_secs(1), "housekeeping"))
        );
        assert_eq!(
            timers.pop_due(start + Duration::from_secs(1)),
            Some(Timer::Housekeeping)
        );
        assert_eq!(timers.next(), None);
        assert!(!timers.is_set(Timer::Housekeeping));
    }
}
