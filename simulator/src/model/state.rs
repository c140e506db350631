//! States, and what may happen in them.

use super::shard::ShardState;
use crate::variant::Variant;
use affinity::RoomKey;
use affinity::directory::{DirectoryState, Epoch, Request, Witness};
use affinity::ownership::RequestId;
use std::hash::{Hash, Hasher};

pub(super) const SHARDS: usize = 3;
pub(super) const ROOMS: usize = 2;
pub(super) const WITNESSES: usize = 2;
/// A clock goes wrong by no more than a tick within so many.
pub(super) const SLIP_TICKS: u16 = 7;

/// How a shard, or a witness, is connected to the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// Well.
    Open,
    /// Nothing passes.
    Cut,
    /// The next request about this is carried out, its answer comes later.
    LateReply(Topic),
    /// The next request about this is carried out later.
    LateRequest(Topic),
}

/// What a late request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// A lease.
    Renew,
    /// A room that is wanted.
    Claim,
    /// A room that is held: re-asserted, released or handed over.
    Held,
    /// What a witness says.
    Said,
}

impl Topic {
    pub(super) fn of(request: &Request) -> Self {
        match request {
            Request::Renew { .. } => Self::Renew,
            Request::Claim { .. } => Self::Claim,
            Request::Lapse { .. } | Request::EndGrace { .. } | Request::Forget { .. } => Self::Said,
            _ => Self::Held,
        }
    }
}

/// Whose clock goes wrong by a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slip {
    /// A shard's loses one.
    SlowShard(usize),
    /// A shard's gains one.
    FastShard(usize),
    /// A witness's gains one.
    FastWitness(usize),
}

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A tick without anything.
    Tick,
    /// A tick by all clocks but one.
    Slip(Slip),
    /// A shard's way to the directory becomes so.
    Link(usize, Way),
    /// A witness's way to the directory becomes so.
    Witness(usize, Way),
    /// No other shard reaches this one any more, or all do again.
    Lonely(usize, bool),
    /// A message that was late comes in.
    Late(usize),
    /// The process is killed and starts again.
    Crash(usize),
    /// The process stands still, or goes on.
    Pause(usize, bool),
    /// Nobody reaches the directory, or all do again.
    Down(bool),
    /// The directory's data is lost; topology and drains may survive.
    NewLife {
        /// They do.
        topology: bool,
    },
    /// The last participant leaves.
    Release(usize, usize),
    /// A room is handed over.
    Transfer(usize, usize, usize),
}

/// What is explored.
#[derive(Clone, Debug)]
pub struct Scope {
    /// For people.
    pub name: &'static str,
    /// Ticks after the start: six are a lease.
    pub ticks: u16,
    /// Most faults in one history.
    pub faults: u8,
    /// Which kinds of them.
    pub kinds: &'static [Kind],
    /// What the directory allows without a lease, milliseconds.
    pub hold_ms: u64,
    /// The wrong version under test, if any.
    pub variant: Option<Variant>,
}

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// [`Fault::Slip`].
    Slip,
    /// A way is cut.
    Cut,
    /// Messages of shards are late.
    Late,
    /// A witness is cut off, or late.
    Witness,
    /// [`Fault::Lonely`].
    Lonely,
    /// [`Fault::Crash`].
    Crash,
    /// [`Fault::Pause`].
    Pause,
    /// [`Fault::Down`].
    Down,
    /// [`Fault::NewLife`] with topology.
    FailOver,
    /// [`Fault::NewLife`] without.
    LoseData,
    /// [`Fault::Release`].
    Release,
    /// [`Fault::Transfer`].
    Transfer,
}

/// A message that is late.
#[derive(Clone, Debug)]
pub(super) enum Late {
    Request {
        shard: usize,
        life: u16,
        id: RequestId,
        request: Request,
    },
    Reply {
        shard: usize,
        life: u16,
        id: RequestId,
        /// Age of the request, for a variant.
        sent: u16,
        reply: affinity::directory::Reply,
    },
    Said(Request),
}

impl Late {
    fn text(&self) -> String {
        format!("{self:?}")
    }
}

impl PartialEq for Late {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Late {}

impl Hash for Late {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.text().hash(hasher);
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct WitnessState {
    pub(super) witness: Witness,
    pub(super) way: Way,
    /// Ticks gained.
    pub(super) fast: u16,
}

/// A quick hasher, for states of some thousand bytes; two halves make chance collisions unlikely.
struct Mixer(u64, u64);

impl Mixer {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0 ^ word)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(29);
        self.1 = (self.1.rotate_left(23) ^ word).wrapping_mul(0xC2B2_AE3D_27D4_EB4F);
    }
}

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0 ^ self.1.rotate_left(32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, word: u8) {
        self.mix(u64::from(word));
    }

    fn write_u16(&mut self, word: u16) {
        self.mix(u64::from(word));
    }

    fn write_u32(&mut self, word: u32) {
        self.mix(u64::from(word));
    }

    fn write_u64(&mut self, word: u64) {
        self.mix(word);
    }

    fn write_usize(&mut self, word: usize) {
        self.mix(word as u64);
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let mut mixer = Mixer(1, 2);
        let Self {
            tick,
            directory,
            lives,
            down_since,
            shards,
            witnesses,
            late,
            faults,
            slipped,
            incarnations,
            handed_over,
            owners,
            highest,
            broken,
        } = self;
        (tick, lives, down_since, faults, slipped, incarnations).hash(&mut mixer);
        (handed_over, broken, owners, highest, late).hash(&mut mixer);
        (directory, shards, witnesses).hash(&mut mixer);
        hasher.write_u64(mixer.0);
        hasher.write_u64(mixer.1);
    }
}

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub(super) tick: u16,
    pub(super) directory: DirectoryState,
    /// Lives of the directory so far.
    pub(super) lives: u16,
    /// Since when nobody reaches it.
    pub(super) down_since: Option<u16>,
    pub(super) shards: Vec<ShardState>,
    pub(super) witnesses: Vec<WitnessState>,
    pub(super) late: Vec<Late>,
    pub(super) faults: u8,
    pub(super) slipped: Option<u16>,
    /// Lives of shards so far.
    pub(super) incarnations: u64,
    pub(super) handed_over: bool,
    /// Who was live in each room at the last moment, and the highest epoch that was.
    pub(super) owners: Vec<Option<(usize, Epoch)>>,
    pub(super) highest: Vec<Epoch>,
    pub(super) broken: bool,
}

/// A condition that must be possible.
pub(super) type Condition = fn(&Scope, &State) -> bool;

impl State {
    /// All beliefs: room, shard, epoch.
    pub fn live(&self) -> Vec<(usize, usize, u64)> {
        let mut live = Vec::new();
        for (room, key) in super::step::keys().iter().enumerate() {
            for (shard, state) in self.shards.iter().enumerate() {
                if let Some(epoch) = self.owned(state, room, key) {
                    live.push((room, shard, epoch.0));
                }
            }
        }
        live
    }

    pub(super) fn owned(&self, shard: &ShardState, room: usize, key: &RoomKey) -> Option<Epoch> {
        let believed = shard.believed.get(&room).copied();
        shard
            .machine
            .owned(key, shard.clock(self.tick))
            .or(believed)
    }

    pub(super) fn is_safe(&self) -> bool {
        !self.broken
    }

    /// Compares with the moment before.
    pub(super) fn observe(&mut self) {
        let live = self.live();
        for room in 0..ROOMS {
            let here: Vec<(usize, Epoch)> = live
                .iter()
                .filter(|(of, _, _)| *of == room)
                .map(|(_, shard, epoch)| (*shard, Epoch(*epoch)))
                .collect();
            self.broken |= here.len() > 1;
            let Some((shard, epoch)) = here.first().copied() else {
                continue;
            };
            let before = self.owners[room];
            self.broken |= before != Some((shard, epoch)) && epoch <= self.highest[room];
            self.owners[room] = Some((shard, epoch));
            self.highest[room] = self.highest[room].max(epoch);
        }
    }
}
