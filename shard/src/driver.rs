//! The task that owns the [`Core`]: inputs come in by one queue, outputs go to sessions and nodes.
//!
//! Owns: which session and which node link is reachable how. Must not: wait for any of them: a
//! session whose queue is full is given up, and what a node has not taken waits in its [`Outbox`], so
//! that one slow reader cannot hold up the rest.

mod drain;
mod moves;
mod outbox;

use crate::clock;
use crate::core::{
    Core, Join, JoinRefusal, LateSignal, Output, RoomOptions, RoomState, RoomStatus, SessionId,
};
use crate::figures::Figures;
use crate::ownership::{Hosting, News, Owner, Pin, sleep_until};
use crate::peers::{PeerReply, PeerRequest, Peers};
use crate::ready::Condition;
use affinity::directory::Epoch;
use affinity::{RoomKey, ShardId};
use drain::Drain;
pub(crate) use drain::DrainSettings;
use livekit_protocol::{DisconnectReason, LeaveRequest, leave_request};
use livekit_protocol::{signal_request, signal_response};
use moves::Moves;
use outbox::{LinkLost, Outbox};
use proto::id::{Member, NodeId};
use proto::media::{NodeCommand, NodeEvent, ToWorker, TurnOffer};
use proto::token::{ApiKeys, Claims};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Inputs that may wait for the driver. Senders wait when it is full: a flood slows its sources
/// down instead of growing.
pub(crate) const INPUT_QUEUE: usize = 4096;
/// Messages that may wait for one session's socket: a join into a full room is a burst of a few
/// hundred updates. A session that falls behind further is closed; its client comes back by itself.
pub(crate) const OUTBOUND_QUEUE: usize = 1024;
/// Inputs handled before timers get their turn.
const INPUTS_PER_PASS: usize = 64;
/// How often the gauges are set.
const GAUGE_INTERVAL: Duration = Duration::from_secs(1);
/// Life of a refreshed token, seconds (as LiveKit). Refreshed every 5 minutes.
const REFRESH_LIFETIME_S: u64 = 600;

/// What a session is told.
#[derive(Debug)]
pub(crate) enum Outbound {
    /// For the client.
    Message(Box<signal_response::Message>),
    /// For a client that has only its offer: the node cannot use it.
    Refused(String),
    /// Close the WebSocket after what was said before.
    Close(&'static str),
}

/// One life of a node's link: tells a late event of an old link from the new link's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkId(pub(crate) u64);

/// A verified join, with the way back to its socket.
pub(crate) struct Arrival {
    pub(crate) join: Join,
    pub(crate) outbound: mpsc::Sender<Outbound>,
    /// Cancelled when the session's queue is full.
    pub(crate) overflow: CancellationToken,
    pub(crate) pin: Pin,
}

/// What a node says of itself when it attaches.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeOffer {
    /// How many workers it has.
    pub(crate) workers: u16,
    /// Where other nodes reach it.
    pub(crate) relay: Option<SocketAddr>,
    /// Its TURN server.
    pub(crate) turn: Option<TurnOffer>,
}

/// Everything that can happen to the core.
pub(crate) enum Input {
    Arrived(Box<Arrival>),
    Signal {
        session: SessionId,
        message: Box<signal_request::Message>,
    },
    Closed {
        session: SessionId,
    },
    NodeAttached {
        node: NodeId,
        link: LinkId,
        commands: mpsc::Sender<ToWorker>,
        offer: NodeOffer,
    },
    NodeEvent {
        node: NodeId,
        link: LinkId,
        event: NodeEvent,
    },
    NodeGone {
        node: NodeId,
        link: LinkId,
    },
    /// Would a join be let in?
    Check {
        room: RoomKey,
        answer: oneshot::Sender<Result<(), JoinRefusal>>,
    },
    Rooms(oneshot::Sender<Vec<RoomStatus>>),
    /// Another shard would like to hand a room over.
    Offered {
        from: String,
        epoch: Epoch,
        state: Box<RoomState>,
        answer: oneshot::Sender<PeerReply>,
    },
    /// Another shard asks.
    Peer {
        request: Box<PeerRequest>,
        answer: oneshot::Sender<PeerReply>,
    },
    /// Another shard has handed over a room, which is ours now.
    Handed {
        pin: Box<Pin>,
        epoch: Epoch,
        late: Vec<LateSignal>,
        answer: oneshot::Sender<PeerReply>,
    },
    /// What another shard said to our own question.
    Answered(Box<moves::Answered>),
    /// The shard shall end when it is empty.
    Leave,
    Shutdown,
}

struct SessionEntry {
    outbound: mpsc::Sender<Outbound>,
    overflow: CancellationToken,
}

struct NodeLink {
    link: LinkId,
    outbox: Outbox,
}

/// What a driver is made of.
pub(crate) struct Parts {
    pub(crate) shard: ShardId,
    pub(crate) core: Core,
    pub(crate) owner: Owner,
    pub(crate) keys: ApiKeys,
    pub(crate) peers: Peers,
    /// The driver's own inputs: answers to what it asks come that way. It does not keep the loop
    /// alive.
    pub(crate) inputs: mpsc::WeakSender<Input>,
    pub(crate) drain: DrainSettings,
    /// Told when a shard that shall end is empty.
    pub(crate) empty: Arc<Notify>,
    /// Told when a node can take participants.
    pub(crate) attached: Arc<Notify>,
    pub(crate) condition: Arc<Condition>,
    /// The shard ends.
    pub(crate) shutdown: CancellationToken,
}

/// The loop around the [`Core`].
pub(crate) struct Driver {
    shard: ShardId,
    core: Core,
    owner: Owner,
    figures: Figures,
    keys: ApiKeys,
    moves: Moves,
    drain: Drain,
    sessions: HashMap<SessionId, SessionEntry>,
    nodes: HashMap<NodeId, NodeLink>,
    attached: Arc<Notify>,
    condition: Arc<Condition>,
    shutdown: CancellationToken,
    stopping: bool,
    /// Joins that ended before they began, since the last look.
    turned_away: u64,
}

impl Driver {
    pub(crate) fn new(parts: Parts) -> Self {
        let figures = parts.owner.figures().clone();
        Self {
            shard: parts.shard,
            core: parts.core,
            owner: parts.owner,
            keys: parts.keys,
            moves: Moves::new(parts.peers, parts.inputs, figures.clone()),
            figures,
            drain: Drain::new(parts.drain, parts.empty),
            sessions: HashMap::new(),
            nodes: HashMap::new(),
            attached: parts.attached,
            condition: parts.condition,
            shutdown: parts.shutdown,
            stopping: false,
            turned_away: 0,
        }
    }

    /// Runs until all senders of inputs are gone.
    pub(crate) async fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        let mut gauges = tokio::time::interval(GAUGE_INTERVAL);
        let owner = self.owner.clone();
        loop {
            let overdue = self
                .nodes
                .values()
                .filter_map(|node| node.outbox.overdue_at());
            let wake = overdue
                .chain(self.core.poll_timeout().map(|(at, _)| at))
                .chain(self.drain.wake_at())
                .min();
            tokio::select! {
                input = inputs.recv() => {
                    let Some(input) = input else { return };
                    self.core.set_clock(clock::unix_ms_signed(), Instant::now());
                    self.handle_input(input, Instant::now());
                    for _ in 1..INPUTS_PER_PASS {
                        let Ok(input) = inputs.try_recv() else { break };
                        self.handle_input(input, Instant::now());
                    }
                }
                node = room_for_more(&self.nodes) => self.flush(&node, Instant::now()),
                () = told(&owner) => self.handle_news(Instant::now()),
                () = sleep_until(wake) => {}
                _ = gauges.tick() => self.show_figures(inputs.len(), Instant::now()),
            }
            self.handle_due_timers(Instant::now());
        }
    }

    fn handle_due_timers(&mut self, now: Instant) {
        // A process that stood still may have work waiting for rooms that are another's by now.
        self.handle_news(now);
        self.drain_if_due(now);
        if self.core.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.core.set_clock(clock::unix_ms_signed(), now);
            self.core.handle_timeout(now);
            self.drain(now);
        }
        let overdue = self.nodes.iter().filter(|(_, node)| {
            let at = node.outbox.overdue_at();
            at.is_some_and(|at| at <= now)
        });
        let overdue: Vec<NodeId> = overdue.map(|(node, _)| node.clone()).collect();
        for node in &overdue {
            self.flush(node, now);
        }
    }

    fn handle_input(&mut self, input: Input, now: Instant) {
        // First: a node may end with the process, and its end may be here before `Shutdown`. Clients
        // shall not take that for a failure.
        if self.shutdown.is_cancelled() {
            self.begin_shutdown(now);
        }
        self.handle_news(now);
        match input {
            Input::Arrived(arrival) => self.handle_arrival(*arrival, now),
            Input::Signal { session, message } => {
                self.core.handle_signal(session, *message, now);
            }
            Input::Closed { session } => {
                self.sessions.remove(&session);
                self.core.handle_session_closed(session, now);
            }
            Input::NodeAttached {
                node,
                link,
                commands,
                offer,
            } => {
                let outbox = Outbox::new(commands);
                self.handle_node_attached(node, NodeLink { link, outbox }, offer, now);
            }
            Input::NodeEvent { node, link, event } => {
                if self.is_current(&node, link) {
                    self.handle_node_event(&node, event, now);
                }
            }
            Input::NodeGone { node, link } => {
                if self.is_current(&node, link) {
                    tracing::warn!(%node, "node gone");
                    self.lose_node(&node, now);
                }
            }
            Input::Check { room, answer } => {
                // The asker may have given up: its loss.
                let _ = answer.send(self.core.check_join(&room));
            }
            Input::Rooms(answer) => {
                let _ = answer.send(self.core.rooms());
            }
            Input::Offered {
                from,
                epoch,
                state,
                answer,
            } => self.handle_offered(&from, epoch, *state, answer, now),
            Input::Peer { request, answer } => self.handle_peer(*request, answer, now),
            Input::Handed {
                pin,
                epoch,
                late,
                answer,
            } => self.handle_handed(&pin, epoch, late, answer, now),
            Input::Answered(answered) => self.handle_answered(*answered, now),
            Input::Leave => self.begin_leaving(now),
            Input::Shutdown => self.begin_shutdown(now),
        }
        self.drain(now);
    }

    /// Sends everybody away.
    fn begin_shutdown(&mut self, now: Instant) {
        if self.stopping {
            return;
        }
        self.stopping = true;
        self.condition.set_stopping();
        self.core.handle_shutdown(now);
        self.drain(now);
    }

    fn handle_arrival(&mut self, arrival: Arrival, now: Instant) {
        let Arrival {
            join,
            outbound,
            overflow,
            pin,
        } = arrival;
        if self.stopping || !self.take_up(&pin.room, pin.epoch, now) {
            turn_away(&outbound, join.resume.is_some() && !self.stopping);
            return;
        }
        let mut join = join;
        if !self.core.is_live(&pin.room) {
            join.stored_options = self.inherit(&pin.room, pin.epoch, now);
        }
        self.sessions
            .insert(join.session, SessionEntry { outbound, overflow });
        self.turned_away = 0;
        self.core.handle_join(join, now);
        self.drain(now);
        // A refused join, or a resume of an unknown session, leaves no room behind: give it back.
        if self.turned_away > 0 && !self.core.rooms().iter().any(|held| held.room == pin.room) {
            self.owner.stopped(&pin.room);
        }
    }

    /// Tells the ownership that the core has the room from now on. False: it is not ours any more.
    fn take_up(&mut self, room: &RoomKey, epoch: Epoch, now: Instant) -> bool {
        let mut hosting = self.owner.host(room, epoch, now);
        if hosting == Hosting::HeldEarlier {
            self.core.handle_room_lost(room, now);
            // Draining may tell the owner that the room is stopped: say again that it is held.
            self.drain(now);
            hosting = self.owner.host(room, epoch, now);
        }
        hosting != Hosting::NotOurs
    }

    fn handle_news(&mut self, now: Instant) {
        while let Some(news) = self.owner.next_news(now) {
            match news {
                News::Lost { room, epoch } => {
                    self.move_lost(&room);
                    if self.owner.forget(&room, epoch) {
                        self.core.handle_room_lost(&room, now);
                    }
                }
                News::Came { room, epoch } => self.came(&room, epoch, now),
                News::Moved { room, epoch, to } => self.moved(&room, epoch, &to, now),
                News::Stays { room } => self.move_refused(&room, now),
                News::Drain(order) => self.handle_order(order, now),
            }
            self.drain(now);
        }
    }

    fn handle_node_attached(
        &mut self,
        node: NodeId,
        link: NodeLink,
        offer: NodeOffer,
        now: Instant,
    ) {
        if self.nodes.contains_key(&node) {
            tracing::warn!(%node, "node attached again: its earlier link is given up");
            self.lose_node(&node, now);
            self.drain(now);
        }
        tracing::info!(%node, "node attached");
        self.nodes.insert(node.clone(), link);
        self.condition.set_nodes(self.nodes.len());
        let turn = offer.turn.unwrap_or_default();
        self.core.handle_turn_offer(node.clone(), turn);
        self.core
            .handle_node_attached(node, offer.workers, offer.relay, now);
        self.attached.notify_waiters();
    }

    fn handle_node_event(&mut self, node: &NodeId, event: NodeEvent, now: Instant) {
        if let NodeEvent::AskOwned { worker, nonce } = event {
            let for_ms = self.owner.remaining_ms(now);
            let member = Member::new(node.clone(), worker);
            self.command(&member, NodeCommand::Owned { nonce, for_ms }, now);
        } else {
            self.core.handle_node_event(node, event, now);
        }
    }

    fn is_current(&self, node: &NodeId, link: LinkId) -> bool {
        self.nodes.get(node).is_some_and(|known| known.link == link)
    }

    fn lose_node(&mut self, node: &NodeId, now: Instant) {
        if self.nodes.remove(node).is_some() {
            self.condition.set_nodes(self.nodes.len());
            self.figures.count("anteroom_shard_nodes_lost_total");
            self.core.handle_node_lost(node, now);
        }
    }

    fn drain(&mut self, now: Instant) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Signal { session, message } => {
                    self.tell(session, Outbound::Message(Box::new(message)), now);
                }
                Output::Close { session, reason } => {
                    self.close(session, reason, now);
                }
                Output::JoinRefused { session, refusal } => {
                    let leave = signal_response::Message::Leave(refusal.leave());
                    self.tell(session, Outbound::Message(Box::new(leave)), now);
                    self.close(session, refusal_text(refusal), now);
                }
                Output::OfferRefused { session, reason } => {
                    self.tell(session, Outbound::Refused(reason), now);
                }
                Output::Node { member, command } => self.command(&member, command, now),
                Output::RoomClosed { room } => self.owner.stopped(&room),
                Output::MintRefreshToken { session, claims } => {
                    self.refresh_token(session, claims, now);
                }
                Output::RoomOptions { room, options } => self.keep_options(room, &options),
                Output::RoomExported { room, state } => self.offer(&room, state),
                Output::MoveFailed { room, why } => self.move_failed(&room, why),
                Output::Moved { room, late } => self.commit(&room, late),
                Output::Pull { room, participant } => self.pull(room, participant),
                Output::Pulled {
                    room,
                    participant,
                    media,
                    data,
                } => self.moves.pulled(&room, &participant, media, data),
                Output::HungUp { room, participant } => self.say_hung_up(room, participant),
            }
        }
    }

    fn close(&mut self, session: SessionId, reason: &'static str, now: Instant) {
        self.turned_away += 1;
        self.tell(session, Outbound::Close(reason), now);
        self.sessions.remove(&session);
    }

    fn tell(&mut self, session: SessionId, message: Outbound, now: Instant) {
        let Some(entry) = self.sessions.get(&session) else {
            return;
        };
        match entry.outbound.try_send(message) {
            Ok(()) => return,
            Err(TrySendError::Full(_)) => {
                self.figures
                    .count("anteroom_shard_sessions_overflowed_total");
                entry.overflow.cancel();
            }
            Err(TrySendError::Closed(_)) => {}
        }
        // The session task reports its end too; by then it is unknown here.
        self.sessions.remove(&session);
        self.core.handle_session_closed(session, now);
    }

    fn command(&mut self, to: &Member, command: NodeCommand, now: Instant) {
        if let Some(link) = self.nodes.get_mut(&to.node) {
            let pushed = link.outbox.push(to.worker, command, now);
            self.lose_if(&to.node, pushed, now);
        }
    }

    /// Hands a node the commands that it has room for.
    fn flush(&mut self, node: &NodeId, now: Instant) {
        if let Some(link) = self.nodes.get_mut(node) {
            let flushed = link.outbox.flush(now);
            self.lose_if(node, flushed, now);
            self.drain(now);
        }
    }

    fn lose_if(&mut self, node: &NodeId, outcome: Result<(), LinkLost>, now: Instant) {
        if let Err(error) = outcome {
            tracing::warn!(%node, %error, "node given up");
            self.lose_node(node, now);
        }
    }

    fn refresh_token(&mut self, session: SessionId, claims: Claims, now: Instant) {
        let claims = Claims {
            exp: clock::unix_s() + REFRESH_LIFETIME_S,
            ..claims
        };
        match self.keys.mint(&claims) {
            Ok(token) => {
                let message = signal_response::Message::RefreshToken(token);
                self.tell(session, Outbound::Message(Box::new(message)), now);
            }
            Err(error) => tracing::warn!(%error, "cannot refresh a token"),
        }
    }

    fn keep_options(&self, room: RoomKey, options: &RoomOptions) {
        match serde_json::to_string(options) {
            Ok(text) => self.owner.keep_options(room, text),
            Err(error) => tracing::warn!(%error, "room options not kept"),
        }
    }

    /// Hands out what was counted. `waiting`: inputs that nobody has looked at yet.
    fn show_figures(&mut self, waiting: usize, now: Instant) {
        let figures = &self.figures;
        let held = self.core.census();
        let gauges = [
            ("anteroom_shard_rooms", held.rooms),
            ("anteroom_shard_participants", held.participants),
            ("anteroom_shard_tracks", held.tracks),
            ("anteroom_shard_subscriptions", held.subscriptions),
            ("anteroom_shard_sessions", self.sessions.len()),
            ("anteroom_shard_nodes", self.nodes.len()),
            ("anteroom_shard_inputs_waiting", waiting),
            (
                "anteroom_shard_on_hold",
                usize::from(self.owner.is_on_hold(now)),
            ),
        ];
        for (name, count) in gauges {
            figures.set(name, count);
        }
        let lease = Duration::from_millis(self.owner.remaining_ms(now));
        figures.set_seconds("anteroom_shard_lease_remaining_seconds", lease);
        for time in self.core.take_entry_times() {
            figures.took_as("anteroom_shard_join_seconds", "until", "connected", time);
        }
    }
}

/// Apart from the driver, which handles what was told.
async fn told(owner: &Owner) {
    owner.told().await;
}

/// The node for which commands wait and whose link has room for some, or is closed.
async fn room_for_more(nodes: &HashMap<NodeId, NodeLink>) -> NodeId {
    let waiting = nodes.iter().filter(|(_, node)| node.outbox.is_waiting());
    let room = waiting.map(|(node, link)| {
        Box::pin(async move {
            link.outbox.room().await;
            node.clone()
        })
    });
    let room: Vec<_> = room.collect();
    if room.is_empty() {
        return std::future::pending().await;
    }
    futures::future::select_all(room).await.0
}

/// A close reason has at most 123 bytes (RFC 6455 section 5.5): shorter words than the refusal's own.
fn refusal_text(refusal: JoinRefusal) -> &'static str {
    match refusal {
        JoinRefusal::NoNode => "no media node: try again",
        JoinRefusal::Overloaded => "all media nodes are busy: try again",
        JoinRefusal::RoomLimit => "the shard is full: try again",
        JoinRefusal::ParticipantLimit => "the room is full",
        JoinRefusal::ShuttingDown => "the shard is shutting down: join again",
        JoinRefusal::NotAllowed => "the token does not allow to join",
        JoinRefusal::NotLive => "the room is not live",
        JoinRefusal::MaxParticipants => "the room is full",
        JoinRefusal::Moving => "the room is moving: try again",
    }
}

/// The room is not ours any more, or the shard is ending: the client shall come back through the
/// gateway, which knows who takes it. One that resumes shall find its session there: a `Leave` would
/// end it.
fn turn_away(outbound: &mpsc::Sender<Outbound>, resumes: bool) {
    let leave = LeaveRequest {
        can_reconnect: true,
        reason: DisconnectReason::ServerShutdown.into(),
        action: leave_request::Action::Reconnect.into(),
        regions: None,
    };
    let message = Outbound::Message(Box::new(signal_response::Message::Leave(leave)));
    // A fresh queue has room for both; if the session is gone already, nobody is there to tell.
    if !resumes {
        let _ = outbound.try_send(message);
    }
    let _ = outbound.try_send(Outbound::Close("the room moved: join again"));
}

#[cfg(test)]
mod tests;
