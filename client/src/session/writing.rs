//! Packets of our tracks.
//!
//! Owns: sequence numbers, payload types and header extensions of what is sent.

use super::Session;
use super::publications::State;
use crate::options::Connection;
use crate::track::{Codec, Kind, Layer, RtpOut, TrackHandle};
use std::time::Instant;
use str0m::Rtc;
use str0m::media::{Mid, Pt};
use str0m::rtp::{ExtensionValues, RtpWrite};
use thiserror::Error;

/// First sequence number: the first packets can be lost without a wrap, and below 2^16 as SRTP wants
/// it (RFC 3711 section 3.3.1).
const FIRST_SEQUENCE: u64 = 1000;

/// Why a packet was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WriteError {
    /// No such track, or it was refused.
    #[error("there is no such track")]
    UnknownTrack,
    /// The track has no such layer.
    #[error("the track was not published with this layer")]
    UnknownLayer,
    /// The server has not answered yet, or media is not connected.
    #[error("the track is not negotiated or media is not connected yet")]
    NotReady,
    /// The session has ended.
    #[error("the session has ended")]
    Ended,
}

impl Session {
    /// Sends a packet of a track at once. Tracks without simulcast have [`Layer::High`] only.
    ///
    /// # Errors
    /// It was not taken.
    pub fn write(
        &mut self,
        track: TrackHandle,
        layer: Layer,
        packet: RtpOut,
        now: Instant,
    ) -> Result<(), WriteError> {
        if self.end.is_some() {
            return Err(WriteError::Ended);
        }
        let is_connected = self.publications.connected;
        let publication = self.publications.all.get_mut(&track);
        let publication = publication.ok_or(WriteError::UnknownTrack)?;
        if !publication.spec.has_layer(layer) {
            return Err(WriteError::UnknownLayer);
        }
        let State::Sending { mid, pt } = publication.state else {
            return Err(WriteError::NotReady);
        };
        if !is_connected {
            return Err(WriteError::NotReady);
        }
        let simulcast = publication.spec.is_simulcast();
        let video = publication.spec.kind() == Kind::Video;
        let [low, medium, high] = &mut publication.streams;
        let stream = match layer {
            Layer::Low => low,
            Layer::Medium => medium,
            Layer::High => high,
        };
        let sequence = stream.next.unwrap_or(FIRST_SEQUENCE);
        let level = packet.audio_level.map(|level| level.min(127));
        let values = ExtensionValues {
            audio_level: level.map(|level| -i8::try_from(level).unwrap_or(i8::MAX)),
            // RFC 6464 leaves it to the sender; quieter than a whisper is no voice.
            voice_activity: level.map(|level| level < 60),
            ..ExtensionValues::default()
        };
        let write = RtpWrite::new(pt, sequence.into(), packet.timestamp, now, packet.payload)
            .marker(packet.marker)
            .ext_vals(values)
            .nackable(video);
        let rid = simulcast.then(|| layer.rid());
        let known = stream.ssrc;
        let written = self.publisher.call(|rtc| {
            let mut api = rtc.direct_api();
            let found = match known {
                Some(ssrc) => api.stream_tx(&ssrc),
                None => api.stream_tx_by_mid(mid, rid),
            };
            let found = found.ok_or_else(|| "no stream".to_owned())?;
            let ssrc = found.ssrc();
            found.write_rtp(write);
            Ok(ssrc)
        });
        stream.ssrc = Some(written.map_err(|_| WriteError::NotReady)?);
        stream.next = Some(sequence + 1);
        self.out.counters.written_packets += 1;
        self.drain(Connection::Publisher, now);
        Ok(())
    }
}

/// The payload type that the server takes for the codec in this section.
pub(super) fn payload_type(rtc: &mut Rtc, mid: Mid, codec: Codec) -> Result<Pt, String> {
    let media = rtc.media(mid).ok_or("the answer has no section for it")?;
    if !media.direction().is_sending() {
        return Err("the server does not want to receive it".to_owned());
    }
    let of_codec = |pt: &&Pt| {
        let params = rtc.codec_config().params().iter();
        let mut params = params.filter(|params| params.pt() == **pt);
        params.any(|params| params.spec().codec == codec.str0m())
    };
    let found = media.remote_pts().iter().find(of_codec).copied();
    found.ok_or_else(|| format!("the server does not take {}", codec.name()))
}
