//! A shard: the real machine, and around it what the shard's own driver does.
//!
//! Owns: joins that wait, who is in which room, and when a room is stopped. Must not: believe
//! anything about ownership that the machine does not say (variants apart).

use crate::clock::Clock;
use crate::message::{Answer, Attempt, Body, Message, Node, ShardCall, Timer};
use crate::world::World;
use affinity::directory::{Epoch, LEASE_MS, MARGIN_MS};
use affinity::ownership::{Ownership, RefusedWhy};
use affinity::{RoomKey, ShardId};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a join waits for a room, microseconds.
const ACQUIRE_US: u64 = 3_000_000;
/// After "no lease" or "grace" a join asks again, microseconds.
pub(crate) const LEASE_RETRY_US: u64 = 100_000;
/// Sessions are looked at this often, and drains go on, microseconds.
pub(crate) const TICK_US: u64 = 400_000;

#[derive(Clone, Debug)]
struct Waiter {
    gateway: usize,
    gateway_life: u32,
    call: u64,
    attempt: Attempt,
    until_us: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) gateway: usize,
    pub(crate) attempt: Attempt,
    since_us: u64,
}

/// A room that the shard's core holds.
#[derive(Clone, Debug)]
pub(crate) struct Hosted {
    pub(crate) epoch: Epoch,
    /// By join.
    pub(crate) people: BTreeMap<u64, Session>,
}

pub(crate) struct ShardNode {
    pub(crate) id: ShardId,
    pub(crate) machine: Option<Ownership>,
    pub(crate) life: u32,
    pub(crate) clock: Clock,
    pub(crate) halted_until: Option<u64>,
    /// By its own clock: for how long it may be wrong after a freeze.
    pub(crate) unaware_until_us: u64,
    pub(crate) calls: BTreeMap<u64, ShardCall>,
    pub(crate) next_call: u64,
    waiting: BTreeMap<usize, Vec<Waiter>>,
    pub(crate) hosted: BTreeMap<usize, Hosted>,
    /// Rooms that another shard is handing over, until when.
    pub(crate) expected: BTreeMap<usize, u64>,
    /// Rooms that are being handed over, to whom.
    pub(crate) moving: BTreeMap<usize, usize>,
    /// When it will be woken.
    pub(crate) wake_us: Option<u64>,
    /// It is to be emptied, since.
    pub(crate) drain_since_us: Option<u64>,
    /// It is about to end; then it stays down for so long, milliseconds.
    pub(crate) stopping: Option<u64>,
    /// What a wrong variant believes beyond the machine, until when.
    pub(crate) believed: BTreeMap<usize, (Epoch, u64)>,
}

impl ShardNode {
    pub(crate) fn new(id: ShardId, clock: Clock) -> Self {
        Self {
            id,
            machine: None,
            life: 0,
            clock,
            halted_until: None,
            unaware_until_us: 0,
            calls: BTreeMap::new(),
            next_call: 0,
            waiting: BTreeMap::new(),
            hosted: BTreeMap::new(),
            expected: BTreeMap::new(),
            moving: BTreeMap::new(),
            wake_us: None,
            drain_since_us: None,
            stopping: None,
            believed: BTreeMap::new(),
        }
    }

    /// Everything that a process forgets.
    fn forget(&mut self) {
        let (id, life, next_call) = (self.id.clone(), self.life + 1, self.next_call);
        let fresh = Self::new(id, self.clock.clone());
        *self = Self {
            life,
            next_call,
            ..fresh
        };
    }

    /// The claim under which the shard would act as the room's owner now.
    pub(crate) fn live(
        &self,
        room: usize,
        key: &RoomKey,
        base: Instant,
        local_us: u64,
    ) -> Option<Epoch> {
        let machine = self.machine.as_ref()?;
        let owned = machine.owned(key, base + Duration::from_micros(local_us));
        let believed = self
            .believed
            .get(&room)
            .filter(|(_, until)| local_us < *until);
        owned.or(believed.map(|(epoch, _)| *epoch))
    }

    /// Its clock stands still, or stood still a moment ago.
    pub(crate) fn is_excused(&self, local_us: u64) -> bool {
        local_us < self.unaware_until_us
    }

    pub(crate) fn knows(&self, attempt: &Attempt) -> bool {
        let hosted = self.hosted.get(&attempt.room);
        let session = hosted.and_then(|hosted| hosted.people.get(&attempt.join));
        session.is_some_and(|session| session.attempt == *attempt)
    }

    pub(crate) fn waited_for(&self, room: usize) -> bool {
        self.waiting.contains_key(&room)
    }

    /// The longest time that it may be wrong after its clock stood still.
    pub(crate) fn unaware_us() -> u64 {
        (LEASE_MS - MARGIN_MS) * 1_000
    }
}

impl World {
    pub(crate) fn start_shard(&mut self, shard: usize) {
        if self.shards[shard].machine.is_some() {
            return;
        }
        let now = self.local(Node::Shard(shard));
        let (id, fresh) = (self.shards[shard].id.clone(), self.fresh());
        self.trace(|_| format!("{id} starts as {fresh:?}"));
        self.shards[shard].machine = Some(Ownership::new(id, fresh, now));
        self.timer(Node::Shard(shard), TICK_US, Timer::Move);
        self.drive(shard);
    }

    /// The process is gone, with all that it knew.
    pub(crate) fn end_shard(&mut self, shard: usize, killed: bool, down_ms: u64) {
        if self.shards[shard].machine.is_none() {
            return;
        }
        let life = self.shards[shard].life;
        self.trace(|world| format!("{} ends, killed: {killed}", world.shards[shard].id));
        let with_people = self.shards[shard]
            .hosted
            .iter()
            .filter(|(_, h)| !h.people.is_empty());
        let with_people: Vec<usize> = with_people.map(|(room, _)| *room).collect();
        let bereaved = if killed { with_people } else { Vec::new() };
        self.checker.died(shard, life, &bereaved, self.now);
        self.shards[shard].forget();
        self.shards[shard].clock.thaw_if_frozen(self.now);
        for gateway in 0..self.gateways.len() {
            self.drop_dead(gateway);
        }
        self.at(
            self.now + down_ms * 1_000,
            crate::world::What::Start(Node::Shard(shard)),
        );
    }

    pub(crate) fn shard_timer(&mut self, shard: usize, timer: Timer) {
        match timer {
            Timer::Wake { local_us } => {
                let wake = &mut self.shards[shard].wake_us;
                *wake = wake.filter(|at_us| *at_us != local_us);
            }
            Timer::CallOver { call } => self.call_over(shard, call),
            Timer::Retry { room } => self.ask_again(shard, room),
            Timer::Waited { room, attempt } => self.waited(shard, room, &attempt),
            Timer::Empty { room, epoch } => self.close_empty(shard, room, epoch),
            Timer::StopLost { room, epoch } => {
                let hosted = self.shards[shard].hosted.get(&room);
                if hosted.is_some_and(|hosted| hosted.epoch == epoch) {
                    self.end_room(shard, room, false);
                }
            }
            Timer::Move => self.tick(shard),
            Timer::LastWords => {
                let down_ms = self.shards[shard].stopping.unwrap_or_default();
                return self.end_shard(shard, false, down_ms);
            }
            _ => {}
        }
        self.drive(shard);
    }

    pub(crate) fn shard_message(&mut self, shard: usize, message: Message) {
        match message.body {
            Body::Join { call, attempt } => self.join(shard, &message, call, attempt),
            Body::Leave { attempt } => self.leave(shard, &attempt),
            Body::Reply { call, reply } => self.directory_answered(shard, call, reply),
            Body::Keep { call, keep } => {
                self.keep(shard, message.from, message.from_life, call, keep)
            }
            Body::Kept { call, kept } => self.kept(shard, call, kept),
            Body::Offer { call } => {
                let node = &self.shards[shard];
                let yes = node.stopping.is_none() && node.drain_since_us.is_none();
                let body = Body::Offered { call, yes };
                self.send(
                    Node::Shard(shard),
                    message.from,
                    Some(message.from_life),
                    body,
                );
            }
            Body::Offered { call, yes } => self.offered(shard, call, yes),
            Body::Commit { room } => self.expect_room(shard, room),
            _ => {}
        }
        self.drive(shard);
    }

    fn join(&mut self, shard: usize, message: &Message, call: u64, attempt: Attempt) {
        let Node::Gateway(gateway) = message.from else {
            return;
        };
        let local_us = self.shards[shard].clock.now(self.now);
        let waiter = Waiter {
            gateway,
            gateway_life: message.from_life,
            call,
            attempt,
            until_us: local_us + ACQUIRE_US,
        };
        if self.shards[shard].stopping.is_some() {
            return self.answer(shard, &waiter, unavailable("the shard is shutting down"));
        }
        let room = attempt.room;
        if self.owner_now(shard, room).is_some() {
            return self.let_in(shard, &waiter);
        }
        self.shards[shard]
            .waiting
            .entry(room)
            .or_default()
            .push(waiter);
        self.timer(
            Node::Shard(shard),
            ACQUIRE_US,
            Timer::Waited { room, attempt },
        );
        self.acquire(shard, room);
    }

    pub(crate) fn acquire(&mut self, shard: usize, room: usize) {
        let (key, now) = (self.rooms[room].clone(), self.local(Node::Shard(shard)));
        if let Some(machine) = self.shards[shard].machine.as_mut() {
            machine.acquire(key, now);
        }
    }

    fn answer(&mut self, shard: usize, waiter: &Waiter, answer: Answer) {
        let body = Body::Joined {
            call: waiter.call,
            answer,
        };
        let to = Node::Gateway(waiter.gateway);
        self.send(Node::Shard(shard), to, Some(waiter.gateway_life), body);
    }

    /// The room is ours at this moment: the join is carried out in one go.
    fn let_in(&mut self, shard: usize, waiter: &Waiter) {
        let attempt = waiter.attempt;
        let room = attempt.room;
        let Some(owner) = self.owner_now(shard, room) else {
            return self.answer(shard, waiter, unavailable("the claim is gone"));
        };
        let hosted = self.shards[shard].hosted.get(&room);
        if hosted.is_some_and(|hosted| hosted.epoch != owner.epoch) {
            // An earlier life of the room, which nobody has stopped yet.
            self.stop_people(shard, room, false);
        }
        let now = self.local(Node::Shard(shard));
        let since_us = self.micros(now);
        let node = &mut self.shards[shard];
        let people = BTreeMap::new();
        let hosted = node.hosted.entry(room).or_insert(Hosted {
            epoch: owner.epoch,
            people,
        });
        let session = Session {
            gateway: waiter.gateway,
            attempt,
            since_us,
        };
        hosted.people.insert(attempt.join, session);
        if node
            .machine
            .as_ref()
            .is_some_and(|machine| machine.is_on_hold(now))
        {
            self.counts.accepts_on_hold += 1;
        }
        self.counts.accepts += 1;
        // What the checker knows is as of the last step.
        self.checker_sees(room);
        self.trace(|_| format!("s{shard} lets {attempt:?} in under {:?}", owner.epoch));
        self.checker.accepted(attempt.join, room, owner, self.now);
        let mut checker = std::mem::replace(&mut self.checker, crate::checker::Checker::new(0));
        checker.check_join(
            attempt.join,
            |room, by| {
                self.owner_now(by.shard, room)
                    .is_some_and(|now| !now.excused && (now.life, now.epoch) == (by.life, by.epoch))
            },
            self.now,
        );
        self.checker = checker;
        self.answer(shard, waiter, Answer::Accepted);
    }

    /// The machine's answer to all who wait for the room.
    pub(crate) fn decided(&mut self, shard: usize, room: usize, refused: Option<&RefusedWhy>) {
        let waiters = self.shards[shard].waiting.remove(&room).unwrap_or_default();
        let Some(why) = refused else {
            for waiter in waiters {
                self.let_in(shard, &waiter);
            }
            return;
        };
        if matches!(why, RefusedWhy::NoLease | RefusedWhy::Grace) && !waiters.is_empty() {
            // Until their own time is over.
            self.shards[shard].waiting.insert(room, waiters);
            return self.timer(Node::Shard(shard), LEASE_RETRY_US, Timer::Retry { room });
        }
        self.shards[shard].expected.remove(&room);
        for waiter in waiters {
            let answer = match why {
                RefusedWhy::Owned { shard: owner } if *owner != self.shards[shard].id => {
                    Answer::NotOwner {
                        owner: owner.clone(),
                    }
                }
                why => unavailable(&format!("{why:?}")),
            };
            self.answer(shard, &waiter, answer);
        }
    }

    fn ask_again(&mut self, shard: usize, room: usize) {
        if self.shards[shard].waited_for(room) {
            self.acquire(shard, room);
        }
    }

    /// A join has waited for long enough.
    fn waited(&mut self, shard: usize, room: usize, attempt: &Attempt) {
        let local_us = self.shards[shard].clock.now(self.now);
        let Some(waiters) = self.shards[shard].waiting.get_mut(&room) else {
            return;
        };
        let over = |waiter: &Waiter| waiter.until_us <= local_us && waiter.attempt == *attempt;
        let out: Vec<Waiter> = waiters.iter().filter(|w| over(w)).cloned().collect();
        waiters.retain(|waiter| !over(waiter));
        if waiters.is_empty() {
            self.shards[shard].waiting.remove(&room);
        }
        for waiter in out {
            self.answer(shard, &waiter, unavailable("no decision in time"));
        }
        self.release_unneeded(shard, room);
    }

    pub(crate) fn leave(&mut self, shard: usize, attempt: &Attempt) {
        if !self.shards[shard].knows(attempt) {
            return;
        }
        let Some(hosted) = self.shards[shard].hosted.get_mut(&attempt.room) else {
            return;
        };
        hosted.people.remove(&attempt.join);
        let (room, epoch) = (attempt.room, hosted.epoch);
        if hosted.people.is_empty() {
            let linger = self.params.linger_ms * 1_000;
            self.timer(Node::Shard(shard), linger, Timer::Empty { room, epoch });
        }
    }

    /// Nobody came for the empty timeout: the core stops the room, then it is released.
    fn close_empty(&mut self, shard: usize, room: usize, epoch: Epoch) {
        let hosted = self.shards[shard].hosted.get(&room);
        let empty = hosted.is_some_and(|h| h.epoch == epoch && h.people.is_empty());
        if empty && !self.shards[shard].moving.contains_key(&room) {
            self.end_room(shard, room, false);
        }
    }

    /// Stops the room and gives it back, if it is ours.
    pub(crate) fn end_room(&mut self, shard: usize, room: usize, moved: bool) {
        self.stop_people(shard, room, moved);
        self.release_unneeded(shard, room);
    }

    /// The core stops the room: everybody is sent away.
    fn stop_people(&mut self, shard: usize, room: usize, moved: bool) {
        let Some(hosted) = self.shards[shard].hosted.remove(&room) else {
            return;
        };
        for session in hosted.people.into_values() {
            let (attempt, to) = (session.attempt, Node::Gateway(session.gateway));
            self.send(Node::Shard(shard), to, None, Body::Kick { attempt, moved });
        }
    }

    /// A room that nobody needs is given back.
    pub(crate) fn release_unneeded(&mut self, shard: usize, room: usize) {
        let now = self.local(Node::Shard(shard));
        let local_us = self.micros(now);
        let node = &mut self.shards[shard];
        let expected = node
            .expected
            .get(&room)
            .is_some_and(|until| local_us < *until);
        if node.hosted.contains_key(&room) || node.waited_for(room) || expected {
            return;
        }
        let key = &self.rooms[room];
        let Some(machine) = node.machine.as_mut() else {
            return;
        };
        if let Some(epoch) = machine.owned(key, now) {
            machine.release(key, now);
            let life = node.life;
            self.checker.ended(room, shard, life, epoch);
            self.believes_after_release(shard, room, epoch);
        }
    }

    /// Looks for dead connections, and moves rooms away.
    fn tick(&mut self, shard: usize) {
        self.timer(Node::Shard(shard), TICK_US, Timer::Move);
        let local_us = self.shards[shard].clock.now(self.now);
        let sessions = self.shards[shard]
            .hosted
            .values()
            .flat_map(|h| h.people.values());
        let dead: Vec<Attempt> = sessions
            .filter(|session| {
                local_us > session.since_us + crate::gateway::PING_US
                    && !self.gateways[session.gateway].knows(&session.attempt)
            })
            .map(|session| session.attempt)
            .collect();
        for attempt in dead {
            self.leave(shard, &attempt);
        }
        let expected = self.shards[shard].expected.iter();
        let over: Vec<usize> = expected
            .filter(|(_, until)| **until <= local_us)
            .map(|(room, _)| *room)
            .collect();
        for room in over {
            self.shards[shard].expected.remove(&room);
            self.release_unneeded(shard, room);
        }
        self.move_rooms(shard);
    }
}

pub(crate) fn unavailable(why: &str) -> Answer {
    Answer::Unavailable {
        why: why.to_owned(),
    }
}
