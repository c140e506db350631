//! The shard's commands: handed out, and those about participants obeyed.

use super::factory::Step;
use super::recent::Recent;
use super::room::{Detaching, Kept, MAX_PARTICIPANTS, Offering, Participant, Room};
use super::selection::Selected;
use super::signalling::Offer;
use super::speaker::Speakers;
use super::timers::Timer;
use super::{Engine, ParticipantKey, RoomKey};
use proto::id::{ParticipantSid, RoomSid};
use proto::media::{
    MediaPermission, NewParticipant, NodeCommand, NodeEvent, PeerMode, Selection, Target,
};
use std::time::{Duration, Instant};
use str0m::Rtc;

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
            // An ICE-lite agent sends no checks: it learns addresses from those it verified, and a
            // candidate that is never checked would only count as a lost one.
            NodeCommand::Candidate { .. } => {}
            NodeCommand::PrepareResume { participant } => self.prepare_resume(&participant, now),
            NodeCommand::Publish(track) => self.publish(track, now),
            NodeCommand::Import(imported) => self.import(imported, now),
            NodeCommand::SetMembers { room, members } => self.set_members(&room, &members),
            // The node's own affair.
            NodeCommand::SetPeers(_) => {}
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
            NodeCommand::Owned { nonce, for_ms } => {
                self.take_owned(nonce, Duration::from_millis(for_ms), now);
            }
            NodeCommand::Export { room } => self.export(room, now),
            NodeCommand::Detach { participant } => self.begin_detach(&participant, now),
            NodeCommand::Adopt { participant, media } => self.adopt(participant, media, now),
            NodeCommand::Deliver { room, data } => self.deliver(&room, data, now),
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

    pub(super) fn refuse_if_failed(
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
        let sid = command.participant.clone();
        if self.participants_by_sid.contains_key(&sid) {
            return;
        }
        let mode = command.mode;
        let complete = publisher.is_some() && (subscriber.is_some() || mode == PeerMode::Single);
        let Some(key) = complete
            .then(|| self.admit_participant(command, now))
            .flatten()
        else {
            let reason = "the node is full or out of resources: use another one".to_owned();
            self.refuse_if_failed(sid, 0, Err(reason));
            return;
        };
        let publisher = publisher.map(|rtc| self.install(rtc, key, Target::Publisher, now));
        let subscriber = subscriber.map(|rtc| self.install(rtc, key, Target::Subscriber, now));
        if let Some(participant) = self.participants.get_mut(key) {
            participant.publisher = publisher;
            participant.subscriber = subscriber;
        }
        if mode == PeerMode::Dual {
            self.offer(key, now);
        }
    }

    /// Makes a participant without a transport. `None` if there are too many.
    pub(super) fn admit_participant(
        &mut self,
        command: NewParticipant,
        now: Instant,
    ) -> Option<ParticipantKey> {
        if self.participants.len() >= MAX_PARTICIPANTS {
            return None;
        }
        let sid = command.participant;
        let room_key = self.room(&command.room, command.selection, now);
        let room = self.rooms.get_mut(room_key)?;
        let key = self.participants.insert(Participant {
            sid: sid.clone(),
            identity: command.identity,
            guest: false,
            hidden: command.hidden,
            room: room_key,
            mode: command.mode,
            fixed: command.fixed,
            permission: command.permission,
            publisher: None,
            subscriber: None,
            tracks: Vec::new(),
            subscriptions: Vec::new(),
            heeds_close: false,
            parked: Vec::new(),
            kept: Kept::default(),
            last_data_sequence: 0,
            last_spread_sequence: 0,
            joined_after: room.recent.last_sequences(now),
            detaching: Detaching::No,
            sections_wanted_at: None,
            offering: Offering::default(),
            told_rating: None,
        });
        room.participants.push(key);
        room.selected.add(key);
        self.participants_by_sid.insert(sid, key);
        if !self.timers.is_set(Timer::Housekeeping) {
            self.timers.set(Timer::Housekeeping, Some(now));
        }
        Some(key)
    }

    fn room(&mut self, sid: &RoomSid, selection: Selection, now: Instant) -> RoomKey {
        if let Some(key) = self.rooms_by_sid.get(sid) {
            if let Some(room) = self.rooms.get_mut(*key) {
                room.selected.change(selection, &room.participants);
            }
            return *key;
        }
        let key = self.rooms.insert(Room {
            sid: sid.clone(),
            participants: Vec::new(),
            speakers: Speakers::new(now),
            selected: Selected::new(selection),
            recent: Recent::default(),
            others: Vec::new(),
        });
        self.rooms_by_sid.insert(sid.clone(), key);
        key
    }

    pub(super) fn remove_participant(&mut self, sid: &ParticipantSid, now: Instant) {
        let Some(key) = self.participants_by_sid.remove(sid) else {
            return;
        };
        self.timers.set(Timer::Negotiation(key), None);
        self.timers.set(Timer::Detach(key), None);
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
        self.hang_up(key, now);
        let Some(participant) = self.participants.remove(key) else {
            return;
        };
        for subscription in participant.parked {
            self.subscriptions.remove(subscription);
        }
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
            room.selected.forget(key);
            if room.participants.is_empty()
                && let Some(room) = self.rooms.remove(participant.room)
            {
                self.rooms_by_sid.remove(&room.sid);
            }
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

    pub(super) fn set_permission(
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
}
