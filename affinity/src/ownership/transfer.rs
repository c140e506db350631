//! Handing a room over to another shard.
//!
//! Owns: the time between the wish and the directory's word, in which the room is nobody's as far as
//! this shard is concerned. Must not: take the room back while it may have been handed over.

use super::replies::Outcome;
use super::{
    Event, InFlight, Instant, LostWhy, Ownership, Phase, RETRY, RequestId, Room, RoomKey, Step,
};
use crate::ShardId;
use crate::directory::{Epoch, Incarnation, Reply};

/// To whom a room goes, and how far that is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Transfer {
    pub(super) to: ShardId,
    pub(super) to_incarnation: Incarnation,
    pub(super) step: Step,
    /// An earlier request had no answer: it may have been carried out.
    pub(super) unsettled: bool,
}

impl Ownership {
    /// Hands a room over. From here on it is not ours; [`Event::Moved`], [`Event::Stays`] or
    /// [`Event::Lost`] follows. False: it is not ours to give, or the directory's present life has
    /// not confirmed it yet, or is silent: the room would stand still until it speaks.
    pub fn transfer(
        &mut self,
        room: &RoomKey,
        to: ShardId,
        to_incarnation: Incarnation,
        now: Instant,
    ) -> bool {
        if self.owned(room, now).is_none() || !self.leased || self.is_in_trouble(now) {
            return false;
        }
        let Some(entry) = self.rooms.get_mut(room) else {
            return false;
        };
        let Phase::Owned {
            epoch,
            unproven: None,
        } = entry.phase
        else {
            return false;
        };
        let step = Step::Due(now);
        entry.phase = Phase::Transferring {
            epoch,
            transfer: Transfer {
                to,
                to_incarnation,
                step,
                unsettled: false,
            },
        };
        self.make_ready(room.clone());
        true
    }

    pub(super) fn transfer_answered(
        &mut self,
        id: RequestId,
        room: RoomKey,
        sent: &InFlight,
        reply: &Outcome,
        fresh: Incarnation,
        now: Instant,
    ) {
        if sent.incarnation != self.incarnation || self.resigned() {
            return;
        }
        let Some(entry) = self.rooms.get_mut(&room) else {
            return;
        };
        let Phase::Transferring { epoch, transfer } = &mut entry.phase else {
            return;
        };
        if !transfer.step.is_sent(id) {
            return;
        }
        let (epoch, unsettled) = (*epoch, transfer.unsettled);
        match reply {
            Ok(Reply::Transferred { epoch: next }) => {
                let (to, next) = (transfer.to.clone(), *next);
                self.rooms.remove(&room);
                self.events.push_back(Event::Moved {
                    room,
                    epoch,
                    to,
                    next,
                });
            }
            Ok(Reply::Draining | Reply::Grace) if !unsettled => self.stays(room, epoch),
            Ok(Reply::NoLease) => self.fence(fresh, now),
            // An earlier try may still be on its way: without a binding it cannot be carried out.
            Ok(Reply::Draining | Reply::Grace) => {
                *entry = Room::releasing(epoch, now);
                self.make_ready(room.clone());
                let why = LostWhy::Transfer;
                self.events.push_back(Event::Lost { room, epoch, why });
            }
            Ok(Reply::Released | Reply::StaleDirectory { .. }) => {
                self.lose(room, epoch, LostWhy::Transfer);
            }
            // Asking again tells.
            Ok(_) | Err(_) => {
                let again = now + RETRY;
                transfer.step = Step::Due(again);
                transfer.unsettled = true;
                self.timers.insert((again, room));
            }
        }
    }

    /// The directory has a new life while rooms are on their way. Whoever has such a room says so, and
    /// we are not the one.
    pub(super) fn interrupt_transfers(&mut self) {
        let transferring = |room: &Room| matches!(room.phase, Phase::Transferring { .. });
        let rooms = self.rooms.iter().filter(|(_, room)| transferring(room));
        let rooms: Vec<RoomKey> = rooms.map(|(room, _)| room.clone()).collect();
        for room in rooms {
            if let Some(Phase::Transferring { epoch, .. }) =
                self.rooms.get(&room).map(|room| &room.phase)
            {
                self.lose(room, *epoch, LostWhy::Transfer);
            }
        }
    }

    fn stays(&mut self, room: RoomKey, epoch: Epoch) {
        if let Some(entry) = self.rooms.get_mut(&room) {
            *entry = Room::owned(epoch);
        }
        self.events.push_back(Event::Stays { room, epoch });
    }
}
