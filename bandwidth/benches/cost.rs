//! What a packet costs: its number and its place in the history, and its share of the feedback on it.

#![allow(clippy::expect_used, reason = "a bench that cannot start says so")]

use bandwidth::{Bitrate, Config, Estimator, Why};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::{Duration, Instant};

#[path = "../tests/it/writer.rs"]
mod writer;

/// A frame of 1.7 Mbit/s at 25 a second.
const FRAME: i64 = 8;
const ROUND: Duration = Duration::from_millis(40);
/// Reference time 0 and up to 63 ms of ticks: a round is at 40 ms steps.
const REFERENCE_MICROS: i64 = 64_000;

/// Feedback on one frame, which arrives at 10 Mbit/s behind it.
fn feedback(base: u16, round: i64) -> Vec<u8> {
    let at = round * ROUND.as_micros() as i64;
    let reference = at / REFERENCE_MICROS;
    let rest = at - reference * REFERENCE_MICROS;
    let arrivals: Vec<_> = (0..FRAME)
        .map(|place| Some(rest / 250 + 4 * place))
        .collect();
    writer::fci(base, reference as u32 & 0xff_ffff, 0, &arrivals)
}

fn cost(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("packet");
    group.throughput(Throughput::Elements(FRAME as u64));
    // As many rounds as the numbers take to come around, so that the feedback is written beforehand.
    let rounds = 65_536 / FRAME;
    let written: Vec<_> = (0..rounds)
        .map(|round| feedback((round * FRAME) as u16, round))
        .collect();
    for (name, hears) in [("sent", false), ("sent and reported", true)] {
        let mut now = Instant::now();
        let mut estimator = Estimator::new(Config::default(), now);
        estimator.set_wanted(Bitrate::ZERO, now);
        let mut feedback = written.iter().cycle();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for _ in 0..FRAME {
                    black_box(estimator.handle_sent(1100, Why::Media, now));
                }
                now += ROUND;
                if hears {
                    let fci = feedback.next().expect("endless");
                    black_box(estimator.handle_feedback(fci, now));
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, cost);
criterion_main!(benches);
