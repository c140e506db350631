//! A descriptor as one receiver shall see it.

use super::bits::{Bits, Pen};
use super::frame::Frame;

/// Most bytes of a header extension in the two-byte form (RFC 8285 section 4.3).
pub const DESCRIPTOR_BYTES_MAX: usize = 255;
/// Where the frame number is, in bytes.
const NUMBER: std::ops::Range<usize> = 1..3;
/// Bits up to the flags.
const MANDATORY: usize = 24;

/// What differs in a descriptor for one receiver. Templates, references and chains are as they came:
/// they are told as differences of frame numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// `frame_number`.
    pub number: u16,
    /// `active_decode_targets_bitmask`: what is told about the targets that the receiver gets. `None`:
    /// as it came.
    pub active: Option<u32>,
}

/// A written descriptor.
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    bytes: [u8; DESCRIPTOR_BYTES_MAX],
    length: usize,
}

impl Descriptor {
    /// The bytes of the header extension.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl Change {
    /// Writes the descriptor that `frame` was read from. `None`: it would be longer than a header
    /// extension can be.
    #[must_use]
    pub fn write(&self, original: &[u8], frame: &Frame) -> Option<Descriptor> {
        let mut written = Descriptor {
            bytes: [0; DESCRIPTOR_BYTES_MAX],
            length: original.len(),
        };
        match self.active {
            Some(active) => written.length = copy(original, frame, active, &mut written.bytes)?,
            None => written
                .bytes
                .get_mut(..original.len())?
                .copy_from_slice(original),
        }
        let number = written.bytes.get_mut(NUMBER)?;
        number.copy_from_slice(&self.number.to_be_bytes());
        Some(written)
    }
}

/// Copies all but the mask, which is put in.
fn copy(original: &[u8], frame: &Frame, active: u32, into: &mut [u8]) -> Option<usize> {
    let (places, targets) = (frame.places, u32::from(frame.targets.count));
    let (mut bits, mut pen) = (Bits::new(original), Pen::new(into));
    pen.copy(&mut bits, MANDATORY)?;
    if places.extended {
        // The first flag is the structure's, the second the mask's.
        pen.copy(&mut bits, MANDATORY + 1)?;
        bits.flag()?;
        pen.flag(true)?;
        pen.copy(&mut bits, places.mask)?;
    } else {
        pen.number(0b01000, 5)?;
    }
    pen.number(active, targets)?;
    if places.has_mask {
        bits.number(targets)?;
    }
    pen.copy(&mut bits, places.end)?;
    pen.pad()?;
    Some(pen.length())
}
