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
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// How long a room that another shard has said yes to is kept for it.
const PREPARED_FOR: Duration = Duration::from_secs(10);
/// Rooms that may be prepared at one time. Further ones are refused, and tried again.
const PREPARED_MAX: usize = 64;
/// How long a room whose move has failed is left in peace.
const TRY_AGAIN: Duration = Duration::from_secs(2);
/// Rooms whose failed move is remembered; beyond, the memory is thrown away.
const FAILED_MAX: usize = 20_000;
/// Where rooms came from, for pulls. As many as may arrive while one is on its way, and more.
const ORIGINS_MAX: usize = 20_000;
/// How long clients may come back with media at the old shard.
const ORIGIN_FOR: Duration = Duration::from_secs(30);
/// Tries to tell the new shard that a room is its own.
const COMMIT_TRIES: u32 = 3;

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
        answer: Result<PeerReply, PeerError>,
    },
}

/// All rooms on their way.
pub(super) struct Moves {
    peers: Peers,
    inputs: mpsc::WeakSender<Input>,
    going: BTreeMap<RoomKey, Going>,
    failed: BTreeMap<RoomKey, Instant>,
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
        let rests = |at: &Instant| now < *at + TRY_AGAIN;
        !self.going.contains_key(room) && !self.failed.get(room).is_some_and(rests)
    }

    fn fail(&mut self, room: &RoomKey, now: Instant) {
        if self.failed.len() >= FAILED_MAX {
            self.failed.clear();
        }
        self.failed.insert(room.clone(), now);
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
                        tracing::warn!(?other, shard = %life.shard, "the other shard objects");
                        return;
                    }
                    Err(error) => tracing::debug!(%error, "another shard was not told"),
                }
            }
        });
    }

    fn take_prepared(&mut self, room: &RoomKey, from: Epoch) -> Option<Prepared> {
        let fits = self.prepared.get(room)?.epoch == from;
        self.prepared.remove(room).filter(|_| fits)
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
            return self.moves.fail(room, now);
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
        match answer {
            Ok(PeerReply::Yes) => {}
            Ok(other) => {
                tracing::info!(
                    room = room.as_str(),
                    ?other,
                    "the other shard does not take it"
                );
                return self.move_refused(room, now);
            }
            Err(error) => {
                tracing::info!(room = room.as_str(), %error, "the other shard is silent");
                return self.move_refused(room, now);
            }
        }
        going.phase = Phase::Transferring;
        let to = going.to.clone();
        if !self.core.seal_move(room) || !self.owner.transfer(room, &to, now) {
            self.move_refused(room, now);
        }
    }

    /// The room stays here.
    pub(super) fn move_refused(&mut self, room: &RoomKey, now: Instant) {
        self.end_move(room, now);
        self.core.cancel_move(room, now);
    }

    /// The core has given up by itself.
    pub(super) fn move_failed(&mut self, room: &RoomKey, why: MoveFailure) {
        tracing::info!(room = room.as_str(), %why, "the room does not move");
        self.end_move(room, Instant::now());
    }

    /// The room is not ours any more, and nobody's that we know.
    pub(super) fn move_lost(&mut self, room: &RoomKey) {
        self.end_move(room, Instant::now());
    }

    fn end_move(&mut self, room: &RoomKey, now: Instant) {
        let Some(going) = self.moves.going.remove(room) else {
            return;
        };
        self.owner.set_moving(room, false);
        self.moves.fail(room, now);
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
        let mut reply = PeerReply::Yes;
        if self.stopping || !self.take_up(pin, now) {
            reply = no("the room is not this shard's");
        } else {
            if !self.core.is_live(&pin.room) {
                self.inherit(pin, now);
            }
            if self.core.is_live(&pin.room) {
                self.core.handle_late(&pin.room, late, now);
            } else {
                tracing::warn!(
                    room = pin.room.as_str(),
                    epoch = epoch.0,
                    "a room came without its state: its clients join again"
                );
                self.owner.stopped(&pin.room);
                reply = no("the room's state was not kept");
            }
        }
        // Whoever asked may have given up.
        let _ = answer.send(reply);
    }

    /// Takes what the last owner of a room has left: all of it, if it was handed over. Returns its
    /// options otherwise.
    pub(super) fn inherit(&mut self, pin: &Pin, now: Instant) -> Option<RoomOptions> {
        let legacy = self.owner.take_legacy(&pin.room, pin.epoch)?;
        let prepared = legacy
            .from
            .and_then(|from| self.moves.take_prepared(&pin.room, from));
        if let Some(Prepared { state, from, .. }) = prepared {
            match self.core.import_room(state, pin.epoch, now) {
                Ok(()) => {
                    tracing::info!(room = pin.room.as_str(), from = %from.shard, "a room has come");
                    self.remember_origin(&pin.room, from, now);
                    count("came");
                    return None;
                }
                Err(error) => {
                    tracing::warn!(room = pin.room.as_str(), %error, "a room cannot go on here");
                }
            }
        }
        serde_json::from_str(&legacy.options?).ok()
    }

    fn remember_origin(&mut self, room: &RoomKey, from: Life, now: Instant) {
        self.moves.forget_old(now);
        if self.moves.origins.len() < ORIGINS_MAX {
            let until = now + ORIGIN_FOR;
            let origin = Origin { from, until };
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
