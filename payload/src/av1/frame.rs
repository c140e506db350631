//! What a dependency descriptor says of one packet's frame (sections A.8.2 and A.8.3).

use crate::packet::Standing;
use crate::verdict::Layers;

/// Most decode targets (`dt_cnt_minus_one` has five bits).
pub(super) const TARGETS_MAX: usize = 32;
/// Most chains: one for each decode target.
pub(super) const CHAINS_MAX: usize = TARGETS_MAX;
/// Frames that are remembered behind the newest: `frame_chain_fdiff` has eight bits.
pub(super) const FRAMES: u16 = 256;
/// Most references: AV1 has seven (AV1 specification, `REFS_PER_FRAME`).
pub(super) const REFERENCES_MAX: usize = 8;

/// For each decode target whether the frame belongs to it, one bit each, the first the lowest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Indications {
    /// The frame is part of the target.
    pub(super) present: u32,
    /// With this frame the target can be entered.
    pub(super) switching: u32,
    /// Nothing of the target refers to it.
    pub(super) discardable: u32,
}

impl Indications {
    /// The next decode target's indication, two bits: not present, discardable, switch, required.
    pub(super) fn set(&mut self, target: u32, indication: u32) {
        let bit = 1_u32.checked_shl(target).unwrap_or(0);
        if indication != 0 {
            self.present |= bit;
        }
        match indication {
            1 => self.discardable |= bit,
            2 => self.switching |= bit,
            _ => {}
        }
    }
}

/// Frame numbers that a frame refers to, as differences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct References {
    differences: [u16; REFERENCES_MAX],
    count: u8,
}

impl References {
    /// `None`: too many.
    pub(super) fn push(&mut self, difference: u16) -> Option<()> {
        *self.differences.get_mut(usize::from(self.count))? = difference;
        self.count += 1;
        Some(())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        let known = self.differences.iter().take(usize::from(self.count));
        known.copied()
    }
}

/// The decode targets of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    pub(super) count: u8,
    pub(super) layers: [Layers; TARGETS_MAX],
    /// The chain that protects each target.
    pub(super) chains: [u8; TARGETS_MAX],
}

impl Targets {
    /// The layers of each, in their order.
    pub fn iter(&self) -> impl Iterator<Item = Layers> + '_ {
        self.layers.iter().take(usize::from(self.count)).copied()
    }

    /// The bits of all of them.
    pub(super) fn all(&self) -> u32 {
        u32::MAX
            .checked_shr(u32::BITS - u32::from(self.count))
            .unwrap_or(0)
    }

    /// The bits of those that need no more than `layers`.
    pub(super) fn within(&self, layers: Layers) -> u32 {
        let mut found = 0;
        for (target, needs) in self.iter().enumerate() {
            if needs.within(layers) {
                found |= bit(target);
            }
        }
        found
    }

    /// The best of those in `mask`: resolution before frame rate.
    pub(super) fn best(&self, mask: u32) -> Option<usize> {
        let known = self.iter().enumerate();
        let eligible = known.filter(|(target, _)| mask & bit(*target) != 0);
        eligible.max_by_key(|(_, layers)| *layers).map(|it| it.0)
    }

    /// The least demanding of those in `mask`.
    pub(super) fn least(&self, mask: u32) -> Option<usize> {
        let known = self.iter().enumerate();
        let eligible = known.filter(|(target, _)| mask & bit(*target) != 0);
        eligible.min_by_key(|(_, layers)| *layers).map(|it| it.0)
    }

    pub(super) fn layers(&self, target: usize) -> Layers {
        self.layers.get(target).copied().unwrap_or_default()
    }
}

/// The bit of a decode target.
pub(super) fn bit(target: usize) -> u32 {
    let target = u32::try_from(target).unwrap_or(u32::MAX);
    1_u32.checked_shl(target).unwrap_or(0)
}

/// Where a descriptor can be changed; in bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// It has flags behind the frame number.
    pub(super) extended: bool,
    /// It has a mask of active targets.
    pub(super) has_mask: bool,
    /// Where that is, or would be.
    pub(super) mask: usize,
    /// Where the padding begins.
    pub(super) end: usize,
}

/// A packet's frame. Made by [`super::Structure::read`], once for all receivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Counts the frames of the stream, all layers together.
    pub number: u16,
    /// The first packet of the frame.
    pub starts: bool,
    /// The last packet of the frame.
    pub ends: bool,
    /// Its spatial and temporal layer.
    pub layers: Layers,
    /// The packet brought a new structure.
    pub new_structure: bool,
    pub(super) indications: Indications,
    pub(super) references: References,
    /// For each chain: so many frames before was its last; 0: it begins here.
    pub(super) chains: [u8; CHAINS_MAX],
    pub(super) targets: Targets,
    /// The structure that it was read by, as a count.
    pub(super) generation: u32,
    /// `active_decode_targets_bitmask`, the first target the lowest bit.
    pub(super) active: u32,
    pub(super) places: Places,
}

impl Frame {
    /// It refers to no other frame.
    #[must_use]
    pub fn stands_alone(&self) -> bool {
        self.references.iter().next().is_none()
    }

    /// The first packet of a frame that refers to no other and begins the stream: of the lowest layer.
    #[must_use]
    pub fn starts_keyframe(&self) -> bool {
        self.starts && self.stands_alone() && self.layers.spatial == 0
    }

    /// Where it stands among spatial layers: those of active decode targets count.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let mut standing = Standing {
            layer: self.layers.spatial,
            layers: self.layers.spatial + 1,
            needed_by: 0,
        };
        for (target, needs) in self.targets.iter().enumerate() {
            if self.active & bit(target) != 0 {
                standing.layers = standing.layers.max(needs.spatial + 1);
            }
            if self.indications.present & bit(target) != 0 {
                standing.needed_by |= 1 << (needs.spatial & 0x07);
            }
        }
        standing
    }

    /// With this frame at least one decode target can be entered.
    #[must_use]
    pub fn is_switching_point(&self) -> bool {
        self.indications.switching != 0
    }

    /// No decode target refers to it.
    #[must_use]
    pub fn is_discardable(&self) -> bool {
        self.indications.present == self.indications.discardable
    }

    /// The stream's decode targets.
    #[must_use]
    pub fn targets(&self) -> &Targets {
        &self.targets
    }

    /// The decode targets that the sender serves now, one bit each, the first the lowest.
    #[must_use]
    pub fn active_targets(&self) -> u32 {
        self.active
    }

    /// Frame numbers that it refers to, as differences.
    pub fn references(&self) -> impl Iterator<Item = u16> + '_ {
        self.references.iter()
    }
}
