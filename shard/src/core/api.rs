//! What goes into the core and comes out of it.
//!
//! Owns: the public vocabulary between the core and the surface that drives it. Must not: hold state.

use super::limits::Limits;
use super::moving::MoveFailure;
use super::options::RoomOptions;
use super::selector::SelectorConfig;
use super::spread::SpreadConfig;
use super::state::{LateSignal, RoomState};
use affinity::RoomKey;
use affinity::directory::Epoch;
use livekit_protocol as lk;
use lk::leave_request::Action;
use proto::id::{Member, NodeId, ParticipantSid, RoomSid};
use proto::media::{CarriedData, CarriedMedia, NodeCommand, PeerMode, Selection};
use proto::token::Claims;
use proto::turn::TurnSecret;
use std::collections::BTreeMap;
use std::time::Duration;
use thiserror::Error;

/// One signalling connection (WebSocket). Chosen by the surface, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// How a client and the shard talk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Signalling {
    /// A WebSocket that speaks LiveKit's protocol.
    #[default]
    Socket,
    /// An HTTP resource (WHIP, WHEP): the client offers once and is answered once. Nothing else can be
    /// said to it, and it cannot resume.
    Resource,
}

/// How credentials for TURN are made.
#[derive(Clone, Debug)]
pub struct TurnIssuing {
    /// The nodes check with the same.
    pub secret: TurnSecret,
    /// How long credentials hold. What was relayed with them ends then, too.
    pub lifetime: Duration,
}

/// How a core behaves.
#[derive(Clone, Debug)]
pub struct CoreConfig {
    /// The LiveKit release whose behaviour is offered. Clients compare it as a semantic version and
    /// refuse to connect without one.
    pub server_version: String,
    /// A room that nobody has joined yet ends after this.
    pub empty_timeout: Duration,
    /// A room that everybody has left ends after this.
    pub departure_timeout: Duration,
    /// A participant must have its transports up within this.
    pub join_timeout: Duration,
    /// A participant without signalling, or without transports, is kept this long.
    pub resume_window: Duration,
    /// Clients get a fresh token this often.
    pub token_refresh: Duration,
    /// How often clients ping.
    pub ping_interval: Duration,
    /// A client that hears no pong for this long reconnects.
    pub ping_timeout: Duration,
    /// `RoomUpdate`s of one room are at least this far apart.
    pub room_update_interval: Duration,
    /// Mime types that the nodes forward, in order of preference. The first video codec is what a
    /// client is told to use if it asks for one that is not here.
    pub publish_codecs: Vec<String>,
    /// STUN and TURN servers, passed on to clients as they are.
    pub ice_servers: Vec<lk::IceServer>,
    /// Which node a new room goes to.
    pub node_selector: SelectorConfig,
    /// When a room takes another worker.
    pub spread: SpreadConfig,
    /// What everybody in a room gets, if the room has no wish of its own.
    pub selection: Selection,
    /// Makes credentials for the nodes' TURN servers. `None`: clients are not told of these.
    pub turn: Option<TurnIssuing>,
    /// Bounds.
    pub limits: Limits,
    /// Random bits: ids are derived from it, and a `ParticipantSid` is part of what lets a client
    /// resume, so a production seed must be secret.
    pub seed: u64,
    /// Wall clock at the `now` of [`super::Core::new`], milliseconds since the Unix epoch.
    pub unix_ms: i64,
}

impl Default for CoreConfig {
    fn default() -> Self {
        Self {
            server_version: "1.13.5".into(),
            empty_timeout: Duration::from_secs(20),
            departure_timeout: Duration::from_secs(20),
            join_timeout: Duration::from_secs(60),
            resume_window: Duration::from_secs(30),
            token_refresh: Duration::from_secs(300),
            ping_interval: Duration::from_secs(5),
            ping_timeout: Duration::from_secs(15),
            room_update_interval: Duration::from_millis(500),
            publish_codecs: [
                "audio/opus",
                "video/VP8",
                "video/H264",
                "video/VP9",
                "video/AV1",
            ]
            .map(String::from)
            .to_vec(),
            ice_servers: Vec::new(),
            node_selector: SelectorConfig::default(),
            spread: SpreadConfig::default(),
            selection: Selection::default(),
            turn: None,
            limits: Limits::default(),
            seed: 0,
            unix_ms: 0,
        }
    }
}

/// A verified request to enter a room.
#[derive(Clone, Debug)]
pub struct Join {
    /// The connection; it hears the answer.
    pub session: SessionId,
    /// The canonical room; equals the token's.
    pub room: RoomKey,
    /// The claim under which this shard owns the room.
    pub epoch: Epoch,
    /// Who, and what is allowed. Verified by the surface.
    pub claims: Claims,
    /// By the path: `/rtc/v1` is single, `/rtc` is dual.
    pub mode: PeerMode,
    /// What the session is.
    pub signalling: Signalling,
    /// What the client says of itself.
    pub client: lk::ClientInfo,
    /// Wants every track without asking.
    pub auto_subscribe: bool,
    /// Will send track settings as its layout changes.
    pub adaptive_stream: bool,
    /// `Some`: continue a session instead of starting one.
    pub resume: Option<Resume>,
    /// The publisher's offer inside a v1 join request.
    pub offer: Option<lk::SessionDescription>,
    /// Tracks announced inside a v1 join request.
    pub add_tracks: Vec<lk::AddTrackRequest>,
    /// Metadata out of the join request, empty for none. Taken if the token allows it.
    pub metadata: String,
    /// Attributes out of the join request. Taken if the token allows it.
    pub attributes: BTreeMap<String, String>,
    /// What the directory has kept of an earlier life of the room. Wins over the token's.
    pub stored_options: Option<RoomOptions>,
}

/// The session that a reconnecting client wants back.
#[derive(Clone, Debug)]
pub struct Resume {
    /// Its sid.
    pub participant: ParticipantSid,
    /// [`lk::ReconnectReason`], for the log.
    pub reason: i32,
    /// The client's view, if the join request carried it.
    pub sync_state: Option<lk::SyncState>,
}

/// What the surface has to do.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are of the large kind, and each moves once"
)]
pub enum Output {
    /// Send to a client.
    Signal {
        /// The connection.
        session: SessionId,
        /// What.
        message: lk::signal_response::Message,
    },
    /// Close the WebSocket after everything signalled before. The core has forgotten the session:
    /// `handle_session_closed` for it is harmless.
    Close {
        /// The connection.
        session: SessionId,
        /// For the close frame and the log.
        reason: &'static str,
    },
    /// Nobody was added. Send [`JoinRefusal::leave`] and close, or answer the HTTP request with
    /// [`JoinRefusal::status`] if it is not upgraded yet.
    JoinRefused {
        /// The connection.
        session: SessionId,
        /// Why.
        refusal: JoinRefusal,
    },
    /// The node cannot use the offer of a [`Signalling::Resource`]. [`Output::Close`] follows.
    OfferRefused {
        /// The connection.
        session: SessionId,
        /// For the client.
        reason: String,
    },
    /// Send to a node.
    Node {
        /// Which, and which of its workers.
        member: Member,
        /// What.
        command: NodeCommand,
    },
    /// The room is no more: release its ownership.
    RoomClosed {
        /// Which.
        room: RoomKey,
    },
    /// Mint a token with these claims (new times) and send it as `RefreshToken`.
    MintRefreshToken {
        /// The connection.
        session: SessionId,
        /// `exp` and `nbf` are to be set by the surface.
        claims: Claims,
    },
    /// A room has opened with options that shall survive this shard: keep them. Said once.
    RoomOptions {
        /// Which.
        room: RoomKey,
        /// Never the default ones, nor those that came as [`Join::stored_options`].
        options: RoomOptions,
    },
    /// The answer to [`super::Core::begin_move`]: what to offer to another shard.
    RoomExported {
        /// Which.
        room: RoomKey,
        /// All of it.
        state: Box<RoomState>,
    },
    /// A move ended without [`super::Core::cancel_move`] or [`super::Core::complete_move`]: the room
    /// is live again, or it is gone.
    MoveFailed {
        /// Which.
        room: RoomKey,
        /// Why.
        why: MoveFailure,
    },
    /// The answer to [`super::Core::complete_move`]: the room is not here any more. There is nothing
    /// to release.
    Moved {
        /// Which.
        room: RoomKey,
        /// For [`super::Core::handle_late`] at the new shard.
        late: Vec<LateSignal>,
    },
    /// Somebody is here whose media is still at the room's old shard, or what that one took from it
    /// since: ask it ([`super::Core::pull`]) and answer with [`super::Core::handle_pulled`].
    Pull {
        /// Where.
        room: RoomKey,
        /// Who.
        participant: ParticipantSid,
    },
    /// The answer to [`super::Core::pull`], for the new shard.
    Pulled {
        /// Where.
        room: RoomKey,
        /// Who.
        participant: ParticipantSid,
        /// `None`: nothing newer is known than what was exported.
        media: Option<Box<CarriedMedia>>,
        /// What it sent since.
        data: Vec<CarriedData>,
    },
    /// A client of a room that has moved has closed its transport here and will not come to the new
    /// shard: for [`super::Core::handle_hung_up`] there.
    HungUp {
        /// Where.
        room: RoomKey,
        /// Who.
        participant: ParticipantSid,
    },
}

/// Why nobody was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum JoinRefusal {
    /// No node holds transports for this shard.
    #[error("this shard has no media node yet: try again, or start a node for it")]
    NoNode,
    /// All nodes are too busy for anybody else, or about to end.
    #[error(
        "all media nodes are busy or about to end: try again, add a node, or raise shard.limits.node_stress"
    )]
    Overloaded,
    /// The shard is full.
    #[error("this shard holds as many rooms as it may: add a shard, or raise shard.limits.rooms")]
    RoomLimit,
    /// The room is full.
    #[error("the room is full: raise shard.limits.participants_per_room")]
    ParticipantLimit,
    /// The shard ends.
    #[error("this shard is shutting down: try again, another one will take the room")]
    ShuttingDown,
    /// The token does not let its holder into a room.
    #[error("the access token does not allow to join: set roomJoin and an identity")]
    NotAllowed,
    /// Nobody is there for whom the joining one could be of use: see [`super::opens_room`].
    #[error("the room is not live: hidden participants, recorders and agents join live rooms only")]
    NotLive,
    /// It comes back at another shard.
    #[error("the room is on its way to another shard: try again")]
    Moving,
    /// The room's own limit.
    #[error("the room is full: its options allow no more participants (max_participants)")]
    MaxParticipants,
}

impl JoinRefusal {
    /// HTTP status for a request that was not upgraded yet.
    pub fn status(self) -> u16 {
        match self {
            Self::NotAllowed => 401,
            Self::NotLive => 404,
            Self::NoNode
            | Self::Overloaded
            | Self::RoomLimit
            | Self::ParticipantLimit
            | Self::MaxParticipants
            | Self::Moving
            | Self::ShuttingDown => 503,
        }
    }

    /// True: the same request may succeed later.
    pub fn retry(self) -> bool {
        !matches!(self, Self::NotAllowed | Self::NotLive)
    }

    /// The message for a connection that is upgraded already.
    pub fn leave(self) -> lk::LeaveRequest {
        let action = if self.retry() {
            Action::Reconnect
        } else {
            Action::Disconnect
        };
        lk::LeaveRequest {
            can_reconnect: self.retry(),
            reason: lk::DisconnectReason::JoinFailure.into(),
            action: action.into(),
            regions: None,
        }
    }
}

/// What a shard holds, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Rooms.
    pub rooms: usize,
    /// Participants, hidden ones too.
    pub participants: usize,
    /// Published tracks, announced or not.
    pub tracks: usize,
    /// Tracks that nodes forward, counted for each receiver.
    pub subscriptions: usize,
}

/// A room as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomStatus {
    /// Its key.
    pub room: RoomKey,
    /// Its present life.
    pub sid: RoomSid,
    /// Where its media is, or began to be if it is at several nodes.
    pub node: NodeId,
    /// All workers that its participants are on.
    pub members: Vec<Member>,
    /// The claim under which it runs.
    pub epoch: Epoch,
    /// Everybody, hidden ones too.
    pub participants: usize,
    /// Tracks announced to the room.
    pub tracks: usize,
    /// Wall clock of its start, milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// Participants come and go, and the room changes. False while it is about to go to another shard.
    pub live: bool,
    /// It goes to another shard, or it came from one and not everybody's media is here yet.
    pub moving: bool,
}
