//! What becomes of a packet for one receiver.

use crate::av1;
use crate::edits::Edits;

/// Layers of a scalable stream: all up to these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Layers {
    /// Resolutions, from 0.
    pub spatial: u8,
    /// Frame rates, from 0.
    pub temporal: u8,
}

impl Layers {
    /// More than any stream has (three bits each, RFC 9628 section 4.2).
    pub const ALL: Self = Self {
        spatial: 7,
        temporal: 7,
    };

    /// Nothing goes beyond `other`.
    #[must_use]
    pub fn within(self, other: Self) -> bool {
        self.spatial <= other.spatial && self.temporal <= other.temporal
    }
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is not for this receiver. The sequence numbers that follow close the gap.
    Drop,
    /// It is sent on.
    Forward(Passage),
}

impl Verdict {
    /// How it is sent on, if it is.
    #[must_use]
    pub fn passage(self) -> Option<Passage> {
        match self {
            Self::Drop => None,
            Self::Forward(passage) => Some(passage),
        }
    }
}

/// How a packet is written for its receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passage {
    /// RTP's marker bit: the last packet of the picture that the receiver gets.
    pub marker: bool,
    /// Bytes of the payload that differ.
    pub edits: Edits,
    /// What differs in the dependency descriptor, if the packet came with one.
    pub descriptor: Option<av1::Change>,
}
