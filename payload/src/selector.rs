//! One receiver's selector, whatever the codec.

use crate::packet::Packet;
use crate::verdict::{Layers, Passage, Verdict};
use crate::{av1, h264, vp8, vp9};

/// Which packets of a track one receiver gets, and how they are written.
#[derive(Clone, Debug, Default)]
pub enum Selector {
    /// Nothing is known of the codec: all packets pass, unchanged.
    #[default]
    Opaque,
    /// See [`vp8::Selector`].
    Vp8(vp8::Selector),
    /// See [`vp9::Selector`].
    Vp9(Box<vp9::Selector>),
    /// See [`av1::Selector`].
    Av1(Box<av1::Selector>),
    /// See [`h264::Selector`].
    H264(h264::Selector),
}

impl Selector {
    /// The layers that the receiver shall get, as soon as they can be decoded; down at once or, where
    /// the stream does not allow it, with its next key frame.
    pub fn set_target(&mut self, target: Layers) {
        match self {
            Self::Opaque => {}
            Self::Vp8(selector) => selector.set_target(target.temporal),
            Self::Vp9(selector) => selector.set_target(target),
            Self::Av1(selector) => selector.set_target(target),
            Self::H264(selector) => selector.set_target(target.temporal),
        }
    }

    /// Packets of another source of the track follow, this one first: of the same codec, with numbers
    /// that continue, or of another. `target` as in [`Self::set_target`].
    pub fn switch(&mut self, first: &Packet, target: Layers) {
        match (&mut *self, first) {
            (Self::Vp8(selector), Packet::Vp8(first)) => selector.switch(Some(first)),
            (Self::Vp9(selector), Packet::Vp9(first)) => selector.switch(first),
            (Self::Av1(selector), Packet::Av1(first)) => selector.switch(first),
            (Self::H264(_), Packet::H264(_)) => {}
            // Its codec is the same as before, as far as can be seen.
            (_, Packet::Opaque) => {}
            _ => *self = Self::of(first),
        }
        self.set_target(target);
    }

    fn of(first: &Packet) -> Self {
        match first {
            Packet::Opaque => Self::Opaque,
            Packet::Vp8(_) => Self::Vp8(vp8::Selector::default()),
            Packet::Vp9(_) => Self::Vp9(Box::default()),
            Packet::Av1(_) => Self::Av1(Box::default()),
            Packet::H264(_) => Self::H264(h264::Selector::default()),
        }
    }

    /// Decides about a packet. `marker` as it came. A packet that could not be read passes.
    pub fn take(&mut self, packet: &Packet, marker: bool) -> Verdict {
        match (self, packet) {
            (Self::Vp8(selector), Packet::Vp8(packet)) => selector.take(packet, marker),
            (Self::Vp9(selector), Packet::Vp9(packet)) => selector.take(packet, marker),
            (Self::Av1(selector), Packet::Av1(frame)) => selector.take(frame, marker),
            (Self::H264(selector), Packet::H264(packet)) => selector.take(packet, marker),
            _ => Verdict::Forward(Passage {
                marker,
                ..Passage::default()
            }),
        }
    }

    /// Only a key frame brings the receiver to its target.
    #[must_use]
    pub fn needs_keyframe(&self) -> bool {
        match self {
            Self::Opaque | Self::Vp8(_) | Self::H264(_) => false,
            Self::Vp9(selector) => selector.needs_keyframe(),
            Self::Av1(selector) => selector.needs_keyframe(),
        }
    }
}
