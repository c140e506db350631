//! Rooms on their way from shard to shard.
//!
//! Owns: who is asked what in which order: the other shard (will you?), the directory (may I?), the
//! other shard (it is yours). Must not: know what is in a room's state; the core does.
//!
//! At the old shard: export, offer, transfer, commit. At the new one: offer, then whichever comes
//! first of the commit and a client, and a pull for each client that arrives.

use super::{Driver, Input, Pin};
use crate::core::{LateSignal, MoveFailure, RoomOptions, RoomState};
use crate::peers::{PeerError, PeerReply, PeerRequest, Peers};
use affinity::directory::{Epoch, Life};
use affinity::{RoomKey, Shard, ShardId, ShardState, Topology};
use proto::id::ParticipantSid;
use proto::media::{CarriedData, CarriedMedia};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// How long a room that may come is kept. The other shard waits for the directory as long as its clients
/// do, and says so if it changes its mind.
const PREPARED_FOR: Duration = Duration::from_secs(60);
/// Rooms that may be prepared at one time. Further ones are refused, and tried again.
const PREPARED_MAX: usize = 64;
/// How long a room whose move has failed is left in peace: it stands still for each try. Doubled each
/// time.
const TRY_AGAIN: Duration = Duration::from_secs(2);
/// At most so long.
const TRY_AGAIN_MAX: Duration = Duration::from_secs(60);
/// Rooms whose failed move is remembered; beyond, the memory is thrown away.
const FAILED_MAX: usize = 20_000;
/// Where rooms came from, for pulls. As many as may arrive while one is on its way, and more.
const ORIGINS_MAX: usize = 20_000;
/// How long clients may come back with media at the old shard.
const ORIGIN_FOR: Duration = Duration::from_secs(30);
/// Tries to tell the new shard that a room is its own.
const COMMIT_TRIES: u32 = 4;
/// Pause between them.
const COMMIT_PAUSE: Duration = Duration::from_millis(300);

/// How far a room is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Its node says what it knows.
    Exporting,
    /// The new shard considers.
    Offering,
    /// The directory decides.
    Transferring,
}

struct Going {
    to: Life,
    epoch: Epoch,
    phase: Phase,
    since: Instant,
}

/// A room that may come.
struct Prepared {
    state: RoomState,
    from: Life,
    /// The other one's claim.
    epoch: Epoch,
    until: Instant,
}

struct Origin {
    from: Life,
    /// The other one's claim.
    epoch: Epoch,
    /// What was said meanwhile has been taken: once is enough.
    has_late: bool,
    until: Instant,
}

/// A room that could not be handed over.
#[derive(Default)]
struct Failed {
    at: Option<Instant>,
    tries: u32,
    /// By whom.
    refused_by: BTreeSet<ShardId>,
}

impl Failed {
    fn rests_until(&self) -> Option<Instant> {
        let doubled = TRY_AGAIN.saturating_mul(1 << self.tries.saturating_sub(1).min(10));
        Some(self.at? + doubled.min(TRY_AGAIN_MAX))
    }
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
        answer: Result<PeerReply, PeerError>,
    },
}

/// All rooms on their way.
pub(super) struct Moves {
    peers: Peers,
    inputs: mpsc::WeakSender<Input>,
    going: BTreeMap<RoomKey, Going>,
    failed: BTreeMap<RoomKey, Failed>,
    prepared: BTreeMap<RoomKey, Prepared>,
    origins: BTreeMap<RoomKey, Origin>,
    /// Shards that wait for a participant's last state. They give up after half a second.
    pulls: BTreeMap<(RoomKey, ParticipantSid), oneshot::Sender<PeerReply>>,
    /// To whom rooms went whose commit is due.
    heirs: BTreeMap<RoomKey, (Life, Epoch)>,
}

impl Moves {
    pub(super) fn new(peers: Peers, inputs: mpsc::WeakSender<Input>) -> Self {
        Self {
            peers,
            inputs,
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
        count("failed");
    }

    /// Asks another shard and puts its answer among the inputs.
    fn ask(
        &self,
        life: Life,
        request: PeerRequest,
        wrap: impl FnOnce(Result<PeerReply, PeerError>) -> Answered + Send + 'static,
    ) {
        let (peers, inputs) = (self.peers.clone(), self.inputs.clone());
        tokio::spawn(async move {
            let answer = peers.tell(&life, &request).await;
            if let Some(inputs) = inputs.upgrade() {
                let answered = Box::new(wrap(answer));
                // A driver that is gone needs no answer.
                let _ = inputs.send(Input::Answered(answered)).await;
            }
        });
    }

    /// Says something that needs no answer.
    fn say(&self, life: Life, request: PeerRequest, tries: u32) {
        let peers = self.peers.clone();
        tokio::spawn(async move {
            for _ in 0..tries {
                match peers.tell(&life, &request).await {
                    Ok(PeerReply::Yes) => return,
                    Ok(other) => {
                        tracing::info!(?other, shard = %life.shard, "the other shard objects");
                    }
                    Err(error) => tracing::info!(%error, "another shard was not told"),
                }
                tokio::time::sleep(COMMIT_PAUSE).await;
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
        self.pulls.retain(|_, answer| !answer.is_closed());
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
        if let Some(answer) = self.pulls.remove(&key) {
            // Whoever asked may have given up.
            let _ = answer.send(PeerReply::Pulled { media, data });
        }
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

/// At the shard that a room leaves.
impl Driver {
    pub(super) fn start_move(&mut self, room: &RoomKey, to: Life, now: Instant) {
        let Some(epoch) = self.owner.epoch(room, now) else {
            return;
        };
        if let Err(why) = self.core.begin_move(room, now) {
            tracing::debug!(room = room.as_str(), %why, "the room does not move yet");
            return self.moves.fail(room, None, now);
        }
        tracing::info!(room = room.as_str(), to = %to.shard, "the room moves");
        self.owner.set_moving(room, true);
        let going = Going {
            to,
            epoch,
            phase: Phase::Exporting,
            since: now,
        };
        self.moves.going.insert(room.clone(), going);
    }

    /// The core has written the room down.
    pub(super) fn offer(&mut self, room: &RoomKey, state: &RoomState, now: Instant) {
        let Some(going) = self.moves.going.get_mut(room) else {
            return;
        };
        let json = state.to_json().map(String::from_utf8);
        let Ok(Ok(state)) = json else {
            tracing::warn!(
                room = room.as_str(),
                "the room is too large to move: it stays"
            );
            return self.move_refused(room, now);
        };
        going.phase = Phase::Offering;
        let (to, epoch, key) = (going.to.clone(), going.epoch, room.clone());
        let request = PeerRequest::Offer { epoch, state };
        self.moves.ask(to, request, move |answer| Answered::Offer {
            room: key,
            epoch,
            answer,
        });
    }

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
                answer,
            } => {
                let pulled = match answer {
                    Ok(PeerReply::Pulled { media, data }) => media.map(|media| (*media, data)),
                    Ok(_) => None,
                    Err(error) => {
                        tracing::debug!(%error, "the old shard says nothing");
                        None
                    }
                };
                self.core.handle_pulled(&room, &participant, pulled, now);
            }
        }
    }

    fn offer_answered(
        &mut self,
        room: &RoomKey,
        epoch: Epoch,
        answer: Result<PeerReply, PeerError>,
        now: Instant,
    ) {
        let Some(going) = self.moves.going.get_mut(room) else {
            return;
        };
        if going.epoch != epoch || going.phase != Phase::Offering {
            return;
        }
        let refusal = match answer {
            Ok(PeerReply::Yes) => None,
            Ok(other) => Some(format!("{other:?}")),
            Err(error) => Some(error.to_string()),
        };
        if let Some(refusal) = refusal {
            let shard = going.to.shard.clone();
            tracing::info!(room = room.as_str(), %shard, refusal, "the shard does not take it");
            self.end_move(room, Some(shard), now);
            return self.core.cancel_move(room, now);
        }
        going.phase = Phase::Transferring;
        let to = going.to.clone();
        if !self.core.seal_move(room) || !self.owner.transfer(room, &to, now) {
            self.move_refused(room, now);
        }
    }

    /// The room stays here.
    pub(super) fn move_refused(&mut self, room: &RoomKey, now: Instant) {
        self.end_move(room, None, now);
        self.core.cancel_move(room, now);
    }

    /// The core has given up by itself.
    pub(super) fn move_failed(&mut self, room: &RoomKey, why: MoveFailure) {
        tracing::info!(room = room.as_str(), %why, "the room does not move");
        self.end_move(room, None, Instant::now());
    }

    /// The room is not ours any more, and nobody's that we know.
    pub(super) fn move_lost(&mut self, room: &RoomKey) {
        self.end_move(room, None, Instant::now());
    }

    fn end_move(&mut self, room: &RoomKey, by: Option<ShardId>, now: Instant) {
        let Some(going) = self.moves.going.remove(room) else {
            return;
        };
        self.owner.set_moving(room, false);
        self.moves.fail(room, by, now);
        self.drain.hurry(now);
        if going.phase != Phase::Exporting {
            let (room, epoch) = (room.clone(), going.epoch);
            let withdraw = PeerRequest::Withdraw { room, epoch };
            self.moves.say(going.to, withdraw, 1);
        }
    }

    /// The directory has given the room to the other shard.
    pub(super) fn moved(&mut self, room: &RoomKey, epoch: Epoch, to: &ShardId, now: Instant) {
        self.owner.forget(room, epoch);
        if let Some(going) = self.moves.going.remove(room) {
            let ms = now.duration_since(going.since).as_millis();
            tracing::info!(room = room.as_str(), %to, ms, "the room has moved");
            let heir = (going.to, going.epoch);
            self.moves.heirs.insert(room.clone(), heir);
            self.moves.failed.remove(room);
            self.drain.hurry(now);
            count("moved");
        }
        if !self.core.complete_move(room, now) {
            // Nothing was frozen: then nothing may go on either.
            self.core.handle_room_lost(room, now);
        }
        self.owner.set_moving(room, false);
    }

    /// The core has let go of the room.
    pub(super) fn commit(&mut self, room: &RoomKey, late: Vec<LateSignal>) {
        if let Some((life, epoch)) = self.moves.heirs.remove(room) {
            let room = room.clone();
            let commit = PeerRequest::Commit { room, epoch, late };
            self.moves.say(life, commit, COMMIT_TRIES);
        }
    }
}

/// At the shard to which a room comes.
impl Driver {
    pub(super) fn handle_peer(
        &mut self,
        from: &str,
        request: PeerRequest,
        answer: oneshot::Sender<PeerReply>,
        now: Instant,
    ) {
        self.moves.forget_old(now);
        let reply = match request {
            PeerRequest::Offer { epoch, state } => self.consider(from, epoch, &state, now),
            PeerRequest::Withdraw { room, epoch } => {
                self.moves.take_prepared(&room, epoch);
                PeerReply::Yes
            }
            PeerRequest::Pull { room, participant } => {
                let key = (room.clone(), participant.clone());
                self.moves.pulls.insert(key, answer);
                return self.core.pull(&room, &participant, now);
            }
            PeerRequest::Keep(_) | PeerRequest::Commit { .. } => no("asked at the wrong place"),
        };
        // Whoever asked may have given up.
        let _ = answer.send(reply);
    }

    /// Whether we would take a room.
    fn consider(&mut self, from: &str, epoch: Epoch, state: &str, now: Instant) -> PeerReply {
        let Some(from) = self.owner.other(&ShardId::new(from)) else {
            return no("this shard does not know you yet: try again in a second");
        };
        if self.stopping || self.moves.prepared.len() >= PREPARED_MAX {
            return no("this shard takes no more rooms at the moment");
        }
        let state = match RoomState::from_json(state.as_bytes()) {
            Ok(state) => state,
            Err(error) => return no(&error.to_string()),
        };
        if let Err(error) = self.core.check_import(&state) {
            return no(&error.to_string());
        }
        let prepared = Prepared {
            from,
            epoch,
            until: now + PREPARED_FOR,
            state,
        };
        let room = prepared.state.room().clone();
        self.moves.prepared.insert(room, prepared);
        PeerReply::Yes
    }

    /// The other shard says that the room is ours, and the directory has said so, too.
    pub(super) fn handle_handed(
        &mut self,
        pin: &Pin,
        epoch: Epoch,
        late: Vec<LateSignal>,
        answer: oneshot::Sender<PeerReply>,
        now: Instant,
    ) {
        // The news that it came is handled before any input: it is here, if its state was kept.
        let reply = if self.stopping || !self.core.is_live(&pin.room) {
            no("the room, or its state, is not here")
        } else {
            self.take_late(&pin.room, epoch, late, now);
            PeerReply::Yes
        };
        // Whoever asked may have given up.
        let _ = answer.send(reply);
    }

    /// The directory has said that another shard's room is ours. Its clients will come, whoever asked.
    pub(super) fn came(&mut self, room: &RoomKey, epoch: Epoch, now: Instant) {
        if self.stopping || self.core.is_live(room) || !self.take_up(room, epoch, now) {
            return;
        }
        self.inherit(room, epoch, now);
        if !self.core.is_live(room) {
            tracing::warn!(
                room = room.as_str(),
                epoch = epoch.0,
                "a room came without its state: its clients join again"
            );
            self.owner.stopped(room);
        }
    }

    /// What clients said to the old shard while the room was on its way; once, and only for the room's
    /// present life.
    fn take_late(&mut self, room: &RoomKey, epoch: Epoch, late: Vec<LateSignal>, now: Instant) {
        let origin = self.moves.origins.get_mut(room);
        let fits = origin.filter(|origin| origin.epoch == epoch && !origin.has_late);
        if let Some(origin) = fits {
            origin.has_late = true;
            self.core.handle_late(room, late, now);
        }
    }

    /// Takes what the last owner of a room has left: all of it, if it was handed over. Returns its
    /// options otherwise.
    pub(super) fn inherit(
        &mut self,
        room: &RoomKey,
        epoch: Epoch,
        now: Instant,
    ) -> Option<RoomOptions> {
        let legacy = self.owner.take_legacy(room, epoch)?;
        let prepared = legacy
            .from
            .and_then(|from| self.moves.take_prepared(room, from));
        if let Some(Prepared {
            state,
            from,
            epoch: theirs,
            ..
        }) = prepared
        {
            match self.core.import_room(state, epoch, now) {
                Ok(()) => {
                    tracing::info!(room = room.as_str(), from = %from.shard, "a room has come");
                    self.remember_origin(room, from, theirs, now);
                    count("came");
                    return None;
                }
                Err(error) => {
                    tracing::warn!(room = room.as_str(), %error, "a room cannot go on here");
                }
            }
        }
        serde_json::from_str(&legacy.options?).ok()
    }

    fn remember_origin(&mut self, room: &RoomKey, from: Life, epoch: Epoch, now: Instant) {
        self.moves.forget_old(now);
        if self.moves.origins.len() < ORIGINS_MAX {
            let origin = Origin {
                from,
                epoch,
                has_late: false,
                until: now + ORIGIN_FOR,
            };
            self.moves.origins.insert(room.clone(), origin);
        }
    }

    /// Somebody is here whose media is still at the old shard.
    pub(super) fn pull(&mut self, room: RoomKey, participant: ParticipantSid) {
        let Some(origin) = self.moves.origins.get(&room) else {
            let now = Instant::now();
            return self.core.handle_pulled(&room, &participant, None, now);
        };
        let request = PeerRequest::Pull {
            room: room.clone(),
            participant: participant.clone(),
        };
        let from = origin.from.clone();
        self.moves.ask(from, request, |answer| Answered::Pull {
            room,
            participant,
            answer,
        });
    }
}

fn no(reason: &str) -> PeerReply {
    PeerReply::No {
        reason: reason.to_owned(),
    }
}

fn count(result: &'static str) {
    metrics::counter!("anteroom_shard_room_moves_total", "result" => result).increment(1);
}
