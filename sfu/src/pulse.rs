//! How the media thread itself is doing: how late it wakes, how long its passes are, and whether it gets
//! a core when it wants one.

use crate::figures::Pulse;
use std::fs;
use std::time::{Duration, Instant};

/// What is noted between two looks.
#[derive(Debug)]
pub(crate) struct PulseMeter {
    late_max: Duration,
    pass_max: Duration,
    last: Option<(Instant, Schedule)>,
}

/// What the scheduler has counted for a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Schedule {
    running: Duration,
    waiting: Duration,
}

impl PulseMeter {
    pub(crate) fn new() -> Self {
        Self {
            late_max: Duration::ZERO,
            pass_max: Duration::ZERO,
            last: None,
        }
    }

    /// It was to wake at `wanted`, and woke now.
    pub(crate) fn woke(&mut self, wanted: Instant, now: Instant) {
        let late = now.saturating_duration_since(wanted);
        self.late_max = self.late_max.max(late);
    }

    /// A pass of the loop took so long.
    pub(crate) fn passed(&mut self, took: Duration) {
        self.pass_max = self.pass_max.max(took);
    }

    /// What has come together since the last call. To be called on the thread itself.
    pub(crate) fn take(&mut self, now: Instant) -> Pulse {
        let schedule = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let shares = self.shares(parse(&schedule), now);
        Pulse {
            late_max: std::mem::take(&mut self.late_max),
            pass_max: std::mem::take(&mut self.pass_max),
            ..shares
        }
    }

    fn shares(&mut self, schedule: Option<Schedule>, now: Instant) -> Pulse {
        let Some(schedule) = schedule else {
            return Pulse::default();
        };
        let Some((then, before)) = self.last.replace((now, schedule)) else {
            return Pulse::default();
        };
        let time = now.saturating_duration_since(then).as_secs_f64();
        let share = |now: Duration, before: Duration| {
            let spent = now.saturating_sub(before).as_secs_f64();
            if time > 0.0 { spent / time } else { 0.0 }
        };
        let running = share(schedule.running, before.running);
        let waiting = share(schedule.waiting, before.waiting);
        // What it waits for a core is nobody's fault here.
        let possible = (1.0 - waiting).max(running).max(0.01);
        Pulse {
            running,
            waiting,
            stress: running / possible,
            ..Pulse::default()
        }
    }
}

/// `/proc/PID/schedstat`: nanoseconds on a core, nanoseconds waiting for one, and a count (Linux,
/// Documentation/scheduler/sched-stats). `None` elsewhere.
fn parse(text: &str) -> Option<Schedule> {
    let mut fields = text
        .split_ascii_whitespace()
        .map_while(|field| field.parse().ok());
    Some(Schedule {
        running: Duration::from_nanos(fields.next()?),
        waiting: Duration::from_nanos(fields.next()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_the_time_between_two_looks_and_the_worst_is_told_once() {
        let start = Instant::now();
        let mut meter = PulseMeter::new();
        assert_eq!(meter.shares(parse("5 7 1\n"), start), Pulse::default());
        let pulse = meter.shares(
            parse("500000005 250000007 2"),
            start + Duration::from_secs(1),
        );
        assert_eq!((pulse.running, pulse.waiting), (0.5, 0.25));
        assert_eq!(
            meter.shares(parse(""), start),
            Pulse::default(),
            "no such file"
        );

        let later = start + Duration::from_millis(3);
        meter.woke(start, later);
        meter.woke(later, start);
        meter.passed(Duration::from_millis(2));
        let pulse = meter.take(later);
        assert_eq!(pulse.late_max, Duration::from_millis(3));
        assert_eq!(pulse.pass_max, Duration::from_millis(2));
        assert_eq!(meter.take(later).late_max, Duration::ZERO);
    }
}
