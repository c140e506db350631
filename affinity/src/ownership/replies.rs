//! What each reply means for the ownership machine.
//!
//! The rule of all arms: a reply counts only if it answers the present incarnation under the
//! present directory life.

use super::{
    Duration, Event, InFlight, Instant, LostWhy, MARGIN_MS, NoLeaseWhy, Ownership, Phase, RETRY,
    RefusedWhy, RequestId, Resignation, Room, RoomKey, STRAYS_MAX, Step, Stray, Topic,
};
use crate::directory::{
    DirectoryIncarnation, DirectoryUnreachable, Drain, Epoch, HOLD_MS, Incarnation, Reply, Roster,
};

/// Longest lease believed, milliseconds: a directory that says more is misconfigured, and a shard
/// that is cut off must end within a minute.
const TTL_MS_MAX: u64 = 60_000;

/// How far the shard may go without a lease.
struct Allowed {
    hold_ms: u64,
    shards: u32,
}

pub(super) type Outcome = Result<Reply, DirectoryUnreachable>;

/// An epoch of which the answer speaks.
fn epoch_of(reply: &Reply) -> Option<Epoch> {
    match reply {
        Reply::Leased { epoch, .. }
        | Reply::Granted { epoch, .. }
        | Reply::Mine { epoch, .. }
        | Reply::Owned { epoch, .. }
        | Reply::Transferred { epoch } => Some(*epoch),
        _ => None,
    }
}

impl Ownership {
    /// The answer of a request, or that there is none (a timeout included: the outcome is unknown).
    /// Unknown ids are ignored. `fresh` is random, see [`Self::handle_timeout`].
    pub fn handle_reply(
        &mut self,
        id: RequestId,
        reply: Result<Reply, DirectoryUnreachable>,
        fresh: Incarnation,
        now: Instant,
    ) {
        // First: an answer that comes after the deadline finds no owner any more.
        self.handle_timeout(fresh, now);
        let Some(sent) = self.in_flight.remove(&id) else {
            return;
        };
        // Whether the answer counts or not: that epoch has been given away.
        let epoch = reply.as_ref().ok().and_then(epoch_of);
        self.highest = self.highest.max(epoch.unwrap_or_default());
        if let Ok(Reply::StaleDirectory { current }) = reply
            && sent.directory == self.directory
        {
            self.adopt(current, now);
        }
        match sent.topic.clone() {
            Topic::Renew => self.renew_answered(&sent, reply, fresh, now),
            // No word of the other shard is no word of the directory.
            Topic::Keep { .. } if reply.is_err() => {}
            Topic::Keep { .. } => self.renew_answered(&sent, reply, fresh, now),
            Topic::Claim(room) => self.claim_answered(id, room, &sent, reply, fresh, now),
            Topic::Reassert(room) => self.reassert_answered(id, room, &sent, reply, fresh, now),
            Topic::Release(room) => self.release_answered(id, room, &reply, now),
            Topic::Transfer(room) => self.transfer_answered(id, room, &sent, &reply, fresh, now),
            Topic::Stray => {}
            Topic::Resign => self.resign_answered(&sent, &reply, now),
        }
    }

    pub(super) fn is_current(&self, sent: &InFlight) -> bool {
        sent.incarnation == self.incarnation && sent.directory == self.directory && !self.resigned()
    }

    fn renew_answered(
        &mut self,
        sent: &InFlight,
        reply: Outcome,
        fresh: Incarnation,
        now: Instant,
    ) {
        if sent.incarnation != self.incarnation || self.resigned() {
            return;
        }
        match reply {
            Ok(Reply::Leased {
                directory,
                ttl_ms,
                hold_ms,
                shards,
                drain,
                roster,
                ..
            }) => {
                // A first renewal names no directory and may meet any; a later word wins.
                if self.directory.is_none_or(|known| known == directory)
                    && self.take_lease(directory, ttl_ms, sent.sent_at, now)
                {
                    let allowed = Allowed { hold_ms, shards };
                    self.take_news(sent.sent_at, allowed, roster, drain, now);
                }
            }
            // `adopt` has made the next renewal due.
            Ok(Reply::StaleDirectory { .. }) => {}
            Ok(Reply::NoLease) => {
                self.renewal_failed(NoLeaseWhy::Ended, now);
                self.end_life(fresh, now);
            }
            Ok(Reply::Refused { reason }) => {
                self.renewal_failed(NoLeaseWhy::Refused { reason }, now);
                // Nobody is refused what he holds: it is gone, even if the directory has forgotten.
                if sent.leased && self.is_current(sent) {
                    self.end_life(fresh, now);
                }
            }
            // The deadline limits how long this goes on.
            Ok(other) => {
                let reason = format!("the directory answers a renewal with {other:?}");
                self.renewal_failed(NoLeaseWhy::Unreachable { reason }, now);
            }
            Err(error) => {
                let reason = error.to_string();
                self.renewal_failed(NoLeaseWhy::Unreachable { reason }, now);
            }
        }
    }

    fn renewal_failed(&mut self, why: NoLeaseWhy, now: Instant) {
        self.renew_at = self.renew_at.min(now + RETRY);
        self.hold.renewal_failed();
        self.note_trouble(why);
    }

    /// The directory will not lease anything to this life again.
    fn end_life(&mut self, fresh: Incarnation, now: Instant) {
        if self.deadline.is_some() {
            self.fence(fresh, now);
        } else {
            // Nothing was held: no more than a new name is needed, and no hurry.
            self.begin_life(fresh);
        }
    }

    fn take_lease(
        &mut self,
        directory: DirectoryIncarnation,
        ttl_ms: u64,
        sent_at: Instant,
        now: Instant,
    ) -> bool {
        let life_ms = ttl_ms.min(TTL_MS_MAX).saturating_sub(MARGIN_MS);
        let deadline = sent_at + Duration::from_millis(life_ms);
        if deadline <= now {
            return false;
        }
        self.directory = Some(directory);
        self.trouble = None;
        self.told = None;
        self.replaces = None;
        if self.leased {
            self.deadline = self.deadline.max(Some(deadline));
            return true;
        }
        self.leased = true;
        self.deadline = Some(deadline);
        self.ready = self.rooms.keys().cloned().collect();
        self.events.push_back(Event::Leased { directory });
        true
    }

    fn take_news(
        &mut self,
        sent_at: Instant,
        Allowed { hold_ms, shards }: Allowed,
        roster: Option<Roster>,
        drain: Option<Drain>,
        now: Instant,
    ) {
        // Less than the directory waits, by what both clocks may be wrong over that time.
        let length = Duration::from_millis(hold_ms.min(HOLD_MS) / 5 * 4);
        let limit = (hold_ms > 0).then(|| sent_at + length);
        self.hold.renewed(sent_at, limit, shards);
        // Until the directory knows that we know them, those who came cannot take over from us.
        if roster.is_some_and(|roster| self.hold.learn(roster, now)) && hold_ms > 0 {
            self.renew_at = self.renew_at.min(now);
        }
        if self.drain != drain {
            self.drain.clone_from(&drain);
            self.events.push_back(Event::Drain(drain));
        }
    }

    fn claim_answered(
        &mut self,
        id: RequestId,
        room: RoomKey,
        sent: &InFlight,
        reply: Outcome,
        fresh: Incarnation,
        now: Instant,
    ) {
        if sent.incarnation != self.incarnation || self.resigned() {
            if let Ok(Reply::Granted { epoch, .. } | Reply::Mine { epoch, .. }) = reply {
                self.give_back(room, epoch, sent.incarnation);
            }
            return;
        }
        let phase = self.rooms.get(&room).map(|entry| &entry.phase);
        if !matches!(phase, Some(Phase::Claiming { claim, .. }) if claim.is_sent(id)) {
            return;
        }
        let Ok(reply) = reply else {
            return self.claim_unknown(room, now);
        };
        // A grant of an earlier directory life is void with its data.
        if !self.is_current(sent) || matches!(reply, Reply::StaleDirectory { .. }) {
            return self.claim_again(room, now);
        }
        match reply {
            Reply::Granted { epoch, options } => self.granted(room, epoch, None, options, now),
            Reply::Mine {
                epoch,
                from,
                options,
            } => self.granted(room, epoch, from, options, now),
            Reply::Held { shard } => {
                // Perhaps only because we do not know the latest roster.
                self.renew_at = self.renew_at.min(now);
                self.not_granted(room, RefusedWhy::Held { shard });
            }
            Reply::Owned { shard, .. } => self.not_granted(room, RefusedWhy::Owned { shard }),
            Reply::Grace => self.not_granted(room, RefusedWhy::Grace),
            Reply::Draining => self.not_granted(room, RefusedWhy::Draining),
            Reply::Refused { .. } => self.not_granted(room, RefusedWhy::Limit),
            Reply::NoLease => {
                self.not_granted(room, RefusedWhy::NoLease);
                self.fence(fresh, now);
            }
            Reply::Leased { .. }
            | Reply::StaleDirectory { .. }
            | Reply::Reasserted
            | Reply::Released
            | Reply::Transferred { .. }
            | Reply::Bindings(_)
            | Reply::Announced { .. }
            | Reply::View(_)
            | Reply::Done => self.claim_unknown(room, now),
        }
    }

    /// A grant to an incarnation that has ended since.
    fn give_back(&mut self, room: RoomKey, epoch: Epoch, incarnation: Incarnation) {
        // A resignation takes everything of this incarnation with it.
        if !self.resigned() && self.strays.len() < STRAYS_MAX {
            self.strays.push_back(Stray {
                room,
                epoch,
                incarnation,
            });
        }
    }

    fn granted(
        &mut self,
        room: RoomKey,
        epoch: Epoch,
        from: Option<Epoch>,
        options: Option<String>,
        now: Instant,
    ) {
        let promised = self.has_promised(now);
        let Some(entry) = self.rooms.get_mut(&room) else {
            return;
        };
        // What was handed over is wanted, even if nobody waits for it any more.
        let wanted = entry.wanted.is_some();
        if (wanted || from.is_some()) && !promised {
            *entry = Room::owned(epoch);
            self.events.push_back(Event::Granted {
                room,
                epoch,
                from,
                options,
            });
            return;
        }
        *entry = Room::releasing(epoch, now);
        self.make_ready(room.clone());
        if wanted {
            self.refuse(room, RefusedWhy::Unknown);
        }
    }

    fn not_granted(&mut self, room: RoomKey, why: RefusedWhy) {
        if self
            .rooms
            .remove(&room)
            .is_some_and(|entry| entry.wanted.is_some())
        {
            self.refuse(room, why);
        }
    }

    fn claim_again(&mut self, room: RoomKey, now: Instant) {
        let Some(entry) = self.rooms.get_mut(&room) else {
            return;
        };
        if let Phase::Claiming { claim, unsettled } = &mut entry.phase {
            if entry.wanted.is_none() && !*unsettled {
                self.rooms.remove(&room);
                return;
            }
            *claim = Step::Due(now);
            self.make_ready(room);
        }
    }

    /// The claim may have been carried out. Whoever waits gets his answer now; the claim is
    /// repeated until the directory decides, so that no binding is left that nobody knows.
    fn claim_unknown(&mut self, room: RoomKey, now: Instant) {
        let Some(entry) = self.rooms.get_mut(&room) else {
            return;
        };
        let again = now + RETRY;
        entry.phase = Phase::Claiming {
            claim: Step::Due(again),
            unsettled: true,
        };
        self.timers.insert((again, room.clone()));
        if entry.wanted.take().is_some() {
            self.refuse(room, RefusedWhy::Unknown);
        }
    }

    fn reassert_answered(
        &mut self,
        id: RequestId,
        room: RoomKey,
        sent: &InFlight,
        reply: Outcome,
        fresh: Incarnation,
        now: Instant,
    ) {
        if !self.is_current(sent) {
            return;
        }
        let Some(entry) = self.rooms.get_mut(&room) else {
            return;
        };
        let Phase::Owned { epoch, unproven } = &mut entry.phase else {
            return;
        };
        let Some(proof) = unproven.as_mut().filter(|proof| proof.reassert.is_sent(id)) else {
            return;
        };
        let epoch = *epoch;
        match reply {
            Ok(Reply::Reasserted) => *unproven = None,
            Ok(Reply::Owned { shard, .. }) => {
                self.lose(room, epoch, LostWhy::TakenOver { shard });
            }
            Ok(Reply::Released) => self.lose(room, epoch, LostWhy::NotReasserted),
            Ok(Reply::NoLease) => self.fence(fresh, now),
            // No answer that decides: again until `until`.
            Ok(_) | Err(_) => {
                let again = now + RETRY;
                proof.reassert = Step::Due(again);
                self.timers.insert((again, room));
            }
        }
    }

    pub(super) fn lose(&mut self, room: RoomKey, epoch: Epoch, why: LostWhy) {
        self.rooms.remove(&room);
        self.events.push_back(Event::Lost { room, epoch, why });
    }

    fn release_answered(&mut self, id: RequestId, room: RoomKey, reply: &Outcome, now: Instant) {
        let Some(entry) = self.rooms.get_mut(&room) else {
            return;
        };
        let Phase::Releasing { release, .. } = &mut entry.phase else {
            return;
        };
        if !release.is_sent(id) {
            return;
        }
        match reply {
            Ok(Reply::Released) if entry.wanted.is_some() => {
                let claim = Step::Due(now);
                entry.phase = Phase::Claiming {
                    claim,
                    unsettled: false,
                };
                self.make_ready(room);
            }
            Ok(Reply::Released) => {
                self.rooms.remove(&room);
            }
            Ok(_) | Err(_) => {
                let again = now + RETRY;
                *release = Step::Due(again);
                self.timers.insert((again, room));
            }
        }
    }

    fn resign_answered(&mut self, sent: &InFlight, reply: &Outcome, now: Instant) {
        let gone = self.deadline.is_none_or(|deadline| deadline <= now);
        let again = match reply {
            Ok(_) => false,
            Err(_) => sent.incarnation == self.incarnation && !gone,
        };
        self.resignation = if again {
            Resignation::Due(now + RETRY)
        } else {
            Resignation::Done
        };
    }
}
