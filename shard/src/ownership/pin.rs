//! A join's hold on its room, from the directory's word until the core has it.

use super::Owner;
use affinity::RoomKey;
use affinity::directory::Epoch;
use std::time::Instant;

/// What the last owner of a room has left for the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Legacy {
    /// It has handed the room over; this was its claim.
    pub(crate) from: Option<Epoch>,
    /// The room's options.
    pub(crate) options: Option<String>,
}

/// Keeps a room owned while a join is on its way to the core.
pub(crate) struct Pin {
    pub(super) owner: Owner,
    pub(crate) room: RoomKey,
    pub(crate) epoch: Epoch,
}

impl Pin {
    pub(super) fn new(owner: &Owner, room: RoomKey) -> Self {
        owner.lock().pin(&room);
        Self {
            owner: owner.clone(),
            room,
            epoch: Epoch::default(),
        }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.owner.lock().unpin(&self.room, Instant::now());
        self.owner.work.notify_one();
    }
}
