//! Rooms, participants, permissions and subscriptions.
//!
//! Owns: every decision of the shard, as a state machine. Must not: open a socket, read a clock,
//! spawn, log, or use randomness other than its seed.
//!
//! The driving loop: call a `handle_*`, drain [`Core::poll_output`] before the next one, sleep until
//! [`Core::poll_timeout`], call [`Core::handle_timeout`]. The output queue is bounded by what one
//! call can say: a message to each participant of the rooms concerned.

mod api;
mod arriving;
mod audience;
mod confirming;
mod departed;
mod export;
mod frozen;
mod ice_servers;
mod join;
mod layers;
mod leave;
pub mod limits;
mod members;
mod moving;
mod node_events;
mod offers;
mod options;
mod participant;
mod permission;
mod placing;
mod pool;
mod profile;
mod ratings;
mod requests;
mod resume;
mod room;
mod sdp;
mod selector;
mod simulation;
mod speakers;
mod spread;
mod state;
mod subscriptions;
mod tail;
#[cfg(test)]
pub(crate) mod tests;
mod track_info;
mod tracks;
mod turn;
mod updates;

pub use api::{
    Census, CoreConfig, Join, JoinRefusal, Output, Resume, RoomStatus, SessionId, Signalling,
    TurnIssuing,
};
pub use arriving::{ImportRefusal, PULL_MAX};
pub use limits::Limits;
pub use moving::{FREEZE_MAX, MoveFailure, MoveRefusal};
pub use options::RoomOptions;
pub use permission::opens_room;
pub use selector::{Algorithm, SelectorConfig, SelectorKind, SortBy};
pub use spread::SpreadConfig;
pub use state::{LateSignal, ROOM_STATE_VERSION, RoomState, RoomStateError};
pub use tail::{TAIL_LINGER, TAIL_MAX};

use affinity::RoomKey;
use affinity::directory::Epoch;
use frozen::Kept;
use ice_servers::TurnServers;
use leave::{Farewell, refuse_resume};
use livekit_protocol::DisconnectReason;
use livekit_protocol::signal_request;
use node_events::About;
use pool::Pool;
use proto::id::{Identity, Member, NodeId, RoomSid};
use proto::media::{NodeEvent, TransportLoss, TurnOffer};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use room::Room;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tail::Tail;
use turn::{Clock, Due, Index, Subject, Timers, Turn};

/// The signalling state of one shard.
#[derive(Debug)]
pub struct Core {
    config: CoreConfig,
    clock: Clock,
    rng: StdRng,
    nodes: Pool,
    turn_servers: TurnServers,
    /// Bounded by `Limits::rooms`.
    rooms: BTreeMap<RoomKey, Room>,
    /// Rooms that have moved away, by their sid. Each is gone after `TAIL_MAX`.
    tails: BTreeMap<RoomSid, Tail>,
    index: Index,
    timers: Timers,
    outputs: VecDeque<Output>,
    is_shutting_down: bool,
    is_draining: bool,
}

impl Core {
    /// An empty shard. `config.unix_ms` is the wall clock at `now`.
    pub fn new(config: CoreConfig, now: Instant) -> Self {
        Self {
            clock: Clock::new(config.unix_ms, now),
            rng: StdRng::seed_from_u64(config.seed),
            config,
            nodes: Pool::default(),
            turn_servers: TurnServers::default(),
            rooms: BTreeMap::new(),
            tails: BTreeMap::new(),
            index: Index::default(),
            timers: Timers::default(),
            outputs: VecDeque::new(),
            is_shutting_down: false,
            is_draining: false,
        }
    }

    /// Sets the wall clock (milliseconds since the Unix epoch) that belongs to `now`. Between calls
    /// it follows the monotonic clock.
    pub fn set_clock(&mut self, unix_ms: i64, now: Instant) {
        self.clock = Clock::new(unix_ms, now);
    }

    /// Whether a join would be let in, as far as the shard decides: for the answer before the
    /// upgrade. [`Core::handle_join`] asks again, and looks at the room as well.
    ///
    /// # Errors
    /// See [`JoinRefusal`].
    pub fn check_join(&self, room: &RoomKey) -> Result<(), JoinRefusal> {
        if self.is_shutting_down {
            return Err(JoinRefusal::ShuttingDown);
        }
        if self.stands_still(room) {
            return Err(JoinRefusal::Moving);
        }
        if self.nodes.none_is_free(self.config.limits.node_stress) {
            return Err(self.no_place());
        }
        if self.rooms.contains_key(room) {
            return Ok(());
        }
        if self.rooms.len() >= self.config.limits.rooms {
            return Err(JoinRefusal::RoomLimit);
        }
        Ok(())
    }

    /// Lets a client in, or back in. The session hears `Join`, `Reconnect` or `Leave` first, or is
    /// refused with [`Output::JoinRefused`]. If no room comes of it, [`Output::RoomClosed`] gives
    /// back the ownership that was acquired for it.
    pub fn handle_join(&mut self, mut join: Join, now: Instant) {
        if self.index.sessions.contains_key(&join.session) {
            return;
        }
        let room = join.room.clone();
        if self.turns_away(&room, join.session, join.resume.is_some()) {
            return;
        }
        match join.resume.take() {
            Some(resume) => self.resume(&mut join, resume, now),
            None => {
                let session = join.session;
                if let Err(refusal) = self.admit(join, now) {
                    self.outputs
                        .push_back(Output::JoinRefused { session, refusal });
                }
            }
        }
        if !self.rooms.contains_key(&room) {
            self.outputs.push_back(Output::RoomClosed { room });
        }
    }

    /// A message from a client.
    pub fn handle_signal(
        &mut self,
        session: SessionId,
        message: signal_request::Message,
        now: Instant,
    ) {
        let Some(seat) = self.index.sessions.get(&session).cloned() else {
            return;
        };
        if self.stands_still(&seat.room) {
            let message = Box::new(message);
            self.keep(&seat.room, Kept::Signal { session, message }, now);
            return;
        }
        if let Some((room, mut turn)) = self.open(&seat.room, now) {
            room.handle_request(&seat.participant, message, &mut turn);
        }
    }

    /// The WebSocket is gone. Harmless for a session that the core has closed itself.
    pub fn handle_session_closed(&mut self, session: SessionId, now: Instant) {
        let Some(seat) = self.index.sessions.get(&session).cloned() else {
            return;
        };
        if self.stands_still(&seat.room) {
            self.keep(&seat.room, Kept::Closed(session), now);
            return;
        }
        self.index.sessions.remove(&session);
        if let Some((room, mut turn)) = self.open(&seat.room, now) {
            room.handle_session_closed(&seat.participant, session, &mut turn);
        }
    }

    /// A node can take participants, on so many workers. `relay`: where other nodes reach it.
    pub fn handle_node_attached(
        &mut self,
        node: NodeId,
        workers: u16,
        relay: Option<SocketAddr>,
        now: Instant,
    ) {
        self.nodes.attach(node, workers, relay);
        self.tell_peers(now);
    }

    /// What an attached node offers of TURN, for those who join or resume from now on.
    pub fn handle_turn_offer(&mut self, node: NodeId, offer: TurnOffer) {
        self.turn_servers.set(node, offer);
    }

    /// A message from a node. One about something that is not the node's is ignored: it crossed a
    /// removal on its way.
    pub fn handle_node_event(&mut self, node: &NodeId, event: NodeEvent, now: Instant) {
        if let NodeEvent::Detached {
            participant,
            media,
            data,
        } = event
        {
            self.handle_detached(node, &participant, media, data, now);
            return;
        }
        if let NodeEvent::Disconnected {
            participant,
            reason: TransportLoss::PeerClosed,
        } = &event
        {
            self.handle_tail_hung_up(node, participant);
        }
        match &event {
            NodeEvent::Report(report) => self.nodes.note(node, report, now),
            NodeEvent::Draining => self.nodes.drain(node),
            _ => {}
        }
        let room = match node_events::about(&event) {
            About::Participant(participant) => self.index.participants.get(participant),
            About::Room(room) => self.index.rooms.get(room),
            About::Node => None,
        };
        let Some(key) = room.cloned() else {
            return;
        };
        let room = self.rooms.get(&key);
        if !room.is_some_and(|room| node_events::is_from(room, node, &event)) {
            return;
        }
        if let NodeEvent::Exported {
            worker,
            media,
            data,
            ..
        } = event
        {
            let from = Member::new(node.clone(), worker);
            self.handle_exported(&key, from, (media, data), now);
        } else if self.stands_still(&key) {
            let node = node.clone();
            self.keep(&key, Kept::Event { node, event }, now);
        } else if let Some((room, mut turn)) = self.open(&key, now) {
            room.handle_node_event(event, &mut turn);
        }
    }

    /// A node and all its transports are gone: whoever was there joins again, and finds the room where
    /// the others are, or elsewhere.
    pub fn handle_node_lost(&mut self, node: &NodeId, now: Instant) {
        self.nodes.remove(node);
        self.turn_servers.forget(node);
        self.lose_tails(node, now);
        let on_node = self.rooms.values().filter(|room| room.is_on(node));
        let rooms: Vec<RoomKey> = on_node.map(|room| room.key.clone()).collect();
        for key in rooms {
            let Some(room) = self.rooms.get_mut(&key) else {
                continue;
            };
            let ends = room.members.all().all(|member| member.node == *node);
            if let Some(frozen) = room.frozen.as_mut().filter(|frozen| frozen.is_sealed) {
                // Whether it is still ours turns out soon.
                frozen.lost_nodes.insert(node.clone());
                continue;
            }
            if ends {
                self.drop_move(&key, MoveFailure::NodeLost);
            } else {
                self.cancel_move_for(&key, MoveFailure::NodeLost, now);
            }
            self.lose_members(&key, &BTreeSet::from([node.clone()]), now);
        }
        self.tell_peers(now);
    }

    /// The room is not owned any more: everybody joins again, wherever it is then. No
    /// [`Output::RoomClosed`] follows, as there is nothing to release.
    pub fn handle_room_lost(&mut self, room: &RoomKey, now: Instant) {
        let lost = self.drop_move(room, MoveFailure::RoomLost);
        if let Some((room, mut turn)) = self.open(room, now) {
            let reason = DisconnectReason::StateMismatch;
            room.dismiss_all(reason, Farewell::Reconnect, &lost, &mut turn);
        }
        self.rooms.remove(room);
    }

    /// The shard ends: everybody joins again, elsewhere. Later joins are refused.
    pub fn handle_shutdown(&mut self, now: Instant) {
        self.is_shutting_down = true;
        self.end_all_tails(now);
        let rooms: Vec<RoomKey> = self.rooms.keys().cloned().collect();
        for key in rooms {
            let lost = self.drop_move(&key, MoveFailure::ShuttingDown);
            if let Some((room, mut turn)) = self.open(&key, now) {
                let reason = DisconnectReason::ServerShutdown;
                room.dismiss_all(reason, Farewell::Reconnect, &lost, &mut turn);
            }
            self.drop_if_ended(&key);
        }
    }

    /// The shard shall become empty, or not any more. Meanwhile a room ends as soon as nobody keeps
    /// it, those which nobody keeps now at once.
    pub fn set_draining(&mut self, draining: bool, now: Instant) {
        self.is_draining = draining;
        let idle = self.rooms.values();
        let idle = idle.filter(|room| !room.is_kept() && room.frozen.is_none());
        let idle: Vec<RoomKey> = idle.map(|room| room.key.clone()).collect();
        for key in idle.iter().filter(|_| draining) {
            if let Some((room, mut turn)) = self.open(key, now) {
                room.close(DisconnectReason::RoomClosed, &mut turn);
            }
            self.drop_if_ended(key);
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((due, subject)) = self.timers.pop_due(now) {
            self.handle_due(due, &subject, now);
        }
    }

    /// The next thing to do; `None` when all is done.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Core::handle_timeout`], and what for. May be early.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.timers.first()
    }

    /// Whether a join to this room would find it here.
    pub fn is_live(&self, room: &RoomKey) -> bool {
        self.rooms.contains_key(room)
    }

    /// All rooms, by key.
    pub fn rooms(&self) -> Vec<RoomStatus> {
        self.rooms.values().map(Room::status).collect()
    }

    /// Everything in numbers.
    pub fn census(&self) -> Census {
        let mut census = Census::default();
        for room in self.rooms.values() {
            census.rooms += 1;
            census.participants += room.participants.len();
            census.tracks += room.owners.len();
            let of_room = room.participants.values();
            census.subscriptions += of_room.map(|p| p.subscriptions.len()).sum::<usize>();
        }
        census
    }

    /// From entering a room until the media transports were up, of everybody since the last call.
    pub fn take_entry_times(&mut self) -> Vec<Duration> {
        std::mem::take(&mut self.index.entry_times)
    }

    fn admit(&mut self, join: Join, now: Instant) -> Result<(), JoinRefusal> {
        if join.claims.identity().is_empty() || !join.claims.video.room_join {
            return Err(JoinRefusal::NotAllowed);
        }
        self.check_join(&join.room)?;
        let key = join.room.clone();
        let keeps_room = opens_room(&join.claims);
        match self.rooms.get(&key) {
            Some(room) => {
                let identity = Identity::new(join.claims.identity());
                room.check_entry(&identity, keeps_room, &self.config.limits)?;
            }
            None if keeps_room => self.open_room(&join, now)?,
            None => return Err(JoinRefusal::NotLive),
        }
        let member = self.place(&key).ok_or(self.no_place())?;
        if let Some((room, mut turn)) = self.open(&key, now) {
            room.epoch = room.epoch.max(join.epoch);
            room.admit(join, member, &mut turn);
        }
        Ok(())
    }

    /// Opens a room that this shard owns and that nobody is in yet: its participants join again, and
    /// find it as its last owner left it. False: it cannot live here.
    #[must_use]
    pub fn reopen_room(
        &mut self,
        room: &RoomKey,
        epoch: Epoch,
        options: RoomOptions,
        now: Instant,
    ) -> bool {
        if self.check_join(room).is_err() || self.rooms.contains_key(room) {
            return false;
        }
        let Some(home) = self.choose_home() else {
            return false;
        };
        let turn = &mut self.turn(now);
        let mut opened = Room::new(room.clone(), epoch, home, options.bounded(), turn);
        opened.visited = true;
        opened.presence_changed(turn);
        self.rooms.insert(room.clone(), opened);
        true
    }

    fn open_room(&mut self, join: &Join, now: Instant) -> Result<(), JoinRefusal> {
        let home = self.choose_free_home().ok_or(self.no_place())?;
        let room = join.room.clone();
        let stored = join.stored_options.clone().map(RoomOptions::bounded);
        let is_stored = stored.is_some();
        let options = stored.unwrap_or_else(|| RoomOptions::from_claims(&join.claims));
        let turn = &mut self.turn(now);
        let opened = Room::new(room.clone(), join.epoch, home, options.clone(), turn);
        self.rooms.insert(room.clone(), opened);
        if !is_stored && !options.is_default() {
            self.outputs
                .push_back(Output::RoomOptions { room, options });
        }
        Ok(())
    }

    fn resume(&mut self, join: &mut Join, resume: Resume, now: Instant) {
        let key = join.room.clone();
        let resumed = self
            .open(&key, now)
            .is_some_and(|(room, mut turn)| room.resume(join, resume, &mut turn));
        if !resumed {
            refuse_resume(join.session, &mut self.turn(now));
        }
    }

    fn handle_due(&mut self, due: Due, subject: &Subject, now: Instant) {
        if let (Due::Tail, Subject::Room(sid)) = (due, subject) {
            self.handle_tail_due(sid, now);
            return;
        }
        let key = match subject {
            Subject::Room(sid) => self.index.rooms.get(sid),
            Subject::Participant(sid) => self.index.participants.get(sid),
        };
        let Some(key) = key.cloned() else {
            return;
        };
        if due == Due::Thaw {
            self.handle_thaw_due(&key, now);
            return;
        }
        if let Some((room, mut turn)) = self.open(&key, now) {
            if let Some(frozen) = &mut room.frozen {
                frozen.due.insert((due, subject.clone()));
                return;
            }
            match subject {
                Subject::Room(_) => room.handle_due(due, &mut turn),
                Subject::Participant(sid) => room.handle_participant_due(sid, due, &mut turn),
            }
        }
        self.drop_if_ended(&key);
    }

    fn drop_if_ended(&mut self, key: &RoomKey) {
        if self.rooms.get(key).is_some_and(|room| room.ended) {
            self.rooms.remove(key);
            let room = key.clone();
            self.outputs.push_back(Output::RoomClosed { room });
        }
    }

    /// The means to act, apart from any room.
    fn turn(&mut self, now: Instant) -> Turn<'_> {
        Turn {
            config: &self.config,
            rng: &mut self.rng,
            index: &mut self.index,
            timers: &mut self.timers,
            outputs: &mut self.outputs,
            unix_ms: self.clock.unix_ms(now),
            now,
            is_draining: self.is_draining,
            turn_servers: &self.turn_servers,
        }
    }

    /// A room and the means to act on it, borrowed side by side.
    fn open(&mut self, key: &RoomKey, now: Instant) -> Option<(&mut Room, Turn<'_>)> {
        let room = self.rooms.get_mut(key)?;
        let turn = Turn {
            config: &self.config,
            rng: &mut self.rng,
            index: &mut self.index,
            timers: &mut self.timers,
            outputs: &mut self.outputs,
            unix_ms: self.clock.unix_ms(now),
            now,
            is_draining: self.is_draining,
            turn_servers: &self.turn_servers,
        };
        Some((room, turn))
    }
}
