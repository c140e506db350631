//! The shard's nodes, and how each of them does.
//!
//! Owns: what they reported last. Must not: choose; [`select`](super::selector::select) does.

use super::room::Room;
use super::selector::Candidate;
use proto::id::{Member, NodeId};
use proto::media::{NodePeer, NodeReport};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

/// Weight of the newest of the reports, which come each second: an average of some five seconds.
const STRESS_WEIGHT: f32 = 0.3;

/// The attached nodes; as many as the operator runs.
#[derive(Debug, Default)]
pub(super) struct Pool {
    nodes: BTreeMap<NodeId, Vitals>,
}

/// How a node does.
#[derive(Debug, Default)]
struct Vitals {
    workers: u16,
    /// Where other nodes reach it.
    relay: Option<SocketAddr>,
    cpu_load: f32,
    sys_load: f32,
    bytes_per_sec: u64,
    /// Averaged over its last reports.
    stress: f32,
    is_draining: bool,
    /// Bytes in and out that it reported last, and when.
    bytes: Option<(u64, Instant)>,
}

impl Pool {
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub(super) fn attach(&mut self, node: NodeId, workers: u16, relay: Option<SocketAddr>) {
        let vitals = Vitals {
            workers: workers.max(1),
            relay,
            ..Vitals::default()
        };
        self.nodes.insert(node, vitals);
    }

    /// The nodes that can share a room with others, and where they are reached.
    pub(super) fn peers(&self) -> impl Iterator<Item = NodePeer> {
        self.nodes.iter().filter_map(|(node, vitals)| {
            let (node, address) = (node.clone(), vitals.relay?);
            Some(NodePeer { node, address })
        })
    }

    /// It is about to end.
    pub(super) fn drain(&mut self, node: &NodeId) {
        if let Some(vitals) = self.nodes.get_mut(node) {
            vitals.is_draining = true;
        }
    }

    /// Whether a node may get somebody else; `limit` of its stress in percent, 0 for none.
    pub(super) fn is_free(&self, node: &NodeId, limit: u8) -> bool {
        let stressed = |vitals: &Vitals| limit > 0 && vitals.stress * 100.0 >= f32::from(limit);
        let vitals = self.nodes.get(node);
        vitals.is_some_and(|vitals| !vitals.is_draining && !stressed(vitals))
    }

    pub(super) fn none_is_free(&self, limit: u8) -> bool {
        !self.nodes.keys().any(|node| self.is_free(node, limit))
    }

    pub(super) fn can_relay(&self, node: &NodeId) -> bool {
        let vitals = self.nodes.get(node);
        vitals.is_some_and(|vitals| vitals.relay.is_some())
    }

    /// Its workers; none if it is not attached.
    pub(super) fn workers(&self, node: &NodeId) -> impl Iterator<Item = Member> {
        let workers = self.nodes.get(node).map_or(0, |vitals| vitals.workers);
        (0..workers).map(|worker| Member::new(node.clone(), worker))
    }

    pub(super) fn remove(&mut self, node: &NodeId) {
        self.nodes.remove(node);
    }

    /// What a node says each second.
    pub(super) fn note(&mut self, node: &NodeId, report: &NodeReport, now: Instant) {
        let Some(vitals) = self.nodes.get_mut(node) else {
            return;
        };
        vitals.cpu_load = report.cpu_load;
        vitals.sys_load = report.sys_load;
        vitals.stress += (report.stress - vitals.stress) * STRESS_WEIGHT;
        let bytes = report.bytes_in.saturating_add(report.bytes_out);
        if let Some((before, at)) = vitals.bytes.replace((bytes, now)) {
            let seconds = now.saturating_duration_since(at).as_secs_f64().max(0.1);
            vitals.bytes_per_sec = (bytes.saturating_sub(before) as f64 / seconds) as u64;
        }
    }

    /// All nodes. What the shard gave them itself is counted here and now: their reports are a second
    /// old.
    pub(super) fn candidates<'a>(&self, rooms: impl Iterator<Item = &'a Room>) -> Vec<Candidate> {
        let candidate = |(node, vitals): (&NodeId, &Vitals)| {
            let candidate = Candidate {
                node: node.clone(),
                cpu_load: vitals.cpu_load,
                sys_load: vitals.sys_load,
                rooms: 0,
                clients: 0,
                tracks: 0,
                bytes_per_sec: vitals.bytes_per_sec,
            };
            (node.clone(), candidate)
        };
        let mut candidates: BTreeMap<NodeId, Candidate> =
            self.nodes.iter().map(candidate).collect();
        for room in rooms {
            if room.participants.is_empty()
                && let Some(candidate) = candidates.get_mut(&room.home.node)
            {
                // It is about to be used.
                candidate.rooms += 1;
                candidate.clients += 1;
            }
            for (member, load) in room.members.loads() {
                if let Some(candidate) = candidates.get_mut(&member.node) {
                    candidate.rooms += 1;
                    candidate.clients += load.participants;
                    // As if each had the same number.
                    let tracks = room.owners.len() * load.participants;
                    candidate.tracks += tracks / room.participants.len().max(1);
                }
            }
        }
        candidates.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn bytes_per_second_come_from_two_reports() {
        let start = Instant::now();
        let node = NodeId::new("n1");
        let mut pool = Pool::default();
        pool.attach(node.clone(), 1, None);
        let mut say = |bytes_in, bytes_out, seconds: u64| {
            let report = NodeReport {
                bytes_in,
                bytes_out,
                cpu_load: 0.25,
                ..NodeReport::default()
            };
            pool.note(&node, &report, start + Duration::from_secs(seconds));
            pool.candidates(std::iter::empty())[0].clone()
        };
        assert_eq!(say(1_000, 2_000, 0).bytes_per_sec, 0);
        let candidate = say(3_000, 8_000, 2);
        assert_eq!((candidate.bytes_per_sec, candidate.cpu_load), (4_000, 0.25));
        assert_eq!(say(0, 0, 3).bytes_per_sec, 0, "it began anew");
    }
}
