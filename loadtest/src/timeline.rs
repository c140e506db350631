//! What happened when: one [`Step`] for each second of the run, or for 2, 4, 8 seconds of a long one.

use crate::distribution::Distribution;
use crate::numbers::{as_f64, ratio, rounded, seconds};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Steps at most; with more, two neighbours become one. A step with all its distributions has some
/// 30 kB.
const STEPS_MAX: usize = 600;
const STEP_NS: u64 = 1_000_000_000;

/// The counts of one span of time. `_ns` are nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// Packets sent by publishers.
    pub packets_sent: u64,
    /// Bytes of their payloads.
    pub bytes_sent: u64,
    /// Packets received, without duplicates.
    pub packets: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Packets found missing.
    pub missing: u64,
    /// Packets that were missing and came.
    pub recovered: u64,
    /// Packets that came after a later one.
    pub reordered: u64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Frames that could be shown.
    pub frames: u64,
    /// Freezes that ended.
    pub freezes: u64,
    /// Their length.
    pub frozen_ns: u64,
    /// Time between frames that were shown.
    pub watched_ns: u64,
    /// Changes of the simulcast layer that is shown.
    pub layer_switches: u64,
    /// Participants that joined.
    pub joined: u64,
    /// Joins that failed.
    pub join_failures: u64,
    /// Connections that were made again.
    pub reconnects: u64,
    /// Errors of any kind.
    pub errors: u64,
    /// The largest number of participants that were connected. Of several workers, the sum.
    pub participants: u64,
    /// End-to-end latency of packets.
    pub latency: Distribution,
    /// How late publishers sent their frames.
    pub lateness: Distribution,
}

impl Step {
    /// Missing and not recovered. A packet that comes in a later step counts there, so one step may
    /// be too high: never below 0.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.missing.saturating_sub(self.recovered)
    }

    /// Takes another span in. `together`: at the same time, else one after the other.
    fn add(&mut self, other: &Self, together: bool) {
        let Self {
            packets_sent,
            bytes_sent,
            packets,
            bytes,
            missing,
            recovered,
            reordered,
            duplicates,
            frames,
            freezes,
            frozen_ns,
            watched_ns,
            layer_switches,
            joined,
            join_failures,
            reconnects,
            errors,
            participants,
            latency,
            lateness,
        } = other;
        let sums = [
            (&mut self.packets_sent, packets_sent),
            (&mut self.bytes_sent, bytes_sent),
            (&mut self.packets, packets),
            (&mut self.bytes, bytes),
            (&mut self.missing, missing),
            (&mut self.recovered, recovered),
            (&mut self.reordered, reordered),
            (&mut self.duplicates, duplicates),
            (&mut self.frames, frames),
            (&mut self.freezes, freezes),
            (&mut self.frozen_ns, frozen_ns),
            (&mut self.watched_ns, watched_ns),
            (&mut self.layer_switches, layer_switches),
            (&mut self.joined, joined),
            (&mut self.join_failures, join_failures),
            (&mut self.reconnects, reconnects),
            (&mut self.errors, errors),
        ];
        for (ours, theirs) in sums {
            *ours = ours.saturating_add(*theirs);
        }
        self.participants = if together {
            self.participants + participants
        } else {
            self.participants.max(*participants)
        };
        self.latency.merge(latency);
        self.lateness.merge(lateness);
    }
}

/// The steps from the start of the run.
#[derive(Clone, Debug)]
pub struct Timeline {
    step_ns: u64,
    steps: Vec<Step>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self {
            step_ns: STEP_NS,
            steps: Vec::new(),
        }
    }
}

impl Timeline {
    /// The step of this moment, in nanoseconds since the start of the run.
    pub fn at(&mut self, now_ns: u64) -> &mut Step {
        while now_ns / self.step_ns >= STEPS_MAX as u64 {
            self.coarsen();
        }
        let index = usize::try_from(now_ns / self.step_ns).unwrap_or(0);
        if self.steps.len() <= index {
            self.steps.resize_with(index + 1, Step::default);
        }
        // It has just been made long enough.
        &mut self.steps[index]
    }

    /// Takes in what another worker saw at the same time.
    pub fn merge(&mut self, mut other: Self) {
        while self.step_ns < other.step_ns {
            self.coarsen();
        }
        while other.step_ns < self.step_ns {
            other.coarsen();
        }
        let len = self.steps.len().max(other.steps.len());
        self.steps.resize_with(len, Step::default);
        for (ours, theirs) in self.steps.iter_mut().zip(&other.steps) {
            ours.add(theirs, true);
        }
    }

    /// All steps as one.
    #[must_use]
    pub fn total(&self) -> Step {
        let mut total = Step::default();
        for step in &self.steps {
            total.add(step, false);
        }
        total
    }

    /// What a report says.
    #[must_use]
    pub fn points(&self) -> Vec<Point> {
        let step_s = seconds(self.step_ns);
        let steps = (0_u64..).zip(&self.steps);
        steps
            .map(|(index, step)| point(step, as_f64(index) * step_s, step_s))
            .collect()
    }

    /// Seconds of a step.
    #[must_use]
    pub fn step_s(&self) -> f64 {
        seconds(self.step_ns)
    }

    fn coarsen(&mut self) {
        self.step_ns *= 2;
        let pairs = self.steps.chunks(2).map(|pair| {
            let mut sum = Step::default();
            for step in pair {
                sum.add(step, false);
            }
            sum
        });
        self.steps = pairs.collect();
    }
}

fn point(step: &Step, at_s: f64, step_s: f64) -> Point {
    let rate = |count: u64| rounded(as_f64(count) / step_s);
    Point {
        at_s,
        participants: step.participants,
        send_bitrate: rounded(as_f64(step.bytes_sent) * 8.0 / step_s),
        receive_bitrate: rounded(as_f64(step.bytes) * 8.0 / step_s),
        send_packets: rate(step.packets_sent),
        receive_packets: rate(step.packets),
        frames: rate(step.frames),
        loss: rounded(ratio(step.lost(), step.packets + step.lost())),
        reordering: rounded(ratio(step.reordered, step.packets)),
        freeze_ratio: rounded(ratio(step.frozen_ns, step.watched_ns)),
        freezes: step.freezes,
        layer_switches: step.layer_switches,
        joined: step.joined,
        join_failures: step.join_failures,
        reconnects: step.reconnects,
        errors: step.errors,
        latency_p50_ms: step.latency.quantile_ms(0.5),
        latency_p95_ms: step.latency.quantile_ms(0.95),
        latency_p99_ms: step.latency.quantile_ms(0.99),
        lateness_p99_ms: step.lateness.quantile_ms(0.99),
    }
}

/// One step of the timeline in a report. Rates are per second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Point {
    /// Start of the step, in seconds since the start of the run.
    pub at_s: f64,
    /// Participants connected.
    pub participants: u64,
    /// Bits a second sent by all publishers, payloads only.
    pub send_bitrate: f64,
    /// Bits a second received by all, payloads only.
    pub receive_bitrate: f64,
    /// Packets a second sent by all publishers.
    pub send_packets: f64,
    /// Packets a second received by all.
    pub receive_packets: f64,
    /// Frames a second that all receivers together could show.
    pub frames: f64,
    /// Packets lost of those that should have come, 0 to 1.
    pub loss: f64,
    /// Packets that came after a later one, of all that came, 0 to 1.
    pub reordering: f64,
    /// Time with a frozen picture of all time watched, 0 to 1. A freeze counts where it ends.
    pub freeze_ratio: f64,
    /// Freezes that ended.
    pub freezes: u64,
    /// Changes of the layer that is shown.
    pub layer_switches: u64,
    /// Participants that joined.
    pub joined: u64,
    /// Joins that failed.
    pub join_failures: u64,
    /// Connections that were made again.
    pub reconnects: u64,
    /// Errors of any kind.
    pub errors: u64,
    /// End-to-end latency, median; none where nothing was measured.
    pub latency_p50_ms: Option<f64>,
    /// End-to-end latency of which 95 % are not longer.
    pub latency_p95_ms: Option<f64>,
    /// End-to-end latency of which 99 % are not longer.
    pub latency_p99_ms: Option<f64>,
    /// How late publishers sent; 99 % were not later.
    pub lateness_p99_ms: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn each_second_has_a_step_and_gaps_are_empty() {
        let mut timeline = Timeline::default();
        timeline.at(0).packets += 10;
        timeline.at(2 * S + 1).packets += 30;
        timeline.at(2 * S + 1).missing += 10;
        let points = timeline.points();
        let seen: Vec<_> = points
            .iter()
            .map(|point| (point.at_s, point.receive_packets))
            .collect();
        assert_eq!(seen, [(0.0, 10.0), (1.0, 0.0), (2.0, 30.0)]);
        assert_eq!(points[2].loss, 0.25);
        assert_eq!(points[1].latency_p50_ms, None);
    }

    #[test]
    fn a_long_run_has_longer_steps_and_loses_no_count() {
        let mut timeline = Timeline::default();
        for second in 0..5000 {
            let step = timeline.at(second * S);
            step.packets += 1;
            step.participants = 7;
            step.latency.record_us(1000);
        }
        assert_eq!(timeline.step_s(), 16.0);
        assert!(timeline.steps.len() <= STEPS_MAX);
        let total = timeline.total();
        assert_eq!(
            (total.packets, total.participants, total.latency.count()),
            (5000, 7, 5000)
        );
        assert_eq!(timeline.points()[0].receive_packets, 1.0);
    }

    #[test]
    fn workers_are_added_up_even_if_one_ran_longer() {
        let mut long = Timeline::default();
        long.at(900 * S).frames = 1;
        let mut short = Timeline::default();
        short.at(S).frames = 2;
        short.at(S).participants = 3;
        long.at(S).participants = 4;
        let mut other_way = short.clone();
        other_way.merge(long.clone());
        long.merge(short);
        for merged in [long, other_way] {
            assert_eq!(merged.step_s(), 2.0);
            assert_eq!((merged.total().frames, merged.total().participants), (3, 7));
        }
    }
}
