//! What the ownership machine sends, and when it wants to be called.
//!
//! Order: resignation, renewal, late grants, then rooms in the order in which they became ready.

use super::{
    Duration, IN_FLIGHT_MAX, InFlight, Instant, Ownership, Phase, RequestId, Resignation, RoomKey,
    Step, Stray, Topic, Unproven,
};
use crate::directory::{Holder, RENEW_MS, Request};

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
        if self.resigned() || self.past_deadline(now) {
            return None;
        }
        // A driver that never answers is cut off by the deadline, not by memory.
        if self.renew_at <= now && self.in_flight.len() < 2 * IN_FLIGHT_MAX {
            self.renew_at = now + Duration::from_millis(RENEW_MS);
            let holder = self.holder();
            return Some(self.send(Topic::Renew, Request::Renew { holder }, now));
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
        let crowded = self.in_flight.len() >= 2 * IN_FLIGHT_MAX;
        let renew = (!crowded).then_some((self.renew_at, "renew the lease"));
        let deadline = self.deadline.map(|at| (at, "lease deadline"));
        let room = self
            .timers
            .first()
            .map(|(at, _)| (*at, "room retry or deadline"));
        [renew, deadline, room]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }

    pub(super) fn holder(&self) -> Holder {
        Holder {
            shard: self.shard.clone(),
            incarnation: self.incarnation,
            directory: self.directory,
        }
    }

    fn send(&mut self, topic: Topic, request: Request, now: Instant) -> (RequestId, Request) {
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
        let entry = self.rooms.get_mut(&room)?;
        let (step, topic, request) = match &mut entry.phase {
            Phase::Claiming { claim, .. } => {
                let request = Request::Claim {
                    holder,
                    room: room.clone(),
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
            Phase::Owned { unproven: None, .. } => return None,
        };
        if !step.is_due(now) {
            return None;
        }
        *step = Step::Sent(id);
        Some(self.send(topic, request, now))
    }
}
