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
    let missing: Vec<&ShardId> = script.witness.awaited().into_iter().collect();
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

/// The directory had named `before` until its data was lost. Its new life names `after` a second later, and
/// has leases of `here`. When does grace end, milliseconds after the loss?
fn grace_after(age_ms: u64, before: &[&[&str]], after: &[&str], here: &[&str]) -> Option<u64> {
    let mut script = Script::new();
    let part_ms = age_ms / before.len() as u64;
    for ms in (0..age_ms).step_by(1_000) {
        let topology = before[(ms / part_ms) as usize];
        let view = View {
            grace: false,
            ..named(topology, topology, ms)
        };
        script.sees(&view, ms, ms);
    }
    (age_ms..age_ms + 10_000).step_by(250).find_map(|ms| {
        let topology = if ms < age_ms + 1_000 { &[] } else { after };
        let view = View {
            directory: D2,
            ..named(topology, here, ms)
        };
        let said = script.sees(&view, ms, ms);
        (!said.is_empty()).then_some(ms - age_ms)
    })
}

/// Whoever goes on without a lease has heard of one of the topologies that it has seen.
#[test]
fn half_is_enough_for_a_witness_that_has_looked_for_as_long_as_a_hold_can_last() {
    let long = HOLD_MS + LEASE_MS;
    let four: &[&str] = &["a", "b", "c", "d"];
    assert_eq!(grace_after(long, &[four], four, &["c", "d"]), Some(3_000));
    assert_eq!(grace_after(long, &[four], four, &["d"]), None);
    let young = long - 5_000;
    assert_eq!(
        grace_after(young, &[four], four, &["c", "d"]),
        Some(5_000),
        "as soon as it has looked for long enough"
    );
    assert_eq!(grace_after(60_000, &[four], four, &["c", "d"]), None);
}

#[test]
fn half_of_each_topology_of_that_time_must_be_there() {
    let long = 2 * (HOLD_MS + LEASE_MS);
    let (one, two): (&[&str], &[&str]) = (&["a"], &["a", "b"]);
    let three: &[&str] = &["a", "b", "c"];
    assert_eq!(
        grace_after(long, &[one], two, &["b"]),
        None,
        "a knows of itself alone"
    );
    assert_eq!(grace_after(long, &[one], three, &["b", "c"]), None);
    assert_eq!(grace_after(long, &[one], three, &["a", "c"]), Some(3_000));
    assert_eq!(
        grace_after(long, &[three], one, &["a"]),
        None,
        "b and c, though removed"
    );
    assert_eq!(grace_after(long, &[three], one, &["a", "b"]), Some(3_000));
    let later = [one, two, two, two];
    assert_eq!(
        grace_after(2 * long, &later, two, &["b"]),
        Some(3_000),
        "too long ago"
    );
    assert_eq!(
        grace_after(60_000, &[one], three, &["b", "c"]),
        None,
        "and for the young"
    );
}

/// What does not fit into its memory counts as missed.
#[test]
fn many_changes_make_a_witness_young_again() {
    let names: Vec<String> = (0..20).map(|n| format!("x{n}")).collect();
    let four = ["a", "b", "c", "d"];
    let changed: Vec<Vec<&str>> = names
        .iter()
        .map(|name| [&four[..], &[name.as_str()]].concat())
        .collect();
    let long = HOLD_MS + LEASE_MS;
    let mut before: Vec<&[&str]> = vec![&four; 200];
    before.extend(changed.iter().map(Vec::as_slice));
    let here = ["c", "d", "x1"];
    assert_eq!(grace_after(2 * long, &before, &four, &here), None);
    assert_eq!(grace_after(2 * long, &[&four], &four, &here), Some(3_000));
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
