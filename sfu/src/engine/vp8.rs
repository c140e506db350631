//! VP8 picture ids and TL0PICIDX that stay continuous across sources (RFC 7741 section 4.2).
//!
//! Only the payload descriptor is looked at: what lies behind it may be encrypted end to end.

use downlink::Patch;

const PICTURE_ID_MASK: u16 = 0x7fff;
const SHORT_PICTURE_ID_MASK: u16 = 0x7f;

/// A picture id and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PictureId {
    offset: usize,
    /// 15 bits, not 7.
    wide: bool,
    value: u16,
}

/// The numbers in a payload descriptor, and their places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields {
    picture_id: Option<PictureId>,
    tl0: Option<(usize, u8)>,
}

impl Fields {
    /// `None`: this is no VP8 payload.
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        let first = payload.first()?;
        if first & 0x80 == 0 {
            return Some(Self::default());
        }
        let present = payload.get(1)?;
        let mut fields = Self::default();
        let mut offset = 2;
        if present & 0x80 != 0 {
            let high = *payload.get(offset)?;
            let wide = high & 0x80 != 0;
            let value = if wide {
                u16::from_be_bytes([high & 0x7f, *payload.get(offset + 1)?])
            } else {
                u16::from(high)
            };
            fields.picture_id = Some(PictureId {
                offset,
                wide,
                value,
            });
            offset += if wide { 2 } else { 1 };
        }
        if present & 0x40 != 0 {
            fields.tl0 = Some((offset, *payload.get(offset)?));
        }
        Some(fields)
    }

    fn picture_id(&self) -> Option<u16> {
        self.picture_id.map(|id| id.value)
    }

    fn tl0(&self) -> Option<u8> {
        self.tl0.map(|(_, value)| value)
    }
}

/// What must be added to the fields of the current source.
#[derive(Clone, Copy, Debug, Default)]
struct Shift {
    picture_id: u16,
    tl0: u8,
}

/// The VP8 state of one outgoing stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Vp8Rewriter {
    shift: Option<Shift>,
    last_picture_id: Option<u16>,
    last_tl0: Option<u8>,
}

impl Vp8Rewriter {
    /// A new source starts with this packet.
    pub(super) fn switch(&mut self, fields: Option<&Fields>) {
        let fields = fields.copied().unwrap_or_default();
        let picture_id = match (self.last_picture_id, fields.picture_id()) {
            (Some(last), Some(next)) => last.wrapping_add(1).wrapping_sub(next) & PICTURE_ID_MASK,
            _ => 0,
        };
        let tl0 = match (self.last_tl0, fields.tl0()) {
            (Some(last), Some(next)) => last.wrapping_add(1).wrapping_sub(next),
            _ => 0,
        };
        self.shift = (picture_id != 0 || tl0 != 0).then_some(Shift { picture_id, tl0 });
    }

    /// What is to be rewritten in a packet of the current source. `newest`: no later packet was sent
    /// before.
    pub(super) fn patch(&mut self, fields: &Fields, newest: bool) -> Patch {
        let shift = self.shift.unwrap_or_default();
        let picture_id = fields.picture_id.map(|id| {
            // 7 bits stay 7 bits: their wrap is the receiver's wrap too.
            let mask = if id.wide {
                PICTURE_ID_MASK
            } else {
                SHORT_PICTURE_ID_MASK
            };
            let value = id.value.wrapping_add(shift.picture_id);
            PictureId {
                value: value & mask,
                ..id
            }
        });
        let tl0 = fields
            .tl0
            .map(|(at, tl0)| (at, tl0.wrapping_add(shift.tl0)));
        if newest {
            self.last_picture_id = picture_id.map(|id| id.value).or(self.last_picture_id);
            self.last_tl0 = tl0.map(|(_, tl0)| tl0).or(self.last_tl0);
        }
        let mut patch = Patch::default();
        if self.shift.is_none() {
            return patch;
        }
        if let Some(id) = picture_id {
            let [high, low] = id.value.to_be_bytes();
            if id.wide {
                patch.set(id.offset, high | 0x80);
                patch.set(id.offset + 1, low);
            } else {
                patch.set(id.offset, low);
            }
        }
        if let Some((at, tl0)) = tl0 {
            patch.set(at, tl0);
        }
        patch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use str0m::rtp::Vp8Descriptor;

    /// X, S, then I L T, a 15 bit picture id, TL0PICIDX, TID, one payload byte.
    fn packet(picture_id: u16, tl0: u8) -> Vec<u8> {
        let [high, low] = (picture_id | 0x8000).to_be_bytes();
        vec![0x90, 0xe0, high, low, tl0, 0x00, 0x00]
    }

    fn patched(rewriter: &mut Vp8Rewriter, payload: &[u8]) -> Vec<u8> {
        let mut payload = payload.to_vec();
        let fields = Fields::parse(&payload).unwrap();
        rewriter.patch(&fields, true).apply(&mut payload);
        payload
    }

    fn switch(rewriter: &mut Vp8Rewriter, payload: &[u8]) {
        rewriter.switch(Fields::parse(payload).as_ref());
    }

    #[test]
    fn the_first_source_is_not_touched() {
        let mut rewriter = Vp8Rewriter::default();
        switch(&mut rewriter, &packet(17, 3));
        assert_eq!(patched(&mut rewriter, &packet(17, 3)), packet(17, 3));
        assert_eq!(patched(&mut rewriter, &packet(18, 4)), packet(18, 4));
    }

    #[test]
    fn a_new_source_continues_the_ids_of_the_old_one() {
        let mut rewriter = Vp8Rewriter::default();
        switch(&mut rewriter, &packet(17, 3));
        patched(&mut rewriter, &packet(17, 3));
        switch(&mut rewriter, &packet(30_000, 200));
        assert_eq!(patched(&mut rewriter, &packet(30_000, 200)), packet(18, 4));
        assert_eq!(patched(&mut rewriter, &packet(30_001, 201)), packet(19, 5));
    }

    #[test]
    fn what_does_not_parse_is_left_alone() {
        let mut rewriter = Vp8Rewriter::default();
        switch(&mut rewriter, &packet(1, 1));
        patched(&mut rewriter, &packet(1, 1));
        rewriter.switch(None);
        assert_eq!(patched(&mut rewriter, &[0x10, 0]), [0x10, 0]);
        for cut in 0..packet(300, 1).len() {
            let parsed = Fields::parse(&packet(300, 1)[..cut]);
            assert_eq!(parsed.is_some(), cut >= 5, "{cut} bytes");
        }
    }

    #[test]
    fn short_picture_ids_stay_short() {
        let mut rewriter = Vp8Rewriter::default();
        switch(&mut rewriter, &packet(300, 0));
        patched(&mut rewriter, &packet(300, 0));
        let short = [0x90, 0x80, 0x05, 0x00];
        switch(&mut rewriter, &short);
        // 301, of which 7 bits are left.
        assert_eq!(patched(&mut rewriter, &short), [0x90, 0x80, 0x2d, 0x00]);
    }

    proptest! {
        /// str0m's own parser knows the same numbers.
        #[test]
        fn the_fields_are_those_of_another_parser(payload in prop::collection::vec(any::<u8>(), 7..12)) {
            let ours = Fields::parse(&payload);
            if let (Some(ours), Ok(theirs)) = (ours, Vp8Descriptor::parse(&payload)) {
                prop_assert_eq!(ours.picture_id(), theirs.picture_id());
                prop_assert_eq!(ours.tl0(), theirs.tl0_pic_idx());
            }
        }
    }
}
