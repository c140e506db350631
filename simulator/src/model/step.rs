//! How one state becomes the next.

use super::shard::ShardState;
use super::state::{
    Fault, Late, ROOMS, SHARDS, Scope, Slip, State, Topic, WITNESSES, Way, WitnessState,
};
use crate::variant::Variant;
use affinity::directory::{
    DirectoryIncarnation, DirectoryLimits, DirectoryState, DirectoryUnreachable, Epoch,
    Incarnation, LEASE_MS, MARGIN_MS, Reply, Request, Witness,
};
use affinity::ownership::{Event, KeepDuty, Kept, LostWhy, Question};
use affinity::{RoomCase, RoomKey, Shard, ShardId, ShardState as Configured};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The sixth of a lease.
const TICK_MS: u64 = LEASE_MS / 6;
const _: () = assert!(
    TICK_MS <= MARGIN_MS,
    "the margin is for a clock that goes wrong by a tick"
);
/// A call without an answer is given up after so many ticks.
const PATIENCE: u16 = 3;
/// Ticks in which everybody takes a lease and the rooms get their first owners.
const START: u16 = 6;
/// The clocks of shards begin here, so that one that is slow does not begin before all time.
const ZERO: u16 = 100;

pub(super) fn instant(tick: u16) -> Instant {
    static BASE: OnceLock<Instant> = OnceLock::new();
    *BASE.get_or_init(Instant::now) + Duration::from_millis(TICK_MS) * u32::from(ZERO + tick)
}

pub(super) fn keys() -> &'static [RoomKey] {
    static KEYS: OnceLock<Vec<RoomKey>> = OnceLock::new();
    KEYS.get_or_init(|| {
        let key = |n| RoomKey::from_claim(&format!("r{n}"), RoomCase::Sensitive);
        (0..ROOMS).map(|n| key(n).expect("a good name")).collect()
    })
}

fn shard_id(number: usize) -> ShardId {
    format!("s{number}").into()
}

fn topology() -> Vec<Shard> {
    let shard = |number| Shard {
        id: shard_id(number),
        url: "http://s:1".to_owned(),
        weight: 1,
        state: Configured::Active,
    };
    (0..SHARDS).map(shard).collect()
}

fn announce() -> Request {
    let (gateway, topology) = (String::new(), topology());
    Request::Announce { gateway, topology }
}

impl Scope {
    pub(super) fn first_tick(&self) -> u16 {
        START
    }

    fn directory(&self, life: u16, grace: bool) -> DirectoryState {
        let (incarnation, floor) = (DirectoryIncarnation(u64::from(life)), u64::from(life) << 16);
        let limits = DirectoryLimits::default();
        DirectoryState::new(incarnation, Epoch(floor), grace, self.hold_ms, limits)
    }

    /// Leases are held and the others are known; the first shard owns both rooms, or each of two one.
    /// And the same with a third shard that has not come yet.
    pub(super) fn beginnings(&self) -> Vec<State> {
        let begin = |owners, late| self.beginning(owners, late);
        vec![
            begin([0, 0], false),
            begin([0, 1], false),
            begin([0, 1], true),
        ]
    }

    fn beginning(&self, owners: [usize; ROOMS], late: bool) -> State {
        let mut directory = self.directory(1, false);
        directory.handle(announce());
        let witness = WitnessState {
            witness: Witness::default(),
            way: Way::Open,
            fast: 0,
        };
        let shard = |number: usize| ShardState::new(number, Incarnation(number as u64 + 1), 0);
        let mut state = State {
            tick: 0,
            directory,
            lives: 1,
            down_since: None,
            shards: (0..SHARDS).map(shard).collect(),
            witnesses: vec![witness; WITNESSES],
            late: Vec::new(),
            faults: 0,
            slipped: None,
            incarnations: SHARDS as u64,
            handed_over: false,
            owners: vec![None; ROOMS],
            highest: vec![Epoch(0); ROOMS],
            broken: false,
        };
        state.shards[SHARDS - 1].paused = late;
        for tick in 0..START {
            if tick == 2 {
                for (room, owner) in owners.iter().enumerate() {
                    let now = state.shards[*owner].clock(state.tick);
                    state.shards[*owner]
                        .machine
                        .acquire(keys()[room].clone(), now);
                }
            }
            self.tick(&mut state, tick > 3);
        }
        state
    }

    pub(super) fn apply(&self, state: &mut State, fault: Fault) {
        if super::choices::costs(fault) {
            state.faults += 1;
        }
        match fault {
            Fault::Tick => return self.tick(state, true),
            Fault::Slip(slip) => {
                state.slipped = Some(state.tick);
                match slip {
                    Slip::SlowShard(number) => state.shards[number].slow += 1,
                    Slip::FastShard(number) => state.shards[number].fast += 1,
                    Slip::FastWitness(number) => state.witnesses[number].fast += 1,
                }
                return self.tick(state, true);
            }
            Fault::Link(number, way) => state.shards[number].way = way,
            Fault::Witness(number, way) => state.witnesses[number].way = way,
            Fault::Lonely(number, lonely) => state.shards[number].lonely = lonely,
            Fault::Late(index) => self.come_in(state, index),
            Fault::Crash(number) => {
                let incarnation = fresh(state);
                let before = state.shards[number].clone();
                let shard = ShardState::new(number, incarnation, 0);
                let now = before.clock(state.tick);
                state.shards[number] = ShardState {
                    machine: affinity::ownership::Ownership::new(
                        shard_id(number),
                        incarnation,
                        now,
                    ),
                    life: before.life + 1,
                    slow: before.slow,
                    fast: before.fast,
                    way: before.way,
                    lonely: before.lonely,
                    ..shard
                };
                settle(state, number);
            }
            Fault::Pause(number, paused) => state.shards[number].paused = paused,
            Fault::Down(true) => state.down_since = Some(state.tick),
            Fault::Down(false) => state.down_since = None,
            Fault::NewLife { topology } => {
                state.lives += 1;
                state.directory = self.directory(state.lives, true);
                if topology {
                    state.directory.handle(announce());
                }
            }
            Fault::Release(number, room) => {
                let now = state.shards[number].clock(state.tick);
                let shard = &mut state.shards[number];
                shard.machine.release(&keys()[room], now);
                shard.believed.remove(&room);
                self.drive(state, number);
            }
            Fault::Transfer(number, room, to) => self.transfer(state, number, room, to),
        }
        state.observe();
    }

    fn transfer(&self, state: &mut State, number: usize, room: usize, to: usize) {
        let now = state.shards[number].clock(state.tick);
        let heir = state.shards[to].machine.incarnation();
        let before = state.owned(&state.shards[number], room, &keys()[room]);
        let shard = &mut state.shards[number];
        if shard
            .machine
            .transfer(&keys()[room], shard_id(to), heir, now)
        {
            if self.variant == Some(Variant::LiveDuringTransfer)
                && let Some(epoch) = before
            {
                shard.believed.insert(room, epoch);
            }
            self.drive(state, number);
        }
    }

    /// A tick: whoever is able does what is due. Shards before witnesses, which see a renewal as early as
    /// may be, and claims after them, which come as soon as a lease is ended.
    fn tick(&self, state: &mut State, eager: bool) {
        state.tick += 1;
        for number in 0..SHARDS {
            self.give_up(state, number);
            self.drive(state, number);
        }
        state.observe();
        for number in 0..WITNESSES {
            self.look(state, number);
        }
        if eager {
            self.claim_all(state);
        }
        state.observe();
    }

    /// Everybody wants what he does not have.
    fn claim_all(&self, state: &mut State) {
        for number in 0..SHARDS {
            // The order is another one with every tick.
            let number = (number + usize::from(state.tick)) % SHARDS;
            if state.shards[number].paused {
                continue;
            }
            let now = state.shards[number].clock(state.tick);
            for key in keys() {
                let machine = &mut state.shards[number].machine;
                if machine.owned(key, now).is_none() {
                    machine.acquire(key.clone(), now);
                }
            }
            self.drive(state, number);
            state.observe();
        }
    }

    fn look(&self, state: &mut State, number: usize) {
        let way = state.witnesses[number].way;
        if way == Way::Cut || state.down_since.is_some() {
            return;
        }
        let mut view = state.directory.view();
        if view.topology.is_empty() {
            state.directory.handle(announce());
            view = state.directory.view();
        }
        if self.variant == Some(Variant::GraceWaitsForNobody) {
            view.hold = false;
        }
        let now = instant(state.tick + state.witnesses[number].fast);
        let witness = &mut state.witnesses[number].witness;
        witness.handle_view(&view, now);
        for request in witness.requests(now) {
            if way == Way::LateRequest(Topic::Said) && state.late.is_empty() {
                state.late.push(Late::Said(request));
                state.witnesses[number].way = Way::Open;
            } else {
                self.ask(state, request);
            }
        }
    }

    fn give_up(&self, state: &mut State, number: usize) {
        if state.shards[number].paused {
            return;
        }
        let tick = state.tick;
        let calls = state.shards[number].calls.clone();
        for (id, (sent, handed)) in calls {
            if tick < sent + PATIENCE {
                continue;
            }
            state.shards[number].calls.remove(&id);
            self.answer(state, number, id, None);
            if self.variant == Some(Variant::TransferTakenBack)
                && let Some((room, epoch)) = handed
            {
                state.shards[number].believed.insert(room, epoch);
            }
        }
    }

    fn answer(
        &self,
        state: &mut State,
        number: usize,
        id: affinity::ownership::RequestId,
        reply: Option<Reply>,
    ) {
        let fresh = fresh(state);
        let now = state.shards[number].clock(state.tick);
        let reply = reply.ok_or_else(|| DirectoryUnreachable("gone".to_owned()));
        state.shards[number]
            .machine
            .handle_reply(id, reply, fresh, now);
        settle(state, number);
    }

    /// Timers, events, requests and questions of one shard, until it has nothing to do.
    fn drive(&self, state: &mut State, number: usize) {
        if state.shards[number].paused {
            return;
        }
        let now = state.shards[number].clock(state.tick);
        loop {
            let fresh = fresh(state);
            let machine = &mut state.shards[number].machine;
            if machine.poll_timeout().is_some_and(|(at, _)| at <= now) {
                machine.handle_timeout(fresh, now);
                settle(state, number);
            }
            while let Some(event) = state.shards[number].machine.poll_event() {
                self.event(state, number, event);
            }
            if let Some((id, request)) = state.shards[number].machine.poll_request(now) {
                self.request(state, number, id, request);
            } else if let Some(question) = state.shards[number].machine.poll_question(now) {
                self.question(state, number, question);
            } else {
                return;
            }
        }
    }

    fn event(&self, state: &mut State, number: usize, event: Event) {
        let room_of = |key: &RoomKey| keys().iter().position(|room| room == key).unwrap_or(0);
        let believed = &mut state.shards[number].believed;
        match event {
            Event::Granted { room, epoch, .. } => {
                if self.variant == Some(Variant::NoSelfFence) {
                    believed.insert(room_of(&room), epoch);
                }
            }
            Event::Lost { room, why, .. } => {
                let told = why != LostWhy::LeaseEnded;
                if told || self.variant != Some(Variant::NoSelfFence) {
                    believed.remove(&room_of(&room));
                }
            }
            Event::Moved { room, .. } => {
                believed.remove(&room_of(&room));
                state.handed_over = true;
            }
            Event::Stays { room, .. } => {
                believed.remove(&room_of(&room));
            }
            Event::Leased { .. } => believed.clear(),
            Event::Refused { .. } | Event::Drain(_) | Event::Fenced | Event::NotLeased { .. } => {}
        }
    }

    fn request(
        &self,
        state: &mut State,
        number: usize,
        id: affinity::ownership::RequestId,
        request: Request,
    ) {
        let (way, life, sent) = (
            state.shards[number].way,
            state.shards[number].life,
            state.tick,
        );
        let shard = number;
        if way == Way::Cut || state.down_since.is_some() {
            // Its caller learns that at once, or the search would never end.
            return self.answer(state, number, id, None);
        }
        let topic = Topic::of(&request);
        if way == Way::LateRequest(topic) {
            state.shards[number].way = Way::Open;
            state.shards[number]
                .calls
                .insert(id, (sent, handed_over(&request)));
            state.late.push(Late::Request {
                shard,
                life,
                id,
                request,
            });
        } else if way == Way::LateReply(topic) {
            state.shards[number].way = Way::Open;
            state.shards[number]
                .calls
                .insert(id, (sent, handed_over(&request)));
            let reply = self.ask(state, request);
            state.late.push(Late::Reply {
                shard,
                life,
                id,
                sent,
                reply,
            });
        } else {
            let reply = self.ask(state, request);
            let reply = self.distort(state, sent, reply);
            self.answer(state, number, id, Some(reply));
        }
    }

    fn come_in(&self, state: &mut State, index: usize) {
        match state.late.remove(index) {
            Late::Said(request) => {
                if state.down_since.is_none() {
                    self.ask(state, request);
                }
            }
            Late::Request {
                shard,
                life,
                id,
                request,
            } => {
                let sent = state.tick;
                let reply = self.ask(state, request);
                self.comes_back(state, shard, life, id, sent, reply);
            }
            Late::Reply {
                shard,
                life,
                id,
                sent,
                reply,
            } => {
                self.comes_back(state, shard, life, id, sent, reply);
            }
        }
    }

    fn comes_back(
        &self,
        state: &mut State,
        number: usize,
        life: u16,
        id: affinity::ownership::RequestId,
        sent: u16,
        reply: Reply,
    ) {
        let shard = &mut state.shards[number];
        if shard.life == life && !shard.paused && shard.calls.remove(&id).is_some() {
            let reply = self.distort(state, sent, reply);
            self.answer(state, number, id, Some(reply));
            self.drive(state, number);
        }
    }

    fn distort(&self, state: &State, sent: u16, mut reply: Reply) -> Reply {
        if let Reply::Leased { ttl_ms, .. } = &mut reply {
            match self.variant {
                Some(Variant::DeadlineFromReceipt) => {
                    *ttl_ms += u64::from(state.tick - sent) * TICK_MS;
                }
                Some(Variant::NoMargin) => *ttl_ms += MARGIN_MS,
                _ => {}
            }
        }
        reply
    }

    fn ask(&self, state: &mut State, request: Request) -> Reply {
        let directory = state.directory.incarnation();
        match (self.variant, &request) {
            (Some(Variant::NoGrace), Request::Claim { .. }) => {
                state.directory.handle(Request::EndGrace { directory });
            }
            (Some(Variant::UnknownLifeInherits), Request::Claim { .. }) => {
                for (shard, incarnation) in state.directory.view().orphaned {
                    let forget = Request::Forget {
                        directory,
                        shard,
                        incarnation,
                    };
                    state.directory.handle(forget);
                }
            }
            _ => {}
        }
        state.directory.handle(request)
    }

    fn question(&self, state: &mut State, number: usize, question: Question) {
        let Question {
            id, shard, keep, ..
        } = question;
        let other = (0..SHARDS)
            .find(|other| shard_id(*other) == shard)
            .unwrap_or(0);
        let directory = state.shards[number].machine.directory();
        let promise = Kept::Promised {
            for_ms: affinity::ownership::PROMISE_MS,
            directory,
        };
        let reachable = !state.shards[number].lonely
            && !state.shards[other].lonely
            && !state.shards[other].paused;
        let kept = if self.variant == Some(Variant::HoldWithoutPromises) {
            Ok(promise)
        } else if reachable {
            Ok(self.keep(state, other, keep))
        } else {
            Err(DirectoryUnreachable("cut off".to_owned()))
        };
        let fresh = fresh(state);
        let now = state.shards[number].clock(state.tick);
        state.shards[number]
            .machine
            .handle_kept(id, kept, fresh, now);
        settle(state, number);
    }

    fn keep(&self, state: &mut State, other: usize, keep: affinity::ownership::Keep) -> Kept {
        let now = state.shards[other].clock(state.tick);
        let broken = self.variant == Some(Variant::PromiseBroken);
        let before = state.shards[other].machine.clone();
        let duty = state.shards[other].machine.handle_keep(keep, now);
        let kept = match duty {
            KeepDuty::Answer(kept) => kept,
            KeepDuty::Relay(request) => {
                let open = state.shards[other].way != Way::Cut && state.down_since.is_none();
                if open {
                    return Kept::Relayed(self.ask(state, request));
                }
                state.shards[other].machine.relay_failed(now)
            }
        };
        if broken {
            state.shards[other].machine = before;
        }
        kept
    }
}

/// The room that is handed over, and the claim under which it was held.
fn handed_over(request: &Request) -> Option<(usize, Epoch)> {
    let Request::Transfer { room, epoch, .. } = request else {
        return None;
    };
    let room = keys().iter().position(|key| key == room)?;
    Some((room, *epoch))
}

/// The name of the next life, whoever takes it.
fn fresh(state: &State) -> Incarnation {
    Incarnation(state.incarnations + 1)
}

/// The name is given away.
fn settle(state: &mut State, number: usize) {
    if state.shards[number].machine.incarnation() == fresh(state) {
        state.incarnations += 1;
    }
}
