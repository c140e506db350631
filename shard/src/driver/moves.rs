//! Rooms on their way from shard to shard.
//!
//! Owns: who is asked what in which order: the other shard (will you?), the directory (may I?), the
//! other shard (it is yours). Must not: know what is in a room's state; the core does.
//!
//! `leaving`, at the old shard: export, offer, transfer, commit. `coming`, at the new one: offer, then
//! whichever comes first of the commit and a client, and pulls for each client that arrives.

mod coming;
mod leaving;
#[cfg(test)]
mod tests;

use super::{Driver, Input, Pin};
use crate::core::{LateSignal, RoomState};
use crate::figures::Figures;
use crate::peers::{PeerError, PeerReply, PeerRequest, Peers};
use affinity::directory::{Epoch, Life};
use affinity::{RoomKey, Shard, ShardId, ShardState, Topology};
use leaving::{Failed, Going, Heir};
use proto::id::ParticipantSid;
use proto::media::{CarriedData, CarriedMedia};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Rooms whose failed move is remembered; beyond, the memory is thrown away.
const FAILED_MAX: usize = 20_000;
/// Where rooms came from, for pulls. As many as may arrive while one is on its way, and more.
const ORIGINS_MAX: usize = 20_000;
/// How long clients may come back with media at the old shard.
const ORIGIN_FOR: Duration = Duration::from_secs(30);
/// Questions about one participant that wait for the node. The new shard asks at most twice; beyond,
/// the oldest is dropped.
const PULLS_MAX: usize = 4;
/// Pause between tries to tell another shard something.
const SAY_PAUSE: Duration = Duration::from_millis(300);

/// A room that may come.
struct Prepared {
    state: RoomState,
    from: Life,
    /// The other one's claim.
    epoch: Epoch,
    /// When it was offered.
    since: Instant,
    until: Instant,
}

struct Origin {
    /// As it was reached when it offered the room: by now it may have left the topology.
    from: Life,
    /// The other one's claim.
    epoch: Epoch,
    /// What was said meanwhile has been taken: once is enough.
    has_late: bool,
    until: Instant,
}

/// What another shard said.
pub(crate) enum Answered {
    Offer {
        room: RoomKey,
        epoch: Epoch,
        answer: Result<PeerReply, PeerError>,
    },
    Pull {
        room: RoomKey,
        participant: ParticipantSid,
        from: ShardId,
        after: Duration,
        answer: Result<PeerReply, PeerError>,
    },
}

/// All rooms on their way.
pub(super) struct Moves {
    peers: Peers,
    inputs: mpsc::WeakSender<Input>,
    figures: Figures,
    going: BTreeMap<RoomKey, Going>,
    failed: BTreeMap<RoomKey, Failed>,
    prepared: BTreeMap<RoomKey, Prepared>,
    origins: BTreeMap<RoomKey, Origin>,
    /// Shards that wait for a participant's last state. They give up after some seconds.
    pulls: BTreeMap<(RoomKey, ParticipantSid), Vec<oneshot::Sender<PeerReply>>>,
    /// To whom rooms went.
    heirs: BTreeMap<RoomKey, Heir>,
}

impl Moves {
    pub(super) fn new(peers: Peers, inputs: mpsc::WeakSender<Input>, figures: Figures) -> Self {
        Self {
            peers,
            inputs,
            figures,
            going: BTreeMap::new(),
            failed: BTreeMap::new(),
            prepared: BTreeMap::new(),
            origins: BTreeMap::new(),
            pulls: BTreeMap::new(),
            heirs: BTreeMap::new(),
        }
    }

    pub(super) fn going(&self) -> usize {
        self.going.len()
    }

    pub(super) fn may_start(&self, room: &RoomKey, now: Instant) -> bool {
        let rests = |failed: &Failed| failed.rests_until().is_some_and(|until| now < until);
        !self.going.contains_key(room) && !self.failed.get(room).is_some_and(rests)
    }

    /// Rooms with the lower number go first: those that have not failed yet, then the oldest failure.
    pub(super) fn failed_at(&self, room: &RoomKey) -> Option<Instant> {
        self.failed.get(room)?.at
    }

    /// Whether the shard has refused the room since somebody else could be asked.
    pub(super) fn is_refused(&self, room: &RoomKey, shard: &ShardId) -> bool {
        let failed = self.failed.get(room);
        failed.is_some_and(|failed| failed.refused_by.contains(shard))
    }

    /// All have refused it: they are asked again.
    pub(super) fn forgive(&mut self, room: &RoomKey) {
        if let Some(failed) = self.failed.get_mut(room) {
            failed.refused_by.clear();
        }
    }

    /// Whether another shard has been promised that its room will be taken.
    pub(super) fn is_expecting(&mut self, now: Instant) -> bool {
        self.forget_old(now);
        !self.prepared.is_empty()
    }

    fn fail(&mut self, room: &RoomKey, by: Option<ShardId>, now: Instant) {
        if self.failed.len() >= FAILED_MAX {
            self.failed.clear();
        }
        let failed = self.failed.entry(room.clone()).or_default();
        failed.at = Some(now);
        failed.tries = failed.tries.saturating_add(1);
        failed.refused_by.extend(by);
        self.figures
            .count_as("anteroom_shard_room_moves_total", "result", "failed");
    }

    /// Says something that needs no answer.
    fn say(&self, life: Life, request: PeerRequest, tries: u32) {
        let peers = self.peers.clone();
        tokio::spawn(async move {
            let Some(message) = request.pack().await else {
                return;
            };
            for _ in 0..tries {
                match peers.tell(&life, &message).await {
                    Ok(PeerReply::Yes) => return,
                    Ok(other) => {
                        tracing::info!(?other, shard = %life.shard, "the other shard objects");
                    }
                    Err(error) => tracing::info!(%error, "another shard was not told"),
                }
                tokio::time::sleep(SAY_PAUSE).await;
            }
        });
    }

    fn take_prepared(&mut self, room: &RoomKey, from: Epoch) -> Option<Prepared> {
        let fits = self.prepared.get(room)?.epoch == from;
        fits.then(|| self.prepared.remove(room)).flatten()
    }

    fn forget_old(&mut self, now: Instant) {
        self.prepared.retain(|_, prepared| prepared.until > now);
        self.origins.retain(|_, origin| origin.until > now);
        self.heirs.retain(|_, heir| heir.until > now);
        self.pulls.retain(|_, asking| {
            asking.retain(|answer| !answer.is_closed());
            !asking.is_empty()
        });
    }

    /// Somebody waits for what the node says of a participant.
    fn await_pulled(
        &mut self,
        room: &RoomKey,
        participant: &ParticipantSid,
        answer: oneshot::Sender<PeerReply>,
    ) {
        let key = (room.clone(), participant.clone());
        let asking = self.pulls.entry(key).or_default();
        if asking.len() >= PULLS_MAX {
            asking.remove(0);
        }
        asking.push(answer);
    }

    /// The node has said the last of a participant.
    pub(super) fn pulled(
        &mut self,
        room: &RoomKey,
        participant: &ParticipantSid,
        media: Option<Box<CarriedMedia>>,
        data: Vec<CarriedData>,
    ) {
        let key = (room.clone(), participant.clone());
        let reply = PeerReply::Pulled { media, data };
        for answer in self.pulls.remove(&key).unwrap_or_default() {
            // Whoever asked may have given up.
            let _ = answer.send(reply.clone());
        }
    }
}

/// Puts the answer of another shard among the driver's inputs.
async fn put_in(inputs: &mpsc::WeakSender<Input>, answered: Answered) {
    if let Some(inputs) = inputs.upgrade() {
        // A driver that is gone needs no answer.
        let _ = inputs.send(Input::Answered(Box::new(answered))).await;
    }
}

/// Places rooms on `heirs` as a gateway would.
pub(super) fn ring_of(heirs: &[Life]) -> Option<Topology> {
    let shards = heirs.iter().map(|life| Shard {
        id: life.shard.clone(),
        url: life.url.clone(),
        weight: life.weight.max(1),
        state: ShardState::Active,
    });
    Topology::new(0, shards.collect()).ok()
}

impl Driver {
    pub(super) fn handle_answered(&mut self, answered: Answered, now: Instant) {
        match answered {
            Answered::Offer {
                room,
                epoch,
                answer,
            } => self.offer_answered(&room, epoch, answer, now),
            Answered::Pull {
                room,
                participant,
                from,
                after,
                answer,
            } => self.pull_answered(&room, &participant, &from, after, answer, now),
        }
    }
}

fn no(reason: &str) -> PeerReply {
    PeerReply::No {
        reason: reason.to_owned(),
    }
}
