//! Tracks: announced by their owner, bound by the node, shown to the room, muted, ended.
//!
//! Owns: a track's life and the checks on `add_track`. Must not: know media sections beyond their
//! mids.

use super::limits::{TRACK_LIST_MAX, TRACK_TEXT_BYTES_MAX};
use super::participant::Participant;
use super::room::Room;
use super::sdp::{Offered, offered};
use super::track_info;
use super::turn::Turn;
use super::updates::Reach;
use livekit_protocol as lk;
use lk::request_response::{Reason, Request};
use lk::signal_response::Message;
use proto::id::{ParticipantSid, TrackSid};
use proto::media::{Kind, NodeCommand, PublishedTrack};
use thiserror::Error;

#[derive(Debug)]
pub(super) struct Track {
    pub(super) cid: String,
    pub(super) kind: Kind,
    pub(super) info: lk::TrackInfo,
    /// The owner has been told that somebody receives it.
    pub(super) has_had_subscriber: bool,
    /// The owner has been told that it was taken.
    pub(super) is_confirmed: bool,
}

impl Track {
    /// Its media section is negotiated: the room knows of it.
    pub(super) fn is_bound(&self) -> bool {
        !self.info.mid.is_empty()
    }

    /// As its node must know it.
    pub(super) fn to_node(&self, owner: &ParticipantSid) -> PublishedTrack {
        PublishedTrack {
            participant: owner.clone(),
            track: TrackSid::new(&self.info.sid),
            cid: self.cid.clone(),
            kind: self.kind,
            layers: track_info::layer_sizes(&self.info),
            codec: track_info::wanted_codec(&self.info, self.kind),
            muted: self.info.muted,
            screen: self.info.source() == lk::TrackSource::ScreenShare,
        }
    }
}

/// Why a track was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
enum TrackRefusal {
    #[error("the access token does not allow to publish this source")]
    NotAllowed,
    #[error("too many tracks: unpublish one, or raise shard.limits.tracks_per_participant")]
    TooMany,
    #[error("only audio and video tracks can be added")]
    UnknownType,
    #[error("backup codecs are not forwarded here")]
    BackupCodec,
    #[error("the track needs a client id, and its texts and lists must be short")]
    Invalid,
}

impl TrackRefusal {
    fn reason(self) -> Reason {
        match self {
            Self::NotAllowed => Reason::NotAllowed,
            Self::TooMany => Reason::LimitExceeded,
            Self::UnknownType | Self::BackupCodec => Reason::UnsupportedType,
            Self::Invalid => Reason::InvalidRequest,
        }
    }
}

/// The answer to a request that was not met.
pub(super) fn refusal(reason: Reason, text: String, id: u32, request: Option<Request>) -> Message {
    Message::RequestResponse(lk::RequestResponse {
        request_id: id,
        reason: reason.into(),
        message: text,
        request,
    })
}

fn check(
    participant: &Participant,
    request: &lk::AddTrackRequest,
    tracks_max: usize,
) -> Result<Kind, TrackRefusal> {
    let texts = [&request.cid, &request.name, &request.stream];
    let lists = [
        request.layers.len(),
        request.simulcast_codecs.len(),
        request.audio_features.len(),
        request.packet_trailer_features.len(),
    ];
    if !request.sid.is_empty() {
        return Err(TrackRefusal::BackupCodec);
    }
    if request.cid.is_empty()
        || texts.iter().any(|text| text.len() > TRACK_TEXT_BYTES_MAX)
        || lists.iter().any(|length| *length > TRACK_LIST_MAX)
    {
        return Err(TrackRefusal::Invalid);
    }
    if !participant.permission.may_publish(request.source()) {
        return Err(TrackRefusal::NotAllowed);
    }
    if participant.tracks.len() >= tracks_max {
        return Err(TrackRefusal::TooMany);
    }
    match lk::TrackType::try_from(request.r#type) {
        Ok(lk::TrackType::Audio) => Ok(Kind::Audio),
        Ok(lk::TrackType::Video) => Ok(Kind::Video),
        Ok(lk::TrackType::Data) | Err(_) => Err(TrackRefusal::UnknownType),
    }
}

impl Room {
    /// `AddTrack` from a client.
    pub(super) fn add_track(
        &mut self,
        who: &ParticipantSid,
        request: lk::AddTrackRequest,
        turn: &mut Turn<'_>,
    ) {
        let Some(participant) = self.participants.get_mut(who) else {
            return;
        };
        // A repeated request for a track that is not negotiated yet means the same track.
        let mut pending = participant.tracks.values_mut().filter(|t| !t.is_bound());
        if let Some(track) = pending.find(|track| track.cid == request.cid) {
            track.is_confirmed = false;
            self.confirm(who, turn);
            return;
        }
        let tracks_max = turn.config.limits.tracks_per_participant;
        let kind = match check(participant, &request, tracks_max) {
            Ok(kind) => kind,
            Err(error) => {
                let (reason, text) = (error.reason(), error.to_string());
                let message = refusal(reason, text, 0, Some(Request::AddTrack(request)));
                turn.signal(participant, message);
                return;
            }
        };
        let sid = TrackSid::from_random(turn.random());
        let codecs = &turn.config.publish_codecs;
        let track = Track {
            kind,
            info: track_info::from_request(&sid, &request, codecs, turn.unix_ms),
            cid: request.cid,
            has_had_subscriber: false,
            is_confirmed: false,
        };
        let command = NodeCommand::Publish(track.to_node(who));
        participant.tracks.insert(sid.clone(), track);
        self.owners.insert(sid, who.clone());
        self.confirm(who, turn);
        self.command(who, command, turn);
    }

    /// The node has found the track's media section: the room may know of it.
    pub(super) fn bind_track(
        &mut self,
        who: &ParticipantSid,
        sid: &TrackSid,
        mid: &str,
        mime: &str,
        turn: &mut Turn<'_>,
    ) {
        let track = self.track_mut(who, sid);
        let Some(track) = track.filter(|_| !mid.is_empty()) else {
            return;
        };
        if track.info.mid == mid && track.info.mime_type == mime {
            return;
        }
        track_info::bind(&mut track.info, track.kind, mid, mime, turn.unix_ms);
        self.announce(who, Reach::Others, turn);
        self.reconcile_track(sid, turn);
        self.figures_changed(turn);
    }

    /// Says again which tracks were taken and are not negotiated yet: the client waits for that, and
    /// the answer to its request may be lost.
    pub(super) fn repeat_published(&mut self, who: &ParticipantSid, turn: &mut Turn<'_>) {
        let Some(participant) = self.participants.get_mut(who) else {
            return;
        };
        for track in participant.tracks.values_mut() {
            track.is_confirmed &= track.is_bound();
        }
        self.confirm_now(who, turn);
    }

    /// `MuteTrack` from the owner.
    pub(super) fn mute_track(
        &mut self,
        who: &ParticipantSid,
        request: lk::MuteTrackRequest,
        turn: &mut Turn<'_>,
    ) {
        let sid = TrackSid::new(&request.sid);
        let muted = request.muted;
        let Some(track) = self.track_mut(who, &sid) else {
            let text = "there is no such track of yours".into();
            let message = refusal(Reason::NotFound, text, 0, Some(Request::Mute(request)));
            self.tell(who, message, turn);
            return;
        };
        if track.info.muted == muted {
            return;
        }
        track.info.muted = muted;
        track_info::touch(&mut track.info, turn.unix_ms);
        let bound = track.is_bound();
        let command = NodeCommand::SetMuted {
            track: sid.clone(),
            muted,
        };
        self.command_track(who, &sid, &command, turn);
        if bound {
            self.announce(who, Reach::Others, turn);
        }
    }

    /// `UpdateLocalAudioTrack` from the owner.
    pub(super) fn update_audio_track(
        &mut self,
        who: &ParticipantSid,
        request: lk::UpdateLocalAudioTrack,
        turn: &mut Turn<'_>,
    ) {
        let sid = TrackSid::new(&request.track_sid);
        let fits = request.features.len() <= TRACK_LIST_MAX;
        let Some(track) = self.track_mut(who, &sid).filter(|_| fits) else {
            let text = "there is no such track of yours, or too many features".into();
            let request = Request::UpdateAudioTrack(request);
            self.tell(who, refusal(Reason::NotFound, text, 0, Some(request)), turn);
            return;
        };
        track.info.audio_features = request.features;
        track_info::touch(&mut track.info, turn.unix_ms);
        if track.is_bound() {
            self.announce(who, Reach::Others, turn);
        }
    }

    /// `UpdateLocalVideoTrack` from the owner.
    pub(super) fn update_video_track(
        &mut self,
        who: &ParticipantSid,
        request: lk::UpdateLocalVideoTrack,
        turn: &mut Turn<'_>,
    ) {
        let sid = TrackSid::new(&request.track_sid);
        let Some(track) = self.track_mut(who, &sid) else {
            let text = "there is no such track of yours".into();
            let request = Request::UpdateVideoTrack(request);
            self.tell(who, refusal(Reason::NotFound, text, 0, Some(request)), turn);
            return;
        };
        track.info.width = request.width;
        track.info.height = request.height;
        track_info::touch(&mut track.info, turn.unix_ms);
        if track.is_bound() {
            self.announce(who, Reach::Others, turn);
        }
    }

    /// The client does not send it any more.
    pub(super) fn unpublish(&mut self, who: &ParticipantSid, sid: &TrackSid, turn: &mut Turn<'_>) {
        let owner = self.participants.get_mut(who);
        let Some(track) = owner.and_then(|owner| owner.tracks.remove(sid)) else {
            return;
        };
        self.forget_track(sid, turn);
        let command = NodeCommand::Unpublish { track: sid.clone() };
        self.command(who, command, turn);
        self.refill_later(turn);
        if track.is_bound() {
            self.announce(who, Reach::Others, turn);
            self.figures_changed(turn);
        }
    }

    /// Unpublishes the tracks whose media sections an offer silences: clients have no other way to
    /// say so. A client that never heard the answer to an offer makes its sections anew: such a track
    /// is offered in another one.
    pub(super) fn unpublish_silenced(
        &mut self,
        who: &ParticipantSid,
        sdp: &str,
        turn: &mut Turn<'_>,
    ) {
        let Some(participant) = self.participants.get(who) else {
            return;
        };
        if !participant.is_publisher() {
            return;
        }
        let sections = offered(sdp);
        let bound = participant.tracks.iter().filter(|(_, t)| t.is_bound());
        let ended = bound.filter(|(_, track)| !is_sent(track, &sections));
        let ended: Vec<TrackSid> = ended.map(|(sid, _)| sid.clone()).collect();
        for sid in &ended {
            self.unpublish(who, sid, turn);
        }
    }

    /// Drops a track from everything but its owner.
    pub(super) fn forget_track(&mut self, sid: &TrackSid, turn: &mut Turn<'_>) {
        self.end_imports(sid, turn);
        self.owners.remove(sid);
        for participant in self.participants.values_mut() {
            participant.subscriptions.remove(sid);
            participant.wishes.remove(sid);
            participant.told_allowed.remove(sid);
        }
    }

    fn track_mut(&mut self, who: &ParticipantSid, sid: &TrackSid) -> Option<&mut Track> {
        self.participants.get_mut(who)?.tracks.get_mut(sid)
    }
}

fn is_sent(track: &Track, sections: &[Offered<'_>]) -> bool {
    match sections.iter().find(|it| it.mid == track.info.mid) {
        Some(section) => section.sends,
        None => sections
            .iter()
            .any(|it| it.sends && it.cid == Some(track.cid.as_str())),
    }
}

/// The word that a track was taken.
pub(super) fn published(track: &Track) -> Message {
    Message::TrackPublished(lk::TrackPublishedResponse {
        cid: track.cid.clone(),
        track: Some(track.info.clone()),
    })
}
