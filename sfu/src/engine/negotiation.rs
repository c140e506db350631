//! When media sections must be negotiated again, and the client told so.
//!
//! Single connection: the client is asked to offer. Dual: the node offers (`offering`). One that
//! offers only once makes do with the sections that it has (`fixed`).

use super::room::{Participant, Track};
use super::sdp::SectionKind;
use super::sections;
use super::timers::Timer;
use super::transport::{Role, Transport};
use super::{Engine, ParticipantKey, SubscriptionKey, TrackKey, TransportKey};
use proto::media::{Kind, NodeEvent, PeerMode};
use std::time::{Duration, Instant};
use str0m::Rtc;
use str0m::format::Codec;
use str0m::media::Mid;

/// Changes within this time share one negotiation: a join brings many subscriptions at once.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// A client that was asked for an offer gets this long before it is asked again.
pub(super) const OFFER_PATIENCE: Duration = Duration::from_secs(3);

impl Engine {
    /// Something about this participant's sections changed: look at them soon.
    pub(super) fn want_negotiation(&mut self, owner: ParticipantKey, now: Instant) {
        self.timers
            .set_at_latest(Timer::Negotiation(owner), now + DEBOUNCE);
    }

    /// The debounce time is over.
    pub(super) fn renegotiate(&mut self, owner: ParticipantKey, now: Instant) {
        let found = self.participants.get(owner);
        match found.map(|found| (found.mode, found.fixed)) {
            Some((PeerMode::Single, true)) => self.fill_sections(owner, now),
            Some((PeerMode::Single, false)) => {
                self.ask_for_offer(owner, now);
                self.remind_later(owner, now);
            }
            Some((PeerMode::Dual, _)) => self.offer(owner, now),
            None => {}
        }
    }

    /// Asks the client to offer, if that would change anything.
    fn ask_for_offer(&mut self, owner: ParticipantKey, now: Instant) {
        let Some(participant) = self.participants.get(owner) else {
            return;
        };
        let transport = participant
            .publisher
            .and_then(|key| self.transports.get(key))
            // Before its first offer the client need not be asked for one.
            .filter(|transport| !transport.sections.is_empty());
        let Some(transport) = transport else {
            return;
        };
        let kinds = self.waiting_kinds(owner);
        let forgotten = |track: &&Track| track.reminder.due().is_some_and(|due| due <= now);
        let is_forgotten = self.unoffered(owner).any(|track| forgotten(&track));
        let wanted = sections::wanted(&transport.sections, &kinds);
        let Some((audio, video)) = wanted.or(is_forgotten.then_some((0, 0))) else {
            return;
        };
        if let Some(asked) = participant.sections_wanted_at
            && now < asked + OFFER_PATIENCE
        {
            self.timers
                .set(Timer::Negotiation(owner), Some(asked + OFFER_PATIENCE));
            return;
        }
        tracing::debug!(participant = %participant.sid, audio, video, "sections wanted");
        let event = NodeEvent::SectionsWanted {
            participant: participant.sid.clone(),
            audio,
            video,
        };
        self.outbox.events.push_back(event);
        if let Some(participant) = self.participants.get_mut(owner) {
            participant.sections_wanted_at = Some(now);
            for track in &participant.tracks {
                if let Some(track) = self.tracks.get_mut(*track) {
                    track.reminder.asked(now);
                }
            }
        }
        // Should the client never offer, it is asked again.
        self.timers
            .set(Timer::Negotiation(owner), Some(now + OFFER_PATIENCE));
    }

    /// Announced tracks that no offer has brought yet.
    fn unoffered(&self, owner: ParticipantKey) -> impl Iterator<Item = &Track> {
        let participant = self.participants.get(owner).into_iter();
        let tracks = participant.flat_map(|participant| &participant.tracks);
        tracks
            .filter_map(|key| self.tracks.get(*key))
            .filter(|track| track.mid.is_none())
    }

    /// Sees to it that a client is reminded of tracks that it does not offer.
    pub(super) fn remind_later(&mut self, owner: ParticipantKey, now: Instant) {
        let single = |participant: &Participant| participant.mode == PeerMode::Single;
        if !self.participants.get(owner).is_some_and(single) {
            // On two connections there is no message that makes a client offer.
            return;
        }
        let dues = self
            .unoffered(owner)
            .filter_map(|track| track.reminder.due());
        if let Some(due) = dues.min() {
            // One that could not be asked when it was due has something else to do first.
            let due = if due > now { due } else { now + OFFER_PATIENCE };
            self.timers.set_at_latest(Timer::Negotiation(owner), due);
        }
    }

    /// The subscriptions that no media section carries.
    pub(super) fn waiting(
        &self,
        subscriptions: &[SubscriptionKey],
    ) -> Vec<(SubscriptionKey, Kind)> {
        subscriptions
            .iter()
            .filter_map(|key| {
                let subscription = self.subscriptions.get(*key)?;
                subscription
                    .exit
                    .is_none()
                    .then_some((*key, subscription.kind))
            })
            .collect()
    }

    /// The kinds of a participant's subscriptions that no media section carries.
    pub(super) fn waiting_kinds(&self, owner: ParticipantKey) -> Vec<Kind> {
        let Some(participant) = self.participants.get(owner) else {
            return Vec::new();
        };
        let waiting = self.waiting(&participant.subscriptions).into_iter();
        waiting.map(|(_, kind)| kind).collect()
    }

    /// Connects an announced track with the section that an earlier offer made for it.
    pub(super) fn match_track(&mut self, track_key: TrackKey, now: Instant) {
        let Some(track) = self.tracks.get(track_key) else {
            return;
        };
        let kind = SectionKind::Media(track.kind);
        let key = self
            .participants
            .get(track.owner)
            .and_then(|participant| participant.publisher);
        let Some((key, transport)) = key.and_then(|key| Some((key, self.transports.get_mut(key)?)))
        else {
            return;
        };
        let section = transport.sections.iter_mut().find(|section| {
            section.role == Role::Idle
                && section.direction.sends()
                && section.kind == kind
                && section.cid.as_deref() == Some(track.cid.as_str())
        });
        let Some(section) = section else {
            return;
        };
        section.role = Role::Carries(track_key);
        let mid = section.mid();
        for inbound in transport.inbound.values_mut() {
            if inbound.mid == mid {
                inbound.track = Some(track_key);
            }
        }
        self.attach(key, now);
        self.say_bound(key, now);
    }

    /// Tells which announced tracks have got a media section since the last time.
    pub(super) fn say_bound(&mut self, key: TransportKey, now: Instant) {
        let Some(transport) = self.transports.get(key) else {
            return;
        };
        let carried: Vec<(String, TrackKey, Vec<String>)> = transport
            .sections
            .iter()
            .filter_map(|section| match section.role {
                Role::Carries(track) => {
                    Some((section.mid.clone(), track, section.payload_types.clone()))
                }
                Role::Idle | Role::Sends(_) => None,
            })
            .collect();
        for (mid, track, preferred) in carried {
            let Some(track) = self.tracks.get_mut(track) else {
                continue;
            };
            if track.mid.as_deref() == Some(mid.as_str()) {
                continue;
            }
            track.mid = Some(mid.clone());
            let (participant, sid) = (track.owner_sid.clone(), track.sid.clone());
            let mime = self
                .transports
                .get_mut(key)
                .and_then(|transport| mime(transport, &mid, &preferred));
            self.outbox.events.push_back(NodeEvent::TrackBound {
                participant,
                track: sid,
                mid,
                mime: mime.unwrap_or_default(),
            });
        }
        self.drain(key, now);
    }
}

/// The codec that the client will send first in this section, as a MIME type.
fn mime(transport: &mut Transport, mid: &str, preferred: &[String]) -> Option<String> {
    let mid = Mid::from(mid);
    transport
        .call(|rtc| {
            let codec = first_codec(rtc, mid, preferred)?;
            let kind = if rtc.media(mid)?.kind().is_audio() {
                "audio"
            } else {
                "video"
            };
            Some(format!("{kind}/{codec}"))
        })
        .ok()
        .flatten()
}

fn first_codec(rtc: &Rtc, mid: Mid, preferred: &[String]) -> Option<Codec> {
    let negotiated = rtc.media(mid)?.remote_pts();
    let params = rtc.codec_config().params();
    let known = |wanted: u8| {
        params
            .iter()
            .find(|param| *param.pt() == wanted && negotiated.contains(&param.pt()))
            .map(|param| param.spec().codec)
    };
    preferred
        .iter()
        .filter_map(|pt| pt.parse().ok())
        .find_map(known)
}
