//! How a participant enters a room.
//!
//! Owns: admission, the `JoinResponse`, and the order in which client, node and room hear of a new
//! participant. Must not: check tokens; the surface did.

use super::api::{CoreConfig, Join, JoinRefusal};
use super::leave::Farewell;
use super::limits::Limits;
use super::participant::Participant;
use super::room::{Room, codecs};
use super::turn::{Due, Seat, Subject, Turn};
use super::updates::Reach;
use livekit_protocol as lk;
use lk::signal_response::Message;
use lk::{DisconnectReason, participant_info::State};
use proto::id::{Identity, Member, ParticipantSid};
use proto::media::{NewParticipant, NodeCommand, PeerMode};
use std::time::Duration;

/// The signalling protocol that is spoken: 16 has everything that is offered here; 17 would promise
/// packet trailers.
pub(super) const SERVER_PROTOCOL: i32 = 16;

impl Room {
    /// Whether one more may enter, who would keep the room or not. Whoever replaces itself may.
    pub(super) fn check_entry(
        &self,
        identity: &Identity,
        keeps_room: bool,
        limits: &Limits,
    ) -> Result<(), JoinRefusal> {
        let replaced = self.identities.get(identity);
        if self.participants.len() >= limits.participants_per_room && replaced.is_none() {
            return Err(JoinRefusal::ParticipantLimit);
        }
        let most = usize::try_from(self.options.max_participants).unwrap_or(usize::MAX);
        let others = self.participants.values();
        let others = others.filter(|p| p.keeps_room && Some(&p.sid) != replaced);
        if most > 0 && keeps_room && others.count() >= most {
            return Err(JoinRefusal::MaxParticipants);
        }
        Ok(())
    }

    /// Lets a participant in.
    pub(super) fn admit(&mut self, mut join: Join, member: Member, turn: &mut Turn<'_>) {
        let identity = Identity::new(join.claims.identity());
        if let Some(old) = self.identities.get(&identity).cloned() {
            let reason = DisconnectReason::DuplicateIdentity;
            self.remove(&old, reason, Farewell::Disconnect, turn);
        }
        let offer = join.offer.take();
        let add_tracks = std::mem::take(&mut join.add_tracks);

        let sid = self.seat(&join, identity, member, turn);
        self.welcome(&sid, turn);
        self.introduce(&sid, turn);
        self.tell_members(turn);
        // Before the offer, so that the first answer carries the first tracks.
        self.reconcile_all(&sid, turn);
        for request in add_tracks {
            self.add_track(&sid, request, turn);
        }
        if let Some(offer) = offer {
            self.handle_offer(&sid, offer, turn);
        }
        self.figures_changed(turn);
        self.presence_changed(turn);
    }

    fn seat(
        &mut self,
        join: &Join,
        identity: Identity,
        member: Member,
        turn: &mut Turn<'_>,
    ) -> ParticipantSid {
        self.members.enter(&member);
        let mut participant = Participant::new(join, member, turn);
        let sid = participant.sid.clone();
        let join_by = turn.now + turn.config.join_timeout;
        let refresh_at = turn.now + turn.config.token_refresh;
        participant.deadlines.join = Some(join_by);
        turn.arm(join_by, Due::Join, Subject::Participant(sid.clone()));
        if !participant.is_resource() {
            participant.deadlines.token_refresh = Some(refresh_at);
            let subject = Subject::Participant(sid.clone());
            turn.arm(refresh_at, Due::TokenRefresh, subject);
        }

        let seat = Seat {
            room: self.key.clone(),
            participant: sid.clone(),
        };
        turn.index.sessions.insert(join.session, seat);
        let index = &mut turn.index.participants;
        index.insert(sid.clone(), self.key.clone());
        self.identities.insert(identity, sid.clone());
        self.participants.insert(sid.clone(), participant);
        sid
    }

    /// The first message that a client gets.
    fn welcome(&self, sid: &ParticipantSid, turn: &mut Turn<'_>) {
        let Some(participant) = self.participants.get(sid) else {
            return;
        };
        let dual = participant.mode == PeerMode::Dual;
        let config = turn.config;
        let response = lk::JoinResponse {
            room: Some(self.to_wire(turn)),
            participant: Some(participant.to_wire()),
            other_participants: self.others(sid),
            server_version: config.server_version.clone(),
            ice_servers: turn.ice_servers(&participant.member.node, sid),
            subscriber_primary: dual && participant.permission.subscribe,
            client_configuration: Some(lk::ClientConfiguration::default()),
            ping_timeout: whole_seconds(config.ping_timeout),
            ping_interval: whole_seconds(config.ping_interval),
            server_info: Some(server_info(participant, turn)),
            sif_trailer: self.sif_trailer.clone(),
            enabled_publish_codecs: codecs(&config.publish_codecs),
            // The client offers when it publishes.
            fast_publish: false,
            ..Default::default()
        };
        turn.signal(participant, Message::Join(response));
    }

    /// A participant as its node must know it.
    pub(super) fn to_node(&self, participant: &Participant, config: &CoreConfig) -> NewParticipant {
        NewParticipant {
            room: self.sid.clone(),
            participant: participant.sid.clone(),
            identity: participant.identity.clone(),
            mode: participant.mode,
            permission: participant.permission.media(),
            hidden: participant.permission.hidden,
            fixed: participant.is_resource(),
            selection: self.options.selection(config),
        }
    }

    /// The node and the others hear of it.
    fn introduce(&mut self, sid: &ParticipantSid, turn: &mut Turn<'_>) {
        let Some(participant) = self.participants.get(sid) else {
            return;
        };
        let command = NodeCommand::AddParticipant(self.to_node(participant, turn.config));
        turn.node(&participant.member, command);
        self.tell_others(sid, turn);
    }

    /// Its transports are up, for the first time or again.
    pub(super) fn handle_connected(&mut self, who: &ParticipantSid, turn: &mut Turn<'_>) {
        let Some(participant) = self.participants.get_mut(who) else {
            return;
        };
        if let Some(join_by) = participant.deadlines.join.take() {
            // It was set when the participant entered.
            let left = join_by.saturating_duration_since(turn.now);
            turn.index
                .note_entry(turn.config.join_timeout.saturating_sub(left));
        }
        participant.deadlines.reconnect = None;
        participant.has_hung_up = false;
        let arrival = participant.arrival.take();
        if participant.state != State::Active {
            participant.state = State::Active;
            self.announce(who, Reach::Everybody, turn);
            self.send_speakers(who, turn);
            self.owe_ratings(who, turn);
        }
        self.unpause_all(who, turn);
        self.confirm_now(who, turn);
        // Its client sends here from now on, and may have sent there until now.
        self.ask_for_rest(who, arrival, turn);
    }
}

/// What a participant is told of this server.
pub(super) fn server_info(participant: &Participant, turn: &Turn<'_>) -> lk::ServerInfo {
    lk::ServerInfo {
        edition: lk::server_info::Edition::Standard.into(),
        version: turn.config.server_version.clone(),
        protocol: SERVER_PROTOCOL,
        node_id: participant.member.node.as_str().to_owned(),
        ..Default::default()
    }
}

/// The wire has whole seconds, and clients fail on zero.
fn whole_seconds(value: Duration) -> i32 {
    i32::try_from(value.as_secs()).unwrap_or(i32::MAX).max(1)
}
