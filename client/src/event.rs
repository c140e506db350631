//! What a session tells.

use crate::options::Connection;
use crate::track::{Layer, RemoteId, RemoteTrack, TrackHandle};
use livekit_protocol as lk;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// A data channel of the protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DataKind {
    /// `_reliable`: in order, nothing lost.
    Reliable,
    /// `_lossy`: neither.
    Lossy,
}

impl DataKind {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Reliable => "_reliable",
            Self::Lossy => "_lossy",
        }
    }

    pub(crate) fn of_label(label: &str) -> Option<Self> {
        [Self::Reliable, Self::Lossy]
            .into_iter()
            .find(|kind| kind.label() == label)
    }
}

/// A decrypted packet ([`Fidelity::Full`](crate::Fidelity::Full)).
#[derive(Clone, PartialEq, Eq)]
pub struct ReceivedPacket {
    /// The track.
    pub track: RemoteId,
    /// Source. Changes when the server sends another layer as another stream.
    pub ssrc: u32,
    /// Sequence number, continued beyond 16 bits.
    pub sequence: u64,
    /// Media time in the codec's clock.
    pub timestamp: u32,
    /// For video: the last packet of a frame.
    pub marker: bool,
    /// Payload type, as negotiated.
    pub payload_type: u8,
    /// Without header and padding.
    pub payload: Arc<[u8]>,
    /// When it came from the socket.
    pub at: Instant,
}

impl fmt::Debug for ReceivedPacket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceivedPacket")
            .field("track", &self.track)
            .field("ssrc", &self.ssrc)
            .field("sequence", &self.sequence)
            .field("timestamp", &self.timestamp)
            .field("marker", &self.marker)
            .field("bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

/// A packet of which only the clear header was read
/// ([`Fidelity::Counting`](crate::Fidelity::Counting)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountedPacket {
    /// The track.
    pub track: RemoteId,
    /// Source.
    pub ssrc: u32,
    /// The source repeats packets of another one (RTX): the header's numbers are its own.
    pub repeats: bool,
    /// Sequence number, 16 bits: it wraps.
    pub sequence: u16,
    /// Media time in the codec's clock.
    pub timestamp: u32,
    /// For video: the last packet of a frame.
    pub marker: bool,
    /// The whole datagram with header and authentication tag, bytes.
    pub bytes: usize,
    /// When it came from the socket.
    pub at: Instant,
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The client wanted to.
    Left,
    /// The client fell silent: [`Session::vanish`](crate::Session::vanish).
    Vanished,
    /// The server said so.
    ServerLeft {
        /// What the client shall do: stop, or come back.
        action: lk::leave_request::Action,
        /// Why.
        reason: lk::DisconnectReason,
    },
    /// The signalling connection was closed or broke.
    SignalClosed(String),
    /// The server answered nothing for as long as it said it may take.
    SignalTimeout,
    /// Media could not be connected in time.
    MediaTimeout,
    /// Media cannot go on.
    MediaFailed(String),
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Left => f.write_str("the client left"),
            Self::Vanished => f.write_str("the client fell silent"),
            Self::ServerLeft { action, reason } => write!(
                f,
                "the server ended it: {} (the client shall {})",
                reason.as_str_name(),
                match action {
                    lk::leave_request::Action::Disconnect => "stay away",
                    lk::leave_request::Action::Resume => "resume",
                    lk::leave_request::Action::Reconnect => "join again",
                }
            ),
            Self::SignalClosed(cause) => write!(f, "the signalling connection is gone: {cause}"),
            Self::SignalTimeout => f.write_str("the server does not answer pings any more"),
            Self::MediaTimeout => f.write_str(
                "media was not connected in time: check that the server's UDP port can be reached",
            ),
            Self::MediaFailed(cause) => write!(f, "media failed: {cause}"),
        }
    }
}

/// What a session tells.
#[derive(Clone, Debug, PartialEq)]
pub enum SessionEvent {
    /// The server has let the client in.
    Joined(Box<lk::JoinResponse>),
    /// A connection is ready for media: ICE and DTLS are done.
    Connected(Connection),
    /// A connection has lost its way to the server, or found it again.
    Reachable {
        /// Which.
        connection: Connection,
        /// Found it.
        reachable: bool,
    },
    /// Another participant came or changed.
    Participant(Box<lk::ParticipantInfo>),
    /// Another participant left.
    ParticipantLeft {
        /// `PA_...`.
        sid: String,
        /// Its identity.
        identity: String,
    },
    /// A track of ours has a name.
    TrackPublished {
        /// Which.
        track: TrackHandle,
        /// What the server says about it.
        info: Box<lk::TrackInfo>,
    },
    /// A track of ours is negotiated: packets go out.
    Sending(TrackHandle),
    /// A track of ours was not taken, or was ended by the server.
    PublishRefused {
        /// Which; it is forgotten.
        track: TrackHandle,
        /// Why.
        cause: String,
    },
    /// The server wants a key frame.
    KeyframeRequest {
        /// Of this track.
        track: TrackHandle,
        /// Of this layer.
        layer: Layer,
    },
    /// The server mutes a track of ours, or not any more.
    Muted {
        /// Which.
        track: TrackHandle,
        /// Or not.
        muted: bool,
    },
    /// The server says which layers of a track of ours somebody wants.
    QualityWanted(Box<lk::SubscribedQualityUpdate>),
    /// A track of another participant arrives from now on.
    Subscribed(RemoteTrack),
    /// It does not any more.
    Unsubscribed {
        /// Which.
        id: RemoteId,
        /// `TR_...`.
        sid: String,
    },
    /// A packet of another participant.
    Rtp(ReceivedPacket),
    /// A packet of another participant, unread.
    Header(CountedPacket),
    /// The server needs more media sections, and is being given them.
    SectionsAsked {
        /// For audio.
        audio: u32,
        /// For video.
        video: u32,
    },
    /// A data channel can be written to.
    DataOpen(DataKind),
    /// A data packet of another participant.
    Data {
        /// On which channel it came.
        kind: DataKind,
        /// What.
        packet: Box<lk::DataPacket>,
    },
    /// The answer to a ping.
    RoundTrip(std::time::Duration),
    /// The signalling connection is lost, for this reason, and a new one is tried. Media goes on as far
    /// as it can.
    Resuming(EndReason),
    /// The session goes on over a new signalling connection. Media sections, tracks and ids are what
    /// they were.
    Resumed {
        /// Connections that were tried.
        attempts: u32,
    },
    /// A newer token, for the next join. See
    /// [`Session::refreshed_token`](crate::Session::refreshed_token).
    TokenRefreshed,
    /// Whatever else the server said: speakers, quality, refusals.
    Signal(Box<lk::signal_response::Message>),
    /// Nothing follows.
    Ended(EndReason),
}

impl SessionEvent {
    /// A packet: there are hundreds a second.
    pub(crate) fn is_media(&self) -> bool {
        matches!(self, Self::Rtp(_) | Self::Header(_))
    }
}
