//! Bounds on what clients can make the core hold.
//!
//! Every map and string that a client can grow has its bound here, and the bound says what happens
//! beyond it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Bounds that operators may want to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Rooms on the shard. Beyond: the join is refused with 503.
    pub rooms: usize,
    /// Participants in one room. Beyond: the join is refused with 503. Updates are quadratic in it.
    pub participants_per_room: usize,
    /// Tracks of one participant, announced or not. Beyond: `RequestResponse{LIMIT_EXCEEDED}`.
    pub tracks_per_participant: usize,
    /// Stress of a node's busiest worker, percent of the processor time that it could have, averaged over
    /// some seconds. A node above it gets nobody else; if all are, joins are refused with 503, and those
    /// who are in notice nothing. 0: never.
    pub node_stress: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rooms: 10_000,
            participants_per_room: 2_000,
            tracks_per_participant: 32,
            node_stress: 95,
        }
    }
}

/// Longest SDP taken from a client, bytes: as long as a signalling message, since a browser with the
/// 480 subscriptions it may have offers more than 1 MiB. Beyond: the client is told to stay away, since
/// an unanswered offer would stall it.
pub const SDP_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Longest `candidateInit`, bytes. Beyond: dropped, as any candidate that cannot be used.
pub const CANDIDATE_BYTES_MAX: usize = 2 * 1024;
/// Longest client-side track id, name or stream name, bytes. Beyond: `INVALID_REQUEST`.
pub const TRACK_TEXT_BYTES_MAX: usize = 512;
/// Layers, codecs or features listed in one `add_track`. Beyond: `INVALID_REQUEST`.
pub const TRACK_LIST_MAX: usize = 16;
/// Longest metadata of a participant, bytes (LiveKit's default). Beyond: `LIMIT_EXCEEDED`.
pub const METADATA_BYTES_MAX: usize = 64 * 1024;
/// All attribute keys and values of a participant, bytes. Beyond: `LIMIT_EXCEEDED`.
pub const ATTRIBUTES_BYTES_MAX: usize = 64 * 1024;
/// Longest display name, bytes. Beyond: `LIMIT_EXCEEDED`.
pub const NAME_BYTES_MAX: usize = 256;
/// Tracks for which one participant's wishes and settings are kept: more than a room of 2,000 with
/// two tracks each. Beyond: new wishes are answered with an error and forgotten.
pub const WISHES_MAX: usize = 4_096;
/// Track sids in one subscription or settings message, and never more than a client has reason to
/// name: each track of the room twice, since clients list them in two places, and
/// [`UNKNOWN_SIDS_MAX`]. Beyond: the rest is ignored.
pub const TRACK_SIDS_MAX: usize = 2 * WISHES_MAX;
/// Tracks that ended while a message about them was on its way: so many may be in it, and so many are
/// answered. Beyond: ignored.
pub const UNKNOWN_SIDS_MAX: usize = 64;
/// Tracks forwarded to one participant: a node holds no more. Beyond: a track waits until another
/// one ends.
pub const SUBSCRIPTIONS_MAX: usize = 480;
/// Participants of a room who left lately: as many as a full room has. Beyond: the oldest is
/// forgotten, and a client that resumes may keep showing it.
pub const DEPARTED_MAX: usize = 2_000;
/// Entries in one subscription permission, participants and tracks together. Beyond: nobody is
/// allowed, since a cut list could allow too much or too little.
pub const PERMISSION_ENTRIES_MAX: usize = 4_096;
/// Requests kept while a room is frozen for a move, all clients together: a second of a full room's
/// talk. Beyond: the move is given up, or, when it cannot be any more, that client is disconnected and
/// resumes.
pub const KEPT_SIGNALS_MAX: usize = 8_192;
/// The same in bytes: four of the longest offers, or one of a hundred clients.
pub const KEPT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A room's state on its way to another shard, bytes: a room of 1,000 with fifty sections each has
/// about 10 MiB. Beyond: the room does not move.
pub const ROOM_STATE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Data channels taken from a resuming client: it opens three. Beyond: the rest is ignored.
pub const OPEN_CHANNELS_MAX: usize = 8;
/// Capabilities that a client names: there are two kinds. Beyond: the rest is ignored.
pub const CAPABILITIES_MAX: usize = 16;
