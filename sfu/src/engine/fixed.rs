//! Participants whose client offers only once (WHIP, WHEP): their tracks take turns in the media sections
//! that there are.
//!
//! Every section that the client would receive in is answered as if it carried something, so that a
//! track can start there at any time. A subscription whose track is gone keeps its section and its RTP
//! stream, whose numbers must go on, and is pointed at the next track of its kind. Knows nothing about
//! HTTP.

use super::sdp::{Direction, SectionKind};
use super::sdp_patch::Patch;
use super::sections::is_free;
use super::transport::{Role, Section};
use super::{Engine, ParticipantKey, SubscriptionKey, TransportKey};
use proto::media::Kind;
use std::collections::BTreeMap;
use std::time::Instant;

/// The stream that all sections of an answer share: players show one stream.
const STREAM: &str = "anteroom";

impl Engine {
    /// Gives the subscriptions that wait a section each, as long as there are any.
    pub(super) fn fill_sections(&mut self, owner: ParticipantKey, now: Instant) {
        let Some(participant) = self.participants.get(owner) else {
            return;
        };
        let Some(transport) = participant.publisher else {
            return;
        };
        for (waiting, kind) in self.waiting(&participant.subscriptions) {
            if !self.fill_free(transport, waiting, kind, now) {
                self.fill_parked(owner, waiting, kind, now);
            }
        }
    }

    /// Starts in a section that nothing was sent in. False: there is none.
    fn fill_free(
        &mut self,
        key: TransportKey,
        waiting: SubscriptionKey,
        kind: Kind,
        now: Instant,
    ) -> bool {
        let Some(transport) = self.transports.get_mut(key) else {
            return false;
        };
        let mut sections = transport.sections.iter_mut();
        let Some(section) = sections.find(|section| is_free(section, kind)) else {
            return false;
        };
        section.role = Role::Sends(waiting);
        section.used = true;
        self.attach(key, now);
        true
    }

    /// Goes on in a section whose track is gone.
    fn fill_parked(
        &mut self,
        owner: ParticipantKey,
        waiting: SubscriptionKey,
        kind: Kind,
        now: Instant,
    ) {
        let Some(participant) = self.participants.get_mut(owner) else {
            return;
        };
        let fits = |key: &SubscriptionKey| {
            let parked = self.subscriptions.get(*key);
            parked.is_some_and(|parked| parked.kind == kind && parked.exit.is_some())
        };
        let Some(at) = participant.parked.iter().position(fits) else {
            return;
        };
        let parked = participant.parked.remove(at);
        replace(&mut participant.subscriptions, waiting, parked);
        let Some(next) = self.subscriptions.remove(waiting) else {
            return;
        };
        if let Some(track) = self.tracks.get_mut(next.track) {
            replace(&mut track.subscriptions, waiting, parked);
        }
        if let Some(subscription) = self.subscriptions.get_mut(parked) {
            subscription.track = next.track;
            subscription.settings = next.settings;
            subscription.permitted = next.permitted;
            // It may have another codec.
            subscription.route = None;
            subscription.pause();
        }
        self.retarget(next.track, now);
    }

    /// Keeps a fixed participant's subscription for the next track. False: it can be dropped.
    pub(super) fn park(&mut self, key: SubscriptionKey, now: Instant) -> bool {
        let Some(subscription) = self.subscriptions.get_mut(key) else {
            return false;
        };
        let owner = subscription.participant;
        let Some(participant) = self.participants.get_mut(owner) else {
            return false;
        };
        if !participant.fixed || subscription.exit.is_none() {
            return false;
        }
        subscription.pause();
        if let Some(track) = self.tracks.get_mut(subscription.track) {
            track.subscriptions.retain(|other| *other != key);
        }
        participant.subscriptions.retain(|other| *other != key);
        participant.parked.push(key);
        self.want_negotiation(owner, now);
        true
    }

    /// Closes the transport of a fixed participant that is removed: its client has no other way to
    /// learn at once that it is over.
    ///
    /// FFmpeg 9 stops for ever in the middle of its work when DTLS is closed. It fixes its DTLS role,
    /// which nobody else does, and ends by itself when its ICE checks have gone unanswered for 30 s.
    pub(super) fn hang_up(&mut self, owner: ParticipantKey, now: Instant) {
        let participant = self.participants.get(owner);
        let participant = participant.filter(|known| known.fixed && known.heeds_close);
        let Some(key) = participant.and_then(|known| known.publisher) else {
            return;
        };
        let closed = self.change(key, now, |rtc| rtc.close());
        if let Some(Err(error)) = closed {
            tracing::debug!(%error, ?key, "transport not closed");
        }
    }
}

fn replace(keys: &mut [SubscriptionKey], old: SubscriptionKey, new: SubscriptionKey) {
    for key in keys.iter_mut().filter(|key| **key == old) {
        *key = new;
    }
}

/// What the answer shall say.
pub(super) fn patches(sections: &[Section]) -> BTreeMap<String, Patch> {
    let media = sections.iter().filter_map(|section| {
        let SectionKind::Media(kind) = section.kind else {
            return None;
        };
        let patch = match section.direction {
            Direction::SendRecv | Direction::SendOnly => Patch::Receives {
                payload_types: section.payload_types.clone(),
            },
            Direction::RecvOnly => Patch::Sends {
                stream: STREAM.to_owned(),
                track: track_name(kind, &section.mid),
            },
            Direction::Inactive => Patch::Idle,
        };
        Some((section.mid.clone(), patch))
    });
    media.collect()
}

/// Says nothing about who is there: that changes.
fn track_name(kind: Kind, mid: &str) -> String {
    let kind = match kind {
        Kind::Audio => "audio",
        Kind::Video => "video",
    };
    format!("{kind}-{mid}")
}
