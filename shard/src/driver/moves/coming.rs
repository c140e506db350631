//! Rooms at the shard to which they come.
//!
//! Owns: what other shards have offered, where rooms came from, and what is asked there of each client
//! that arrives. Must not: believe that a room is ours; the directory says so.

use super::{
    Answered, Driver, Epoch, LateSignal, Life, ORIGIN_FOR, ORIGINS_MAX, Origin, Pin, Prepared, no,
    put_in,
};
use crate::core::{RoomOptions, RoomState};
use crate::peers::{PeerError, PeerReply, PeerRequest};
use affinity::{RoomKey, ShardId};
use proto::id::ParticipantSid;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How long a room that may come is kept. The other shard waits for the directory as long as its clients
/// do, and says so if it changes its mind.
const PREPARED_FOR: Duration = Duration::from_secs(60);
/// Rooms that may be prepared at one time. Further ones are refused, and tried again.
const PREPARED_MAX: usize = 64;
/// A client waits, and what was exported would do but for the data since: no longer than this. The
/// answer is of use later, too.
pub(super) const PULL_TIMEOUT: Duration = Duration::from_secs(1);

impl Driver {
    pub(in super::super) fn handle_peer(
        &mut self,
        request: PeerRequest,
        answer: oneshot::Sender<PeerReply>,
        now: Instant,
    ) {
        self.moves.forget_old(now);
        let reply = match request {
            PeerRequest::Withdraw { room, epoch } => {
                self.moves.take_prepared(&room, epoch);
                PeerReply::Yes
            }
            PeerRequest::Pull { room, participant } => {
                self.moves.await_pulled(&room, &participant, answer);
                return self.core.pull(&room, &participant, now);
            }
            PeerRequest::HungUp {
                room,
                epoch,
                participant,
            } => self.take_hung_up(&room, epoch, &participant, now),
            PeerRequest::Keep(_) | PeerRequest::Offer { .. } | PeerRequest::Commit { .. } => {
                no("asked at the wrong place")
            }
        };
        // Whoever asked may have given up.
        let _ = answer.send(reply);
    }

    /// Whether we would take a room.
    pub(in super::super) fn handle_offered(
        &mut self,
        from: &str,
        epoch: Epoch,
        state: RoomState,
        answer: oneshot::Sender<PeerReply>,
        now: Instant,
    ) {
        self.moves.forget_old(now);
        let reply = self.consider(from, epoch, state, now);
        // Whoever asked may have given up.
        let _ = answer.send(reply);
    }

    fn consider(&mut self, from: &str, epoch: Epoch, state: RoomState, now: Instant) -> PeerReply {
        let Some(from) = self.owner.other(&ShardId::new(from)) else {
            return no("this shard does not know you yet: try again in a second");
        };
        if self.stopping || self.moves.prepared.len() >= PREPARED_MAX {
            return no("this shard takes no more rooms at the moment");
        }
        if let Err(error) = self.core.check_import(&state) {
            return no(&error.to_string());
        }
        let prepared = Prepared {
            from,
            epoch,
            since: now,
            until: now + PREPARED_FOR,
            state,
        };
        let room = prepared.state.room().clone();
        self.moves.prepared.insert(room, prepared);
        PeerReply::Yes
    }

    /// The other shard says that the room is ours, and the directory has said so, too.
    pub(in super::super) fn handle_handed(
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
    pub(in super::super) fn came(&mut self, room: &RoomKey, epoch: Epoch, now: Instant) {
        if self.stopping || self.core.is_live(room) || !self.take_up(room, epoch, now) {
            return;
        }
        let options = self.inherit(room, epoch, now);
        if self.core.is_live(room) {
            return;
        }
        tracing::warn!(
            room = room.as_str(),
            epoch = epoch.0,
            "a room came without its state: its clients join again"
        );
        // The directory forgets the options of a room that is given back.
        let reopened = options.is_some_and(|o| self.core.reopen_room(room, epoch, o, now));
        if !reopened {
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

    fn take_hung_up(
        &mut self,
        room: &RoomKey,
        epoch: Epoch,
        participant: &ParticipantSid,
        now: Instant,
    ) -> PeerReply {
        let origin = self.moves.origins.get(room);
        if origin.is_none_or(|origin| origin.epoch != epoch) {
            return no("the room is not here yet, or not any more");
        }
        self.core.handle_hung_up(room, participant, now);
        PeerReply::Yes
    }

    /// Takes what the last owner of a room has left: all of it, if it was handed over. Returns its
    /// options otherwise.
    pub(in super::super) fn inherit(
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
            mut state,
            from,
            epoch: theirs,
            since,
            ..
        }) = prepared
        {
            state.grow_older(now.saturating_duration_since(since));
            match self.core.import_room(state, epoch, now) {
                Ok(()) => {
                    tracing::info!(room = room.as_str(), from = %from.shard, "a room has come");
                    self.remember_origin(room, from, theirs, now);
                    self.figures
                        .count_as("anteroom_shard_room_moves_total", "result", "came");
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

    /// Somebody is here whose media, or data, is still at the old shard.
    pub(in super::super) fn pull(&mut self, room: RoomKey, participant: ParticipantSid) {
        let Some(origin) = self.moves.origins.get(&room) else {
            let now = Instant::now();
            self.core.handle_pulled(&room, &participant, None, now);
            return;
        };
        let life = origin.from.clone();
        let (peers, inputs) = (self.moves.peers.clone(), self.moves.inputs.clone());
        tokio::spawn(async move {
            let since = Instant::now();
            let from = life.shard.clone();
            let answered = |answer| Answered::Pull {
                room: room.clone(),
                participant: participant.clone(),
                from: from.clone(),
                after: since.elapsed(),
                answer,
            };
            let request = PeerRequest::Pull {
                room: room.clone(),
                participant: participant.clone(),
            };
            let asking = peers.ask(&life, request);
            tokio::pin!(asking);
            let answer = match tokio::time::timeout(PULL_TIMEOUT, &mut asking).await {
                Ok(answer) => answer,
                Err(_) => {
                    let late = PeerError::Late {
                        shard: from.clone(),
                    };
                    put_in(&inputs, answered(Err(late))).await;
                    asking.await
                }
            };
            put_in(&inputs, answered(answer)).await;
        });
    }

    pub(super) fn pull_answered(
        &mut self,
        room: &RoomKey,
        participant: &ParticipantSid,
        from: &ShardId,
        after: Duration,
        answer: Result<PeerReply, PeerError>,
        now: Instant,
    ) {
        let (result, trouble, pulled) = match answer {
            Ok(PeerReply::Pulled { media, data }) => {
                let pulled = media.map(|media| (*media, data));
                let result = if pulled.is_some() { "told" } else { "nothing" };
                (result, None, pulled)
            }
            Ok(other) => ("refused", Some(format!("{other:?}")), None),
            Err(error @ PeerError::Refused { .. }) => ("refused", Some(error.to_string()), None),
            Err(error) => ("silent", Some(error.to_string()), None),
        };
        let told = pulled.is_some();
        let packets = pulled.as_ref().map_or(0, |(_, data)| data.len());
        let waited = self.core.handle_pulled(room, participant, pulled, now);
        let is_late = told && !waited && after >= PULL_TIMEOUT;
        let result = if is_late { "late" } else { result };
        self.figures
            .count_as("anteroom_shard_pulls_total", "result", result);
        let (room, ms) = (room.as_str(), after.as_millis());
        if let Some(trouble) = trouble {
            let how =
                "the old shard does not say what it has of a participant: it goes on with less";
            tracing::info!(room, %participant, %from, ms, waited, trouble, "{how}");
        } else if is_late {
            let how =
                "the old shard's answer came too late for a participant: its data is delivered";
            tracing::info!(room, %participant, %from, ms, packets, "{how}");
        }
    }
}
