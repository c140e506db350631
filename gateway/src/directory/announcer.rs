//! When this gateway tells the directory which shards there are.
//!
//! Pure. Gateways with different files must not overwrite each other in turn: a gateway speaks when
//! its own topology has changed, and when the directory has lost what it said.

use affinity::directory::{DirectoryIncarnation, Drain, Request, View};
use affinity::{Shard, ShardId, ShardState};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A difference that is over within this time is a reload that has not reached every gateway yet,
/// and no reason for a warning.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was said and seen of the topology.
#[derive(Debug)]
pub(super) struct Announcer {
    gateway: String,
    /// By id.
    ours: Vec<Shard>,
    is_due: bool,
    life: Option<DirectoryIncarnation>,
    /// In the last view the directory had our topology.
    had_ours: bool,
    drains: Vec<(ShardId, Drain)>,
    /// Orders that went down with the directory's data.
    lost: Vec<(ShardId, Drain)>,
    differs: Option<Difference>,
}

#[derive(Debug)]
struct Difference {
    text: String,
    since: Instant,
    warned: bool,
}

impl Announcer {
    /// `ours` is sorted by id.
    pub(super) fn new(gateway: String, ours: Vec<Shard>) -> Self {
        Self {
            gateway,
            ours,
            is_due: true,
            life: None,
            had_ours: false,
            drains: Vec::new(),
            lost: Vec::new(),
            differs: None,
        }
    }

    /// Our topology, sorted by id.
    pub(super) fn set_ours(&mut self, ours: Vec<Shard>) {
        if ours != self.ours {
            self.ours = ours;
            self.is_due = true;
        }
    }

    /// The directory's answer at `now`. Returns what differs, once, if it has for a while.
    pub(super) fn handle_view(&mut self, view: &View, now: Instant) -> Option<String> {
        let new_life = self.life.is_some_and(|life| life != view.directory);
        let has_ours = view.topology == self.ours;
        if view.topology.is_empty() {
            // Nobody has spoken since the data was lost: what we saw last is what there was.
            if new_life {
                self.lost = std::mem::take(&mut self.drains);
            }
            self.is_due = true;
        } else if new_life && self.had_ours && !has_ours {
            self.is_due = true;
        }
        self.life = Some(view.directory);
        self.had_ours = has_ours;
        self.drains.clone_from(&view.drains);
        self.compare(view, now)
    }

    fn compare(&mut self, view: &View, now: Instant) -> Option<String> {
        if self.had_ours || self.is_due {
            self.differs = None;
            return None;
        }
        let text = difference(&self.ours, &view.topology);
        match &mut self.differs {
            Some(known) if known.text == text => {
                let says = !known.warned && now >= known.since + PATIENCE;
                known.warned |= says;
                says.then_some(text)
            }
            _ => {
                let (since, warned) = (now, false);
                self.differs = Some(Difference {
                    text,
                    since,
                    warned,
                });
                None
            }
        }
    }

    /// Another gateway has announced other shards than ours.
    pub(super) fn differs(&self) -> Option<&str> {
        self.differs.as_ref().map(|known| known.text.as_str())
    }

    /// What is to be said to the directory now, if anything.
    pub(super) fn announcement(&self) -> Option<Request> {
        self.is_due.then(|| Request::Announce {
            gateway: self.gateway.clone(),
            topology: self.ours.clone(),
        })
    }

    /// The announcement was heard, whatever the answer. Returns what is to be said next.
    pub(super) fn announced(&mut self, said: &Request) -> Vec<Request> {
        if self.announcement().as_ref() == Some(said) {
            self.is_due = false;
            self.had_ours = true;
        }
        let lost = std::mem::take(&mut self.lost).into_iter();
        let again = lost.map(|(shard, drain)| Request::SetDrain {
            shard,
            drain: Some(drain),
        });
        again.collect()
    }
}

/// In words, how another gateway's topology differs from ours.
fn difference(ours: &[Shard], theirs: &[Shard]) -> String {
    let by_id = |shards: &[Shard]| -> BTreeMap<ShardId, Shard> {
        let shards = shards.iter().map(|shard| (shard.id.clone(), shard.clone()));
        shards.collect()
    };
    let (ours, theirs) = (by_id(ours), by_id(theirs));
    let mut parts = Vec::new();
    for (id, our) in &ours {
        match theirs.get(id) {
            None => parts.push(format!("`{id}` only here")),
            Some(their) if their == our => {}
            Some(their) => parts.push(format!(
                "`{id}` here {}, there {}",
                in_words(our),
                in_words(their)
            )),
        }
    }
    let only_there = theirs.keys().filter(|id| !ours.contains_key(*id));
    parts.extend(only_there.map(|id| format!("`{id}` only there")));
    parts.join("; ")
}

fn in_words(shard: &Shard) -> String {
    let state = match shard.state {
        ShardState::Active => "active",
        ShardState::Draining => "draining",
    };
    format!("{} weight {} {state}", shard.url, shard.weight)
}

#[cfg(test)]
mod tests {
    use super::super::picture::tests::view;
    use super::*;

    fn shards(ids: &[&str]) -> Vec<Shard> {
        let shard = |id: &&str| Shard {
            id: ShardId::new(*id),
            url: format!("http://{id}:1"),
            weight: 1,
            state: ShardState::Active,
        };
        ids.iter().map(shard).collect()
    }

    /// Says what is due, as if it was heard.
    fn speak(announcer: &mut Announcer) -> Option<Vec<Request>> {
        let said = announcer.announcement()?;
        Some(announcer.announced(&said))
    }

    #[test]
    fn it_speaks_at_its_start_and_when_its_topology_changes_and_not_because_of_others() {
        let now = Instant::now();
        let mut announcer = Announcer::new("g1".into(), shards(&["a"]));
        assert_eq!(announcer.handle_view(&view(shards(&["a"]), &[]), now), None);
        assert!(speak(&mut announcer).is_some());
        assert_eq!(speak(&mut announcer), None);

        let other = view(shards(&["a", "b"]), &[]);
        assert_eq!(announcer.handle_view(&other, now), None);
        assert_eq!(announcer.differs(), Some("`b` only there"));
        assert_eq!(announcer.announcement(), None);
        let warning = announcer.handle_view(&other, now + PATIENCE).unwrap();
        assert_eq!(warning, "`b` only there");
        assert_eq!(announcer.handle_view(&other, now + PATIENCE * 9), None);

        announcer.set_ours(shards(&["a", "b"]));
        assert!(speak(&mut announcer).is_some());
        announcer.handle_view(&other, now);
        assert_eq!(announcer.differs(), None);
        announcer.set_ours(shards(&["a", "b"]));
        assert_eq!(speak(&mut announcer), None);
    }

    #[test]
    fn it_speaks_again_once_the_data_is_lost_and_repeats_the_orders_that_were_lost_with_it() {
        let now = Instant::now();
        let mut announcer = Announcer::new("g1".into(), shards(&["a"]));
        speak(&mut announcer);
        let mut drained = view(shards(&["a"]), &[]);
        let drain = Drain {
            deadline_unix_ms: Some(7),
        };
        drained.drains.push((ShardId::new("a"), drain.clone()));
        announcer.handle_view(&drained, now);
        assert_eq!(speak(&mut announcer), None);

        let mut lost = view(Vec::new(), &[]);
        lost.directory = DirectoryIncarnation(2);
        announcer.handle_view(&lost, now);
        let again = Request::SetDrain {
            shard: ShardId::new("a"),
            drain: Some(drain),
        };
        assert_eq!(speak(&mut announcer), Some(vec![again]));

        // A replica that was behind: only who was heard before speaks.
        let mut stale = view(shards(&["b"]), &[]);
        stale.directory = DirectoryIncarnation(3);
        announcer.handle_view(&stale, now);
        assert_eq!(speak(&mut announcer), Some(vec![]));
        announcer.handle_view(&stale, now);
        assert_eq!(speak(&mut announcer), None, "not in turn with another one");
        stale.directory = DirectoryIncarnation(4);
        announcer.handle_view(&stale, now);
        assert_eq!(speak(&mut announcer), None, "the other one was heard there");
    }

    #[test]
    fn a_difference_is_told_in_words() {
        let mut other = shards(&["a", "c"]);
        other[0].weight = 3;
        assert_eq!(
            difference(&shards(&["a", "b"]), &other),
            "`a` here http://a:1 weight 1 active, there http://a:1 weight 3 active; `b` only here; \
             `c` only there"
        );
    }
}
