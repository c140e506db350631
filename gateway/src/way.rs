//! What becomes of a request on its way to a shard: where it goes, when it waits, what is learned.
//!
//! One for both ways to a shard, Pingora's proxy (`proxy.rs`) and the tunnel of WebSockets over
//! HTTP/1.1 (`tunnel/`).
//! Must not: send a request to a second shard whose outcome at the first is unknown, or to another
//! shard because the first cannot be reached and the directory has not given it up.

use crate::admit::{Admission, Target, Upgrade, admit, target_of, upgrade_of};
use crate::directory::{Lookout, Picture};
use crate::hold::{Ending, Holds, KNOCK_EVERY};
use crate::journey::{Journey, Settings, count_upstream_failure, upstream_fault};
use crate::roll_call::unix_ms;
use crate::routing::{is_page, split};
use crate::snapshot::Snapshot;
use affinity::{Refusal, ShardId, ShardState};
use arc_swap::ArcSwap;
use http::StatusCode;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::{Error, ErrorType};
use proto::context::{CONTEXT_LIFETIME_MS, ClusterKey, OWNER_HEADER, RoomContext};
use std::sync::Arc;
use std::time::Instant;

/// What all requests share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) state: Arc<ArcSwap<Snapshot>>,
    pub(crate) lookout: Arc<Lookout>,
    pub(crate) holds: Arc<Holds>,
    pub(crate) cluster: ClusterKey,
}

impl Shared {
    /// Decides about a request, and waits if no shard takes rooms only because all of them restart.
    pub(crate) async fn enter(
        &self,
        request: &RequestHeader,
        journey: &mut Journey,
    ) -> Result<Admission, Refusal> {
        loop {
            let refusal = match self.admit(request, journey) {
                Err(refusal) if refusal.status == 503 => refusal,
                decided => return decided,
            };
            if !self.may_take_rooms_soon() || !self.wait(journey).await {
                return Err(refusal);
            }
        }
    }

    /// Decides about a request. A reload from here on does not change it.
    fn admit(&self, request: &RequestHeader, journey: &mut Journey) -> Result<Admission, Refusal> {
        let snapshot = self.state.load_full();
        journey.settings = Settings::of(&snapshot);
        journey.placed_by = snapshot.serial;
        journey.upgrade = upgrade_of(request)?;
        if journey.upgrade != Upgrade::None {
            journey.trace.begin();
        }
        let mut step = journey.trace.step("route");
        let target = target_of(request).ok_or_else(|| Refusal {
            status: 400,
            reason: "the request target is no text".to_owned(),
        })?;
        split(&target).0.clone_into(&mut journey.path);
        let now_s = unix_ms() / 1000;
        let upgrade = journey.upgrade;
        let admission = admit(request, &target, upgrade, &snapshot, &self.lookout, now_s)?;
        if let Admission::Forward(Target {
            room,
            shard,
            rule,
            candidate,
            hinted,
        }) = &admission
        {
            journey.room.clone_from(room);
            journey.shard = Some(shard.clone());
            journey.rule.clone_from(rule);
            journey.candidate = Some(candidate.clone());
            if step.is_kept() {
                step.set("anteroom.why", rule.clone());
                step.set("anteroom.candidate", candidate.as_str().to_owned());
            }
            journey.is_hinted = *hinted;
            let by = match (room, hinted) {
                (None, _) => "none",
                (Some(_), true) => "hint",
                (Some(_), false) => "ring",
            };
            metrics::counter!("anteroom_gateway_placements_total", "by" => by).increment(1);
        }
        Ok(admission)
    }

    /// The shard of this request could not be connected to, and nothing was sent. Waits until the
    /// directory has given the shard up, and places the request afresh; or until it is time to knock
    /// again. The error comes back if nothing of this can be expected, or in time.
    pub(crate) async fn hold(
        &self,
        request: &RequestHeader,
        journey: &mut Journey,
        error: Box<Error>,
    ) -> Result<(), Box<Error>> {
        let Some(shard) = journey.shard.clone() else {
            return Err(error);
        };
        let fault = upstream_fault(error.etype());
        count_upstream_failure(fault);
        let mut step = journey.trace.step("wait for the shard");
        step.fail(fault);
        let mut knocked = Instant::now();
        self.holds.is_shut(&shard, knocked);
        self.lookout.look_at_once();
        // Nobody has a lease or ever had one: the directory has nothing to say of anybody's end.
        if !self.lookout.any_ever() && !self.lookout.picture().is_stale() {
            return Err(error);
        }
        loop {
            if !self.wait(journey).await {
                return Err(error);
            }
            if self.is_misplaced(journey) {
                if let Err(refusal) = self.enter(request, journey).await {
                    let status = ErrorType::HTTPStatus(refusal.status);
                    journey.refusal = Some(refusal);
                    return Err(Error::new_in(status));
                }
                if journey.shard.as_ref() != Some(&shard) {
                    Ending::Placed.count();
                    journey.held = None;
                    return Ok(());
                }
            }
            let now = Instant::now();
            let waited = now >= knocked + KNOCK_EVERY;
            if self.holds.may_knock(&shard, waited, now) {
                return Ok(());
            }
            if waited {
                knocked = now;
            }
        }
    }

    /// The shard of this request was connected to.
    pub(crate) fn reached(&self, journey: &mut Journey) {
        if let Some(shard) = &journey.shard {
            self.holds.is_open(shard);
        }
        if journey.held.take().is_some() {
            Ending::Reached.count();
        }
    }

    /// Resolves when the life that the shard has now is over, as far as the directory knows. What was
    /// asked of it gets no answer that counts: its rooms are somebody else's, or will be.
    pub(crate) async fn life_is_over(&self, shard: &ShardId) {
        let life = |picture: &Picture| picture.lease(shard).map(|lease| lease.incarnation);
        let mut news = self.lookout.subscribe();
        let asked = life(&self.lookout.picture());
        while asked.is_some() && news.changed().await.is_ok() {
            let picture = self.lookout.picture();
            if !picture.is_stale() && !picture.is_in_grace() && life(&picture) != asked {
                return;
            }
        }
        std::future::pending().await
    }

    /// Waits for news of any kind, in a place that the request keeps until it is through. False if
    /// there is no place, or no time left.
    async fn wait(&self, journey: &mut Journey) -> bool {
        // Before anything is looked at again, so that nothing is missed.
        let mut news = self.lookout.subscribe();
        let opened = self.holds.opened();
        journey.waited = true;
        if journey.held.is_none() {
            journey.held = self.holds.enter();
            if journey.held.is_none() {
                Ending::Full.count();
                return false;
            }
        }
        let left = journey.hold_left();
        if left.is_zero() {
            Ending::Expired.count();
            return false;
        }
        tokio::select! {
            _ = news.changed() => {}
            () = opened => {}
            () = tokio::time::sleep(left.min(KNOCK_EVERY)) => {}
        }
        true
    }

    /// Whether the reasons for the request's shard have changed since.
    fn is_misplaced(&self, journey: &Journey) -> bool {
        let hinted = journey
            .room
            .as_ref()
            .and_then(|room| self.lookout.hint(room));
        journey.placed_by != self.state.load().serial
            || journey.is_hinted != (hinted.is_some() && hinted == journey.shard)
    }

    /// Some shard is configured to take rooms, nobody has ordered otherwise, and it ends or starts at
    /// the moment.
    fn may_take_rooms_soon(&self) -> bool {
        let (snapshot, picture) = (self.state.load(), self.lookout.picture());
        snapshot
            .topology
            .shards()
            .iter()
            .any(|shard| shard.state == ShardState::Active && picture.drain(&shard.id).is_none())
    }

    /// Our statement about the request, for `shard` and nobody else.
    pub(crate) fn context(&self, journey: &Journey, shard: &ShardId, client: &str) -> String {
        self.cluster.sign(&RoomContext {
            room: journey.room.as_ref().map(|room| room.as_str().to_owned()),
            shard: shard.as_str().to_owned(),
            directory: self.lookout.incarnation(),
            generation: journey.settings.generation,
            client: client.to_owned(),
            expires_ms: unix_ms().saturating_add(CONTEXT_LIFETIME_MS),
        })
    }

    /// Remembers where the room is, from the status of an answer of its shard.
    pub(crate) fn learn(&self, journey: &mut Journey, status: StatusCode) {
        journey.trace.told(status.as_u16(), None);
        let (Some(room), Some(shard)) = (&journey.room, &journey.shard) else {
            return;
        };
        let opened = status == StatusCode::SWITCHING_PROTOCOLS || status.is_success();
        if opened && !is_page(&journey.path) {
            self.lookout.hints().learn(room, shard);
        } else if status == StatusCode::SERVICE_UNAVAILABLE {
            self.lookout.unlearn(room, shard);
        }
    }

    /// After a 421, which has no side effects at the shard: the error says whether the request goes
    /// to the owner that the answer names ([`REDIRECT`]). It does so once.
    pub(crate) fn redirect(&self, journey: &mut Journey, answer: &ResponseHeader) -> Box<Error> {
        // The owner may be younger than this request's configuration.
        journey.settings = Settings::of(&self.state.load());
        let owner = answer
            .headers
            .get(OWNER_HEADER)
            .and_then(|value| value.to_str().ok())
            .map(ShardId::new)
            .filter(|owner| journey.settings.upstreams.contains_key(owner));
        journey.trace.told(answer.status.as_u16(), owner.as_ref());
        if let (Some(room), Some(shard)) = (&journey.room, &journey.shard) {
            let hints = self.lookout.hints();
            hints.forget(room, shard);
            if let Some(owner) = &owner {
                hints.learn(room, owner);
            }
        }
        journey.redirect(owner)
    }
}
