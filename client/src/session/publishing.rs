//! Tracks of ours: announced, negotiated, muted, ended.
//!
//! `add_track` gets a name from the server (`track_published`), then the next offer has a section with
//! the track's client id, then the answer opens it.

use super::Session;
use super::publications::{NAMED_WITHIN, State};
use super::writing::payload_type;
use crate::event::SessionEvent;
use crate::track::{Kind, TrackHandle, TrackSpec};
use livekit_protocol as lk;
use lk::request_response::Request;
use lk::signal_request::Message;
use std::time::Instant;
use str0m::media::Mid;
use thiserror::Error;

/// Why a track was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PublicationError {
    /// No such track, or it was refused.
    #[error("there is no such track")]
    UnknownTrack,
    /// The server has not named it yet.
    #[error("the server has not named the track yet")]
    NotNamed,
}

impl Session {
    /// Publishes a track. [`SessionEvent::Sending`] says when packets go out, or
    /// [`SessionEvent::PublishRefused`] that they never will.
    pub fn publish(&mut self, spec: TrackSpec, now: Instant) -> TrackHandle {
        let handle = self.publications.add(spec);
        if self.joined {
            self.announce(now);
        }
        handle
    }

    /// Asks the server for names of the tracks that have none.
    pub(super) fn announce(&mut self, now: Instant) {
        if self.end.is_some() || self.resume.is_offline() {
            return;
        }
        for publication in self.publications.all.values_mut() {
            if publication.state == State::Waiting {
                let due = now + NAMED_WITHIN;
                publication.state = State::Announced { due };
                let request = add_track(&publication.spec, &publication.cid);
                self.out.signal(Message::AddTrack(request));
            }
        }
    }

    /// Mutes a track of ours, or not any more. The server tells the others; whoever mutes should also
    /// stop writing.
    ///
    /// # Errors
    /// The server does not know the track.
    pub fn mute(&mut self, track: TrackHandle, muted: bool) -> Result<(), PublicationError> {
        let sid = self.track_sid(track)?.to_owned();
        self.say(Message::Mute(lk::MuteTrackRequest { sid, muted }));
        Ok(())
    }

    /// The server's name for a track of ours.
    ///
    /// # Errors
    /// There is none.
    pub fn track_sid(&self, track: TrackHandle) -> Result<&str, PublicationError> {
        let publication = self.publications.all.get(&track);
        let publication = publication.ok_or(PublicationError::UnknownTrack)?;
        if publication.sid.is_empty() {
            return Err(PublicationError::NotNamed);
        }
        Ok(&publication.sid)
    }

    /// Ends a track of ours: its section sends no more from the next offer on.
    ///
    /// # Errors
    /// There is no such track.
    pub fn unpublish(&mut self, track: TrackHandle, now: Instant) -> Result<(), PublicationError> {
        let publication = self.publications.all.get_mut(&track);
        let publication = publication.ok_or(PublicationError::UnknownTrack)?;
        match publication.state {
            State::Offered => publication.unwanted = true,
            State::Waiting | State::Announced { .. } | State::Wanted => {
                self.publications.remove(track);
            }
            State::Sending { mid, .. } => {
                self.publications.remove(track);
                self.negotiation.silence(mid);
                self.offer(now);
            }
        }
        Ok(())
    }

    pub(super) fn handle_track_published(
        &mut self,
        published: lk::TrackPublishedResponse,
        now: Instant,
    ) {
        let Some(track) = self.publications.by_cid(&published.cid) else {
            return;
        };
        let info = published.track.unwrap_or_default();
        let Some(publication) = self.publications.all.get_mut(&track) else {
            return;
        };
        publication.sid.clone_from(&info.sid);
        publication.info = Some(Box::new(info.clone()));
        if matches!(publication.state, State::Announced { .. }) {
            publication.state = State::Wanted;
            self.out.say(SessionEvent::TrackPublished {
                track,
                info: Box::new(info),
            });
            self.negotiation.want();
            self.offer(now);
        }
    }

    pub(super) fn handle_track_unpublished(&mut self, sid: &str) {
        if let Some(track) = self.publications.by_sid(sid) {
            self.refuse(track, "the server ended the track".to_owned());
        }
    }

    pub(super) fn handle_mute(&mut self, mute: &lk::MuteTrackRequest) {
        if let Some(track) = self.publications.by_sid(&mute.sid) {
            let muted = mute.muted;
            self.out.say(SessionEvent::Muted { track, muted });
        }
    }

    /// The server's answer to a request of ours; whether it ended a track.
    pub(super) fn handle_refusal(&mut self, response: &lk::RequestResponse) -> bool {
        let refused = response.reason() != lk::request_response::Reason::Ok;
        let Some(Request::AddTrack(request)) = response.request.as_ref().filter(|_| refused) else {
            return false;
        };
        let Some(track) = self.publications.by_cid(&request.cid) else {
            return false;
        };
        let reason = response.reason().as_str_name();
        self.refuse(track, format!("{}: {}", reason, response.message));
        true
    }

    /// The answer to the offer with this track has come.
    pub(super) fn handle_section(&mut self, track: TrackHandle, mid: Mid) {
        let Some(publication) = self.publications.all.get_mut(&track) else {
            return;
        };
        if publication.unwanted {
            self.publications.remove(track);
            self.negotiation.silence(mid);
            return;
        }
        let codec = publication.spec.codec;
        let opened = self.publisher.call(|rtc| payload_type(rtc, mid, codec));
        match opened {
            Ok(pt) => {
                publication.state = State::Sending { mid, pt };
                self.publications.by_mid.insert(mid, track);
                self.out.say(SessionEvent::Sending(track));
            }
            Err(cause) => self.refuse(track, cause),
        }
    }

    pub(super) fn give_up_publications(&mut self, now: Instant) {
        for track in self.publications.overdue(now) {
            let within = NAMED_WITHIN.as_secs();
            self.refuse(
                track,
                format!("the server did not name it within {within} s"),
            );
        }
    }

    fn refuse(&mut self, track: TrackHandle, cause: String) {
        self.publications.remove(track);
        self.out.say(SessionEvent::PublishRefused { track, cause });
    }
}

fn add_track(spec: &TrackSpec, cid: &str) -> lk::AddTrackRequest {
    let layers: Vec<lk::VideoLayer> = spec
        .layers
        .iter()
        .map(|layer| lk::VideoLayer {
            // What is sent once has the highest quality, whatever its size.
            quality: if spec.is_simulcast() {
                layer.layer.quality().into()
            } else {
                lk::VideoQuality::High.into()
            },
            width: layer.width,
            height: layer.height,
            bitrate: layer.bitrate_bps,
            ..lk::VideoLayer::default()
        })
        .collect();
    let largest = spec.layers.iter().max_by_key(|layer| layer.width);
    let (track_type, codecs) = match spec.kind() {
        Kind::Audio => (lk::TrackType::Audio, Vec::new()),
        Kind::Video => (
            lk::TrackType::Video,
            vec![lk::SimulcastCodec {
                codec: spec.codec.name().to_owned(),
                cid: cid.to_owned(),
                ..lk::SimulcastCodec::default()
            }],
        ),
    };
    lk::AddTrackRequest {
        cid: cid.to_owned(),
        name: spec.name.clone(),
        r#type: track_type.into(),
        width: largest.map_or(0, |layer| layer.width),
        height: largest.map_or(0, |layer| layer.height),
        muted: spec.muted,
        source: spec.source.into(),
        layers,
        simulcast_codecs: codecs,
        // RED is not offered.
        disable_red: true,
        ..lk::AddTrackRequest::default()
    }
}
