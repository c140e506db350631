//! A room: its participants, and the questions and timers that concern all of them.
//!
//! Owns: the data of a room's life. Its policies are in the files beside this one, each an
//! `impl Room`.

use super::api::{RoomStatus, SessionId};
use super::departed::Departed;
use super::frozen::Frozen;
use super::members::Members;
use super::options::RoomOptions;
use super::participant::Participant;
use super::ratings::RatingNews;
use super::turn::{Due, Subject, Turn};
use super::updates::LateUpdates;
use affinity::RoomKey;
use affinity::directory::Epoch;
use livekit_protocol as lk;
use lk::signal_response::Message;
use proto::id::{Identity, Member, ParticipantSid, RoomSid, TrackSid};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Room {
    pub(super) key: RoomKey,
    pub(super) sid: RoomSid,
    pub(super) epoch: Epoch,
    /// Where it has begun, or the first of the members if that is gone.
    pub(super) home: Member,
    /// Where its participants are.
    pub(super) members: Members,
    pub(super) created_ms: i64,
    pub(super) options: RoomOptions,
    /// Bytes that mark frames which the server itself made, so that end-to-end encrypting clients
    /// let them through.
    pub(super) sif_trailer: Vec<u8>,
    /// Bounded by `Limits::participants_per_room`.
    pub(super) participants: BTreeMap<ParticipantSid, Participant>,
    pub(super) identities: BTreeMap<Identity, ParticipantSid>,
    /// Owner of every track, announced or not.
    pub(super) owners: BTreeMap<TrackSid, ParticipantSid>,
    /// Who speaks, how loud.
    pub(super) speakers: BTreeMap<ParticipantSid, f32>,
    /// Who spoke at the shard that the room comes from, as far as this node has not said so itself.
    pub(super) carried_speakers: BTreeSet<ParticipantSid>,
    /// For clients that missed it.
    pub(super) departed: Departed,
    /// Somebody has been here.
    pub(super) visited: bool,
    pub(super) empty_at: Option<Instant>,
    pub(super) update_at: Option<Instant>,
    pub(super) refill_at: Option<Instant>,
    pub(super) speakers_at: Option<Instant>,
    pub(super) rating_news: RatingNews,
    pub(super) late_updates: LateUpdates,
    /// Until then the old shard can still be asked for those who have not come.
    pub(super) awaited_until: Option<Instant>,
    /// It is about to go to another shard: nothing changes.
    pub(super) frozen: Option<Box<Frozen>>,
    /// Exports that the node has not answered.
    pub(super) exports_due: u32,
    /// To be dropped by the core at the end of the turn.
    pub(super) ended: bool,
}

impl Room {
    pub(super) fn new(
        key: RoomKey,
        epoch: Epoch,
        home: Member,
        options: RoomOptions,
        turn: &mut Turn<'_>,
    ) -> Self {
        let sid = RoomSid::from_random(turn.random());
        turn.index.rooms.insert(sid.clone(), key.clone());
        Self {
            created_ms: turn.unix_ms,
            sif_trailer: turn.random().to_be_bytes().to_vec(),
            options,
            ..Self::bare(key, sid, epoch, home)
        }
    }

    /// One of which only the names are known.
    pub(super) fn bare(key: RoomKey, sid: RoomSid, epoch: Epoch, home: Member) -> Self {
        Self {
            key,
            sid,
            epoch,
            home,
            members: Members::default(),
            created_ms: 0,
            options: RoomOptions::default(),
            sif_trailer: Vec::new(),
            participants: BTreeMap::new(),
            identities: BTreeMap::new(),
            owners: BTreeMap::new(),
            speakers: BTreeMap::new(),
            carried_speakers: BTreeSet::new(),
            departed: Departed::default(),
            visited: false,
            empty_at: None,
            update_at: None,
            refill_at: None,
            speakers_at: None,
            rating_news: RatingNews::default(),
            late_updates: LateUpdates::default(),
            awaited_until: None,
            frozen: None,
            exports_due: 0,
            ended: false,
        }
    }

    pub(super) fn status(&self) -> RoomStatus {
        let tracks = self.participants.values().flat_map(|p| p.tracks.values());
        RoomStatus {
            room: self.key.clone(),
            sid: self.sid.clone(),
            node: self.home.node.clone(),
            members: self.members.all().cloned().collect(),
            epoch: self.epoch,
            participants: self.participants.len(),
            tracks: tracks.filter(|track| track.is_bound()).count(),
            created_ms: self.created_ms,
            live: self.frozen.is_none(),
            moving: self.frozen.is_some() || self.is_arriving(),
        }
    }

    /// As clients see it.
    pub(super) fn to_wire(&self, turn: &Turn<'_>) -> lk::Room {
        let visible = self.participants.values().filter(|p| p.is_visible());
        let publishers = visible.clone().filter(|p| p.is_publisher()).count();
        lk::Room {
            sid: self.sid.as_str().to_owned(),
            name: self.key.as_str().to_owned(),
            empty_timeout: seconds(self.options.empty_timeout(turn.config).as_secs()),
            departure_timeout: seconds(self.options.departure_timeout(turn.config).as_secs()),
            max_participants: self.options.max_participants,
            metadata: self.options.metadata.clone(),
            creation_time: self.created_ms / 1000,
            creation_time_ms: self.created_ms,
            enabled_codecs: codecs(&turn.config.publish_codecs),
            num_participants: count(visible.count()),
            num_publishers: count(publishers),
            active_recording: self.participants.values().any(|p| p.permission.recorder),
            ..Default::default()
        }
    }

    /// Says something to one participant.
    pub(super) fn tell(&self, who: &ParticipantSid, message: Message, turn: &mut Turn<'_>) {
        if let Some(participant) = self.participants.get(who) {
            turn.signal(participant, message);
        }
    }

    /// The room's figures changed: participants hear of it soon, and once for a burst.
    pub(super) fn figures_changed(&mut self, turn: &mut Turn<'_>) {
        if self.update_at.is_none() {
            let at = turn.now + turn.config.room_update_interval;
            self.update_at = Some(at);
            turn.arm(at, Due::RoomUpdate, Subject::Room(self.sid.clone()));
        }
    }

    /// Somebody is here for whom the room is.
    pub(super) fn is_kept(&self) -> bool {
        self.participants.values().any(|p| p.keeps_room)
    }

    /// Starts or stops the clock of an empty room.
    pub(super) fn presence_changed(&mut self, turn: &mut Turn<'_>) {
        if self.is_kept() {
            self.visited = true;
            self.empty_at = None;
        } else if self.empty_at.is_none() || turn.is_draining {
            let wait = if turn.is_draining {
                Duration::ZERO
            } else if self.visited {
                self.options.departure_timeout(turn.config)
            } else {
                self.options.empty_timeout(turn.config)
            };
            let at = turn.now + wait;
            self.empty_at = Some(at);
            turn.arm(at, Due::RoomEmpty, Subject::Room(self.sid.clone()));
        }
    }

    /// A deadline of the room itself.
    pub(super) fn handle_due(&mut self, due: Due, turn: &mut Turn<'_>) {
        match due {
            Due::RoomUpdate if is_due(self.update_at, turn.now) => {
                self.update_at = None;
                self.send_room_update(turn);
            }
            Due::Refill if is_due(self.refill_at, turn.now) => {
                self.refill_at = None;
                self.refill(turn);
            }
            Due::Arrivals if is_due(self.awaited_until, turn.now) => self.ask_for_all(turn),
            Due::Speakers if is_due(self.speakers_at, turn.now) => {
                self.speakers_at = None;
                self.silence_carried(turn);
            }
            Due::Ratings => self.tell_ratings(turn),
            Due::Updates => self.tell_late_updates(turn),
            Due::RoomEmpty if is_due(self.empty_at, turn.now) => {
                self.close(lk::DisconnectReason::RoomClosed, turn);
            }
            _ => {}
        }
    }

    fn send_room_update(&self, turn: &mut Turn<'_>) {
        let room = self.to_wire(turn);
        for participant in self.participants.values() {
            let update = lk::RoomUpdate {
                room: Some(room.clone()),
            };
            turn.signal(participant, Message::RoomUpdate(update));
        }
    }

    /// The connection of a participant is gone: it may come back for a while.
    pub(super) fn handle_session_closed(
        &mut self,
        who: &ParticipantSid,
        session: SessionId,
        turn: &mut Turn<'_>,
    ) {
        let Some(participant) = self.participants.get_mut(who) else {
            return;
        };
        if participant.session != Some(session) {
            return;
        }
        participant.session = None;
        if participant.has_hung_up || participant.is_resource() {
            self.hang_up(who, turn);
            return;
        }
        let at = turn.now + turn.config.resume_window;
        participant.deadlines.resume = Some(at);
        turn.arm(at, Due::Resume, Subject::Participant(who.clone()));
    }
}

/// A deadline that was called off, or put off, is not due.
pub(super) fn is_due(at: Option<Instant>, now: Instant) -> bool {
    at.is_some_and(|at| at <= now)
}

/// Codecs by their mime types.
pub(super) fn codecs(mimes: &[String]) -> Vec<lk::Codec> {
    let codec = |mime: &String| lk::Codec {
        mime: mime.clone(),
        fmtp_line: String::new(),
    };
    mimes.iter().map(codec).collect()
}

fn seconds(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn count(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
