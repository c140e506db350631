//! Participants with another WebRTC implementation than ours: what we measure of ourselves, they must
//! see too.

use crate::receive::StreamSummary;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which implementation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WitnessKind {
    /// The `webrtc` crate.
    Webrtc,
    /// A browser, in the server's web client.
    Browser,
}

impl WitnessKind {
    /// For a reader.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Webrtc => "webrtc crate",
            Self::Browser => "browser",
        }
    }
}

/// One of them, when it has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Witness {
    /// Which implementation.
    pub kind: WitnessKind,
    /// Its identity.
    pub name: String,
    /// Its room.
    pub room: String,
    /// From its request until it was in the room, in milliseconds; none if it never was.
    pub joined_ms: Option<f64>,
    /// From its request to the first picture, in milliseconds; none if there was none.
    pub first_frame_ms: Option<f64>,
    /// Streams that it received.
    pub streams: u64,
    /// Packets that it received; of a browser, those of pictures and sound that it tells.
    pub packets: u64,
    /// Packets that it missed.
    pub lost: u64,
    /// Frames that it decoded (browser), or could have.
    pub frames: u64,
    /// How often a picture froze (W3C webrtc-stats' `freezeCount`).
    pub freezes: u64,
    /// For how long, in seconds.
    pub frozen_s: f64,
    /// What went wrong.
    pub error: Option<String>,
}

impl Witness {
    /// One who has not seen anything yet.
    #[must_use]
    pub fn new(kind: WitnessKind, room: String, name: String) -> Self {
        Self {
            kind,
            name,
            room,
            joined_ms: None,
            first_frame_ms: None,
            streams: 0,
            packets: 0,
            lost: 0,
            frames: 0,
            freezes: 0,
            frozen_s: 0.0,
            error: None,
        }
    }

    /// Takes in a stream that it received.
    pub fn handle_stream(&mut self, stream: &StreamSummary) {
        self.streams += 1;
        self.packets += stream.packets;
        self.lost += stream.missing;
        self.frames += stream.frames;
        self.freezes += stream.freezes;
        self.frozen_s += stream.frozen_s;
    }
}
