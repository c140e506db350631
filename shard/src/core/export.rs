//! What of a room goes to another shard.
//!
//! Owns: who moves, and the room's state without those who do not. Must not: decide whether it moves.

use super::participant::Participant;
use super::room::Room;
use super::state::{ParticipantState, ROOM_STATE_VERSION, RoomState, TrackState};
use super::turn::Turn;
use livekit_protocol::DisconnectReason;
use livekit_protocol::participant_info::State;
use proto::id::ParticipantSid;
use proto::media::{CarriedData, CarriedMedia, PeerMode};
use std::collections::BTreeMap;

impl Room {
    /// The room for another shard. Whoever cannot resume has left in it.
    pub(super) fn to_state(
        &self,
        media: Vec<CarriedMedia>,
        data: Vec<CarriedData>,
        turn: &Turn<'_>,
    ) -> RoomState {
        let media = media.into_iter().map(|m| (m.participant.clone(), m));
        let mut media: BTreeMap<ParticipantSid, CarriedMedia> = media.collect();
        let mut departed = self.departed.clone();
        let mut participants = Vec::new();
        for participant in self.participants.values() {
            let resumes = participant.mode == PeerMode::Single && !participant.is_resource();
            let moves = resumes && participant.state == State::Active;
            match media.remove(&participant.sid).filter(|_| moves) {
                Some(media) => participants.push(participant.to_state(media)),
                None if participant.is_visible() => {
                    let reason = DisconnectReason::Migration;
                    departed.note(&participant.gone(reason), turn.kept_departed(), turn.now);
                }
                None => {}
            }
        }
        let moves = |sid: &ParticipantSid| participants.iter().any(|p| p.sid == *sid);
        // JSON has no other numbers.
        let speakers = self.speakers.iter().filter(|(_, level)| level.is_finite());
        let speakers = speakers.filter(|(sid, _)| moves(sid));
        RoomState {
            version: ROOM_STATE_VERSION,
            room: self.key.clone(),
            sid: self.sid.clone(),
            created_ms: self.created_ms,
            options: self.options.clone(),
            sif_trailer: self.sif_trailer.clone(),
            speakers: speakers.map(|(sid, level)| (sid.clone(), *level)).collect(),
            departed: departed.export(turn.now),
            participants,
            data,
        }
    }
}

impl Participant {
    fn to_state(&self, media: CarriedMedia) -> ParticipantState {
        let tracks = self.tracks.iter().map(|(sid, track)| TrackState {
            sid: sid.clone(),
            cid: track.cid.clone(),
            kind: track.kind,
            info: track.info.clone(),
            has_had_subscriber: track.has_had_subscriber,
        });
        ParticipantState {
            sid: self.sid.clone(),
            claims: self.claims.clone(),
            profile: self.profile.clone(),
            version: self.version,
            joined_ms: self.joined_ms,
            protocol: self.protocol,
            client_protocol: self.client_protocol,
            capabilities: self.capabilities.clone(),
            auto_subscribe: self.auto_subscribe,
            tracks: tracks.collect(),
            subscriptions: self.subscriptions.clone(),
            is_starved: self.is_starved,
            paused: self.paused.clone(),
            wishes: self.wishes.clone(),
            told_allowed: self.told_allowed.clone(),
            audience: self.audience.clone(),
            media,
        }
    }
}
