//! How a room comes from another shard.
//!
//! Owns: taking it over as it was, and its participants' way here: each is kept as one whose
//! connection was lost, and brings the last of its media from the old shard when it resumes. Must
//! not: know the old shard, or say anything to clients that do not ask.

use super::Core;
use super::api::{Output, Signalling};
use super::departed::Departed;
use super::leave::Farewell;
use super::offers::Negotiation;
use super::participant::{Deadlines, Participant};
use super::permission::{self, Permission};
use super::resume::ResumePhase;
use super::room::Room;
use super::state::{LateSignal, ParticipantState, RoomState, TrackState};
use super::tail::TAIL_MAX;
use super::tracks::Track;
use super::turn::{Due, Subject, Turn};
use affinity::RoomKey;
use affinity::directory::Epoch;
use livekit_protocol as lk;
use lk::DisconnectReason;
use lk::participant_info::State;
use proto::id::{Identity, Member, ParticipantSid, TrackSid};
use proto::media::{CarriedData, CarriedMedia, NodeCommand, PeerMode};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use thiserror::Error;

/// How long a resuming client waits for what the old shard has to say. The surface gives up earlier;
/// this is for an answer that was lost.
pub const PULL_MAX: Duration = Duration::from_secs(2);
/// After so long the old shard is asked for what it has of all who have not come: it forgets them
/// soon. It began to count before we did.
const ASK_ALL_AFTER: Duration = TAIL_MAX.saturating_sub(Duration::from_secs(1));
/// Who spoke at the old shard counts as speaking for so long: by then clients have resumed and the
/// node has heard them.
const SPEAKERS_CARRIED_FOR: Duration = Duration::from_secs(5);

/// How far a participant of a room that has moved here is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It has not resumed.
    Awaited,
    /// It has, and the old shard is asked for the last of its media.
    Pulling,
    /// Its transport is not up yet.
    Resuming,
}

/// Why a room is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ImportRefusal {
    /// No node holds transports for this shard.
    #[error("this shard has no media node")]
    NoNode,
    /// The shard is full.
    #[error("this shard holds as many rooms as it may")]
    RoomLimit,
    /// The room is larger than rooms may be here.
    #[error("the room is larger than this shard's limits allow")]
    TooLarge,
    /// The shard ends.
    #[error("this shard is shutting down")]
    ShuttingDown,
    /// The shard shall become empty itself.
    #[error("this shard is being drained")]
    Draining,
    /// It has a life here already.
    #[error("the room, or a participant of it, is here already")]
    Here,
    /// It contradicts itself.
    #[error("the room's state contradicts itself")]
    Malformed,
}

impl Core {
    /// Whether [`Core::import_room`] would take a room that is offered.
    ///
    /// # Errors
    /// See [`ImportRefusal`].
    pub fn check_import(&self, state: &RoomState) -> Result<(), ImportRefusal> {
        if self.is_draining {
            return Err(ImportRefusal::Draining);
        }
        self.may_import(state)
    }

    /// Takes over a room that this shard owns now. Clients hear nothing before they resume. A shard
    /// that has begun to drain since it said yes takes it all the same: nobody else has it.
    ///
    /// # Errors
    /// See [`ImportRefusal`]; nothing has changed then.
    pub fn import_room(
        &mut self,
        state: RoomState,
        epoch: Epoch,
        now: Instant,
    ) -> Result<(), ImportRefusal> {
        self.may_import(&state)?;
        let home = self.choose_home().ok_or(ImportRefusal::NoNode)?;
        // It may have been here a moment ago.
        self.end_tail(&state.sid, now);
        let places = self.place_all(
            &home,
            state.participants.iter().map(|p| p.subscriptions.len()),
        );
        let room = Room::arrive(state, epoch, home, places, &mut self.turn(now));
        self.rooms.insert(room.key.clone(), room);
        Ok(())
    }

    /// What came for a room that has moved here while it was on its way.
    pub fn handle_late(&mut self, room: &RoomKey, late: Vec<LateSignal>, now: Instant) {
        let Some((room, mut turn)) = self.open(room, now) else {
            return;
        };
        for signal in late {
            match signal {
                LateSignal::Request {
                    participant,
                    request,
                } => {
                    if let Some(message) = request.message {
                        room.handle_request(&participant, message, &mut turn);
                    }
                }
                LateSignal::Bound {
                    participant,
                    track,
                    mid,
                    mime,
                } => room.bind_track(&participant, &track, &mid, &mime, &mut turn),
            }
        }
    }

    /// The answer to [`Output::Pull`]; `None` if the old shard has nothing newer or does not answer:
    /// then what was exported is used. An answer that comes after that is of use as well: what the
    /// participant has sent is delivered. True: the participant had waited for it.
    pub fn handle_pulled(
        &mut self,
        room: &RoomKey,
        participant: &ParticipantSid,
        pulled: Option<(CarriedMedia, Vec<CarriedData>)>,
        now: Instant,
    ) -> bool {
        let opened = self.open(room, now);
        opened.is_some_and(|(room, mut turn)| room.pulled(participant, pulled, &mut turn))
    }

    /// A client has left at the old shard ([`Output::HungUp`]). One that has come here nevertheless
    /// stays.
    pub fn handle_hung_up(&mut self, room: &RoomKey, participant: &ParticipantSid, now: Instant) {
        if let Some((room, mut turn)) = self.open(room, now) {
            let arrival = room.participants.get(participant).and_then(|p| p.arrival);
            if arrival == Some(Arrival::Awaited) {
                let reason = DisconnectReason::SignalClose;
                room.remove(participant, reason, Farewell::Silent, &mut turn);
            }
        }
    }

    fn may_import(&self, state: &RoomState) -> Result<(), ImportRefusal> {
        let limits = &self.config.limits;
        let mut participants = state.participants.iter();
        if self.is_shutting_down {
            return Err(ImportRefusal::ShuttingDown);
        }
        if !state.is_sound() {
            return Err(ImportRefusal::Malformed);
        }
        if self.rooms.contains_key(&state.room)
            || self.index.rooms.contains_key(&state.sid)
            || participants.any(|p| self.index.participants.contains_key(&p.sid))
        {
            return Err(ImportRefusal::Here);
        }
        if self.rooms.len() >= limits.rooms {
            return Err(ImportRefusal::RoomLimit);
        }
        if !state.fits(limits) {
            return Err(ImportRefusal::TooLarge);
        }
        if self.nodes.is_empty() {
            return Err(ImportRefusal::NoNode);
        }
        Ok(())
    }
}

impl Room {
    /// The room as it was, on nodes that know nothing of it yet. `places`: of its participants, in order.
    fn arrive(
        mut state: RoomState,
        epoch: Epoch,
        home: Member,
        places: Vec<Member>,
        turn: &mut Turn<'_>,
    ) -> Self {
        let participants = std::mem::take(&mut state.participants);
        let mut room = Self {
            created_ms: state.created_ms,
            options: state.options.bounded(),
            sif_trailer: state.sif_trailer,
            departed: Departed::import(&state.departed, turn.now),
            visited: true,
            ..Self::bare(state.room, state.sid, epoch, home)
        };
        turn.index.rooms.insert(room.sid.clone(), room.key.clone());
        let sids: Vec<ParticipantSid> = participants.iter().map(|p| p.sid.clone()).collect();
        for (participant, member) in participants.into_iter().zip(places) {
            room.adopt(participant, member, turn);
        }
        room.tell_members(turn);
        room.publish_all(turn);
        for who in &sids {
            room.subscribe_as_before(who, turn);
        }
        room.refill_later(turn);
        // Also what those said who could not move.
        if !state.data.is_empty() {
            room.deliver(&state.data, turn);
        }
        room.take_speakers(state.speakers, turn);
        room.await_others(turn);
        room.presence_changed(turn);
        room
    }

    fn adopt(&mut self, state: ParticipantState, member: Member, turn: &mut Turn<'_>) {
        let media = state.media.clone();
        self.members.enter(&member);
        let mut participant = Participant::arrive(state, member);
        let sid = participant.sid.clone();
        let resume_by = turn.now + turn.config.resume_window;
        let refresh_at = turn.now + turn.config.token_refresh;
        participant.deadlines.resume = Some(resume_by);
        participant.deadlines.token_refresh = Some(refresh_at);
        let subject = Subject::Participant(sid.clone());
        turn.arm(resume_by, Due::Resume, subject.clone());
        turn.arm(refresh_at, Due::TokenRefresh, subject);
        let command = NodeCommand::Adopt {
            participant: self.to_node(&participant, turn.config),
            media,
        };
        turn.node(&participant.member, command);

        let index = &mut turn.index.participants;
        index.insert(sid.clone(), self.key.clone());
        for track in participant.tracks.keys() {
            self.owners.insert(track.clone(), sid.clone());
        }
        self.identities
            .insert(participant.identity.clone(), sid.clone());
        self.participants.insert(sid, participant);
    }

    fn publish_all(&self, turn: &mut Turn<'_>) {
        for participant in self.participants.values() {
            for track in participant.tracks.values() {
                let command = NodeCommand::Publish(track.to_node(&participant.sid));
                turn.node(&participant.member, command);
            }
        }
    }

    /// The same tracks as before and no others: which ones they are, the client has been told. Those
    /// of publishers who could not move are gone.
    fn subscribe_as_before(&mut self, who: &ParticipantSid, turn: &mut Turn<'_>) {
        let Some(participant) = self.participants.get_mut(who) else {
            return;
        };
        let owners = &self.owners;
        participant
            .wishes
            .retain(|track, _| owners.contains_key(track));
        let told = &mut participant.told_allowed;
        told.retain(|track, _| owners.contains_key(track));
        let foreign = |track: &TrackSid| owners.get(track).is_some_and(|owner| owner != who);
        participant.subscriptions.retain(foreign);
        let member = participant.member.clone();
        let subscriptions = participant.subscriptions.iter();
        let subscriptions = subscriptions.map(|track| (track.clone(), participant.settings(track)));
        for (track, settings) in subscriptions.collect::<Vec<_>>() {
            self.attach(&member, &track, turn);
            let command = NodeCommand::Subscribe {
                participant: who.clone(),
                track,
                settings,
            };
            turn.node(&member, command);
        }
    }

    /// Hands on what was sent at the old shard: each member to those who are there.
    fn deliver(&self, data: &[CarriedData], turn: &mut Turn<'_>) {
        for member in self.members.all() {
            let command = NodeCommand::Deliver {
                room: self.sid.clone(),
                data: data.to_vec(),
            };
            turn.node(member, command);
        }
    }

    fn take_speakers(&mut self, speakers: BTreeMap<ParticipantSid, f32>, turn: &mut Turn<'_>) {
        if speakers.is_empty() {
            return;
        }
        self.carried_speakers = speakers.keys().cloned().collect();
        self.speakers = speakers;
        let at = turn.now + SPEAKERS_CARRIED_FOR;
        self.speakers_at = Some(at);
        turn.arm(at, Due::Speakers, Subject::Room(self.sid.clone()));
    }

    fn await_others(&mut self, turn: &mut Turn<'_>) {
        let at = turn.now + ASK_ALL_AFTER;
        self.awaited_until = Some(at);
        turn.arm(at, Due::Arrivals, Subject::Room(self.sid.clone()));
    }

    /// The old shard forgets the room soon: whoever has not come may have sent something there.
    pub(super) fn ask_for_all(&mut self, turn: &mut Turn<'_>) {
        for (who, participant) in &self.participants {
            self.ask_for_rest(who, participant.arrival, turn);
        }
        self.awaited_until = None;
    }

    /// Asks for what the old shard has taken from somebody, and not for its media.
    pub(super) fn ask_for_rest(
        &self,
        who: &ParticipantSid,
        arrival: Option<Arrival>,
        turn: &mut Turn<'_>,
    ) {
        let is_asked = arrival == Some(Arrival::Pulling);
        if arrival.is_some() && !is_asked && self.awaited_until.is_some() {
            turn.outputs.push_back(Output::Pull {
                room: self.key.clone(),
                participant: who.clone(),
            });
        }
    }

    /// Not everybody who moved with the room is here with its media. Who has not come when the old
    /// shard's tail is over may take the time of a lost connection: there is nothing left to ask for.
    pub(super) fn is_arriving(&self) -> bool {
        let mut arrivals = self.participants.values().filter_map(|p| p.arrival);
        arrivals.any(|arrival| arrival != Arrival::Awaited || self.awaited_until.is_some())
    }

    /// It has no transport at its node yet.
    pub(super) fn is_awaited(&self, who: &ParticipantSid) -> bool {
        let arrival = self.participants.get(who).and_then(|p| p.arrival);
        matches!(arrival, Some(Arrival::Awaited | Arrival::Pulling))
    }

    /// Has the node get ready for a resume, with the last that the old shard knows.
    pub(super) fn prepare_resume(&mut self, who: &ParticipantSid, turn: &mut Turn<'_>) {
        let Some(participant) = self.participants.get_mut(who) else {
            return;
        };
        match participant.arrival {
            Some(Arrival::Awaited) => {
                let at = turn.now + PULL_MAX;
                participant.arrival = Some(Arrival::Pulling);
                participant.deadlines.pull = Some(at);
                turn.arm(at, Due::Pull, Subject::Participant(who.clone()));
                turn.outputs.push_back(Output::Pull {
                    room: self.key.clone(),
                    participant: who.clone(),
                });
            }
            Some(Arrival::Pulling) => {}
            Some(Arrival::Resuming) | None => {
                let participant = who.clone();
                self.command(who, NodeCommand::PrepareResume { participant }, turn);
            }
        }
    }

    /// Everything that could be had from the old shard is here. True: the participant waited for it.
    pub(super) fn pulled(
        &mut self,
        who: &ParticipantSid,
        pulled: Option<(CarriedMedia, Vec<CarriedData>)>,
        turn: &mut Turn<'_>,
    ) -> bool {
        let (media, data) = pulled
            .filter(|(media, _)| media.participant == *who)
            .unzip();
        let waits = |p: &&mut Participant| p.arrival == Some(Arrival::Pulling);
        let waits = match self.participants.get_mut(who).filter(waits) {
            Some(participant) => {
                participant.arrival = Some(Arrival::Resuming);
                participant.deadlines.pull = None;
                true
            }
            None => false,
        };
        // After its time it would take the transport from under the client.
        if let (true, Some(media), Some(participant)) = (waits, media, self.participants.get(who)) {
            let command = NodeCommand::Adopt {
                participant: self.to_node(participant, turn.config),
                media,
            };
            self.command(who, command, turn);
        }
        // The node knows what it has already.
        if let Some(data) = data.filter(|data| !data.is_empty()) {
            self.deliver(&data, turn);
        }
        if waits {
            self.prepare_resume(who, turn);
        }
        waits
    }
}

impl Participant {
    /// One that has lost its connection.
    fn arrive(state: ParticipantState, member: Member) -> Self {
        let keep = |track: TrackState| {
            let kept = Track {
                cid: track.cid,
                kind: track.kind,
                info: track.info,
                has_had_subscriber: track.has_had_subscriber,
                is_confirmed: true,
            };
            (track.sid, kept)
        };
        Self {
            identity: Identity::new(state.claims.identity()),
            permission: Permission::from_grant(&state.claims.video),
            keeps_room: permission::opens_room(&state.claims),
            sid: state.sid,
            profile: state.profile,
            claims: state.claims,
            state: State::Active,
            version: state.version,
            joined_ms: state.joined_ms,
            mode: PeerMode::Single,
            member,
            signalling: Signalling::Socket,
            protocol: state.protocol,
            client_protocol: state.client_protocol,
            capabilities: state.capabilities,
            session: None,
            resume: ResumePhase::Idle,
            arrival: Some(Arrival::Awaited),
            negotiation: Negotiation::default(),
            has_hung_up: false,
            auto_subscribe: state.auto_subscribe,
            tracks: state.tracks.into_iter().map(keep).collect(),
            subscriptions: state.subscriptions,
            is_starved: state.is_starved,
            paused: state.paused,
            rating: None,
            owed_ratings: false,
            wishes: state.wishes,
            told_allowed: state.told_allowed,
            audience: state.audience,
            deadlines: Deadlines::default(),
            interruption: None,
        }
    }
}
