//! The whole: what is sent and what is heard of it goes in, a rate and probes come out.

use crate::acked::Acked;
use crate::arrival::{Base, Bursts, ReceiverClock, micros};
use crate::bitrate::Bitrate;
use crate::feedback::{Feedback, Report};
use crate::loss::Loss;
use crate::probe::Prober;
use crate::queue::{Level, Queue};
use crate::rate::Rate;
use crate::sent::{Fate, History, Sent};
use crate::trendline::{Trendline, Usage};
use std::time::{Duration, Instant};

/// A queue that is no deep one has to grow for so long: a step in the delay may be the radio's.
const GROWS_FOR: Duration = Duration::from_millis(300);
/// Without a full link for so long, the network is quiet.
const QUIET_AFTER: Duration = Duration::from_millis(500);
/// More loss holds growth (draft-ietf-rmcat-gcc-02 section 6: 2 %).
const LOSS_HOLDS: f64 = 0.02;
/// More loss than this, and nothing is probed.
const LOSS_FULL: f64 = 0.10;
/// A client that reports nothing of what it is sent, for so long, is lost or drowned: the estimate is
/// halved, ...
const SILENCE: Duration = Duration::from_secs(2);
/// ... and again after each of these.
const SILENCE_STEP: Duration = Duration::from_secs(1);
const SILENCE_FACTOR: f64 = 0.5;
/// Fewer packets may all be lost by chance.
const SILENCE_PACKETS: u32 = 10;
/// Of a new sample in the round trip: one in so many.
const ROUND_TRIP_SHARE: u32 = 8;
const ROUND_TRIP_UNKNOWN: Duration = Duration::from_millis(100);

/// Where the estimate starts, and its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The estimate when the first feedback comes.
    pub start: Bitrate,
    /// It never goes below: what is always sent, audio.
    pub min: Bitrate,
    /// It never goes above.
    pub max: Bitrate,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            start: Bitrate::from_kbps(500),
            min: Bitrate::from_kbps(50),
            max: Bitrate::from_kbps(30_000),
        }
    }
}

/// What a packet is sent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Media, repeated packets, all that is sent anyway.
    Media,
    /// Padding that [`Estimator::poll_probe`] asked for.
    Probe,
}

/// The downlink of one client. All methods take the time; it must not go back.
#[derive(Debug)]
pub struct Estimator {
    epoch: Instant,
    history: History,
    clock: ReceiverClock,
    bursts: Bursts,
    trendline: Trendline,
    queue: Queue,
    acked: Acked,
    loss: Loss,
    rate: Rate,
    prober: Prober,
    wanted: Bitrate,
    /// A feedback has told of a packet.
    heard: bool,
    /// Of the last feedback packet.
    feedback_number: Option<u8>,
    silence: Silence,
    round_trip: Option<Duration>,
    /// The link looks full without a break.
    over_since: Option<Instant>,
    /// The last time that it did, or lost much.
    full_at: Option<Instant>,
}

/// Packets of which nothing was heard.
#[derive(Debug, Default)]
struct Silence {
    packets: u32,
    /// When it counts.
    until: Option<Instant>,
    /// It has counted before.
    lasting: bool,
}

/// What one feedback packet brought.
#[derive(Default)]
struct News {
    /// Number and departure of the newest packet that has arrived.
    newest: Option<(u64, i64)>,
}

impl Estimator {
    /// Of a client to which nothing was sent yet.
    pub fn new(config: Config, now: Instant) -> Self {
        Self {
            epoch: now,
            history: History::default(),
            clock: ReceiverClock::default(),
            bursts: Bursts::default(),
            trendline: Trendline::default(),
            queue: Queue::default(),
            acked: Acked::default(),
            loss: Loss::new(now),
            rate: Rate::new(config),
            prober: Prober::new(config.start, now),
            wanted: Bitrate::ZERO,
            heard: false,
            feedback_number: None,
            silence: Silence::default(),
            round_trip: None,
            over_since: None,
            full_at: None,
        }
    }

    /// The number of the packet that leaves next, for who must write it before the packet is complete.
    pub fn next_sequence(&self) -> u16 {
        self.history.next_sequence()
    }

    /// A packet leaves: its number for the transport-wide sequence extension. `bytes` as on the wire:
    /// with IP and UDP, 28 or 48 bytes more than the datagram. Of more than 65,535 no more is counted.
    pub fn handle_sent(&mut self, bytes: usize, why: Why, now: Instant) -> u16 {
        let bytes = u16::try_from(bytes).unwrap_or(u16::MAX);
        let number = self.history.push(Sent {
            at: micros(now.saturating_duration_since(self.epoch)),
            bytes,
            why,
            fate: Fate::Open,
        });
        self.prober
            .note_sent(number, u64::from(bytes), why == Why::Probe, now);
        self.silence.note_sent(now);
        number as u16
    }

    /// One transport-wide feedback packet (RTCP type 205, format 15): the part behind its two SSRCs.
    /// False if it contradicts itself; then it changes nothing.
    pub fn handle_feedback(&mut self, fci: &[u8], now: Instant) -> bool {
        let Some(feedback) = Feedback::parse(fci) else {
            return false;
        };
        let base = self.clock.read(feedback.reference, now);
        if base.jumped {
            self.forget_arrivals();
        }
        self.loss.advance(now);
        let last = self.feedback_number.replace(feedback.number);
        if last.is_some_and(|last| feedback.number != last.wrapping_add(1)) {
            self.history.doubt();
        }
        let mut news = News::default();
        feedback.read(|report| self.read(report, base, &mut news));
        let sent_until = micros(now.saturating_duration_since(self.epoch));
        if let Some((number, sent)) = news.newest {
            self.heard = true;
            self.silence = Silence::default();
            self.measure_round_trip(sent_until.saturating_sub(sent));
            self.settle(sent);
            self.judge(now);
            self.conclude_probe(number, now);
        }
        self.history.forget(sent_until);
        self.consider_probe(now);
        true
    }

    /// What would be sent if the link took it: the best layers of all that the client asks for, with as
    /// much above them as the choice of layers keeps free. No probe goes further, and there is none if
    /// the estimate is within 5 % of it.
    pub fn set_wanted(&mut self, wanted: Bitrate, now: Instant) {
        self.wanted = wanted;
        self.consider_probe(now);
    }

    /// When [`Estimator::handle_timeout`] and then [`Estimator::poll_probe`] want to be called. A time
    /// in the past means now. Sending, feedback and `set_wanted` change it.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !self.heard {
            return None;
        }
        let probe = self.prober.poll_timeout(self.rate.current(), self.wanted);
        probe.into_iter().chain(self.silence.until).min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if !self.heard {
            return;
        }
        if self.silence.expire(now) {
            self.full_at = Some(now);
            self.prober.stop(now);
            self.rate.lower_by(SILENCE_FACTOR, Bitrate::ZERO, now);
        }
        self.prober.handle_timeout(now);
        self.conclude_probe(0, now);
        self.consider_probe(now);
    }

    /// Bytes of padding that shall leave now. Send at least as many, in packets that are told to
    /// `handle_sent` with [`Why::Probe`], and call it again. Who calls it again without having sent
    /// any has none, and the probe is given up.
    pub fn poll_probe(&mut self, now: Instant) -> Option<usize> {
        self.prober.poll(now)
    }

    /// What the downlink takes. None before the first feedback: a client that sends none is not limited.
    pub fn estimate(&self) -> Option<Bitrate> {
        self.heard.then(|| self.rate.current())
    }

    /// From a packet's departure to the feedback on it, with the time that the client holds feedback
    /// back. Smoothed. None before the first feedback.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// The share of media packets that got lost, 0 to 1, in the last second of feedback.
    pub fn loss(&self) -> f32 {
        self.loss.share() as f32
    }

    fn read(&mut self, report: Report, base: Base, news: &mut News) {
        let (sequence, ticks) = match report {
            Report::Received { sequence, ticks } => (sequence, ticks),
            Report::Missing { first, count } => return self.history.miss(first, count),
        };
        let Some((number, sent)) = self.history.receive(sequence) else {
            return;
        };
        let was_lost = sent.fate == Fate::Missing && self.history.is_settled(number);
        if was_lost && sent.why == Why::Media {
            self.loss.note_late();
        }
        let arrived = base.arrival(ticks);
        if let Some(spacing) = self.bursts.push(sent.at, arrived) {
            self.trendline.push(spacing);
        }
        self.queue.push(sent.at, arrived);
        self.acked.push(arrived, sent.bytes);
        let bytes = u64::from(sent.bytes);
        self.prober.note_received(number, sent.at, arrived, bytes);
        news.newest = news.newest.max(Some((number, sent.at)));
    }

    fn settle(&mut self, newest: i64) {
        let loss = &mut self.loss;
        self.history
            .settle(newest, |sent| match (sent.why, sent.fate) {
                (Why::Probe, _) => {}
                (Why::Media, Fate::Missing) => loss.note_lost(),
                (Why::Media, _) => loss.note_received(),
            });
    }

    fn forget_arrivals(&mut self) {
        self.bursts = Bursts::default();
        self.trendline = Trendline::default();
        self.queue = Queue::default();
        self.acked = Acked::default();
    }

    fn measure_round_trip(&mut self, micros: i64) {
        let sample = Duration::from_micros(u64::try_from(micros).unwrap_or(0));
        let smoothed = self.round_trip.map_or(sample, |old| {
            old - old / ROUND_TRIP_SHARE + sample / ROUND_TRIP_SHARE
        });
        self.round_trip = Some(smoothed);
    }

    fn trip(&self) -> Duration {
        self.round_trip.unwrap_or(ROUND_TRIP_UNKNOWN)
    }

    /// Up, down, or neither.
    fn judge(&mut self, now: Instant) {
        let before = self.rate.current();
        if let Some(loss) = self.loss.verdict(now, self.trip()) {
            self.full_at = Some(now);
            let carried = self.acked.long().unwrap_or_default();
            self.rate.lower_by(1.0 - loss / 2.0, carried, now);
        }
        let level = self.queue.level();
        let usage = self.trendline.usage();
        let over = usage == Usage::Over && level > Level::Usual;
        if !over {
            self.over_since = None;
        }
        if over {
            self.handle_overuse(level, now);
        } else if usage == Usage::Normal && self.loss.share() <= LOSS_HOLDS {
            self.rate.grow(self.acked.long(), self.trip(), now);
        } else {
            self.rate.hold(now);
        }
        if self.rate.current() < before {
            self.prober.note_decrease(before, now);
        }
    }

    fn handle_overuse(&mut self, level: Level, now: Instant) {
        let since = *self.over_since.get_or_insert(now);
        self.full_at = Some(now);
        self.prober.stop(now);
        let lasts = level == Level::Deep || now.saturating_duration_since(since) >= GROWS_FOR;
        if lasts && !self.prober.is_excused(self.trip(), now) {
            let carried = self.acked.short();
            self.rate.lower(carried, level, self.trip(), now);
        } else {
            self.rate.hold(now);
        }
    }

    fn conclude_probe(&mut self, newest: u64, now: Instant) {
        if let Some(outcome) = self.prober.conclude(newest, self.rate.current(), now) {
            self.rate.raise(outcome.carries);
        }
    }

    fn consider_probe(&mut self, now: Instant) {
        if self.heard {
            let quiet = self.is_quiet(now);
            let estimate = self.rate.current();
            self.prober.consider(estimate, self.wanted, quiet, now);
        }
    }

    /// Nothing says that the link is full.
    fn is_quiet(&self, now: Instant) -> bool {
        let recently = |at| now.saturating_duration_since(at) < QUIET_AFTER;
        !self.full_at.is_some_and(recently)
            && self.trendline.usage() != Usage::Over
            && self.queue.level() == Level::Usual
            && self.loss.share() < LOSS_FULL
    }
}

impl Silence {
    fn note_sent(&mut self, now: Instant) {
        self.packets = self.packets.saturating_add(1);
        if self.until.is_none() {
            let wait = if self.lasting { SILENCE_STEP } else { SILENCE };
            self.until = Some(now + wait);
        }
    }

    /// Whether it has lasted. The next packet begins the next step.
    fn expire(&mut self, now: Instant) -> bool {
        if self.until.is_none_or(|until| now < until) {
            return false;
        }
        let counts = self.packets >= SILENCE_PACKETS;
        *self = Self {
            lasting: self.lasting || counts,
            ..Self::default()
        };
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::writer;
    use proptest::prelude::*;

    const CONFIG: Config = Config {
        start: Bitrate::from_kbps(400),
        min: Bitrate::from_kbps(50),
        max: Bitrate::from_kbps(5000),
    };

    fn send(estimator: &mut Estimator, packets: usize, now: Instant) -> u16 {
        let send = |_, _| estimator.handle_sent(1000, Why::Media, now);
        (0..packets).fold(0, send)
    }

    #[test]
    fn there_is_no_estimate_before_the_client_says_anything() {
        let start = Instant::now();
        let mut estimator = Estimator::new(CONFIG, start);
        send(&mut estimator, 20, start);
        estimator.set_wanted(CONFIG.max, start);
        let later = start + 10 * SILENCE;
        estimator.handle_timeout(later);
        assert_eq!(estimator.estimate(), None);
        assert_eq!(estimator.poll_timeout(), None);
        assert_eq!(estimator.poll_probe(later), None);
        assert!(!estimator.handle_feedback(&[1, 2, 3], later));
        let never_sent = writer::fci(1000, 0, 0, &[Some(1)]);
        assert!(estimator.handle_feedback(&never_sent, later));
        assert_eq!(estimator.estimate(), None);
    }

    #[test]
    fn a_silent_client_halves_its_estimate_each_second() {
        let start = Instant::now();
        let mut estimator = Estimator::new(CONFIG, start);
        send(&mut estimator, 1, start);
        let now = start + Duration::from_millis(50);
        assert!(estimator.handle_feedback(&writer::fci(0, 0, 0, &[Some(1)]), now));
        assert_eq!(estimator.estimate(), Some(CONFIG.start));
        assert_eq!(estimator.round_trip(), Some(Duration::from_millis(50)));
        assert_eq!(estimator.poll_timeout(), None, "nothing was sent since");
        let (mut now, mut estimates) = (now, Vec::new());
        for _ in 0..5 {
            send(&mut estimator, 20, now);
            now = estimator.poll_timeout().unwrap();
            estimator.handle_timeout(now);
            estimates.push(estimator.estimate().unwrap().as_u64() / 1000);
        }
        assert_eq!(estimates, [200, 100, 50, 50, 50]);
        assert_eq!(now, start + Duration::from_millis(6050));
    }

    #[test]
    fn few_packets_without_an_answer_are_no_silence() {
        let start = Instant::now();
        let mut estimator = Estimator::new(CONFIG, start);
        send(&mut estimator, 1, start);
        estimator.handle_feedback(&writer::fci(0, 0, 0, &[Some(1)]), start);
        send(&mut estimator, 5, start);
        estimator.handle_timeout(start + SILENCE);
        assert_eq!(estimator.estimate(), Some(CONFIG.start));
        assert_eq!(estimator.poll_timeout(), None);
    }

    #[test]
    fn repeated_feedback_is_no_sign_of_life() {
        let start = Instant::now();
        let mut estimator = Estimator::new(CONFIG, start);
        send(&mut estimator, 1, start);
        let fci = writer::fci(0, 0, 0, &[Some(1)]);
        estimator.handle_feedback(&fci, start);
        send(&mut estimator, 20, start);
        let until = estimator.poll_timeout();
        assert!(estimator.handle_feedback(&fci, start + SILENCE / 2));
        assert_eq!(estimator.poll_timeout(), until);
    }

    #[test]
    fn padding_counts_for_no_loss() {
        let now = Instant::now();
        let mut estimator = Estimator::new(CONFIG, now);
        for why in [Why::Media, Why::Media, Why::Probe, Why::Media] {
            estimator.handle_sent(1000, why, now);
        }
        let later = now + Duration::from_millis(300);
        send(&mut estimator, 1, later);
        let arrivals = [Some(1), None, None, Some(2), Some(1200)];
        estimator.handle_feedback(&writer::fci(0, 0, 0, &arrivals), later);
        assert!((estimator.loss() - 1.0 / 3.0).abs() < 1e-6);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Send(u8),
        Bytes(Vec<u8>),
        Fci(u16, u32, Vec<Option<i64>>),
        Wait(u32),
        Probe,
        Wanted(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let arrivals = prop::collection::vec(prop::option::of(-30_000_i64..30_000), 1..60);
        let step = prop_oneof![
            any::<u8>().prop_map(Step::Send),
            prop::collection::vec(any::<u8>(), 0..60).prop_map(Step::Bytes),
            (0_u16..300, 0_u32..1 << 24, arrivals).prop_map(|(a, b, c)| Step::Fci(a, b, c)),
            any::<u32>().prop_map(Step::Wait),
            Just(Step::Probe),
            any::<u64>().prop_map(Step::Wanted),
        ];
        prop::collection::vec(step, 0..60)
    }

    proptest! {
        #[test]
        fn no_client_breaks_it(steps in steps()) {
            let mut now = Instant::now();
            let mut estimator = Estimator::new(CONFIG, now);
            for step in steps {
                match step {
                    Step::Send(packets) => {
                        send(&mut estimator, usize::from(packets) + 1, now);
                    }
                    Step::Bytes(bytes) => {
                        estimator.handle_feedback(&bytes, now);
                    }
                    Step::Fci(base, reference, arrivals) => {
                        estimator.handle_feedback(&writer::fci(base, reference, 0, &arrivals), now);
                    }
                    Step::Wait(micros) => {
                        now += Duration::from_micros(u64::from(micros));
                        estimator.handle_timeout(now);
                    }
                    Step::Probe => {
                        if let Some(bytes) = estimator.poll_probe(now) {
                            prop_assert!(bytes <= 1200);
                            estimator.handle_sent(bytes, Why::Probe, now);
                        }
                    }
                    Step::Wanted(bits) => estimator.set_wanted(Bitrate::new(bits), now),
                }
                if let Some(estimate) = estimator.estimate() {
                    prop_assert!(estimate >= CONFIG.min && estimate <= CONFIG.max);
                }
                prop_assert!((0.0..=1.0).contains(&estimator.loss()));
            }
        }
    }
}
