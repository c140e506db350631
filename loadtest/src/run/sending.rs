//! What one participant publishes: a microphone and a camera, each at its pace.

use super::desk::{Desk, add};
use super::orders::Wishes;
use crate::media::{Codec, LAYERS, Layer};
use crate::pace::{Due, Pacer};
use crate::packetize::{Packetizer, Payload};
use crate::plan::Kind;
use client::{LayerSpec, RtpOut, Session, TrackHandle, TrackSpec, WriteError};
use std::time::Instant;

/// Loudness of what is spoken, in -dBov (RFC 6464).
const SPEAKING: u8 = 20;

/// One published track.
struct Track {
    kind: Kind,
    codec: Codec,
    handle: TrackHandle,
    /// Once packets go out.
    pacer: Option<Pacer>,
    packetizers: Vec<(Layer, Packetizer)>,
    muted: bool,
}

/// All that one participant publishes.
pub(super) struct Sending {
    tracks: Vec<Track>,
    /// For timestamps and picture ids: any number that differs.
    seed: u64,
}

impl Sending {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            tracks: Vec::new(),
            seed,
        }
    }

    /// Announces both tracks.
    pub(super) fn begin(
        &mut self,
        desk: &Desk,
        wishes: &Wishes,
        session: &mut Session,
        now: Instant,
    ) {
        let settings = &desk.common.settings;
        let microphone = TrackSpec {
            muted: wishes.audio_muted,
            ..TrackSpec::microphone()
        };
        self.add(Kind::Audio, microphone, desk, session, now);
        let layers = LAYERS
            .iter()
            .filter(|layer| settings.layers().contains(&layer.layer));
        let specs: Vec<LayerSpec> = layers
            .map(|layer| LayerSpec {
                layer: layer_out(layer.layer),
                width: layer.width.into(),
                height: layer.height.into(),
                bitrate_bps: layer.bitrate,
            })
            .collect();
        let camera = TrackSpec {
            muted: wishes.video_muted,
            ..TrackSpec::camera(codec_out(settings.codec), specs)
        };
        self.add(Kind::Video, camera, desk, session, now);
    }

    fn add(
        &mut self,
        kind: Kind,
        spec: TrackSpec,
        desk: &Desk,
        session: &mut Session,
        now: Instant,
    ) {
        let settings = &desk.common.settings;
        let (codec, layers) = match kind {
            Kind::Audio => (Codec::Opus, [Layer::Low].as_slice()),
            Kind::Video => (settings.codec, settings.layers()),
        };
        let packetizer = |layer: &Layer| {
            // Layers differ, as those of browsers do.
            let start = (self.seed as u16).wrapping_add(u16::from(layer.index()) * 1000);
            (
                *layer,
                Packetizer::new(codec, *layer, settings.placement(), start),
            )
        };
        self.tracks.push(Track {
            kind,
            codec,
            pacer: None,
            packetizers: layers.iter().map(packetizer).collect(),
            muted: spec.muted,
            handle: session.publish(spec, now),
        });
    }

    /// The server takes packets of this track from now on.
    pub(super) fn handle_sending(&mut self, handle: TrackHandle, desk: &Desk, now: Instant) {
        let seed = self.seed;
        let Some(track) = self.track(handle) else {
            return;
        };
        let layer = track
            .packetizers
            .first()
            .map_or(Layer::Low, |first| first.0);
        let timestamp = (seed >> 16) as u32;
        let clip = desk.common.clip(track.codec, layer);
        track.pacer = clip.map(|clip| Pacer::new(clip, timestamp, desk.common.clock.since(now)));
    }

    pub(super) fn handle_key_request(&mut self, handle: TrackHandle) {
        if let Some(pacer) = self.track(handle).and_then(|track| track.pacer.as_mut()) {
            pacer.handle_key_request();
        }
    }

    /// Stops or goes on, and says so. A track that the server has not named yet says it later: see
    /// [`Sending::handle_named`].
    pub(super) fn mute(
        &mut self,
        kind: Kind,
        muted: bool,
        desk: &Desk,
        session: &mut Session,
        now: Instant,
    ) {
        for track in self.tracks.iter_mut().filter(|track| track.kind == kind) {
            let was = std::mem::replace(&mut track.muted, muted);
            if let Some(pacer) = track.pacer.as_mut().filter(|_| was && !muted) {
                pacer.handle_resume(desk.common.clock.since(now));
            }
            let _ = session.mute(track.handle, muted);
        }
    }

    /// The server knows a track: it shall also know whether it is muted.
    pub(super) fn handle_named(
        &mut self,
        handle: TrackHandle,
        as_muted: bool,
        session: &mut Session,
    ) {
        if let Some(track) = self.track(handle)
            && track.muted != as_muted
        {
            let _ = session.mute(track.handle, track.muted);
        }
    }

    pub(super) fn poll_timeout(&self, desk: &Desk) -> Option<Instant> {
        let playing = self.tracks.iter().filter(|track| !track.muted);
        let next = playing
            .filter_map(|track| Some(track.pacer.as_ref()?.poll_timeout()))
            .min();
        next.map(|next| desk.common.clock.at(next))
    }

    /// Sends what is due.
    pub(super) fn send(&mut self, desk: &Desk, session: &mut Session, now: Instant) {
        for track in self.tracks.iter_mut().filter(|track| !track.muted) {
            let Some(mut pacer) = track.pacer.take() else {
                continue;
            };
            let since = desk.common.clock.since(now);
            while let Some(due) = pacer.poll_due(since) {
                track.send(&due, desk, session, now);
            }
            track.pacer = Some(pacer);
        }
    }

    fn track(&mut self, handle: TrackHandle) -> Option<&mut Track> {
        self.tracks.iter_mut().find(|track| track.handle == handle)
    }
}

impl Track {
    /// All layers of one frame.
    fn send(&mut self, due: &Due, desk: &Desk, session: &mut Session, turn: Instant) {
        let common = &desk.common;
        for (layer, packetizer) in &mut self.packetizers {
            let Some(frame) = common.frame(self.codec, *layer, due.index) else {
                continue;
            };
            // As late as can be: what the stamp says is when the packets go out.
            let now = Instant::now();
            let payloads = packetizer.handle_frame(frame, due.number, common.clock.ns(now));
            let out = self.codec.is_video().then(|| layer_out(*layer));
            let out = out.unwrap_or(client::Layer::High);
            for payload in &payloads {
                let packet = RtpOut {
                    payload: payload.bytes.as_slice().into(),
                    timestamp: due.timestamp,
                    marker: payload.marker,
                    audio_level: (self.kind == Kind::Audio).then_some(SPEAKING),
                };
                match session.write(self.handle, out, packet, now) {
                    Ok(()) => {}
                    // Its connection is being made again, or is gone: cameras go on all the same.
                    Err(WriteError::NotReady | WriteError::Ended) => return,
                    Err(error) => {
                        desk.note_error("packet not sent", &error.to_string(), now);
                        return;
                    }
                }
            }
            // From its time, also behind other frames of this turn.
            let late = due.lateness + now.saturating_duration_since(turn);
            desk.collector().handle_sent(&payloads, late, desk.ns(now));
            add(&common.counters.bytes_sent, bytes(&payloads));
        }
    }
}

fn bytes(payloads: &[Payload]) -> u64 {
    payloads
        .iter()
        .map(|payload| payload.bytes.len() as u64)
        .sum()
}

pub(super) fn layer_out(layer: Layer) -> client::Layer {
    match layer {
        Layer::Low => client::Layer::Low,
        Layer::Medium => client::Layer::Medium,
        Layer::High => client::Layer::High,
    }
}

pub(super) fn codec_out(codec: Codec) -> client::Codec {
    match codec {
        Codec::Vp8 => client::Codec::Vp8,
        Codec::H264 => client::Codec::H264,
        Codec::Opus => client::Codec::Opus,
    }
}
