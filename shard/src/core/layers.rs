//! What a subscriber's line lets through, and which layers a publisher need not send.
//!
//! Owns: what nodes say of it, in the clients' words. Must not: choose; nodes do.

use super::room::Room;
use super::tracks::Track;
use super::turn::Turn;
use livekit_protocol as lk;
use lk::StreamState;
use lk::signal_response::Message;
use proto::id::{ParticipantSid, TrackSid};
use proto::media::Quality;

impl Room {
    /// A subscriber's line is too thin for a track, or takes it again.
    pub(super) fn handle_stream_state(
        &mut self,
        who: &ParticipantSid,
        track: &TrackSid,
        paused: bool,
        turn: &mut Turn<'_>,
    ) {
        let owner = self.owners.get(track).cloned();
        let Some(participant) = self.participants.get_mut(who) else {
            return;
        };
        let Some(owner) = owner.filter(|_| participant.subscriptions.contains(track)) else {
            return;
        };
        let changed = if paused {
            participant.paused.insert(track.clone())
        } else {
            participant.paused.remove(track)
        };
        if changed {
            self.tell(who, states(&[(owner, track.clone())], paused), turn);
        }
    }

    /// A client has a new transport, through which everything comes that was paused before.
    pub(super) fn unpause_all(&mut self, who: &ParticipantSid, turn: &mut Turn<'_>) {
        let Some(participant) = self.participants.get_mut(who) else {
            return;
        };
        let paused = std::mem::take(&mut participant.paused);
        let owned = |track: TrackSid| Some((self.owners.get(&track)?.clone(), track));
        let tracks: Vec<_> = paused.into_iter().filter_map(owned).collect();
        if !tracks.is_empty() {
            self.tell(who, states(&tracks, false), turn);
        }
    }

    /// The layers of a track that anybody wants.
    pub(super) fn handle_layers_wanted(
        &mut self,
        who: &ParticipantSid,
        track: &TrackSid,
        quality: Option<Quality>,
        turn: &mut Turn<'_>,
    ) {
        let track = self
            .participants
            .get(who)
            .and_then(|it| it.tracks.get(track));
        if let Some(track) = track {
            let update = Message::SubscribedQualityUpdate(wanted(track, quality));
            self.tell(who, update, turn);
        }
    }
}

fn states(tracks: &[(ParticipantSid, TrackSid)], paused: bool) -> Message {
    let state = if paused {
        StreamState::Paused
    } else {
        StreamState::Active
    };
    let info = |(owner, track): &(ParticipantSid, TrackSid)| lk::StreamStateInfo {
        participant_sid: owner.as_str().to_owned(),
        track_sid: track.as_str().to_owned(),
        state: state.into(),
    };
    Message::StreamStateUpdate(lk::StreamStateUpdate {
        stream_states: tracks.iter().map(info).collect(),
    })
}

/// Older clients read the first list, newer ones that of their codec, named as in `vp8`.
#[expect(deprecated, reason = "the list without codecs is for older clients")]
fn wanted(track: &Track, best: Option<Quality>) -> lk::SubscribedQualityUpdate {
    let quality = |quality: lk::VideoQuality, layer: Quality| lk::SubscribedQuality {
        quality: quality.into(),
        enabled: best.is_some_and(|best| layer <= best),
    };
    let qualities = vec![
        quality(lk::VideoQuality::Low, Quality::Low),
        quality(lk::VideoQuality::Medium, Quality::Medium),
        quality(lk::VideoQuality::High, Quality::High),
    ];
    let mime = track.info.mime_type.as_str();
    let codec = mime.split_once('/').map_or(mime, |(_, codec)| codec);
    lk::SubscribedQualityUpdate {
        track_sid: track.info.sid.clone(),
        subscribed_qualities: qualities.clone(),
        subscribed_codecs: vec![lk::SubscribedCodec {
            codec: codec.to_ascii_lowercase(),
            qualities,
        }],
    }
}
