//! Tracks: what a client publishes, what it receives.

use livekit_protocol as lk;
use std::sync::Arc;
use str0m::media::Rid;

/// Sound or picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Sound.
    Audio,
    /// Picture.
    Video,
}

impl Kind {
    pub(crate) fn of_section(video: bool) -> Self {
        if video { Self::Video } else { Self::Audio }
    }

    pub(crate) fn media(self) -> str0m::media::MediaKind {
        match self {
            Self::Audio => str0m::media::MediaKind::Audio,
            Self::Video => str0m::media::MediaKind::Video,
        }
    }
}

/// A codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Codec {
    /// Audio, 48 kHz.
    Opus,
    /// Video, 90 kHz.
    Vp8,
    /// Video, 90 kHz; packetization mode 1.
    H264,
    /// Video, 90 kHz.
    Vp9,
}

impl Codec {
    /// Sound or picture.
    pub fn kind(self) -> Kind {
        match self {
            Self::Opus => Kind::Audio,
            Self::Vp8 | Self::H264 | Self::Vp9 => Kind::Video,
        }
    }

    /// As LiveKit's clients write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Opus => "opus",
            Self::Vp8 => "vp8",
            Self::H264 => "h264",
            Self::Vp9 => "vp9",
        }
    }

    pub(crate) fn str0m(self) -> str0m::format::Codec {
        match self {
            Self::Opus => str0m::format::Codec::Opus,
            Self::Vp8 => str0m::format::Codec::Vp8,
            Self::H264 => str0m::format::Codec::H264,
            Self::Vp9 => str0m::format::Codec::Vp9,
        }
    }
}

/// A layer of a video that is sent several times in different sizes (simulcast). What is sent once is
/// [`Layer::High`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Layer {
    /// `q`, a quarter of the width.
    Low,
    /// `h`, half of the width.
    Medium,
    /// `f`, all of it.
    High,
}

impl Layer {
    /// All, smallest first.
    pub const ALL: [Self; 3] = [Self::Low, Self::Medium, Self::High];

    /// Its restriction id (RFC 8851), as LiveKit's clients choose it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Low => "q",
            Self::Medium => "h",
            Self::High => "f",
        }
    }

    /// The layer with this restriction id.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|layer| layer.name() == name)
    }

    pub(crate) fn rid(self) -> Rid {
        Rid::from_array(match self {
            Self::Low => *b"q       ",
            Self::Medium => *b"h       ",
            Self::High => *b"f       ",
        })
    }

    pub(crate) fn quality(self) -> lk::VideoQuality {
        match self {
            Self::Low => lk::VideoQuality::Low,
            Self::Medium => lk::VideoQuality::Medium,
            Self::High => lk::VideoQuality::High,
        }
    }
}

/// Size and bit rate of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerSpec {
    /// Which.
    pub layer: Layer,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Bits per second.
    pub bitrate_bps: u32,
}

/// A track to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackSpec {
    /// Name that others see.
    pub name: String,
    /// What it shows or plays.
    pub source: lk::TrackSource,
    /// How it is encoded.
    pub codec: Codec,
    /// Of a video, smallest first. With two or more it is simulcast.
    pub layers: Vec<LayerSpec>,
    /// Starts muted.
    pub muted: bool,
}

impl TrackSpec {
    /// A microphone, Opus.
    pub fn microphone() -> Self {
        Self {
            name: "microphone".to_owned(),
            source: lk::TrackSource::Microphone,
            codec: Codec::Opus,
            layers: Vec::new(),
            muted: false,
        }
    }

    /// A camera with these layers.
    pub fn camera(codec: Codec, layers: impl Into<Vec<LayerSpec>>) -> Self {
        Self {
            name: "camera".to_owned(),
            source: lk::TrackSource::Camera,
            codec,
            layers: layers.into(),
            muted: false,
        }
    }

    /// Sound or picture.
    pub fn kind(&self) -> Kind {
        self.codec.kind()
    }

    /// It is sent in several sizes.
    pub fn is_simulcast(&self) -> bool {
        self.kind() == Kind::Video && self.layers.len() > 1
    }

    pub(crate) fn has_layer(&self, layer: Layer) -> bool {
        if self.is_simulcast() {
            self.layers.iter().any(|known| known.layer == layer)
        } else {
            layer == Layer::High
        }
    }
}

/// A published track, by its place in the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackHandle(pub(crate) u32);

/// A track of another participant that arrives, by its place in the session. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RemoteId(pub(crate) u32);

impl RemoteId {
    /// Counts from 0: good as an index.
    pub fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// A track of another participant that arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteTrack {
    /// Its place in the session.
    pub id: RemoteId,
    /// The server's name for it, `TR_...`.
    pub sid: String,
    /// The server's name for its owner, `PA_...`; empty if the server has not said.
    pub participant_sid: String,
    /// The owner's identity; empty if the server has not said yet.
    pub identity: String,
    /// Sound or picture.
    pub kind: Kind,
    /// What it shows or plays; unknown if the server has not said yet.
    pub source: lk::TrackSource,
    /// Of the media section that carries it.
    pub mid: String,
}

/// One packet to send. Its sequence number and its payload type are the session's business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtpOut {
    /// What the codec's payload format says (RFC 7587, RFC 7741, RFC 6184), up to about 1,150 bytes.
    pub payload: Arc<[u8]>,
    /// Media time in the codec's clock.
    pub timestamp: u32,
    /// The last packet of a frame, or the first one after silence.
    pub marker: bool,
    /// Loudness in -dBov, 0 to 127 (RFC 6464), for audio.
    pub audio_level: Option<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_have_the_names_of_livekits_clients() {
        for (layer, name) in Layer::ALL.into_iter().zip(["q", "h", "f"]) {
            assert_eq!(layer.name(), name);
            assert_eq!(&*layer.rid(), name);
            assert_eq!(Layer::of_name(name), Some(layer));
        }
        assert_eq!(Layer::of_name("x"), None);
    }

    #[test]
    fn what_is_sent_once_has_the_high_layer_only() {
        let low = LayerSpec {
            layer: Layer::Low,
            width: 320,
            height: 180,
            bitrate_bps: 100_000,
        };
        let once = TrackSpec::camera(Codec::Vp8, [low]);
        assert!(!once.is_simulcast() && once.has_layer(Layer::High) && !once.has_layer(Layer::Low));
        let high = LayerSpec {
            layer: Layer::High,
            ..low
        };
        let twice = TrackSpec::camera(Codec::Vp8, [low, high]);
        assert!(twice.is_simulcast() && twice.has_layer(Layer::Low));
        assert!(!twice.has_layer(Layer::Medium));
    }
}
