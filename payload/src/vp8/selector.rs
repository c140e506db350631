//! Which temporal layers of a VP8 stream one receiver gets, and under which numbers.

use super::descriptor::Descriptor;
use crate::numbers::{Continuity, Numbers};
use crate::order::{MEMORY, Step, step};
use crate::verdict::{Passage, Verdict};

/// More temporal layers than there are (TID has two bits).
const WHOLE: u8 = 4;

/// The temporal layers of one VP8 stream for one receiver.
///
/// A layer is left with the next picture. It is entered at a picture that refers to the base layer
/// alone (Y), one layer after the other, or at a key frame: then nothing of it that came before is
/// needed. The base layer always passes.
///
/// Picture ids are closed up over what is left out. libwebrtc takes a gap in them for a picture that
/// is still to come, and holds pictures of upper layers back for it (`RtpVp8RefFinder`,
/// `not_yet_received_frames_`). TL0PICIDX counts pictures of the base layer, which are never left out,
/// and stays; so does KEYIDX. Both count on where the source changes.
#[derive(Clone, Debug)]
pub struct Selector {
    target: u8,
    /// Of so many layers nothing was left out since they could be entered.
    unbroken: u8,
    /// The newest picture's id.
    newest: Option<u16>,
    /// The newest picture is sent on.
    sending: bool,
    /// The pictures that were left out, the newest the lowest bit.
    left_out: u128,
    /// The last packet ended its picture.
    ended: bool,
    continuity: Continuity,
}

impl Default for Selector {
    fn default() -> Self {
        Self {
            target: WHOLE,
            unbroken: 1,
            newest: None,
            sending: true,
            left_out: 0,
            ended: true,
            continuity: Continuity::default(),
        }
    }
}

impl Selector {
    /// The highest temporal layer that the receiver shall get.
    pub fn set_target(&mut self, temporal: u8) {
        self.target = temporal;
    }

    /// Packets of another source follow, this one first. Its numbers continue the old ones. `None`: it
    /// was no VP8 payload.
    pub fn switch(&mut self, first: Option<&Descriptor>) {
        let mut continuity = self.continuity;
        let numbers = first.map_or_else(Numbers::default, |first| first.numbers);
        continuity.switch(&numbers);
        *self = Self {
            target: self.target,
            continuity,
            ..Self::default()
        };
    }

    /// Decides about a packet. `marker` as it came.
    pub fn take(&mut self, packet: &Descriptor, marker: bool) -> Verdict {
        match self.place(packet) {
            Step::Late(back) => return self.take_late(packet, marker, back),
            Step::New(ahead) => self.open(packet, ahead),
            Step::Same => {}
        }
        self.ended = marker;
        if !self.sending {
            return Verdict::Drop;
        }
        if packet.starts_keyframe {
            self.unbroken = WHOLE;
        }
        Verdict::Forward(Passage {
            marker,
            edits: self.continuity.newest(&packet.numbers),
            descriptor: None,
        })
    }

    /// A packet of an older picture shares the picture's fate, and its number.
    fn take_late(&self, packet: &Descriptor, marker: bool, back: u16) -> Verdict {
        if self.left_out >> back & 1 != 0 {
            return Verdict::Drop;
        }
        let since = self.left_out & ((1 << back) - 1);
        // At most 128.
        let gaps = u16::try_from(since.count_ones()).unwrap_or_default();
        Verdict::Forward(Passage {
            marker,
            edits: self.continuity.late(&packet.numbers, gaps),
            descriptor: None,
        })
    }

    fn place(&self, packet: &Descriptor) -> Step {
        match packet.numbers.picture_id {
            Some(id) => step(self.newest, id.value, id.mask(), MEMORY),
            None if self.ended || packet.begins_frame => Step::New(1),
            None => Step::Same,
        }
    }

    fn open(&mut self, packet: &Descriptor, ahead: u16) {
        self.newest = packet.numbers.picture_id.map(|id| id.value);
        self.left_out = self.left_out.checked_shl(u32::from(ahead)).unwrap_or(0);
        let temporal = packet.temporal;
        let decodable = temporal < self.unbroken || packet.layer_sync || packet.starts_keyframe;
        self.sending = temporal == 0 || (decodable && temporal <= self.target);
        if !self.sending {
            self.left_out |= 1;
            self.continuity.close_gap();
            if !packet.non_reference {
                self.unbroken = self.unbroken.min(temporal);
            }
        } else if packet.layer_sync && temporal == self.unbroken {
            self.unbroken += 1;
        }
    }
}
