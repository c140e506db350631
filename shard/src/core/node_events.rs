//! What nodes report about participants.
//!
//! Owns: which event goes to which policy. Must not: decide anything that has a file of its own.

use super::api::Output;
use super::leave::Farewell;
use super::room::Room;
use super::turn::Turn;
use livekit_protocol as lk;
use lk::DisconnectReason;
use lk::signal_response::Message;
use proto::id::{NodeId, ParticipantSid, RoomSid, TrackSid};
use proto::media::NodeEvent;
use std::collections::BTreeMap;

/// What an event is about.
pub(super) enum About<'a> {
    Participant(&'a ParticipantSid),
    Room(&'a RoomSid),
    /// The node itself.
    Node,
}

pub(super) fn about(event: &NodeEvent) -> About<'_> {
    match event {
        NodeEvent::Hello { .. }
        | NodeEvent::Draining
        | NodeEvent::Report(_)
        | NodeEvent::AskOwned { .. } => About::Node,
        NodeEvent::Speakers { room, .. } | NodeEvent::Exported { room, .. } => About::Room(room),
        NodeEvent::Answer { participant, .. }
        | NodeEvent::Offer { participant, .. }
        | NodeEvent::Refused { participant, .. }
        | NodeEvent::SectionsWanted { participant, .. }
        | NodeEvent::Connected { participant }
        | NodeEvent::Disconnected { participant, .. }
        | NodeEvent::TrackBound { participant, .. }
        | NodeEvent::StreamState { participant, .. }
        | NodeEvent::LayersWanted { participant, .. }
        | NodeEvent::ConnectionRated { participant, .. }
        | NodeEvent::ResumeReady { participant, .. }
        | NodeEvent::Detached { participant, .. } => About::Participant(participant),
    }
}

/// Whether the node has what it speaks of: what crossed a removal on its way is ignored.
pub(super) fn is_from(room: &Room, node: &NodeId, event: &NodeEvent) -> bool {
    match about(event) {
        About::Participant(who) => room.member_of(who).node == *node,
        About::Room(_) => room.is_on(node),
        About::Node => false,
    }
}

impl Room {
    /// One message from a node of the room's.
    pub(super) fn handle_node_event(&mut self, event: NodeEvent, turn: &mut Turn<'_>) {
        // It may refuse to take somebody up. Anything else that it says of one whose transport is not
        // here yet is about an earlier stay of the room.
        if let About::Participant(who) = about(&event)
            && self.is_awaited(who)
            && !matches!(event, NodeEvent::Refused { .. })
        {
            return;
        }
        match event {
            NodeEvent::Hello { .. }
            | NodeEvent::Draining
            | NodeEvent::Report(_)
            | NodeEvent::AskOwned { .. } => {}
            // Of a room's move, which is not the room's own affair.
            NodeEvent::Exported { .. } | NodeEvent::Detached { .. } => {}
            NodeEvent::Answer {
                participant,
                offer_id,
                sdp,
                mid_to_track,
            } => {
                let answer = description("answer", offer_id, sdp, mid_to_track);
                self.handle_node_answer(&participant, answer, turn);
            }
            NodeEvent::Offer {
                participant,
                offer_id,
                sdp,
                mid_to_track,
            } => {
                let offer = description("offer", offer_id, sdp, mid_to_track);
                self.handle_node_offer(&participant, offer, turn);
            }
            // A client waits long for an answer that never comes: it is faster to start afresh.
            NodeEvent::Refused {
                participant,
                reason: cause,
                ..
            } => {
                self.tell_refused(&participant, cause, turn);
                let reason = DisconnectReason::MediaFailure;
                self.remove(&participant, reason, Farewell::Reconnect, turn);
            }
            NodeEvent::SectionsWanted {
                participant,
                audio,
                video,
            } => {
                let wanted = lk::MediaSectionsRequirement {
                    num_audios: audio,
                    num_videos: video,
                };
                self.tell(
                    &participant,
                    Message::MediaSectionsRequirement(wanted),
                    turn,
                );
            }
            NodeEvent::Connected { participant } => self.handle_connected(&participant, turn),
            NodeEvent::Disconnected {
                participant,
                reason,
            } => self.handle_transport_lost(&participant, reason, turn),
            NodeEvent::TrackBound {
                participant,
                track,
                mid,
                mime,
            } => self.bind_track(&participant, &track, &mid, &mime, turn),
            NodeEvent::StreamState {
                participant,
                track,
                paused,
            } => self.handle_stream_state(&participant, &track, paused, turn),
            NodeEvent::LayersWanted {
                participant,
                track,
                quality,
            } => self.handle_layers_wanted(&participant, &track, quality, turn),
            NodeEvent::ConnectionRated {
                participant,
                rating,
            } => self.handle_rating(&participant, rating, turn),
            NodeEvent::ResumeReady {
                participant,
                last_data_sequence,
            } => self.handle_resume_ready(&participant, last_data_sequence, turn),
            NodeEvent::Speakers { speakers, .. } => self.handle_speakers(speakers, turn),
        }
    }
}

impl Room {
    /// Whoever waits for one answer only shall know what was wrong with its offer.
    fn tell_refused(&self, who: &ParticipantSid, reason: String, turn: &mut Turn<'_>) {
        let participant = self.participants.get(who).filter(|p| p.is_resource());
        if let Some(session) = participant.and_then(|participant| participant.session) {
            turn.outputs
                .push_back(Output::OfferRefused { session, reason });
        }
    }
}

fn description(
    kind: &str,
    id: u32,
    sdp: String,
    mid_to_track: BTreeMap<String, TrackSid>,
) -> lk::SessionDescription {
    let text = |(mid, track): (String, TrackSid)| (mid, track.as_str().to_owned());
    lk::SessionDescription {
        r#type: kind.to_owned(),
        sdp,
        id,
        mid_to_track_id: mid_to_track.into_iter().map(text).collect(),
    }
}
