//! What it costs to know where a million rooms are: time of one lookup and memory of one room.
#![allow(missing_docs, clippy::expect_used, clippy::print_stdout, clippy::panic)]

use affinity::{RoomCase, RoomKey, ShardId};
use gateway::Hints;
use std::hint::black_box;
use std::time::Instant;

const ROOMS: usize = 1_000_000;
const SHARDS: usize = 16;
/// Rooms that are asked for: more than any processor cache holds, spread over all.
const ASKED: usize = 200_000;
/// Lookups timed together; the median of all parts counts, since other programs run meanwhile.
const PART: usize = 1_000;
const LOOKUP_NS_MAX: f64 = 200.0;
const ROOM_BYTES_MAX: usize = 200;
/// As Linux counts `/proc/self/statm`.
const PAGE_BYTES: usize = 4096;

/// A name of 24 bytes.
fn room(number: usize) -> RoomKey {
    let name = format!("room-of-the-week-{number:07}");
    assert_eq!(name.len(), 24);
    RoomKey::from_claim(&name, RoomCase::Sensitive).expect("a plain name")
}

/// Bytes of this process in memory.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = statm.split(' ').nth(1).and_then(|text| text.parse().ok());
    pages.map_or(0, |pages: usize| pages * PAGE_BYTES)
}

fn main() {
    let shards: Vec<ShardId> = (0..SHARDS)
        .map(|n| ShardId::new(format!("shard-{n}")))
        .collect();
    let before = resident();
    let hints = Hints::default();
    let begun = Instant::now();
    for number in 0..ROOMS {
        let shard = shards.get(number % SHARDS).expect("one of them");
        hints.learn(&room(number), shard);
    }
    let learned = begun.elapsed().as_nanos() as f64 / ROOMS as f64;
    let bytes = resident().saturating_sub(before) / hints.len();
    println!("hints: {} of {ROOMS} rooms known", hints.len());
    println!("hints: {bytes} bytes a room (limit {ROOM_BYTES_MAX})");
    println!("hints: {learned:.0} ns to make a key and learn it");

    // A stride without a common factor visits all of them in an order that no cache foresees.
    let asked: Vec<RoomKey> = (0..ASKED).map(|n| room(n * 611_953 % ROOMS)).collect();
    let mut times: Vec<u128> = Vec::new();
    let mut found = 0_usize;
    for part in asked.chunks(PART) {
        let begun = Instant::now();
        for room in part {
            found += usize::from(hints.get(black_box(room)).is_some());
        }
        times.push(begun.elapsed().as_nanos());
    }
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    let ns = median as f64 / PART as f64;
    println!("hints: {ns:.0} ns a lookup (limit {LOOKUP_NS_MAX:.0}), {found} of {ASKED} found");

    assert!(
        hints.len() > ROOMS * 98 / 100,
        "too many rooms were forgotten"
    );
    assert!(bytes < ROOM_BYTES_MAX, "{bytes} bytes a room");
    assert!(ns < LOOKUP_NS_MAX, "{ns} ns a lookup");
}
