//! How a client continues its session on a new connection.
//!
//! Owns: the order resume request, node's readiness, `ReconnectResponse`, client's state, offer. A
//! resumed participant gets a fresh transport, whatever became of the old one: one path for a lost
//! WebSocket and for a lost network.

use super::api::{Join, Resume};
use super::join::server_info;
use super::leave::Farewell;
use super::limits::OPEN_CHANNELS_MAX;
use super::room::Room;
use super::simulation::Interruption;
use super::subscriptions::Missing;
use super::turn::{Due, Seat, Subject, Turn};
use livekit_protocol as lk;
use lk::DisconnectReason;
use lk::signal_response::Message;
use proto::id::{Identity, ParticipantSid, TrackSid};
use proto::media::{OpenChannel, PeerMode};
use std::collections::BTreeSet;

/// Longest label of a data channel, bytes. Beyond: the channel is not taken over.
const LABEL_BYTES_MAX: usize = 64;

/// How far a resume has come.
#[derive(Debug, Default)]
pub(super) enum ResumePhase {
    /// None is under way.
    #[default]
    Idle,
    /// The node gathers what is needed; the client waits for the answer.
    Preparing {
        sync_state: Option<Box<lk::SyncState>>,
        offer: Option<lk::SessionDescription>,
    },
    /// The client has the answer; its next offer takes over these channels.
    Ready { channels: Vec<OpenChannel> },
}

impl Room {
    /// Continues a session. False: there is none of that name, or it cannot be resumed.
    pub(super) fn resume(&mut self, join: &mut Join, resume: Resume, turn: &mut Turn<'_>) -> bool {
        let who = resume.participant;
        let identity = Identity::new(join.claims.identity());
        let Some(participant) = self.participants.get_mut(&who) else {
            return false;
        };
        // The server's own offer cannot be continued in a fresh transport, so dual mode joins again.
        let same = participant.identity == identity
            && participant.mode == PeerMode::Single
            && !participant.is_resource()
            && join.mode == PeerMode::Single;
        if !same {
            return false;
        }
        participant.resume = ResumePhase::Preparing {
            sync_state: resume.sync_state.map(Box::new),
            offer: join.offer.take(),
        };
        participant.negotiation.resume();
        participant.has_hung_up = false;
        participant.deadlines.resume = None;
        let at = turn.now + turn.config.resume_window;
        participant.deadlines.reconnect = Some(at);
        let old = participant.session.replace(join.session);
        turn.arm(at, Due::Reconnect, Subject::Participant(who.clone()));
        if let Some(old) = old {
            turn.close(old, "resumed on another connection");
        }
        let seat = Seat {
            room: self.key.clone(),
            participant: who.clone(),
        };
        turn.index.sessions.insert(join.session, seat);
        if !self.interrupts(&who, Interruption::AtOnce, turn) {
            self.prepare_resume(&who, turn);
        }
        true
    }

    /// The node is ready: the client may go on.
    pub(super) fn handle_resume_ready(
        &mut self,
        who: &ParticipantSid,
        last_message_seq: u32,
        turn: &mut Turn<'_>,
    ) {
        let Some(participant) = self.participants.get_mut(who) else {
            return;
        };
        let ready = ResumePhase::Ready {
            channels: Vec::new(),
        };
        let (sync_state, offer) = match std::mem::replace(&mut participant.resume, ready) {
            ResumePhase::Preparing { sync_state, offer } => (sync_state, offer),
            other => {
                participant.resume = other;
                return;
            }
        };
        participant.negotiation.resumed();
        let response = lk::ReconnectResponse {
            ice_servers: turn.ice_servers(&participant.member.node, who),
            client_configuration: Some(lk::ClientConfiguration::default()),
            server_info: Some(server_info(participant, turn)),
            last_message_seq,
        };
        self.tell(who, Message::Reconnect(response), turn);
        self.send_everybody(who, turn);
        self.send_all_speakers(who, turn);
        self.repeat_allowed(who, turn);
        let room = Some(self.to_wire(turn));
        self.tell(who, Message::RoomUpdate(lk::RoomUpdate { room }), turn);
        self.repeat_published(who, turn);
        if let Some(sync_state) = sync_state {
            self.handle_sync_state(who, *sync_state, turn);
        }
        if let Some(offer) = offer {
            self.handle_offer(who, offer, turn);
        }
        self.interrupts(who, Interruption::AfterMessages, turn);
    }

    /// The client's view of its session. Only of use between the answer to a resume and the offer.
    pub(super) fn handle_sync_state(
        &mut self,
        who: &ParticipantSid,
        sync_state: lk::SyncState,
        turn: &mut Turn<'_>,
    ) {
        let Some(participant) = self.participants.get_mut(who) else {
            return;
        };
        let ResumePhase::Ready { channels } = &mut participant.resume else {
            return;
        };
        *channels = open_channels(&sync_state.data_channels);
        if !self.reconcile_published(who, &sync_state.publish_tracks, turn) {
            let reason = DisconnectReason::StateMismatch;
            self.remove(who, reason, Farewell::Reconnect, turn);
            return;
        }
        if let Some(subscription) = sync_state.subscription {
            self.update_subscription(who, &subscription, Missing::Ignore, turn);
        }
        self.disable_tracks(who, &sync_state.track_sids_disabled, turn);
    }

    /// Drops announced tracks that the client no longer has. False: it has one that is unknown here.
    fn reconcile_published(
        &mut self,
        who: &ParticipantSid,
        listed: &[lk::TrackPublishedResponse],
        turn: &mut Turn<'_>,
    ) -> bool {
        let Some(participant) = self.participants.get(who) else {
            return true;
        };
        let infos = listed.iter().filter_map(|entry| entry.track.as_ref());
        let theirs: BTreeSet<TrackSid> = infos.map(|info| TrackSid::new(&info.sid)).collect();
        if !theirs
            .iter()
            .all(|sid| participant.tracks.contains_key(sid))
        {
            return false;
        }
        let announced = participant.tracks.iter().filter(|(_, t)| t.is_bound());
        let gone = announced.filter(|(sid, _)| !theirs.contains(*sid));
        let gone: Vec<TrackSid> = gone.map(|(sid, _)| sid.clone()).collect();
        for sid in &gone {
            self.unpublish(who, sid, turn);
        }
        true
    }
}

/// Channels of the one connection there is. A node would trip over an id that is used twice.
fn open_channels(listed: &[lk::DataChannelInfo]) -> Vec<OpenChannel> {
    let mut ids = BTreeSet::new();
    let channel = |info: &lk::DataChannelInfo| {
        let id = u16::try_from(info.id).ok()?;
        let fits = info.label.len() <= LABEL_BYTES_MAX && id < u16::MAX;
        let label = info.label.clone();
        (fits && ids.insert(id)).then_some(OpenChannel { label, id })
    };
    listed
        .iter()
        .filter_map(channel)
        .take(OPEN_CHANNELS_MAX)
        .collect()
}
