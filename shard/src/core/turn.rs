//! What a handler may use while it runs: configuration, random bits, time, and the places to write to.
//!
//! Owns: the output queue's helpers, the lookup tables of the shard and its timers. Must not: know
//! what a room decides.

use super::api::{CoreConfig, Output, SessionId};
use super::ice_servers::TurnServers;
use super::participant::Participant;
use affinity::RoomKey;
use livekit_protocol::IceServer;
use livekit_protocol::signal_response::Message;
use proto::id::{Member, NodeId, ParticipantSid, RoomSid};
use proto::media::NodeCommand;
use rand::Rng as _;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// How long a client can have heard nothing before it resumes, in resume windows: one, and before it
/// the time until its dead connection was noticed, which is about as long.
const WINDOWS_MISSED: u32 = 2;
/// Times of entering kept for whoever draws statistics: more than a shard takes in within the second
/// between two looks.
const ENTRY_TIMES_MAX: usize = 4_096;

/// Wall clock by way of the monotonic one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    unix_ms: i64,
    at: Instant,
}

impl Clock {
    pub(super) fn new(unix_ms: i64, at: Instant) -> Self {
        Self { unix_ms, at }
    }

    pub(super) fn unix_ms(&self, now: Instant) -> i64 {
        let elapsed = now.saturating_duration_since(self.at).as_millis();
        self.unix_ms
            .saturating_add(i64::try_from(elapsed).unwrap_or(i64::MAX))
    }
}

/// Where a session sits.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    pub(super) room: RoomKey,
    pub(super) participant: ParticipantSid,
}

/// Ways from an id to its room. As large as the rooms themselves, which are bounded.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) sessions: BTreeMap<SessionId, Seat>,
    pub(super) participants: BTreeMap<ParticipantSid, RoomKey>,
    pub(super) rooms: BTreeMap<RoomSid, RoomKey>,
    /// How long entering took, until somebody asks. Bounded by `ENTRY_TIMES_MAX`.
    pub(super) entry_times: Vec<Duration>,
}

impl Index {
    /// Somebody is connected, so long after entering. What is too much is not remembered.
    pub(super) fn note_entry(&mut self, took: Duration) {
        if self.entry_times.len() < ENTRY_TIMES_MAX {
            self.entry_times.push(took);
        }
    }
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// A participant must be connected for the first time.
    Join,
    /// A participant must have signalling again.
    Resume,
    /// A participant must have its transports again.
    Reconnect,
    /// A fresh token is due.
    TokenRefresh,
    /// A participant must be told of its tracks, connected or not.
    Confirm,
    /// A room without participants ends.
    RoomEmpty,
    /// The room's figures are due.
    RoomUpdate,
    /// Participants with too many subscriptions may have free ones.
    Refill,
    /// Those who spoke before a move must be heard again.
    Speakers,
    /// Changes of those who only watch are to be told.
    Updates,
    /// How good connections are is to be told.
    Ratings,
    /// Those who have not come with their room can be asked for no longer.
    Arrivals,
    /// The old shard must have said what it still has of a participant.
    Pull,
    /// A frozen room must have moved.
    Thaw,
    /// The media of a room that has moved ends here.
    Tail,
}

impl Due {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Join => "join timeout",
            Self::Resume => "resume window",
            Self::Reconnect => "transport loss",
            Self::Confirm => "confirm",
            Self::TokenRefresh => "token refresh",
            Self::RoomEmpty => "empty room",
            Self::RoomUpdate => "room update",
            Self::Refill => "free subscriptions",
            Self::Arrivals => "arrivals",
            Self::Speakers => "carried speakers",
            Self::Ratings => "ratings",
            Self::Updates => "late updates",
            Self::Pull => "pull",
            Self::Thaw => "frozen room",
            Self::Tail => "tail of a moved room",
        }
    }
}

/// Whose deadline it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Room(RoomSid),
    Participant(ParticipantSid),
}

/// Deadlines in order. One that was called off stays until its time and then finds nothing to do:
/// whoever owns it keeps the truth. Each participant has at most a handful, so the set stays small.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeSet<(Instant, Due, Subject)>);

impl Timers {
    pub(super) fn first(&self) -> Option<(Instant, &'static str)> {
        self.0.first().map(|(at, due, _)| (*at, due.name()))
    }

    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(Due, Subject)> {
        if self.0.first()?.0 > now {
            return None;
        }
        self.0.pop_first().map(|(_, due, subject)| (due, subject))
    }
}

/// One turn of the core.
pub(super) struct Turn<'a> {
    pub(super) config: &'a CoreConfig,
    pub(super) rng: &'a mut StdRng,
    pub(super) index: &'a mut Index,
    pub(super) timers: &'a mut Timers,
    pub(super) outputs: &'a mut VecDeque<Output>,
    pub(super) unix_ms: i64,
    pub(super) now: Instant,
    /// Rooms that nobody keeps end at once.
    pub(super) is_draining: bool,
    pub(super) turn_servers: &'a TurnServers,
}

impl Turn<'_> {
    /// Bits for an id.
    pub(super) fn random(&mut self) -> u128 {
        self.rng.random()
    }

    /// What a participant whose media is at `node` is told of STUN and TURN, with fresh credentials.
    pub(super) fn ice_servers(
        &self,
        node: &NodeId,
        participant: &ParticipantSid,
    ) -> Vec<IceServer> {
        let issuing = self.config.turn.as_ref();
        let turn = self
            .turn_servers
            .server(node, participant, issuing, self.unix_ms);
        let configured = self.config.ice_servers.iter().cloned();
        configured.chain(turn).collect()
    }

    /// Says something to a participant, if it can hear.
    pub(super) fn signal(&mut self, to: &Participant, message: Message) {
        let is_heard = !to.is_resource() || is_for_resources(&message);
        if let Some(session) = to.hears().filter(|_| is_heard) {
            self.signal_session(session, message);
        }
    }

    /// Says something on a connection, whoever sits there.
    pub(super) fn signal_session(&mut self, session: SessionId, message: Message) {
        self.outputs.push_back(Output::Signal { session, message });
    }

    /// Ends a connection and forgets it.
    pub(super) fn close(&mut self, session: SessionId, reason: &'static str) {
        self.index.sessions.remove(&session);
        self.outputs.push_back(Output::Close { session, reason });
    }

    /// Commands a worker of a node.
    pub(super) fn node(&mut self, member: &Member, command: NodeCommand) {
        self.outputs.push_back(Output::Node {
            member: member.clone(),
            command,
        });
    }

    /// How long somebody who left is remembered.
    pub(super) fn kept_departed(&self) -> Duration {
        self.config.resume_window * WINDOWS_MISSED
    }

    /// Wakes the core up at a deadline; its owner remembers `at`.
    pub(super) fn arm(&mut self, at: Instant, due: Due, subject: Subject) {
        self.timers.0.insert((at, due, subject));
    }
}

/// Whether it says what came of the join and of the offer.
fn is_for_resources(message: &Message) -> bool {
    matches!(
        message,
        Message::Join(_) | Message::Answer(_) | Message::RequestResponse(_)
    )
}
