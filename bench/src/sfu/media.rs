//! A participant's media, whatever protocol brought it about.

use super::camera::Packet;
use super::plain::Plain;
use client::{
    Codec, Connection, Layer, LayerSpec, RtpOut, Session, SessionEvent, TrackHandle, TrackSpec,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// What was heard.
pub(crate) enum Heard {
    /// A packet that is no repeat. `bytes`: at least the payload's.
    Media {
        source: u32,
        bytes: usize,
        payload: Option<Arc<[u8]>>,
    },
    /// The video's packets are taken from now on.
    CanSend,
    KeyFrameWanted,
    Ended(String),
}

/// A participant's media.
pub(crate) enum Media {
    /// By LiveKit's protocol.
    LiveKit {
        session: Box<Session>,
        camera: Option<TrackHandle>,
    },
    /// By an offer and an answer.
    Plain(Box<Plain>),
}

impl Media {
    /// The video of a session, once.
    pub(crate) fn live_kit(mut session: Box<Session>, publishes: bool, now: Instant) -> Self {
        let layer = LayerSpec {
            layer: Layer::High,
            width: 1280,
            height: 720,
            bitrate_bps: 2_200_000,
        };
        let spec = || TrackSpec::camera(Codec::Vp8, [layer]);
        let camera = publishes.then(|| session.publish(spec(), now));
        Self::LiveKit { session, camera }
    }

    pub(crate) fn handle_datagram(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) {
        match self {
            Self::LiveKit { session, .. } => {
                session.handle_datagram(Connection::Publisher, from, datagram, now);
            }
            Self::Plain(plain) => plain.handle_datagram(from, datagram, now),
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::LiveKit { session, .. } => session.handle_timeout(now),
            Self::Plain(plain) => plain.handle_timeout(now),
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::LiveKit { session, .. } => session.poll_timeout(),
            Self::Plain(plain) => plain.poll_timeout(),
        }
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        match self {
            Self::LiveKit { session, .. } => {
                let transmit = session.poll_transmit()?;
                Some((transmit.to, transmit.contents))
            }
            Self::Plain(plain) => plain.poll_transmit(),
        }
    }

    pub(crate) fn poll_heard(&mut self) -> Option<Heard> {
        match self {
            Self::LiveKit { session, camera } => loop {
                if let Some(heard) = translated(session.poll_event()?, *camera) {
                    return Some(heard);
                }
            },
            Self::Plain(plain) => plain.poll_heard(),
        }
    }

    /// Sends a packet of the video; false: it was not taken.
    pub(crate) fn write(&mut self, packet: Packet, now: Instant) -> bool {
        match self {
            Self::LiveKit { session, camera } => {
                let Some(track) = *camera else {
                    return false;
                };
                let out = RtpOut {
                    payload: packet.payload,
                    timestamp: packet.timestamp,
                    marker: packet.marker,
                    audio_level: None,
                };
                session.write(track, Layer::High, out, now).is_ok()
            }
            Self::Plain(plain) => plain.write(packet, now),
        }
    }

    /// Leaves.
    pub(crate) fn close(&mut self, now: Instant) {
        match self {
            Self::LiveKit { session, .. } => session.leave(now),
            Self::Plain(plain) => plain.close(now),
        }
    }
}

fn translated(event: SessionEvent, camera: Option<TrackHandle>) -> Option<Heard> {
    Some(match event {
        SessionEvent::Rtp(packet) => Heard::Media {
            source: packet.ssrc,
            bytes: packet.payload.len(),
            payload: Some(packet.payload),
        },
        SessionEvent::Header(packet) if !packet.repeats => Heard::Media {
            source: packet.ssrc,
            bytes: packet.bytes,
            payload: None,
        },
        SessionEvent::Sending(track) if Some(track) == camera => Heard::CanSend,
        SessionEvent::KeyframeRequest { .. } => Heard::KeyFrameWanted,
        SessionEvent::PublishRefused { cause, .. } => Heard::Ended(cause),
        SessionEvent::Ended(reason) => Heard::Ended(reason.to_string()),
        _ => return None,
    })
}
