//! Messages of the server, one by one, and the plain requests of ours.

use super::Session;
use super::keepalive::Verdict;
use crate::event::{EndReason, SessionEvent};
use crate::options::{Connection, PeerMode};
use crate::timeline::Timeline;
use livekit_protocol as lk;
use lk::signal_request::Message as Request;
use lk::signal_response::Message;
use std::collections::BTreeMap;
use std::time::Instant;
use str0m::Candidate;

impl Session {
    /// A message of the server.
    pub fn handle_signal(&mut self, response: lk::SignalResponse, now: Instant) {
        if self.end.is_some() {
            return;
        }
        if self.resume.is_greeting() {
            if let Some(message) = response.message {
                self.handle_greeting(message, now);
            }
            return;
        }
        self.keepalive.handle_message(now);
        // None: a kind that is newer than we are.
        let Some(message) = response.message else {
            return;
        };
        match message {
            Message::Join(join) => self.handle_join(join, now),
            Message::Answer(answer) => self.handle_answer(&answer, now),
            Message::Offer(offer) => self.handle_offer(&offer, now),
            Message::Trickle(trickle) => self.handle_trickle(&trickle, now),
            Message::Update(update) => self.handle_update(update),
            Message::TrackPublished(published) => self.handle_track_published(published, now),
            Message::TrackUnpublished(gone) => self.handle_track_unpublished(&gone.track_sid),
            Message::Leave(leave) => self.handle_leave(&leave, now),
            Message::Mute(mute) => self.handle_mute(&mute),
            Message::MediaSectionsRequirement(wanted) => self.handle_requirement(wanted, now),
            Message::RefreshToken(token) => {
                self.token = Some(token);
                self.out.say(SessionEvent::TokenRefreshed);
            }
            Message::SubscribedQualityUpdate(update) => {
                let event = SessionEvent::QualityWanted(Box::new(update));
                self.out.say(event);
            }
            Message::Pong(_) => {}
            Message::PongResp(pong) => {
                if let Some(took) = self.keepalive.handle_pong(&pong, now) {
                    self.out.say(SessionEvent::RoundTrip(took));
                }
            }
            Message::RequestResponse(response) if self.handle_refusal(&response) => {}
            other => self.out.say(SessionEvent::Signal(Box::new(other))),
        }
    }

    /// Wants tracks, or does not any more. With
    /// [`auto_subscribe`](crate::SessionOptions::auto_subscribe) the server wants all by itself.
    pub fn subscribe(&mut self, tracks: &[&str], subscribe: bool) {
        self.wishes.note(tracks, subscribe);
        let request = self.subscription(tracks, subscribe);
        self.say(Request::Subscription(request));
    }

    /// Says how large video is to be seen, or that it is not to be sent for now.
    pub fn track_settings(&mut self, settings: lk::UpdateTrackSettings) {
        self.wishes.note_settings(&settings);
        self.say(Request::TrackSetting(settings));
    }

    pub(super) fn subscription(&self, tracks: &[&str], subscribe: bool) -> lk::UpdateSubscription {
        let mut owners: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for track in tracks {
            if let Some(owner) = self.people.owner(track) {
                owners.entry(owner).or_default().push((*track).to_owned());
            }
        }
        let by_owner = owners.into_iter().map(|(owner, track_sids)| {
            let participant_sid = owner.to_owned();
            lk::ParticipantTracks {
                participant_sid,
                track_sids,
            }
        });
        lk::UpdateSubscription {
            track_sids: tracks.iter().map(|&track| track.to_owned()).collect(),
            subscribe,
            participant_tracks: by_owner.collect(),
        }
    }

    /// Any other request of the protocol's.
    pub fn request(&mut self, message: lk::signal_request::Message) {
        if self.end.is_none() {
            self.say(message);
        }
    }

    fn handle_join(&mut self, join: lk::JoinResponse, now: Instant) {
        if self.joined {
            return;
        }
        self.joined = true;
        Timeline::mark(&mut self.timeline.joined, now);
        self.keepalive
            .start(join.ping_interval, join.ping_timeout, now);
        self.subscriber_is_primary = join.subscriber_primary;
        let me = join.participant.as_ref();
        self.resume.handle_join(me.map_or("", |me| &me.sid));
        let dual = self.options.mode == PeerMode::Dual;
        // With two connections a participant that may not subscribe has none to wait for.
        if !dual || join.subscriber_primary || join.fast_publish {
            self.media_due = Some(now + self.options.media_timeout);
        }
        if join.fast_publish {
            self.negotiation.want();
        }
        for other in &join.other_participants {
            self.people.put(other);
        }
        self.out.say(SessionEvent::Joined(Box::new(join)));
        self.announce(now);
        self.offer(now);
    }

    fn handle_update(&mut self, update: lk::ParticipantUpdate) {
        for info in update.participants {
            if info.state() == lk::participant_info::State::Disconnected {
                self.people.remove(&info.sid);
                self.out.say(SessionEvent::ParticipantLeft {
                    sid: info.sid,
                    identity: info.identity,
                });
            } else {
                self.people.put(&info);
                self.out.say(SessionEvent::Participant(Box::new(info)));
            }
        }
    }

    /// An address of the server's. What cannot be read, such as the name of a browser's host, is of
    /// no use here.
    fn handle_trickle(&mut self, trickle: &lk::TrickleRequest, now: Instant) {
        let connection = match trickle.target() {
            lk::SignalTarget::Publisher => Connection::Publisher,
            lk::SignalTarget::Subscriber => Connection::Subscriber,
        };
        let init: Option<serde_json::Value> = serde_json::from_str(&trickle.candidate_init).ok();
        let line = init
            .as_ref()
            .and_then(|init| init.get("candidate")?.as_str());
        let candidate = line.and_then(|line| Candidate::from_sdp_string(line).ok());
        if let (Some(candidate), Some(peer)) = (candidate, self.peer_mut(connection)) {
            peer.add_candidate(candidate);
            self.drain(connection, now);
        }
    }

    pub(super) fn handle_leave(&mut self, leave: &lk::LeaveRequest, now: Instant) {
        let action = match leave.action() {
            // How servers said it before there were actions.
            lk::leave_request::Action::Disconnect if leave.can_reconnect => {
                lk::leave_request::Action::Reconnect
            }
            action => action,
        };
        let reason = leave.reason();
        let ended = EndReason::ServerLeft { action, reason };
        if action == lk::leave_request::Action::Resume {
            self.lose_signal(ended, now);
        } else {
            self.finish(ended, now);
        }
    }

    pub(super) fn keep_alive(&mut self, now: Instant) {
        match self.keepalive.handle_timeout(now) {
            Verdict::Nothing => {}
            Verdict::Ping(ping) => {
                // Both, as LiveKit's clients do: old servers know only the first.
                self.say(Request::Ping(ping.timestamp));
                self.say(Request::PingReq(ping));
            }
            Verdict::Gone => self.lose_signal(EndReason::SignalTimeout, now),
        }
    }
}
