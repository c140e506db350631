//! The shard's side of the ownership protocol, as a pure machine.
//!
//! Owns: the lease, its deadline, and what this shard may believe about each room. Must not: send,
//! read a clock, or use randomness. It errs towards *not owner*: whatever is late, unknown or from
//! another directory life ends ownership, it never extends it.
//!
//! The driving loop, after every call: drain [`Ownership::poll_event`]; send all of
//! [`Ownership::poll_request`]; sleep until [`Ownership::poll_timeout`], then call
//! [`Ownership::handle_timeout`]. Every request id is answered exactly once by
//! [`Ownership::handle_reply`], by an error if the call timed out.
//!
//! Time: a renewal is seen at the directory after it was sent, so the lease ends no earlier than
//! *send time* + ttl. The deadline here is that minus [`MARGIN_MS`]. Use a clock that counts suspend,
//! if the platform has one. If the clock stood still the deadline is too late; the directory then
//! answers the next renewal with `NoLease`, and everything ends with that.
//!
//! Without the directory a shard can go on while all others promise to claim nothing: send all of
//! [`Ownership::poll_question`] to the other shards, and answer theirs with
//! [`Ownership::handle_keep`].

mod event;
mod hold;
mod replies;
mod requests;
mod room;
mod transfer;

pub use event::{Event, LostWhy, NoLeaseWhy, RefusedWhy};
pub use hold::{Keep, KeepDuty, Kept, PROMISE_MS, Question};

use crate::directory::{DirectoryIncarnation, Drain, Epoch, Incarnation, LEASE_MS, MARGIN_MS};
use crate::{RoomKey, ShardId};
use hold::Hold;
use room::{Phase, Room, Step, Unproven};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// Most rooms of one shard, in any phase. `acquire` beyond is refused with [`RefusedWhy::Limit`].
pub const ROOMS_MAX: usize = 20_000;

/// Most room requests on their way at one time, so that ten thousand re-assertions do not become
/// ten thousand open calls. The rest waits in order; renewals pass by.
pub const IN_FLIGHT_MAX: usize = 256;

/// Longest queue of rooms that may have something to send. Beyond, stale and double entries are
/// thrown out: each room once remains.
const READY_MAX: usize = 2 * ROOMS_MAX;

/// Most late grants to an earlier incarnation that wait to be given back. Overflow is dropped: the
/// binding ends with the earlier incarnation's lease anyway.
const STRAYS_MAX: usize = 1_024;

/// Pause before a request without an answer is sent again, milliseconds: many tries within one
/// deadline, few enough for a directory that has just come back.
const RETRY_MS: u64 = 300;

/// How long `acquire` waits for a first lease, milliseconds. Below the 5 s that clients wait for a
/// join, with time left for the claim.
const LEASE_WAIT_MS: u64 = 1_500;

const RETRY: Duration = Duration::from_millis(RETRY_MS);
const MARGIN: Duration = Duration::from_millis(MARGIN_MS);
const LEASE_WAIT: Duration = Duration::from_millis(LEASE_WAIT_MS);

/// Names one request of one [`Ownership`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(u64);

/// What a request on its way is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Topic {
    Renew,
    Claim(RoomKey),
    Reassert(RoomKey),
    Release(RoomKey),
    Transfer(RoomKey),
    /// Giving back what an earlier incarnation was granted late: nobody waits for the answer.
    Stray,
    Resign,
    /// A renewal by way of another shard, or that shard's promise.
    Keep {
        shard: ShardId,
        life: Incarnation,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct InFlight {
    topic: Topic,
    sent_at: Instant,
    incarnation: Incarnation,
    directory: Option<DirectoryIncarnation>,
    /// The sender held a lease under both.
    leased: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Resignation {
    No,
    Due(Instant),
    Sent,
    Done,
}

/// A binding that an earlier incarnation got too late.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Stray {
    room: RoomKey,
    epoch: Epoch,
    incarnation: Incarnation,
}

/// The shard's side of the ownership protocol. See the module's first lines.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ownership {
    shard: ShardId,
    incarnation: Incarnation,
    directory: Option<DirectoryIncarnation>,
    /// The lease of the present incarnation was granted by the present `directory`.
    leased: bool,
    /// Deadline of the last lease, which may be of an earlier directory life while not `leased`.
    deadline: Option<Instant>,
    renew_at: Instant,
    /// Number of the last renewal.
    seq: u64,
    /// Highest epoch ever heard of, for a directory that has forgotten it.
    highest: Epoch,
    /// The life before this one, if it may still have a lease.
    replaces: Option<Incarnation>,
    /// The shard is about to end.
    leaving: bool,
    drain: Option<Drain>,
    hold: Hold,
    /// Why the last renewal failed, if it did.
    trouble: Option<NoLeaseWhy>,
    /// The last `trouble` that was an event since the last lease.
    told: Option<NoLeaseWhy>,
    resignation: Resignation,
    rooms: BTreeMap<RoomKey, Room>,
    /// Rooms that may have something to send. Checked when taken out, so stale entries are fine.
    ready: VecDeque<RoomKey>,
    /// When to look at a room again. Checked when due, so stale entries are fine.
    timers: BTreeSet<(Instant, RoomKey)>,
    strays: VecDeque<Stray>,
    in_flight: BTreeMap<RequestId, InFlight>,
    next_id: u64,
    /// At most two per room between two polls; the driver drains it after every call.
    events: VecDeque<Event>,
}

impl Ownership {
    /// A shard without a lease; the first request is ready at once. `incarnation` is random.
    pub fn new(shard: ShardId, incarnation: Incarnation, now: Instant) -> Self {
        Self {
            shard,
            incarnation,
            directory: None,
            leased: false,
            deadline: None,
            renew_at: now,
            seq: 0,
            highest: Epoch::default(),
            replaces: None,
            leaving: false,
            drain: None,
            hold: Hold::default(),
            trouble: None,
            told: None,
            resignation: Resignation::No,
            rooms: BTreeMap::new(),
            ready: VecDeque::new(),
            timers: BTreeSet::new(),
            strays: VecDeque::new(),
            in_flight: BTreeMap::new(),
            next_id: 0,
            events: VecDeque::new(),
        }
    }

    /// Asks for a room. One [`Event::Granted`] or [`Event::Refused`] follows (at once if the room
    /// is owned); asking again before that changes nothing. Without a lease it waits 1.5 s for one.
    pub fn acquire(&mut self, room: RoomKey, now: Instant) {
        if self.resigned() {
            return self.refuse(room, RefusedWhy::NoLease);
        }
        let epoch = self.owned(&room, now);
        let count = self.rooms.len();
        match self.rooms.get_mut(&room) {
            None if count >= ROOMS_MAX => return self.refuse(room, RefusedWhy::Limit),
            None => {
                self.rooms.insert(room.clone(), Room::claiming(now));
            }
            Some(Room {
                phase: Phase::Owned { .. },
                ..
            }) => {
                return match epoch {
                    Some(epoch) => self.events.push_back(Event::Granted {
                        room,
                        epoch,
                        from: None,
                        options: None,
                    }),
                    // Its deadline has passed; the coming timeout says `Lost`.
                    None => self.refuse(room, RefusedWhy::NoLease),
                };
            }
            Some(Room {
                phase: Phase::Transferring { .. },
                ..
            }) => return self.refuse(room, RefusedWhy::Unknown),
            // Already on its way.
            Some(Room {
                wanted: Some(_), ..
            }) => return,
            Some(entry) => {
                entry.wanted = Some(now);
                if let Phase::Claiming {
                    claim: claim @ Step::Due(_),
                    ..
                } = &mut entry.phase
                {
                    *claim = Step::Due(now);
                }
            }
        }
        if !self.leased {
            self.timers.insert((now + LEASE_WAIT, room.clone()));
        }
        self.make_ready(room);
    }

    /// Gives a room back, or takes back a wish for it. The caller has stopped the room already.
    /// No event follows.
    pub fn release(&mut self, room: &RoomKey, now: Instant) {
        let Some(entry) = self.rooms.get_mut(room) else {
            return;
        };
        entry.wanted = None;
        match entry.phase {
            Phase::Owned { epoch, .. } => {
                *entry = Room::releasing(epoch, now);
                self.make_ready(room.clone());
            }
            Phase::Claiming {
                claim: Step::Due(_),
                unsettled: false,
            } => {
                self.rooms.remove(room);
            }
            // Sent or unsettled: what is granted will be released.
            Phase::Claiming { .. } | Phase::Releasing { .. } | Phase::Transferring { .. } => {}
        }
    }

    /// Ends in good order: the caller has stopped all rooms. Nothing is owned from here on; wishes
    /// are refused; the lease is given back, then there is nothing to send any more.
    pub fn resign(&mut self, now: Instant) {
        if self.resigned() {
            return;
        }
        let has_lease = self.leased && self.deadline.is_some();
        self.resignation = if has_lease {
            Resignation::Due(now)
        } else {
            Resignation::Done
        };
        for (room, entry) in std::mem::take(&mut self.rooms) {
            if entry.wanted.is_some() {
                self.refuse(room, RefusedWhy::NoLease);
            }
        }
        self.ready.clear();
        self.timers.clear();
        self.strays.clear();
    }

    /// The claim under which the room is ours at this moment. The one question to ask, after every
    /// await, before acting as the room's owner.
    pub fn owned(&self, room: &RoomKey, now: Instant) -> Option<Epoch> {
        if self.resigned() || self.end().is_none_or(|end| end <= now) {
            return None;
        }
        match self.rooms.get(room)?.phase {
            Phase::Owned {
                epoch,
                unproven: None,
            } => Some(epoch),
            Phase::Owned {
                epoch,
                unproven: Some(unproven),
            } => (now < unproven.until).then_some(epoch),
            Phase::Claiming { .. } | Phase::Releasing { .. } | Phase::Transferring { .. } => None,
        }
    }

    /// When everything ends unless the lease is renewed, or the others promise again. Single rooms may
    /// end earlier, after a new directory life; an event says so.
    pub fn deadline(&self) -> Option<Instant> {
        if self.resigned() { None } else { self.end() }
    }

    /// When the first room ends if nothing is heard any more: [`Self::deadline`], or earlier while a
    /// new directory life has not confirmed a room.
    pub fn first_deadline(&self) -> Option<Instant> {
        let unproven = self.rooms.values().filter_map(|room| match room.phase {
            Phase::Owned {
                unproven: Some(unproven),
                ..
            } => Some(unproven.until),
            _ => None,
        });
        let deadline = self.deadline()?;
        Some(unproven.min().map_or(deadline, |first| first.min(deadline)))
    }

    /// Whether the shard goes on only by the promises of the others.
    pub fn is_on_hold(&self, now: Instant) -> bool {
        !self.past_end(now) && self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// The order to empty this shard, as the directory said last.
    pub fn drain(&self) -> Option<&Drain> {
        self.drain.as_ref()
    }

    /// The shard is about to end, or not after all: it wants no new rooms.
    pub fn set_leaving(&mut self, leaving: bool, now: Instant) {
        if self.leaving != leaving {
            self.leaving = leaving;
            self.renew_at = self.renew_at.min(now);
        }
    }

    /// Whether the shard holds a lease of the present directory, else why not.
    ///
    /// # Errors
    /// See [`NoLeaseWhy`].
    pub fn lease(&self, now: Instant) -> Result<(), NoLeaseWhy> {
        if self.resigned() {
            return Err(NoLeaseWhy::Resigned);
        }
        if self.leased && self.end().is_some_and(|end| now < end) {
            return Ok(());
        }
        Err(self.trouble.clone().unwrap_or(NoLeaseWhy::Pending))
    }

    /// The directory life last heard of.
    pub fn directory(&self) -> Option<DirectoryIncarnation> {
        self.directory
    }

    /// The shard's id.
    pub fn shard(&self) -> &ShardId {
        &self.shard
    }

    /// This shard's present life.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Whether [`Self::resign`] was called.
    pub fn resigned(&self) -> bool {
        self.resignation != Resignation::No
    }

    /// Time passed: ends what has reached its deadline. `fresh` is random and becomes the new
    /// incarnation if the lease ended.
    pub fn handle_timeout(&mut self, fresh: Incarnation, now: Instant) {
        if self.past_end(now) {
            self.fence(fresh, now);
        }
        while let Some((at, _)) = self.timers.first()
            && *at <= now
        {
            if let Some((_, room)) = self.timers.pop_first() {
                self.wake(room, now);
            }
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn make_ready(&mut self, room: RoomKey) {
        self.ready.push_back(room);
        if self.ready.len() > READY_MAX {
            self.ready = self.rooms.keys().cloned().collect();
        }
    }

    /// The deadline of the lease, or what the promises of the others add to it.
    fn end(&self) -> Option<Instant> {
        let deadline = self.deadline?;
        let hold = self.leased.then(|| self.hold.until()).flatten();
        Some(hold.map_or(deadline, |until| until.max(deadline)))
    }

    fn past_end(&self, now: Instant) -> bool {
        !self.resigned() && self.end().is_some_and(|end| end <= now)
    }

    /// A driver that never answers is cut off by the deadline, not by memory.
    fn is_crowded(&self) -> bool {
        self.in_flight.len() >= 2 * IN_FLIGHT_MAX
    }

    /// A timer of the room fired.
    fn wake(&mut self, room: RoomKey, now: Instant) {
        let leased = self.leased;
        let Some(entry) = self.rooms.get_mut(&room) else {
            return;
        };
        match entry.phase {
            Phase::Claiming {
                claim: Step::Due(_),
                ..
            } if !leased && entry.wanted.is_some_and(|since| since + LEASE_WAIT <= now) => {
                entry.wanted = None;
                if matches!(
                    entry.phase,
                    Phase::Claiming {
                        unsettled: false,
                        ..
                    }
                ) {
                    self.rooms.remove(&room);
                }
                self.refuse(room, RefusedWhy::NoLease);
            }
            Phase::Owned {
                epoch,
                unproven: Some(unproven),
            } if unproven.until <= now => {
                // Released at the directory too: a re-assertion may still be on its way.
                *entry = Room::releasing(epoch, now);
                self.make_ready(room.clone());
                self.events.push_back(Event::Lost {
                    room,
                    epoch,
                    why: LostWhy::NotReasserted,
                });
            }
            Phase::Claiming { .. }
            | Phase::Owned { .. }
            | Phase::Releasing { .. }
            | Phase::Transferring { .. } => {
                self.make_ready(room);
            }
        }
    }

    /// The lease ended: nothing is ours, and nothing that is still on its way can make it ours.
    fn fence(&mut self, fresh: Incarnation, now: Instant) {
        for (room, entry) in std::mem::take(&mut self.rooms) {
            match entry.phase {
                Phase::Owned { epoch, .. } | Phase::Transferring { epoch, .. } => {
                    self.events.push_back(Event::Lost {
                        room,
                        epoch,
                        why: LostWhy::LeaseEnded,
                    });
                }
                Phase::Claiming { .. } | Phase::Releasing { .. } => {
                    if entry.wanted.is_some() {
                        self.refuse(room, RefusedWhy::NoLease);
                    }
                }
            }
        }
        self.ready.clear();
        self.timers.clear();
        self.hold.reset();
        self.begin_life(fresh);
        self.leased = false;
        self.deadline = None;
        // The next renewal lets others have the rooms: the shard needs a moment to stop them.
        self.renew_at = now + MARGIN;
        self.events.push_back(Event::Fenced);
        self.tell_trouble();
    }

    /// The life before is over for good; its lease need not run out.
    fn begin_life(&mut self, fresh: Incarnation) {
        self.hold.life_over(self.incarnation);
        self.replaces = Some(self.incarnation);
        self.incarnation = fresh;
        self.seq = 0;
    }

    /// A renewal failed.
    fn note_trouble(&mut self, why: NoLeaseWhy) {
        self.trouble = Some(why);
        self.tell_trouble();
    }

    /// One lost renewal does not end a lease: the cause is told when there is none left, not even
    /// that of an earlier directory life.
    fn tell_trouble(&mut self) {
        if self.deadline.is_none()
            && self.told != self.trouble
            && let Some(why) = self.trouble.clone()
        {
            self.told = Some(why.clone());
            self.events.push_back(Event::NotLeased { why });
        }
    }

    fn refuse(&mut self, room: RoomKey, why: RefusedWhy) {
        self.events.push_back(Event::Refused { room, why });
    }

    /// The directory has a new life: what is owned stays ours until the old deadline, and must be
    /// confirmed before it.
    fn adopt(&mut self, current: DirectoryIncarnation, now: Instant) {
        // No promise counts any more, except for what it has given already. A shard that was alone had
        // none, only the time that the directory's old life would have waited: the new one waits for
        // one lease after our first renewal in it.
        let last = now + Duration::from_millis(LEASE_MS).saturating_sub(MARGIN);
        self.deadline = self.deadline.max(self.end().map(|end| end.min(last)));
        self.directory = Some(current);
        self.leased = false;
        self.hold.reset_all();
        self.renew_at = now;
        self.interrupt_transfers();
        let Some(deadline) = self.deadline else {
            return;
        };
        for (room, entry) in &mut self.rooms {
            if let Phase::Owned { unproven, .. } = &mut entry.phase {
                let until = unproven.map_or(deadline, |before| before.until.min(deadline));
                *unproven = Some(Unproven {
                    until,
                    reassert: Step::Due(now),
                });
                self.timers.insert((until, room.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
