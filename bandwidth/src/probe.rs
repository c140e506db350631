//! When to probe, and how far.

use crate::bitrate::Bitrate;
use crate::cluster::{Cluster, LASTS, LASTS_MIN, Need, Outcome};
use std::time::{Duration, Instant};

/// Between probes: at first, ...
const PAUSE_MIN: Duration = Duration::from_secs(5);
/// ... and after several in vain.
const PAUSE_MAX: Duration = Duration::from_secs(30);
const PAUSE_GROWTH: f64 = 1.5;
/// After a decrease, if nothing else happens.
const RECOVERY: Duration = Duration::from_secs(1);
/// Of the rate before a decrease, to which the first probe after it goes.
const RECOVERY_SHARE: f64 = 0.85;
/// If something is in the way.
const RETRY: Duration = Duration::from_millis(250);
/// Of the estimate: the first probe of all, and the others.
const FIRST_STEP: f64 = 3.0;
const STEP: f64 = 2.0;
/// What is that near to what is wanted, as a share, needs no probe.
const NEAR: f64 = 0.95;
/// A probe that raises the estimate by less was in vain.
const HELPED: f64 = 1.1;
/// A decrease within that time after a probe's increase says that the probe was wrong.
const WRONG_WITHIN: Duration = Duration::from_secs(8);
/// The queue that a probe makes is gone so long, and a round trip, after its last packet.
const EXCUSED: Duration = Duration::from_millis(250);
/// Feedback that has not come until then does not come.
const ANSWER_MAX: Duration = Duration::from_millis(1500);
/// After a probe in vain the next one lasts twice as long, up to this: jitter counts for less.
const LASTS_MAX: Duration = Duration::from_millis(120);
/// One byte of padding for so many of media.
const CREDIT_SHARE: u64 = 8;
const CREDIT_START: u64 = 20_000;
/// A second's eighth of 4 Mbit/s. Beyond: what is saved up is not for later.
const CREDIT_MAX: u64 = 60_000;

#[derive(Debug)]
enum Phase {
    Idle,
    Sending(Cluster),
    /// For feedback, until then.
    Waiting(Cluster, Instant),
}

/// The last increase by a probe.
#[derive(Clone, Copy, Debug)]
struct Raised {
    at: Instant,
    blamed: bool,
}

impl Raised {
    /// It has held for long enough.
    fn is_proven(self, now: Instant) -> bool {
        !self.blamed && now.saturating_duration_since(self.at) >= WRONG_WITHIN
    }
}

#[derive(Debug)]
pub(crate) struct Prober {
    phase: Phase,
    /// Not before.
    next_at: Instant,
    pause: Duration,
    lasts: Duration,
    /// Where the next probe goes at least.
    aim: Option<Bitrate>,
    raised: Option<Raised>,
    padded_at: Option<Instant>,
    /// Bytes.
    credit: u64,
}

impl Prober {
    pub(crate) fn new(start: Bitrate, now: Instant) -> Self {
        Self {
            phase: Phase::Idle,
            next_at: now,
            pause: PAUSE_MIN,
            lasts: LASTS,
            aim: Some(start.scale(FIRST_STEP)),
            raised: None,
            padded_at: None,
            credit: CREDIT_START,
        }
    }

    /// A packet was sent.
    pub(crate) fn note_sent(&mut self, number: u64, bytes: u64, is_probe: bool, now: Instant) {
        if is_probe {
            self.credit = self.credit.saturating_sub(bytes);
            self.padded_at = Some(now);
        } else {
            self.credit = (self.credit + bytes / CREDIT_SHARE).min(CREDIT_MAX);
        }
        let Phase::Sending(cluster) = &mut self.phase else {
            return;
        };
        if cluster.note_sent(number, bytes, is_probe, now)
            && let Phase::Sending(cluster) = std::mem::replace(&mut self.phase, Phase::Idle)
        {
            self.phase = Phase::Waiting(cluster, now + ANSWER_MAX);
        }
    }

    /// A packet has arrived.
    pub(crate) fn note_received(&mut self, number: u64, sent: i64, arrived: i64, bytes: u64) {
        if let Phase::Sending(cluster) | Phase::Waiting(cluster, _) = &mut self.phase {
            cluster.note_received(number, sent, arrived, bytes);
        }
    }

    /// Starts a probe if it is time for one. `quiet`: nothing says that the link is full.
    pub(crate) fn consider(
        &mut self,
        estimate: Bitrate,
        wanted: Bitrate,
        quiet: bool,
        now: Instant,
    ) {
        let due = matches!(self.phase, Phase::Idle) && now >= self.next_at;
        if !due || !is_worthwhile(estimate, wanted) {
            return;
        }
        self.next_at = now + RETRY;
        if !quiet {
            return;
        }
        if self.raised.is_some_and(|raised| raised.is_proven(now)) {
            self.raised = None;
            self.pause = PAUSE_MIN;
        }
        let step = estimate.scale(STEP);
        let target = self.aim.map_or(step, |aim| aim.max(step)).min(wanted);
        let (target, lasts) = self.afford(target);
        if target < estimate.scale(HELPED).min(wanted) {
            return;
        }
        self.aim = None;
        self.phase = Phase::Sending(Cluster::new(target, lasts, now));
    }

    /// What can be paid of it: a shorter cluster before a slower one.
    fn afford(&self, target: Bitrate) -> (Bitrate, Duration) {
        for lasts in [self.lasts, LASTS] {
            if target.bytes_in(lasts) <= self.credit {
                return (target, lasts);
            }
        }
        let micros = i64::try_from(LASTS_MIN.as_micros()).unwrap_or(i64::MAX);
        let most = Bitrate::of(self.credit, micros).unwrap_or_default();
        (target.min(most), LASTS_MIN)
    }

    /// Bytes of padding that shall leave now.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<usize> {
        let Phase::Sending(cluster) = &mut self.phase else {
            return None;
        };
        match cluster.poll(now) {
            Need::Now(bytes) => Some(bytes),
            Need::At(_) => None,
            Need::GivenUp => {
                self.fail(now);
                None
            }
        }
    }

    pub(crate) fn poll_timeout(&self, estimate: Bitrate, wanted: Bitrate) -> Option<Instant> {
        match &self.phase {
            Phase::Idle => is_worthwhile(estimate, wanted).then_some(self.next_at),
            Phase::Sending(cluster) => Some(cluster.next_at().min(cluster.stale_at())),
            Phase::Waiting(_, until) => Some(*until),
        }
    }

    /// What the probe has found, once its packets up to `newest` have been reported on.
    pub(crate) fn conclude(
        &mut self,
        newest: u64,
        estimate: Bitrate,
        now: Instant,
    ) -> Option<Outcome> {
        let Phase::Waiting(cluster, until) = &self.phase else {
            return None;
        };
        if !cluster.is_reported(newest) && now < *until {
            return None;
        }
        let (outcome, target) = (cluster.outcome(), cluster.target);
        self.phase = Phase::Idle;
        let Some(outcome) = outcome else {
            self.next_at = now + self.pause;
            self.lasts = (2 * self.lasts).min(LASTS_MAX);
            return None;
        };
        if outcome.carries < estimate.scale(HELPED) {
            self.fail(now);
            return Some(outcome);
        }
        self.raised = Some(Raised {
            at: now,
            blamed: false,
        });
        self.lasts = LASTS;
        if outcome.reached {
            self.aim = Some(target.scale(STEP));
            self.next_at = now;
        } else {
            self.next_at = now + self.pause;
        }
        Some(outcome)
    }

    fn fail(&mut self, now: Instant) {
        self.phase = Phase::Idle;
        self.lasts = (2 * self.lasts).min(LASTS_MAX);
        self.next_at = now + self.pause;
        self.pause = self.pause.mul_f64(PAUSE_GROWTH).min(PAUSE_MAX);
    }

    /// Time has passed.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if let Phase::Sending(cluster) = &self.phase
            && now >= cluster.stale_at()
        {
            self.fail(now);
        }
    }

    /// The queue grows: no more padding. What has left is still measured.
    pub(crate) fn stop(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Sending(_)) {
            self.fail(now);
        }
    }

    /// Whether a queue may be the probe's own work, which goes away by itself.
    pub(crate) fn is_excused(&self, round_trip: Duration, now: Instant) -> bool {
        let grace = EXCUSED + round_trip;
        self.padded_at
            .is_some_and(|at| now.saturating_duration_since(at) < grace)
    }

    /// The estimate was lowered; it was `before`.
    pub(crate) fn note_decrease(&mut self, before: Bitrate, now: Instant) {
        self.stop(now);
        if let Some(raised) = &mut self.raised
            && now.saturating_duration_since(raised.at) < WRONG_WITHIN
        {
            let first = !std::mem::replace(&mut raised.blamed, true);
            if first {
                self.pause = self.pause.mul_f64(PAUSE_GROWTH).min(PAUSE_MAX);
            }
            self.aim = None;
            self.next_at = now + self.pause;
            return;
        }
        self.pause = PAUSE_MIN;
        self.aim = self.aim.max(Some(before.scale(RECOVERY_SHARE)));
        self.next_at = now + RECOVERY;
    }
}

fn is_worthwhile(estimate: Bitrate, wanted: Bitrate) -> bool {
    estimate < wanted.scale(NEAR)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Bitrate = Bitrate::from_kbps(2300);
    const ESTIMATE: Bitrate = Bitrate::from_kbps(400);

    /// Sends what is asked for, for 200 ms. Returns bytes and the last moment.
    fn send(prober: &mut Prober, number: &mut u64, start: Instant) -> (u64, Instant) {
        let (mut now, mut bytes) = (start, 0);
        for _ in 0..200 {
            while let Some(more) = prober.poll(now) {
                bytes += more as u64;
                prober.note_sent(*number, more as u64, true, now);
                *number += 1;
            }
            now += Duration::from_millis(1);
        }
        (bytes, now)
    }

    /// A probe of which nothing arrives faster than 500 kbit/s. Returns when it was over.
    fn probe_in_vain(prober: &mut Prober, estimate: Bitrate, start: Instant) -> Option<Instant> {
        let mut number = 0;
        prober.consider(estimate, WANTED, true, start);
        let (bytes, now) = send(prober, &mut number, start);
        if bytes == 0 {
            return None;
        }
        for place in 0..number {
            let at = place as i64;
            prober.note_received(place, at * 6000, at * 12_000, 675);
        }
        prober.conclude(number - 1, estimate, now).unwrap();
        Some(now)
    }

    #[test]
    fn the_first_probes_follow_each_other_as_far_as_wanted() {
        let mut now = Instant::now();
        let mut prober = Prober::new(ESTIMATE, now);
        let (mut estimate, mut number, mut targets) = (ESTIMATE, 0, Vec::new());
        for _ in 0..5 {
            prober.consider(estimate, WANTED, true, now);
            let Phase::Sending(cluster) = &prober.phase else {
                break;
            };
            estimate = cluster.target;
            targets.push(cluster.target);
            let first = number;
            (_, now) = send(&mut prober, &mut number, now);
            let spacing = estimate.time_for(1200).as_micros() as i64;
            for place in first..number {
                let at = place as i64 * spacing;
                prober.note_received(place, at, at, 1200);
            }
            assert!(prober.conclude(number - 1, ESTIMATE, now).unwrap().reached);
        }
        assert_eq!(targets, [ESTIMATE.scale(3.0), WANTED]);
    }

    #[test]
    fn probes_in_vain_become_rare() {
        let mut now = Instant::now();
        let mut prober = Prober::new(ESTIMATE, now);
        let (estimate, mut pauses) = (Bitrate::from_kbps(500), Vec::new());
        for _ in 0..7 {
            let end = probe_in_vain(&mut prober, estimate, now).unwrap();
            prober.credit = CREDIT_START;
            pauses.push((prober.next_at - end).as_secs());
            assert!(
                probe_in_vain(&mut prober, estimate, end).is_none(),
                "too soon"
            );
            now = prober.next_at;
        }
        assert_eq!(pauses, [5, 7, 11, 16, 25, 30, 30]);
    }

    #[test]
    fn nothing_is_probed_that_is_not_wanted_or_while_the_link_is_full() {
        let now = Instant::now();
        let mut prober = Prober::new(ESTIMATE, now);
        assert_eq!(prober.poll_timeout(WANTED, WANTED), None);
        prober.consider(WANTED, WANTED, true, now);
        assert_eq!(prober.poll(now), None);
        prober.consider(ESTIMATE, WANTED, false, now);
        assert_eq!(prober.poll(now), None);
        assert_eq!(prober.poll_timeout(ESTIMATE, WANTED), Some(now + RETRY));
    }

    #[test]
    fn padding_is_an_eighth_of_the_media_at_most() {
        let mut now = Instant::now();
        let mut prober = Prober::new(ESTIMATE, now);
        prober.credit = 0;
        let (mut padding, mut media, mut number) = (0, 0, 0);
        for _ in 0..300 {
            prober.next_at = now;
            prober.phase = Phase::Idle;
            prober.consider(ESTIMATE, WANTED, true, now);
            let (bytes, end) = send(&mut prober, &mut number, now);
            prober.note_sent(number, 1600, false, end);
            (padding, media, now) = (padding + bytes, media + 1600, end);
        }
        assert!(padding > media / 20, "{padding} of {media}");
        assert!(padding <= media / 7, "{padding} of {media}");
    }

    #[test]
    fn after_a_decrease_one_probe_comes_soon_and_goes_far() {
        let now = Instant::now();
        let mut prober = Prober::new(ESTIMATE, now);
        prober.note_decrease(Bitrate::from_kbps(2000), now);
        prober.consider(ESTIMATE, WANTED, true, now);
        assert!(matches!(prober.phase, Phase::Idle));
        prober.consider(ESTIMATE, WANTED, true, now + RECOVERY);
        let Phase::Sending(cluster) = &prober.phase else {
            panic!("no probe");
        };
        assert_eq!(cluster.target, Bitrate::from_kbps(1700));
        prober.stop(now + RECOVERY);
        assert_eq!(prober.poll(now + RECOVERY), None, "the queue grows");
    }

    #[test]
    fn a_probe_that_led_to_a_full_link_is_not_repeated_soon() {
        let now = Instant::now();
        let mut prober = Prober::new(ESTIMATE, now);
        prober.raised = Some(Raised {
            at: now,
            blamed: false,
        });
        prober.note_decrease(ESTIMATE, now + RECOVERY);
        prober.note_decrease(ESTIMATE, now + RECOVERY);
        assert_eq!(prober.pause, PAUSE_MIN.mul_f64(PAUSE_GROWTH), "once");
        assert!(prober.next_at > now + PAUSE_MIN);
        let later = prober.next_at + WRONG_WITHIN;
        prober.consider(ESTIMATE, WANTED, true, later);
        assert!(prober.pause > PAUSE_MIN, "it was blamed");
        prober.raised = Some(Raised {
            at: now,
            blamed: false,
        });
        prober.stop(later);
        prober.consider(ESTIMATE, WANTED, true, later + PAUSE_MAX);
        assert_eq!(prober.pause, PAUSE_MIN, "it has held");
    }

    #[test]
    fn a_queue_right_after_padding_is_its_own() {
        let now = Instant::now();
        let mut prober = Prober::new(ESTIMATE, now);
        let trip = Duration::from_millis(50);
        assert!(!prober.is_excused(trip, now));
        prober.note_sent(1, 1000, true, now);
        assert!(prober.is_excused(trip, now + EXCUSED));
        assert!(!prober.is_excused(trip, now + EXCUSED + trip));
    }
}
