//! Media that is encoded once and sent many times: codecs, layers, frames and the file they are
//! kept in.
//!
//! Owns: [`Media`] (what one participant can publish) and its pack format. Where it comes from:
//! [`make::make_media`] with ffmpeg, or [`synthetic::synthetic`] without. Must not: know packets;
//! that is [`crate::packetize`].

pub mod make;
pub mod synthetic;

mod annexb;
mod ivf;
mod opus;
mod pack;

pub use pack::PackError;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Sizes and rates of the simulcast layers, from low to high.
pub const LAYERS: [LayerSettings; 3] = [
    LayerSettings::new(Layer::Low, 320, 180, 150_000),
    LayerSettings::new(Layer::Medium, 640, 360, 500_000),
    LayerSettings::new(Layer::High, 1280, 720, 1_700_000),
];

/// What is sent in RTP.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// VP8 video (RFC 6386, RTP payload RFC 7741).
    Vp8,
    /// H.264 video, constrained baseline (RTP payload RFC 6184, packetization mode 1).
    H264,
    /// Opus audio, 48 kHz, 20 ms a packet (RFC 6716, RTP payload RFC 7587).
    Opus,
}

impl Codec {
    /// Ticks of the RTP timestamp in a second.
    #[must_use]
    pub fn clock_rate(self) -> u32 {
        match self {
            Self::Vp8 | Self::H264 => 90_000,
            Self::Opus => 48_000,
        }
    }

    /// True for pictures.
    #[must_use]
    pub fn is_video(self) -> bool {
        self != Self::Opus
    }
}

/// A simulcast layer, by the names that LiveKit gives them.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// `q`, and all audio.
    Low,
    /// `h`.
    Medium,
    /// `f`.
    High,
}

impl Layer {
    /// All, from low to high.
    pub const ALL: [Self; 3] = [Self::Low, Self::Medium, Self::High];

    /// 0, 1, 2 from low to high.
    #[must_use]
    pub fn index(self) -> u8 {
        match self {
            Self::Low => 0,
            Self::Medium => 1,
            Self::High => 2,
        }
    }

    /// The layer of an [`Layer::index`].
    #[must_use]
    pub fn from_index(index: u8) -> Option<Self> {
        Self::ALL.get(usize::from(index)).copied()
    }

    /// Its size, by the lines of a picture.
    #[must_use]
    pub fn lines(self) -> &'static str {
        match self {
            Self::Low => "180p",
            Self::Medium => "360p",
            Self::High => "720p",
        }
    }

    /// The RTP stream id (RFC 8852) in a LiveKit offer.
    #[must_use]
    pub fn rid(self) -> &'static str {
        match self {
            Self::Low => "q",
            Self::Medium => "h",
            Self::High => "f",
        }
    }
}

/// One layer's size and rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerSettings {
    /// Which.
    pub layer: Layer,
    /// Pixels.
    pub width: u16,
    /// Pixels.
    pub height: u16,
    /// Bits a second, on the average.
    pub bitrate: u32,
}

impl LayerSettings {
    /// Settings of these values.
    #[must_use]
    pub const fn new(layer: Layer, width: u16, height: u16, bitrate: u32) -> Self {
        Self {
            layer,
            width,
            height,
            bitrate,
        }
    }
}

/// What is made: by ffmpeg, or without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaSettings {
    /// Length of the loop, in seconds: 1 to 60.
    pub seconds: u32,
    /// Video frames a second: 1 to 60.
    pub frame_rate: u32,
    /// Frames from key frame to key frame.
    pub key_interval: u32,
    /// The video layers, from low to high.
    pub layers: Vec<LayerSettings>,
    /// Bits a second of the audio.
    pub audio_bitrate: u32,
    /// Video codecs to make.
    pub codecs: Vec<Codec>,
}

impl Default for MediaSettings {
    fn default() -> Self {
        Self {
            seconds: 8,
            frame_rate: 25,
            key_interval: 50,
            layers: LAYERS.to_vec(),
            audio_bitrate: 32_000,
            codecs: vec![Codec::Vp8, Codec::H264],
        }
    }
}

/// One encoded picture or one packet of sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Decoding can start here.
    pub key: bool,
    /// Microseconds until the next frame.
    pub duration_us: u32,
    /// VP8: the frame. Opus: the packet. H.264: NAL units, each behind its length in four bytes.
    pub bytes: Arc<[u8]>,
}

/// One encoding of one source, to be played in a loop. Its first frame is a key frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// How it is encoded.
    pub codec: Codec,
    /// Which layer.
    pub layer: Layer,
    /// Pixels; 0 for audio.
    pub width: u16,
    /// Pixels; 0 for audio.
    pub height: u16,
    /// The loop.
    pub frames: Vec<Frame>,
}

impl Stream {
    /// Mean rate of the media, in bits a second.
    #[must_use]
    pub fn bitrate(&self) -> u64 {
        let bytes: u64 = self
            .frames
            .iter()
            .map(|frame| frame.bytes.len() as u64)
            .sum();
        let us: u64 = self
            .frames
            .iter()
            .map(|frame| u64::from(frame.duration_us))
            .sum();
        (bytes * 8_000_000).checked_div(us).unwrap_or(0)
    }
}

/// All that a participant can publish. All video streams have the same number of frames of the
/// same durations, with key frames at the same places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Media {
    /// In no particular order.
    pub streams: Vec<Stream>,
}

impl Media {
    /// The stream of this codec and layer.
    #[must_use]
    pub fn stream(&self, codec: Codec, layer: Layer) -> Option<&Stream> {
        self.streams
            .iter()
            .find(|stream| stream.codec == codec && stream.layer == layer)
    }

    /// Makes the layers of one codec equally long: encoders may drop a frame at the end.
    fn align(&mut self) {
        for codec in [Codec::Vp8, Codec::H264] {
            let lengths = self.streams.iter().filter(|stream| stream.codec == codec);
            let Some(shortest) = lengths.map(|stream| stream.frames.len()).min() else {
                continue;
            };
            let layers = self.streams.iter_mut();
            for stream in layers.filter(|stream| stream.codec == codec) {
                stream.frames.truncate(shortest);
            }
        }
    }
}
