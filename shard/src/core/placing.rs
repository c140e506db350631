//! Where participants' media goes: the policies of [`selector`] and [`spread`] with what the core knows.
//!
//! Owns: how those are asked, and what becomes of a room that loses a node. Must not: move anybody.

use super::Core;
use super::api::JoinRefusal;
use super::leave::Farewell;
use super::selector::{self, Candidate};
use super::spread::{self, Load};
use affinity::RoomKey;
use livekit_protocol::DisconnectReason;
use proto::id::{Member, NodeId, ParticipantSid};
use proto::media::{NodeCommand, NodePeer};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

impl Core {
    /// Where a new room begins, if there is a node that is not too busy nor about to end.
    pub(super) fn choose_free_home(&mut self) -> Option<Member> {
        let limit = self.config.limits.node_stress;
        let mut candidates = self.nodes.candidates(self.rooms.values());
        candidates.retain(|it| self.nodes.is_free(&it.node, limit));
        self.choose_among(candidates)
    }

    /// Where a room begins that nobody else can take.
    pub(super) fn choose_home(&mut self) -> Option<Member> {
        let free = self.choose_free_home();
        free.or_else(|| {
            let candidates = self.nodes.candidates(self.rooms.values());
            self.choose_among(candidates)
        })
    }

    /// Why nobody else can be let in.
    pub(super) fn no_place(&self) -> JoinRefusal {
        if self.nodes.is_empty() {
            JoinRefusal::NoNode
        } else {
            JoinRefusal::Overloaded
        }
    }

    /// Where somebody goes who joins a room.
    pub(super) fn place(&mut self, key: &RoomKey) -> Option<Member> {
        let room = self.rooms.get(key)?;
        let loads = room.members.loads();
        let mut in_use: Vec<_> = loads.map(|(member, load)| (member.clone(), load)).collect();
        if in_use.is_empty() {
            in_use.push((room.home.clone(), Load::default()));
        }
        self.place_one(&in_use)
    }

    /// Where those go who come with their room, each with so many subscriptions.
    pub(super) fn place_all(
        &mut self,
        home: &Member,
        subscriptions: impl Iterator<Item = usize>,
    ) -> Vec<Member> {
        let mut in_use = vec![(home.clone(), Load::default())];
        let mut places = Vec::new();
        for subscriptions in subscriptions {
            // Nobody else has them.
            let member = self.place_one(&in_use).unwrap_or_else(|| home.clone());
            let place = in_use.iter().position(|(other, _)| *other == member);
            let place = place.unwrap_or_else(|| {
                in_use.push((member.clone(), Load::default()));
                in_use.len() - 1
            });
            if let Some((_, load)) = in_use.get_mut(place) {
                load.participants += 1;
                load.subscriptions += subscriptions;
            }
            places.push(member);
        }
        places
    }

    fn place_one(&mut self, in_use: &[(Member, Load)]) -> Option<Member> {
        let (config, limit) = (self.config.spread, self.config.limits.node_stress);
        let is_free = |it: &&(Member, Load)| self.nodes.is_free(&it.0.node, limit);
        let free: Vec<_> = in_use.iter().filter(is_free).cloned().collect();
        if free.is_empty() && config.participants == 0 {
            return None;
        }
        let loads = free.iter().map(|(member, load)| (member, *load));
        spread::choose(&config, loads, || self.fresh_member(in_use))
    }

    /// A worker that has nothing of the room: of a node that has, or else of another one that those
    /// can reach.
    fn fresh_member(&mut self, in_use: &[(Member, Load)]) -> Option<Member> {
        let limit = self.config.limits.node_stress;
        let is_free = |node: &NodeId| self.nodes.is_free(node, limit);
        let nodes: BTreeSet<&NodeId> = in_use.iter().map(|(member, _)| &member.node).collect();
        let same = nodes.iter().filter(|node| is_free(node));
        let same = same.flat_map(|node| self.nodes.workers(node));
        let same = same.filter(|member| in_use.iter().all(|(other, _)| other != member));
        let loads = self.loads();
        let load = |member: &Member| loads.get(member).copied().unwrap_or_default();
        if let Some(member) = same.min_by_key(load) {
            return Some(member);
        }
        if !nodes.iter().all(|node| self.nodes.can_relay(node)) {
            return None;
        }
        let mut candidates = self.nodes.candidates(self.rooms.values());
        let reaches = |it: &Candidate| {
            !nodes.contains(&it.node) && self.nodes.can_relay(&it.node) && is_free(&it.node)
        };
        candidates.retain(reaches);
        self.choose_among(candidates)
    }

    fn choose_among(&mut self, candidates: Vec<Candidate>) -> Option<Member> {
        let node = selector::select(&self.config.node_selector, candidates, &mut self.rng)?;
        let loads = self.loads();
        let load = |member: &Member| loads.get(member).copied().unwrap_or_default();
        self.nodes.workers(&node).min_by_key(load)
    }

    /// How many participants each worker has; a room that is about to be used counts as one.
    fn loads(&self) -> BTreeMap<Member, usize> {
        let mut loads = BTreeMap::new();
        for room in self.rooms.values() {
            if room.participants.is_empty() {
                *loads.entry(room.home.clone()).or_default() += 1;
            }
            for (member, load) in room.members.loads() {
                *loads.entry(member.clone()).or_default() += load.participants;
            }
        }
        loads
    }

    /// The room has lost what it had on these nodes. Those who were there join again; the others see
    /// them leave. True: there are no others, and the room has ended.
    pub(super) fn lose_members(
        &mut self,
        key: &RoomKey,
        lost: &BTreeSet<NodeId>,
        now: Instant,
    ) -> bool {
        let Some((room, mut turn)) = self.open(key, now) else {
            return false;
        };
        if !lost.iter().any(|node| room.is_on(node)) {
            return false;
        }
        let reason = DisconnectReason::MediaFailure;
        let is_lost = |member: &Member| lost.contains(&member.node);
        if room.members.all().all(is_lost) {
            // It starts again elsewhere.
            room.dismiss_all(reason, Farewell::Reconnect, lost, &mut turn);
            self.drop_if_ended(key);
            return true;
        }
        let gone = room.participants.values().filter(|p| is_lost(&p.member));
        let gone: Vec<ParticipantSid> = gone.map(|p| p.sid.clone()).collect();
        room.remove_all(&gone, reason, Farewell::Reconnect, &mut turn);
        lost.iter().for_each(|node| room.forget_member_node(node));
        false
    }

    /// Tells the nodes of each other, if there are several that can share a room.
    pub(super) fn tell_peers(&mut self, now: Instant) {
        let peers: Vec<NodePeer> = self.nodes.peers().collect();
        let mut turn = self.turn(now);
        for peer in &peers {
            let others = peers.iter().filter(|other| other.node != peer.node);
            let command = NodeCommand::SetPeers(others.cloned().collect());
            turn.node(&Member::new(peer.node.clone(), 0), command);
        }
    }
}
