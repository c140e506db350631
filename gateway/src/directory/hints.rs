//! Where rooms were last seen.
//!
//! Owns: a bounded table from room to shard. Must not: be believed. A hint saves one hop; a wrong one
//! costs one, because the shard that is asked knows better.
//!
//! Because it may be wrong it can be small: no names, but 47 bits of a keyed hash of each, eight to a
//! cache line, so that a lookup among a million rooms waits for memory once. Two rooms with the same
//! bits (one lookup in 10⁸ at a million rooms) are a wrong hint. A map with names in it, such as a
//! cache crate's, waits for memory several times: with one of those `benches/hints.rs` measured 470 ns
//! a lookup and 106 bytes a room, with this one 190 ns and 17 bytes in the same hour.

use affinity::{RoomKey, ShardId};
use arc_swap::ArcSwap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Rooms that are remembered, all but one in a hundred of them. The table has two slots for each, of 8
/// bytes, and grows up to here as rooms come. Beyond, a new room takes the place of another one,
/// which is asked for once more than needed.
pub(crate) const HINTS_MAX: usize = 1_000_000;

/// Hints in one cache line.
const SLOTS: usize = 8;
/// Cache lines of an empty table: 64 KiB.
const BUCKETS_MIN: usize = 1 << 10;
/// Cache lines of a full one: 16 MiB.
const BUCKETS_MAX: usize = (2 * HINTS_MAX / SLOTS).next_power_of_two();
/// Bits of a slot that number the shard, from 1; 0 is an empty slot.
const SHARD_BITS: u32 = 17;
const SHARD_MASK: u64 = (1 << SHARD_BITS) - 1;
/// Most names of shards ever seen. A further one gets no hints before the next start.
const SHARDS_MAX: usize = 100_000;

const _: () = assert!(SHARDS_MAX < SHARD_MASK as usize);

/// Where rooms were last seen. All methods may be called by all threads at once; one that is
/// overtaken by another one's growing of the table is lost, which is one more wrong hint.
pub struct Hints {
    /// Names are chosen by clients: without a key they could be made to collide.
    hasher: RandomState,
    table: ArcSwap<Table>,
    names: ArcSwap<Vec<ShardId>>,
    /// Held to grow the table or the names.
    growing: Mutex<()>,
}

struct Table {
    buckets: Box<[Bucket]>,
    used: AtomicUsize,
}

#[repr(align(64))]
#[derive(Default)]
struct Bucket([AtomicU64; SLOTS]);

impl Default for Hints {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            table: ArcSwap::from_pointee(Table::new(BUCKETS_MIN)),
            names: ArcSwap::default(),
            growing: Mutex::new(()),
        }
    }
}

impl Hints {
    /// The shard that had the room when it was last seen.
    pub fn get(&self, room: &RoomKey) -> Option<ShardId> {
        let tag = self.tag(room);
        let table = self.table.load();
        let slots = table.bucket(tag)?.0.iter();
        let mut values = slots.map(|slot| slot.load(Ordering::Relaxed));
        let found = values.find(|value| is_of(*value, tag))?;
        let number = usize::try_from(found & SHARD_MASK).ok()?;
        self.names.load().get(number.checked_sub(1)?).cloned()
    }

    /// The room is on this shard.
    pub fn learn(&self, room: &RoomKey, shard: &ShardId) {
        let Some(number) = self.number(shard) else {
            return;
        };
        let tag = self.tag(room);
        let table = self.table.load();
        if table.learn(tag, tag | number) && table.is_crowded() {
            self.grow();
        }
    }

    /// The room is not on this shard.
    pub fn forget(&self, room: &RoomKey, shard: &ShardId) {
        let names = self.names.load();
        let Some(index) = names.iter().position(|name| name == shard) else {
            return;
        };
        let tag = self.tag(room);
        let value = tag | numbered(index);
        let table = self.table.load();
        for slot in table.bucket(tag).into_iter().flat_map(|bucket| &bucket.0) {
            let (relaxed, empty) = (Ordering::Relaxed, 0);
            if slot
                .compare_exchange(value, empty, relaxed, relaxed)
                .is_ok()
            {
                table.used.fetch_sub(1, relaxed);
            }
        }
    }

    /// How many rooms are remembered, about.
    pub fn len(&self) -> usize {
        self.table.load().used.load(Ordering::Relaxed)
    }

    /// Whether no room is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn tag(&self, room: &RoomKey) -> u64 {
        self.hasher.hash_one(room.as_bytes()) & !SHARD_MASK
    }

    fn number(&self, shard: &ShardId) -> Option<u64> {
        let known = |names: &[ShardId]| names.iter().position(|name| name == shard);
        if let Some(index) = known(&self.names.load()) {
            return Some(numbered(index));
        }
        let _alone = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let names = self.names.load_full();
        if let Some(index) = known(&names) {
            return Some(numbered(index));
        }
        if names.len() >= SHARDS_MAX {
            return None;
        }
        let mut more = names.to_vec();
        more.push(shard.clone());
        self.names.store(Arc::new(more));
        Some(numbered(names.len()))
    }

    fn grow(&self) {
        let _alone = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.table.load_full();
        if !before.is_crowded() {
            return;
        }
        let after = Table::new(before.buckets.len() * 4);
        for slot in before.buckets.iter().flat_map(|bucket| &bucket.0) {
            let value = slot.load(Ordering::Relaxed);
            if value != 0 {
                after.learn(value & !SHARD_MASK, value);
            }
        }
        self.table.store(Arc::new(after));
    }
}

fn numbered(index: usize) -> u64 {
    u64::try_from(index).unwrap_or(u64::MAX).saturating_add(1) & SHARD_MASK
}

fn is_of(value: u64, tag: u64) -> bool {
    value != 0 && value & !SHARD_MASK == tag
}

impl Table {
    fn new(buckets: usize) -> Self {
        let buckets = buckets.min(BUCKETS_MAX);
        Self {
            buckets: (0..buckets).map(|_| Bucket::default()).collect(),
            used: AtomicUsize::new(0),
        }
    }

    fn bucket(&self, tag: u64) -> Option<&Bucket> {
        // The number of buckets is a power of two.
        let mask = self.buckets.len().checked_sub(1)?;
        let index = usize::try_from(tag >> SHARD_BITS).unwrap_or(usize::MAX) & mask;
        self.buckets.get(index)
    }

    /// True if there is one more now.
    fn learn(&self, tag: u64, value: u64) -> bool {
        let Some(Bucket(slots)) = self.bucket(tag) else {
            return false;
        };
        let with = |wanted: &dyn Fn(u64) -> bool| {
            let mut slots = slots.iter();
            slots.find(|slot| wanted(slot.load(Ordering::Relaxed)))
        };
        if let Some(slot) = with(&|known| is_of(known, tag)) {
            if slot.load(Ordering::Relaxed) != value {
                slot.store(value, Ordering::Relaxed);
            }
            return false;
        }
        if let Some(slot) = with(&|known| known == 0) {
            slot.store(value, Ordering::Relaxed);
            self.used.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        // Bits that chose neither the bucket nor anything else yet choose who goes.
        let victim = usize::try_from(tag >> 61).unwrap_or(0) % SLOTS;
        if let Some(slot) = slots.get(victim) {
            slot.store(value, Ordering::Relaxed);
        }
        false
    }

    fn is_crowded(&self) -> bool {
        let slots = self.buckets.len() * SLOTS;
        self.buckets.len() < BUCKETS_MAX && self.used.load(Ordering::Relaxed) > slots / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use affinity::RoomCase;

    fn room(name: &str) -> RoomKey {
        RoomKey::from_claim(name, RoomCase::Sensitive).unwrap()
    }

    #[test]
    fn the_last_word_counts_and_only_the_named_shard_is_forgotten() {
        let hints = Hints::default();
        let (a, b) = (ShardId::new("a"), ShardId::new("b"));
        assert_eq!(hints.get(&room("standup")), None);
        hints.learn(&room("standup"), &a);
        hints.learn(&room("standup"), &b);
        assert_eq!(hints.len(), 1);
        hints.forget(&room("standup"), &a);
        assert_eq!(hints.get(&room("standup")), Some(b.clone()));
        hints.forget(&room("standup"), &b);
        assert_eq!(hints.get(&room("standup")), None);
        assert!(hints.is_empty());
    }

    #[test]
    fn nearly_all_rooms_are_remembered_while_the_table_grows() {
        let hints = Hints::default();
        let shards = ["a", "b", "c"].map(ShardId::new);
        let rooms = 20_000;
        for n in 0..rooms {
            hints.learn(&room(&format!("room-{n}")), &shards[n % 3]);
        }
        assert!(hints.table.load().buckets.len() > BUCKETS_MIN);
        let right = (0..rooms)
            .filter(|n| hints.get(&room(&format!("room-{n}"))).as_ref() == Some(&shards[n % 3]))
            .count();
        assert!(right > rooms * 98 / 100, "{right}");
        let unknown = (0..rooms).filter(|n| hints.get(&room(&format!("other-{n}"))).is_some());
        assert_eq!(unknown.count(), 0);
    }

    #[test]
    fn a_full_table_takes_new_rooms_and_no_more_memory() {
        let table = Table::new(2);
        for n in 1..1_000_u64 {
            let tag = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) & !SHARD_MASK;
            table.learn(tag, tag | 1);
            let slots = &table.bucket(tag).unwrap().0;
            let mut values = slots.iter().map(|slot| slot.load(Ordering::Relaxed));
            assert!(values.any(|value| is_of(value, tag)), "the newest is known");
        }
        assert_eq!(table.used.load(Ordering::Relaxed), 2 * SLOTS);
    }
}
