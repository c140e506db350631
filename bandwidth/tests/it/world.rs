//! Sender, link and receiver with one time, and what was seen of them.

use crate::link::{Conditions, Link};
use crate::random::Random;
use crate::receiver::Receiver;
use crate::sender::Sender;
use bandwidth::{Bitrate, Config, Estimator, Why};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Microseconds; a tick of the feedback.
const STEP: f64 = 250.0;

/// A tenth of a second.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    /// Seconds.
    pub(crate) at: f64,
    /// Kilobits per second.
    pub(crate) estimate: f64,
    pub(crate) sent: f64,
    pub(crate) padding: f64,
    pub(crate) layer: Option<usize>,
    /// The longest wait in the queue, milliseconds.
    pub(crate) queued: f64,
}

pub(crate) struct World {
    pub(crate) estimator: Estimator,
    pub(crate) link: Link,
    pub(crate) sender: Sender,
    receiver: Receiver,
    feedback: VecDeque<(f64, Vec<u8>)>,
    /// Feedback is lost as a whole.
    pub(crate) silent: bool,
    start: Instant,
    now: f64,
    random: Random,
    pub(crate) samples: Vec<Sample>,
    current: Sample,
    /// Waits in the queue with their time in seconds.
    pub(crate) waits: Vec<(f64, f64)>,
    pub(crate) packets: u64,
    pub(crate) seed: u64,
}

impl World {
    pub(crate) fn new(conditions: Conditions, seed: u64) -> Self {
        let start = Instant::now();
        let config = Config {
            start: Bitrate::from_kbps(400),
            min: Bitrate::from_kbps(50),
            max: Bitrate::from_kbps(10_000),
        };
        let mut estimator = Estimator::new(config, start);
        estimator.set_wanted(Sender::wanted(), start);
        Self {
            estimator,
            link: Link::new(conditions, seed),
            sender: Sender::new(seed + 1),
            receiver: Receiver::new(seed + 2),
            feedback: VecDeque::new(),
            silent: false,
            start,
            now: 0.0,
            random: Random::new(seed + 3),
            samples: Vec::new(),
            current: Sample::default(),
            waits: Vec::new(),
            packets: 0,
            seed,
        }
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.now / 1e6
    }

    pub(crate) fn run(&mut self, seconds: f64) {
        let end = self.now + seconds * 1e6;
        while self.now < end {
            self.step();
        }
    }

    fn step(&mut self) {
        let instant = self.start + Duration::from_micros(self.now as u64);
        while self.feedback.front().is_some_and(|(at, _)| *at <= self.now) {
            let (_, fci) = self.feedback.pop_front().unwrap();
            assert!(self.estimator.handle_feedback(&fci, instant));
        }
        if self
            .estimator
            .poll_timeout()
            .is_some_and(|at| at <= instant)
        {
            self.estimator.handle_timeout(instant);
        }
        let (link, current, now) = (&mut self.link, &mut self.current, self.now);
        let packets = &mut self.packets;
        self.sender
            .poll(&mut self.estimator, now, instant, |sequence, bytes, why| {
                *packets += 1;
                current.sent += bytes as f64 * 0.08;
                if why == Why::Probe {
                    current.padding += bytes as f64 * 0.08;
                }
                link.push(sequence, bytes, now);
            });
        let mut arrived = Vec::new();
        self.link.serve(self.now, STEP, &mut arrived);
        for arrival in &arrived {
            self.waits.push((self.now / 1e6, arrival.queued_ms));
            self.current.queued = self.current.queued.max(arrival.queued_ms);
        }
        self.receiver.push(&mut arrived);
        if let Some(fci) = self.receiver.poll(self.now) {
            let lost = self.random.unit() < self.link.conditions.feedback_loss;
            if !lost && !self.silent {
                let at = self.now + self.link.conditions.delay_ms * 1000.0;
                self.feedback.push_back((at, fci));
            }
        }
        self.now += STEP;
        if ((self.now / STEP) as u64).is_multiple_of(400) {
            self.sample();
        }
    }

    fn sample(&mut self) {
        let mut sample = std::mem::take(&mut self.current);
        sample.at = self.seconds();
        let estimate = self.estimator.estimate();
        sample.estimate = estimate.map_or(0.0, |estimate| estimate.as_u64() as f64 / 1000.0);
        sample.layer = self.sender.layer;
        self.samples.push(sample);
    }

    /// Samples from one second to another.
    pub(crate) fn between(&self, from: f64, to: f64) -> impl Iterator<Item = &Sample> + Clone {
        let inside = move |sample: &&Sample| sample.at > from && sample.at <= to;
        self.samples.iter().filter(inside)
    }

    /// Lowest and highest estimate, kilobits per second.
    pub(crate) fn range(&self, from: f64, to: f64) -> (f64, f64) {
        let none = (f64::INFINITY, 0.0_f64);
        self.between(from, to).fold(none, |(low, high), sample| {
            (low.min(sample.estimate), high.max(sample.estimate))
        })
    }

    /// Seconds from `from` until the samples are as wished; NaN if never.
    pub(crate) fn until(&self, from: f64, wished: impl Fn(&Sample) -> bool) -> f64 {
        let found = self.between(from, f64::MAX).find(|sample| wished(sample));
        found.map_or(f64::NAN, |sample| sample.at - from)
    }

    /// Changes of the layer.
    pub(crate) fn switches(&self, from: f64, to: f64) -> usize {
        let samples = self.between(from, to);
        let next = samples.clone().skip(1);
        samples
            .zip(next)
            .filter(|(a, b)| a.layer != b.layer)
            .count()
    }

    /// Milliseconds that packets waited in the queue: all but a twentieth of them no longer.
    pub(crate) fn wait_p95(&self, from: f64, to: f64) -> f64 {
        let inside = |(at, wait): &(f64, f64)| (*at > from && *at <= to).then_some(*wait);
        let mut waits: Vec<f64> = self.waits.iter().filter_map(inside).collect();
        waits.sort_by(f64::total_cmp);
        waits.get(waits.len() * 95 / 100).copied().unwrap_or(0.0)
    }

    /// Padding as a share of what was sent.
    pub(crate) fn padding(&self) -> f64 {
        let sum = |of: fn(&Sample) -> f64| self.samples.iter().map(of).sum::<f64>();
        sum(|sample| sample.padding) / sum(|sample| sample.sent)
    }

    /// What happened, one line a half second.
    pub(crate) fn show(&self, name: &str) {
        if std::env::var_os("SHOW").is_none() {
            return;
        }
        println!("-- {name}");
        for sample in self.samples.iter().step_by(5) {
            println!(
                "{:6.1} s  estimate {:5.0}  sent {:5.0}  padding {:4.0}  layer {:?}  queue {:4.0} ms",
                sample.at,
                sample.estimate,
                sample.sent,
                sample.padding,
                sample.layer,
                sample.queued
            );
        }
    }
}
