//! What must be true of every history. Takes nothing from the code under test except its belief.
//!
//! Owns: who was live in which room and when, in true time, and what follows from it. Must not: look
//! into the directory or the machines.
//!
//! A shard that stood still together with its clock cannot know that its lease has lapsed until it
//! hears so, or until the rest of its lease is over by its own clock. For that long its belief is
//! *excused*: it may be wrong, and then counts for nothing.

use affinity::directory::Epoch;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Two shards were live for one room at the same time.
    Overlap,
    /// A room came alive under an epoch that was not above all before.
    EpochNotNew,
    /// A room came alive at another shard, and its owner before neither gave it up nor lost its lease.
    MovedWithoutCause,
    /// One join was accepted by two live shards.
    AcceptedTwice,
    /// A join was accepted by a shard that was not live.
    AcceptedByNoOwner,
    /// A room was lost although nothing had happened that could cost it.
    LostWithoutCause,
    /// Everything was well again, and a client was not let in.
    Starved,
    /// The directory names another owner than the one that is live, although all is well.
    Disagreement,
    /// A machine asks to be woken at once, for ever.
    Spins,
}

/// The first thing that went wrong in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What.
    pub kind: Kind,
    /// When, milliseconds of true time.
    pub at_ms: u64,
    /// Where and who.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {} ms: {}", self.kind, self.at_ms, self.text)
    }
}

/// A shard that believes to own a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) shard: usize,
    /// Which process of it.
    pub(crate) life: u32,
    pub(crate) epoch: Epoch,
    pub(crate) excused: bool,
}

impl Owner {
    fn is(&self, other: &Self) -> bool {
        (self.shard, self.life, self.epoch) == (other.shard, other.life, other.epoch)
    }
}

#[derive(Clone, Debug, Default)]
struct Room {
    /// Who is live now.
    live: Option<Owner>,
    /// Who was live last.
    last: Option<Owner>,
    highest: Epoch,
    /// Shards in the order in which they were live, each once in a row.
    history: Vec<usize>,
    /// It was live at a shard that was killed then, and nobody was let in since.
    bereaved_us: Option<u64>,
}

#[derive(Clone, Debug)]
pub(crate) struct Checker {
    rooms: Vec<Room>,
    /// Claims that were given up or lost, for a reason that was told.
    ended: BTreeSet<(usize, usize, u32, u64)>,
    dead: BTreeSet<(usize, u32)>,
    /// Owners that were followed by somebody else before their end was told: a process that stands
    /// still tells it later.
    untold: Vec<(usize, Owner)>,
    accepted: BTreeMap<u64, Vec<(usize, Owner)>>,
    pub(crate) rehomed_ms: Vec<u64>,
    pub(crate) excused: u64,
    pub(crate) intervals: u64,
    pub(crate) violation: Option<Violation>,
}

impl Checker {
    pub(crate) fn new(rooms: usize) -> Self {
        Self {
            rooms: vec![Room::default(); rooms],
            ended: BTreeSet::new(),
            dead: BTreeSet::new(),
            untold: Vec::new(),
            accepted: BTreeMap::new(),
            rehomed_ms: Vec::new(),
            excused: 0,
            intervals: 0,
            violation: None,
        }
    }

    pub(crate) fn report(&mut self, kind: Kind, now_us: u64, text: String) {
        self.violation.get_or_insert(Violation {
            kind,
            at_ms: now_us / 1_000,
            text,
        });
    }

    /// All who believe to own `number` at this moment.
    pub(crate) fn observe(&mut self, number: usize, owners: &[Owner], now_us: u64) {
        let mut owners = owners.to_vec();
        if owners.len() > 1 {
            // Whoever is excused may be wrong; if all are, the last claim is right.
            let right = owners
                .iter()
                .copied()
                .max_by_key(|owner| (!owner.excused, owner.epoch));
            let before = owners.len();
            owners.retain(|owner| !owner.excused || Some(*owner) == right);
            self.excused += u64::from(owners.len() < before);
        }
        if owners.len() > 1 {
            return self.report(
                Kind::Overlap,
                now_us,
                format!("room {number} is live on {owners:?}"),
            );
        }
        let Some(room) = self.rooms.get_mut(number) else {
            return;
        };
        // The only one may be wrong too: the room was claimed and given back meanwhile.
        let is_same = |owner: &Owner| room.last.is_some_and(|last| last.is(owner));
        let owner = owners.first().copied();
        let owner = owner.filter(|o| !o.excused || is_same(o) || o.epoch > room.highest);
        let unchanged = match (&room.live, &owner) {
            (None, None) => true,
            (Some(before), Some(owner)) => before.is(owner),
            _ => false,
        };
        room.live = owner;
        if unchanged {
            return;
        }
        if let Some(owner) = owner {
            self.begins(number, owner, now_us);
        }
    }

    fn begins(&mut self, number: usize, owner: Owner, now_us: u64) {
        let Some(room) = self.rooms.get_mut(number) else {
            return;
        };
        let before = room.last.replace(owner);
        // A transfer that did not happen: as before.
        if before.is_some_and(|before| before.is(&owner)) {
            return;
        }
        self.intervals += 1;
        if room.history.last() != Some(&owner.shard) {
            room.history.push(owner.shard);
        }
        let highest = room.highest;
        room.highest = highest.max(owner.epoch);
        if owner.epoch <= highest {
            let text = format!("room {number}: {owner:?} after {highest:?}");
            self.report(Kind::EpochNotNew, now_us, text);
        }
        if let Some(before) = before
            && !self.is_told(number, &before)
        {
            self.untold.push((number, before));
        }
    }

    fn is_told(&self, room: usize, owner: &Owner) -> bool {
        self.dead.contains(&(owner.shard, owner.life))
            || self
                .ended
                .contains(&(room, owner.shard, owner.life, owner.epoch.0))
    }

    /// The claim is over, and its owner says why.
    pub(crate) fn ended(&mut self, room: usize, shard: usize, life: u32, epoch: Epoch) {
        self.ended.insert((room, shard, life, epoch.0));
    }

    /// The process is gone; in some rooms there were people.
    pub(crate) fn died(&mut self, shard: usize, life: u32, bereaved: &[usize], now_us: u64) {
        self.dead.insert((shard, life));
        for number in bereaved {
            if let Some(room) = self.rooms.get_mut(*number)
                && room
                    .live
                    .is_some_and(|live| (live.shard, live.life) == (shard, life))
            {
                room.bereaved_us.get_or_insert(now_us);
            }
        }
    }

    /// A client was let in.
    pub(crate) fn accepted(&mut self, join: u64, number: usize, owner: Owner, now_us: u64) {
        let Some(room) = self.rooms.get_mut(number) else {
            return;
        };
        if let Some(since) = room.bereaved_us.take() {
            self.rehomed_ms.push((now_us - since) / 1_000);
        }
        if !owner.excused && !room.live.is_some_and(|live| live.is(&owner)) {
            let text = format!("join {join} of room {number} by {owner:?}");
            self.report(Kind::AcceptedByNoOwner, now_us, text);
        }
        self.accepted.entry(join).or_default().push((number, owner));
    }

    /// Looks at all that have accepted `join`: `is_live` says who still is.
    pub(crate) fn check_join(
        &mut self,
        join: u64,
        is_live: impl Fn(usize, &Owner) -> bool,
        now_us: u64,
    ) {
        let Some(by) = self.accepted.get(&join) else {
            return;
        };
        let live: Vec<&(usize, Owner)> = by.iter().filter(|(room, o)| is_live(*room, o)).collect();
        let first = live.first().map(|(_, owner)| *owner);
        if live
            .iter()
            .any(|(_, owner)| !first.is_some_and(|first| first.is(owner)))
        {
            let text = format!("join {join}: {live:?}");
            self.report(Kind::AcceptedTwice, now_us, text);
        }
    }

    /// Everything has had its time: whoever was followed by somebody else has said why.
    pub(crate) fn finish(&mut self, now_us: u64) {
        let untold = self.untold.iter().find(|(room, o)| !self.is_told(*room, o));
        if let Some((room, owner)) = untold {
            let text = format!("room {room} left {owner:?}, which has not given it up");
            self.report(Kind::MovedWithoutCause, now_us, text);
        }
    }

    pub(crate) fn live(&self, room: usize) -> Option<Owner> {
        self.rooms.get(room)?.live
    }

    pub(crate) fn histories(&self) -> Vec<Vec<usize>> {
        self.rooms.iter().map(|room| room.history.clone()).collect()
    }
}
