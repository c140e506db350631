//! When a shard is emptied, and how fast.
//!
//! Owns: the order in force, its deadline, and which room moves next. Idle rooms go at once, live ones
//! at their end, or, from the deadline on, to another shard. Must not: move anything itself.

use super::Driver;
use crate::clock;
use crate::core::TAIL_MAX;
use affinity::directory::{self, Life};
use affinity::{RoomKey, Topology};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Rooms that move at one time. Each is a burst of joins for the new shard.
const MOVES_AT_ONCE: usize = 4;
/// How often a drain looks what is left to do.
const LOOK: Duration = Duration::from_millis(200);
/// How long after the deadline a shard that ends tries to hand its rooms over. What is left then is
/// told to join again. With the clients' goodbye this stays below the 30 s after which orchestrators
/// kill.
const HANDOVER_MAX: Duration = Duration::from_secs(15);

/// How long a shard that ends looks for another one that takes its rooms. A lone shard must not keep its
/// clients waiting for nothing.
const HEIRLESS_MAX: Duration = Duration::from_secs(2);

/// Deadlines of a shard that nobody gave another one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DrainSettings {
    /// After an order without a deadline.
    pub(crate) ordered: Duration,
    /// After the order to end.
    pub(crate) leaving: Duration,
}

/// Why the shard is emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// By an operator, who may take it back.
    Order,
    /// It ends.
    End,
}

/// The order in force.
pub(crate) struct Drain {
    settings: DrainSettings,
    order: Option<(Cause, Instant)>,
    look_at: Option<Instant>,
    /// Since when no other shard takes rooms.
    heirless_since: Option<Instant>,
    /// Told when a shard that ends is empty, or has done what it could.
    empty: Arc<Notify>,
}

impl Drain {
    pub(crate) fn new(settings: DrainSettings, empty: Arc<Notify>) -> Self {
        Self {
            settings,
            order: None,
            look_at: None,
            heirless_since: None,
            empty,
        }
    }

    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.look_at
    }

    /// A room has gone, or not: the next one can go.
    pub(super) fn hurry(&mut self, now: Instant) {
        if self.order.is_some() && self.look_at.is_some() {
            self.look_at = Some(now);
        }
    }

    /// Whether nobody has taken rooms for too long.
    fn is_alone(&mut self, heirs: bool, now: Instant) -> bool {
        if heirs {
            self.heirless_since = None;
            return false;
        }
        let since = *self.heirless_since.get_or_insert(now);
        now >= since + HEIRLESS_MAX
    }

    fn set(&mut self, order: Option<(Cause, Instant)>, now: Instant) {
        self.order = order;
        self.look_at = order.is_some().then_some(now);
    }
}

impl Driver {
    /// The directory's word about this shard.
    pub(super) fn handle_order(&mut self, order: Option<directory::Drain>, now: Instant) {
        if matches!(self.drain.order, Some((Cause::End, _))) {
            return;
        }
        let shard = &self.shard;
        match &order {
            None => tracing::info!(%shard, "the shard takes rooms again"),
            Some(_) => tracing::info!(%shard, "the shard is drained: no new rooms"),
        }
        let deadline = order.map(|order| match order.deadline_unix_ms {
            Some(at) => now + Duration::from_millis(at.saturating_sub(clock::unix_ms())),
            None => now + self.drain.settings.ordered,
        });
        self.drain.set(deadline.map(|at| (Cause::Order, at)), now);
        self.core.set_draining(deadline.is_some(), now);
    }

    /// The shard shall end when it is empty.
    pub(super) fn begin_leaving(&mut self, now: Instant) {
        let deadline = now + self.drain.settings.leaving;
        let sooner = self
            .drain
            .order
            .map_or(deadline, |(_, at)| at.min(deadline));
        tracing::info!(shard = %self.shard, "the shard leaves: its rooms go to the others");
        self.drain.set(Some((Cause::End, sooner)), now);
        self.owner.leave();
        self.condition.set_leaving();
        self.core.set_draining(true, now);
    }

    pub(super) fn drain_if_due(&mut self, now: Instant) {
        if self.drain.look_at.is_none_or(|at| at > now) {
            return;
        }
        self.drain.look_at = Some(now + LOOK);
        let Some((cause, deadline)) = self.drain.order else {
            return;
        };
        let left = self.core.rooms().len();
        self.figures.set("anteroom_shard_drain_rooms_left", left);
        let expecting = self.moves.is_expecting(now);
        let ended = left == 0 && !self.core.has_tails() && !expecting;
        let due = now >= deadline;
        let alone = due && self.drain.is_alone(!self.owner.heirs().is_empty(), now);
        let nobody_takes = alone && self.moves.going() == 0;
        if cause == Cause::End && (ended || nobody_takes || now >= deadline + HANDOVER_MAX) {
            self.drain.look_at = None;
            self.drain.empty.notify_one();
        }
        // What starts later would be cut off in its tail.
        let in_time = cause == Cause::Order || now < deadline + HANDOVER_MAX - TAIL_MAX;
        if due && in_time {
            self.move_some(now);
        }
        self.drain(now);
    }

    /// Lets the next rooms move, as many as may at one time.
    fn move_some(&mut self, now: Instant) {
        let free = MOVES_AT_ONCE.saturating_sub(self.moves.going());
        if free == 0 {
            return;
        }
        let heirs = self.owner.heirs();
        let rooms = self.core.rooms();
        let ready = rooms
            .iter()
            .filter(|room| !room.moving && self.moves.may_start(&room.room, now));
        let mut ready: Vec<RoomKey> = ready.map(|room| room.room.clone()).collect();
        ready.sort_by_key(|room| self.moves.failed_at(room));
        let mut rings = Rings::default();
        for room in ready.into_iter().take(free) {
            let willing = |life: &&Life| !self.moves.is_refused(&room, &life.shard);
            let willing: Vec<Life> = heirs.iter().filter(willing).cloned().collect();
            match rings.place(&room, &willing) {
                Some(heir) => self.start_move(&room, heir, now),
                None => self.moves.forgive(&room),
            }
        }
    }
}

/// Rings over some of the shards. Nearly all rooms ask for the same one.
#[derive(Default)]
struct Rings(Vec<(Vec<Life>, Topology)>);

impl Rings {
    fn place(&mut self, room: &RoomKey, heirs: &[Life]) -> Option<Life> {
        if !self.0.iter().any(|(known, _)| *known == heirs) {
            let ring = super::moves::ring_of(heirs)?;
            self.0.push((heirs.to_vec(), ring));
        }
        let (_, ring) = self.0.iter().find(|(known, _)| *known == heirs)?;
        let heir = ring.place(room)?;
        heirs.iter().find(|life| life.shard == *heir).cloned()
    }
}
