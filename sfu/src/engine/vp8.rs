//! VP8 picture ids and TL0PICIDX that stay continuous across sources (RFC 7741 section 4.2).
//!
//! Only the payload descriptor is looked at, and only once the source has changed: what lies behind
//! it may be encrypted end to end.

use str0m::rtp::{Vp8Descriptor, Vp8Patch};

const PICTURE_ID_MASK: u16 = 0x7fff;
const SHORT_PICTURE_ID_MASK: u16 = 0x7f;

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
    pub(super) fn switch(&mut self, payload: &[u8]) {
        let Ok(descriptor) = Vp8Descriptor::parse(payload) else {
            self.shift = None;
            return;
        };
        let picture_id = match (self.last_picture_id, descriptor.picture_id()) {
            (Some(last), Some(next)) => last.wrapping_add(1).wrapping_sub(next) & PICTURE_ID_MASK,
            _ => 0,
        };
        let tl0 = match (self.last_tl0, descriptor.tl0_pic_idx()) {
            (Some(last), Some(next)) => last.wrapping_add(1).wrapping_sub(next),
            _ => 0,
        };
        self.shift = (picture_id != 0 || tl0 != 0).then_some(Shift { picture_id, tl0 });
    }

    /// The rewrite for a packet of the current source, `None` to forward it untouched. `newest`:
    /// no later packet was sent before.
    pub(super) fn patch(&mut self, payload: &[u8], newest: bool) -> Option<Vp8Patch> {
        let descriptor = Vp8Descriptor::parse(payload).ok()?;
        let shift = self.shift.unwrap_or_default();
        let picture_id = descriptor
            .picture_id()
            .map(|id| id.wrapping_add(shift.picture_id) & PICTURE_ID_MASK);
        let tl0 = descriptor
            .tl0_pic_idx()
            .map(|tl0| tl0.wrapping_add(shift.tl0));
        if newest {
            self.last_picture_id = picture_id.or(self.last_picture_id);
            self.last_tl0 = tl0.or(self.last_tl0);
        }
        self.shift?;
        build(&descriptor, picture_id, tl0)
            // The source uses 7 bit ids: their wrap is the receiver's wrap too.
            .or_else(|| {
                build(
                    &descriptor,
                    picture_id.map(|id| id & SHORT_PICTURE_ID_MASK),
                    tl0,
                )
            })
    }
}

fn build(descriptor: &Vp8Descriptor, picture_id: Option<u16>, tl0: Option<u8>) -> Option<Vp8Patch> {
    let mut patch = descriptor.patch();
    if let Some(picture_id) = picture_id {
        patch = patch.picture_id(picture_id);
    }
    if let Some(tl0) = tl0 {
        patch = patch.tl0_pic_idx(tl0);
    }
    patch.build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// X, S, then I L T, a 15 bit picture id, TL0PICIDX, TID, one payload byte.
    fn packet(picture_id: u16, tl0: u8) -> Vec<u8> {
        let [high, low] = (picture_id | 0x8000).to_be_bytes();
        vec![0x90, 0xe0, high, low, tl0, 0x00, 0x00]
    }

    #[test]
    fn the_first_source_is_not_touched() {
        let mut rewriter = Vp8Rewriter::default();
        let first = packet(17, 3);
        rewriter.switch(&first);
        assert!(rewriter.patch(&first, true).is_none());
        assert!(rewriter.patch(&packet(18, 4), true).is_none());
    }

    #[test]
    fn a_new_source_continues_the_ids_of_the_old_one() {
        let mut rewriter = Vp8Rewriter::default();
        rewriter.switch(&packet(17, 3));
        rewriter.patch(&packet(17, 3), true);
        rewriter.switch(&packet(30_000, 200));
        assert!(rewriter.patch(&packet(30_000, 200), true).is_some());
        assert_eq!(rewriter.last_picture_id, Some(18));
        assert_eq!(rewriter.last_tl0, Some(4));
        rewriter.patch(&packet(30_001, 201), true);
        assert_eq!(rewriter.last_picture_id, Some(19));
    }

    #[test]
    fn what_does_not_parse_is_left_alone() {
        let mut rewriter = Vp8Rewriter::default();
        rewriter.switch(&packet(1, 1));
        rewriter.patch(&packet(1, 1), true);
        rewriter.switch(&[]);
        assert!(rewriter.patch(&[0xff], true).is_none());
        assert!(rewriter.patch(&[], true).is_none());
    }

    #[test]
    fn short_picture_ids_stay_short() {
        let mut rewriter = Vp8Rewriter::default();
        rewriter.switch(&packet(300, 0));
        rewriter.patch(&packet(300, 0), true);
        let short = [0x90, 0x80, 0x05, 0x00];
        rewriter.switch(&short);
        assert!(rewriter.patch(&short, true).is_some());
    }
}
