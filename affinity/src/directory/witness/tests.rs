use super::*;
use crate::directory::LeaseView;
use crate::{Shard, ShardState};

const D1: DirectoryIncarnation = DirectoryIncarnation(1);
const D2: DirectoryIncarnation = DirectoryIncarnation(2);

fn view(directory: DirectoryIncarnation, leases: &[(&str, u64)]) -> View {
    let shard = |id: &str| Shard {
        id: id.into(),
        url: String::new(),
        weight: 1,
        state: ShardState::Active,
    };
    let lease = |(id, seq): &(&str, u64)| LeaseView {
        shard: (*id).into(),
        incarnation: Incarnation(7),
        seq: *seq,
        leaving: false,
        rooms: 0,
    };
    View {
        directory,
        grace: false,
        hold: true,
        generation: 1,
        topology: ["a", "b", "c"].map(shard).to_vec(),
        drains: Vec::new(),
        leases: leases.iter().map(lease).collect(),
        orphaned: Vec::new(),
    }
}

struct Script {
    witness: Witness,
    start: Instant,
}

impl Script {
    fn new() -> Self {
        Self {
            witness: Witness::default(),
            start: Instant::now(),
        }
    }

    /// Sees `view` four times a second from `from` to `to`; what is said then.
    fn sees(&mut self, view: &View, from: u64, to: u64) -> Vec<Request> {
        for ms in (from..=to).step_by(250) {
            let now = self.start + Duration::from_millis(ms);
            self.witness.handle_view(view, now);
        }
        self.requests(to)
    }

    fn requests(&self, ms: u64) -> Vec<Request> {
        self.witness
            .requests(self.start + Duration::from_millis(ms))
    }
}

fn lapse(shard: &str, seq: u64) -> Request {
    Request::Lapse {
        directory: D1,
        shard: shard.into(),
        incarnation: Incarnation(7),
        seq,
    }
}

#[test]
fn a_renewal_that_is_seen_for_a_whole_lease_is_the_last_one() {
    let mut script = Script::new();
    assert_eq!(script.sees(&view(D1, &[("a", 1)]), 0, 2_750), []);
    assert_eq!(script.requests(2_999), []);
    assert_eq!(script.requests(3_000), [lapse("a", 1)]);
    // Another one came since: it counts from when it was seen.
    assert_eq!(script.sees(&view(D1, &[("a", 2)]), 3_000, 5_750), []);
    assert_eq!(script.requests(6_000), [lapse("a", 2)]);
}

#[test]
fn time_in_which_nobody_looked_does_not_count() {
    let mut script = Script::new();
    let same = view(D1, &[("a", 1)]);
    script.sees(&same, 0, 2_500);
    // Slept.
    assert_eq!(script.sees(&same, 4_250, 7_000), []);
    assert_eq!(script.requests(7_250), [lapse("a", 1)]);
}

#[test]
fn what_was_seen_in_an_earlier_life_of_the_directory_does_not_count() {
    let mut script = Script::new();
    script.sees(&view(D1, &[("a", 1)]), 0, 2_750);
    assert_eq!(script.sees(&view(D2, &[("a", 1)]), 2_750, 5_500), []);
}

fn grace(leases: &[(&str, u64)]) -> View {
    View {
        grace: true,
        ..view(D1, leases)
    }
}

#[test]
fn grace_ends_when_most_shards_have_been_there_for_a_lease() {
    let end = [Request::EndGrace { directory: D1 }];
    let mut script = Script::new();
    let one: Vec<View> = (0..60).map(|seq| grace(&[("a", seq)])).collect();
    for (n, view) in one.iter().enumerate() {
        let ms = n as u64 * 250;
        assert_eq!(script.sees(view, ms, ms), [], "one of three, {ms} ms");
    }
    let missing: Vec<&ShardId> = script.witness.awaited().collect();
    assert_eq!(missing, [&ShardId::from("b"), &ShardId::from("c")]);
    let mut said = Vec::new();
    for n in 60_u64..=72 {
        said = script.sees(&grace(&[("a", n), ("b", n)]), n * 250, n * 250);
        assert!(said.is_empty() || n == 72, "at {n}");
    }
    assert_eq!(said, end);
}

#[test]
fn without_hold_grace_ends_after_a_lease_whoever_is_there() {
    let mut script = Script::new();
    let view = View {
        hold: false,
        ..grace(&[])
    };
    assert_eq!(script.sees(&view, 0, 2_750), []);
    assert_eq!(
        script.requests(3_000),
        [Request::EndGrace { directory: D1 }]
    );
}

#[test]
fn who_never_comes_is_waited_for_as_long_as_a_hold_can_last() {
    let mut script = Script::new();
    let all = HOLD_MS + LEASE_MS;
    assert_eq!(script.sees(&grace(&[]), 0, all - 250), []);
    let end = [Request::EndGrace { directory: D1 }];
    assert_eq!(script.sees(&grace(&[]), all, all), end);
}

#[test]
fn a_slow_look_is_no_gap() {
    let mut script = Script::new();
    let same = view(D1, &[("a", 1)]);
    for ms in [0, 1_500, 3_000] {
        script.sees(&same, ms, ms);
    }
    assert_eq!(script.requests(3_000), [lapse("a", 1)]);
}

#[test]
fn after_a_gap_grace_counts_from_the_start() {
    let end = [Request::EndGrace { directory: D1 }];
    let mut script = Script::new();
    let alone = View {
        hold: false,
        ..grace(&[])
    };
    script.sees(&alone, 0, 2_500);
    assert_eq!(script.sees(&alone, 4_250, 7_000), []);
    assert_eq!(script.sees(&alone, 7_250, 7_250), end);

    // Who was there before must be seen again.
    let mut script = Script::new();
    script.sees(&grace(&[("a", 1), ("b", 1)]), 0, 2_500);
    for ms in (4_250..12_000).step_by(250) {
        assert_eq!(script.sees(&grace(&[("a", ms)]), ms, ms), []);
    }
}

/// As the directory shows it in grace, with leases of these shards.
fn named(topology: &[&str], leases: &[&str], ms: u64) -> View {
    let leases: Vec<(&str, u64)> = leases.iter().map(|shard| (*shard, ms)).collect();
    let mut view = grace(&leases);
    let first = view.topology[0].clone();
    let shard = |id: &&str| Shard {
        id: (*id).into(),
        ..first.clone()
    };
    view.topology = topology.iter().map(shard).collect();
    view
}

#[test]
fn more_than_half_of_the_shards_that_the_topology_names_end_grace() {
    let ends = |topology: &[&str], leases: &[&str]| {
        let mut script = Script::new();
        let mut said = Vec::new();
        for ms in (0..6_000).step_by(250) {
            said = script.sees(&named(topology, leases, ms), ms, ms);
        }
        !said.is_empty()
    };
    let four = ["a", "b", "c", "d"];
    assert!(ends(&four, &["a", "b", "c"]));
    assert!(!ends(&four, &["a", "b"]), "half");
    assert!(!ends(&four, &["a", "x", "y"]), "not those it does not name");
    assert!(!ends(&[], &["a"]), "nobody knows how many half are");
    assert!(ends(&["a"], &["a"]));
    assert!(
        !ends(&["a", "b"], &["b"]),
        "a may go on alone if it has not heard of b"
    );
}

/// Then whoever goes on without a lease counts the same shards.
#[test]
fn half_is_enough_where_the_topology_has_been_the_same_for_as_long_as_a_hold_can_last() {
    let four = ["a", "b", "c", "d"];
    let stable_ms = HOLD_MS + LEASE_MS;
    let ends_after = |changed_ms: Option<u64>| {
        let mut script = Script::new();
        let before = |topology: &[&str], ms| View {
            grace: false,
            ..named(topology, &four, ms)
        };
        for ms in (0..stable_ms).step_by(1_000) {
            let more = changed_ms.is_some_and(|changed| ms >= changed);
            let topology = if more { &four[..] } else { &four[..3] };
            script.sees(&before(topology, ms), ms, ms);
        }
        // Its data is lost, and nobody has named the shards at first.
        let mut ended = None;
        for ms in (stable_ms..stable_ms + 10_000).step_by(250) {
            let topology = if ms < stable_ms + 1_000 {
                &[]
            } else {
                &four[..]
            };
            let view = View {
                directory: D2,
                ..named(topology, &["c", "d"], ms)
            };
            if !script.sees(&view, ms, ms).is_empty() {
                ended.get_or_insert(ms - stable_ms);
            }
        }
        ended
    };
    assert_eq!(ends_after(Some(0)), Some(LEASE_MS));
    assert_eq!(ends_after(Some(5_000)), Some(5_000), "as soon as it is old");
    assert_eq!(ends_after(Some(60_000)), None);
    assert_eq!(ends_after(None), None, "d is new");
}

/// They do not come back, whoever looks: their time goes on.
#[test]
fn an_ended_life_is_forgotten_after_the_longest_hold_and_a_gap_delays_that_not() {
    let mut ended = view(D1, &[]);
    ended.orphaned.push(("a".into(), Incarnation(7)));
    let mut script = Script::new();
    script.sees(&ended, 0, 1_000);
    let all = HOLD_MS + LEASE_MS;
    assert_eq!(script.sees(&ended, 60_000, 60_000), []);
    assert_eq!(script.requests(all - 1), []);
    let forget = Request::Forget {
        directory: D1,
        shard: "a".into(),
        incarnation: Incarnation(7),
    };
    assert_eq!(script.sees(&ended, all, all), [forget]);
    // One that this life of the directory has, and the one before did not.
    let mut other = view(D2, &[]);
    other.orphaned.clone_from(&ended.orphaned);
    assert_eq!(script.sees(&other, all, all), []);
}
