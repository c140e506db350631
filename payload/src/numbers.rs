//! Picture ids and TL0PICIDX that stay continuous across sources (RFC 7741 section 4.2, RFC 9628
//! section 4.2).
//!
//! Each source counts by itself, and the receiver shall see one count: what it takes for a gap, it
//! waits for.

use crate::edits::Edits;

const WIDE: u16 = 0x7fff;
const NARROW: u16 = 0x7f;

/// A picture id and its place in the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureId {
    pub(crate) offset: u8,
    /// 15 bits, not 7.
    pub wide: bool,
    /// As it came.
    pub value: u16,
}

impl PictureId {
    /// Reads it at `at`. Both formats have it alike: a bit for the width, then 7 or 15 bits.
    pub(crate) fn read(payload: &[u8], at: usize) -> Option<Self> {
        let high = *payload.get(at)?;
        let wide = high & 0x80 != 0;
        let value = if wide {
            u16::from_be_bytes([high & 0x7f, *payload.get(at + 1)?])
        } else {
            u16::from(high)
        };
        let offset = u8::try_from(at).ok()?;
        Some(Self {
            offset,
            wide,
            value,
        })
    }

    /// Bytes of the payload that it takes.
    pub(crate) fn size(&self) -> usize {
        1 + usize::from(self.wide)
    }

    /// The bits that count.
    #[inline]
    pub(crate) fn mask(&self) -> u16 {
        if self.wide { WIDE } else { NARROW }
    }
}

/// TL0PICIDX and its place in the payload: the count of pictures of temporal layer 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tl0 {
    pub(crate) offset: u8,
    /// As it came.
    pub value: u8,
}

impl Tl0 {
    pub(crate) fn read(payload: &[u8], at: usize) -> Option<Self> {
        Some(Self {
            offset: u8::try_from(at).ok()?,
            value: *payload.get(at)?,
        })
    }
}

/// The numbers of a payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// The same in all packets of a picture.
    pub picture_id: Option<PictureId>,
    /// Counts the pictures of temporal layer 0.
    pub tl0: Option<Tl0>,
}

/// The numbers of one outgoing stream.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Continuity {
    /// What is added to the current source's picture ids.
    picture_shift: u16,
    /// What is added to its TL0PICIDX.
    tl0_shift: u8,
    last_picture: Option<u16>,
    last_tl0: Option<u8>,
}

impl Continuity {
    /// A new source starts with these.
    pub(crate) fn switch(&mut self, numbers: &Numbers) {
        self.picture_shift = match (self.last_picture, numbers.picture_id) {
            (Some(last), Some(next)) => last.wrapping_add(1).wrapping_sub(next.value) & WIDE,
            _ => 0,
        };
        self.tl0_shift = match (self.last_tl0, numbers.tl0) {
            (Some(last), Some(next)) => last.wrapping_add(1).wrapping_sub(next.value),
            _ => 0,
        };
    }

    /// The newest picture is not sent, and its id goes to the next.
    pub(crate) fn close_gap(&mut self) {
        self.picture_shift = self.picture_shift.wrapping_sub(1) & WIDE;
    }

    /// What is to be written in a packet of the newest picture.
    #[inline]
    pub(crate) fn newest(&mut self, numbers: &Numbers) -> Edits {
        if let Some(id) = numbers.picture_id {
            let value = id.value.wrapping_add(self.picture_shift) & id.mask();
            self.last_picture = Some(value);
        }
        if let Some(tl0) = numbers.tl0 {
            self.last_tl0 = Some(tl0.value.wrapping_add(self.tl0_shift));
        }
        self.late(numbers, 0)
    }

    /// What is to be written in a packet of an older picture, since which `gaps` were closed.
    #[inline]
    pub(crate) fn late(&self, numbers: &Numbers, gaps: u16) -> Edits {
        let mut edits = Edits::default();
        let shift = self.picture_shift.wrapping_add(gaps) & WIDE;
        if shift == 0 && self.tl0_shift == 0 {
            return edits;
        }
        if let Some(id) = numbers.picture_id
            && shift != 0
        {
            // 7 bits stay 7 bits: their wrap is the receiver's wrap too.
            let value = id.value.wrapping_add(shift) & id.mask();
            let [high, low] = value.to_be_bytes();
            if id.wide {
                edits.set(id.offset, high | 0x80);
                edits.set(id.offset + 1, low);
            } else {
                edits.set(id.offset, low);
            }
        }
        if let Some(tl0) = numbers.tl0
            && self.tl0_shift != 0
        {
            edits.set(tl0.offset, tl0.value.wrapping_add(self.tl0_shift));
        }
        edits
    }
}
