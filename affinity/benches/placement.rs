//! What one request pays for affinity: the room key from its path, and the candidate shard.
#![allow(missing_docs, clippy::expect_used)]

use affinity::{RoomCase, RoomKey, Shard, ShardState, Topology};
use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;

fn topology() -> Topology {
    let shard = |n: u32| Shard {
        id: format!("s{n}").into(),
        url: format!("http://10.0.0.{n}:7880"),
        weight: 1,
        state: ShardState::Active,
    };
    Topology::new(1, (1..=8).map(shard).collect()).expect("eight plain shards")
}

fn key_and_placement(c: &mut Criterion) {
    let topology = topology();
    for (name, segment) in [
        ("plain", "weekly-standup"),
        ("encoded", "team%20standup%202"),
        ("accented", "w%C3%B6chentliches-t%C3%A4glich"),
    ] {
        c.bench_function(
            &format!("room key + placement, 8 shards, {name}"),
            |bencher| {
                bencher.iter(|| {
                    let key = RoomKey::from_path_segment(black_box(segment), RoomCase::Sensitive);
                    key.is_ok_and(|key| topology.place(&key).is_some())
                });
            },
        );
    }
}

fn ring(c: &mut Criterion) {
    c.bench_function("build a topology of 8 shards", |bencher| {
        bencher.iter(topology)
    });
}

criterion_group!(benches, key_and_placement, ring);
criterion_main!(benches);
