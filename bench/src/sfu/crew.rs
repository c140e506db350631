//! All participants, and what they do together.

use super::SfuArgs;
use super::camera::{Camera, FRAMES_PER_SECOND};
use super::order::{Order, Tally};
use super::player::{Ear, Player};
use super::server::{Joined, Seat, Server};
use super::studio::Studio;
use crate::talk::Clock;
use crate::tally::quantile;
use anyhow::bail;
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Joins at the same time. More would only make each of them slower.
const JOINS_AT_ONCE: usize = 8;
/// How long it may take until everybody hears everybody, beyond the joins.
const HEARD_WITHIN: Duration = Duration::from_secs(60);
/// One of so many decrypts.
const DECRYPTS_ONE_OF: u32 = 20;
/// When nothing has come for so long, nothing is under way.
const QUIET: Duration = Duration::from_millis(150);
/// A server that has something to send for longer than that is not waited for.
const QUIET_WITHIN: Duration = Duration::from_secs(5);
/// From the order to the first frame.
const AHEAD: Duration = Duration::from_millis(50);
/// How often participants may be thrown out before the measurement, all together.
const JOINS_AGAIN_MAX: u32 = 10;
/// How often to look.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long somebody may take to leave.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

struct Person {
    seat: Seat,
    tally: Arc<Tally>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Person {
    fn is_ready(&self) -> bool {
        let hears_all = self.tally.sources() >= self.seat.hears as usize;
        hears_all && (!self.seat.sends || self.tally.can_send())
    }
}

/// All participants.
pub(crate) struct Crew {
    server: Server,
    shape: Shape,
    patience: Duration,
    orders: watch::Sender<Order>,
    people: Vec<Person>,
    studio: Studio,
    watchers: u32,
    seats: u64,
    join_time: Duration,
    joined_again: u32,
}

#[derive(Clone, Copy)]
struct Shape {
    rooms: u32,
    publishers: u32,
    packets: u32,
    bytes: usize,
    /// Of those who receive in a room, the first that decrypts.
    first_decrypting: u32,
}

impl Crew {
    /// Everybody joins, and hears everybody whom he should.
    pub(crate) async fn open(args: &SfuArgs) -> anyhow::Result<Self> {
        let hearers = args.watchers
            + if args.publishers > 1 {
                args.publishers
            } else {
                0
            };
        let mut crew = Self {
            server: Server::new(args).await?,
            shape: Shape {
                rooms: args.rooms,
                publishers: args.publishers,
                packets: args.packets,
                bytes: args.bytes,
                first_decrypting: (DECRYPTS_ONE_OF / 2).min(hearers / 2),
            },
            patience: Duration::from_millis(args.patience_ms),
            orders: watch::Sender::new(Order::Warm),
            people: Vec::new(),
            studio: Studio::open()?,
            watchers: 0,
            seats: 0,
            join_time: Duration::ZERO,
            joined_again: 0,
        };
        let begun = Instant::now();
        crew.seat_publishers().await?;
        crew.set_watchers(args.watchers).await?;
        crew.join_time = begun.elapsed();
        Ok(crew)
    }

    /// What the last joins took.
    pub(crate) fn join_seconds(&self) -> f64 {
        self.join_time.as_secs_f64()
    }

    async fn seat_publishers(&mut self) -> anyhow::Result<()> {
        let (once, others) = (self.server.joins_once(), self.shape.publishers - 1);
        let mut senders = Vec::new();
        let mut receivers = Vec::new();
        for room in 1..=self.shape.rooms {
            for index in 0..self.shape.publishers {
                let name = format!("p{index}");
                let hears = if once { others } else { 0 };
                senders.push(self.seat(room, &name, index, true, hears));
                if !once && others > 0 {
                    receivers.push(self.seat(room, &name, index, false, others));
                }
            }
        }
        self.join(senders).await?;
        if !receivers.is_empty() {
            // Others can only be asked for when they are there.
            self.wait_for(|person| person.tally.can_send()).await?;
            self.join(receivers).await?;
        }
        Ok(())
    }

    fn seat(&mut self, room: u32, name: &str, index: u32, sends: bool, hears: u32) -> Seat {
        self.seats += 1;
        Seat {
            room,
            name: name.to_owned(),
            sends,
            hears,
            decrypts: hears > 0 && index % DECRYPTS_ONE_OF == self.shape.first_decrypting,
            number: self.seats,
        }
    }

    /// So many in each room who only receive; returns when all of them do.
    pub(crate) async fn set_watchers(&mut self, count: u32) -> anyhow::Result<()> {
        let begun = Instant::now();
        if count > self.watchers {
            // Servers that answer offers send what is there at that moment.
            self.wait_for(|person| !person.seat.sends || person.tally.can_send())
                .await?;
        }
        let mut seats = Vec::new();
        for index in self.watchers..count {
            for room in 1..=self.shape.rooms {
                let hears = self.shape.publishers;
                // A name is never used twice: who left may not be gone yet.
                let name = format!("w{}", self.seats);
                seats.push(self.seat(room, &name, index, false, hears));
            }
        }
        self.join(seats).await?;
        let fewer = self.watchers.saturating_sub(count) * self.shape.rooms;
        // They came last.
        let stay = self.people.len().saturating_sub(fewer as usize);
        let leaving = self.people.split_off(stay);
        leave(leaving).await;
        self.watchers = count;
        self.wait_for(Person::is_ready).await?;
        self.join_time = begun.elapsed();
        Ok(())
    }

    async fn join(&mut self, seats: Vec<Seat>) -> anyhow::Result<()> {
        let server = &self.server;
        let joins = seats.into_iter().map(|seat| async move {
            let joined = server.join(&seat).await?;
            anyhow::Ok((seat, joined))
        });
        let mut joins = futures::stream::iter(joins).buffer_unordered(JOINS_AT_ONCE);
        while let Some((seat, joined)) = joins.try_next().await? {
            let person = start(&self.shape, &self.orders, &self.studio, seat, joined);
            self.people.push(person);
        }
        Ok(())
    }

    async fn wait_for(&mut self, done: impl Fn(&Person) -> bool) -> anyhow::Result<()> {
        let until = Instant::now() + HEARD_WITHIN;
        loop {
            self.join_again().await?;
            let missing = self.people.iter().filter(|person| !done(person)).count();
            if missing == 0 {
                return Ok(());
            }
            if Instant::now() > until {
                bail!("{missing} of {} are not ready", self.people.len());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Whoever was thrown out comes back, as any client would, but not for ever.
    async fn join_again(&mut self) -> anyhow::Result<()> {
        let is_over = |person: &Person| person.tally.ended().is_some();
        while let Some(index) = self.people.iter().position(is_over) {
            if self.joined_again == JOINS_AGAIN_MAX {
                bail!("{}", self.endings().next().unwrap_or_default());
            }
            self.joined_again += 1;
            let seat = self.people.remove(index).seat;
            let joined = self.server.join(&seat).await?;
            let person = start(&self.shape, &self.orders, &self.studio, seat, joined);
            self.people.insert(index, person);
        }
        Ok(())
    }

    fn endings(&self) -> impl Iterator<Item = String> {
        self.people.iter().filter_map(|person| {
            let cause = person.tally.ended();
            let cause = cause.as_ref()?;
            Some(format!(
                "{} of room {}: {cause}",
                person.seat.name, person.seat.room
            ))
        })
    }

    fn received(&self) -> u64 {
        let received = self.people.iter().map(|person| person.tally.received.get());
        received.sum()
    }

    /// Nobody sends, and what is under way arrives or is given up.
    pub(crate) async fn be_quiet(&self) {
        self.orders.send_replace(Order::Still);
        let until = Instant::now() + QUIET_WITHIN;
        let (mut known, mut since) = (self.received(), Instant::now());
        while since.elapsed() < QUIET && Instant::now() < until {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = self.received();
            if now != known {
                (known, since) = (now, Instant::now());
            }
        }
    }

    /// Everybody sends at the full rate for so many frames; what has come of it.
    pub(crate) async fn measure(&self, frames: u32) -> Value {
        for person in &self.people {
            person.tally.reset();
        }
        let clock = Clock::start();
        let begin = Instant::now() + AHEAD;
        self.orders.send_replace(Order::Run { begin, frames });
        let end = begin + Duration::from_secs(1) / FRAMES_PER_SECOND * (frames + 1) + self.patience;
        tokio::time::sleep_until(end.into()).await;
        self.orders.send_replace(Order::Still);
        let (seconds, own_cpu) = clock.stop();
        let mut result = self.to_json(frames);
        result["seconds"] = json!(seconds);
        result["own_cpu"] = json!(own_cpu);
        result
    }

    fn to_json(&self, frames: u32) -> Value {
        let packets = u64::from(frames) * u64::from(self.shape.packets);
        let hears = |person: &Person| u64::from(person.seat.hears) * packets;
        let expected: u64 = self.people.iter().map(hears).sum();
        let senders = self
            .people
            .iter()
            .filter(|person| person.seat.sends)
            .count();
        let sum = |of: fn(&Tally) -> u64| -> u64 {
            self.people.iter().map(|person| of(&person.tally)).sum()
        };
        let (mut delays, mut late) = (Vec::new(), Vec::new());
        for person in &self.people {
            delays.extend_from_slice(&person.tally.delays_us());
            late.extend_from_slice(&person.tally.late_us());
        }
        json!({
            "participants": self.participants(),
            "joined_again": self.joined_again,
            "planned": senders as u64 * packets,
            "sent": sum(|tally| tally.sent.get()),
            "expected": expected,
            "delivered": sum(|tally| tally.received.get()),
            "wrong": sum(|tally| tally.wrong.get()),
            "timed": delays.len(),
            "delay_p50_us": quantile(&mut delays, 0.5),
            "delay_p99_us": quantile(&mut delays, 0.99),
            "late_p99_us": quantile(&mut late, 0.99),
            "ended": self.endings().count(),
            "first_ended": self.endings().next(),
        })
    }

    /// People, of whom some have two seats.
    fn participants(&self) -> u32 {
        self.shape.rooms * (self.shape.publishers + self.watchers)
    }

    /// Cameras send just enough to be alive.
    pub(crate) fn warm_up(&self) {
        self.orders.send_replace(Order::Warm);
    }

    /// Everybody leaves.
    pub(crate) async fn close(self) {
        leave(self.people).await;
    }
}

fn start(
    shape: &Shape,
    orders: &watch::Sender<Order>,
    studio: &Studio,
    seat: Seat,
    joined: Joined,
) -> Person {
    let (media, wire, signal) = joined;
    let (tally, stop) = (Arc::new(Tally::default()), CancellationToken::new());
    let camera = seat.sends.then(|| {
        // Not all at the same moment: a frame apart is the most there is.
        let turn = u32::try_from(seat.number)
            .unwrap_or(u32::MAX)
            .wrapping_mul(7)
            % 16;
        let phase = Duration::from_secs(1) / FRAMES_PER_SECOND * turn / 16;
        Camera::new(shape.bytes, shape.packets, phase, Instant::now())
    });
    let player = Player {
        media,
        wire,
        signal,
        camera,
        ear: Ear::new(Arc::clone(&tally), shape.bytes / 2),
        orders: orders.subscribe(),
        stop: stop.clone(),
    };
    let task = if seat.sends {
        studio.spawn(player.run())
    } else {
        tokio::spawn(player.run())
    };
    Person {
        seat,
        tally,
        stop,
        task,
    }
}

async fn leave(people: Vec<Person>) {
    for person in &people {
        person.stop.cancel();
    }
    let all = futures::future::join_all(people.into_iter().map(|person| person.task));
    let _ = tokio::time::timeout(LEAVE_TIMEOUT, all).await;
}
