//! What clients ask for.
//!
//! Owns: which request goes to which policy, and the hand-over of candidates to the node. Must not:
//! decide anything that has a file of its own.

use super::leave::Farewell;
use super::limits::CANDIDATE_BYTES_MAX;
use super::room::Room;
use super::subscriptions::Missing;
use super::tracks::refusal;
use super::turn::Turn;
use livekit_protocol as lk;
use lk::DisconnectReason;
use lk::request_response::{Reason, Request};
use lk::signal_request::Message as Ask;
use lk::signal_response::Message;
use proto::id::ParticipantSid;
use proto::media::{NodeCommand, PeerMode, Target};
use serde::Deserialize;

/// The JSON inside of a `TrickleRequest` (`RTCIceCandidateInit`).
#[derive(Deserialize)]
struct CandidateInit {
    #[serde(default)]
    candidate: String,
}

impl Room {
    /// One message from a client.
    pub(super) fn handle_request(
        &mut self,
        who: &ParticipantSid,
        request: Ask,
        turn: &mut Turn<'_>,
    ) {
        match request {
            Ask::Offer(offer) => self.handle_offer(who, offer, turn),
            Ask::Answer(answer) => self.handle_answer(who, answer, turn),
            Ask::Trickle(trickle) => self.handle_trickle(who, &trickle, turn),
            Ask::AddTrack(request) => self.add_track(who, request, turn),
            Ask::Mute(request) => self.mute_track(who, request, turn),
            Ask::Subscription(request) => {
                self.update_subscription(who, &request, Missing::Answer, turn);
            }
            Ask::TrackSetting(request) => self.update_track_settings(who, &request, turn),
            Ask::SubscriptionPermission(permission) => self.set_audience(who, permission, turn),
            Ask::SyncState(state) => self.handle_sync_state(who, state, turn),
            Ask::UpdateMetadata(request) => self.update_profile(who, request, turn),
            Ask::UpdateAudioTrack(request) => self.update_audio_track(who, request, turn),
            Ask::UpdateVideoTrack(request) => self.update_video_track(who, request, turn),
            Ask::Leave(_) => {
                let reason = DisconnectReason::ClientInitiated;
                self.remove(who, reason, Farewell::Silent, turn);
            }
            // Clients send both and listen to either.
            Ask::Ping(_) => self.tell(who, Message::Pong(turn.unix_ms), turn),
            Ask::PingReq(ping) => {
                let pong = lk::Pong {
                    last_ping_timestamp: ping.timestamp,
                    timestamp: turn.unix_ms,
                };
                self.tell(who, Message::PongResp(pong), turn);
            }
            Ask::Simulate(simulation) => self.simulate(who, &simulation, turn),
            Ask::PublishDataTrackRequest(request) => {
                let text = "data tracks are not offered here".into();
                let request = Some(Request::PublishDataTrack(request));
                self.tell(
                    who,
                    refusal(Reason::UnsupportedType, text, 0, request),
                    turn,
                );
            }
            Ask::StoreDataBlobRequest(lk::StoreDataBlobRequest { request_id, .. })
            | Ask::GetDataBlobRequest(lk::GetDataBlobRequest { request_id, .. }) => {
                let text = "data blobs are not offered here".into();
                let message = refusal(Reason::UnsupportedType, text, request_id, None);
                self.tell(who, message, turn);
            }
            // Nothing is promised for these, and clients wait for nothing.
            _ => {}
        }
    }

    /// A candidate. One that cannot be read is dropped: ICE lives with fewer.
    fn handle_trickle(
        &self,
        who: &ParticipantSid,
        trickle: &lk::TrickleRequest,
        turn: &mut Turn<'_>,
    ) {
        if trickle.candidate_init.len() > CANDIDATE_BYTES_MAX {
            return;
        }
        let Ok(init) = serde_json::from_str::<CandidateInit>(&trickle.candidate_init) else {
            return;
        };
        let candidate = init.candidate.strip_prefix("a=").unwrap_or(&init.candidate);
        // Empty: there are no more.
        let (false, Some(mode)) = (candidate.is_empty(), self.mode(who)) else {
            return;
        };
        let target = match (mode, trickle.target()) {
            (PeerMode::Dual, lk::SignalTarget::Subscriber) => Target::Subscriber,
            (PeerMode::Single | PeerMode::Dual, _) => Target::Publisher,
        };
        let command = NodeCommand::Candidate {
            participant: who.clone(),
            target,
            candidate: candidate.to_owned(),
        };
        self.command(who, command, turn);
    }

    fn mode(&self, who: &ParticipantSid) -> Option<PeerMode> {
        self.participants.get(who).map(|p| p.mode)
    }
}
