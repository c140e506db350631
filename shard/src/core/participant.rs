//! One participant session: who it is, what it publishes, what it wants, and whether it is reachable.
//!
//! Owns: the data and questions about it. Must not: talk to anybody; the room does.

use super::api::{Join, SessionId, Signalling};
use super::arriving::Arrival;
use super::audience::Audience;
use super::limits::CAPABILITIES_MAX;
use super::offers::Negotiation;
use super::permission::{self, Permission};
use super::profile::Profile;
use super::resume::ResumePhase;
use super::simulation::Interruption;
use super::tracks::Track;
use super::turn::Turn;
use livekit_protocol as lk;
use lk::participant_info::State;
use proto::id::{Identity, Member, ParticipantSid, TrackSid};
use proto::media::{PeerMode, Rating, TrackSettings};
use proto::token::Claims;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// What a participant said about one track of somebody else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Wish {
    /// `None`: as `auto_subscribe` says.
    pub(super) subscribe: Option<bool>,
    pub(super) settings: TrackSettings,
}

/// When a participant must have done something; `None` while nothing is due.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    pub(super) join: Option<Instant>,
    pub(super) resume: Option<Instant>,
    pub(super) reconnect: Option<Instant>,
    pub(super) pull: Option<Instant>,
    pub(super) confirm: Option<Instant>,
    pub(super) token_refresh: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Participant {
    pub(super) sid: ParticipantSid,
    pub(super) identity: Identity,
    pub(super) profile: Profile,
    pub(super) claims: Claims,
    pub(super) permission: Permission,
    /// A room with only other kinds of participants ends.
    pub(super) keeps_room: bool,
    pub(super) state: State,
    /// Grows with every change that others hear of.
    pub(super) version: u32,
    pub(super) joined_ms: i64,
    pub(super) mode: PeerMode,
    /// Where its media is.
    pub(super) member: Member,
    pub(super) signalling: Signalling,
    /// Signalling protocol of the client.
    pub(super) protocol: i32,
    /// Passed on to the others, who choose features by it.
    pub(super) client_protocol: i32,
    pub(super) capabilities: Vec<i32>,
    /// Its signalling connection.
    pub(super) session: Option<SessionId>,
    pub(super) resume: ResumePhase,
    /// It comes from another shard.
    pub(super) arrival: Option<Arrival>,
    pub(super) negotiation: Negotiation,
    /// The client itself has closed its transports.
    pub(super) has_hung_up: bool,
    pub(super) auto_subscribe: bool,
    /// Its own tracks, announced or not. Bounded by `Limits::tracks_per_participant`.
    pub(super) tracks: BTreeMap<TrackSid, Track>,
    /// Tracks that its node forwards to it. Bounded by `limits::SUBSCRIPTIONS_MAX`.
    pub(super) subscriptions: BTreeSet<TrackSid>,
    /// Those of them that its line is too thin for.
    pub(super) paused: BTreeSet<TrackSid>,
    /// How good its connection is, once that is known.
    pub(super) rating: Option<Rating>,
    /// It has not heard how good the connections of all are whose tracks it receives.
    pub(super) owed_ratings: bool,
    /// It wants more than that.
    pub(super) is_starved: bool,
    /// Bounded by `limits::WISHES_MAX`.
    pub(super) wishes: BTreeMap<TrackSid, Wish>,
    /// What it was last told about the audiences of tracks: may it receive them? Nothing was said
    /// about others. Bounded by `limits::WISHES_MAX`.
    pub(super) told_allowed: BTreeMap<TrackSid, bool>,
    /// Who may receive its tracks.
    pub(super) audience: Audience,
    pub(super) deadlines: Deadlines,
    /// It wants its next resume to be interrupted.
    pub(super) interruption: Option<Interruption>,
}

impl Participant {
    pub(super) fn new(join: &Join, member: Member, turn: &mut Turn<'_>) -> Self {
        let permission = Permission::from_grant(&join.claims.video);
        let mut profile = Profile {
            name: join.claims.name.clone(),
            metadata: join.claims.metadata.clone(),
            attributes: join.claims.attributes.clone(),
        };
        if permission.update_metadata {
            profile.merge("", &join.metadata, &join.attributes).ok();
        }
        let capabilities = join.client.capabilities.iter();
        Self {
            sid: ParticipantSid::from_random(turn.random()),
            identity: Identity::new(join.claims.identity()),
            profile,
            claims: join.claims.clone(),
            permission,
            keeps_room: permission::opens_room(&join.claims),
            state: State::Joined,
            version: 1,
            joined_ms: turn.unix_ms,
            mode: join.mode,
            member,
            signalling: join.signalling,
            protocol: join.client.protocol,
            client_protocol: join.client.client_protocol,
            capabilities: capabilities.take(CAPABILITIES_MAX).copied().collect(),
            session: Some(join.session),
            resume: ResumePhase::Idle,
            arrival: None,
            negotiation: Negotiation::default(),
            has_hung_up: false,
            auto_subscribe: join.auto_subscribe,
            tracks: BTreeMap::new(),
            subscriptions: BTreeSet::new(),
            paused: BTreeSet::new(),
            rating: None,
            owed_ratings: false,
            is_starved: false,
            wishes: BTreeMap::new(),
            told_allowed: BTreeMap::new(),
            audience: Audience::default(),
            deadlines: Deadlines::default(),
            interruption: None,
        }
    }

    /// The connection on which it listens now. A resuming client takes nothing before the answer to
    /// its resume.
    pub(super) fn hears(&self) -> Option<SessionId> {
        match self.resume {
            ResumePhase::Preparing { .. } => None,
            ResumePhase::Idle | ResumePhase::Ready { .. } => self.session,
        }
    }

    /// It has offered once, and hears nothing but the answer.
    pub(super) fn is_resource(&self) -> bool {
        self.signalling == Signalling::Resource
    }

    /// Others know of it.
    pub(super) fn is_visible(&self) -> bool {
        !self.permission.hidden
    }

    /// Has a track that is announced to the room.
    pub(super) fn is_publisher(&self) -> bool {
        self.tracks.values().any(Track::is_bound)
    }

    /// Whether it wants a track that it may have.
    pub(super) fn wants(&self, track: &TrackSid) -> bool {
        let wish = self.wishes.get(track).and_then(|wish| wish.subscribe);
        wish.unwrap_or(self.auto_subscribe)
    }

    /// Its settings for a track.
    pub(super) fn settings(&self, track: &TrackSid) -> TrackSettings {
        self.wishes
            .get(track)
            .map_or_else(TrackSettings::default, |wish| wish.settings)
    }

    /// Its claims as they would be signed today.
    pub(super) fn current_claims(&self) -> Claims {
        Claims {
            name: self.profile.name.clone(),
            metadata: self.profile.metadata.clone(),
            attributes: self.profile.attributes.clone(),
            ..self.claims.clone()
        }
    }

    /// The last that others hear of it.
    pub(super) fn gone(&self, reason: lk::DisconnectReason) -> lk::ParticipantInfo {
        lk::ParticipantInfo {
            state: State::Disconnected.into(),
            version: self.version + 1,
            tracks: Vec::new(),
            is_publisher: false,
            disconnect_reason: reason.into(),
            ..self.to_wire()
        }
    }

    /// As clients see it.
    pub(super) fn to_wire(&self) -> lk::ParticipantInfo {
        let announced = self.tracks.values().filter(|track| track.is_bound());
        let attributes = self.profile.attributes.iter();
        lk::ParticipantInfo {
            sid: self.sid.as_str().to_owned(),
            identity: self.identity.as_str().to_owned(),
            state: self.state.into(),
            tracks: announced.map(|track| track.info.clone()).collect(),
            metadata: self.profile.metadata.clone(),
            joined_at: self.joined_ms / 1000,
            joined_at_ms: self.joined_ms,
            name: self.profile.name.clone(),
            version: self.version,
            permission: Some(self.permission.to_wire()),
            is_publisher: self.is_publisher(),
            kind: permission::kind(&self.claims).into(),
            attributes: attributes.map(|(k, v)| (k.clone(), v.clone())).collect(),
            client_protocol: self.client_protocol,
            capabilities: self.capabilities.clone(),
            ..Default::default()
        }
    }
}
