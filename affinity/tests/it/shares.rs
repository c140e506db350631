//! How evenly and how stably idle rooms are placed.

use affinity::{RoomCase, RoomKey, Shard, ShardId, ShardState, Topology};
use std::collections::BTreeMap;

const NAMES: usize = 20_000;

fn topology(weights: &[u32]) -> Topology {
    named("s", weights)
}

fn named(prefix: &str, weights: &[u32]) -> Topology {
    let shard = |(n, weight): (usize, &u32)| Shard {
        id: format!("{prefix}{}", n + 1).into(),
        url: String::new(),
        weight: *weight,
        state: ShardState::Active,
    };
    Topology::new(1, weights.iter().enumerate().map(shard).collect()).unwrap()
}

fn rooms() -> impl Iterator<Item = RoomKey> {
    (0..NAMES).map(|n| RoomKey::from_claim(&format!("room-{n}"), RoomCase::Sensitive).unwrap())
}

fn shares(topology: &Topology) -> BTreeMap<&ShardId, usize> {
    let mut shares = BTreeMap::new();
    for room in rooms() {
        *shares.entry(topology.place(&room).unwrap()).or_default() += 1;
    }
    shares
}

#[test]
fn shares_of_20_000_names_are_within_10_percent_of_the_weights() {
    let sets: [&[u32]; 6] = [
        &[1, 1],
        &[1, 1, 1],
        &[1, 2, 1],
        &[1, 1, 1, 1],
        &[5, 10, 5],
        &[1, 1, 1, 1, 1, 1, 1, 1],
    ];
    for weights in sets {
        assert_shares_follow_weights(&topology(weights));
    }
}

#[test]
fn shares_do_not_depend_on_lucky_shard_ids() {
    for prefix in ["s0", "shard-", "eu-west-", "sfu.", "fra1-", "node_"] {
        for weights in [&[1, 1][..], &[1, 2, 1]] {
            assert_shares_follow_weights(&named(prefix, weights));
        }
    }
}

fn assert_shares_follow_weights(topology: &Topology) {
    let sum: u32 = topology.shards().iter().map(|shard| shard.weight).sum();
    for (shard, share) in shares(topology) {
        let weight = topology.shard(shard).unwrap().weight;
        let ideal = NAMES as f64 * f64::from(weight) / f64::from(sum);
        let off = share as f64 / ideal - 1.0;
        assert!(
            off.abs() < 0.10,
            "{shard} of weight {weight}/{sum} has {share} rooms: {off:+.3}"
        );
    }
}

#[test]
fn a_new_shard_takes_its_share_and_nothing_else_moves() {
    for before in 1..8_usize {
        let old = topology(&vec![1; before]);
        let new = topology(&vec![1; before + 1]);
        let newcomer = ShardId::from(format!("s{}", before + 1));
        let mut moved = 0;
        for room in rooms() {
            let (from, to) = (old.place(&room).unwrap(), new.place(&room).unwrap());
            if from != to {
                assert_eq!(to, &newcomer, "{room} moved from {from}");
                moved += 1;
            }
        }
        let ratio = f64::from(moved) * (before as f64 + 1.0) / NAMES as f64;
        assert!(
            (0.85..=1.15).contains(&ratio),
            "{before} shards: {moved} rooms moved, {ratio:.3}"
        );
    }
}

#[test]
fn a_drained_shard_gives_its_rooms_away_and_nothing_else_moves() {
    let old = topology(&[1, 1, 1, 1]);
    let mut shards = old.shards().to_vec();
    shards[1].state = ShardState::Draining;
    let drained = shards[1].id.clone();
    let new = Topology::new(2, shards).unwrap();
    for room in rooms() {
        let (from, to) = (old.place(&room).unwrap(), new.place(&room).unwrap());
        assert!(
            from == to || *from == drained,
            "{room} moved from {from} to {to}"
        );
        assert_ne!(*to, drained);
    }
}
