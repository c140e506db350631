//! Rooms: claimed, re-asserted, released, handed over.

use super::{DirectoryState, Heirs, Room};
use crate::directory::message::Binding;
use crate::directory::{Epoch, Holder, Incarnation, LOOKUP_MAX, OPTIONS_BYTES_MAX, Reply};
use crate::{RoomKey, ShardId};

/// May a room be claimed?
enum Claimable {
    Yes,
    No(Reply),
}

impl DirectoryState {
    pub(super) fn claim(&mut self, holder: &Holder, room: RoomKey, knows: u64) -> Reply {
        if self.is_stale(holder) {
            return self.stale();
        }
        if !self.has_lease(holder) {
            return Reply::NoLease;
        }
        if let Some(found) = self.rooms.get(&room) {
            if !is_of(&found.binding, holder) {
                if let Claimable::No(reply) = self.inheritance(found, holder, knows) {
                    return reply;
                }
            } else if !self.grace {
                return Reply::Mine {
                    epoch: found.binding.epoch,
                    from: found.from,
                    options: found.options.clone(),
                };
            }
        }
        if !self.accepts(&holder.shard) {
            return Reply::Draining;
        }
        // In grace no claim succeeds, not even the holder's own: only a room that is held now
        // counts, and that one is re-asserted.
        if self.grace {
            return Reply::Grace;
        }
        let before = self.rooms.get(&room);
        let options = before.and_then(|before| before.options.clone());
        if before.is_none() && self.rooms.len() >= self.limits.bindings_max {
            return self.full();
        }
        let Some(epoch) = self.next_epoch() else {
            return no_epoch();
        };
        self.bind(holder, room, epoch, options.clone());
        Reply::Granted { epoch, options }
    }

    /// Whether `holder` may take the room of somebody else.
    fn inheritance(&self, found: &Room, holder: &Holder, knows: u64) -> Claimable {
        let Binding {
            shard,
            incarnation,
            epoch,
        } = &found.binding;
        let owned_by = |shard: &ShardId| {
            Claimable::No(Reply::Owned {
                shard: shard.clone(),
                epoch: *epoch,
            })
        };
        if self.is_valid(&found.binding) {
            return owned_by(shard);
        }
        let heirs = self.orphaned.get(&(shard.clone(), *incarnation));
        let Some(Heirs::Known { up_to, since }) = heirs else {
            return Claimable::Yes;
        };
        let born = |shard: &ShardId| self.leases.get(shard).map_or(u64::MAX, |lease| lease.born);
        let may = |heir: &ShardId| heir == shard || born(heir) <= *up_to;
        if may(&holder.shard) {
            // Else it may have promised to leave the room alone after it asked for it.
            let is_late = knows < *since && holder.shard != *shard;
            return match is_late {
                false => Claimable::Yes,
                true => Claimable::No(Reply::Held {
                    shard: shard.clone(),
                }),
            };
        }
        // One that may is named, so that the gateway's one redirect gets there.
        if self.leases.contains_key(shard) && self.accepts(shard) {
            return owned_by(shard);
        }
        let mut heirs = self.leases.keys().filter(|heir| born(heir) <= *up_to);
        match heirs.find(|heir| self.accepts(heir)) {
            Some(heir) => owned_by(heir),
            None => Claimable::No(Reply::Held {
                shard: shard.clone(),
            }),
        }
    }

    pub(super) fn reassert(&mut self, holder: &Holder, room: RoomKey, epoch: Epoch) -> Reply {
        if self.is_stale(holder) {
            return self.stale();
        }
        if !self.has_lease(holder) {
            return Reply::NoLease;
        }
        if let Some(found) = self.rooms.get(&room) {
            if is_of(&found.binding, holder) && found.binding.epoch == epoch {
                return Reply::Reasserted;
            }
            // Also for an equal or higher epoch: a binding is never replaced by a re-assertion.
            return Reply::Owned {
                shard: found.binding.shard.clone(),
                epoch: found.binding.epoch,
            };
        }
        // After grace the sender's old deadline is over: it does not hold the room any more, and
        // another shard may have had it since.
        let stopped = self
            .stopped
            .get(&room)
            .is_some_and(|stopped| *stopped >= epoch);
        if !self.grace || stopped {
            return Reply::Released;
        }
        if self.rooms.len() >= self.limits.bindings_max {
            return self.full();
        }
        self.epoch = self.epoch.max(epoch);
        self.bind(holder, room, epoch, None);
        Reply::Reasserted
    }

    pub(super) fn release(&mut self, holder: &Holder, room: &RoomKey, epoch: Epoch) -> Reply {
        if self.is_stale(holder) {
            return self.stale();
        }
        if self.grace {
            if self.stopped.len() >= self.limits.bindings_max {
                return self.full();
            }
            let stopped = self.stopped.entry(room.clone()).or_default();
            *stopped = epoch.max(*stopped);
        }
        // The epoch too: a late release must not free a room that was claimed again since.
        if self.is_bound(room, holder, epoch) {
            self.rooms.remove(room);
        }
        Reply::Released
    }

    pub(super) fn transfer(
        &mut self,
        holder: &Holder,
        room: &RoomKey,
        epoch: Epoch,
        to: &ShardId,
        to_incarnation: Incarnation,
    ) -> Reply {
        if self.is_stale(holder) {
            return self.stale();
        }
        if !self.has_lease(holder) {
            return Reply::NoLease;
        }
        if let Some(found) = self.rooms.get(room)
            && found.from == Some(epoch)
            && found.binding.shard == *to
            && found.binding.incarnation == to_incarnation
        {
            return Reply::Transferred {
                epoch: found.binding.epoch,
            };
        }
        if !self.is_bound(room, holder, epoch) || *to == holder.shard {
            return Reply::Released;
        }
        if self.grace {
            return Reply::Grace;
        }
        let heir = self.leases.get(to).map(|lease| lease.incarnation);
        if heir != Some(to_incarnation) || !self.accepts(to) {
            return Reply::Draining;
        }
        let Some(next) = self.next_epoch() else {
            return no_epoch();
        };
        if let Some(found) = self.rooms.get_mut(room) {
            found.from = Some(epoch);
            found.binding = Binding {
                shard: to.clone(),
                incarnation: to_incarnation,
                epoch: next,
            };
        }
        Reply::Transferred { epoch: next }
    }

    pub(super) fn put_options(
        &mut self,
        holder: &Holder,
        room: &RoomKey,
        epoch: Epoch,
        options: String,
    ) -> Reply {
        if self.is_stale(holder) {
            return self.stale();
        }
        if !self.has_lease(holder) {
            return Reply::NoLease;
        }
        if options.len() > OPTIONS_BYTES_MAX {
            return Reply::Refused {
                reason: format!(
                    "the room's options have {} bytes: shorten them to {OPTIONS_BYTES_MAX}",
                    options.len()
                ),
            };
        }
        if !self.is_bound(room, holder, epoch) {
            return Reply::Released;
        }
        if let Some(found) = self.rooms.get_mut(room) {
            found.options = Some(options);
        }
        Reply::Done
    }

    pub(super) fn lookup(&self, rooms: &[RoomKey]) -> Reply {
        let owner = |room: &RoomKey| self.owner(room).cloned();
        Reply::Bindings(rooms.iter().take(LOOKUP_MAX).map(owner).collect())
    }

    fn is_bound(&self, room: &RoomKey, holder: &Holder, epoch: Epoch) -> bool {
        self.rooms
            .get(room)
            .is_some_and(|found| is_of(&found.binding, holder) && found.binding.epoch == epoch)
    }

    fn next_epoch(&mut self) -> Option<Epoch> {
        self.epoch = Epoch(self.epoch.0.checked_add(1)?);
        Some(self.epoch)
    }

    fn bind(&mut self, holder: &Holder, room: RoomKey, epoch: Epoch, options: Option<String>) {
        let binding = Binding {
            shard: holder.shard.clone(),
            incarnation: holder.incarnation,
            epoch,
        };
        let from = None;
        self.rooms.insert(
            room,
            Room {
                binding,
                from,
                options,
            },
        );
    }

    fn full(&self) -> Reply {
        Reply::Refused {
            reason: format!(
                "the directory is full ({} rooms): raise the limit or spread over deployments",
                self.limits.bindings_max
            ),
        }
    }
}

fn is_of(binding: &Binding, holder: &Holder) -> bool {
    binding.shard == holder.shard && binding.incarnation == holder.incarnation
}

fn no_epoch() -> Reply {
    Reply::Refused {
        reason: "epochs are used up: restart the directory".to_owned(),
    }
}
