//! Requests at a fixed rate, each timed from the moment at which it was due: a proxy that stalls makes
//! all that wait behind it late, as it would in life.
//!
//! A thread for each connection: they sleep more precisely than an async runtime's timer, which is too
//! coarse for what is measured here.

use crate::answer::take_greeting;
use crate::rooms::Rooms;
use crate::talk::{self, Clock};
use crate::tally::{Tally, quantile};
use crate::target::{BlockingWire, Target, TargetArgs};
use anyhow::{Context as _, anyhow};
use bytes::BytesMut;
use clap::Args;
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

/// How much is read at once.
const READ_BYTES: usize = 4 * 1024;
/// Time from the word to the first request: all threads are awake by then.
const HEAD_START: Duration = Duration::from_millis(20);

/// What to ask.
#[derive(Debug, Args)]
pub(crate) struct LatencyArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Connections, each a thread.
    #[arg(long, default_value_t = 50)]
    connections: u32,
    /// Requests a second over all connections.
    #[arg(long, default_value_t = 1_000)]
    rate: u32,
    /// How long.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
}

/// When a connection sends.
#[derive(Clone, Copy)]
struct Schedule {
    first: Instant,
    every: Duration,
    end: Instant,
}

#[derive(Default)]
struct Outcome {
    tally: Tally,
    due: u64,
    /// From due to answered, nanoseconds.
    latency: Vec<u64>,
    /// From due, or from the last answer if that was later, to sent, nanoseconds: our own fault.
    late: Vec<u64>,
}

/// Measures and reports.
pub(crate) fn run(args: &LatencyArgs) -> anyhow::Result<()> {
    let (target, rooms) = (Target::new(&args.target)?, Rooms::new());
    let connections = args.connections.max(1);
    let gap = Duration::from_secs(1) / args.rate.max(1);
    let parties = usize::try_from(connections)?.saturating_add(1);
    let (opened, go) = (Barrier::new(parties), Barrier::new(parties));
    let work = |number: u32| -> anyhow::Result<Outcome> {
        let client = Client::open(&target, &rooms, number);
        opened.wait();
        go.wait();
        let first = Instant::now() + HEAD_START + gap * number;
        let schedule = Schedule {
            first,
            every: gap * connections,
            end: first + Duration::from_secs_f64(args.seconds),
        };
        Ok(client?.run(schedule))
    };
    let mut all = Outcome::default();
    let clock = thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..connections)
            .map(|number| scope.spawn(move || work(number)))
            .collect();
        opened.wait();
        let cue = talk::cue("ready");
        let clock = Clock::start();
        go.wait();
        for thread in threads {
            let outcome = thread.join().map_err(|_| anyhow!("a thread panicked"))?;
            all.add(outcome?);
        }
        cue?;
        anyhow::Ok(clock)
    })?;
    let (seconds, own_cpu) = clock.stop();
    let us = |values: &mut Vec<u64>, share| quantile(values, share) / 1_000;
    talk::result(json!({
        "done": all.tally.done,
        "due": all.due,
        "errors": all.tally.errors,
        "first_error": all.tally.first_error,
        "seconds": seconds,
        "own_cpu": own_cpu,
        "threads": connections,
        "p50_us": us(&mut all.latency, 0.5),
        "p99_us": us(&mut all.latency, 0.99),
        "max_us": us(&mut all.latency, 1.0),
        "late_p99_us": us(&mut all.late, 0.99),
    }))
}

impl Outcome {
    fn add(&mut self, other: Self) {
        self.tally.add(other.tally);
        self.due += other.due;
        self.latency.extend(other.latency);
        self.late.extend(other.late);
    }
}

struct Client<'a> {
    wire: BlockingWire,
    rooms: &'a Rooms,
    room: usize,
    buffer: BytesMut,
}

impl<'a> Client<'a> {
    fn open(target: &Target, rooms: &'a Rooms, number: u32) -> anyhow::Result<Self> {
        let mut client = Self {
            wire: target.connect_blocking()?,
            rooms,
            room: usize::try_from(number)?,
            buffer: BytesMut::new(),
        };
        let first = client.exchange().map_err(|error| anyhow!(error));
        first.context("the first request")?;
        Ok(client)
    }

    fn run(mut self, schedule: Schedule) -> Outcome {
        let mut outcome = Outcome::default();
        let mut due = schedule.first;
        while due < schedule.end {
            let free = Instant::now();
            thread::sleep(due.saturating_duration_since(free));
            let sent = Instant::now();
            outcome.due += 1;
            if !outcome.tally.count(self.exchange()) {
                break;
            }
            let latency = Instant::now().saturating_duration_since(due);
            outcome.latency.push(nanos(latency));
            let late = sent.saturating_duration_since(due.max(free));
            outcome.late.push(nanos(late));
            due += schedule.every;
        }
        outcome
    }

    fn exchange(&mut self) -> Result<(), String> {
        self.room += 1;
        let room = self.rooms.get(self.room)?;
        let sent = self.wire.write_all(&room.request);
        let sent = sent.and_then(|()| self.wire.flush());
        sent.map_err(|error| format!("sending: {error}"))?;
        let mut chunk = [0; READ_BYTES];
        loop {
            let read = self.wire.read(&mut chunk);
            match read.map_err(|error| format!("reading: {error}"))? {
                0 => return Err("closed instead of an answer".to_owned()),
                read => self
                    .buffer
                    .extend_from_slice(chunk.get(..read).unwrap_or_default()),
            }
            if take_greeting(&mut self.buffer, room)?.is_some() {
                return Ok(());
            }
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
