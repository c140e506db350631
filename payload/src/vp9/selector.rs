//! Which layers of a VP9 stream one receiver gets.
//!
//! A frame (one spatial layer of one picture) is sent on if the receiver wants it and can decode it.
//! What can be decoded is known from what was left out on purpose: in flexible mode by the frame's
//! references, else by the layers (RFC 9628 section 4.2). What is merely missing may still come, and
//! breaks nothing here: the receiver asks for it.

use super::descriptor::{Descriptor, SPATIAL_MAX};
use crate::numbers::Continuity;
use crate::order::{MEMORY, Step, step};
use crate::verdict::{Layers, Passage, Verdict};

/// More temporal layers than there are: nothing of a spatial layer was left out.
const WHOLE: u8 = 8;
/// Pictures in a row of which nothing could be sent on, until a key frame is asked for. An encoder
/// may leave one out.
const STARVED: u8 = 3;

/// The layers left out of the last [`MEMORY`] pictures: one bit for each spatial layer.
#[derive(Clone, Debug)]
struct LeftOut([u8; MEMORY as usize]);

impl LeftOut {
    fn slot(&mut self, picture: u16) -> Option<&mut u8> {
        self.0.get_mut(usize::from(picture % MEMORY))
    }

    fn has(&self, picture: u16, layer: u8) -> bool {
        let slot = self.0.get(usize::from(picture % MEMORY));
        slot.is_none_or(|layers| layers & layer != 0)
    }
}

/// The layers of one VP9 stream for one receiver.
///
/// - *Down*, temporal: with the next picture. Spatial: with the next picture, if the lower layer was
///   sent on all the time; else (K-SVC, independent layers) at its next frame without inter-picture
///   prediction.
/// - *Up*, temporal: as soon as nothing that the frame refers to was left out, which after a switching
///   point (U) holds for all higher layers. Spatial: at a frame of the upper layer without inter-picture
///   prediction; in a key picture that lower layers serve (not Z) at once up to the target.
/// - A lower layer that upper ones do not use (Z) is left out of pictures that have the upper one:
///   of independent layers always, in K-SVC of all but key pictures.
/// - *Marker*: on the last packet of the frame of the highest layer. If a layer is entered in the
///   middle of a picture, the picture has two; libwebrtc decodes the second part by itself.
///
/// Picture ids are not closed up. libwebrtc finds the references by picture group and the distance of
/// picture ids (`RtpVp9RefFinder`: the group's entry is the distance modulo its length; of the missing
/// pictures only those of lower temporal layers hold a picture up), or by P_DIFF, a distance too.
#[derive(Clone, Debug)]
pub struct Selector {
    target: Layers,
    /// The highest spatial layer that is sent on; `None` before the first key picture.
    spatial: Option<u8>,
    /// The highest temporal layer of the newest picture's time.
    temporal: u8,
    /// Spatial layers of the stream, as far as known.
    available: u8,
    /// For each spatial layer: of so many temporal layers nothing was left out since it began.
    unbroken: [u8; SPATIAL_MAX],
    /// Spatial layers that begin anew in the newest picture, and have not come yet.
    awaited: u8,
    left_out: LeftOut,
    /// The newest picture's id, or a count where there is none.
    newest: Option<u16>,
    /// Spatial layers of the newest picture that were decided about, and were sent on.
    decided: u8,
    sent: u8,
    /// The newest picture is of a temporal layer that the receiver gets.
    due: bool,
    /// The last packet ended its picture.
    ended: bool,
    starved: u8,
    continuity: Continuity,
}

impl Default for Selector {
    fn default() -> Self {
        Self {
            target: Layers::ALL,
            spatial: None,
            temporal: Layers::ALL.temporal,
            available: 1,
            unbroken: [0; SPATIAL_MAX],
            awaited: 0,
            left_out: LeftOut([u8::MAX; MEMORY as usize]),
            newest: None,
            decided: 0,
            sent: 0,
            due: false,
            ended: true,
            starved: 0,
            continuity: Continuity::default(),
        }
    }
}

impl Selector {
    /// The layers that the receiver shall get, as soon as they can be decoded.
    pub fn set_target(&mut self, target: Layers) {
        self.target = target;
    }

    /// Packets of another source follow, this one first. Its picture ids continue the old ones.
    pub fn switch(&mut self, first: &Descriptor) {
        let mut continuity = self.continuity;
        continuity.switch(&first.numbers);
        *self = Self {
            target: self.target,
            continuity,
            ..Self::default()
        };
    }

    /// The highest spatial layer that is sent on; `None` before the first key picture.
    #[must_use]
    pub fn spatial(&self) -> Option<u8> {
        self.spatial
    }

    /// Only a key picture brings the receiver to its target.
    #[must_use]
    pub fn needs_keyframe(&self) -> bool {
        let Some(spatial) = self.spatial else {
            return true;
        };
        let wanted = self.wanted();
        let out_of_reach = wanted > spatial || (wanted < spatial && !self.is_unbroken(wanted));
        out_of_reach || self.starved >= STARVED
    }

    /// Decides about a packet. `marker` as it came.
    pub fn take(&mut self, packet: &Descriptor, marker: bool) -> Verdict {
        match self.place(packet) {
            Step::Late(back) => return self.take_late(packet, marker, back),
            Step::New(ahead) => self.open(packet, ahead),
            Step::Same => {}
        }
        self.ended = marker;
        let layer = bit(packet);
        if self.decided & layer == 0 {
            self.decide(packet);
        }
        if self.sent & layer == 0 {
            return Verdict::Drop;
        }
        Verdict::Forward(Passage {
            marker: marker || self.ends_picture(packet),
            edits: self.continuity.newest(&packet.numbers),
            descriptor: None,
        })
    }

    /// A packet of an older picture shares the fate of its frame.
    fn take_late(&self, packet: &Descriptor, marker: bool, back: u16) -> Verdict {
        let picture = self.newest.unwrap_or_default().wrapping_sub(back);
        let frame_left_out = self.left_out.has(picture, bit(packet));
        if frame_left_out || packet.layers.temporal > self.temporal {
            return Verdict::Drop;
        }
        Verdict::Forward(Passage {
            marker: marker || self.ends_picture(packet),
            edits: self.continuity.late(&packet.numbers, 0),
            descriptor: None,
        })
    }

    fn ends_picture(&self, packet: &Descriptor) -> bool {
        packet.ends_frame() && self.spatial == Some(packet.layers.spatial)
    }

    fn place(&self, packet: &Descriptor) -> Step {
        if let Some(id) = packet.numbers.picture_id {
            return step(self.newest, id.value, id.mask(), MEMORY);
        }
        // Without ids pictures are told apart by their ends, and by layers that start again.
        let again = packet.begins_frame() && self.decided & bit(packet) != 0;
        let lower = u32::from(packet.layers.spatial) + 1 < u8::BITS - self.decided.leading_zeros();
        if self.ended || again || lower {
            Step::New(1)
        } else {
            Step::Same
        }
    }

    /// A new picture: what the receiver no longer wants ends here.
    fn open(&mut self, packet: &Descriptor, ahead: u16) {
        if self.sent != 0 {
            self.starved = 0;
        } else if self.spatial.is_some() && self.due {
            self.starved = self.starved.saturating_add(1);
        }
        if let Some(structure) = packet.structure {
            self.available = structure.spatial_layers;
        }
        self.temporal = self.target.temporal;
        self.due = packet.layers.temporal <= self.temporal;
        self.trust_missing();
        let starts = self.spatial.is_some() || packet.begins_frame();
        if starts && packet.stands_alone() && packet.layers.temporal == 0 {
            self.open_key_picture(packet);
        } else {
            self.step_down();
        }
        (self.decided, self.sent) = (0, 0);
        self.move_to(packet, ahead);
    }

    fn open_key_picture(&mut self, packet: &Descriptor) {
        let wanted = self.wanted();
        if packet.serves_upper_layers() {
            self.spatial = Some(wanted);
            self.awaited = layers_above(Some(packet.layers.spatial)) & !layers_above(self.spatial);
            return;
        }
        // Upper layers, if there are any, begin by themselves.
        let highest = self.available.saturating_sub(1);
        let current = self.spatial.unwrap_or(packet.layers.spatial);
        self.spatial = Some(current.min(highest));
    }

    /// Layers that began in the last key picture, but got lost on the way: they may still come.
    fn trust_missing(&mut self) {
        for (layer, unbroken) in self.unbroken.iter_mut().enumerate() {
            if self.awaited >> layer & 1 != 0 {
                *unbroken = WHOLE;
            }
        }
        self.awaited = 0;
    }

    fn step_down(&mut self) {
        let (Some(spatial), wanted) = (self.spatial, self.wanted()) else {
            return;
        };
        let lower = (wanted..spatial).find(|layer| self.is_unbroken(*layer));
        self.spatial = lower.or(self.spatial);
    }

    /// Makes the picture the newest. What is skipped counts as sent as far as it would have been.
    fn move_to(&mut self, packet: &Descriptor, ahead: u16) {
        let id = packet.numbers.picture_id.map(|id| id.value);
        let newest = id.unwrap_or_else(|| self.newest.unwrap_or_default().wrapping_add(1));
        self.newest = Some(newest);
        let upper = layers_above(self.spatial);
        for back in 0..ahead.min(MEMORY) {
            // Behind a new beginning nothing was sent.
            let unknown = ahead >= MEMORY && back > 0;
            if let Some(slot) = self.left_out.slot(newest.wrapping_sub(back)) {
                *slot = if unknown { u8::MAX } else { upper };
            }
        }
    }

    /// Decides about a frame of the newest picture.
    fn decide(&mut self, packet: &Descriptor) {
        let layer = bit(packet);
        self.decided |= layer;
        self.awaited &= !layer;
        self.available = self.available.max(packet.layers.spatial + 1);
        // A lower frame that has not come yet is not left out, if its layer is sent.
        let newest = self.newest.unwrap_or_default();
        let stands = !packet.inter_layer || !self.left_out.has(newest, layer >> 1);
        if stands && self.may_enter(packet) {
            self.spatial = Some(packet.layers.spatial);
        }
        let send = stands && self.is_wanted(packet) && self.follows(packet);
        self.note(packet, send);
    }

    /// The frame begins its layer anew, and the layer is nearer to the target than the current one.
    fn may_enter(&self, packet: &Descriptor) -> bool {
        let (layer, wanted) = (packet.layers.spatial, self.wanted());
        let nearer = self.spatial.is_some_and(|current| {
            (current < layer && layer <= wanted) || (wanted <= layer && layer < current)
        });
        nearer && !packet.is_inter_picture() && packet.layers.temporal == 0
    }

    fn is_wanted(&self, packet: &Descriptor) -> bool {
        let layer = packet.layers.spatial;
        let needed = self.spatial.is_some_and(|current| {
            layer == current || (layer < current && packet.serves_upper_layers())
        });
        needed && packet.layers.temporal <= self.temporal
    }

    /// Nothing that the frame refers to in earlier pictures was left out.
    fn follows(&self, packet: &Descriptor) -> bool {
        if !packet.is_inter_picture() {
            return true;
        }
        if packet.is_flexible() {
            let (newest, layer) = (self.newest.unwrap_or_default(), bit(packet));
            let mut references = packet.references.iter();
            return references.all(|back| {
                let picture = newest.wrapping_sub(u16::from(back));
                !self.left_out.has(picture, layer)
            });
        }
        packet.layers.temporal < self.unbroken_of(packet.layers.spatial)
    }

    fn note(&mut self, packet: &Descriptor, send: bool) {
        let (layer, temporal) = (bit(packet), packet.layers.temporal);
        if let Some(slot) = self.left_out.slot(self.newest.unwrap_or_default()) {
            *slot = if send { *slot & !layer } else { *slot | layer };
        }
        if send {
            self.sent |= layer;
        }
        let spatial = usize::from(packet.layers.spatial);
        let Some(unbroken) = self.unbroken.get_mut(spatial) else {
            return;
        };
        let anew = temporal == 0 && !packet.is_inter_picture();
        if !send {
            *unbroken = temporal.min(*unbroken);
            self.give_up(packet);
        } else if anew || (packet.switching_up && temporal < *unbroken) {
            *unbroken = WHOLE;
        }
    }

    /// The highest layer turned out to be out of reach: those below go on, with markers of their own.
    fn give_up(&mut self, packet: &Descriptor) {
        let highest = self.spatial == Some(packet.layers.spatial);
        if highest && packet.layers.temporal == 0 && self.sent != 0 {
            let below = u8::BITS - 1 - self.sent.leading_zeros();
            self.spatial = u8::try_from(below).ok();
        }
    }

    /// The highest spatial layer that the receiver shall get of those there are.
    fn wanted(&self) -> u8 {
        self.target.spatial.min(self.available.saturating_sub(1))
    }

    fn unbroken_of(&self, spatial: u8) -> u8 {
        let found = self.unbroken.get(usize::from(spatial));
        found.copied().unwrap_or_default()
    }

    fn is_unbroken(&self, spatial: u8) -> bool {
        self.unbroken_of(spatial) > 0
    }
}

fn bit(packet: &Descriptor) -> u8 {
    1 << (packet.layers.spatial & 7)
}

/// The bits of all layers above `spatial`.
fn layers_above(spatial: Option<u8>) -> u8 {
    match spatial {
        Some(spatial) => u8::MAX.checked_shl(u32::from(spatial) + 1).unwrap_or(0),
        None => u8::MAX,
    }
}
