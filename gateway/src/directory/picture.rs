//! What the directory said last, as one immutable value.

use affinity::ShardId;
use affinity::directory::{Drain, LeaseView, View};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// What the directory said last, and whether it still says anything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Picture {
    view: Option<View>,
    leases: BTreeMap<ShardId, LeaseView>,
    /// Shards that are emptied by order, or about to end.
    closed: BTreeSet<ShardId>,
    at: Option<Instant>,
    is_stale: bool,
}

impl Picture {
    /// The directory's answer, received at `now`.
    pub(crate) fn of(view: View, now: Instant) -> Self {
        let ordered = view.drains.iter().map(|(shard, _)| shard.clone());
        let leaving = view.leases.iter().filter(|lease| lease.leaving);
        let closed = ordered.chain(leaving.map(|lease| lease.shard.clone()));
        Self {
            closed: closed.collect(),
            leases: view
                .leases
                .iter()
                .map(|lease| (lease.shard.clone(), lease.clone()))
                .collect(),
            view: Some(view),
            at: Some(now),
            is_stale: false,
        }
    }

    /// The same, and the directory does not answer at the moment.
    pub(super) fn grown_stale(&self) -> Self {
        Self {
            is_stale: true,
            ..self.clone()
        }
    }

    /// `None` before the first answer.
    pub(crate) fn view(&self) -> Option<&View> {
        self.view.as_ref()
    }

    /// When the directory answered last.
    pub(crate) fn at(&self) -> Option<Instant> {
        self.at
    }

    /// The directory does not answer at the moment, or did not answer yet.
    pub(crate) fn is_stale(&self) -> bool {
        self.is_stale || self.view.is_none()
    }

    /// No room changes its owner at the moment, because the directory lost its data.
    pub(crate) fn is_in_grace(&self) -> bool {
        self.view.as_ref().is_some_and(|view| view.grace)
    }

    pub(crate) fn lease(&self, shard: &ShardId) -> Option<&LeaseView> {
        self.leases.get(shard)
    }

    /// Whether the shard may go on serving rooms. Before the first answer, and while the directory
    /// collects what it lost, a missing lease says nothing.
    pub(crate) fn may_serve(&self, shard: &ShardId) -> bool {
        self.view.is_none() || self.is_in_grace() || self.leases.contains_key(shard)
    }

    /// Whether a room that was seen on the shard is looked for there first. A shard that takes no
    /// rooms says no to those that have ended meanwhile; any other one sends us there for those that
    /// have not. Unless the directory is silent: then only the shard itself knows.
    pub(crate) fn trusts(&self, shard: &ShardId) -> bool {
        self.may_serve(shard) && (self.is_stale() || !self.closed.contains(shard))
    }

    /// Shards that are emptied by order, or about to end.
    pub(crate) fn closed(&self) -> &BTreeSet<ShardId> {
        &self.closed
    }

    /// The order to empty the shard.
    pub(crate) fn drain(&self, shard: &ShardId) -> Option<&Drain> {
        let drains = &self.view.as_ref()?.drains;
        let found = drains.iter().find(|(known, _)| known == shard);
        found.map(|(_, drain)| drain)
    }

    /// Rooms of all shards, as they said with their last renewals.
    pub(crate) fn rooms(&self) -> usize {
        let rooms: u64 = self
            .leases
            .values()
            .map(|lease| u64::from(lease.rooms))
            .sum();
        usize::try_from(rooms).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use affinity::Shard;
    use affinity::directory::{DirectoryIncarnation, Incarnation};

    /// A view in the directory's first life, with leases of these shards.
    pub(in crate::directory) fn view(topology: Vec<Shard>, leased: &[&str]) -> View {
        let lease = |shard: &&str| LeaseView {
            shard: ShardId::new(*shard),
            incarnation: Incarnation(1),
            seq: 1,
            leaving: false,
            rooms: 0,
        };
        View {
            directory: DirectoryIncarnation(1),
            grace: false,
            hold: true,
            generation: 1,
            topology,
            drains: Vec::new(),
            leases: leased.iter().map(lease).collect(),
            orphaned: Vec::new(),
        }
    }

    #[test]
    fn a_hint_counts_while_its_shard_has_a_lease_or_nobody_can_say() {
        let (a, b) = (ShardId::new("a"), ShardId::new("b"));
        assert!(Picture::default().trusts(&a), "nothing known yet");
        let mut view = view(Vec::new(), &["a"]);
        let picture = Picture::of(view.clone(), Instant::now());
        assert!(picture.trusts(&a) && !picture.trusts(&b));
        assert!(!picture.grown_stale().trusts(&b), "as of the last answer");
        view.grace = true;
        assert!(Picture::of(view, Instant::now()).trusts(&b));
    }

    #[test]
    fn a_shard_that_is_emptied_is_asked_last_unless_the_directory_is_silent() {
        let mut view = view(Vec::new(), &["a", "b"]);
        view.leases[1].leaving = true;
        let drain = Drain {
            deadline_unix_ms: None,
        };
        view.drains.push((ShardId::new("a"), drain));
        let picture = Picture::of(view, Instant::now());
        for shard in ["a", "b"].map(ShardId::new) {
            assert!(!picture.trusts(&shard) && picture.may_serve(&shard));
            assert!(picture.grown_stale().trusts(&shard));
        }
    }
}
