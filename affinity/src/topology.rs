//! The topology: which shards exist, as one immutable value.
//!
//! Owns: shard ids, states, weights, and the check of a whole set. Must not: read a file, watch
//! health, or change in place. A reload makes a new value with a higher generation.

use crate::placement::{Placement, Ring};
use crate::room::RoomKey;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::sync::Arc;
use thiserror::Error;

/// Longest shard id, bytes: it travels in a header of every answer.
pub const SHARD_ID_BYTES_MAX: usize = 64;

/// Highest weight of one shard.
pub const WEIGHT_MAX: u32 = 100;

/// Highest sum of all weights: the ring has 1024 points per unit and 16 bytes a point, so 32 MB.
pub const WEIGHTS_SUM_MAX: u32 = 2_048;

/// Name of a shard, unique in a deployment and kept over restarts: placement hashes it, so a
/// renamed shard is a new one.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(Arc<str>);

impl ShardId {
    /// Takes the name as it is; [`Topology::new`] checks it.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn check(&self) -> Result<(), TopologyError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if self.0.is_empty() {
            return Err(TopologyError::EmptyId);
        }
        if self.0.len() > SHARD_ID_BYTES_MAX || !self.0.bytes().all(plain) {
            return Err(TopologyError::BadId {
                id: self.0.escape_debug().to_string(),
            });
        }
        Ok(())
    }
}

impl From<&str> for ShardId {
    fn from(id: &str) -> Self {
        Self::new(id)
    }
}

impl From<String> for ShardId {
    fn from(id: String) -> Self {
        Self::new(id)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShardId({:?})", &*self.0)
    }
}

impl Serialize for ShardId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ShardId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

/// Whether a shard takes new rooms. A removed shard is simply absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShardState {
    /// Takes new rooms.
    #[default]
    Active,
    /// Keeps its live rooms, takes no new ones.
    Draining,
}

/// One shard of the topology.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shard {
    /// Its name.
    pub id: ShardId,
    /// Where gateways reach it. Not part of placement: a shard may move to another address.
    pub url: String,
    /// Share of idle rooms relative to the others, 1 to [`WEIGHT_MAX`].
    pub weight: u32,
    /// Whether it takes new rooms.
    pub state: ShardState,
}

/// Why a set of shards is no topology.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TopologyError {
    /// An empty list is a broken file, not a wish.
    #[error("no shards: list at least one")]
    NoShards,
    /// Nameless shard.
    #[error("a shard has an empty id: give every shard a name")]
    EmptyId,
    /// Name unfit for a header.
    #[error("shard id `{id}` is not usable: use at most 64 of A-Z a-z 0-9 . _ -")]
    BadId {
        /// The name, escaped.
        id: String,
    },
    /// Two shards of one name.
    #[error("shard id `{id}` is listed twice: ids are unique")]
    DuplicateId {
        /// The name.
        id: ShardId,
    },
    /// Weight 0 or too high.
    #[error("shard `{id}` has weight {weight}: use 1 to 100, or drain the shard to stop new rooms")]
    BadWeight {
        /// The shard.
        id: ShardId,
        /// Its weight.
        weight: u32,
    },
    /// The ring would be too big.
    #[error("the weights sum to {sum}: divide them so that they sum to at most {WEIGHTS_SUM_MAX}")]
    WeightsSum {
        /// The sum.
        sum: u64,
    },
}

/// A checked set of shards and the ring over the active ones. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Topology {
    generation: u64,
    shards: Arc<[Shard]>,
    ring: Arc<Ring>,
}

impl Topology {
    /// Checks the set and builds the ring. `generation` grows with every change.
    pub fn new(generation: u64, mut shards: Vec<Shard>) -> Result<Self, TopologyError> {
        if shards.is_empty() {
            return Err(TopologyError::NoShards);
        }
        shards.sort_by(|a, b| a.id.cmp(&b.id));
        let mut sum = 0_u64;
        for shard in &shards {
            shard.id.check()?;
            if !(1..=WEIGHT_MAX).contains(&shard.weight) {
                let (id, weight) = (shard.id.clone(), shard.weight);
                return Err(TopologyError::BadWeight { id, weight });
            }
            sum += u64::from(shard.weight);
        }
        if sum > u64::from(WEIGHTS_SUM_MAX) {
            return Err(TopologyError::WeightsSum { sum });
        }
        let pairs = shards.iter().zip(shards.iter().skip(1));
        if let Some((twice, _)) = pairs.into_iter().find(|(a, b)| a.id == b.id) {
            return Err(TopologyError::DuplicateId {
                id: twice.id.clone(),
            });
        }
        let ring = Arc::new(Ring::new(&shards));
        Ok(Self {
            generation,
            shards: shards.into(),
            ring,
        })
    }

    /// Number of this topology.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// All shards, sorted by id.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// The shard of that name.
    pub fn shard(&self, id: &ShardId) -> Option<&Shard> {
        let at = self
            .shards
            .binary_search_by(|shard| shard.id.cmp(id))
            .ok()?;
        self.shards.get(at)
    }

    /// Candidate for an idle room, the same on every gateway with this topology. `None` if no
    /// shard is active.
    pub fn place(&self, room: &RoomKey) -> Option<&ShardId> {
        self.ring.place(room.as_bytes())
    }

    /// An active shard for a request without a room, spread by weight over `spread` (a counter or
    /// a random number).
    pub fn any_active(&self, spread: u64) -> Option<&ShardId> {
        self.ring.place(&spread.to_le_bytes())
    }
}

#[cfg(test)]
mod tests;
