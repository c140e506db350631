//! Newtype ids. The prefixes are LiveKit's, because clients sort and log by them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Characters of a random id: 12 of 62 symbols, 71 bits.
const RANDOM_CHARS: usize = 12;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Writes `random` in base 62, [`RANDOM_CHARS`] symbols long.
fn base62(mut random: u128) -> String {
    let mut out = String::with_capacity(RANDOM_CHARS);
    for _ in 0..RANDOM_CHARS {
        let digit = usize::try_from(random % 62).unwrap_or(0);
        out.push(char::from(ALPHABET.get(digit).copied().unwrap_or(b'0')));
        random /= 62;
    }
    out
}

macro_rules! string_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps a name that came from configuration or from the wire.
            pub fn new(value: impl Into<String>) -> Self {
                Self(value.into())
            }

            /// The text of the id.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
    ($(#[$doc:meta])* $name:ident, prefix = $prefix:literal) => {
        string_id!($(#[$doc])* $name);

        impl $name {
            /// A fresh id from 128 random bits.
            pub fn from_random(random: u128) -> Self {
                Self(format!(concat!($prefix, "{}"), base62(random)))
            }
        }
    };
}

string_id!(
    /// One life of a room on its shard (`RM_...`). A re-homed room gets a new one.
    RoomSid, prefix = "RM_"
);
string_id!(
    /// One participant session (`PA_...`).
    ParticipantSid, prefix = "PA_"
);
string_id!(
    /// One published track (`TR_...`).
    TrackSid, prefix = "TR_"
);
string_id!(
    /// An SFU process inside a shard's pool.
    NodeId
);
/// A worker of a node: what a participant's media lives on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Member {
    /// The node.
    pub node: NodeId,
    /// Its worker, by its place.
    pub worker: u16,
}

impl Member {
    /// This worker of this node.
    pub fn new(node: NodeId, worker: u16) -> Self {
        Self { node, worker }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node, self.worker)
    }
}

string_id!(
    /// The participant's name in the token (`sub`): unique in a room, chosen by the application.
    Identity
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_ids_carry_their_prefix_and_use_every_bit_given() {
        assert_eq!(RoomSid::from_random(0).as_str(), "RM_000000000000");
        assert_eq!(TrackSid::from_random(61).as_str(), "TR_z00000000000");
        assert_ne!(
            ParticipantSid::from_random(1 << 60),
            ParticipantSid::from_random(1 << 61)
        );
    }
}
