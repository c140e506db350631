//! What drives a shard's machine: timers, calls and their ends, events, questions between shards.
//!
//! Wrong variants of the shard's side are made here, around the machine.

use crate::checker::Kind;
use crate::message::{Body, Node, ShardCall, Timer};
use crate::variant::Variant;
use crate::world::World;
use affinity::directory::{DirectoryUnreachable, Epoch, MARGIN_MS, Reply, Request};
use affinity::ownership::{Event, Keep, KeepDuty, Kept, LostWhy, Question};

/// What is lost is stopped within this, microseconds.
const STOP_US: u64 = 100_000;
/// How long a relayed renewal may take, microseconds.
const RELAY_US: u64 = 400_000;
/// Rounds of one pass: more of them is a loop.
const ROUNDS_MAX: usize = 1_000;
const FOR_EVER: u64 = u64::MAX;

impl World {
    /// One pass of the driver: timers, events, requests, questions, and when to come again.
    pub(crate) fn drive(&mut self, shard: usize) {
        for _ in 0..ROUNDS_MAX {
            if !self.pass(shard) {
                break;
            }
        }
        let Some(machine) = &self.shards[shard].machine else {
            return;
        };
        let now = self.local(Node::Shard(shard));
        let now_us = self.micros(now);
        let Some((at, why)) = machine.poll_timeout() else {
            return self.end_if_resigned(shard);
        };
        if at <= now {
            let text = format!("s{shard} wants to be woken at once, again: {why}");
            return self.checker.report(Kind::Spins, self.now, text);
        }
        let at_us = self.micros(at);
        if self.shards[shard]
            .wake_us
            .is_none_or(|wake| at_us < wake || wake <= now_us)
        {
            self.shards[shard].wake_us = Some(at_us);
            self.timer(
                Node::Shard(shard),
                at_us - now_us,
                Timer::Wake { local_us: at_us },
            );
        }
    }

    /// True if something happened.
    fn pass(&mut self, shard: usize) -> bool {
        let (fresh, now) = (self.fresh(), self.local(Node::Shard(shard)));
        let Some(machine) = self.shards[shard].machine.as_mut() else {
            return false;
        };
        if machine.poll_timeout().is_some_and(|(at, _)| at <= now) {
            machine.handle_timeout(fresh, now);
        }
        let mut busy = false;
        while let Some(event) = self.next_event(shard) {
            self.event(shard, event);
            busy = true;
        }
        loop {
            let Some(machine) = self.shards[shard].machine.as_mut() else {
                return false;
            };
            let Some((id, request)) = machine.poll_request(now) else {
                break;
            };
            let sent_us = self.micros(now);
            let call = ShardCall::Directory {
                id,
                sent_us,
                request: request.clone(),
            };
            self.call(shard, Node::Directory, call, |call| Body::Ask {
                call,
                request,
            });
            busy = true;
        }
        while let Some(question) = self.shards[shard]
            .machine
            .as_mut()
            .and_then(|machine| machine.poll_question(now))
        {
            self.question(shard, question);
            busy = true;
        }
        busy
    }

    fn next_event(&mut self, shard: usize) -> Option<Event> {
        self.shards[shard].machine.as_mut()?.poll_event()
    }

    pub(crate) fn call(
        &mut self,
        shard: usize,
        to: Node,
        what: ShardCall,
        body: impl FnOnce(u64) -> Body,
    ) {
        let node = &mut self.shards[shard];
        node.next_call += 1;
        let call = node.next_call;
        // Who relays has less time than who asked for it: its deadline is near.
        let patience = match what {
            ShardCall::Relay { .. } => RELAY_US.min(self.params.patience_ms * 1_000),
            _ => self.params.patience_ms * 1_000,
        };
        node.calls.insert(call, what);
        self.send(Node::Shard(shard), to, None, body(call));
        self.timer(Node::Shard(shard), patience, Timer::CallOver { call });
    }

    fn question(&mut self, shard: usize, question: Question) {
        let Question {
            id,
            shard: other,
            keep,
            ..
        } = question;
        if self.params.variant == Some(Variant::HoldWithoutPromises) {
            let (fresh, now) = (self.fresh(), self.local(Node::Shard(shard)));
            let machine_directory = match &keep.renewal {
                affinity::directory::Request::Renew { holder, .. } => holder.directory,
                _ => None,
            };
            let kept = Ok(Kept::Promised {
                for_ms: affinity::ownership::PROMISE_MS,
                directory: machine_directory,
            });
            if let Some(machine) = self.shards[shard].machine.as_mut() {
                machine.handle_kept(id, kept, fresh, now);
            }
            return;
        }
        let Some(other) = self.shard_number(&other) else {
            return;
        };
        self.call(
            shard,
            Node::Shard(other),
            ShardCall::Question { id },
            |call| Body::Keep { call, keep },
        );
    }

    /// Another shard asks to be kept.
    pub(crate) fn keep(&mut self, shard: usize, from: Node, from_life: u32, call: u64, keep: Keep) {
        let Node::Shard(asker) = from else {
            return;
        };
        let now = self.local(Node::Shard(shard));
        let broken = self.params.variant == Some(Variant::PromiseBroken);
        let Some(machine) = self.shards[shard].machine.as_mut() else {
            return;
        };
        let duty = if broken {
            machine.clone().handle_keep(keep, now)
        } else {
            machine.handle_keep(keep, now)
        };
        match duty {
            KeepDuty::Relay(request) => {
                self.counts.relays += 1;
                let relay = ShardCall::Relay {
                    asker,
                    asker_life: from_life,
                    asker_call: call,
                };
                self.call(shard, Node::Directory, relay, |call| Body::Ask {
                    call,
                    request,
                });
            }
            KeepDuty::Answer(kept) => self.say_kept(shard, asker, from_life, call, kept),
        }
    }

    fn say_kept(&mut self, shard: usize, asker: usize, life: u32, call: u64, kept: Kept) {
        self.counts.promises += u64::from(matches!(kept, Kept::Promised { .. }));
        let body = Body::Kept { call, kept };
        self.send(Node::Shard(shard), Node::Shard(asker), Some(life), body);
    }

    pub(crate) fn kept(&mut self, shard: usize, call: u64, kept: Kept) {
        let Some(ShardCall::Question { id }) = self.shards[shard].calls.remove(&call) else {
            return;
        };
        let (fresh, now) = (self.fresh(), self.local(Node::Shard(shard)));
        if let Some(machine) = self.shards[shard].machine.as_mut() {
            machine.handle_kept(id, Ok(kept), fresh, now);
        }
    }

    pub(crate) fn call_over(&mut self, shard: usize, call: u64) {
        let Some(what) = self.shards[shard].calls.remove(&call) else {
            return;
        };
        self.trace(|_| format!("s{shard} gives call {call} up: {what:?}"));
        let (fresh, now) = (self.fresh(), self.local(Node::Shard(shard)));
        let Some(machine) = self.shards[shard].machine.as_mut() else {
            return;
        };
        let gone = DirectoryUnreachable("no answer in time".to_owned());
        match what {
            ShardCall::Directory { id, request, .. } => {
                machine.handle_reply(id, Err(gone), fresh, now);
                self.believes_after_silence(shard, &request);
            }
            ShardCall::Question { id } => machine.handle_kept(id, Err(gone), fresh, now),
            ShardCall::Relay {
                asker,
                asker_life,
                asker_call,
            } => {
                let broken = self.params.variant == Some(Variant::PromiseBroken);
                let kept = if broken {
                    machine.clone().relay_failed(now)
                } else {
                    machine.relay_failed(now)
                };
                self.say_kept(shard, asker, asker_life, asker_call, kept);
            }
            // Asked again with the next tick.
            ShardCall::Offer { .. } => {}
        }
    }

    pub(crate) fn directory_answered(&mut self, shard: usize, call: u64, mut reply: Reply) {
        match self.shards[shard].calls.remove(&call) {
            Some(ShardCall::Directory {
                id,
                sent_us,
                request,
            }) => {
                let (fresh, now) = (self.fresh(), self.local(Node::Shard(shard)));
                let age_ms = (self.micros(now) - sent_us) / 1_000;
                self.distort_lease(&mut reply, age_ms);
                self.believes_after_grant(shard, &request, &reply);
                if let Some(machine) = self.shards[shard].machine.as_mut() {
                    machine.handle_reply(id, Ok(reply), fresh, now);
                }
            }
            Some(ShardCall::Relay {
                asker,
                asker_life,
                asker_call,
            }) => {
                let kept = Kept::Relayed(reply);
                self.say_kept(shard, asker, asker_life, asker_call, kept);
            }
            _ => {}
        }
    }

    fn event(&mut self, shard: usize, event: Event) {
        self.trace(|_| format!("s{shard}: {event:?}"));
        let life = self.shards[shard].life;
        match event {
            Event::Granted { room, epoch, .. } => {
                let room = self.room_number(&room);
                self.believe(shard, room, epoch, Variant::NoSelfFence);
                self.take_expected(shard, room, epoch);
                self.decided(shard, room, None);
                self.release_unneeded(shard, room);
            }
            Event::Refused { room, why } => {
                let room = self.room_number(&room);
                self.decided(shard, room, Some(&why));
            }
            Event::Lost { room, epoch, why } => {
                let room = self.room_number(&room);
                self.lost(shard, room, epoch, &why);
            }
            Event::Moved {
                room, epoch, to, ..
            } => {
                let room = self.room_number(&room);
                self.checker.ended(room, shard, life, epoch);
                self.moved(shard, room, &to);
            }
            Event::Stays { room, .. } => {
                let room = self.room_number(&room);
                self.counts.stays += 1;
                self.shards[shard].moving.remove(&room);
                self.shards[shard].believed.remove(&room);
                self.release_unneeded(shard, room);
            }
            Event::Leased { .. } => {
                // The directory has spoken: nobody believes what it does not say.
                self.shards[shard].believed.clear();
                self.ask_for_all(shard);
            }
            Event::Fenced => self.counts.fences += 1,
            Event::Drain(order) => {
                let now_us = self.shards[shard].clock.now(self.now);
                self.shards[shard].drain_since_us = order.map(|_| now_us);
            }
            Event::NotLeased { .. } => {}
        }
    }

    /// Waiting joins need not wait for their timer when a lease has come.
    fn ask_for_all(&mut self, shard: usize) {
        for room in 0..self.rooms.len() {
            if self.shards[shard].waited_for(room) {
                self.acquire(shard, room);
            }
        }
    }

    fn lost(&mut self, shard: usize, room: usize, epoch: Epoch, why: &LostWhy) {
        self.counts.lost += 1;
        let life = self.shards[shard].life;
        let by_machine = *why == LostWhy::LeaseEnded;
        if !by_machine || self.params.variant != Some(Variant::NoSelfFence) {
            self.checker.ended(room, shard, life, epoch);
            self.shards[shard].believed.remove(&room);
        }
        if *why == LostWhy::Transfer {
            self.counts.transfers_lost += 1;
        }
        if self.params.keeps_all || self.is_without_cause(shard, why) {
            let text = format!("s{shard} lost room {room}: {why:?}");
            self.checker.report(Kind::LostWithoutCause, self.now, text);
        }
        self.shards[shard].moving.remove(&room);
        let stop = self.random.below(STOP_US);
        self.timer(Node::Shard(shard), stop, Timer::StopLost { room, epoch });
    }

    /// Only a directory that has lost its data does not know the owner of a room.
    fn is_without_cause(&self, shard: usize, why: &LostWhy) -> bool {
        let node = &self.shards[shard];
        matches!(why, LostWhy::TakenOver { .. } | LostWhy::NotReasserted)
            && !self.directory.has_lost_data()
            && !node.is_excused(node.clock.now(self.now))
    }

    fn distort_lease(&self, reply: &mut Reply, age_ms: u64) {
        let Reply::Leased { ttl_ms, .. } = reply else {
            return;
        };
        match self.params.variant {
            Some(Variant::DeadlineFromReceipt) => *ttl_ms += age_ms,
            Some(Variant::NoMargin) => *ttl_ms += MARGIN_MS,
            _ => {}
        }
    }

    pub(crate) fn believe(&mut self, shard: usize, room: usize, epoch: Epoch, variant: Variant) {
        if self.params.variant == Some(variant) {
            self.shards[shard].believed.insert(room, (epoch, FOR_EVER));
        }
    }

    pub(crate) fn believes_after_release(&mut self, shard: usize, room: usize, epoch: Epoch) {
        self.shards[shard].believed.remove(&room);
        if self.params.variant == Some(Variant::ReleaseBeforeStop) {
            let until = self.shards[shard].clock.now(self.now) + 1_000_000;
            self.shards[shard].believed.insert(room, (epoch, until));
        }
    }

    fn believes_after_grant(&mut self, shard: usize, request: &Request, reply: &Reply) {
        if let Request::Claim { room, .. } = request
            && let Reply::Granted { epoch, .. } | Reply::Mine { epoch, .. } = reply
        {
            let room = self.room_number(room);
            self.believe(shard, room, *epoch, Variant::LateGrantCounts);
        }
    }

    fn believes_after_silence(&mut self, shard: usize, request: &Request) {
        if let Request::Transfer { room, epoch, .. } = request {
            let room = self.room_number(room);
            self.believe(shard, room, *epoch, Variant::TransferTakenBack);
        }
    }
}
