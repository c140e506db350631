//! The directory as a node: the real state machine, its lives, and its wrong versions.
//!
//! With the engine in Redis, a new life keeps topology and drains (as old as the replica was) and
//! drops everything else, and the nodes may go on talking to the old master for a while.

use crate::checker::Kind;
use crate::message::{Body, Message, Node};
use crate::params::Engine;
use crate::variant::Variant;
use crate::world::World;
use affinity::directory::{
    Binding, DirectoryIncarnation, DirectoryLimits, DirectoryState, Drain, Epoch, Holder, LEASE_MS,
    MemoryDirectory, Reply, Request,
};
use affinity::{RoomKey, Shard, ShardId};
use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

/// What survives in Redis.
#[derive(Clone, Debug, Default)]
struct Kept {
    at: u64,
    topology: Vec<Shard>,
    drains: Vec<(ShardId, Drain)>,
}

pub(crate) struct DirectoryNode {
    engine: Engine,
    hold_ms: u64,
    wrong_clock: bool,
    pub(crate) memory: Option<MemoryDirectory>,
    pub(crate) master: DirectoryState,
    old_master: Option<DirectoryState>,
    old_master_for: BTreeSet<Node>,
    replicas: VecDeque<Kept>,
    pub(crate) lives: u64,
    pub(crate) halted_until: Option<u64>,
}

fn floor(true_us: u64) -> Epoch {
    // The wall clock, milliseconds.
    Epoch(1_000_000 + true_us / 1_000)
}

/// The wall clock of a machine that does not know the time.
const NO_TIME: Epoch = Epoch(1_000);

impl DirectoryNode {
    pub(crate) fn new(engine: Engine, hold_ms: u64, wrong_clock: bool) -> Self {
        let incarnation = DirectoryIncarnation(1);
        let limits = DirectoryLimits::default();
        Self {
            engine,
            hold_ms,
            wrong_clock,
            memory: None,
            master: DirectoryState::new(incarnation, floor(0), true, hold_ms, limits),
            old_master: None,
            old_master_for: BTreeSet::new(),
            replicas: VecDeque::new(),
            lives: u64::from(engine == Engine::Redis),
            halted_until: None,
        }
    }

    /// It has lost data at least once.
    pub(crate) fn has_lost_data(&self) -> bool {
        self.lives > 1
    }

    pub(crate) fn is_in_gateway(&self) -> bool {
        self.engine == Engine::Memory
    }

    /// Above which epochs a life has its own.
    fn floor(&self, true_us: u64) -> Epoch {
        match self.wrong_clock && self.lives > 1 {
            true => NO_TIME,
            false => floor(true_us),
        }
    }

    /// The gateway with the directory starts.
    pub(crate) fn start_memory(&mut self, true_us: u64, now: Instant) {
        self.lives += 1;
        let incarnation = DirectoryIncarnation(self.lives);
        let limits = DirectoryLimits::default();
        let floor = self.floor(true_us);
        let memory = MemoryDirectory::new(incarnation, floor, true, limits, now);
        self.memory = Some(memory);
    }

    /// What a replica will have, as of now.
    fn replicate(&mut self, at: u64) {
        let view = self.master.view();
        let (topology, drains) = (view.topology, view.drains);
        self.replicas.push_back(Kept {
            at,
            topology,
            drains,
        });
    }

    pub(crate) fn lose_data(&mut self, true_us: u64) {
        self.new_life(true_us, Kept::default());
        self.replicas.clear();
    }

    pub(crate) fn fail_over(&mut self, true_us: u64, lag_us: u64, zombie_for: BTreeSet<Node>) {
        let as_of = true_us.saturating_sub(lag_us);
        let replica = self.replicas.iter().rev().find(|kept| kept.at <= as_of);
        let kept = replica.cloned().unwrap_or_default();
        let old = self.new_life(true_us, kept);
        self.old_master = Some(old);
        self.old_master_for = zombie_for;
    }

    fn new_life(&mut self, true_us: u64, kept: Kept) -> DirectoryState {
        self.lives += 1;
        let (incarnation, limits) = (DirectoryIncarnation(self.lives), DirectoryLimits::default());
        let floor = self.floor(true_us);
        let mut state = DirectoryState::new(incarnation, floor, true, self.hold_ms, limits);
        if !kept.topology.is_empty() {
            let (gateway, topology) = (String::new(), kept.topology);
            state.handle(Request::Announce { gateway, topology });
        }
        for (shard, drain) in kept.drains {
            let drain = Some(drain);
            state.handle(Request::SetDrain { shard, drain });
        }
        std::mem::replace(&mut self.master, state)
    }

    pub(crate) fn forget_old_master(&mut self) {
        self.old_master = None;
        self.old_master_for.clear();
    }

    fn raw(&mut self, from: Node, request: Request, now: Instant) -> Reply {
        match (&mut self.memory, &mut self.old_master) {
            (Some(memory), _) => memory.handle_request(request, now),
            (None, Some(old)) if self.old_master_for.contains(&from) => old.handle(request),
            (None, _) => self.master.handle(request),
        }
    }

    /// Of the present life; `None` while there is none.
    pub(crate) fn incarnation(&self) -> Option<DirectoryIncarnation> {
        match (&self.memory, self.engine) {
            (Some(memory), _) => Some(memory.incarnation()),
            (None, Engine::Memory) => None,
            (None, Engine::Redis) => Some(self.master.incarnation()),
        }
    }

    fn is_old_master(&self, from: Node) -> bool {
        self.old_master.is_some() && self.old_master_for.contains(&from)
    }

    fn present(&self, from: Node) -> DirectoryIncarnation {
        match (&self.memory, &self.old_master) {
            (Some(memory), _) => memory.incarnation(),
            (None, Some(old)) if self.old_master_for.contains(&from) => old.incarnation(),
            (None, _) => self.master.incarnation(),
        }
    }

    /// The owner by the directory's word, if its lease is held.
    pub(crate) fn owner(&self, room: &RoomKey) -> Option<&Binding> {
        match &self.memory {
            Some(memory) => memory.owner(room),
            None => self.master.owner(room),
        }
    }

    /// One request, as the variant under test would carry it out.
    fn ask(
        &mut self,
        from: Node,
        mut request: Request,
        variant: Option<Variant>,
        now: Instant,
    ) -> Reply {
        let Some(variant) = variant else {
            return self.raw(from, request, now);
        };
        let tag = holder_of(&mut request).and_then(|holder| holder.directory);
        self.distort(from, &mut request, variant, now);
        let again = request.clone();
        let reply = self.raw(from, request, now);
        match (variant, again, reply) {
            (
                Variant::Untagged,
                _,
                Reply::Leased {
                    directory,
                    ttl_ms,
                    hold_ms,
                    shards,
                    generation,
                    epoch,
                    grace,
                    drain,
                    roster,
                },
            ) => Reply::Leased {
                directory: tag.unwrap_or(directory),
                ttl_ms,
                hold_ms,
                shards,
                generation,
                epoch,
                grace,
                drain,
                roster,
            },
            (
                Variant::ClaimOverwrites,
                Request::Claim {
                    holder,
                    room,
                    knows,
                },
                Reply::Owned { .. },
            ) => {
                self.unbind(from, &room, now);
                self.raw(
                    from,
                    Request::Claim {
                        holder,
                        room,
                        knows,
                    },
                    now,
                )
            }
            (
                Variant::ReassertReplaces,
                Request::Reassert { holder, room, .. },
                Reply::Owned { .. } | Reply::Released,
            ) => {
                self.unbind(from, &room, now);
                match self.raw(
                    from,
                    Request::Claim {
                        holder,
                        room,
                        knows: u64::MAX,
                    },
                    now,
                ) {
                    Reply::Granted { .. } => Reply::Reasserted,
                    other => other,
                }
            }
            (Variant::EndedLifeRevives, Request::Renew { holder, .. }, Reply::NoLease) => {
                Reply::Leased {
                    directory: holder.directory.unwrap_or(self.present(from)),
                    ttl_ms: LEASE_MS,
                    hold_ms: 0,
                    shards: 0,
                    generation: 0,
                    epoch: Epoch(0),
                    grace: false,
                    drain: None,
                    roster: None,
                }
            }
            (_, _, reply) => reply,
        }
    }

    fn distort(&mut self, from: Node, request: &mut Request, variant: Variant, now: Instant) {
        let present = self.present(from);
        match (variant, &mut *request) {
            (
                Variant::Untagged,
                Request::Lapse { directory, .. }
                | Request::EndGrace { directory }
                | Request::Forget { directory, .. },
            ) => *directory = present,
            (Variant::Untagged, _) => {
                if let Some(holder) = holder_of(request)
                    && holder.directory.is_some()
                {
                    holder.directory = Some(present);
                }
            }
            (Variant::UnknownLifeInherits, Request::Claim { .. }) => self.forget_all(from, now),
            (Variant::NoGrace, Request::Claim { .. }) => {
                self.raw(from, Request::EndGrace { directory: present }, now);
            }
            (
                Variant::LapseWithoutCompare,
                Request::Lapse {
                    shard,
                    incarnation,
                    seq,
                    ..
                },
            ) => {
                if let Reply::View(view) = self.raw(from, Request::Watch, now)
                    && let Some(lease) = view.leases.iter().find(|lease| lease.shard == *shard)
                {
                    (*incarnation, *seq) = (lease.incarnation, lease.seq);
                }
            }
            _ => {}
        }
    }

    /// Whatever ended lives had is anybody's.
    fn forget_all(&mut self, from: Node, now: Instant) {
        if let Reply::View(view) = self.raw(from, Request::Watch, now) {
            for (shard, incarnation) in view.orphaned {
                let directory = view.directory;
                let forget = Request::Forget {
                    directory,
                    shard,
                    incarnation,
                };
                self.raw(from, forget, now);
            }
        }
    }

    /// Removes a binding in the name of its owner.
    fn unbind(&mut self, from: Node, room: &RoomKey, now: Instant) {
        let directory = Some(self.present(from));
        let rooms = vec![room.clone()];
        if let Reply::Bindings(bindings) = self.raw(from, Request::Lookup { rooms }, now)
            && let Some(Some(binding)) = bindings.into_iter().next()
        {
            let holder = Holder {
                shard: binding.shard,
                incarnation: binding.incarnation,
                directory,
            };
            let (room, epoch) = (room.clone(), binding.epoch);
            self.raw(
                from,
                Request::Release {
                    holder,
                    room,
                    epoch,
                },
                now,
            );
        }
    }
}

fn holder_of(request: &mut Request) -> Option<&mut Holder> {
    match request {
        Request::Renew { holder, .. }
        | Request::Claim { holder, .. }
        | Request::Reassert { holder, .. }
        | Request::Release { holder, .. }
        | Request::Transfer { holder, .. }
        | Request::PutOptions { holder, .. }
        | Request::Resign { holder } => Some(holder),
        _ => None,
    }
}

impl World {
    /// A master that was replaced has no replicas that would confirm what it writes. It writes it, and
    /// nobody hears that it has prolonged a lease or given a room away.
    fn is_unconfirmed(&self, from: Node, needs_replicas: bool) -> bool {
        needs_replicas
            && self.directory.is_old_master(from)
            && self.params.variant != Some(Variant::OldMasterGrants)
    }

    pub(crate) fn directory_message(&mut self, message: Message) {
        let Body::Ask { call, request } = message.body else {
            return;
        };
        let node = if self.directory.is_in_gateway() {
            Node::Gateway(0)
        } else {
            Node::Directory
        };
        let now = self.local(node);
        let kept = matches!(request, Request::Announce { .. } | Request::SetDrain { .. });
        let ends = matches!(request, Request::Lapse { .. } | Request::EndGrace { .. });
        if ends {
            self.trace(|_| format!("the directory hears {request:?}"));
        }
        let leases = matches!(request, Request::Renew { .. } | Request::Claim { .. });
        let reply = self
            .directory
            .ask(message.from, request, self.params.variant, now);
        match &reply {
            Reply::Held { .. } => self.counts.held += 1,
            Reply::Grace => self.counts.graces += 1,
            Reply::Reasserted => self.counts.reasserted += 1,
            _ => {}
        }
        if self.is_unconfirmed(message.from, leases || kept) {
            return;
        }
        if kept && self.params.engine == Engine::Redis {
            self.directory.replicate(self.now);
        }
        let body = Body::Reply { call, reply };
        self.send(Node::Directory, message.from, Some(message.from_life), body);
    }

    /// At the end of a run that has become quiet: the directory knows who is live.
    pub(crate) fn check_directory(&mut self) {
        for room in 0..self.rooms.len() {
            let Some(live) = self.checker.live(room) else {
                continue;
            };
            let bound = self.directory.owner(&self.rooms[room]);
            let agrees = bound.is_some_and(|bound| {
                bound.shard == self.shards[live.shard].id && bound.epoch == live.epoch
            });
            if !agrees {
                let text = format!("room {room}: live is {live:?}, the directory says {bound:?}");
                self.checker.report(Kind::Disagreement, self.now, text);
            }
        }
    }
}
