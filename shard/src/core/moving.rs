//! How a room leaves this shard.
//!
//! Owns: the order freeze, export, seal, end, and the way back. Must not: know the new shard, or ask
//! the directory; the surface does.
//!
//! A frozen room answers nothing and changes nothing, so that what was exported stays true. What
//! comes for it waits: it is handled here if the move is given up, and at the new shard otherwise.
//!
//! Whoever has two peer connections, or none yet, or came by HTTP (WHIP, WHEP), cannot resume elsewhere
//! and joins again: the others see it leave and come back.

use super::Core;
use super::api::{JoinRefusal, Output, SessionId};
use super::frozen::{Frozen, Kept};
use super::leave::{Farewell, dismiss};
use super::participant::Participant;
use super::state::LateSignal;
use super::tail::Tail;
use super::turn::{Due, Subject, Turn};
use affinity::RoomKey;
use livekit_protocol::DisconnectReason;
use proto::id::{Member, NodeId, ParticipantSid};
use proto::media::{CarriedData, CarriedMedia, NodeCommand, NodeEvent};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use thiserror::Error;

/// How long a room stands still before [`Core::seal_move`]: clients miss answers to their pings, and
/// give up after 15 s. Afterwards it goes on here.
pub const FREEZE_MAX: Duration = Duration::from_secs(5);

/// Why a room cannot start to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MoveRefusal {
    /// It is not here.
    #[error("the room is not live on this shard")]
    NotHere,
    /// It does.
    #[error("the room is moving already")]
    Moving,
    /// Its last move is not over.
    #[error(
        "the room has just come here, and not everybody has arrived: try again in a few seconds"
    )]
    Arriving,
}

/// Why a room that had started to move did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MoveFailure {
    /// It was not sealed in time.
    #[error("the room stood still for too long: its node or the new shard did not answer")]
    TimedOut,
    /// Clients said more than is kept.
    #[error("the room's clients said more than is kept while it stands still")]
    Overflow,
    /// Its node is gone.
    #[error("the room's node was lost")]
    NodeLost,
    /// It is not owned any more.
    #[error("the room's ownership was lost")]
    RoomLost,
    /// The shard ends.
    #[error("the shard is shutting down")]
    ShuttingDown,
}

impl Core {
    /// Freezes a room and asks its node for its media. [`Output::RoomExported`] follows, or
    /// [`Output::MoveFailed`].
    ///
    /// # Errors
    /// See [`MoveRefusal`]; nothing has changed then.
    pub fn begin_move(&mut self, room: &RoomKey, now: Instant) -> Result<(), MoveRefusal> {
        let (room, mut turn) = self.open(room, now).ok_or(MoveRefusal::NotHere)?;
        if room.frozen.is_some() {
            return Err(MoveRefusal::Moving);
        }
        if room.is_arriving() {
            return Err(MoveRefusal::Arriving);
        }
        room.frozen = Some(Box::new(Frozen::until(now + FREEZE_MAX)));
        let sid = room.sid.clone();
        turn.arm(now + FREEZE_MAX, Due::Thaw, Subject::Room(sid.clone()));
        let nobody = [room.home.clone()];
        let members: Vec<Member> = room.members.all().cloned().collect();
        let members = if members.is_empty() {
            &nobody
        } else {
            &members[..]
        };
        for member in members {
            room.exports_due += 1;
            turn.node(member, NodeCommand::Export { room: sid.clone() });
        }
        Ok(())
    }

    /// To be called before the directory is asked to give the room away: from here on the core does
    /// not go back by itself, whatever happens. False: the move has failed, do not ask.
    #[must_use]
    pub fn seal_move(&mut self, room: &RoomKey) -> bool {
        let frozen = self.rooms.get_mut(room).and_then(|r| r.frozen.as_mut());
        let Some(frozen) = frozen.filter(|frozen| frozen.carried.is_some()) else {
            return false;
        };
        frozen.is_sealed = true;
        true
    }

    /// The room stays: it goes on as if nothing had been.
    pub fn cancel_move(&mut self, key: &RoomKey, now: Instant) {
        let Some(mut frozen) = self.thaw(key) else {
            return;
        };
        if self.lose_members(key, &frozen.lost_nodes, now) {
            return;
        }
        for session in std::mem::take(&mut frozen.overflowed) {
            self.handle_session_closed(session, now);
        }
        for (due, subject) in std::mem::take(&mut frozen.due) {
            self.turn(now).arm(now, due, subject);
        }
        self.replay(key, *frozen, now);
        // A room that nobody keeps may have waited for this.
        if let Some((room, mut turn)) = self.open(key, now) {
            room.presence_changed(&mut turn);
        }
    }

    /// The room belongs to another shard. [`Output::Moved`] follows. Connections are closed without a
    /// word, so that clients resume; those who cannot are told to join again. Media goes on for a
    /// while. False: there is no such move.
    pub fn complete_move(&mut self, key: &RoomKey, now: Instant) -> bool {
        let frozen = self
            .rooms
            .get_mut(key)
            .and_then(|room| room.frozen.take_if(|f| f.carried.is_some()));
        let Some(mut frozen) = frozen else {
            return false;
        };
        let Some(mut room) = self.rooms.remove(key) else {
            return false;
        };
        let carried = frozen.carried.take().unwrap_or_default();
        let hung_up = frozen.hung_up();
        let late = self.late_signals(&mut frozen, &carried);
        let room_key = key.clone();
        self.outputs.push_back(Output::Moved {
            room: room_key,
            late,
        });
        let mut turn = self.turn(now);
        turn.index.rooms.remove(&room.sid);
        for participant in room.participants.values_mut() {
            send_off(participant, &frozen.overflowed, &carried, &mut turn);
        }
        let lost = &frozen.lost_nodes;
        lost.iter().for_each(|node| room.forget_member_node(node));
        room.participants
            .retain(|_, participant| !lost.contains(&participant.member.node));
        // Nobody can tell it to join again: it notices when its transport is closed.
        let gone = room.participants.extract_if(.., |_, p| p.is_resource());
        for (participant, gone) in gone {
            turn.node(&gone.member, NodeCommand::RemoveParticipant { participant });
        }
        if !room.participants.is_empty() {
            self.begin_tail(Tail::new(&room, carried, now), now);
        }
        for participant in &frozen.pulls {
            self.pull(key, participant, now);
        }
        for (node, participant) in &hung_up {
            self.handle_tail_hung_up(node, participant);
        }
        true
    }

    /// Whether it is about to leave.
    pub(super) fn stands_still(&self, key: &RoomKey) -> bool {
        self.rooms
            .get(key)
            .is_some_and(|room| room.frozen.is_some())
    }

    /// Keeps an input for a frozen room.
    pub(super) fn keep(&mut self, key: &RoomKey, kept: Kept, now: Instant) {
        let Some(room) = self.rooms.get_mut(key) else {
            return;
        };
        let Some(frozen) = &mut room.frozen else {
            return;
        };
        let Err(kept) = frozen.keep(kept) else {
            return;
        };
        if !frozen.is_sealed {
            self.abort_move(key, MoveFailure::Overflow, now);
            self.handle_kept(kept, now);
        } else if let Kept::Signal { session, .. } = kept {
            // Its client resumes, and says then what it has.
            frozen.overflowed.insert(session);
            let reason = "too many messages at once";
            self.outputs.push_back(Output::Close { session, reason });
        }
    }

    /// Whether a join must wait until its room has moved. It has been answered then.
    pub(super) fn turns_away(&mut self, key: &RoomKey, session: SessionId, resumes: bool) -> bool {
        if !self.stands_still(key) {
            return false;
        }
        // A `Leave` would end the session that a resuming client wants back.
        self.outputs.push_back(if resumes {
            let reason = "the room is moving: try again";
            Output::Close { session, reason }
        } else {
            let refusal = JoinRefusal::Moving;
            Output::JoinRefused { session, refusal }
        });
        true
    }

    /// The node's answer to an export.
    pub(super) fn handle_exported(
        &mut self,
        key: &RoomKey,
        from: Member,
        answer: (Vec<CarriedMedia>, Vec<CarriedData>),
        now: Instant,
    ) {
        let Some((room, turn)) = self.open(key, now) else {
            return;
        };
        room.exports_due = room.exports_due.saturating_sub(1);
        // An answer to an earlier move's question is out of date.
        let is_newest = room.exports_due == 0;
        let Some(mut frozen) = room.frozen.take() else {
            return;
        };
        // Of an answer to an earlier question and one to this, the latter comes later.
        frozen.exports.insert(from, answer);
        if is_newest && frozen.carried.is_none() {
            let (media, data) = frozen.take_exports();
            let state = room.to_state(media, data, &turn);
            let carried = state.participants.iter().map(|p| p.sid.clone());
            frozen.carried = Some(carried.collect());
            let state = Box::new(state);
            let room = key.clone();
            turn.outputs.push_back(Output::RoomExported { room, state });
        }
        room.frozen = Some(frozen);
    }

    /// A room has stood still for too long.
    pub(super) fn handle_thaw_due(&mut self, key: &RoomKey, now: Instant) {
        let frozen = self.rooms.get(key).and_then(|room| room.frozen.as_ref());
        if frozen.is_some_and(|frozen| !frozen.is_sealed && frozen.until <= now) {
            self.abort_move(key, MoveFailure::TimedOut, now);
        }
    }

    /// A move, if there is one, ends with its room: what was kept is of no use any more. Returns the
    /// nodes that were lost meanwhile.
    pub(super) fn drop_move(&mut self, key: &RoomKey, why: MoveFailure) -> BTreeSet<NodeId> {
        let Some(frozen) = self.thaw(key) else {
            return BTreeSet::new();
        };
        let room = key.clone();
        self.outputs.push_back(Output::MoveFailed { room, why });
        frozen.lost_nodes
    }

    /// Gives up a move that has not been sealed, if there is one.
    pub(super) fn cancel_move_for(&mut self, key: &RoomKey, why: MoveFailure, now: Instant) {
        if self.stands_still(key) {
            self.abort_move(key, why, now);
        }
    }

    fn abort_move(&mut self, key: &RoomKey, why: MoveFailure, now: Instant) {
        let room = key.clone();
        self.outputs.push_back(Output::MoveFailed { room, why });
        self.cancel_move(key, now);
    }

    fn thaw(&mut self, key: &RoomKey) -> Option<Box<Frozen>> {
        let room = self.rooms.get_mut(key)?;
        let frozen = room.frozen.take()?;
        for participant in &frozen.pulls {
            self.outputs.push_back(Output::Pulled {
                room: key.clone(),
                participant: participant.clone(),
                media: None,
                data: Vec::new(),
            });
        }
        Some(frozen)
    }

    fn replay(&mut self, key: &RoomKey, mut frozen: Frozen, now: Instant) {
        let Some(room) = self.rooms.get(key) else {
            return;
        };
        let (node, sid) = (room.home.node.clone(), room.sid.clone());
        for kept in frozen.take_kept() {
            self.handle_kept(kept, now);
        }
        let speakers = frozen.take_speakers();
        let event = NodeEvent::Speakers {
            room: sid,
            speakers,
        };
        self.handle_node_event(&node, event, now);
    }

    fn handle_kept(&mut self, kept: Kept, now: Instant) {
        match kept {
            Kept::Signal { session, message } => self.handle_signal(session, *message, now),
            Kept::Closed(session) => self.handle_session_closed(session, now),
            Kept::Event { node, event } => self.handle_node_event(&node, event, now),
        }
    }

    /// What came too late for the room's state.
    fn late_signals(
        &self,
        frozen: &mut Frozen,
        carried: &BTreeSet<ParticipantSid>,
    ) -> Vec<LateSignal> {
        let late = frozen
            .take_kept()
            .into_iter()
            .filter_map(|kept| match kept {
                Kept::Signal { session, message } => {
                    let who = &self.index.sessions.get(&session)?.participant;
                    let moves = carried.contains(who);
                    let who = moves.then(|| who.clone())?;
                    LateSignal::request(who, *message)
                }
                Kept::Event {
                    event:
                        NodeEvent::TrackBound {
                            participant,
                            track,
                            mid,
                            mime,
                        },
                    ..
                } => carried.contains(&participant).then_some(LateSignal::Bound {
                    participant,
                    track,
                    mid,
                    mime,
                }),
                Kept::Closed(_) | Kept::Event { .. } => None,
            });
        late.collect()
    }
}

/// Ends a participant's session here.
fn send_off(
    participant: &mut Participant,
    overflowed: &BTreeSet<SessionId>,
    carried: &BTreeSet<ParticipantSid>,
    turn: &mut Turn<'_>,
) {
    if let Some(session) = participant.session
        && overflowed.contains(&session)
    {
        turn.index.sessions.remove(&session);
        participant.session = None;
    }
    let farewell = if carried.contains(&participant.sid) {
        Farewell::Silent
    } else {
        Farewell::Reconnect
    };
    dismiss(participant, DisconnectReason::Migration, farewell, turn);
}
