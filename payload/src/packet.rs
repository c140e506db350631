//! A packet as its payload tells it, whatever the codec.

use crate::verdict::Layers;
use crate::{av1, h264, vp8, vp9};

/// A codec whose packets can be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// RFC 7741.
    Vp8,
    /// RFC 9628.
    Vp9,
    /// RTP Payload Format For AV1, v1.0.
    Av1,
    /// RFC 6184.
    H264,
}

/// True if `payload` is the first packet of a key frame.
#[must_use]
pub fn starts_keyframe(codec: Codec, payload: &[u8]) -> bool {
    match codec {
        Codec::Vp8 => vp8::Descriptor::parse(payload).is_some_and(|it| it.starts_keyframe),
        Codec::Vp9 => vp9::Descriptor::parse(payload).is_some_and(|it| it.starts_keyframe()),
        Codec::Av1 => av1::starts_keyframe(payload),
        Codec::H264 => h264::Packet::parse(payload).is_some_and(|it| it.starts_keyframe),
    }
}

/// What was read of a packet: once, for all its receivers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Packet {
    /// It could not be read, or AV1 came without a dependency descriptor.
    #[default]
    Opaque,
    /// VP8.
    Vp8(vp8::Descriptor),
    /// VP9.
    Vp9(vp9::Descriptor),
    /// AV1, or whatever else has a dependency descriptor.
    Av1(av1::Frame),
    /// H264.
    H264(h264::Packet),
}

/// Reads the packets of one source, in their order.
#[derive(Clone, Debug)]
pub struct Reader {
    codec: Codec,
    structure: av1::Structure,
}

impl Reader {
    /// For packets of `codec`.
    #[must_use]
    pub fn new(codec: Codec) -> Self {
        Self {
            codec,
            structure: av1::Structure::default(),
        }
    }

    /// Reads a packet. `descriptor`: the bytes of its dependency descriptor, looked at for AV1 only.
    pub fn read(&mut self, payload: &[u8], descriptor: Option<&[u8]>) -> Packet {
        let found = match self.codec {
            Codec::Vp8 => vp8::Descriptor::parse(payload).map(Packet::Vp8),
            Codec::Vp9 => vp9::Descriptor::parse(payload).map(Packet::Vp9),
            Codec::Av1 => descriptor
                .and_then(|bytes| self.structure.read(bytes))
                .map(Packet::Av1),
            Codec::H264 => h264::Packet::parse(payload).map(Packet::H264),
        };
        found.unwrap_or_default()
    }
}

/// What all codecs say of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// The first packet of a key frame.
    pub starts_keyframe: bool,
    /// The layers of its frame.
    pub layers: Layers,
    /// A higher layer may be entered here, from what was sent of the lower ones.
    pub switching_point: bool,
    /// The first packet of its frame, one spatial layer of a picture. `false`: or it cannot be told.
    pub begins_frame: bool,
    /// The last packet of its frame.
    pub ends_frame: bool,
    /// The last packet of its picture.
    pub ends_picture: bool,
    /// Nothing refers to its frame. `false`: or it cannot be told.
    pub droppable: bool,
}

/// Where a packet stands among the spatial layers of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The layer of its frame.
    pub layer: u8,
    /// The stream has so many, as far as the packet tells: at least one.
    pub layers: u8,
    /// The layers whose receivers get it, if they get all frame rates: one bit each.
    pub needed_by: u8,
}

impl Default for Standing {
    fn default() -> Self {
        Self {
            layer: 0,
            layers: 1,
            needed_by: u8::MAX,
        }
    }
}

impl Packet {
    /// Where it stands among spatial layers.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match self {
            Self::Opaque | Self::Vp8(_) | Self::H264(_) => Standing::default(),
            Self::Vp9(it) => it.standing(),
            Self::Av1(it) => it.standing(),
        }
    }

    /// What it says. `marker` as it came.
    #[must_use]
    pub fn info(&self, marker: bool) -> Info {
        let unknown = Info {
            ends_frame: marker,
            ends_picture: marker,
            ..Info::default()
        };
        match self {
            Self::Opaque => unknown,
            Self::Vp8(it) => Info {
                starts_keyframe: it.starts_keyframe,
                layers: Layers {
                    spatial: 0,
                    temporal: it.temporal,
                },
                switching_point: it.starts_keyframe || it.layer_sync,
                begins_frame: it.begins_frame,
                droppable: it.non_reference,
                ..unknown
            },
            Self::Vp9(it) => Info {
                starts_keyframe: it.starts_keyframe(),
                layers: it.layers,
                switching_point: !it.is_inter_picture() || it.switching_up,
                begins_frame: it.begins_frame(),
                ends_frame: it.ends_frame() || marker,
                ..unknown
            },
            Self::Av1(it) => Info {
                starts_keyframe: it.starts_keyframe(),
                layers: it.layers,
                switching_point: it.is_switching_point(),
                begins_frame: it.starts,
                ends_frame: it.ends,
                droppable: it.is_discardable(),
                ..unknown
            },
            Self::H264(it) => Info {
                starts_keyframe: it.starts_keyframe,
                layers: Layers {
                    spatial: 0,
                    temporal: u8::from(it.droppable),
                },
                droppable: it.droppable,
                ..unknown
            },
        }
    }
}
