//! Counting what must not be: rooms that are live on two shards, and shards that serve a room which
//! the directory gives to somebody else, or to nobody.
//!
//! Owns: the questions, and what of the answers is believed. Must not: do anything about it; the
//! numbers are there to be looked at, and to be 0.
//!
//! Answers of different shards are not of one moment: a room that moves between two questions is on
//! both lists. So a suspicion is asked about again, in the order A, B, A: where A is live before and
//! after B under one and the same claim, it was live while B was.

use crate::directory::{Lookout, as_gauge};
use crate::roll_call::{RollCall, RoomOfShard};
use affinity::directory::{Binding, LOOKUP_MAX, Reply, Request};
use affinity::{RoomKey, Shard};
use arc_swap::ArcSwap;
use futures::future::join_all;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tracing::error;

/// How often all shards are asked.
const EVERY: Duration = Duration::from_secs(5);
/// How long after the first a disagreement with the directory must be seen again: longer than any
/// claim, release or hand-over takes.
const AGAIN: Duration = Duration::from_secs(1);
/// Most rooms that are named in a list; the gauges count all.
const NAMED_MAX: usize = 100;

/// Rooms of one shard, with the claim under which it is live.
pub(crate) type Live = BTreeMap<String, u64>;

/// A room that two shards were live for at one time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Overlap {
    pub(crate) room: String,
    /// Who, and under which claims.
    pub(crate) shards: [(String, u64); 2],
}

/// A room that a shard serves against the directory's word.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Disagreement {
    pub(crate) room: String,
    /// Who serves it.
    pub(crate) shard: String,
    /// Under which claim.
    pub(crate) epoch: u64,
    /// Who owns it, says the directory.
    pub(crate) owner: Option<String>,
}

/// What the last round has found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    overlaps: Vec<Overlap>,
    disagreements: Vec<Disagreement>,
}

impl Report {
    /// Of all, as many as fit into an answer.
    pub(crate) fn named_overlaps(&self) -> &[Overlap] {
        self.overlaps.get(..NAMED_MAX).unwrap_or(&self.overlaps)
    }

    /// Of all, as many as fit into an answer.
    pub(crate) fn named_disagreements(&self) -> &[Disagreement] {
        let all = &self.disagreements;
        all.get(..NAMED_MAX).unwrap_or(all)
    }
}

/// Asks around. One for each gateway.
pub(crate) struct Ghosts {
    pub(crate) calls: Arc<RollCall>,
    pub(crate) lookout: Arc<Lookout>,
    pub(crate) report: Arc<ArcSwap<Report>>,
}

impl Ghosts {
    /// Asks for as long as it is polled.
    pub(crate) async fn run(&self) {
        let mut clock = tokio::time::interval(EVERY);
        show(&Report::default());
        loop {
            clock.tick().await;
            let report = self.round().await;
            for overlap in report.named_overlaps() {
                error!("a room is live on two shards, report this: {overlap:?}");
            }
            show(&report);
            self.report.store(Arc::new(report));
        }
    }

    async fn round(&self) -> Report {
        let shards = self.calls.shards();
        let asked = shards.iter().map(|shard| self.ask(shard));
        let answers = join_all(asked).await.into_iter();
        let named = shards.iter().map(|shard| shard.id.to_string());
        let lives: BTreeMap<String, Live> = named
            .zip(answers)
            .filter_map(|(id, live)| Some((id, live?)))
            .collect();
        self.learn(&lives);
        Report {
            overlaps: self.overlaps(&shards, &lives).await,
            disagreements: self.disagreements(&shards, &lives).await,
        }
    }

    async fn ask(&self, shard: &Shard) -> Option<Live> {
        self.calls.rooms_of(shard).await.ok().map(live)
    }

    /// A gateway that has just started, perhaps while the directory is silent, learns here where the
    /// rooms are.
    fn learn(&self, lives: &BTreeMap<String, Live>) {
        for (shard, live) in lives {
            let shard = shard.as_str().into();
            for name in live.keys() {
                if let Ok(room) = RoomKey::try_from(name.clone()) {
                    self.lookout.hints().learn(&room, &shard);
                }
            }
        }
    }

    /// Asks again about all pairs of shards that share a room.
    async fn overlaps(&self, shards: &[Shard], lives: &BTreeMap<String, Live>) -> Vec<Overlap> {
        let mut found = Vec::new();
        for (a, b) in suspects(lives) {
            let shard = |id: &str| shards.iter().find(|shard| shard.id.as_str() == id);
            let (Some(one), Some(other)) = (shard(&a), shard(&b)) else {
                continue;
            };
            let before = self.ask(one).await;
            let between = self.ask(other).await;
            let after = self.ask(one).await;
            if let (Some(before), Some(between), Some(after)) = (before, between, after) {
                found.extend(overlapping((&a, &before, &after), (&b, &between)));
            }
        }
        found.sort();
        found
    }

    /// What differs from the directory's word now and [`AGAIN`] later. While the directory collects
    /// what it lost, it has no word.
    async fn disagreements(
        &self,
        shards: &[Shard],
        lives: &BTreeMap<String, Live>,
    ) -> Vec<Disagreement> {
        let Some(first) = self.compare(lives).await.filter(|found| !found.is_empty()) else {
            return Vec::new();
        };
        tokio::time::sleep(AGAIN).await;
        let suspected: BTreeSet<&str> = first.iter().map(|found| found.shard.as_str()).collect();
        let mut again = BTreeMap::new();
        for shard in shards {
            let id = shard.id.as_str();
            if suspected.contains(id)
                && let Some(live) = self.ask(shard).await
            {
                again.insert(id.to_owned(), live);
            }
        }
        let Some(second) = self.compare(&again).await else {
            return Vec::new();
        };
        confirmed(&first, second)
    }

    /// `None` if the directory has no word.
    async fn compare(&self, lives: &BTreeMap<String, Live>) -> Option<Vec<Disagreement>> {
        let entries: Vec<(&String, &String, u64)> = lives
            .iter()
            .flat_map(|(shard, live)| live.iter().map(move |(room, epoch)| (room, shard, *epoch)))
            .collect();
        let mut found = Vec::new();
        for part in entries.chunks(LOOKUP_MAX) {
            // A name that is no room is nobody's.
            let keys = part
                .iter()
                .map(|(room, ..)| RoomKey::try_from((*room).clone()).ok());
            let rooms: Vec<RoomKey> = keys.clone().flatten().collect();
            let Ok(Reply::Bindings(owners)) = self.lookout.call(Request::Lookup { rooms }).await
            else {
                return None;
            };
            let mut owners = owners.into_iter();
            for ((room, shard, epoch), key) in part.iter().zip(keys) {
                let owner = key.and_then(|_| owners.next().flatten());
                found.extend(differs(room, shard, *epoch, owner));
            }
        }
        // Asked last: what was looked up before cannot be older than this.
        let Ok(Reply::View(view)) = self.lookout.call(Request::Watch).await else {
            return None;
        };
        (!view.grace).then_some(found)
    }
}

fn show(report: &Report) {
    let gauge = metrics::gauge!("anteroom_rooms_live_on_two_shards");
    gauge.set(as_gauge(report.overlaps.len()));
    let gauge = metrics::gauge!("anteroom_directory_disagreements");
    gauge.set(as_gauge(report.disagreements.len()));
}

fn live(rooms: Vec<RoomOfShard>) -> Live {
    let live = rooms.into_iter().filter(|room| room.live);
    live.map(|room| (room.room, room.epoch)).collect()
}

/// Pairs of shards that have a room in common, each pair once.
fn suspects(lives: &BTreeMap<String, Live>) -> BTreeSet<(String, String)> {
    let mut first: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut pairs = BTreeSet::new();
    for (shard, live) in lives {
        for room in live.keys() {
            let before = first.entry(room).or_default();
            for other in before.iter() {
                pairs.insert(((*other).to_owned(), shard.clone()));
            }
            before.push(shard);
        }
    }
    pairs
}

/// Rooms that `a` was live for, before and after `b` was asked, while `b` was.
fn overlapping(
    (a, before, after): (&str, &Live, &Live),
    (b, between): (&str, &Live),
) -> Vec<Overlap> {
    let held = before
        .iter()
        .filter(|(room, epoch)| after.get(*room) == Some(*epoch));
    let shared = held.filter_map(|(room, epoch)| {
        let other = between.get(room)?;
        Some(Overlap {
            room: room.clone(),
            shards: [(a.to_owned(), *epoch), (b.to_owned(), *other)],
        })
    });
    shared.collect()
}

/// Whether the directory gives the room to another shard, or to nobody.
fn differs(room: &str, shard: &str, epoch: u64, owner: Option<Binding>) -> Option<Disagreement> {
    let owner = owner.map(|binding| binding.shard.to_string());
    (owner.as_deref() != Some(shard)).then(|| Disagreement {
        room: room.to_owned(),
        shard: shard.to_owned(),
        epoch,
        owner,
    })
}

/// Those of the second list that were in the first, under the same claim.
fn confirmed(first: &[Disagreement], second: Vec<Disagreement>) -> Vec<Disagreement> {
    let before = |found: &Disagreement| {
        first.iter().any(|known| {
            known.room == found.room && known.shard == found.shard && known.epoch == found.epoch
        })
    };
    second.into_iter().filter(before).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use affinity::directory::{Epoch, Incarnation};
    use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};
    use std::sync::Mutex;

    fn rooms(rooms: &[(&str, u64)]) -> Live {
        let rooms = rooms
            .iter()
            .map(|(room, epoch)| ((*room).to_owned(), *epoch));
        rooms.collect()
    }

    /// Keeps what gauges say.
    #[derive(Default)]
    struct Gauges(Mutex<BTreeMap<String, f64>>);

    struct OneGauge(Arc<Gauges>, String);

    impl metrics::GaugeFn for OneGauge {
        fn increment(&self, _: f64) {}
        fn decrement(&self, _: f64) {}
        fn set(&self, value: f64) {
            self.0.0.lock().unwrap().insert(self.1.clone(), value);
        }
    }

    struct Recorder(Arc<Gauges>);

    impl metrics::Recorder for Recorder {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            Counter::noop()
        }
        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(Arc::new(OneGauge(self.0.clone(), key.name().to_owned())))
        }
        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    #[test]
    fn the_gauges_read_0_and_can_read_1() {
        let gauges = Arc::new(Gauges::default());
        let mut report = Report::default();
        let read = |report: &Report| {
            metrics::with_local_recorder(&Recorder(gauges.clone()), || show(report));
            let gauges = gauges.0.lock().unwrap();
            let of = |name: &str| gauges.get(name).copied();
            (
                of("anteroom_rooms_live_on_two_shards"),
                of("anteroom_directory_disagreements"),
            )
        };
        assert_eq!(read(&report), (Some(0.0), Some(0.0)));
        report.overlaps = overlapping(
            ("a", &rooms(&[("x", 1)]), &rooms(&[("x", 1)])),
            ("b", &rooms(&[("x", 2)])),
        );
        report.disagreements.extend(differs("x", "a", 1, None));
        assert_eq!(read(&report), (Some(1.0), Some(1.0)));
    }

    #[test]
    fn shards_with_a_room_in_common_are_suspected_once() {
        let lives = [
            ("a", rooms(&[("x", 1), ("y", 2)])),
            ("b", rooms(&[("x", 3), ("y", 4)])),
            ("c", rooms(&[("z", 5)])),
            ("d", rooms(&[("z", 5)])),
        ];
        let lives = lives.map(|(id, live)| (id.to_owned(), live)).into();
        let pairs = suspects(&lives);
        let expected = [("a", "b"), ("c", "d")];
        assert_eq!(pairs, expected.map(|(a, b)| (a.into(), b.into())).into());
    }

    #[test]
    fn an_overlap_needs_one_claim_before_and_after_the_other_shards_answer() {
        let count = |before: &Live, after: &Live, between: &Live| {
            overlapping(("a", before, after), ("b", between)).len()
        };
        let (held, other) = (rooms(&[("x", 1)]), rooms(&[("x", 2)]));
        assert_eq!(count(&held, &held, &other), 1);
        assert_eq!(count(&held, &rooms(&[]), &other), 0, "it has moved to b");
        assert_eq!(count(&rooms(&[]), &held, &other), 0, "it has moved to a");
        assert_eq!(
            count(&held, &rooms(&[("x", 3)]), &other),
            0,
            "there and back"
        );
        assert_eq!(count(&held, &held, &rooms(&[("y", 2)])), 0);
    }

    #[test]
    fn a_disagreement_counts_if_it_is_there_twice_under_one_claim() {
        let binding = |shard: &str| Binding {
            shard: shard.into(),
            incarnation: Incarnation(1),
            epoch: Epoch(1),
        };
        assert_eq!(differs("x", "a", 1, Some(binding("a"))), None);
        let nobody = differs("x", "a", 1, None).unwrap();
        let other = differs("x", "a", 1, Some(binding("b"))).unwrap();
        assert_eq!(other.owner.as_deref(), Some("b"));
        assert_eq!(
            confirmed(std::slice::from_ref(&nobody), vec![other.clone()]),
            [other]
        );
        let later = differs("x", "a", 2, None).unwrap();
        assert_eq!(confirmed(&[nobody], vec![later]), []);
    }
}
