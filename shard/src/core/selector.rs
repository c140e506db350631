//! Which node a new room goes to: `node_selector` with the words and the meaning that it has in LiveKit's
//! configuration. A policy without state.
//!
//! Limits only narrow the choice: if no node is below them all nodes are taken, so that a room never goes
//! without one.

use proto::id::NodeId;
use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// How nodes are chosen for new rooms.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SelectorConfig {
    /// Which nodes are looked at.
    pub kind: SelectorKind,
    /// What makes one of them better.
    pub sort_by: SortBy,
    /// How many of them are compared.
    pub algorithm: Algorithm,
    /// With `kind: sysload`: a node whose load average of a minute is above this share of its cores is left
    /// out, as long as there are others.
    pub sysload_limit: f32,
    /// With `kind: cpuload`: a node that uses more than this share of its cores is left out, as long as there
    /// are others.
    pub cpu_load_limit: f32,
}

impl Default for SelectorConfig {
    fn default() -> Self {
        Self {
            kind: SelectorKind::default(),
            sort_by: SortBy::default(),
            algorithm: Algorithm::default(),
            sysload_limit: 0.9,
            cpu_load_limit: 0.9,
        }
    }
}

/// Which nodes are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SelectorKind {
    /// All of them.
    #[default]
    Any,
    /// Those below `cpu_load_limit`.
    CpuLoad,
    /// Those below `sysload_limit`.
    SysLoad,
}

/// What makes a node better: less of this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SortBy {
    /// Nothing: chance decides.
    Random,
    /// Load average of a minute for each core.
    SysLoad,
    /// Share of the cores in use.
    CpuLoad,
    /// Rooms.
    Rooms,
    /// Participants.
    #[default]
    Clients,
    /// Published tracks.
    Tracks,
    /// Bytes in and out.
    BytesPerSec,
}

/// How many nodes are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// All.
    #[default]
    Lowest,
    /// Two, chosen by chance: shards that cannot see what others do crowd less.
    TwoChoice,
}

/// A node, and how it does.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) node: NodeId,
    /// 0.0 to 1.0 of all cores.
    pub(super) cpu_load: f32,
    /// Load average of a minute for each core.
    pub(super) sys_load: f32,
    pub(super) rooms: usize,
    pub(super) clients: usize,
    pub(super) tracks: usize,
    pub(super) bytes_per_sec: u64,
}

/// Chooses one; `None` only if there is none at all.
pub(super) fn select(
    config: &SelectorConfig,
    mut candidates: Vec<Candidate>,
    random: &mut impl Rng,
) -> Option<NodeId> {
    let eligible = |it: &Candidate| match config.kind {
        SelectorKind::Any => true,
        SelectorKind::CpuLoad => it.cpu_load <= config.cpu_load_limit,
        SelectorKind::SysLoad => it.sys_load <= config.sysload_limit,
    };
    if candidates.iter().any(eligible) {
        candidates.retain(eligible);
    }
    if config.sort_by == SortBy::Random {
        return take_random(&mut candidates, random);
    }
    if config.algorithm == Algorithm::TwoChoice {
        while candidates.len() > 2 {
            let place = random.random_range(0..candidates.len());
            candidates.swap_remove(place);
        }
    }
    let best = candidates
        .into_iter()
        .min_by(|a, b| compare(config.sort_by, a, b));
    best.map(|candidate| candidate.node)
}

fn take_random(candidates: &mut Vec<Candidate>, random: &mut impl Rng) -> Option<NodeId> {
    if candidates.is_empty() {
        return None;
    }
    let place = random.random_range(0..candidates.len());
    Some(candidates.swap_remove(place).node)
}

fn compare(sort_by: SortBy, a: &Candidate, b: &Candidate) -> Ordering {
    match sort_by {
        SortBy::Random => Ordering::Equal,
        SortBy::SysLoad => a.sys_load.total_cmp(&b.sys_load),
        SortBy::CpuLoad => a.cpu_load.total_cmp(&b.cpu_load),
        SortBy::Rooms => a.rooms.cmp(&b.rooms),
        SortBy::Clients => a.clients.cmp(&b.clients),
        SortBy::Tracks => a.tracks.cmp(&b.tracks),
        SortBy::BytesPerSec => a.bytes_per_sec.cmp(&b.bytes_per_sec),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;
    use std::collections::BTreeSet;

    fn node(name: &str, load: f32, count: usize) -> Candidate {
        Candidate {
            node: NodeId::new(name),
            cpu_load: load,
            sys_load: load * 2.0,
            rooms: count,
            clients: count,
            tracks: count,
            bytes_per_sec: count as u64,
        }
    }

    /// All nodes that are ever chosen.
    fn chosen(config: SelectorConfig, candidates: &[Candidate]) -> BTreeSet<String> {
        let mut random = StdRng::seed_from_u64(7);
        let mut choose = || select(&config, candidates.to_vec(), &mut random).unwrap();
        (0..200).map(|_| choose().as_str().to_owned()).collect()
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_node_with_least_of_what_is_sorted_by_is_chosen() {
        let by = |sort_by, candidates: &[Candidate]| {
            let config = SelectorConfig {
                sort_by,
                ..SelectorConfig::default()
            };
            chosen(config, candidates)
        };
        let nodes = [node("a", 0.5, 1), node("b", 0.2, 3), node("c", 0.3, 2)];
        for counted in [
            SortBy::Rooms,
            SortBy::Clients,
            SortBy::Tracks,
            SortBy::BytesPerSec,
        ] {
            assert_eq!(by(counted, &nodes), names(&["a"]));
        }
        assert_eq!(by(SortBy::CpuLoad, &nodes), names(&["b"]));
        assert_eq!(by(SortBy::SysLoad, &nodes), names(&["b"]));
        assert_eq!(by(SortBy::Random, &nodes), names(&["a", "b", "c"]));
    }

    #[test]
    fn loaded_nodes_are_left_out_unless_all_are() {
        let limited = |kind, candidates: &[Candidate]| {
            let config = SelectorConfig {
                kind,
                ..SelectorConfig::default()
            };
            chosen(config, candidates)
        };
        let nodes = [node("a", 0.95, 0), node("b", 0.44, 9), node("c", 0.46, 1)];
        assert_eq!(limited(SelectorKind::Any, &nodes), names(&["a"]));
        assert_eq!(limited(SelectorKind::CpuLoad, &nodes), names(&["c"]));
        assert_eq!(limited(SelectorKind::SysLoad, &nodes), names(&["b"]));
        let busy = [node("a", 0.95, 5), node("b", 0.99, 4)];
        assert_eq!(limited(SelectorKind::CpuLoad, &busy), names(&["b"]));
        assert_eq!(limited(SelectorKind::SysLoad, &busy), names(&["b"]));
    }

    #[test]
    fn of_two_choices_the_worst_of_all_is_never_taken() {
        let config = SelectorConfig {
            algorithm: Algorithm::TwoChoice,
            ..SelectorConfig::default()
        };
        let nodes = [node("a", 0.1, 1), node("b", 0.1, 2), node("c", 0.1, 3)];
        assert_eq!(chosen(config, &nodes), names(&["a", "b"]));
    }

    #[test]
    fn without_nodes_there_is_none() {
        let mut random = StdRng::seed_from_u64(7);
        for sort_by in [SortBy::Random, SortBy::Clients] {
            let config = SelectorConfig {
                sort_by,
                ..SelectorConfig::default()
            };
            assert_eq!(select(&config, Vec::new(), &mut random), None);
        }
    }

    #[test]
    fn it_is_written_as_in_livekit_s_configuration() {
        let text = r#"{"kind": "cpuload", "sort_by": "bytespersec", "algorithm": "twochoice", "cpu_load_limit": 0.5}"#;
        let config: SelectorConfig = serde_json::from_str(text).unwrap();
        let expected = SelectorConfig {
            kind: SelectorKind::CpuLoad,
            sort_by: SortBy::BytesPerSec,
            algorithm: Algorithm::TwoChoice,
            sysload_limit: 0.9,
            cpu_load_limit: 0.5,
        };
        assert_eq!(config, expected);
        assert!(serde_json::from_str::<SelectorConfig>(r#"{"kind": "regionaware"}"#).is_err());
    }
}
