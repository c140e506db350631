//! The simulated world: who is there, what is on its way, and what time it is.
//!
//! Owns: the queue of things to come, true time, and the run. Must not: know the protocol: that is in
//! the nodes.

use crate::checker::{Checker, Owner, Violation};
use crate::client::ClientNode;
use crate::clock::Clock;
use crate::directory::DirectoryNode;
use crate::fault::Fault;
use crate::gateway::GatewayNode;
use crate::message::{Message, Node, Timer};
use crate::network::Network;
use crate::params::Params;
use crate::random::Random;
use crate::shard::ShardNode;
use affinity::directory::Incarnation;
use affinity::{RoomCase, RoomKey, Shard, ShardId, ShardState};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

/// Lines of a trace that are kept.
const TRACE_MAX: usize = 4_000;

/// What comes when.
#[derive(Debug)]
pub(crate) enum What {
    Message(Box<Message>),
    Timer {
        node: Node,
        life: u32,
        local_us: u64,
        timer: Timer,
    },
    Fault(Fault),
    Start(Node),
    Resume(Node),
    ForgetOldMaster,
    Reload {
        gateway: usize,
    },
    Calm,
    /// Repairs that were lost are made again.
    Repair,
}

struct Entry {
    at: u64,
    number: u64,
    what: What,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// How often the interesting things happened: a run in which nothing happens proves nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Things that happened.
    pub steps: u64,
    /// Joins that were let in.
    pub accepts: u64,
    /// Times that a room came alive.
    pub intervals: u64,
    /// Leases that ended.
    pub fences: u64,
    /// Rooms lost by a live owner.
    pub lost: u64,
    /// Rooms confirmed at a new directory life.
    pub reasserted: u64,
    /// Rooms handed over.
    pub transfers: u64,
    /// Transfers that were refused, and the room stayed.
    pub stays: u64,
    /// Transfers with an unknown outcome.
    pub transfers_lost: u64,
    /// Joins answered by a shard that goes on by promises only.
    pub accepts_on_hold: u64,
    /// Promises that were given.
    pub promises: u64,
    /// Renewals passed on for others.
    pub relays: u64,
    /// Claims refused because the owner may go on somewhere.
    pub held: u64,
    /// Claims refused in grace.
    pub graces: u64,
    /// Data losses of the directory.
    pub directory_lives: u64,
    /// Beliefs that were wrong and excused: the clock had stood still.
    pub excused: u64,
    /// Joins answered with 503.
    pub unavailable: u64,
    /// Joins that were redirected.
    pub redirects: u64,
    /// Joins that waited at the gateway for a lease to end.
    pub waits: u64,
    /// From the kill of a shard with a live room to the next join of that room, each, milliseconds.
    pub rehomed_ms: Vec<u64>,
    /// Longest way of a client into its room, milliseconds.
    pub slowest_join_ms: u64,
}

impl Counts {
    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.steps, other.steps),
            (&mut self.accepts, other.accepts),
            (&mut self.intervals, other.intervals),
            (&mut self.fences, other.fences),
            (&mut self.lost, other.lost),
            (&mut self.reasserted, other.reasserted),
            (&mut self.transfers, other.transfers),
            (&mut self.stays, other.stays),
            (&mut self.transfers_lost, other.transfers_lost),
            (&mut self.accepts_on_hold, other.accepts_on_hold),
            (&mut self.promises, other.promises),
            (&mut self.relays, other.relays),
            (&mut self.held, other.held),
            (&mut self.graces, other.graces),
            (&mut self.directory_lives, other.directory_lives),
            (&mut self.excused, other.excused),
            (&mut self.unavailable, other.unavailable),
            (&mut self.redirects, other.redirects),
            (&mut self.waits, other.waits),
        ];
        for (sum, more) in pairs {
            *sum += more;
        }
        self.rehomed_ms.extend(&other.rehomed_ms);
        self.slowest_join_ms = self.slowest_join_ms.max(other.slowest_join_ms);
    }
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What went wrong, if anything.
    pub violation: Option<Violation>,
    /// What happened how often.
    pub counts: Counts,
    /// For each room the shards that were live, in order.
    pub histories: Vec<Vec<usize>>,
    /// The last lines, if a trace was kept.
    pub trace: Vec<String>,
}

/// See the module's first lines.
pub struct World {
    pub(crate) params: Params,
    pub(crate) random: Random,
    pub(crate) now: u64,
    pub(crate) directory: DirectoryNode,
    pub(crate) network: Network,
    pub(crate) shards: Vec<ShardNode>,
    pub(crate) gateways: Vec<GatewayNode>,
    pub(crate) clients: Vec<ClientNode>,
    pub(crate) rooms: Vec<RoomKey>,
    /// The configuration file that all gateways read.
    pub(crate) config: Vec<Shard>,
    pub(crate) checker: Checker,
    pub(crate) counts: Counts,
    pub(crate) calm: bool,
    base: Instant,
    queue: BinaryHeap<Reverse<Entry>>,
    number: u64,
    trace: VecDeque<String>,
}

impl World {
    /// A world in which nothing has happened yet.
    ///
    /// # Panics
    /// If the names of rooms were not acceptable: never.
    pub fn new(params: Params) -> Self {
        let key = |n: usize| {
            RoomKey::from_claim(&format!("room-{n}"), RoomCase::Sensitive).expect("a good name")
        };
        let random = Random::new(params.seed);
        let gateway_clock =
            |n: usize| Clock::new(params.clocks.get(n).copied().unwrap_or(1_000), 0);
        let shard_clock = |n: usize| gateway_clock(params.gateways + n);
        let shards: Vec<ShardNode> = (0..params.shards)
            .map(|n| ShardNode::new(shard_id(n), shard_clock(n)))
            .collect();
        let gateways = (0..params.gateways).map(|n| GatewayNode::new(gateway_clock(n)));
        let config = shards.iter().take(params.first_shards);
        let config = config.map(|shard| entry(&shard.id)).collect();
        Self {
            now: 0,
            directory: DirectoryNode::new(params.engine, params.hold_ms, params.wrong_clock),
            network: Network::default(),
            gateways: gateways.collect(),
            clients: (0..params.clients as u64)
                .map(|n| ClientNode::new(Random::new(params.seed ^ (n << 40))))
                .collect(),
            rooms: (0..params.rooms).map(key).collect(),
            config,
            checker: Checker::new(params.rooms),
            counts: Counts::default(),
            calm: false,
            base: Instant::now(),
            queue: BinaryHeap::new(),
            number: 0,
            trace: VecDeque::new(),
            shards,
            random,
            params,
        }
    }

    /// Runs until the end, or until something is wrong.
    pub fn run(mut self) -> Outcome {
        self.begin();
        let end = (self.params.chaos_ms + self.params.calm_ms) * 1_000;
        while self.checker.violation.is_none()
            && let Some(Reverse(entry)) = self.queue.pop()
        {
            if entry.at > end {
                break;
            }
            self.now = entry.at;
            self.counts.steps += 1;
            self.happen(entry.what);
            self.observe();
        }
        self.now = self.now.max(end);
        if self.checker.violation.is_none() {
            self.finish();
        }
        self.counts.excused = self.checker.excused;
        self.counts.intervals = self.checker.intervals;
        self.counts.rehomed_ms = std::mem::take(&mut self.checker.rehomed_ms);
        self.counts.directory_lives = self.directory.lives;
        Outcome {
            violation: self.checker.violation.take(),
            counts: self.counts,
            histories: self.checker.histories(),
            trace: self.trace.into(),
        }
    }

    fn begin(&mut self) {
        for gateway in 0..self.params.gateways {
            self.at(0, What::Start(Node::Gateway(gateway)));
        }
        for shard in 0..self.params.first_shards {
            let at = self.random.below(500_000);
            self.at(at, What::Start(Node::Shard(shard)));
        }
        for client in 0..self.params.clients {
            self.at(
                self.params.clients_at_ms * 1_000,
                What::Start(Node::Client(client)),
            );
        }
        for (ms, fault) in self.params.plan.clone() {
            self.at(ms * 1_000, What::Fault(fault));
        }
        self.at(self.params.chaos_ms * 1_000, What::Calm);
    }

    pub(crate) fn at(&mut self, at: u64, what: What) {
        self.number += 1;
        let number = self.number;
        self.queue.push(Reverse(Entry { at, number, what }));
    }

    /// In so many microseconds of the node's own clock.
    pub(crate) fn timer(&mut self, node: Node, in_us: u64, timer: Timer) {
        let local_us = self.clock(node).now(self.now) + in_us;
        let at = self.clock(node).when(local_us, self.now);
        let life = self.life(node);
        let what = What::Timer {
            node,
            life,
            local_us,
            timer,
        };
        self.at(at, what);
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Message(message) => self.arrive(*message),
            What::Timer {
                node,
                life,
                local_us,
                timer,
            } => {
                self.ring(node, life, local_us, timer);
            }
            What::Fault(fault) => self.strike(fault),
            What::Start(Node::Shard(shard)) => self.start_shard(shard),
            What::Start(Node::Gateway(gateway)) => self.start_gateway(gateway),
            What::Start(Node::Client(client)) => self.client_next(client),
            What::Start(Node::Directory) => {}
            What::Resume(node) => self.resume(node),
            What::ForgetOldMaster => self.directory.forget_old_master(),
            What::Reload { gateway } => self.reload(gateway),
            What::Calm => self.calm_down(),
            What::Repair => self.repair(),
        }
    }

    fn ring(&mut self, node: Node, life: u32, local_us: u64, timer: Timer) {
        if self.life(node) != life || !self.is_up(node) {
            return;
        }
        let what = What::Timer {
            node,
            life,
            local_us,
            timer,
        };
        if let Some(until) = self.halted(node) {
            return self.at(until, what);
        }
        if self.clock(node).now(self.now) < local_us {
            let at = self.clock(node).when(local_us, self.now);
            return self.at(at.max(self.now + 1), what);
        }
        match node {
            Node::Shard(shard) => self.shard_timer(shard, timer),
            Node::Gateway(gateway) => self.gateway_timer(gateway, timer),
            Node::Client(client) => self.client_timer(client, timer),
            Node::Directory => {}
        }
    }

    fn arrive(&mut self, message: Message) {
        let to = message.to;
        if !self.is_up(to) {
            return self.refuse(&message);
        }
        if let Some(until) = self.halted(to) {
            return self.at(until, What::Message(Box::new(message)));
        }
        if message.to_life.is_some_and(|life| life != self.life(to)) {
            return;
        }
        match to {
            Node::Directory => self.directory_message(message),
            Node::Shard(shard) => self.shard_message(shard, message),
            Node::Gateway(gateway) => self.gateway_message(gateway, message),
            Node::Client(client) => self.client_message(client, message.body),
        }
    }

    fn observe(&mut self) {
        for room in 0..self.rooms.len() {
            self.checker_sees(room);
        }
    }

    /// Shows the checker who is live in the room now.
    pub(crate) fn checker_sees(&mut self, room: usize) {
        let shards = 0..self.shards.len();
        let owners: Vec<Owner> = shards
            .filter_map(|shard| self.owner_now(shard, room))
            .collect();
        self.checker.observe(room, &owners, self.now);
    }

    pub(crate) fn owner_now(&self, shard: usize, room: usize) -> Option<Owner> {
        let node = &self.shards[shard];
        let local_us = node.clock.now(self.now);
        let epoch = node.live(room, &self.rooms[room], self.base, local_us)?;
        let (life, excused) = (node.life, node.is_excused(local_us));
        Some(Owner {
            shard,
            life,
            epoch,
            excused,
        })
    }

    /// Everything has had its time.
    fn finish(&mut self) {
        self.checker.finish(self.now);
        if self.params.calm_ms > 0 {
            self.check_clients();
            self.check_directory();
        }
    }

    pub(crate) fn fresh(&mut self) -> Incarnation {
        Incarnation(self.random.next())
    }

    /// The node's own clock.
    pub(crate) fn local(&self, node: Node) -> Instant {
        self.instant(self.clock(node).now(self.now))
    }

    pub(crate) fn instant(&self, local_us: u64) -> Instant {
        self.base + Duration::from_micros(local_us)
    }

    pub(crate) fn micros(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.base);
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }

    fn clock(&self, node: Node) -> Clock {
        match node {
            Node::Gateway(n) => self.gateways[n].clock.clone(),
            Node::Shard(n) => self.shards[n].clock.clone(),
            Node::Directory | Node::Client(_) => Clock::new(1_000, 0),
        }
    }

    pub(crate) fn life(&self, node: Node) -> u32 {
        match node {
            Node::Gateway(n) => self.gateways[n].life,
            Node::Shard(n) => self.shards[n].life,
            Node::Directory | Node::Client(_) => 0,
        }
    }

    pub(crate) fn is_up(&self, node: Node) -> bool {
        match node {
            Node::Gateway(n) => self.gateways[n].up,
            Node::Shard(n) => self.shards[n].machine.is_some(),
            Node::Directory => !self.directory.is_in_gateway() || self.gateways[0].up,
            Node::Client(_) => true,
        }
    }

    /// Until when everything in the node's process stands still.
    pub(crate) fn halted(&self, node: Node) -> Option<u64> {
        let until = match node {
            Node::Gateway(n) => self.gateways[n].halted_until,
            Node::Shard(n) => self.shards[n].halted_until,
            Node::Directory if self.directory.is_in_gateway() => self.gateways[0].halted_until,
            Node::Directory => self.directory.halted_until,
            Node::Client(_) => None,
        };
        until.filter(|until| *until > self.now)
    }

    pub(crate) fn room_number(&self, key: &RoomKey) -> usize {
        self.rooms
            .iter()
            .position(|room| room == key)
            .unwrap_or_default()
    }

    pub(crate) fn shard_number(&self, id: &ShardId) -> Option<usize> {
        self.shards.iter().position(|shard| shard.id == *id)
    }

    pub(crate) fn trace(&mut self, line: impl FnOnce(&Self) -> String) {
        if !self.params.trace {
            return;
        }
        if self.trace.len() >= TRACE_MAX {
            self.trace.pop_front();
        }
        let line = format!("{:>8.1} ms  {}", self.now as f64 / 1_000.0, line(self));
        self.trace.push_back(line);
    }
}

pub(crate) fn shard_id(number: usize) -> ShardId {
    format!("s{number}").into()
}

pub(crate) fn entry(id: &ShardId) -> Shard {
    Shard {
        id: id.clone(),
        url: format!("http://{id}:1"),
        weight: 1,
        state: ShardState::Active,
    }
}
