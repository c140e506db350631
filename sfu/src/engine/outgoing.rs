//! What leaves through a transport beside str0m: media. str0m keeps the connection and reports; the
//! packets, and what is repeated of them, go out from here.
//!
//! Owns: the keys, the way that str0m uses, the streams by section. Must not: decide what is sent.

use super::arrived::ExtensionIds;
use super::config::Transport as Protocol;
use bandwidth::{Bitrate, Estimator, Why};
use downlink::{Extensions, Feedback, Keys, Stream, StreamConfig};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use str0m::media::Mid;

/// Most packets that one datagram of a client may ask for again. More: it has lost its picture anyway.
const ASKED_MAX: usize = 128;
/// Bytes of a datagram on the line besides its contents: IPv4 and UDP.
const OVERHEAD: usize = 20 + 8;
/// Bytes of a packet on the line besides its payload: the RTP header with extensions and the cipher's tag too.
pub(super) const PACKET_OVERHEAD: usize = OVERHEAD + 12 + 8 + 16;
/// A packet that is asked for again so long after it was sent is what the picture stands still for. libwebrtc
/// itself wants a key frame only 3 s after the last picture.
const STUCK: Duration = Duration::from_millis(500);
/// How long a line is trusted with everything, unless it shows that it is too thin.
const TRUSTED: Duration = Duration::from_millis(1500);
/// What a line is taken for before anything is known of it, and the least and most it may be taken for.
const START: Bitrate = Bitrate::new(600_000);
const MIN: Bitrate = Bitrate::new(30_000);
const MAX: Bitrate = Bitrate::new(100_000_000);

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

/// What a client said.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard {
    /// How its line is.
    pub(super) of_line: bool,
    /// The picture of this section stands still, and what it misses does not come.
    pub(super) stuck: Option<Mid>,
}

/// A stream, and how the client numbers the extensions of its packets.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) mid: Mid,
    pub(super) stream: Stream,
    pub(super) ids: ExtensionIds,
}

/// What a line may be burdened with besides fresh packets: repeats of what it could not carry fill a
/// narrow one.
#[derive(Debug, Default)]
struct Allowance {
    bytes: f64,
    at: Option<Instant>,
}

impl Allowance {
    /// Of a line, so much may be repeats ...
    const SHARE: f64 = 0.25;
    /// ... and so many bytes at once.
    const BURST: f64 = 16_000.0;

    fn has_left(&mut self, line: Bitrate, now: Instant) -> bool {
        let elapsed = self
            .at
            .map_or(1.0, |at| now.saturating_duration_since(at).as_secs_f64());
        self.at = Some(now);
        let rate = line.as_u64() as f64 / 8.0 * Self::SHARE;
        // A tenth of a second of a wide line may be more.
        let most = Self::BURST.max(rate / 10.0);
        self.bytes = (self.bytes + rate * elapsed).min(most);
        self.bytes > 0.0
    }

    fn spend(&mut self, bytes: usize) {
        self.bytes -= bytes as f64;
    }
}

/// What it takes to send on a stream.
pub(super) struct Lane<'a> {
    pub(super) keys: &'a Keys,
    pub(super) leaving: &'a mut Leaving,
    line: Option<&'a mut Estimator>,
}

impl Lane<'_> {
    /// Gives the next packet its number on the line, if the client says when such packets come.
    pub(super) fn number(&self, extensions: &mut Extensions) {
        if let (Some(line), Some(id)) = (&self.line, self.leaving.ids.transport_sequence) {
            // There is room for it.
            let _ = extensions.push(id, &line.next_sequence().to_be_bytes());
        }
    }

    /// It was written, and leaves.
    pub(super) fn sent(&mut self, bytes: usize, why: Why, now: Instant) {
        if let (Some(line), Some(_)) = (&mut self.line, self.leaving.ids.transport_sequence) {
            line.handle_sent(bytes + OVERHEAD, why, now);
        }
    }
}

/// The media side of one transport.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pub(super) keys: Option<Keys>,
    pub(super) way: Option<Way>,
    /// What the line takes is of interest.
    pub(super) estimates: bool,
    /// What the line takes; `None`: nobody wants to know, or the client does not say when packets come.
    pub(super) line: Option<Box<Estimator>>,
    /// When the client first said how it is.
    estimated_since: Option<Instant>,
    /// What may be sent once more.
    repeats: Allowance,
    /// Padding waits to leave.
    pub(super) pads: bool,
    /// What the line was taken for when it was shared last.
    pub(super) shared: Bitrate,
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

    /// The client says when packets come: what its line takes can be known.
    pub(super) fn estimate(&mut self, now: Instant) {
        self.line.get_or_insert_with(|| {
            let config = bandwidth::Config {
                start: START,
                min: MIN,
                max: MAX,
            };
            Box::new(Estimator::new(config, now))
        });
    }

    /// What the line takes, once that is known. At first it is trusted with everything: that shows soonest
    /// what it takes, and a good line shall not begin with a poor picture.
    pub(super) fn estimate_of_line(&self, now: Instant) -> Option<Bitrate> {
        let line = self.line.as_ref()?;
        let estimate = line.estimate()?;
        let since = self.estimated_since?;
        let new = now.saturating_duration_since(since) < TRUSTED;
        (!new || estimate < START).then_some(estimate)
    }

    /// The stream at a place, and what it takes to send.
    pub(super) fn lane(&mut self, place: usize) -> Option<Lane<'_>> {
        Some(Lane {
            keys: self.keys.as_ref()?,
            leaving: self.streams.get_mut(place)?,
            line: self.line.as_deref_mut(),
        })
    }

    /// Nothing that a stream has sent until now is sent once more.
    pub(super) fn forget(&mut self, place: usize) {
        if let Some(leaving) = self.streams.get_mut(place) {
            leaving.stream.forget();
            // What comes instead may need all of it.
            self.repeats = Allowance::default();
        }
    }

    /// Whether the line has room for packets that are sent once more.
    pub(super) fn may_repeat(&mut self, now: Instant) -> bool {
        match self.estimate_of_line(now) {
            Some(estimate) => self.repeats.has_left(estimate, now),
            None => true,
        }
    }

    /// So much was.
    pub(super) fn repeated(&mut self, bytes: usize) {
        self.repeats.spend(bytes);
    }

    /// Places of the streams.
    pub(super) fn places(&self) -> usize {
        self.streams.len()
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
    pub(super) fn hear(
        &mut self,
        datagram: &[u8],
        now: Instant,
        mut misses: impl FnMut(Missing),
    ) -> Heard {
        let mut heard = Heard::default();
        let Some(keys) = self.keys.as_ref().filter(|_| is_rtcp(datagram)) else {
            return heard;
        };
        if !keys.open_peer_rtcp(datagram, &mut self.scratch) {
            return heard;
        }
        let (streams, line) = (&mut self.streams, &mut self.line);
        let mut asked = 0;
        downlink::read_feedback(&self.scratch, |feedback| match feedback {
            Feedback::Received { ssrc } => {
                if let Some((_, leaving)) = by_source(streams, ssrc) {
                    leaving.stream.handle_known();
                }
            }
            Feedback::Missing { ssrc, sequence } => {
                // What is not kept any more shall not stand in the way of what is.
                if let Some((stream, leaving)) = by_source(streams, ssrc)
                    && asked < ASKED_MAX
                    && let Some(age) = leaving.stream.age_of(sequence, now)
                {
                    asked += 1;
                    if age >= STUCK {
                        heard.stuck = Some(leaving.mid);
                    }
                    misses(Missing { stream, sequence });
                }
            }
            Feedback::Arrivals(arrivals) => {
                if let Some(line) = line {
                    heard.of_line |= line.handle_feedback(arrivals, now);
                }
            }
        });
        if heard.of_line {
            self.estimated_since.get_or_insert(now);
        }
        heard
    }
}

fn by_source(streams: &mut [Leaving], ssrc: u32) -> Option<(usize, &mut Leaving)> {
    let mut all = streams.iter_mut().enumerate();
    all.find(|(_, it)| it.stream.config().ssrc == ssrc)
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

#[cfg(test)]
mod tests {
    use super::*;
    use downlink::{Packet, Patch, Payload, Profile, Side};

    /// A packet that the client misses (RFC 4585 section 6.2.1).
    fn nack(client: &Keys, index: u32, source: u8, sequence: u8) -> Vec<u8> {
        let mut packet = vec![0x81, 205, 0, 3];
        packet.extend([0, 0, 0, 9, 0, 0, 0, source, 0, sequence, 0, 0]);
        assert!(client.seal_rtcp(&mut packet, index));
        packet
    }

    #[test]
    fn what_is_asked_for_for_long_is_what_the_picture_stands_still_for() {
        let keys = |side| Keys::new(Profile::Aes128Gcm, &[7; 56], side).unwrap();
        let client = keys(Side::Client);
        let mut outgoing = Outgoing {
            keys: Some(keys(Side::Server)),
            ..Outgoing::default()
        };
        let (now, mid) = (Instant::now(), Mid::from("0"));
        let config = StreamConfig {
            ssrc: 1,
            repeat_ssrc: Some(2),
            clock_rate: 90_000,
        };
        let place = outgoing.open(mid, config, ExtensionIds::default());
        let lane = outgoing.lane(place).unwrap();
        let bytes = b"abc".as_slice().into();
        let packet = Packet {
            sequence: 5,
            timestamp: 0,
            payload: Payload {
                bytes: &bytes,
                payload_type: 96,
                repeat_type: Some(97),
                marker: true,
            },
            patch: Patch::default(),
            extensions: &Extensions::default(),
            shared: None,
        };
        let stream = &mut lane.leaving.stream;
        assert!(stream.send(lane.keys, &packet, now, &mut Vec::new()));
        let mut asked = 0;
        let mut hear = |index, source, sequence, after| {
            let datagram = nack(&client, index, source, sequence);
            let heard = outgoing.hear(&datagram, now + after, |_| asked += 1);
            heard.stuck
        };
        let soon = STUCK - Duration::from_millis(1);
        assert_eq!(hear(1, 1, 5, soon), None, "it may still come");
        assert_eq!(hear(2, 1, 5, STUCK), Some(mid));
        assert_eq!(hear(3, 1, 6, STUCK), None, "never sent");
        assert_eq!(hear(4, 3, 5, STUCK), None, "no stream of ours");
        assert_eq!(asked, 2);
    }
}
