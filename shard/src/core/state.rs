//! A room as one shard hands it to another.
//!
//! Owns: the form (JSON, a version, a bound) and what is in it: everything that clients could notice.
//! Must not: decide who moves, or when.

use super::audience::Audience;
use super::departed::Gone;
use super::limits::{DEPARTED_MAX, Limits, ROOM_STATE_BYTES_MAX};
use super::options::RoomOptions;
use super::participant::Wish;
use super::profile::Profile;
use affinity::RoomKey;
use livekit_protocol as lk;
use lk::signal_request::Message as Ask;
use proto::id::{ParticipantSid, RoomSid, TrackSid};
use proto::media::{CarriedData, CarriedMedia, Kind};
use proto::token::Claims;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use thiserror::Error;

/// Version of [`RoomState`]. A shard takes its own only: while versions differ, rooms do not move.
pub const ROOM_STATE_VERSION: u32 = 1;

/// A room between two shards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoomState {
    pub(super) version: u32,
    pub(super) room: RoomKey,
    pub(super) sid: RoomSid,
    pub(super) created_ms: i64,
    pub(super) options: RoomOptions,
    #[serde(with = "as_base64")]
    pub(super) sif_trailer: Vec<u8>,
    /// Those who move. Whoever does not is among `departed`.
    pub(super) participants: Vec<ParticipantState>,
    pub(super) speakers: BTreeMap<ParticipantSid, f32>,
    pub(super) departed: Vec<Gone>,
    pub(super) data: Vec<CarriedData>,
}

/// One participant that moves. Its permissions are in its claims.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ParticipantState {
    pub(super) sid: ParticipantSid,
    pub(super) claims: Claims,
    pub(super) profile: Profile,
    pub(super) version: u32,
    pub(super) joined_ms: i64,
    pub(super) protocol: i32,
    pub(super) client_protocol: i32,
    pub(super) capabilities: Vec<i32>,
    pub(super) auto_subscribe: bool,
    pub(super) tracks: Vec<TrackState>,
    pub(super) subscriptions: BTreeSet<TrackSid>,
    pub(super) is_starved: bool,
    #[serde(default)]
    pub(super) paused: BTreeSet<TrackSid>,
    pub(super) wishes: BTreeMap<TrackSid, Wish>,
    pub(super) told_allowed: BTreeMap<TrackSid, bool>,
    pub(super) audience: Audience,
    pub(super) media: CarriedMedia,
}

/// One of its tracks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct TrackState {
    pub(super) sid: TrackSid,
    pub(super) cid: String,
    pub(super) kind: Kind,
    /// Protobuf.
    #[serde(with = "as_protobuf")]
    pub(super) info: lk::TrackInfo,
    pub(super) has_had_subscriber: bool,
}

impl TrackState {
    fn is_sound(&self) -> bool {
        self.info.sid == self.sid.as_str()
    }
}

/// Something that came for a room while it was on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum LateSignal {
    /// A client asked for something.
    Request {
        /// Who.
        participant: ParticipantSid,
        /// What. Protobuf.
        #[serde(with = "as_protobuf")]
        request: Box<lk::SignalRequest>,
    },
    /// The old node found the media section of a track.
    Bound {
        /// Whose.
        participant: ParticipantSid,
        /// Which.
        track: TrackSid,
        /// Its media section.
        mid: String,
        /// `audio/opus`, `video/VP8`, ...
        mime: String,
    },
}

impl LateSignal {
    /// What of a client's request is still of use at the new shard. What concerns the transport is
    /// not: the client resumes with a fresh one.
    pub(super) fn request(participant: ParticipantSid, message: Ask) -> Option<Self> {
        let is_over = matches!(
            message,
            Ask::Offer(_)
                | Ask::Answer(_)
                | Ask::Trickle(_)
                | Ask::SyncState(_)
                | Ask::Simulate(_)
                | Ask::Ping(_)
                | Ask::PingReq(_)
        );
        let message = Some(message);
        let request = Box::new(lk::SignalRequest { message });
        (!is_over).then_some(Self::Request {
            participant,
            request,
        })
    }
}

/// A room state that cannot be written or read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RoomStateError {
    /// Over [`ROOM_STATE_BYTES_MAX`].
    #[error("the room's state has {0} bytes, more than may go from shard to shard: it stays")]
    TooLarge(usize),
    /// Written by another version.
    #[error(
        "the room's state has version {0}, this shard speaks {ROOM_STATE_VERSION}: upgrade both"
    )]
    Version(u64),
    /// No room state.
    #[error("the room's state is malformed: {0}")]
    Malformed(String),
}

impl RoomState {
    /// The room.
    pub fn room(&self) -> &RoomKey {
        &self.room
    }

    /// Its life, which goes on.
    pub fn sid(&self) -> &RoomSid {
        &self.sid
    }

    /// It has been on its way for a while.
    pub fn grow_older(&mut self, by: Duration) {
        let by = u32::try_from(by.as_millis()).unwrap_or(u32::MAX);
        for packet in &mut self.data {
            packet.age_ms = packet.age_ms.saturating_add(by);
        }
    }

    /// How many move.
    pub fn participants(&self) -> usize {
        self.participants.len()
    }

    /// For the way to another shard.
    ///
    /// # Errors
    /// [`RoomStateError::TooLarge`].
    pub fn to_json(&self) -> Result<Vec<u8>, RoomStateError> {
        let json = serde_json::to_vec(self);
        let json = json.map_err(|error| RoomStateError::Malformed(error.to_string()))?;
        if json.len() > ROOM_STATE_BYTES_MAX {
            return Err(RoomStateError::TooLarge(json.len()));
        }
        Ok(json)
    }

    /// From another shard.
    ///
    /// # Errors
    /// See [`RoomStateError`].
    pub fn from_json(json: &[u8]) -> Result<Self, RoomStateError> {
        #[derive(Deserialize)]
        struct Version {
            version: u64,
        }
        let malformed = |error: serde_json::Error| RoomStateError::Malformed(error.to_string());
        if json.len() > ROOM_STATE_BYTES_MAX {
            return Err(RoomStateError::TooLarge(json.len()));
        }
        let Version { version } = serde_json::from_slice(json).map_err(malformed)?;
        if version != u64::from(ROOM_STATE_VERSION) {
            return Err(RoomStateError::Version(version));
        }
        serde_json::from_slice(json).map_err(malformed)
    }

    /// Whether it is as small as rooms are here.
    pub(super) fn fits(&self, limits: &Limits) -> bool {
        let tracks_max = limits.tracks_per_participant;
        self.participants.len() <= limits.participants_per_room
            && self.departed.len() <= DEPARTED_MAX
            && self
                .participants
                .iter()
                .all(|participant| participant.tracks.len() <= tracks_max)
    }

    /// Whether nobody and nothing is named twice, and everybody is who it says.
    pub(super) fn is_sound(&self) -> bool {
        let (mut sids, mut identities) = (BTreeSet::new(), BTreeSet::new());
        let mut tracks = BTreeSet::new();
        self.participants.iter().all(|participant| {
            let identity = participant.claims.identity();
            let fresh = !identity.is_empty()
                && sids.insert(&participant.sid)
                && identities.insert(identity);
            let mut own = participant.tracks.iter();
            fresh
                && participant.media.participant == participant.sid
                && own.all(|track| track.is_sound() && tracks.insert(&track.sid))
        })
    }
}

/// Bytes as base64.
pub(super) mod as_base64 {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(
        bytes: &[u8],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(D::Error::custom)
    }
}

/// A protobuf message as base64.
pub(super) mod as_protobuf {
    use super::as_base64;
    use prost::Message;
    use serde::de::Error as _;
    use serde::{Deserializer, Serializer};

    pub(in super::super) fn serialize<M: Message, S: Serializer>(
        message: &M,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        as_base64::serialize(&message.encode_to_vec(), serializer)
    }

    pub(in super::super) fn deserialize<'de, M: Message + Default, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<M, D::Error> {
        let bytes = as_base64::deserialize(deserializer)?;
        M::decode(bytes.as_slice()).map_err(D::Error::custom)
    }
}
