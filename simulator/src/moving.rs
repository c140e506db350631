//! Rooms that go from one shard to another: drains, shutdown, hand-over.

use crate::message::{Body, Node, ShardCall, Timer};
use crate::shard::Hosted;
use crate::variant::Variant;
use crate::world::World;
use affinity::directory::{Epoch, Life};
use std::collections::BTreeMap;

/// Live rooms stay for this long after the order, microseconds.
const DRAIN_US: u64 = 1_500_000;
/// Whoever is still there after this is sent away, microseconds.
const DRAIN_MAX_US: u64 = 8_000_000;
/// A room that was handed over is kept for those who come, microseconds.
const EXPECT_US: u64 = 10_000_000;
/// The directory hears the shard's goodbye within this, or not.
const LAST_WORDS_US: u64 = 1_500_000;

impl World {
    /// SIGTERM.
    pub(crate) fn stop_shard(&mut self, shard: usize, down_ms: u64) {
        let now = self.local(Node::Shard(shard));
        let node = &mut self.shards[shard];
        let Some(machine) = node.machine.as_mut() else {
            return;
        };
        if node.stopping.is_some() {
            return;
        }
        machine.set_leaving(true, now);
        node.stopping = Some(down_ms);
        node.drain_since_us = Some(node.clock.now(self.now));
        self.drive(shard);
    }

    /// One step of a drain.
    pub(crate) fn move_rooms(&mut self, shard: usize) {
        let node = &self.shards[shard];
        let Some(since) = node.drain_since_us else {
            return;
        };
        let now_us = node.clock.now(self.now);
        let is_late = now_us > since + DRAIN_MAX_US;
        let rooms: Vec<usize> = node
            .hosted
            .keys()
            .filter(|room| !node.moving.contains_key(room))
            .copied()
            .collect();
        for room in &rooms {
            let empty = self.shards[shard].hosted[room].people.is_empty();
            if empty || is_late {
                self.end_room(shard, *room, false);
            } else if now_us > since + DRAIN_US {
                self.offer(shard, *room);
            }
        }
        let node = &mut self.shards[shard];
        if node.stopping.is_some() && (node.hosted.is_empty() && node.moving.is_empty() || is_late)
        {
            let now = self.local(Node::Shard(shard));
            let node = &mut self.shards[shard];
            let resigned = node
                .machine
                .as_ref()
                .is_some_and(|machine| machine.resigned());
            if let Some(machine) = node.machine.as_mut()
                && !resigned
            {
                machine.resign(now);
                let life = node.life;
                self.checker.died(shard, life, &[], self.now);
                self.timer(Node::Shard(shard), LAST_WORDS_US, Timer::LastWords);
            }
        }
    }

    /// Nothing is left to say.
    pub(crate) fn end_if_resigned(&mut self, shard: usize) {
        let node = &self.shards[shard];
        if node
            .machine
            .as_ref()
            .is_some_and(|machine| machine.resigned())
            && let Some(down_ms) = node.stopping
        {
            self.end_shard(shard, false, down_ms);
        }
    }

    fn offer(&mut self, shard: usize, room: usize) {
        let node = &self.shards[shard];
        let asked =
            |call: &ShardCall| matches!(call, ShardCall::Offer { room: of, .. } if *of == room);
        if node.calls.values().any(asked) {
            return;
        }
        let Some(machine) = &node.machine else {
            return;
        };
        let others: Vec<Life> = machine
            .others()
            .filter(|life| life.accepts)
            .cloned()
            .collect();
        if others.is_empty() {
            return;
        }
        let to = others[self.random.index(others.len())].clone();
        let Some(number) = self.shard_number(&to.shard) else {
            return;
        };
        let what = ShardCall::Offer { room, to };
        self.call(shard, Node::Shard(number), what, |call| Body::Offer {
            call,
        });
    }

    /// The other one has the room's state, or does not want it.
    pub(crate) fn offered(&mut self, shard: usize, call: u64, yes: bool) {
        let Some(ShardCall::Offer { room, to }) = self.shards[shard].calls.remove(&call) else {
            return;
        };
        let now = self.local(Node::Shard(shard));
        let node = &self.shards[shard];
        let wanted = yes && node.drain_since_us.is_some() && node.hosted.contains_key(&room);
        let owner = self.owner_now(shard, room);
        let Some(number) = self.shard_number(&to.shard).filter(|_| wanted) else {
            return;
        };
        let (key, life) = (&self.rooms[room], to.incarnation);
        let node = &mut self.shards[shard];
        let given = node
            .machine
            .as_mut()
            .is_some_and(|machine| machine.transfer(key, to.shard, life, now));
        if given {
            node.moving.insert(room, number);
            if let Some(owner) = owner {
                self.checker.ended(room, shard, owner.life, owner.epoch);
                self.believe(shard, room, owner.epoch, Variant::LiveDuringTransfer);
            }
        }
    }

    /// The room is the other one's now: everybody goes there.
    pub(crate) fn moved(&mut self, shard: usize, room: usize, to: &affinity::ShardId) {
        self.counts.transfers += 1;
        self.shards[shard].moving.remove(&room);
        self.shards[shard].believed.remove(&room);
        if let Some(to) = self.shard_number(to) {
            self.send(
                Node::Shard(shard),
                Node::Shard(to),
                None,
                Body::Commit { room },
            );
        }
        self.end_room(shard, room, true);
    }

    /// A room comes from another shard, whoever comes first.
    pub(crate) fn expect_room(&mut self, shard: usize, room: usize) {
        if self.shards[shard].stopping.is_some() {
            return;
        }
        let until = self.shards[shard].clock.now(self.now) + EXPECT_US;
        self.shards[shard].expected.insert(room, until);
        self.acquire(shard, room);
    }

    /// The room that was expected is ours: it is kept for those who come.
    pub(crate) fn take_expected(&mut self, shard: usize, room: usize, epoch: Epoch) {
        if self.shards[shard].expected.remove(&room).is_none()
            || self
                .owner_now(shard, room)
                .is_none_or(|owner| owner.epoch != epoch)
            || self.shards[shard].hosted.contains_key(&room)
        {
            return;
        }
        let people = BTreeMap::new();
        self.shards[shard]
            .hosted
            .insert(room, Hosted { epoch, people });
        self.timer(Node::Shard(shard), EXPECT_US, Timer::Empty { room, epoch });
    }
}
