//! Faults, carried out.

use crate::fault::Fault;
use crate::message::Node;
use crate::shard::ShardNode;
use crate::world::{What, World, entry};
use affinity::directory::{Drain, Request};
use std::collections::BTreeSet;

/// A loss of data waits this long if a shard may be wrong after a freeze.
const AWARE_US: u64 = 1_000_000;

impl World {
    pub(crate) fn strike(&mut self, fault: Fault) {
        if self.calm {
            return;
        }
        self.trace(|_| format!("FAULT {fault:?}"));
        match fault {
            Fault::Cut { link, way, ms } => self.network.cut(link, way, self.now + ms * 1_000),
            Fault::LateClaims { shard, ms, late_ms } => {
                let until = self.now + ms * 1_000;
                self.network.late_claims(shard, until, late_ms * 1_000);
            }
            Fault::LateTopology { ms } => self.network.late_topology(self.now + ms * 1_000),
            Fault::Slow { ms } => self.network.slow(self.now + ms * 1_000),
            Fault::KillShard { shard, down_ms } => self.end_shard(shard, true, down_ms),
            Fault::StopShard { shard, down_ms } => self.stop_shard(shard, down_ms),
            Fault::KillGateway { .. }
                if self.directory.is_in_gateway() && self.is_any_unaware() =>
            {
                self.at(self.now + AWARE_US, What::Fault(fault));
            }
            Fault::KillGateway { gateway, down_ms } => {
                self.kill_gateway(gateway);
                let at = self.now + down_ms * 1_000;
                self.at(at, What::Start(Node::Gateway(gateway)));
            }
            Fault::PauseShard { shard, ms } => self.halt(Node::Shard(shard), ms, false),
            Fault::PauseGateway { gateway, ms } => self.halt(Node::Gateway(gateway), ms, false),
            Fault::PauseDirectory { ms } => self.halt(Node::Directory, ms, false),
            Fault::FreezeShard { shard, .. } if !self.is_up_to_date(shard) => {}
            Fault::FreezeShard { shard, ms } => self.halt(Node::Shard(shard), ms, true),
            Fault::FreezeGateway { gateway, ms } => self.halt(Node::Gateway(gateway), ms, true),
            Fault::LoseData | Fault::FailOver { .. } => self.new_directory_life(fault),
            Fault::AddShard { shard } => self.add_shard(shard),
            Fault::RemoveShard { shard } => self.remove_shard(shard),
            Fault::Weigh { shard, weight } => {
                let id = self.shards[shard].id.clone();
                if let Some(entry) = self.config.iter_mut().find(|entry| entry.id == id) {
                    entry.weight = weight;
                }
                self.reload_all();
            }
            Fault::Drain { shard, on } => {
                let drain = on.then_some(Drain {
                    deadline_unix_ms: None,
                });
                let shard = self.shards[shard].id.clone();
                let gateway = self.random.index(self.gateways.len());
                self.order(gateway, Request::SetDrain { shard, drain });
            }
        }
    }

    fn halt(&mut self, node: Node, ms: u64, freeze: bool) {
        if self.halted(node).is_some() || !self.is_up(node) {
            return;
        }
        let (now, until) = (self.now, self.now + ms * 1_000);
        match node {
            Node::Shard(n) => {
                let shard = &mut self.shards[n];
                shard.halted_until = Some(until);
                if freeze {
                    shard.clock.freeze(now);
                    shard.unaware_until_us = shard.clock.now(now) + ShardNode::unaware_us();
                }
            }
            Node::Gateway(n) => {
                self.gateways[n].halted_until = Some(until);
                if freeze {
                    self.gateways[n].clock.freeze(now);
                }
            }
            Node::Directory => self.directory.halted_until = Some(until),
            Node::Client(_) => {}
        }
        self.at(until, What::Resume(node));
    }

    pub(crate) fn resume(&mut self, node: Node) {
        if self.halted(node).is_some() {
            return;
        }
        let now = self.now;
        match node {
            Node::Shard(n) => self.shards[n].clock.thaw_if_frozen(now),
            Node::Gateway(n) => self.gateways[n].clock.thaw_if_frozen(now),
            Node::Directory | Node::Client(_) => {}
        }
    }

    /// While a shard may be wrong the directory is the only one who knows.
    fn new_directory_life(&mut self, fault: Fault) {
        if self.directory.is_in_gateway() {
            return;
        }
        if self.is_any_unaware() {
            return self.at(self.now + AWARE_US, What::Fault(fault));
        }
        match fault {
            Fault::FailOver {
                lag_ms,
                zombie_ms,
                zombie_for,
            } => {
                let gateways = (0..self.gateways.len()).map(Node::Gateway);
                let shards = (0..self.shards.len()).map(Node::Shard);
                let nodes = gateways.chain(shards).enumerate();
                let zombie_for: BTreeSet<Node> = nodes
                    .filter(|(bit, _)| zombie_ms > 0 && zombie_for >> bit & 1 == 1)
                    .map(|(_, node)| node)
                    .collect();
                self.directory
                    .fail_over(self.now, lag_ms * 1_000, zombie_for);
                self.at(self.now + zombie_ms * 1_000, What::ForgetOldMaster);
            }
            _ => self.directory.lose_data(self.now),
        }
    }

    fn is_any_unaware(&self) -> bool {
        self.shards
            .iter()
            .any(|shard| shard.is_excused(shard.clock.now(self.now)))
    }

    /// The shard knows of all losses of data so far.
    fn is_up_to_date(&self, shard: usize) -> bool {
        let known = self.shards[shard]
            .machine
            .as_ref()
            .and_then(|machine| machine.directory());
        known.is_some() && known == self.directory.incarnation()
    }

    fn add_shard(&mut self, shard: usize) {
        let id = self.shards[shard].id.clone();
        if !self.config.iter().any(|entry| entry.id == id) {
            self.config.push(entry(&id));
            self.config.sort_by(|a, b| a.id.cmp(&b.id));
            self.reload_all();
        }
        self.at(self.now, What::Start(Node::Shard(shard)));
    }

    /// An operator removes what does not serve any more, or what is well: never what goes on without
    /// the directory.
    fn remove_shard(&mut self, shard: usize) {
        let now = self.local(Node::Shard(shard));
        let well = self.shards[shard]
            .machine
            .as_ref()
            .is_none_or(|machine| machine.lease(now).is_ok() && !machine.is_on_hold(now));
        if self.config.len() < 2 || !well {
            return;
        }
        let id = self.shards[shard].id.clone();
        self.config.retain(|entry| entry.id != id);
        self.reload_all();
    }

    fn reload_all(&mut self) {
        for gateway in 0..self.gateways.len() {
            let at = self.now + self.random.below(2_000_000);
            self.at(at, What::Reload { gateway });
        }
    }

    /// Everything is repaired, and nothing happens any more.
    pub(crate) fn calm_down(&mut self) {
        self.trace(|_| "CALM".to_owned());
        self.calm = true;
        self.network.heal();
        self.directory.forget_old_master();
        for seconds in [0, 4, 8, 12, 16] {
            self.at(self.now + seconds * 1_000_000, What::Repair);
        }
    }

    /// An operator puts everything right. While the directory's data is lost no more than one shard is
    /// added.
    pub(crate) fn repair(&mut self) {
        let mut may_add = true;
        for shard in 0..self.shards.len() {
            self.at(self.now + 1_000_000, What::Start(Node::Shard(shard)));
            let id = self.shards[shard].id.clone();
            if may_add && !self.config.iter().any(|entry| entry.id == id) {
                self.config.push(entry(&id));
                may_add = false;
            }
            let request = Request::SetDrain {
                shard: id,
                drain: None,
            };
            self.order(0, request);
        }
        self.config.sort_by(|a, b| a.id.cmp(&b.id));
        for gateway in 0..self.gateways.len() {
            self.at(self.now + 500_000, What::Start(Node::Gateway(gateway)));
            self.at(self.now + 1_000_000, What::Reload { gateway });
        }
    }
}
