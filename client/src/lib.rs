//! A client of LiveKit's protocol without a browser: it joins, publishes, receives and counts.
//!
//! Owns: the signalling WebSocket, the SDP dance over str0m, one UDP socket a connection, and the
//! loop that drives them. Must not: encode or decode media, know what a load test or a recorder
//! wants, or know anything of a server but the public protocol.
//!
//! # The way of a join
//!
//! 1. [`Client::connect`] reads the URL ([`ServerUrl`]), dials it and binds a UDP socket on the
//!    address from which the server is reached.
//! 2. A [`Session`], the pure core, makes the first offer. It travels in the request target of the
//!    WebSocket ([`PeerMode::Single`]), or there is none ([`PeerMode::Dual`]).
//! 3. The `JoinResponse` is [`SessionEvent::Joined`]; what follows, the server's answer or its first
//!    offer, brings addresses. str0m checks them (ICE) and agrees on keys (DTLS):
//!    [`SessionEvent::Connected`].
//! 4. For every track that the server binds to a media section there is a
//!    [`SessionEvent::Subscribed`]. Its packets are [`SessionEvent::Rtp`], decrypted, or
//!    [`SessionEvent::Header`], counted by their clear headers: [`Fidelity`].
//! 5. [`Session::publish`] announces a track; [`SessionEvent::Sending`] says that
//!    [`Session::write`] takes packets.
//! 6. If the signalling connection is lost the session may go on over a new one:
//!    [`SessionOptions::resume_attempts`], [`SessionEvent::Resuming`], [`SessionEvent::Resumed`]. Whom
//!    the server wants to join again ([`EndReason::ServerLeft`]) has to be joined again by the caller.
//! 7. [`SessionEvent::Ended`] is the last event, whoever ended it.
//!
//! # Sockets
//!
//! Clients share none. A server finds a connection by the address that packets come from (ICE learns
//! it, RFC 8445 section 7.3), so two clients behind one socket would be one to it. What they share is
//! the buffer that a thread reads into: one system call brings many datagrams (GRO and `recvmmsg`).
//!
//! [`Timeline`] has the moments of all that. Whoever drives thousands of clients implements
//! [`Agent`]: it lives in the client's task, sees events without a queue in between and writes
//! packets directly. [`Client::connect`] is the comfortable way, with a queue of events.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod agent;
mod dial;
mod driver;
mod error;
mod event;
#[doc(hidden)]
pub mod fuzzing;
mod handshake;
mod options;
mod rtp;
mod sdp;
mod session;
mod signal;
mod signalling;
mod timeline;
mod tls;
mod token;
mod track;
mod udp;
mod url;

pub use agent::{Agent, EventQueue};
pub use driver::{Client, Gone};
pub use error::{ConnectError, Step};
pub use event::{CountedPacket, DataKind, EndReason, ReceivedPacket, SessionEvent};
pub use livekit_protocol as lk;
pub use options::{
    ConnectOptions, Connection, Fidelity, LocalAddresses, PeerMode, RESUME_ATTEMPTS, Sections,
    SessionOptions,
};
pub use rtp::{DatagramKind, RtpHead};
pub use session::{
    Counters, DataError, PublicationError, Session, SessionError, Transmit, WriteError,
};
pub use signalling::Signalling;
pub use timeline::Timeline;
pub use tls::Tls;
pub use token::{AccessToken, TokenError};
pub use track::{
    Codec, Kind, Layer, LayerSpec, RemoteId, RemoteTrack, RtpOut, TrackHandle, TrackSpec,
};
pub use url::{ServerUrl, UrlError};
