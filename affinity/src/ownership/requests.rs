//! What the ownership machine sends, and when it wants to be called.
//!
//! Order: resignation, renewal, late grants, then rooms in the order in which they became ready.

use super::{
    Duration, IN_FLIGHT_MAX, InFlight, Instant, Ownership, Phase, RequestId, Resignation, RoomKey,
    Step, Stray, Topic, Unproven,
};
use crate::directory::{Holder, RENEW_MS, Renewal, Request};

impl Ownership {
    /// The next request. Send it now: `now` is the send time from which its lease counts.
    pub fn poll_request(&mut self, now: Instant) -> Option<(RequestId, Request)> {
        if let Resignation::Due(at) = self.resignation {
            return (at <= now).then(|| {
                self.resignation = Resignation::Sent;
                let holder = self.holder();
                self.send(Topic::Resign, Request::Resign { holder }, now)
            });
        }
        // Past the deadline nothing is sent in the old incarnation's name.
        if self.resigned() || self.past_end(now) {
            return None;
        }
        if self.renew_at <= now && !self.is_crowded() {
            self.renew_at = now + Duration::from_millis(RENEW_MS);
            let renewal = self.renewal();
            return Some(self.send(Topic::Renew, renewal, now));
        }
        if self.in_flight.len() >= IN_FLIGHT_MAX {
            return None;
        }
        if let Some(Stray {
            room,
            epoch,
            incarnation,
        }) = self.strays.pop_front()
        {
            let holder = Holder {
                incarnation,
                ..self.holder()
            };
            return Some(self.send(
                Topic::Stray,
                Request::Release {
                    holder,
                    room,
                    epoch,
                },
                now,
            ));
        }
        while let Some(room) = self.ready.pop_front() {
            if let Some(request) = self.room_request(room, now) {
                return Some(request);
            }
        }
        None
    }

    /// When to call [`Self::handle_timeout`] and then [`Self::poll_request`], and why. `None`: only
    /// after a reply or a call.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        match self.resignation {
            Resignation::No => {}
            Resignation::Due(at) => return Some((at, "resign")),
            Resignation::Sent | Resignation::Done => return None,
        }
        let renew = (!self.is_crowded()).then_some((self.renew_at, "renew the lease"));
        let question = self.next_question_at().map(|at| (at, "ask the others"));
        let deadline = self.end().map(|at| (at, "lease deadline"));
        let room = self
            .timers
            .first()
            .map(|(at, _)| (*at, "room retry or deadline"));
        [renew, question, deadline, room]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }

    /// How the shard names itself to the directory now.
    pub fn holder(&self) -> Holder {
        Holder {
            shard: self.shard.clone(),
            incarnation: self.incarnation,
            directory: self.directory,
        }
    }

    /// The next renewal.
    pub(super) fn renewal(&mut self) -> Request {
        self.seq += 1;
        let renewal = Renewal {
            seq: self.seq,
            knows: self.hold.knows,
            epoch: self.highest,
            leaving: self.leaving,
            rooms: u32::try_from(self.rooms.len()).unwrap_or(u32::MAX),
            replaces: self.replaces,
        };
        let holder = self.holder();
        Request::Renew { holder, renewal }
    }

    pub(super) fn send(
        &mut self,
        topic: Topic,
        request: Request,
        now: Instant,
    ) -> (RequestId, Request) {
        let id = RequestId(self.next_id);
        self.next_id += 1;
        let (incarnation, directory, leased) = (self.incarnation, self.directory, self.leased);
        self.in_flight.insert(
            id,
            InFlight {
                topic,
                sent_at: now,
                incarnation,
                directory,
                leased,
            },
        );
        (id, request)
    }

    /// What the room has to send now, if anything.
    fn room_request(&mut self, room: RoomKey, now: Instant) -> Option<(RequestId, Request)> {
        // Claims need the lease; the rest is pointless before the directory's life is known. All
        // rooms become ready when the lease comes.
        if !self.leased {
            return None;
        }
        let holder = self.holder();
        let id = RequestId(self.next_id);
        let quiet = self.hold.no_claims_until().filter(|until| now < *until);
        let entry = self.rooms.get_mut(&room)?;
        let (step, topic, request) = match &mut entry.phase {
            Phase::Claiming { claim, .. } => {
                // One that is on its way is not sent again: its answer will settle it.
                if let Some(until) = quiet.filter(|_| claim.is_due(now)) {
                    *claim = Step::Due(until);
                    self.timers.insert((until, room));
                    return None;
                }
                let request = Request::Claim {
                    holder,
                    room: room.clone(),
                    knows: self.hold.knows,
                };
                (claim, Topic::Claim(room), request)
            }
            Phase::Owned {
                epoch,
                unproven: Some(Unproven { reassert, .. }),
            } => {
                let request = Request::Reassert {
                    holder,
                    room: room.clone(),
                    epoch: *epoch,
                };
                (reassert, Topic::Reassert(room), request)
            }
            Phase::Releasing { epoch, release } => {
                let request = Request::Release {
                    holder,
                    room: room.clone(),
                    epoch: *epoch,
                };
                (release, Topic::Release(room), request)
            }
            Phase::Transferring { epoch, transfer } => {
                let request = Request::Transfer {
                    holder,
                    room: room.clone(),
                    epoch: *epoch,
                    to: transfer.to.clone(),
                    to_incarnation: transfer.to_incarnation,
                };
                (&mut transfer.step, Topic::Transfer(room), request)
            }
            Phase::Owned { unproven: None, .. } => return None,
        };
        if !step.is_due(now) {
            return None;
        }
        *step = Step::Sent(id);
        Some(self.send(topic, request, now))
    }
}
