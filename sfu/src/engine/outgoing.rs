//! What leaves through a transport beside str0m: media. str0m keeps the connection and reports; the
//! packets, and what is repeated of them, go out from here.
//!
//! Owns: the keys, the way that str0m uses, the streams by section. Must not: decide what is sent.

use super::arrived::ExtensionIds;
use super::config::Transport as Protocol;
use downlink::{Feedback, Keys, Stream, StreamConfig};
use std::net::SocketAddr;
use std::time::Instant;
use str0m::media::Mid;

/// Most packets that one datagram of a client may ask for again. More: it has lost its picture anyway.
const ASKED_MAX: usize = 128;

/// How datagrams reach the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) transport: Protocol,
    /// The socket they leave from.
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
}

/// A packet that a client misses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    /// The place of its stream.
    pub(super) stream: usize,
    pub(super) sequence: u16,
}

/// A stream, and how the client numbers the extensions of its packets.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) mid: Mid,
    pub(super) stream: Stream,
    pub(super) ids: ExtensionIds,
}

/// The media side of one transport.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pub(super) keys: Option<Keys>,
    pub(super) way: Option<Way>,
    /// By their places, which never change.
    streams: Vec<Leaving>,
    scratch: Vec<u8>,
}

impl Outgoing {
    /// The stream of a section, begun anew if the client knows the section's stream by new numbers; its
    /// place.
    pub(super) fn open(&mut self, mid: Mid, config: StreamConfig, ids: ExtensionIds) -> usize {
        let place = self.streams.iter().position(|it| it.mid == mid);
        let Some((place, known)) = place.and_then(|it| Some((it, self.streams.get_mut(it)?)))
        else {
            let stream = Stream::new(config);
            self.streams.push(Leaving { mid, stream, ids });
            return self.streams.len() - 1;
        };
        if known.stream.config().ssrc == config.ssrc {
            // Of another codec from now on.
            known.stream.reconfigure(config);
        } else {
            known.stream = Stream::new(config);
        }
        known.ids = ids;
        place
    }

    /// The stream at a place, and what it takes to send.
    pub(super) fn stream(&mut self, place: usize) -> Option<(&Keys, &mut Leaving)> {
        Some((self.keys.as_ref()?, self.streams.get_mut(place)?))
    }

    /// str0m sends a datagram this way. Sender reports in it get the numbers of our streams. False: it
    /// is not to be sent.
    pub(super) fn pass(&mut self, way: Way, contents: &mut Vec<u8>, now: Instant) -> bool {
        if is_stun(contents) {
            // Answered on whatever way it came.
            return true;
        }
        self.way = Some(way);
        if is_rtp(contents) {
            // str0m numbers packets by itself: none may leave under our key.
            return false;
        }
        if !is_rtcp(contents) {
            return true;
        }
        let Some(keys) = &self.keys else {
            return false;
        };
        let Some(index) = keys.open_own_rtcp(contents, &mut self.scratch) else {
            return false;
        };
        contents.clear();
        downlink::rewrite_reports(&self.scratch, contents, |ssrc| {
            let mut streams = self.streams.iter();
            let found = streams.find(|it| it.stream.config().ssrc == ssrc)?;
            found.stream.figures(now)
        });
        keys.seal_rtcp(contents, index)
    }

    /// What the client says of our streams in a datagram.
    pub(super) fn hear(&mut self, datagram: &[u8], mut misses: impl FnMut(Missing)) {
        let Some(keys) = self.keys.as_ref().filter(|_| is_rtcp(datagram)) else {
            return;
        };
        if !keys.open_peer_rtcp(datagram, &mut self.scratch) {
            return;
        }
        let streams = &mut self.streams;
        let mut asked = 0;
        downlink::read_feedback(&self.scratch, |feedback| {
            let (Feedback::Missing { ssrc, .. } | Feedback::Received { ssrc }) = feedback;
            let place = streams
                .iter()
                .position(|it| it.stream.config().ssrc == ssrc);
            let Some((place, leaving)) = place.and_then(|it| Some((it, streams.get_mut(it)?)))
            else {
                return;
            };
            match feedback {
                Feedback::Received { .. } => leaving.stream.handle_known(),
                Feedback::Missing { sequence, .. } if asked < ASKED_MAX => {
                    asked += 1;
                    misses(Missing {
                        stream: place,
                        sequence,
                    });
                }
                Feedback::Missing { .. } => {}
            }
        });
    }
}

/// RFC 7983.
fn is_stun(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| *first < 4)
}

/// RFC 7983, and no RTCP.
fn is_rtp(datagram: &[u8]) -> bool {
    matches!(datagram.first(), Some(128..192)) && !is_rtcp(datagram)
}

/// RFC 5761 section 4.
fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram, [128..192, 192..224, ..])
}
