//! The node's own offers on the subscriber connection of a two-connection client.
//!
//! One offer is in flight at a time; what changes meanwhile waits for the next one. A freed section
//! is made inactive by one offer and may carry another track, with a new SSRC, from the next on.

use super::channels::Label;
use super::room::PendingOffer;
use super::sdp::{Direction, SectionKind};
use super::sdp_patch::patch;
use super::sections;
use super::transport::{Role, Section};
use super::{Engine, ParticipantKey, SubscriptionKey, TransportKey};
use proto::media::{Kind, NodeEvent, TransportLoss};
use std::time::Instant;
use str0m::change::{SdpAnswer, SdpApi, SdpPendingOffer};
use str0m::media::{Direction as RtcDirection, MediaKind, Mid};
use str0m::{IceCreds, Rtc, RtcError};

/// What the next offer changes.
#[derive(Default)]
struct Wish {
    added: Vec<(SubscriptionKey, Kind, String, String)>,
    reused: Vec<(SubscriptionKey, Kind, Mid)>,
    freed: Vec<Mid>,
    channels: bool,
    restart: bool,
    /// Subscriptions for which there is no section.
    left: usize,
}

impl Wish {
    fn is_empty(&self) -> bool {
        self.added.is_empty()
            && self.reused.is_empty()
            && self.freed.is_empty()
            && !self.channels
            && !self.restart
    }
}

/// An offer that str0m made.
struct Made {
    sdp: String,
    token: SdpPendingOffer,
    /// In new sections.
    added: Vec<(SubscriptionKey, Mid)>,
    /// In sections that were there before.
    reused: Vec<(SubscriptionKey, Mid)>,
    freed: Vec<Mid>,
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
            if wish.left > 0 {
                // All sections are used up, those of the other kind included, and none can ever be
                // removed: only a fresh connection has room. The client rejoins after a fault.
                tracing::warn!(subscriptions = wish.left, "no media section is left");
                self.lose(key, TransportLoss::Fault);
            }
            return;
        }
        let made = self.change(key, now, |rtc| make(rtc, wish)).flatten();
        let Some(made) = made else {
            return;
        };
        if let Some(credentials) = &made.restart {
            self.demux.offer_ufrag(&credentials.ufrag, key);
        }
        if let Some(transport) = self.transports.get_mut(key) {
            transport.restarting |= made.restart.is_some();
        }
        self.say_offer(owner, key, made);
    }

    fn wish(&self, owner: ParticipantKey, key: TransportKey) -> Wish {
        let (Some(participant), Some(transport)) =
            (self.participants.get(owner), self.transports.get(key))
        else {
            return Wish::default();
        };
        let waiting = self.waiting(&participant.subscriptions);
        let places = sections::place(&transport.sections, &waiting);
        let kind_of = |key| Some(self.subscriptions.get(key)?.kind);
        let added = places.added.into_iter().filter_map(|key| {
            let (stream, track) = self.names(key)?;
            Some((key, kind_of(key)?, stream, track))
        });
        let reused = places.reused.into_iter();
        let stale = transport.sections.iter().filter(|section| section.stale);
        Wish {
            added: added.collect(),
            reused: reused
                .filter_map(|(key, mid)| Some((key, kind_of(key)?, mid)))
                .collect(),
            freed: stale.map(Section::mid).collect(),
            channels: !participant.offering.has_channels,
            restart: participant.offering.restart,
            left: places.left,
        }
    }

    fn say_offer(&mut self, owner: ParticipantKey, key: TransportKey, made: Made) {
        let transport = self.transports.get(key);
        let mut sections = transport.map_or_else(Vec::new, |found| found.sections.clone());
        for (subscription, mid) in &made.reused {
            if let Some(section) = sections.iter_mut().find(|section| section.mid() == *mid) {
                section.role = Role::Sends(*subscription);
            }
        }
        let mut mid_to_track = self.mid_to_track(&sections);
        // str0m remembers the first name of a section and has no API for another one.
        let patches = sections::patches(&sections, |key| self.names(key));
        let sdp = patch(&made.sdp, &patches, None);
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
            added: [made.added, made.reused].concat(),
            freed: made.freed,
        });
        self.outbox.events.push_back(NodeEvent::Offer {
            participant: participant.sid.clone(),
            offer_id: offering.last_id,
            sdp,
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
                rtc.sdp_api().accept_answer(pending.token, answer)?;
                Ok::<_, RtcError>(rtc.direct_api().local_ice_credentials().ufrag)
            })
            .ok_or("the transport failed inside")?;
        let ufrag = accepted.map_err(|error| error.to_string())?;
        self.demux.learn_ufrag(&ufrag, key);
        if let Some(transport) = self.transports.get_mut(key) {
            for section in &mut transport.sections {
                section.stale &= !pending.freed.contains(&section.mid());
            }
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
            let section = Section {
                mid: mid.to_string(),
                kind,
                direction: Direction::RecvOnly,
                cid: None,
                payload_types: Vec::new(),
                role: alive.map_or(Role::Idle, |_| Role::Sends(*subscription)),
                // Unsubscribed while the offer was in flight.
                stale: alive.is_none(),
                used: true,
            };
            let mut known = transport.sections.iter_mut();
            match known.find(|known| known.mid == section.mid) {
                Some(known) => *known = section,
                None => transport.sections.push(section),
            }
        }
        self.attach(key, now);
    }
}

/// Removes the stream of a section that sends nothing from now on, or something else.
fn remove_stream(rtc: &mut Rtc, mid: Mid) {
    let old = rtc
        .direct_api()
        .stream_tx_by_mid(mid, None)
        .map(|stream| stream.ssrc());
    if let Some(old) = old {
        rtc.direct_api().remove_stream_tx(old);
    }
}

/// Gives a section a stream with a new SSRC, so that the offer names it.
fn renew_stream(rtc: &mut Rtc, mid: Mid, kind: Kind) {
    remove_stream(rtc, mid);
    let mut api = rtc.direct_api();
    let ssrc = api.new_ssrc();
    let repair = (kind == Kind::Video).then(|| api.new_ssrc());
    api.declare_stream_tx(ssrc, repair, mid, None);
}

/// Offers a direction. str0m takes it at once and offers only what changes, so that after an offer
/// without an answer it thinks there is nothing to say: hence the detour.
fn redirect(changes: &mut SdpApi<'_>, mid: Mid, sends: bool) {
    let (detour, direction) = if sends {
        (RtcDirection::Inactive, RtcDirection::SendOnly)
    } else {
        (RtcDirection::SendOnly, RtcDirection::Inactive)
    };
    changes.set_direction(mid, detour);
    changes.set_direction(mid, direction);
}

fn make(rtc: &mut Rtc, wish: Wish) -> Option<Made> {
    for mid in &wish.freed {
        remove_stream(rtc, *mid);
    }
    for (_, kind, mid) in &wish.reused {
        renew_stream(rtc, *mid, *kind);
    }
    let mut changes = rtc.sdp_api();
    if wish.channels {
        changes.add_channel_with_config(Label::Reliable.config(None));
        changes.add_channel_with_config(Label::Lossy.config(None));
    }
    for mid in &wish.freed {
        redirect(&mut changes, *mid, false);
    }
    for (_, _, mid) in &wish.reused {
        redirect(&mut changes, *mid, true);
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
        reused: wish
            .reused
            .into_iter()
            .map(|(key, _, mid)| (key, mid))
            .collect(),
        freed: wish.freed,
        restart,
    })
}
