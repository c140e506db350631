//! The shard's commands, one function each.

use super::factory::Step;
use super::room::{
    Kept, MAX_PARTICIPANTS, MAX_SUBSCRIPTIONS, MAX_TRACKS, Offering, Participant, Room, Track,
};
use super::signalling::Offer;
use super::speaker::Speakers;
use super::subscription::Subscription;
use super::timers::Timer;
use super::transport::{Role, Transport};
use super::{Engine, ParticipantKey, RoomKey, SubscriptionKey, TrackKey, TransportKey};
use proto::id::{ParticipantSid, RoomSid, TrackSid};
use proto::media::{
    MediaPermission, NewParticipant, NodeCommand, NodeEvent, PeerMode, PublishedTrack, Target,
    TrackSettings,
};
use std::time::Instant;
use str0m::{Candidate, Rtc};

/// Most candidates of a client per connection. More are ignored: with ICE-lite none is needed.
const MAX_REMOTE_CANDIDATES: usize = 64;
/// Longest candidate attribute, in bytes.
const MAX_CANDIDATE: usize = 512;

impl Engine {
    /// Does what the shard says.
    pub(super) fn obey(&mut self, step: Step, now: Instant) {
        match step {
            Step::Add {
                command,
                publisher,
                subscriber,
            } => self.add_participant(command, publisher, subscriber, now),
            Step::Offer {
                participant,
                offer_id,
                parsed,
                resume,
                fresh,
                credentials,
            } => {
                let taken = parsed
                    .map_err(|problem| problem.to_string())
                    .and_then(|parsed| {
                        let owner = self.known(&participant)?;
                        let offer = Offer {
                            id: offer_id,
                            parsed,
                            credentials,
                        };
                        self.take_offer(owner, offer, resume.map(|open| (open, fresh)), now)
                    });
                self.refuse_if_failed(participant, offer_id, taken);
            }
            Step::Answer {
                participant,
                offer_id,
                parsed,
            } => {
                let taken = parsed
                    .map_err(|problem| problem.to_string())
                    .and_then(|answer| {
                        let owner = self.known(&participant)?;
                        self.take_answer(owner, offer_id, answer, now)
                    });
                self.refuse_if_failed(participant, offer_id, taken);
            }
            Step::Plain(command) => self.obey_plain(command, now),
        }
    }

    fn obey_plain(&mut self, command: NodeCommand, now: Instant) {
        match command {
            NodeCommand::RemoveParticipant { participant } => {
                self.remove_participant(&participant, now);
            }
            NodeCommand::Candidate {
                participant,
                target,
                candidate,
            } => self.add_candidate(&participant, target, &candidate, now),
            NodeCommand::PrepareResume { participant } => self.prepare_resume(&participant, now),
            NodeCommand::Publish(track) => self.publish(track, now),
            NodeCommand::Unpublish { track } => self.unpublish(&track, now),
            NodeCommand::SetMuted { track, muted } => self.set_muted(&track, muted, now),
            NodeCommand::Subscribe {
                participant,
                track,
                settings,
            } => self.subscribe(&participant, &track, settings, now),
            NodeCommand::Unsubscribe { participant, track } => {
                if let Some((_, key)) = self.subscription_of(&participant, &track) {
                    self.drop_subscription(key, now);
                }
            }
            NodeCommand::SetTrackSettings {
                participant,
                track,
                settings,
            } => self.set_track_settings(&participant, &track, settings, now),
            NodeCommand::SetPermission {
                participant,
                permission,
            } => self.set_permission(&participant, permission, now),
            // The factory takes these apart.
            NodeCommand::AddParticipant(_)
            | NodeCommand::Offer { .. }
            | NodeCommand::Answer { .. } => {}
        }
    }

    fn known(&self, participant: &ParticipantSid) -> Result<ParticipantKey, String> {
        self.participants_by_sid
            .get(participant)
            .copied()
            .ok_or_else(|| "this participant is not on this node: join again".to_owned())
    }

    fn refuse_if_failed(
        &mut self,
        participant: ParticipantSid,
        offer_id: u32,
        taken: Result<(), String>,
    ) {
        if let Err(reason) = taken {
            tracing::debug!(%participant, offer_id, reason, "description refused");
            self.outbox.events.push_back(NodeEvent::Refused {
                participant,
                offer_id,
                reason,
            });
        }
    }

    fn add_participant(
        &mut self,
        command: NewParticipant,
        publisher: Option<Box<Rtc>>,
        subscriber: Option<Box<Rtc>>,
        now: Instant,
    ) {
        let sid = command.participant;
        if self.participants_by_sid.contains_key(&sid) {
            return;
        }
        let complete =
            publisher.is_some() && (subscriber.is_some() || command.mode == PeerMode::Single);
        if !complete || self.participants.len() >= MAX_PARTICIPANTS {
            let reason = "the node is full or out of resources: use another one".to_owned();
            self.refuse_if_failed(sid, 0, Err(reason));
            return;
        }
        let room = self.room(&command.room, now);
        let key = self.participants.insert(Participant {
            sid: sid.clone(),
            identity: command.identity,
            room,
            mode: command.mode,
            permission: command.permission,
            publisher: None,
            subscriber: None,
            tracks: Vec::new(),
            subscriptions: Vec::new(),
            kept: Kept::default(),
            last_data_sequence: 0,
            sections_wanted_at: None,
            offering: Offering::default(),
        });
        self.participants_by_sid.insert(sid, key);
        if let Some(room) = self.rooms.get_mut(room) {
            room.participants.push(key);
        }
        let publisher = publisher.map(|rtc| self.install(rtc, key, Target::Publisher, now));
        let subscriber = subscriber.map(|rtc| self.install(rtc, key, Target::Subscriber, now));
        if let Some(participant) = self.participants.get_mut(key) {
            participant.publisher = publisher;
            participant.subscriber = subscriber;
        }
        if !self.timers.is_set(Timer::Housekeeping) {
            self.timers.set(Timer::Housekeeping, Some(now));
        }
        if command.mode == PeerMode::Dual {
            self.offer(key, now);
        }
    }

    fn room(&mut self, sid: &RoomSid, now: Instant) -> RoomKey {
        if let Some(key) = self.rooms_by_sid.get(sid) {
            return *key;
        }
        let key = self.rooms.insert(Room {
            sid: sid.clone(),
            participants: Vec::new(),
            speakers: Speakers::new(now),
        });
        self.rooms_by_sid.insert(sid.clone(), key);
        key
    }

    fn remove_participant(&mut self, sid: &ParticipantSid, now: Instant) {
        let Some(key) = self.participants_by_sid.remove(sid) else {
            return;
        };
        self.timers.set(Timer::Negotiation(key), None);
        let Some(participant) = self.participants.get(key) else {
            return;
        };
        let (tracks, subscriptions) = (
            participant.tracks.clone(),
            participant.subscriptions.clone(),
        );
        for track in tracks {
            self.drop_track(track, now);
        }
        for subscription in subscriptions {
            self.drop_subscription(subscription, now);
        }
        let Some(participant) = self.participants.remove(key) else {
            return;
        };
        for transport in [participant.publisher, participant.subscriber]
            .into_iter()
            .flatten()
        {
            if let Some(transport) = self.uninstall(transport) {
                let _ = super::guard::guard_any(move || drop(transport));
            }
        }
        if let Some(room) = self.rooms.get_mut(participant.room) {
            room.participants.retain(|other| *other != key);
            room.speakers.forget(key);
            if room.participants.is_empty()
                && let Some(room) = self.rooms.remove(participant.room)
            {
                self.rooms_by_sid.remove(&room.sid);
            }
        }
    }

    fn add_candidate(
        &mut self,
        participant: &ParticipantSid,
        target: Target,
        candidate: &str,
        now: Instant,
    ) {
        let Some(key) = self.transport_of(participant, target) else {
            return;
        };
        let Some(transport) = self.transports.get_mut(key) else {
            return;
        };
        if transport.remote_candidates >= MAX_REMOTE_CANDIDATES || candidate.len() > MAX_CANDIDATE {
            return;
        }
        transport.remote_candidates += 1;
        // Names of mDNS and of later RFCs do not parse; the client's checks tell its address anyway.
        let parsed = super::guard::guard_any(|| Candidate::from_sdp_string(candidate).ok());
        if let Ok(Some(candidate)) = parsed {
            self.change(key, now, |rtc| rtc.add_remote_candidate(candidate));
        }
    }

    fn transport_of(&self, participant: &ParticipantSid, target: Target) -> Option<TransportKey> {
        let key = self.participants_by_sid.get(participant)?;
        let participant = self.participants.get(*key)?;
        match (participant.mode, target) {
            (PeerMode::Dual, Target::Subscriber) => participant.subscriber,
            (PeerMode::Single, _) | (PeerMode::Dual, Target::Publisher) => participant.publisher,
        }
    }

    fn prepare_resume(&mut self, sid: &ParticipantSid, now: Instant) {
        let Some(key) = self.participants_by_sid.get(sid).copied() else {
            return;
        };
        let Some(participant) = self.participants.get_mut(key) else {
            return;
        };
        self.outbox.events.push_back(NodeEvent::ResumeReady {
            participant: sid.clone(),
            last_data_sequence: participant.last_data_sequence,
        });
        if participant.mode == PeerMode::Dual && participant.offering.has_channels {
            participant.offering.restart = true;
            // An answer to an offer from before the loss will not come any more.
            participant.offering.pending = None;
            self.want_negotiation(key, now);
        }
    }

    fn publish(&mut self, published: PublishedTrack, now: Instant) {
        if self.tracks_by_sid.contains_key(&published.track) {
            return;
        }
        let Some(owner) = self
            .participants_by_sid
            .get(&published.participant)
            .copied()
        else {
            return;
        };
        let Some(participant) = self.participants.get_mut(owner) else {
            return;
        };
        if participant.tracks.len() >= MAX_TRACKS {
            tracing::debug!(participant = %participant.sid, "too many tracks: ignored");
            return;
        }
        let key = self.tracks.insert(Track {
            sid: published.track.clone(),
            cid: published.cid,
            owner,
            owner_sid: published.participant,
            kind: published.kind,
            layers: published.layers,
            muted: published.muted,
            permitted: participant.permission.publish,
            transport: None,
            mid: None,
            sources: Vec::new(),
            subscriptions: Vec::new(),
        });
        participant.tracks.push(key);
        self.tracks_by_sid.insert(published.track, key);
        self.match_track(key, now);
    }

    fn unpublish(&mut self, track: &TrackSid, now: Instant) {
        if let Some(key) = self.tracks_by_sid.get(track).copied() {
            self.drop_track(key, now);
        }
    }

    fn drop_track(&mut self, key: TrackKey, now: Instant) {
        let Some(track) = self.tracks.get(key) else {
            return;
        };
        for subscription in track.subscriptions.clone() {
            self.drop_subscription(subscription, now);
        }
        let Some(track) = self.tracks.remove(key) else {
            return;
        };
        self.tracks_by_sid.remove(&track.sid);
        if let Some(participant) = self.participants.get_mut(track.owner) {
            participant.tracks.retain(|other| *other != key);
            let transport = participant.publisher;
            if let Some(transport) = transport.and_then(|key| self.transports.get_mut(key)) {
                free(transport, Role::Carries(key));
                for inbound in transport.inbound.values_mut() {
                    if inbound.track == Some(key) {
                        inbound.track = None;
                    }
                }
            }
        }
    }

    fn subscribe(
        &mut self,
        participant_sid: &ParticipantSid,
        track_sid: &TrackSid,
        settings: TrackSettings,
        now: Instant,
    ) {
        if self.subscription_of(participant_sid, track_sid).is_some() {
            self.set_track_settings(participant_sid, track_sid, settings, now);
            return;
        }
        let (Some(owner), Some(track_key)) = (
            self.participants_by_sid.get(participant_sid).copied(),
            self.tracks_by_sid.get(track_sid).copied(),
        ) else {
            tracing::debug!(participant = %participant_sid, track = %track_sid, "subscription to nothing ignored");
            return;
        };
        let (Some(participant), Some(track)) = (
            self.participants.get_mut(owner),
            self.tracks.get_mut(track_key),
        ) else {
            return;
        };
        if participant.subscriptions.len() >= MAX_SUBSCRIPTIONS {
            tracing::debug!(participant = %participant_sid, "too many subscriptions: ignored");
            return;
        }
        let key = self.subscriptions.insert(Subscription::new(
            owner,
            track_key,
            track.kind,
            settings,
            participant.permission.subscribe,
        ));
        participant.subscriptions.push(key);
        track.subscriptions.push(key);
        self.want_negotiation(owner, now);
    }

    fn drop_subscription(&mut self, key: SubscriptionKey, now: Instant) {
        let Some(subscription) = self.subscriptions.remove(key) else {
            return;
        };
        if let Some(track) = self.tracks.get_mut(subscription.track) {
            track.subscriptions.retain(|other| *other != key);
        }
        let owner = subscription.participant;
        if let Some(participant) = self.participants.get_mut(owner) {
            participant.subscriptions.retain(|other| *other != key);
        }
        if let Some(exit) = subscription.exit
            && let Some(transport) = self.transports.get_mut(exit.transport)
        {
            free(transport, Role::Sends(key));
            self.want_negotiation(owner, now);
        }
    }

    fn subscription_of(
        &self,
        participant: &ParticipantSid,
        track: &TrackSid,
    ) -> Option<(TrackKey, SubscriptionKey)> {
        let participant = self.participants_by_sid.get(participant)?;
        let track_key = self.tracks_by_sid.get(track)?;
        let track = self.tracks.get(*track_key)?;
        track
            .subscriptions
            .iter()
            .find(|key| {
                self.subscriptions
                    .get(**key)
                    .is_some_and(|found| found.participant == *participant)
            })
            .map(|key| (*track_key, *key))
    }

    fn set_track_settings(
        &mut self,
        participant: &ParticipantSid,
        track: &TrackSid,
        settings: TrackSettings,
        now: Instant,
    ) {
        let Some((track, key)) = self.subscription_of(participant, track) else {
            return;
        };
        if let Some(subscription) = self.subscriptions.get_mut(key) {
            if !settings.enabled {
                subscription.pause();
            }
            subscription.settings = settings;
        }
        self.retarget(track, now);
    }

    fn set_muted(&mut self, track: &TrackSid, muted: bool, now: Instant) {
        let Some(key) = self.tracks_by_sid.get(track).copied() else {
            return;
        };
        if let Some(track) = self.tracks.get_mut(key) {
            track.muted = muted;
        }
        self.gate(key, now);
    }

    fn set_permission(
        &mut self,
        participant: &ParticipantSid,
        permission: MediaPermission,
        now: Instant,
    ) {
        let Some(key) = self.participants_by_sid.get(participant).copied() else {
            return;
        };
        let Some(participant) = self.participants.get_mut(key) else {
            return;
        };
        participant.permission = permission;
        let dual = participant.mode == PeerMode::Dual;
        let (tracks, subscriptions) = (
            participant.tracks.clone(),
            participant.subscriptions.clone(),
        );
        for track_key in tracks {
            if let Some(track) = self.tracks.get_mut(track_key) {
                track.permitted = permission.publish;
            }
            self.gate(track_key, now);
        }
        for subscription in subscriptions {
            let Some(subscription) = self.subscriptions.get_mut(subscription) else {
                continue;
            };
            subscription.permitted = permission.subscribe;
            subscription.pause();
            let track = subscription.track;
            self.retarget(track, now);
        }
        if dual {
            self.want_negotiation(key, now);
        }
    }

    /// A track was opened or closed: what is forwarded starts again at a key frame.
    fn gate(&mut self, key: TrackKey, now: Instant) {
        let Some(track) = self.tracks.get(key) else {
            return;
        };
        for subscription in &track.subscriptions {
            if let Some(subscription) = self.subscriptions.get_mut(*subscription) {
                subscription.pause();
            }
        }
        self.retarget(key, now);
    }
}

/// Frees the section with this role; the client still shows what was there.
fn free(transport: &mut Transport, role: Role) {
    for section in &mut transport.sections {
        if section.role == role {
            section.role = Role::Idle;
            section.stale = matches!(role, Role::Sends(_));
        }
    }
}
