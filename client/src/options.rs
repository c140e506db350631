//! What a client is told before it joins.

use crate::tls::Tls;
use crate::track::Codec;
use livekit_protocol as lk;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// The signalling protocol that is spoken: 17 would promise packet trailers.
pub(crate) const CLIENT_PROTOCOL: i32 = 16;

/// How often LiveKit's clients try to resume: for about 45 s.
pub const RESUME_ATTEMPTS: u32 = 10;

/// How many peer connections a client has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PeerMode {
    /// One for both directions, on `/rtc/v1`; the client offers.
    #[default]
    Single,
    /// One a direction, on `/rtc`; the server offers what it sends.
    Dual,
}

/// One of a client's peer connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Connection {
    /// On which the client sends; with [`PeerMode::Single`] the only one.
    Publisher,
    /// On which it receives, with [`PeerMode::Dual`].
    Subscriber,
}

/// What happens to media that arrives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fidelity {
    /// Decrypted, lost packets asked for again, handed out as
    /// [`SessionEvent::Rtp`](crate::SessionEvent::Rtp).
    #[default]
    Full,
    /// Only the clear headers are read and handed out as
    /// [`SessionEvent::Header`](crate::SessionEvent::Header). Costs a fraction, and nothing is
    /// allocated for a packet. Nobody checks that packets can be decrypted, nothing lost is asked for
    /// again, and receiver reports do not cover this media: a server that adapts to them must not be
    /// judged by such clients. Transport-wide congestion control is not negotiated, so that no
    /// server waits for feedback.
    Counting,
}

/// How many media sections for receiving the first offer has ([`PeerMode::Single`]). More are added
/// when the server asks for them, at the price of an offer and an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sections {
    /// For audio.
    pub audio: u32,
    /// For video.
    pub video: u32,
}

impl Default for Sections {
    /// What LiveKit's own clients offer.
    fn default() -> Self {
        Self { audio: 3, video: 3 }
    }
}

/// Where a client's sockets are bound; one a connection, because servers tell connections apart by
/// their addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalAddresses {
    /// Of [`Connection::Publisher`].
    pub publisher: SocketAddr,
    /// Of [`Connection::Subscriber`]; needed with [`PeerMode::Dual`].
    pub subscriber: Option<SocketAddr>,
}

/// What the pure core must know.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionOptions {
    /// One peer connection or two.
    pub mode: PeerMode,
    /// What happens to media that arrives.
    pub fidelity: Fidelity,
    /// The server subscribes the client to every track by itself.
    pub auto_subscribe: bool,
    /// The server may pause and shrink video that the client has not asked to see large.
    pub adaptive_stream: bool,
    /// Sections of the first offer.
    pub receive: Sections,
    /// Video codecs that are offered, besides Opus for audio.
    pub video_codecs: Vec<Codec>,
    /// Tells one client's names from another's; any number that differs.
    pub seed: u64,
    /// How the client calls itself.
    pub client_info: lk::ClientInfo,
    /// After joining, how long media may take until it is connected.
    pub media_timeout: Duration,
    /// How often a session whose signalling connection was lost tries to resume, with growing pauses,
    /// before it ends. 0: it ends at once, as suits whoever counts what goes wrong. LiveKit's clients
    /// try [`RESUME_ATTEMPTS`] times.
    pub resume_attempts: u32,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            mode: PeerMode::default(),
            fidelity: Fidelity::default(),
            auto_subscribe: true,
            adaptive_stream: false,
            receive: Sections::default(),
            video_codecs: vec![Codec::Vp8, Codec::H264],
            seed: 0,
            client_info: lk::ClientInfo {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                protocol: CLIENT_PROTOCOL,
                os: std::env::consts::OS.to_owned(),
                ..lk::ClientInfo::default()
            },
            media_timeout: Duration::from_secs(20),
            resume_attempts: 0,
        }
    }
}

/// What [`Client::connect`](crate::Client::connect) must know.
#[derive(Clone)]
pub struct ConnectOptions {
    /// The server: `ws`, `wss`, `http` or `https`, with a path in front of `/rtc` if it has one.
    pub url: String,
    /// An access token of the server's.
    pub token: String,
    /// About the session.
    pub session: SessionOptions,
    /// A server that has no `/rtc/v1` (404) is asked on `/rtc`, with [`PeerMode::Dual`].
    /// [`Session::mode`](crate::Session::mode) says which it became.
    pub fallback: bool,
    /// Further header fields of the handshake, such as a proxy in between wants.
    pub headers: Vec<(String, String)>,
    /// Whom to trust with `wss`; `None`: the certificate authorities of this machine.
    pub tls: Option<Tls>,
    /// For each of: the TCP connection with TLS, the WebSocket's handshake, the join response.
    pub step_timeout: Duration,
}

impl ConnectOptions {
    /// With defaults for all but the necessary.
    pub fn new(url: impl Into<String>, token: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            token: token.into(),
            session: SessionOptions::default(),
            fallback: true,
            headers: Vec::new(),
            tls: None,
            step_timeout: Duration::from_secs(10),
        }
    }
}

impl fmt::Debug for ConnectOptions {
    /// Without the token and without values of headers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("url", &self.url)
            .field("session", &self.session)
            .field("step_timeout", &self.step_timeout)
            .finish_non_exhaustive()
    }
}
