//! A client's offers: accepted, answered, and the media sections shared out.

use super::channels::{Channels, Label};
use super::factory::ParsedOffer;
use super::fixed;
use super::resume;
use super::room::Detaching;
use super::sdp::{Direction, OfferedSection, SectionKind};
use super::sdp_patch::patch;
use super::sections::{self, Announced, Plan, Situation};
use super::timers::Timer;
use super::transport::{KeptStream, Role, Section, Transport};
use super::{Engine, ParticipantKey, SubscriptionKey, TransportKey};
use proto::id::TrackSid;
use proto::media::{NodeEvent, OpenChannel, PeerMode, Target};
use std::collections::BTreeMap;
use std::time::Instant;
use str0m::media::Mid;
use str0m::{IceCreds, Rtc};

/// An offer on its way.
pub(super) struct Offer {
    pub(super) id: u32,
    pub(super) parsed: ParsedOffer,
    /// For the answer, should the offer restart ICE.
    pub(super) credentials: IceCreds,
}

impl Engine {
    /// Takes an offer for the publisher connection.
    pub(super) fn take_offer(
        &mut self,
        owner: ParticipantKey,
        offer: Offer,
        resume: Option<(Vec<OpenChannel>, Option<Box<Rtc>>)>,
        now: Instant,
    ) -> Result<(), String> {
        let participant = self.participants.get_mut(owner);
        let participant = participant.ok_or("unknown participant")?;
        participant.heeds_close = offer.parsed.leaves_role;
        let single = participant.mode == PeerMode::Single;
        match (resume, participant.publisher) {
            // A v0 client restarts ICE on the connection it has.
            (Some((channels, fresh)), before) if single => {
                let fresh = fresh.ok_or("no transport could be built")?;
                self.take_over(owner, before, fresh, offer, &channels, now)
            }
            (_, Some(key)) => self.renew(owner, key, offer, now),
            (_, None) => Err("the transport is gone: resume the session first".to_owned()),
        }
    }

    /// Answers on the connection that is there.
    fn renew(
        &mut self,
        owner: ParticipantKey,
        key: TransportKey,
        offer: Offer,
        now: Instant,
    ) -> Result<(), String> {
        let transport = self.transports.get(key).ok_or("the transport is gone")?;
        let plan = self.plan(owner, &transport.sections, &offer.parsed.sections);
        let renewed = plan.renewed.clone();
        let parsed = offer.parsed;
        let answered = self
            .change(key, now, |rtc| {
                accept(rtc, parsed.offer, &renewed, &offer.credentials)
            })
            .ok_or("the transport failed inside")?;
        let answered = answered.map_err(|error| error.to_string())?;
        self.demux.learn_ufrag(&answered.credentials.ufrag, key);
        if let Some(transport) = self.transports.get_mut(key) {
            transport.restarting |= answered.restarted && transport.connected;
        }
        self.conclude(owner, key, plan, now);
        self.transport_timeout(key, now);
        self.say_answer(owner, key, offer.id, &answered, now);
        Ok(())
    }

    /// Answers on a fresh connection that takes the place of the old one.
    fn take_over(
        &mut self,
        owner: ParticipantKey,
        before: Option<TransportKey>,
        mut fresh: Box<Rtc>,
        offer: Offer,
        channels: &[OpenChannel],
        now: Instant,
    ) -> Result<(), String> {
        let left = self.leftovers(owner, before);
        let plan = self.plan(owner, &left.sections, &offer.parsed.sections);
        let parsed = offer.parsed;
        let has_data = parsed
            .sections
            .iter()
            .any(|section| section.kind == SectionKind::Other);
        let channels = if has_data {
            resume::channels_of(channels, &left.channels)
        } else {
            Vec::new()
        };
        let (answered, streams) = super::guard::guard(&mut fresh, |rtc| {
            let answered = accept(rtc, parsed.offer, &[], &offer.credentials)?;
            let streams = resume::restore(rtc, &channels, &left.streams);
            Ok::<_, str0m::RtcError>((answered, streams))
        })
        .map_err(|fault| fault.to_string())?
        .map_err(|error| error.to_string())?;
        let before = before.and_then(|before| Some((before, self.uninstall(before)?)));
        let retired = before.map(|(key, transport)| self.retire(key, transport));
        let key = self.install(fresh, owner, Target::Publisher, now);
        let missed = self.missed(owner, now).into_iter();
        if let Some(participant) = self.participants.get_mut(owner) {
            participant.publisher = Some(key);
            participant.detaching = Detaching::No;
            self.timers.set(Timer::Detach(owner), None);
            let kept = std::mem::take(&mut participant.kept);
            if let Some(transport) = self.transports.get_mut(key) {
                let left = retired.unwrap_or(kept.channels);
                transport.channels.inherit(left, channels, missed);
            }
        }
        self.conclude(owner, key, plan, now);
        if let Some(transport) = self.transports.get_mut(key) {
            let inbound = resume::inbound_of(transport, &streams);
            transport.inbound.extend(inbound);
        }
        self.transport_timeout(key, now);
        self.say_answer(owner, key, offer.id, &answered, now);
        Ok(())
    }

    /// Drops a transport that another one replaces: no SCTP abort and no DTLS close, which would
    /// end the client's channels for good. Returns the data that waited there.
    fn retire(&mut self, key: TransportKey, mut transport: Transport) -> Channels {
        self.detach(key, &transport.sections);
        let left = transport.channels.leave();
        let _ = super::guard::guard_any(move || drop(transport));
        left
    }

    /// What the connection before leaves to the one that resumes, here or at another node.
    fn leftovers(&mut self, owner: ParticipantKey, before: Option<TransportKey>) -> Leftovers {
        let mut left = Leftovers::default();
        if let Some(transport) = before.and_then(|key| self.transports.get_mut(key)) {
            left.sections = transport.sections.clone();
            left.streams = transport.kept_streams();
            left.channels = transport.channels.streams().to_vec();
        } else if let Some(participant) = self.participants.get(owner) {
            let kept = &participant.kept;
            let carried = kept.carried.iter();
            let carried = carried.map(|section| self.uncarried(&participant.sid, section));
            left.sections = kept.sections.iter().cloned().chain(carried).collect();
            left.streams.clone_from(&kept.streams);
            left.channels = kept.channels.streams().to_vec();
        }
        for section in &mut left.sections {
            // A fresh connection has fresh sources.
            section.used = false;
        }
        left
    }

    fn plan(&self, owner: ParticipantKey, before: &[Section], offered: &[OfferedSection]) -> Plan {
        let Some(participant) = self.participants.get(owner) else {
            return sections::plan(offered, &Situation::default());
        };
        let tracks = participant.tracks.iter().filter_map(|key| {
            let track = self.tracks.get(*key)?;
            Some(Announced {
                cid: track.cid.clone(),
                key: *key,
                kind: track.kind,
                codec: track.codec.clone(),
            })
        });
        let bound = participant.parked.iter();
        let subscriptions = bound.chain(&participant.subscriptions).filter_map(|key| {
            let subscription = self.subscriptions.get(*key)?;
            Some((*key, subscription.kind))
        });
        let receives = participant.mode == PeerMode::Single;
        let situation = Situation {
            before,
            tracks: tracks.collect(),
            subscriptions: subscriptions.filter(|_| receives).collect(),
        };
        sections::plan(offered, &situation)
    }

    /// Makes a plan true.
    fn conclude(&mut self, owner: ParticipantKey, key: TransportKey, plan: Plan, now: Instant) {
        let Some(transport) = self.transports.get_mut(key) else {
            return;
        };
        let before = std::mem::replace(&mut transport.sections, plan.sections);
        let sections = transport.sections.clone();
        let known = |mid: &str| before.iter().any(|section| section.mid == mid);
        let grown = sections
            .iter()
            .any(|section| section.direction == Direction::RecvOnly && !known(&section.mid));
        for (ssrc, inbound) in transport.inbound.clone() {
            let track = sections
                .iter()
                .find(|section| section.mid() == inbound.mid)
                .and_then(|section| match section.role {
                    Role::Carries(track) => Some(track),
                    Role::Idle | Role::Sends(_) => None,
                });
            if let Some(known) = transport.inbound.get_mut(&ssrc) {
                known.track = track;
            }
        }
        for section in before {
            if let Role::Sends(subscription) = section.role
                && !sections.iter().any(|now| now.role == section.role)
                && let Some(subscription) = self.subscriptions.get_mut(subscription)
            {
                subscription.unbind();
            }
        }
        for section in &plan.renewed {
            // The stream is a new one, even if the section is not.
            let subscription = sections
                .iter()
                .find(|known| known.mid() == *section)
                .and_then(|known| match known.role {
                    Role::Sends(subscription) => Some(subscription),
                    _ => None,
                });
            if let Some(subscription) =
                subscription.and_then(|subscription| self.subscriptions.get_mut(subscription))
            {
                subscription.unbind();
            }
        }
        self.attach(key, now);
        // An offer that was on its way already when sections were asked for is not the one.
        let fulfilled =
            grown || sections::shortage(&sections, &self.waiting_kinds(owner)) == (0, 0);
        if let Some(participant) = self.participants.get_mut(owner).filter(|_| fulfilled) {
            participant.sections_wanted_at = None;
        }
    }

    fn say_answer(
        &mut self,
        owner: ParticipantKey,
        key: TransportKey,
        offer_id: u32,
        answered: &Answered,
        now: Instant,
    ) {
        let (Some(participant), Some(transport)) =
            (self.participants.get(owner), self.transports.get(key))
        else {
            return;
        };
        let patches = if participant.fixed {
            fixed::patches(&transport.sections)
        } else {
            sections::patches(&transport.sections, |key| self.names(key))
        };
        let credentials = answered.restarted.then_some((
            answered.credentials.ufrag.as_str(),
            answered.credentials.pass.as_str(),
        ));
        let sections = sections::told(&transport.sections);
        tracing::debug!(participant = %participant.sid, offer_id, sections, "answer");
        self.outbox.events.push_back(NodeEvent::Answer {
            participant: participant.sid.clone(),
            offer_id,
            sdp: patch(&answered.sdp, &patches, credentials),
            mid_to_track: self.mid_to_track(&transport.sections),
        });
        self.say_bound(key, now);
        // Asking again for the offer that just came is off; something else may be missing still.
        self.want_negotiation(owner, now);
    }

    /// Stream and track id of a forwarded track: `PA_x|TR_y` and `TR_y`.
    pub(super) fn names(&self, key: SubscriptionKey) -> Option<(String, String)> {
        let track = self.tracks.get(self.subscriptions.get(key)?.track)?;
        Some((
            format!("{}|{}", track.owner_sid, track.sid),
            track.sid.to_string(),
        ))
    }

    pub(super) fn mid_to_track(&self, sections: &[Section]) -> BTreeMap<String, TrackSid> {
        sections
            .iter()
            .filter_map(|section| {
                let track = match section.role {
                    Role::Idle => return None,
                    Role::Carries(track) => track,
                    Role::Sends(subscription) => self.subscriptions.get(subscription)?.track,
                };
                Some((section.mid.clone(), self.tracks.get(track)?.sid.clone()))
            })
            .collect()
    }
}

/// What a connection leaves to the one that takes its place.
#[derive(Default)]
struct Leftovers {
    sections: Vec<Section>,
    streams: Vec<KeptStream>,
    channels: Vec<(Label, u16)>,
}

/// What str0m answered.
struct Answered {
    sdp: String,
    credentials: IceCreds,
    restarted: bool,
}

fn accept(
    rtc: &mut Rtc,
    offer: str0m::change::SdpOffer,
    renewed: &[Mid],
    credentials: &IceCreds,
) -> Result<Answered, str0m::RtcError> {
    let before = rtc.direct_api().local_ice_credentials();
    for mid in renewed {
        // str0m makes a stream with a new SSRC while it accepts; the old one would be received,
        // but not shown.
        let old = rtc
            .direct_api()
            .stream_tx_by_mid(*mid, None)
            .map(|stream| stream.ssrc());
        if let Some(old) = old {
            rtc.direct_api().remove_stream_tx(old);
        }
    }
    let sdp = rtc.sdp_api().accept_offer(offer)?.to_sdp_string();
    let restarted = rtc.direct_api().local_ice_credentials() != before;
    if restarted {
        // str0m invents credentials for a restart; ours name the worker.
        rtc.direct_api()
            .set_local_ice_credentials(credentials.clone());
    }
    Ok(Answered {
        sdp,
        credentials: rtc.direct_api().local_ice_credentials(),
        restarted,
    })
}
