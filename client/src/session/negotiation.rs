//! Our offers and the server's answers, on the connection on which the client sends.
//!
//! One offer is in flight at a time; what is wanted meanwhile goes into the next one. Answers are
//! matched by id.
//!
//! str0m makes an offer only if something changes, while a server may ask for one that changes
//! nothing (`media_sections_requirement{0,0}`). Then a section's direction goes to another one and
//! back before the offer is made: the text is the same and no section is used up. The detour of a
//! receiving section leads over `sendrecv`, so that str0m resets no buffer of what is received.

use super::Session;
use super::peer::text;
use crate::event::{DataKind, EndReason, SessionEvent};
use crate::options::{Connection, PeerMode};
use crate::sdp;
use crate::timeline::Timeline;
use crate::track::{Kind, Layer, TrackHandle};
use livekit_protocol as lk;
use lk::signal_request::Message;
use std::time::{Duration, Instant};
use str0m::change::{SdpAnswer, SdpApi, SdpPendingOffer};
use str0m::channel::{ChannelConfig, Reliability};
use str0m::media::{Direction, MediaKind, Mid, Simulcast, SimulcastLayer};
use str0m::{IceCreds, Rtc};

/// How long the server may take for an answer. LiveKit's clients wait 15 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Sections of a kind that one requirement adds. Beyond: the server asks again.
const ASKED_MAX: u32 = 256;

#[derive(Default)]
pub(super) struct Negotiation {
    last_id: u32,
    pending: Option<Pending>,
    /// Sections on which we want to receive.
    receiving: Vec<Mid>,
    /// Sections on which we send no more, to be offered so.
    silenced: Vec<Mid>,
    /// What the server asked for last.
    asked: Option<(u32, u32)>,
    has_channels: bool,
    /// With two connections: somebody wants to send.
    wanted: bool,
}

struct Pending {
    id: u32,
    token: SdpPendingOffer,
    added: Vec<(TrackHandle, Mid)>,
    /// Sections that it would add.
    receiving: Vec<Mid>,
    channels: bool,
    /// It restarts ICE with these credentials.
    restart: Option<IceCreds>,
    due: Instant,
}

/// A track for which a section is needed.
#[derive(Clone, Debug)]
pub(super) struct NewTrack {
    pub(super) handle: TrackHandle,
    pub(super) kind: Kind,
    pub(super) cid: String,
    pub(super) stream: String,
    /// Empty: sent once.
    pub(super) layers: Vec<Layer>,
}

/// What the next offer changes.
#[derive(Debug, Default)]
struct Wish {
    tracks: Vec<NewTrack>,
    audio: u32,
    video: u32,
    channels: bool,
    silenced: Vec<Mid>,
    restart: bool,
}

/// An offer that str0m made.
struct Made {
    sdp: String,
    token: SdpPendingOffer,
    added: Vec<(TrackHandle, Mid)>,
    receiving: Vec<Mid>,
    restart: Option<IceCreds>,
}

impl Negotiation {
    /// Somebody wants to send.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    pub(super) fn silence(&mut self, mid: Mid) {
        self.silenced.push(mid);
    }

    /// The offer in flight will not be answered: what it would have changed is as before. The tracks
    /// that it had.
    pub(super) fn roll_back(&mut self) -> Vec<TrackHandle> {
        let Some(pending) = self.pending.take() else {
            return Vec::new();
        };
        self.receiving
            .retain(|mid| !pending.receiving.contains(mid));
        self.has_channels &= !pending.channels;
        let added = pending.added.into_iter();
        added.map(|(track, _)| track).collect()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.pending.as_ref().map(|pending| pending.due)
    }

    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.poll_timeout().is_some_and(|due| due <= now)
    }
}

impl Session {
    /// The offer that travels with the join.
    pub(super) fn first_offer(&mut self, now: Instant) -> Result<lk::SessionDescription, String> {
        let wish = Wish {
            audio: self.options.receive.audio.min(ASKED_MAX),
            video: self.options.receive.video.min(ASKED_MAX),
            channels: true,
            ..Wish::default()
        };
        self.describe(&wish, now)
    }

    /// The server needs more sections.
    pub(super) fn handle_requirement(
        &mut self,
        requirement: lk::MediaSectionsRequirement,
        now: Instant,
    ) {
        let (audio, video) = (requirement.num_audios, requirement.num_videos);
        self.negotiation.asked = Some((audio, video));
        self.out.say(SessionEvent::SectionsAsked { audio, video });
        self.offer(now);
    }

    /// Offers what is wanted, unless an offer is in flight.
    pub(super) fn offer(&mut self, now: Instant) {
        let busy = self.negotiation.pending.is_some() || self.is_resuming();
        if self.end.is_some() || !self.joined || busy {
            return;
        }
        let dual = self.options.mode == PeerMode::Dual;
        let tracks = self.publications.take_wanted();
        let negotiation = &mut self.negotiation;
        let asked = negotiation.asked.take();
        let wish = Wish {
            channels: !negotiation.has_channels,
            silenced: std::mem::take(&mut negotiation.silenced),
            audio: asked.map_or(0, |(audio, _)| audio.min(ASKED_MAX)),
            video: asked.map_or(0, |(_, video)| video.min(ASKED_MAX)),
            tracks,
            restart: false,
        };
        let opens = dual && negotiation.wanted && wish.channels;
        if wish.tracks.is_empty() && wish.silenced.is_empty() && asked.is_none() && !opens {
            return;
        }
        match self.describe(&wish, now) {
            Ok(description) => self.say(Message::Offer(description)),
            Err(cause) => {
                let cause = format!("no offer can be made: {cause}");
                self.finish(EndReason::MediaFailed(cause), now);
            }
        }
    }

    /// Offers that the way of media is found anew, with the tracks of an offer that was not answered:
    /// what a server hears first must have all that it may know of. False: there is no media.
    pub(super) fn restart_ice(&mut self, now: Instant) -> bool {
        if !self.publisher.is_described() {
            return false;
        }
        let wish = Wish {
            restart: true,
            tracks: self.publications.take_wanted(),
            ..Wish::default()
        };
        match self.describe(&wish, now) {
            Ok(description) => self.say(Message::Offer(description)),
            Err(cause) => {
                let cause = format!("no offer can be made: {cause}");
                self.finish(EndReason::MediaFailed(cause), now);
            }
        }
        true
    }

    fn describe(&mut self, wish: &Wish, now: Instant) -> Result<lk::SessionDescription, String> {
        let receiving = self.negotiation.receiving.clone();
        let sending = self.publications.mids();
        let made = self
            .publisher
            .call(|rtc| make(rtc, wish, &receiving, &sending))?;
        let negotiation = &mut self.negotiation;
        negotiation.last_id = negotiation.last_id.wrapping_add(1).max(1);
        negotiation.has_channels |= wish.channels;
        negotiation.receiving.extend(&made.receiving);
        negotiation.pending = Some(Pending {
            id: negotiation.last_id,
            token: made.token,
            added: made.added,
            receiving: made.receiving,
            channels: wish.channels,
            restart: made.restart,
            due: now + ANSWER_TIMEOUT,
        });
        self.out.counters.offers += 1;
        let names = self.publications.names();
        let names = names.into_iter().map(|(mid, name)| (mid.to_string(), name));
        Ok(lk::SessionDescription {
            r#type: "offer".to_owned(),
            sdp: sdp::with_names(&made.sdp, &names.collect()),
            id: self.negotiation.last_id,
            ..lk::SessionDescription::default()
        })
    }

    /// The server's answer to the newest offer; one to an earlier offer is dropped. 0 is an answer of
    /// a server that knows no ids.
    pub(super) fn handle_answer(&mut self, answer: &lk::SessionDescription, now: Instant) {
        let newest = |pending: &mut Pending| answer.id == 0 || answer.id == pending.id;
        let Some(pending) = self.negotiation.pending.take_if(newest) else {
            self.out.counters.stale_answers += 1;
            return;
        };
        let (added, restarts) = (pending.added, pending.restart.is_some());
        let fingerprint = sdp::fingerprint(&answer.sdp);
        let accepted = match pending.restart {
            Some(credentials) if self.publisher.is_stranger(fingerprint) => {
                self.succeed(&answer.sdp, credentials, now)
            }
            _ => self.accept(pending.token, &answer.sdp, now),
        };
        if let Err(cause) = accepted {
            let cause = format!("the server's answer cannot be used: {}", one_line(&cause));
            self.finish(EndReason::MediaFailed(cause), now);
            return;
        }
        self.publisher.handle_described(fingerprint);
        if self.primary() == Connection::Publisher {
            Timeline::mark(&mut self.timeline.answered, now);
        }
        for (track, mid) in added {
            self.handle_section(track, mid);
        }
        if self.options.mode == PeerMode::Single {
            self.bind(&sdp::read(&answer.sdp), &answer.mid_to_track_id);
        }
        self.drain(Connection::Publisher, now);
        if restarts {
            let fresh = self.publisher.reachable.is_none();
            let waits = fresh || self.publisher.checks;
            self.handle_restarted(Connection::Publisher, waits, now);
        }
        // Whatever was wanted while the offer was in flight.
        self.offer(now);
    }

    fn accept(&mut self, token: SdpPendingOffer, sdp: &str, now: Instant) -> Result<(), String> {
        self.publisher.call(|rtc| {
            let answer = SdpAnswer::from_sdp_string(sdp).map_err(|e| e.to_string())?;
            rtc.sdp_api().accept_answer(token, answer).map_err(text)
        })?;
        self.publisher.kick(now)
    }
}

/// The parser's messages go over several lines.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn make(rtc: &mut Rtc, wish: &Wish, receiving: &[Mid], sending: &[Mid]) -> Result<Made, String> {
    let mut changes = rtc.sdp_api();
    if wish.channels {
        for kind in [DataKind::Lossy, DataKind::Reliable] {
            changes.add_channel_with_config(channel(kind));
        }
    }
    let mut added = Vec::new();
    for track in &wish.tracks {
        added.push((track.handle, add_track(&mut changes, track)));
    }
    let mut new_receiving = Vec::new();
    let kinds = [
        (MediaKind::Audio, wish.audio),
        (MediaKind::Video, wish.video),
    ];
    for (kind, count) in kinds {
        for _ in 0..count {
            new_receiving.push(changes.add_media(kind, Direction::RecvOnly, None, None, None));
        }
    }
    // We go on wanting to receive where the last answer sent nothing.
    for mid in receiving {
        changes.set_direction(*mid, Direction::RecvOnly);
    }
    for mid in &wish.silenced {
        detour(&mut changes, *mid, Direction::SendOnly, Direction::Inactive);
    }
    let restart = wish.restart.then(|| changes.ice_restart(true));
    if !changes.has_changes() {
        match (receiving.first(), sending.first()) {
            (Some(mid), _) => {
                detour(&mut changes, *mid, Direction::SendRecv, Direction::RecvOnly);
            }
            (None, Some(mid)) => {
                detour(&mut changes, *mid, Direction::SendRecv, Direction::SendOnly);
            }
            (None, None) => {
                let (kind, direction) = (MediaKind::Audio, Direction::RecvOnly);
                new_receiving.push(changes.add_media(kind, direction, None, None, None));
            }
        }
    }
    let (offer, token) = changes.apply().ok_or("nothing to offer")?;
    Ok(Made {
        sdp: offer.to_sdp_string(),
        token,
        added,
        receiving: new_receiving,
        restart,
    })
}

fn detour(changes: &mut SdpApi<'_>, mid: Mid, over: Direction, to: Direction) {
    changes.set_direction(mid, over);
    changes.set_direction(mid, to);
}

fn add_track(changes: &mut SdpApi<'_>, track: &NewTrack) -> Mid {
    let simulcast = (!track.layers.is_empty()).then(|| {
        let mut simulcast = Simulcast::new();
        for layer in &track.layers {
            simulcast.add_send_layer(SimulcastLayer::new(layer.name()));
        }
        simulcast
    });
    changes.add_media(
        track.kind.media(),
        Direction::SendOnly,
        Some(track.stream.clone()),
        // The server finds the announced track by this name.
        Some(track.cid.clone()),
        simulcast,
    )
}

/// How a channel is asked for.
pub(super) fn channel(kind: DataKind) -> ChannelConfig {
    let (ordered, reliability) = match kind {
        DataKind::Reliable => (true, Reliability::Reliable),
        DataKind::Lossy => (false, Reliability::MaxRetransmits { retransmits: 0 }),
    };
    ChannelConfig {
        label: kind.label().to_owned(),
        ordered,
        reliability,
        negotiated: None,
        protocol: String::new(),
    }
}
