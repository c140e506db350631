//! The way of a message: late, lost, or not at all.

use crate::fault::{Link, Way};
use crate::message::{Body, Message, Node};
use crate::world::{What, World};
use affinity::directory::Request;
use std::collections::BTreeMap;

/// What does not pass at the moment.
#[derive(Debug, Default)]
pub(crate) struct Network {
    /// Until when nothing passes from the one to the other.
    cuts: BTreeMap<(Node, Node), u64>,
    /// Until when nobody reaches the directory.
    directory_until: u64,
    slow_until: u64,
    /// By shard: until when claims are late, and by how much.
    late_claims: BTreeMap<usize, (u64, u64)>,
    /// Nobody hears of a topology before.
    topology_at: u64,
}

impl Network {
    pub(crate) fn cut(&mut self, link: Link, way: Way, until: u64) {
        let (a, b) = match link {
            Link::ShardDirectory(shard) => (Node::Shard(shard), Node::Directory),
            Link::GatewayDirectory(gateway) => (Node::Gateway(gateway), Node::Directory),
            Link::Shards(a, b) => (Node::Shard(a), Node::Shard(b)),
            Link::GatewayShard(gateway, shard) => (Node::Gateway(gateway), Node::Shard(shard)),
            Link::Directory => {
                self.directory_until = self.directory_until.max(until);
                return;
            }
        };
        let mut one = |from, to| {
            let entry = self.cuts.entry((from, to)).or_default();
            *entry = until.max(*entry);
        };
        if way != Way::Back {
            one(a, b);
        }
        if way != Way::There {
            one(b, a);
        }
    }

    pub(crate) fn slow(&mut self, until: u64) {
        self.slow_until = self.slow_until.max(until);
    }

    pub(crate) fn late_claims(&mut self, shard: usize, until: u64, late: u64) {
        self.late_claims.insert(shard, (until, late));
    }

    pub(crate) fn late_topology(&mut self, until: u64) {
        self.topology_at = until;
    }

    /// How long a message takes at least that has a fault of its own.
    fn lateness(&self, from: Node, body: &Body, now: u64) -> u64 {
        let Body::Ask { request, .. } = body else {
            return 0;
        };
        match (from, request) {
            (Node::Shard(shard), Request::Claim { .. }) => {
                let late = self.late_claims.get(&shard);
                late.map_or(0, |(until, late)| if now < *until { *late } else { 0 })
            }
            (_, Request::Announce { .. }) => self.topology_at.saturating_sub(now),
            _ => 0,
        }
    }

    pub(crate) fn heal(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn is_cut(&self, from: Node, to: Node, now: u64) -> bool {
        let directory = from == Node::Directory || to == Node::Directory;
        directory && self.directory_until > now
            || self.cuts.get(&(from, to)).is_some_and(|until| *until > now)
    }
}

impl World {
    /// Sends; an answer goes to the life that asked.
    pub(crate) fn send(&mut self, from: Node, to: Node, to_life: Option<u32>, body: Body) {
        // The directory in memory is where its gateway is.
        let local = self.directory.is_in_gateway()
            && matches!(
                (from, to),
                (Node::Gateway(_), Node::Directory) | (Node::Directory, Node::Gateway(_))
            );
        let is_join = matches!(
            body,
            Body::Join { .. } | Body::Joined { .. } | Body::Leave { .. } | Body::Kick { .. }
        );
        let client = matches!(from, Node::Client(_)) || matches!(to, Node::Client(_));
        if !local && self.network.is_cut(from, to, self.now) {
            return self.trace(|_| format!("{from:?} -> {to:?} cut off: {body:?}"));
        }
        let remote = !local && !client && !is_join;
        if remote && !self.calm && self.random.permille(self.params.loss) {
            return self.trace(|_| format!("{from:?} -> {to:?} lost: {body:?}"));
        }
        let late = self.network.lateness(from, &body, self.now);
        let delay = self.delay_us(local, remote).max(late);
        self.trace(|_| format!("{from:?} -> {to:?} in {} ms: {body:?}", delay / 1_000));
        let message = Message {
            from,
            from_life: self.life(from),
            to,
            to_life,
            body,
        };
        self.at(self.now + delay, What::Message(Box::new(message)));
    }

    fn delay_us(&mut self, local: bool, remote: bool) -> u64 {
        let usual = self.random.below(self.params.delay_ms * 1_000);
        let (dice, long) = (self.random.below(1_000), self.random.next());
        if local {
            return 1;
        }
        if !remote || self.calm {
            return 200 + usual;
        }
        let bad = self.network.slow_until > self.now;
        let (late, slow) = (self.params.late, self.params.late + self.params.slow);
        if dice < late || bad && dice < 300 {
            return long % 8_000_000;
        }
        if dice < slow || bad {
            return long % 2_000_000;
        }
        200 + usual
    }

    /// Nobody is there to take the message.
    pub(crate) fn refuse(&mut self, message: &Message) {
        let Body::Join { call, .. } = message.body else {
            return;
        };
        let answer = crate::message::Answer::Refused;
        let body = Body::Joined { call, answer };
        self.send(message.to, message.from, Some(message.from_life), body);
    }
}
