//! Shards that are gone from the configuration and stay until their last live room ends.
//!
//! Pure: what the directory says comes in, who may stay goes out. Must not: believe a single word. A
//! room that was opened a moment ago is counted with the shard's next renewal.

use crate::directory::Picture;
use affinity::ShardId;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a removed shard must have said that it has no rooms. Three renewals.
const EMPTY_FOR: Duration = Duration::from_secs(3);

/// What removed shards have said. One entry for each that is empty and stays.
#[derive(Debug, Default)]
pub(crate) struct Leaving(BTreeMap<ShardId, Empty>);

#[derive(Debug)]
struct Empty {
    since: Instant,
    /// Number of the renewal that said so first.
    seq: u64,
}

impl Leaving {
    /// Whether a removed shard may still have live rooms.
    pub(crate) fn stays(&mut self, shard: &ShardId, picture: &Picture) -> bool {
        let Some(at) = picture.at().filter(|_| !picture.is_in_grace()) else {
            return true;
        };
        let Some(lease) = picture.lease(shard) else {
            self.0.remove(shard);
            return false;
        };
        if lease.rooms > 0 {
            self.0.remove(shard);
            return true;
        }
        let empty = self.0.entry(shard.clone()).or_insert(Empty {
            since: at,
            seq: lease.seq,
        });
        let over = lease.seq > empty.seq && at >= empty.since + EMPTY_FOR;
        if over {
            self.0.remove(shard);
        }
        !over
    }

    /// Only these are leaving.
    pub(crate) fn retain(&mut self, is_leaving: impl Fn(&ShardId) -> bool) {
        self.0.retain(|shard, _| is_leaving(shard));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use affinity::directory::{DirectoryIncarnation, Incarnation, LeaseView, View};

    fn picture(rooms: Option<(u32, u64)>, at: Instant) -> Picture {
        let lease = rooms.map(|(rooms, seq)| LeaseView {
            shard: ShardId::new("s1"),
            incarnation: Incarnation(1),
            seq,
            leaving: false,
            rooms,
        });
        let view = View {
            directory: DirectoryIncarnation(1),
            grace: false,
            hold: true,
            generation: 1,
            topology: Vec::new(),
            drains: Vec::new(),
            leases: lease.into_iter().collect(),
            orphaned: Vec::new(),
        };
        Picture::of(view, at)
    }

    #[test]
    fn a_removed_shard_stays_until_it_has_been_empty_for_three_renewals() {
        let (mut leaving, start) = (Leaving::default(), Instant::now());
        let mut stays = |rooms, s| {
            let at = start + Duration::from_secs(s);
            leaving.stays(&ShardId::new("s1"), &picture(rooms, at))
        };
        assert!(stays(Some((2, 1)), 0));
        assert!(stays(Some((0, 2)), 1));
        assert!(stays(Some((1, 3)), 2), "one was opened meanwhile");
        assert!(stays(Some((0, 4)), 3));
        assert!(stays(Some((0, 4)), 9), "nothing new was heard");
        assert!(!stays(Some((0, 5)), 9));
    }

    #[test]
    fn a_removed_shard_goes_with_its_lease_but_not_while_leases_come_back() {
        let (mut leaving, now) = (Leaving::default(), Instant::now());
        let shard = ShardId::new("s1");
        assert!(leaving.stays(&shard, &Picture::default()), "nobody knows");
        assert!(!leaving.stays(&shard, &picture(None, now)));
    }
}
