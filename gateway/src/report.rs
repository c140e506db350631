//! What a reload changed, as a value.

use affinity::{RoomCase, RoomKey, Shard, ShardState, Topology};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Names that stand for all idle rooms when their share is measured.
const SAMPLE_NAMES: u32 = 10_000;

/// What a reload changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ReloadReport {
    /// Topology generation before.
    pub generation_before: u64,
    /// Topology generation after; the same if no shard changed.
    pub generation_after: u64,
    /// Shards that are new.
    pub shards_added: Vec<String>,
    /// Shards that are gone.
    pub shards_removed: Vec<String>,
    /// Removed shards that are kept until their last live room ends.
    pub shards_leaving: Vec<String>,
    /// Shards with another weight.
    pub shards_reweighed: Vec<Reweighed>,
    /// Shards that take no new rooms any more.
    pub shards_drained: Vec<String>,
    /// Shards that take new rooms again.
    pub shards_activated: Vec<String>,
    /// Shards with another URL.
    pub shards_readdressed: Vec<String>,
    /// Share (0 to 1) of names without a live room that are now placed on another shard.
    pub idle_rooms_moved: f64,
    /// Rooms that were live during the reload.
    pub live_rooms: usize,
    /// Live rooms that the reload moved: none, by construction.
    pub live_rooms_moved: usize,
    /// Settings that changed in the file and take effect only after a restart.
    pub needs_restart: Vec<String>,
}

/// A changed weight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reweighed {
    /// The shard.
    pub shard: String,
    /// Its old weight.
    pub before: u32,
    /// Its new weight.
    pub after: u32,
}

impl ReloadReport {
    /// Compares two topologies; the counts of live rooms and the restart list are the caller's.
    pub(crate) fn compare(before: &Topology, after: &Topology) -> Self {
        let mut report = Self {
            generation_before: before.generation(),
            generation_after: after.generation(),
            ..Self::default()
        };
        let old = by_id(before);
        let new = by_id(after);
        for (id, shard) in &new {
            match old.get(id) {
                None => report.shards_added.push((*id).to_owned()),
                Some(previous) => report.compare_shard(id, previous, shard),
            }
        }
        let gone = old.keys().filter(|id| !new.contains_key(*id));
        report.shards_removed = gone.map(|id| (*id).to_owned()).collect();
        report.idle_rooms_moved = share_moved(before, after);
        report
    }

    fn compare_shard(&mut self, id: &str, before: &Shard, after: &Shard) {
        if before.weight != after.weight {
            self.shards_reweighed.push(Reweighed {
                shard: id.to_owned(),
                before: before.weight,
                after: after.weight,
            });
        }
        if before.url != after.url {
            self.shards_readdressed.push(id.to_owned());
        }
        match (before.state, after.state) {
            (ShardState::Active, ShardState::Draining) => self.shards_drained.push(id.to_owned()),
            (ShardState::Draining, ShardState::Active) => {
                self.shards_activated.push(id.to_owned());
            }
            (ShardState::Active, ShardState::Active)
            | (ShardState::Draining, ShardState::Draining) => {}
        }
    }
}

fn by_id(topology: &Topology) -> BTreeMap<&str, &Shard> {
    let shards = topology.shards().iter();
    shards.map(|shard| (shard.id.as_str(), shard)).collect()
}

fn share_moved(before: &Topology, after: &Topology) -> f64 {
    let names = (0..SAMPLE_NAMES)
        .filter_map(|n| RoomKey::from_claim(&format!("room-{n}"), RoomCase::Sensitive).ok());
    let moved = names
        .filter(|room| before.place(room) != after.place(room))
        .count();
    let moved = u32::try_from(moved).unwrap_or(SAMPLE_NAMES);
    f64::from(moved) / f64::from(SAMPLE_NAMES)
}

impl fmt::Display for ReloadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "topology generation {} -> {}",
            self.generation_before, self.generation_after
        )?;
        for (what, shards) in [
            ("added", &self.shards_added),
            ("removed", &self.shards_removed),
            ("removed once empty", &self.shards_leaving),
            ("drained", &self.shards_drained),
            ("activated", &self.shards_activated),
            ("new address", &self.shards_readdressed),
        ] {
            if !shards.is_empty() {
                write!(f, ", {what}: {}", shards.join(" "))?;
            }
        }
        for change in &self.shards_reweighed {
            let Reweighed {
                shard,
                before,
                after,
            } = change;
            write!(f, ", {shard} weight {before} -> {after}")?;
        }
        let percent = self.idle_rooms_moved * 100.0;
        write!(f, ", idle rooms moved: {percent:.1} %")?;
        write!(
            f,
            ", live rooms moved: {} of {}",
            self.live_rooms_moved, self.live_rooms
        )?;
        if !self.needs_restart.is_empty() {
            write!(f, ", needs a restart: {}", self.needs_restart.join("; "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use affinity::ShardId;

    fn topology(generation: u64, shards: &[(&str, u32, ShardState)]) -> Topology {
        let shards = shards.iter().map(|(id, weight, state)| Shard {
            id: ShardId::new(*id),
            url: format!("http://{id}:1"),
            weight: *weight,
            state: *state,
        });
        Topology::new(generation, shards.collect()).unwrap()
    }

    #[test]
    fn the_report_names_each_change_and_measures_the_idle_rooms_that_move() {
        use ShardState::{Active, Draining};
        let before = topology(1, &[("a", 1, Active), ("b", 1, Active), ("c", 1, Active)]);
        let after = topology(2, &[("a", 2, Active), ("b", 1, Draining), ("d", 1, Active)]);
        let report = ReloadReport::compare(&before, &after);
        assert_eq!(report.shards_added, ["d"]);
        assert_eq!(report.shards_removed, ["c"]);
        assert_eq!(report.shards_drained, ["b"]);
        assert_eq!(report.shards_reweighed.len(), 1);
        assert!(report.idle_rooms_moved > 0.5, "{report}");
        assert!(report.to_string().contains("a weight 1 -> 2"), "{report}");
    }

    #[test]
    fn an_added_shard_takes_its_share_and_no_more() {
        use ShardState::Active;
        let before = topology(1, &[("a", 1, Active), ("b", 1, Active)]);
        let after = topology(2, &[("a", 1, Active), ("b", 1, Active), ("c", 1, Active)]);
        let moved = ReloadReport::compare(&before, &after).idle_rooms_moved;
        assert!((0.28..0.39).contains(&moved), "{moved}");
    }
}
