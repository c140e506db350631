//! A gateway: looks at the directory, is a witness, and takes joins to shards.
//!
//! Owns: hints, the hold of a join whose shard refuses connections, one redirect. Must not: decide
//! who owns a room.

use crate::clock::Clock;
use crate::message::{Answer, Attempt, Body, GatewayCall, Message, Node, Timer};
use crate::world::World;
use affinity::directory::{Incarnation, LeaseView, Request, View, Witness};
use affinity::{Shard, ShardId, ShardState, Topology};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

/// A look at the directory, microseconds.
pub(crate) const POLL_US: u64 = 250_000;
/// A join gets no answer for this long: its outcome is unknown.
const JOIN_US: u64 = 4_000_000;
/// Longest wait for the end of a dead shard's lease.
const HOLD_US: u64 = 4_000_000;
/// A connection whose other end does not know it any more is noticed after this.
pub(crate) const PING_US: u64 = 5_000_000;
/// A view that is older than this may be wrong about leases.
const VIEW_US: u64 = 1_000_000;

#[derive(Clone, Debug)]
enum Stage {
    New,
    Asked {
        shard: usize,
        redirected: bool,
    },
    /// Nobody listens there: until its lease has ended, or it is back.
    Waits {
        shard: usize,
        incarnation: Option<Incarnation>,
        until_us: u64,
    },
    Open {
        shard: usize,
        shard_life: u32,
        since_us: u64,
    },
}

#[derive(Clone, Debug)]
struct Conn {
    attempt: Attempt,
    stage: Stage,
}

pub(crate) struct GatewayNode {
    pub(crate) up: bool,
    pub(crate) life: u32,
    pub(crate) clock: Clock,
    pub(crate) halted_until: Option<u64>,
    pub(crate) witness: Witness,
    pub(crate) view: Option<View>,
    /// By its own clock.
    pub(crate) seen_us: u64,
    pub(crate) hints: BTreeMap<usize, ShardId>,
    pub(crate) to_announce: bool,
    pub(crate) orders: Vec<Request>,
    pub(crate) calls: BTreeMap<u64, GatewayCall>,
    conns: BTreeMap<u64, Conn>,
    pub(crate) next: u64,
}

impl GatewayNode {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            up: false,
            life: 0,
            clock,
            halted_until: None,
            witness: Witness::default(),
            view: None,
            seen_us: 0,
            hints: BTreeMap::new(),
            to_announce: true,
            orders: Vec::new(),
            calls: BTreeMap::new(),
            conns: BTreeMap::new(),
            next: 0,
        }
    }

    /// Everything that a process forgets.
    fn forget(&mut self) {
        let (life, next) = (self.life + 1, self.next);
        *self = Self {
            life,
            next,
            ..Self::new(self.clock.clone())
        };
    }

    fn lease(&self, shard: &ShardId) -> Option<&LeaseView> {
        self.view
            .as_ref()?
            .leases
            .iter()
            .find(|lease| lease.shard == *shard)
    }

    fn is_drained(&self, shard: &ShardId) -> bool {
        let view = self.view.as_ref();
        view.is_some_and(|view| view.drains.iter().any(|(drained, _)| drained == shard))
    }

    pub(crate) fn knows(&self, attempt: &Attempt) -> bool {
        self.conns.values().any(|conn| conn.attempt == *attempt)
    }
}

thread_local! {
    /// Rings are costly and few.
    static RINGS: RefCell<HashMap<Vec<(ShardId, u32)>, Topology>> = RefCell::new(HashMap::new());
}

fn place(active: &[Shard], room: &affinity::RoomKey) -> Option<ShardId> {
    let key = active
        .iter()
        .map(|shard| (shard.id.clone(), shard.weight))
        .collect();
    RINGS.with_borrow_mut(|rings| {
        let ring = rings.entry(key).or_insert_with(|| {
            Topology::new(1, active.to_vec()).expect("checked by whoever wrote the configuration")
        });
        ring.place(room).cloned()
    })
}

impl World {
    pub(crate) fn start_gateway(&mut self, gateway: usize) {
        if self.gateways[gateway].up {
            return;
        }
        let now_us = self.now;
        self.gateways[gateway].up = true;
        self.trace(|_| format!("gateway {gateway} starts"));
        if self.directory.is_in_gateway() {
            let now = self.local(Node::Gateway(gateway));
            self.directory.start_memory(now_us, now);
            self.announce(gateway);
        }
        self.poll(gateway);
    }

    pub(crate) fn kill_gateway(&mut self, gateway: usize) {
        if !self.gateways[gateway].up {
            return;
        }
        self.trace(|_| format!("gateway {gateway} is killed"));
        let conns: Vec<Conn> = self.gateways[gateway].conns.values().cloned().collect();
        for conn in conns {
            let (attempt, moved) = (conn.attempt, false);
            let to = Node::Client(attempt.client);
            self.send(
                Node::Gateway(gateway),
                to,
                None,
                Body::Closed { attempt, moved },
            );
        }
        self.gateways[gateway].forget();
        self.gateways[gateway].clock.thaw_if_frozen(self.now);
        if self.directory.is_in_gateway() {
            self.directory.memory = None;
        }
    }

    pub(crate) fn gateway_timer(&mut self, gateway: usize, timer: Timer) {
        match timer {
            Timer::Poll => self.poll(gateway),
            Timer::CallOver { call } => {
                let over = self.gateways[gateway].calls.remove(&call);
                if matches!(over, Some(GatewayCall::Watch)) {
                    self.poll(gateway);
                }
            }
            Timer::JoinOver { conn } => {
                let asked = self.gateways[gateway].conns.get(&conn);
                if asked.is_some_and(|conn| matches!(conn.stage, Stage::Asked { .. })) {
                    self.unavailable(gateway, conn, "no answer");
                }
            }
            _ => {}
        }
    }

    pub(crate) fn gateway_message(&mut self, gateway: usize, message: Message) {
        match message.body {
            Body::Reply { call, reply } => {
                let Some(what) = self.gateways[gateway].calls.remove(&call) else {
                    return;
                };
                self.gateway_reply(gateway, what, reply);
            }
            Body::Connect { attempt } => self.connect(gateway, attempt),
            Body::Close { attempt } => self.close(gateway, &attempt),
            Body::Joined { call, answer } => self.joined(gateway, call, answer, message.from),
            Body::Kick { attempt, moved } => {
                let node = &mut self.gateways[gateway];
                let found = node.conns.iter().find(|(_, conn)| conn.attempt == attempt);
                if let Some(number) = found.map(|(number, _)| *number) {
                    node.conns.remove(&number);
                    let to = Node::Client(attempt.client);
                    self.send(
                        Node::Gateway(gateway),
                        to,
                        None,
                        Body::Closed { attempt, moved },
                    );
                }
            }
            _ => {}
        }
    }

    fn connect(&mut self, gateway: usize, attempt: Attempt) {
        self.gateways[gateway].next += 1;
        let number = self.gateways[gateway].next;
        let stage = Stage::New;
        self.gateways[gateway]
            .conns
            .insert(number, Conn { attempt, stage });
        self.place_join(gateway, number);
    }

    /// A hint counts while its shard has a lease and takes rooms, as far as is known. One that takes
    /// none is named by whoever is asked for a room that it still has.
    fn hint(&self, gateway: usize, room: usize) -> Option<usize> {
        let node = &self.gateways[gateway];
        let shard = node.hints.get(&room)?;
        let trusted = !self.is_fresh(gateway)
            || node.lease(shard).is_some_and(|lease| !lease.leaving) && !node.is_drained(shard);
        self.shard_number(shard).filter(|_| trusted)
    }

    fn place_join(&mut self, gateway: usize, number: u64) {
        let Some(conn) = self.gateways[gateway].conns.get(&number) else {
            return;
        };
        let room = conn.attempt.room;
        let shard = self
            .hint(gateway, room)
            .or_else(|| self.candidate(gateway, room));
        match shard {
            Some(shard) => self.ask_shard(gateway, number, shard, false),
            None => self.unavailable(gateway, number, "no shard takes rooms"),
        }
    }

    fn candidate(&self, gateway: usize, room: usize) -> Option<usize> {
        let node = &self.gateways[gateway];
        let view = node.view.as_ref()?;
        let takes = |shard: &&Shard| {
            shard.state == ShardState::Active
                && !view.drains.iter().any(|(drained, _)| *drained == shard.id)
                && node.lease(&shard.id).is_some_and(|lease| !lease.leaving)
        };
        let active: Vec<Shard> = view.topology.iter().filter(takes).cloned().collect();
        if active.is_empty() {
            return None;
        }
        self.shard_number(&place(&active, &self.rooms[room])?)
    }

    fn ask_shard(&mut self, gateway: usize, number: u64, shard: usize, redirected: bool) {
        let Some(conn) = self.gateways[gateway].conns.get_mut(&number) else {
            return;
        };
        conn.stage = Stage::Asked { shard, redirected };
        let attempt = conn.attempt;
        let node = &mut self.gateways[gateway];
        node.next += 1;
        let call = node.next;
        node.calls.insert(call, GatewayCall::Join { conn: number });
        self.send(
            Node::Gateway(gateway),
            Node::Shard(shard),
            None,
            Body::Join { call, attempt },
        );
        self.timer(
            Node::Gateway(gateway),
            JOIN_US,
            Timer::JoinOver { conn: number },
        );
    }

    pub(crate) fn joined(&mut self, gateway: usize, call: u64, answer: Answer, from: Node) {
        let Node::Shard(shard) = from else {
            return;
        };
        let node = &mut self.gateways[gateway];
        let Some(GatewayCall::Join { conn: number }) = node.calls.remove(&call) else {
            return;
        };
        let Some(conn) = node.conns.get_mut(&number) else {
            return;
        };
        let attempt = conn.attempt;
        let Stage::Asked {
            shard: asked,
            redirected,
        } = conn.stage
        else {
            return;
        };
        if asked != shard {
            return;
        }
        match answer {
            Answer::Accepted => {
                let since_us = self.gateways[gateway].clock.now(self.now);
                let shard_life = self.shards[shard].life;
                let id = self.shards[shard].id.clone();
                let node = &mut self.gateways[gateway];
                node.hints.insert(attempt.room, id);
                let stage = Stage::Open {
                    shard,
                    shard_life,
                    since_us,
                };
                node.conns.insert(number, Conn { attempt, stage });
                let to = Node::Client(attempt.client);
                self.send(
                    Node::Gateway(gateway),
                    to,
                    None,
                    Body::Connected { attempt, answer },
                );
            }
            Answer::NotOwner { owner } => {
                self.gateways[gateway]
                    .hints
                    .insert(attempt.room, owner.clone());
                let owner = self.shard_number(&owner);
                match owner.filter(|owner| *owner != shard && !redirected) {
                    Some(owner) => {
                        self.counts.redirects += 1;
                        self.ask_shard(gateway, number, owner, true);
                    }
                    None => self.unavailable(gateway, number, "second redirect"),
                }
            }
            Answer::Unavailable { why } => {
                // It may be idle, and its last owner may take no rooms any more.
                if self.is_fresh(gateway) {
                    self.gateways[gateway].hints.remove(&attempt.room);
                }
                self.unavailable(gateway, number, &why);
            }
            Answer::Refused => self.wait_for(gateway, number, shard),
        }
    }

    /// Nothing was sent: the join may wait until the shard's lease has ended, or the shard is back.
    fn wait_for(&mut self, gateway: usize, number: u64, shard: usize) {
        let node = &self.gateways[gateway];
        let incarnation = node
            .lease(&self.shards[shard].id)
            .map(|lease| lease.incarnation);
        let until_us = node.clock.now(self.now) + HOLD_US;
        self.counts.waits += 1;
        if let Some(conn) = self.gateways[gateway].conns.get_mut(&number) {
            conn.stage = Stage::Waits {
                shard,
                incarnation,
                until_us,
            };
        }
    }

    pub(crate) fn try_again(&mut self, gateway: usize) {
        let node = &self.gateways[gateway];
        let now_us = node.clock.now(self.now);
        let waiting: Vec<(u64, usize, Option<Incarnation>, u64)> = node
            .conns
            .iter()
            .filter_map(|(number, conn)| match conn.stage {
                Stage::Waits {
                    shard,
                    incarnation,
                    until_us,
                } => Some((*number, shard, incarnation, until_us)),
                _ => None,
            })
            .collect();
        for (number, shard, incarnation, until_us) in waiting {
            let lease = self.gateways[gateway].lease(&self.shards[shard].id);
            let same = lease.is_some() && lease.map(|lease| lease.incarnation) == incarnation;
            if !same && lease.is_some() {
                // It is back.
                self.ask_shard(gateway, number, shard, true);
            } else if !same && self.is_fresh(gateway) {
                self.place_join(gateway, number);
            } else if now_us >= until_us {
                self.unavailable(gateway, number, "the shard does not answer");
            }
        }
    }

    fn is_fresh(&self, gateway: usize) -> bool {
        let node = &self.gateways[gateway];
        node.clock.now(self.now) <= node.seen_us + VIEW_US
    }

    fn unavailable(&mut self, gateway: usize, number: u64, why: &str) {
        let Some(conn) = self.gateways[gateway].conns.remove(&number) else {
            return;
        };
        self.counts.unavailable += 1;
        let (attempt, why) = (conn.attempt, why.to_owned());
        let answer = Answer::Unavailable { why };
        let to = Node::Client(attempt.client);
        self.send(
            Node::Gateway(gateway),
            to,
            None,
            Body::Connected { attempt, answer },
        );
    }

    /// The client has gone.
    fn close(&mut self, gateway: usize, attempt: &Attempt) {
        let node = &mut self.gateways[gateway];
        let found = node.conns.iter().find(|(_, conn)| conn.attempt == *attempt);
        let Some(number) = found.map(|(number, _)| *number) else {
            return;
        };
        let stage = node.conns.remove(&number).map(|conn| conn.stage);
        if let Some(Stage::Open { shard, .. } | Stage::Asked { shard, .. }) = stage {
            let body = Body::Leave { attempt: *attempt };
            self.send(Node::Gateway(gateway), Node::Shard(shard), None, body);
        }
    }

    /// A connection was reset, or has not been alive for a while.
    pub(crate) fn drop_dead(&mut self, gateway: usize) {
        let now_us = self.gateways[gateway].clock.now(self.now);
        let dead = |conn: &Conn| match conn.stage {
            Stage::Open {
                shard,
                shard_life,
                since_us,
            } => {
                let node = &self.shards[shard];
                let cut = self
                    .network
                    .is_cut(Node::Shard(shard), Node::Gateway(gateway), self.now);
                let reset = node.life != shard_life && !cut;
                reset || now_us > since_us + PING_US && !node.knows(&conn.attempt)
            }
            _ => false,
        };
        let conns = &self.gateways[gateway].conns;
        let dead: Vec<u64> = conns
            .iter()
            .filter(|(_, c)| dead(c))
            .map(|(n, _)| *n)
            .collect();
        for number in dead {
            if let Some(conn) = self.gateways[gateway].conns.remove(&number) {
                let (attempt, moved) = (conn.attempt, false);
                let to = Node::Client(attempt.client);
                self.send(
                    Node::Gateway(gateway),
                    to,
                    None,
                    Body::Closed { attempt, moved },
                );
            }
        }
    }
}
