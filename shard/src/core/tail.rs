//! A room that has moved, as long as its media is still here.
//!
//! Owns: what the new shard may ask for of it, what it must hear of it, and its end. Must not: admit,
//! answer or change anything: the room is not live here.
//!
//! The new shard asks twice for everybody: when the client comes, and, for what came here all the same
//! meanwhile, when its new transport is up.

use super::Core;
use super::api::Output;
use super::room::{Room, is_due};
use super::turn::{Due, Subject};
use affinity::RoomKey;
use proto::id::{Member, NodeId, ParticipantSid, RoomSid, TrackSid};
use proto::media::{CarriedData, CarriedMedia, NodeCommand};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long the media of a room that has moved goes on: clients come back within a second or two.
pub const TAIL_MAX: Duration = Duration::from_secs(5);
/// How long it goes on after the new shard has everything of everybody.
pub const TAIL_LINGER: Duration = Duration::from_millis(500);

/// How far the new shard is with somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// It has not asked.
    No,
    /// It has, and has had its answer.
    Once,
    /// It has everything.
    Twice,
}

#[derive(Debug)]
pub(super) struct Tail {
    room: RoomKey,
    sid: RoomSid,
    /// All that its members hold of it.
    pub(super) participants: BTreeMap<ParticipantSid, Member>,
    /// What they have of each other.
    imports: Vec<(Member, TrackSid)>,
    /// Those who move.
    asked: BTreeMap<ParticipantSid, Asked>,
    /// Those whom it has asked for, and of whom the node has not said the last.
    detaching: BTreeSet<ParticipantSid>,
    ends_at: Instant,
}

impl Tail {
    pub(super) fn new(room: &Room, carried: BTreeSet<ParticipantSid>, now: Instant) -> Self {
        Self {
            room: room.key.clone(),
            sid: room.sid.clone(),
            participants: room
                .participants
                .iter()
                .map(|(sid, participant)| (sid.clone(), participant.member.clone()))
                .collect(),
            imports: room.members.imports().cloned().collect(),
            asked: carried.into_iter().map(|sid| (sid, Asked::No)).collect(),
            detaching: BTreeSet::new(),
            ends_at: now + TAIL_MAX,
        }
    }

    /// A worker of this node has somebody's media.
    fn holds(&self, node: &NodeId, who: &ParticipantSid) -> bool {
        let member = self.participants.get(who);
        member.is_some_and(|member| member.node == *node)
    }

    fn is_pulled(&self) -> bool {
        self.asked.values().all(|asked| *asked == Asked::Twice)
    }

    /// The node is asked about somebody. False: there is nothing more to know.
    fn ask(&mut self, who: &ParticipantSid) -> bool {
        let more = self
            .asked
            .get(who)
            .is_some_and(|asked| *asked != Asked::Twice);
        more && self.detaching.insert(who.clone())
    }

    /// The node has answered.
    fn answered(&mut self, who: &ParticipantSid) {
        self.detaching.remove(who);
        if let Some(asked) = self.asked.get_mut(who) {
            *asked = match asked {
                Asked::No => Asked::Once,
                Asked::Once | Asked::Twice => Asked::Twice,
            };
        }
    }
}

impl Core {
    /// Whether the media of a room that has moved is still here.
    pub fn has_tails(&self) -> bool {
        !self.tails.is_empty()
    }

    /// The new shard asks for the last state of a participant that has arrived there, or once more for
    /// what came since. [`Output::Pulled`] follows.
    pub fn pull(&mut self, room: &RoomKey, participant: &ParticipantSid, now: Instant) {
        let frozen = self.rooms.get_mut(room).and_then(|r| r.frozen.as_mut());
        if let Some(frozen) = frozen.filter(|frozen| frozen.is_sealed) {
            // The new shard heard of it before we did.
            let moves = frozen.carried.as_ref();
            if moves.is_some_and(|moves| moves.contains(participant)) {
                frozen.pulls.insert(participant.clone());
                return;
            }
        }
        let mut tails = self.tails.values_mut();
        let tail =
            tails.find(|tail| tail.room == *room && tail.participants.contains_key(participant));
        let Some(tail) = tail else {
            self.say_pulled(room, participant, None, Vec::new());
            return;
        };
        if let Some(member) = tail.participants.get(participant).cloned()
            && tail.ask(participant)
        {
            let participant = participant.clone();
            let command = NodeCommand::Detach { participant };
            self.turn(now).node(&member, command);
        } else if !tail.detaching.contains(participant) {
            self.say_pulled(room, participant, None, Vec::new());
        }
    }

    pub(super) fn begin_tail(&mut self, tail: Tail, now: Instant) {
        let (sid, ends_at) = (tail.sid.clone(), tail.ends_at);
        self.turn(now)
            .arm(ends_at, Due::Tail, Subject::Room(sid.clone()));
        self.tails.insert(sid.clone(), tail);
        self.linger(&sid, now);
    }

    /// The node has said the last of a participant.
    pub(super) fn handle_detached(
        &mut self,
        node: &NodeId,
        participant: &ParticipantSid,
        media: Box<CarriedMedia>,
        data: Vec<CarriedData>,
        now: Instant,
    ) {
        let tails = self.tails.values_mut();
        let mut tails = tails.filter(|tail| tail.holds(node, participant));
        let Some(tail) = tails.find(|tail| tail.detaching.contains(participant)) else {
            return;
        };
        tail.answered(participant);
        let (room, sid) = (tail.room.clone(), tail.sid.clone());
        self.say_pulled(&room, participant, Some(media), data);
        self.linger(&sid, now);
    }

    pub(super) fn handle_tail_due(&mut self, sid: &RoomSid, now: Instant) {
        let ends_at = self.tails.get(sid).map(|tail| tail.ends_at);
        if is_due(ends_at, now) {
            self.end_tail(sid, now);
        }
    }

    /// The node forgets the room.
    pub(super) fn end_tail(&mut self, sid: &RoomSid, now: Instant) {
        let Some(tail) = self.tails.remove(sid) else {
            return;
        };
        for participant in &tail.detaching {
            self.say_pulled(&tail.room, participant, None, Vec::new());
        }
        let mut turn = self.turn(now);
        for (member, track) in tail.imports {
            turn.node(&member, NodeCommand::Unpublish { track });
        }
        for (participant, member) in tail.participants {
            turn.node(&member, NodeCommand::RemoveParticipant { participant });
        }
    }

    pub(super) fn end_all_tails(&mut self, now: Instant) {
        let sids: Vec<RoomSid> = self.tails.keys().cloned().collect();
        for sid in &sids {
            self.end_tail(sid, now);
        }
    }

    /// A node is gone, and with it what it held of tails.
    pub(super) fn lose_tails(&mut self, node: &NodeId, now: Instant) {
        let (mut ended, mut unanswered) = (Vec::new(), Vec::new());
        for tail in self.tails.values_mut() {
            tail.participants.retain(|_, member| member.node != *node);
            tail.imports.retain(|(member, _)| member.node != *node);
            let here = &tail.participants;
            let lost = tail.detaching.extract_if(.., |who| !here.contains_key(who));
            unanswered.extend(lost.map(|who| (tail.room.clone(), who)));
            if tail.participants.is_empty() {
                ended.push(tail.sid.clone());
            }
        }
        for (room, who) in &unanswered {
            self.say_pulled(room, who, None, Vec::new());
        }
        for sid in &ended {
            self.end_tail(sid, now);
        }
    }

    /// A client has closed its transport without having been at the new shard: it will not come.
    pub(super) fn handle_tail_hung_up(&mut self, node: &NodeId, participant: &ParticipantSid) {
        let tails = self.tails.values_mut();
        let mut tails = tails.filter(|tail| tail.holds(node, participant));
        let asked = |tail: &Tail| tail.asked.get(participant).copied();
        if let Some(tail) = tails.find(|tail| asked(tail) == Some(Asked::No))
            && !tail.detaching.contains(participant)
        {
            self.outputs.push_back(Output::HungUp {
                room: tail.room.clone(),
                participant: participant.clone(),
            });
        }
    }

    /// When the new shard has everything, the end is near.
    fn linger(&mut self, sid: &RoomSid, now: Instant) {
        let Some(tail) = self.tails.get_mut(sid).filter(|tail| tail.is_pulled()) else {
            return;
        };
        tail.ends_at = tail.ends_at.min(now + TAIL_LINGER);
        let ends_at = tail.ends_at;
        self.turn(now)
            .arm(ends_at, Due::Tail, Subject::Room(sid.clone()));
    }

    fn say_pulled(
        &mut self,
        room: &RoomKey,
        participant: &ParticipantSid,
        media: Option<Box<CarriedMedia>>,
        data: Vec<CarriedData>,
    ) {
        self.outputs.push_back(Output::Pulled {
            room: room.clone(),
            participant: participant.clone(),
            media,
            data,
        });
    }
}
