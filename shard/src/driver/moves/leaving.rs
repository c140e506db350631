//! Rooms at the shard that they leave.
//!
//! Owns: how far each is, and what becomes of it when somebody refuses. Must not: choose which room
//! goes when; `drain` does.

use super::{Answered, Driver, ORIGIN_FOR, ORIGINS_MAX, put_in};
use crate::core::{LateSignal, MoveFailure, RoomState};
use crate::peers::{PeerError, PeerReply, PeerRequest};
use affinity::directory::{Epoch, Life};
use affinity::{RoomKey, ShardId};
use proto::id::ParticipantSid;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How long a room whose move has failed is left in peace: it stands still for each try. Doubled each
/// time.
const TRY_AGAIN: Duration = Duration::from_secs(2);
/// At most so long.
const TRY_AGAIN_MAX: Duration = Duration::from_secs(60);
/// Tries to tell the new shard that a room is its own, or who has left.
const SAY_TRIES: u32 = 4;

/// How far a room is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its node says what it knows.
    Exporting,
    /// The new shard considers.
    Offering,
    /// The directory decides.
    Transferring,
}

pub(super) struct Going {
    pub(super) to: Life,
    pub(super) epoch: Epoch,
    pub(super) phase: Phase,
    since: Instant,
}

/// The new owner of a room.
pub(super) struct Heir {
    life: Life,
    /// What our claim was.
    epoch: Epoch,
    pub(super) until: Instant,
}

/// A room that could not be handed over.
#[derive(Default)]
pub(super) struct Failed {
    pub(super) at: Option<Instant>,
    pub(super) tries: u32,
    /// By whom.
    pub(super) refused_by: BTreeSet<ShardId>,
}

impl Failed {
    pub(super) fn rests_until(&self) -> Option<Instant> {
        let doubled = TRY_AGAIN.saturating_mul(1 << self.tries.saturating_sub(1).min(10));
        Some(self.at? + doubled.min(TRY_AGAIN_MAX))
    }
}

impl Driver {
    pub(in super::super) fn start_move(&mut self, room: &RoomKey, to: Life, now: Instant) {
        let Some(epoch) = self.owner.epoch(room, now) else {
            return;
        };
        if let Err(why) = self.core.begin_move(room, now) {
            tracing::debug!(room = room.as_str(), %why, "the room does not move yet");
            return self.moves.fail(room, None, now);
        }
        tracing::info!(room = room.as_str(), to = %to.shard, "the room moves");
        self.owner.set_moving(room, true);
        let going = Going {
            to,
            epoch,
            phase: Phase::Exporting,
            since: now,
        };
        self.moves.going.insert(room.clone(), going);
    }

    /// The core has put the room together. It may be large: it is written down elsewhere.
    pub(in super::super) fn offer(&mut self, room: &RoomKey, state: Box<RoomState>) {
        let Some(going) = self.moves.going.get_mut(room) else {
            return;
        };
        going.phase = Phase::Offering;
        let (to, epoch, room) = (going.to.clone(), going.epoch, room.clone());
        let (peers, inputs) = (self.moves.peers.clone(), self.moves.inputs.clone());
        tokio::spawn(async move {
            let answer = peers.offer(&to, epoch, state).await;
            let answered = Answered::Offer {
                room,
                epoch,
                answer,
            };
            put_in(&inputs, answered).await;
        });
    }

    pub(super) fn offer_answered(
        &mut self,
        room: &RoomKey,
        epoch: Epoch,
        answer: Result<PeerReply, PeerError>,
        now: Instant,
    ) {
        let Some(going) = self.moves.going.get_mut(room) else {
            return;
        };
        if going.epoch != epoch || going.phase != Phase::Offering {
            return;
        }
        let refusal = match answer {
            Ok(PeerReply::Yes) => None,
            Ok(other) => Some(format!("{other:?}")),
            Err(error) => Some(error.to_string()),
        };
        if let Some(refusal) = refusal {
            let shard = going.to.shard.clone();
            tracing::info!(room = room.as_str(), %shard, refusal, "the shard does not take it");
            self.end_move(room, Some(shard), now);
            return self.core.cancel_move(room, now);
        }
        going.phase = Phase::Transferring;
        let to = going.to.clone();
        if !self.core.seal_move(room) || !self.owner.transfer(room, &to, now) {
            self.move_refused(room, now);
        }
    }

    /// The room stays here.
    pub(in super::super) fn move_refused(&mut self, room: &RoomKey, now: Instant) {
        self.end_move(room, None, now);
        self.core.cancel_move(room, now);
    }

    /// The core has given up by itself.
    pub(in super::super) fn move_failed(&mut self, room: &RoomKey, why: MoveFailure) {
        tracing::info!(room = room.as_str(), %why, "the room does not move");
        self.end_move(room, None, Instant::now());
    }

    /// The room is not ours any more, and nobody's that we know.
    pub(in super::super) fn move_lost(&mut self, room: &RoomKey) {
        self.end_move(room, None, Instant::now());
    }

    fn end_move(&mut self, room: &RoomKey, by: Option<ShardId>, now: Instant) {
        let Some(going) = self.moves.going.remove(room) else {
            return;
        };
        self.owner.set_moving(room, false);
        self.moves.fail(room, by, now);
        self.drain.hurry(now);
        if going.phase != Phase::Exporting {
            let (room, epoch) = (room.clone(), going.epoch);
            let withdraw = PeerRequest::Withdraw { room, epoch };
            self.moves.say(going.to, withdraw, 1);
        }
    }

    /// The directory has given the room to the other shard.
    pub(in super::super) fn moved(
        &mut self,
        room: &RoomKey,
        epoch: Epoch,
        to: &ShardId,
        now: Instant,
    ) {
        self.owner.forget(room, epoch);
        if let Some(going) = self.moves.going.remove(room) {
            let ms = now.duration_since(going.since).as_millis();
            tracing::info!(room = room.as_str(), %to, ms, "the room has moved");
            self.moves.forget_old(now);
            if self.moves.heirs.len() < ORIGINS_MAX {
                let heir = Heir {
                    life: going.to,
                    epoch: going.epoch,
                    until: now + ORIGIN_FOR,
                };
                self.moves.heirs.insert(room.clone(), heir);
            }
            self.moves.failed.remove(room);
            self.drain.hurry(now);
            self.figures
                .count_as("anteroom_shard_room_moves_total", "result", "moved");
        }
        if !self.core.complete_move(room, now) {
            // Nothing was frozen: then nothing may go on either.
            self.core.handle_room_lost(room, now);
        }
        self.owner.set_moving(room, false);
    }

    /// The core has let go of the room.
    pub(in super::super) fn commit(&mut self, room: &RoomKey, late: Vec<LateSignal>) {
        if let Some(heir) = self.moves.heirs.get(room) {
            let (room, epoch) = (room.clone(), heir.epoch);
            let commit = PeerRequest::Commit { room, epoch, late };
            self.moves.say(heir.life.clone(), commit, SAY_TRIES);
        }
    }

    /// A client will not come to the new shard.
    pub(in super::super) fn say_hung_up(&self, room: RoomKey, participant: ParticipantSid) {
        if let Some(heir) = self.moves.heirs.get(&room) {
            let epoch = heir.epoch;
            let hung_up = PeerRequest::HungUp {
                room,
                epoch,
                participant,
            };
            self.moves.say(heir.life.clone(), hung_up, SAY_TRIES);
        }
    }
}
