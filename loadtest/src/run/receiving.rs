//! What one participant receives: a stream for each track that arrives.

use super::desk::{Desk, add};
use crate::media::{Codec, LAYERS, Layer};
use crate::receive::{Packet, StreamStats};
use crate::stamp::Stamp;
use client::{CountedPacket, ReceivedPacket, RemoteId, RemoteTrack, Session, lk};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two requests for a key frame of the same stream.
const ASK_EVERY: Duration = Duration::from_millis(500);

struct Stream {
    track: RemoteTrack,
    codec: Codec,
    stats: StreamStats,
    /// Where its packets come from; a resumed session may have another one.
    ssrc: Option<u32>,
    /// When a key frame was asked for.
    asked: Option<Instant>,
    /// The publisher has muted: silence is no freeze.
    paused: bool,
}

/// All streams of one participant.
pub(super) struct Receiving {
    identity: Arc<str>,
    /// By [`RemoteId::index`], which counts from 0 in a session.
    streams: Vec<Option<Stream>>,
}

impl Receiving {
    pub(super) fn new(identity: Arc<str>) -> Self {
        Self {
            identity,
            streams: Vec::new(),
        }
    }

    /// A track arrives from now on. `layer`: how large it is to be seen.
    pub(super) fn handle_track(
        &mut self,
        track: RemoteTrack,
        layer: Layer,
        desk: &Desk,
        session: &mut Session,
    ) {
        let codec = match track.kind {
            client::Kind::Audio => Codec::Opus,
            client::Kind::Video => desk.common.settings.codec,
        };
        if codec.is_video() && layer != Layer::High {
            session.track_settings(seen_in(&track.sid, layer));
        }
        let index = track.id.index();
        let what = if codec.is_video() { "picture" } else { "sound" };
        let from = if track.identity.is_empty() {
            &track.sid
        } else {
            &track.identity
        };
        let name = format!("{what} of {from} at {}", self.identity);
        if self.streams.len() <= index {
            self.streams.resize_with(index + 1, || None);
        }
        if let Some(place) = self.streams.get_mut(index) {
            *place = Some(Stream {
                track,
                codec,
                stats: StreamStats::new(codec, name),
                ssrc: None,
                asked: None,
                paused: false,
            });
        }
    }

    /// It does not any more.
    pub(super) fn handle_track_end(&mut self, id: RemoteId, desk: &Desk, now: Instant) {
        let stream = self.streams.get_mut(id.index()).and_then(Option::take);
        if let Some(stream) = stream {
            desk.collector()
                .handle_stream_end(stream.stats, desk.ns(now));
        }
    }

    /// All of them end now.
    pub(super) fn end(&mut self, desk: &Desk, now: Instant) {
        let mut collector = desk.collector();
        for stream in self.streams.drain(..).flatten() {
            collector.handle_stream_end(stream.stats, desk.ns(now));
        }
    }

    /// Somebody has muted a track, or not any more.
    pub(super) fn handle_tracks(&mut self, tracks: &[lk::TrackInfo]) {
        for info in tracks {
            let mut streams = self.streams.iter_mut().flatten();
            if let Some(stream) = streams.find(|stream| stream.track.sid == info.sid) {
                stream.paused = info.muted;
                stream.stats.handle_pause();
            }
        }
    }

    /// Somebody sends a picture.
    pub(super) fn expects_picture(&self) -> bool {
        let mut streams = self.streams.iter().flatten();
        streams.any(|stream| stream.codec.is_video() && !stream.paused)
    }

    /// Looks at one, and at the others only in passing.
    pub(super) fn focus(&mut self, on: &str, session: &mut Session) {
        let pictures = self
            .streams
            .iter()
            .flatten()
            .filter(|stream| stream.codec.is_video());
        for stream in pictures {
            let layer = if stream.track.identity == on {
                Layer::High
            } else {
                Layer::Low
            };
            session.track_settings(seen_in(&stream.track.sid, layer));
        }
    }

    /// A packet, decrypted. True: the stream's first frame can be shown. Asks for a key frame where a
    /// decoder would.
    pub(super) fn handle_packet(
        &mut self,
        packet: &ReceivedPacket,
        desk: &Desk,
        session: &mut Session,
    ) -> bool {
        let Some(stream) = self.stream(packet.track) else {
            return false;
        };
        let packet_in = Packet {
            // Continued beyond 16 bits there, and again in our own counting.
            sequence: (packet.sequence & 0xffff) as u16,
            timestamp: packet.timestamp,
            marker: packet.marker,
            bytes: packet.payload.len(),
            stamp: Stamp::find(stream.codec, &packet.payload),
        };
        if stream.asks(packet.at) {
            session.request_key_frame(packet.ssrc, packet.at);
        }
        stream.handle(&packet_in, packet.ssrc, packet.at, desk)
    }

    /// A packet of which only the clear header was read.
    pub(super) fn handle_header(&mut self, packet: &CountedPacket, desk: &Desk) -> bool {
        // What is sent again has a numbering of its own, and nobody asked for it.
        if packet.repeats {
            return false;
        }
        let Some(stream) = self.stream(packet.track) else {
            return false;
        };
        let packet_in = Packet {
            sequence: packet.sequence,
            timestamp: packet.timestamp,
            marker: packet.marker,
            bytes: packet.bytes,
            stamp: None,
        };
        stream.handle(&packet_in, packet.ssrc, packet.at, desk)
    }

    fn stream(&mut self, id: RemoteId) -> Option<&mut Stream> {
        self.streams.get_mut(id.index())?.as_mut()
    }
}

impl Stream {
    /// It is time to ask for a key frame.
    fn asks(&mut self, now: Instant) -> bool {
        let lately = |asked: Instant| now.saturating_duration_since(asked) < ASK_EVERY;
        let asks = !self.asked.is_some_and(lately) && self.stats.wants_key_frame();
        if asks {
            self.asked = Some(now);
        }
        asks
    }

    fn handle(&mut self, packet: &Packet, ssrc: u32, at: Instant, desk: &Desk) -> bool {
        if desk.is_over(at) {
            return false;
        }
        if self.ssrc.replace(ssrc).is_some_and(|before| before != ssrc) {
            self.stats.handle_restart();
        }
        let before = self.stats.first_frame_ns().is_some();
        let mut collector = desk.collector();
        self.stats
            .handle_packet(packet, &mut collector.timeline, desk.ns(at));
        drop(collector);
        if self.paused {
            self.stats.handle_pause();
        }
        let counters = &desk.common.counters;
        add(&counters.packets_received, 1);
        add(&counters.bytes_received, packet.bytes as u64);
        !before && self.stats.first_frame_ns().is_some()
    }
}

/// Asks for a picture in the size of a layer.
fn seen_in(sid: &str, layer: Layer) -> lk::UpdateTrackSettings {
    let size = LAYERS.iter().find(|known| known.layer == layer);
    let quality = match layer {
        Layer::Low => lk::VideoQuality::Low,
        Layer::Medium => lk::VideoQuality::Medium,
        Layer::High => lk::VideoQuality::High,
    };
    lk::UpdateTrackSettings {
        track_sids: vec![sid.to_owned()],
        quality: quality.into(),
        width: size.map_or(0, |size| size.width.into()),
        height: size.map_or(0, |size| size.height.into()),
        ..lk::UpdateTrackSettings::default()
    }
}
