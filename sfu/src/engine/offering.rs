//! The node's own offers on the subscriber connection of a two-connection client.
//!
//! One offer is in flight at a time; what changes meanwhile waits for the next one.

use super::channels::Label;
use super::room::PendingOffer;
use super::sdp::{Direction, SectionKind};
use super::transport::{Role, Section};
use super::{Engine, ParticipantKey, SubscriptionKey, TransportKey};
use proto::media::{Kind, NodeEvent};
use std::time::Instant;
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::media::{Direction as RtcDirection, MediaKind, Mid};
use str0m::{IceCreds, Rtc};

/// What the next offer changes.
struct Wish {
    added: Vec<(SubscriptionKey, Kind, String, String)>,
    freed: Vec<Mid>,
    channels: bool,
    restart: bool,
}

impl Wish {
    fn is_empty(&self) -> bool {
        self.added.is_empty() && self.freed.is_empty() && !self.channels && !self.restart
    }
}

/// An offer that str0m made.
struct Made {
    sdp: String,
    token: SdpPendingOffer,
    added: Vec<(SubscriptionKey, Mid)>,
    restart: Option<IceCreds>,
}

impl Engine {
    /// Offers what changed, unless an offer is in flight.
    pub(super) fn offer(&mut self, owner: ParticipantKey, now: Instant) {
        let Some(participant) = self.participants.get(owner) else {
            return;
        };
        let allowed = participant.permission.subscribe && participant.offering.pending.is_none();
        let Some(key) = participant.subscriber.filter(|_| allowed) else {
            return;
        };
        let wish = self.wish(owner, key);
        if wish.is_empty() {
            return;
        }
        let freed = wish.freed.clone();
        let made = self.change(key, now, |rtc| make(rtc, wish)).flatten();
        let Some(made) = made else {
            return;
        };
        if let Some(credentials) = &made.restart {
            self.demux.learn_ufrag(&credentials.ufrag, key);
        }
        if let Some(transport) = self.transports.get_mut(key) {
            for section in &mut transport.sections {
                section.stale &= !freed.contains(&section.mid());
            }
            transport.restarting |= made.restart.is_some();
        }
        self.say_offer(owner, key, made);
    }

    fn wish(&self, owner: ParticipantKey, key: TransportKey) -> Wish {
        let (Some(participant), Some(transport)) =
            (self.participants.get(owner), self.transports.get(key))
        else {
            return Wish {
                added: Vec::new(),
                freed: Vec::new(),
                channels: false,
                restart: false,
            };
        };
        let room = super::sdp::MAX_SECTIONS.saturating_sub(transport.sections.len() + 1);
        let added = self
            .waiting(&participant.subscriptions)
            .into_iter()
            .filter_map(|(key, kind)| {
                let (stream, track) = self.names(key)?;
                Some((key, kind, stream, track))
            });
        let stale = transport.sections.iter().filter(|section| section.stale);
        Wish {
            added: added.take(room).collect(),
            freed: stale.map(Section::mid).collect(),
            channels: !participant.offering.has_channels,
            restart: participant.offering.restart,
        }
    }

    fn say_offer(&mut self, owner: ParticipantKey, key: TransportKey, made: Made) {
        let mut mid_to_track = self
            .transports
            .get(key)
            .map(|transport| self.mid_to_track(&transport.sections))
            .unwrap_or_default();
        for (subscription, mid) in &made.added {
            let track = self
                .subscriptions
                .get(*subscription)
                .and_then(|subscription| self.tracks.get(subscription.track));
            if let Some(track) = track {
                mid_to_track.insert(mid.to_string(), track.sid.clone());
            }
        }
        let Some(participant) = self.participants.get_mut(owner) else {
            return;
        };
        let offering = &mut participant.offering;
        offering.last_id = offering.last_id.wrapping_add(1).max(1);
        offering.has_channels = true;
        offering.restart = false;
        offering.pending = Some(PendingOffer {
            id: offering.last_id,
            token: made.token,
            added: made.added,
        });
        self.outbox.events.push_back(NodeEvent::Offer {
            participant: participant.sid.clone(),
            offer_id: offering.last_id,
            sdp: made.sdp,
            mid_to_track,
        });
    }

    /// Takes the answer to the offer in flight. A stale one is ignored.
    pub(super) fn take_answer(
        &mut self,
        owner: ParticipantKey,
        offer_id: u32,
        answer: SdpAnswer,
        now: Instant,
    ) -> Result<(), String> {
        let participant = self
            .participants
            .get_mut(owner)
            .ok_or("unknown participant")?;
        let key = participant.subscriber.ok_or("the transport is gone")?;
        let offering = &mut participant.offering;
        let newest = |pending: &mut PendingOffer| offer_id == 0 || pending.id == offer_id;
        let Some(pending) = offering.pending.take_if(newest) else {
            tracing::debug!(participant = %participant.sid, offer_id, "stale answer ignored");
            return Ok(());
        };
        let accepted = self
            .change(key, now, |rtc| {
                rtc.sdp_api().accept_answer(pending.token, answer)
            })
            .ok_or("the transport failed inside")?;
        if let Err(error) = accepted {
            return Err(error.to_string());
        }
        self.open_sections(key, &pending.added, now);
        self.transport_timeout(key, now);
        // Whatever changed while the offer was in flight.
        self.want_negotiation(owner, now);
        Ok(())
    }

    fn open_sections(&mut self, key: TransportKey, added: &[(SubscriptionKey, Mid)], now: Instant) {
        let Some(transport) = self.transports.get_mut(key) else {
            return;
        };
        for (subscription, mid) in added {
            let alive = self.subscriptions.get(*subscription);
            let kind = transport
                .call(|rtc| rtc.media(*mid).map(|media| media.kind()))
                .ok()
                .flatten();
            let kind = match kind {
                Some(MediaKind::Audio) => SectionKind::Media(Kind::Audio),
                Some(MediaKind::Video) => SectionKind::Media(Kind::Video),
                None => continue,
            };
            transport.sections.push(Section {
                mid: mid.to_string(),
                kind,
                direction: Direction::RecvOnly,
                cid: None,
                payload_types: Vec::new(),
                role: alive.map_or(Role::Idle, |_| Role::Sends(*subscription)),
                // Unsubscribed while the offer was in flight.
                stale: alive.is_none(),
                used: true,
            });
        }
        self.attach(key, now);
    }
}

fn make(rtc: &mut Rtc, wish: Wish) -> Option<Made> {
    for mid in &wish.freed {
        let old = rtc
            .direct_api()
            .stream_tx_by_mid(*mid, None)
            .map(|stream| stream.ssrc());
        if let Some(old) = old {
            rtc.direct_api().remove_stream_tx(old);
        }
    }
    let mut changes = rtc.sdp_api();
    if wish.channels {
        changes.add_channel_with_config(Label::Reliable.config(None));
        changes.add_channel_with_config(Label::Lossy.config(None));
    }
    for mid in wish.freed {
        changes.set_direction(mid, RtcDirection::Inactive);
    }
    let mut added = Vec::new();
    for (key, kind, stream, track) in wish.added {
        let kind = match kind {
            Kind::Audio => MediaKind::Audio,
            Kind::Video => MediaKind::Video,
        };
        let mid = changes.add_media(
            kind,
            RtcDirection::SendOnly,
            Some(stream),
            Some(track),
            None,
        );
        added.push((key, mid));
    }
    let restart = wish.restart.then(|| changes.ice_restart(true));
    let (offer, token) = changes.apply()?;
    Some(Made {
        sdp: offer.to_sdp_string(),
        token,
        added,
        restart,
    })
}
