//! What the members of a room say to each other, and its form on the way between nodes.
//!
//! Packets are a fixed head and the payload; everything else is JSON behind its first byte: it is rare.
//! Numbers are in network order.

use super::channels::Label;
use proto::id::{ParticipantSid, RoomSid, TrackSid};
use proto::media::Quality;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use str0m::format::{Codec, CodecSpec, FormatParams, PayloadParams};
use str0m::media::Frequency;
use str0m::rtp::Ssrc;
use thiserror::Error;

/// First byte of a packet; other first bytes are those of other versions.
const PACKET: u8 = 1;
const DATA: u8 = 2;
const REQUEST: u8 = 3;
/// Bytes of a packet besides its payload.
const HEAD_BYTES: usize = 38;
/// Most packets asked for at a time.
pub(super) const MISSING_MAX: usize = 64;

/// From one member of a room to another.
#[derive(Clone, Debug)]
pub struct RelayMessage(pub(super) Word);

/// The kinds of [`RelayMessage`].
#[derive(Clone, Debug)]
pub(super) enum Word {
    /// A packet of a track that the other member has asked for.
    Packet(RelayedPacket),
    /// A data packet of a participant here.
    Data(RelayedData),
    /// Something is asked of the member that a track comes from.
    Request(Request),
}

/// A packet of a publisher of another member.
#[derive(Clone, Debug)]
pub(super) struct RelayedPacket {
    /// What the receiving member calls the track.
    pub(super) alias: u32,
    pub(super) ssrc: Ssrc,
    pub(super) quality: Quality,
    pub(super) params: PayloadParams,
    pub(super) sequence: u64,
    pub(super) timestamp: u32,
    pub(super) marker: bool,
    /// As RFC 6464 has it.
    pub(super) audio_level: Option<u8>,
    /// As 3GPP TS 26.114 section 7.4.5 has it.
    pub(super) orientation: Option<u8>,
    /// Its dependency descriptor, up to 255 bytes.
    pub(super) descriptor: Option<Arc<[u8]>>,
    pub(super) payload: Arc<[u8]>,
}

/// A data packet of a participant of another member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RelayedData {
    pub(super) room: RoomSid,
    pub(super) from: ParticipantSid,
    pub(super) label: Label,
    /// Receivers notice if they get it twice.
    pub(super) repeatable: bool,
    pub(super) bytes: Arc<[u8]>,
}

/// Of the member that has a track.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Request {
    /// Send the track, under this name, up to this layer; `None`: nothing of it for now. Holds for three
    /// seconds.
    Want {
        track: TrackSid,
        alias: u32,
        best: Option<Quality>,
    },
    /// A key frame is needed.
    Keyframe { track: TrackSid, ssrc: u32 },
    /// These packets have not come.
    Missing {
        track: TrackSid,
        ssrc: u32,
        sequences: Vec<u64>,
    },
}

/// Bytes that are no message, or one of another version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no message between members: run the same release on all nodes")]
pub struct BadRelayMessage;

/// The head of a [`RelayedData`].
#[derive(Serialize, Deserialize)]
struct DataHead {
    room: RoomSid,
    from: ParticipantSid,
    label: u8,
    repeatable: bool,
}

impl RelayMessage {
    /// May be lost on the way: a packet of a track, or a data packet that is not to be repeated.
    pub fn is_lossy(&self) -> bool {
        match &self.0 {
            Word::Packet(_) => true,
            Word::Data(data) => data.label != Label::Reliable,
            Word::Request(_) => false,
        }
    }

    /// For the way to another node, behind what is in `into`.
    pub fn encode(&self, into: &mut Vec<u8>) {
        match &self.0 {
            Word::Packet(packet) => packet.encode(into),
            Word::Data(data) => data.encode(into),
            Word::Request(request) => {
                into.push(REQUEST);
                // Ids and numbers are always JSON.
                let _ = serde_json::to_writer(into, request);
            }
        }
    }

    /// From another node.
    ///
    /// # Errors
    /// [`BadRelayMessage`].
    pub fn decode(bytes: &[u8]) -> Result<Self, BadRelayMessage> {
        let (first, rest) = bytes.split_first().ok_or(BadRelayMessage)?;
        let word = match *first {
            PACKET => RelayedPacket::decode(rest).map(Word::Packet),
            DATA => RelayedData::decode(rest).map(Word::Data),
            REQUEST => decode_request(rest).map(Word::Request),
            _ => None,
        };
        word.map(Self).ok_or(BadRelayMessage)
    }
}

fn decode_request(bytes: &[u8]) -> Option<Request> {
    let request = serde_json::from_slice(bytes).ok()?;
    match &request {
        Request::Missing { sequences, .. } if sequences.len() > MISSING_MAX => None,
        _ => Some(request),
    }
}

impl RelayedPacket {
    fn encode(&self, into: &mut Vec<u8>) {
        let spec = self.params.spec();
        let format = &spec.format;
        let descriptor = self.descriptor.as_deref().and_then(|descriptor| {
            let length = u8::try_from(descriptor.len()).ok()?;
            Some((length, descriptor))
        });
        let flags = u8::from(self.marker)
            | u8::from(self.audio_level.is_some()) << 1
            | u8::from(self.orientation.is_some()) << 2
            | u8::from(spec.channels.is_some()) << 3
            | u8::from(format.packetization_mode.is_some()) << 4
            | u8::from(format.profile_level_id.is_some()) << 5
            | u8::from(format.profile_id.is_some()) << 6
            | u8::from(descriptor.is_some()) << 7;
        into.reserve(HEAD_BYTES + self.payload.len());
        into.extend([PACKET, flags, self.quality as u8, code(spec.codec)]);
        into.extend([
            *self.params.pt(),
            self.audio_level.unwrap_or_default(),
            self.orientation.unwrap_or_default(),
            spec.channels.unwrap_or_default(),
            format.packetization_mode.unwrap_or_default(),
        ]);
        // Codecs number their profiles from 0 on.
        into.push(u8::try_from(format.profile_id.unwrap_or_default()).unwrap_or(u8::MAX));
        into.extend(format.profile_level_id.unwrap_or_default().to_be_bytes());
        into.extend(spec.clock_rate.get().to_be_bytes());
        into.extend(self.alias.to_be_bytes());
        into.extend(self.ssrc.to_be_bytes());
        into.extend(self.sequence.to_be_bytes());
        into.extend(self.timestamp.to_be_bytes());
        if let Some((length, descriptor)) = descriptor {
            into.push(length);
            into.extend(descriptor);
        }
        into.extend(&*self.payload);
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        let [
            flags,
            quality,
            codec,
            pt,
            level,
            orientation,
            channels,
            mode,
            profile,
        ] = take(&mut bytes)?;
        let profile_level_id = u32::from_be_bytes(take(&mut bytes)?);
        let clock_rate = u32::from_be_bytes(take(&mut bytes)?);
        let given = |bit: u8, value: u8| (flags & 1 << bit != 0).then_some(value);
        let format = FormatParams {
            packetization_mode: given(4, mode),
            profile_level_id: given(5, 0).map(|_| profile_level_id),
            profile_id: given(6, profile).map(u32::from),
            ..FormatParams::default()
        };
        let spec = CodecSpec {
            codec: decode_codec(codec)?,
            clock_rate: Frequency::new(clock_rate)?,
            channels: given(3, channels),
            format,
        };
        let alias = u32::from_be_bytes(take(&mut bytes)?);
        let ssrc = u32::from_be_bytes(take(&mut bytes)?).into();
        let sequence = u64::from_be_bytes(take(&mut bytes)?);
        let timestamp = u32::from_be_bytes(take(&mut bytes)?);
        let descriptor = match given(7, 0) {
            Some(_) => {
                let [length] = take(&mut bytes)?;
                let (descriptor, rest) = bytes.split_at_checked(usize::from(length))?;
                bytes = rest;
                Some(descriptor.into())
            }
            None => None,
        };
        Some(Self {
            quality: decode_quality(quality)?,
            params: PayloadParams::new(pt.into(), None, spec),
            alias,
            ssrc,
            sequence,
            timestamp,
            descriptor,
            marker: given(0, 0).is_some(),
            audio_level: given(1, level),
            orientation: given(2, orientation),
            payload: bytes.into(),
        })
    }
}

impl RelayedData {
    fn encode(&self, into: &mut Vec<u8>) {
        let head = DataHead {
            room: self.room.clone(),
            from: self.from.clone(),
            label: match self.label {
                Label::Reliable => 0,
                Label::Lossy => 1,
                Label::DataTrack => 2,
            },
            repeatable: self.repeatable,
        };
        let head = serde_json::to_vec(&head).unwrap_or_default();
        into.push(DATA);
        // Two ids.
        into.extend(u16::try_from(head.len()).unwrap_or_default().to_be_bytes());
        into.extend(head);
        into.extend(&*self.bytes);
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        let length = usize::from(u16::from_be_bytes(take(&mut bytes)?));
        let (head, bytes) = bytes.split_at_checked(length)?;
        let head: DataHead = serde_json::from_slice(head).ok()?;
        Some(Self {
            room: head.room,
            from: head.from,
            label: match head.label {
                0 => Label::Reliable,
                1 => Label::Lossy,
                2 => Label::DataTrack,
                _ => return None,
            },
            repeatable: head.repeatable,
            bytes: bytes.into(),
        })
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

/// Those that are forwarded; 0 for others, which nobody reads.
fn code(codec: Codec) -> u8 {
    match codec {
        Codec::Opus => 1,
        Codec::Vp8 => 2,
        Codec::H264 => 3,
        Codec::Vp9 => 4,
        Codec::Av1 => 5,
        _ => 0,
    }
}

fn decode_codec(code: u8) -> Option<Codec> {
    Some(match code {
        1 => Codec::Opus,
        2 => Codec::Vp8,
        3 => Codec::H264,
        4 => Codec::Vp9,
        5 => Codec::Av1,
        _ => return None,
    })
}

fn decode_quality(quality: u8) -> Option<Quality> {
    let all = [Quality::Low, Quality::Medium, Quality::High];
    all.into_iter().find(|known| *known as u8 == quality)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use str0m::format::CodecConfig;

    fn encoded(word: Word) -> Vec<u8> {
        let mut bytes = Vec::new();
        RelayMessage(word).encode(&mut bytes);
        bytes
    }

    fn decoded(bytes: &[u8]) -> Word {
        RelayMessage::decode(bytes).unwrap().0
    }

    #[test]
    fn a_packet_of_each_codec_arrives_as_it_was() {
        for params in CodecConfig::new_with_defaults().params() {
            if code(params.spec().codec) == 0 {
                continue;
            }
            let video = params.spec().codec.is_video();
            let sent = RelayedPacket {
                alias: 7,
                ssrc: 0x0102_0304.into(),
                quality: Quality::Medium,
                params: *params,
                sequence: 1 << 40,
                timestamp: 99,
                marker: true,
                audio_level: Some(0x85),
                orientation: None,
                descriptor: video.then(|| [7_u8; 20].as_slice().into()),
                payload: vec![1, 2, 3].into(),
            };
            let bytes = encoded(Word::Packet(sent.clone()));
            assert_eq!(bytes.len(), HEAD_BYTES + 3 + if video { 21 } else { 0 });
            let Word::Packet(came) = decoded(&bytes) else {
                panic!("another word");
            };
            let config = CodecConfig::new_with_defaults();
            let matched = config.match_params(came.params).unwrap();
            assert_eq!(matched.spec(), params.spec(), "{params:?}");
            let numbers = |it: &RelayedPacket| {
                let of_stream = (it.alias, *it.ssrc, it.quality, *it.params.pt());
                (of_stream, it.sequence, it.timestamp, it.marker)
            };
            assert_eq!(numbers(&came), numbers(&sent));
            let rest = |it: &RelayedPacket| {
                let extensions = (it.audio_level, it.orientation, it.descriptor.clone());
                (extensions, it.payload.clone())
            };
            assert_eq!(rest(&came), rest(&sent));
        }
    }

    #[test]
    fn data_and_requests_arrive_as_they_were() {
        let data = RelayedData {
            room: RoomSid::new("RM_1"),
            from: ParticipantSid::new("PA_1"),
            label: Label::Reliable,
            repeatable: true,
            bytes: vec![5; 70_000].into(),
        };
        let Word::Data(came) = decoded(&encoded(Word::Data(data.clone()))) else {
            panic!("another word");
        };
        assert_eq!(came, data);
        let request = Request::Missing {
            track: TrackSid::new("TR_1"),
            ssrc: 9,
            sequences: (0..64).collect(),
        };
        let Word::Request(came) = decoded(&encoded(Word::Request(request.clone()))) else {
            panic!("another word");
        };
        assert_eq!(came, request);
        let many = Request::Missing {
            track: TrackSid::new("TR_1"),
            ssrc: 9,
            sequences: (0..65).collect(),
        };
        assert!(RelayMessage::decode(&encoded(Word::Request(many))).is_err());
    }

    proptest! {
        #[test]
        fn foreign_bytes_are_refused_or_read(mut bytes in prop::collection::vec(any::<u8>(), 0..120), first in 0..5_u8) {
            if let Some(byte) = bytes.first_mut() {
                *byte = first;
            }
            if let Ok(message) = RelayMessage::decode(&bytes) {
                let mut again = Vec::new();
                message.encode(&mut again);
                prop_assert!(RelayMessage::decode(&again).is_ok());
            }
        }
    }
}
