//! One peer connection: an `Rtc`, how it is fed and drained, and what its media sections are for.
//!
//! Every call into the `Rtc` goes through [`Transport::call`], so that a fault ends this transport
//! and no other. Decides nothing about rooms or tracks.

use super::census::Quality;
use super::channels::Channels;
use super::demux::Addresses;
use super::fan::Control;
use super::guard::{Fault, guard};
use super::outbox::{Happened, Outbox};
use super::outgoing::{Outgoing, Way};
use super::sdp::{Direction, SectionKind};
use super::timers::{Timer, Timers};
use super::{ParticipantKey, SubscriptionKey, TrackKey, TransportKey, tap};
use proto::media::{Target, TransportLoss};
use std::collections::BTreeMap;
use std::time::Instant;
use str0m::media::{Mid, Rid};
use str0m::net::Protocol;
use str0m::rtp::Ssrc;
use str0m::{Input, Output, Rtc};

/// Most outputs of one drain. A transport that has more to say is stuck in a loop: it is dropped.
const MAX_OUTPUTS: usize = 20_000;
/// Most errors in one drain before the transport is given up.
const MAX_ERRORS: usize = 8;
/// Most RTP streams known per transport: 32 tracks of 3 layers and room for restarts. Those without
/// a track are forgotten then; what still does not fit is not forwarded.
pub(super) const MAX_INBOUND: usize = 256;

/// What a media section is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Nothing.
    Idle,
    /// The client's own track comes in here.
    Carries(TrackKey),
    /// A forwarded track goes out here.
    Sends(SubscriptionKey),
}

/// A negotiated media section.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub(super) mid: String,
    pub(super) kind: SectionKind,
    /// As the client means it.
    pub(super) direction: Direction,
    pub(super) cid: Option<String>,
    /// Payload types in the client's order of preference.
    pub(super) payload_types: Vec<String>,
    pub(super) role: Role,
    /// The last description showed the client a track here that is gone since.
    pub(super) stale: bool,
    /// Has sent before: the next track needs a new SSRC, or the client shows no picture.
    pub(super) used: bool,
}

impl Section {
    pub(super) fn mid(&self) -> Mid {
        Mid::from(self.mid.as_str())
    }
}

/// A stream of packets from the client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inbound {
    pub(super) mid: Mid,
    pub(super) rid: Option<Rid>,
    /// Where it goes; `None` until the track is announced.
    pub(super) track: Option<TrackKey>,
}

/// A stream that a fresh transport must know about, because the client does not name it again.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeptStream {
    pub(super) ssrc: Ssrc,
    pub(super) rtx: Option<Ssrc>,
    pub(super) mid: Mid,
    pub(super) rid: Option<Rid>,
}

/// One peer connection of a participant.
pub(super) struct Transport {
    rtc: Box<Rtc>,
    pub(super) owner: ParticipantKey,
    pub(super) target: Target,
    pub(super) sections: Vec<Section>,
    pub(super) inbound: BTreeMap<Ssrc, Inbound>,
    pub(super) channels: Channels,
    pub(super) outgoing: Outgoing,
    pub(super) quality: Quality,
    /// ICE and DTLS were up once.
    pub(super) connected: bool,
    /// An ICE restart is under way; the next nomination is told as connected.
    pub(super) restarting: bool,
    pub(super) ice_lost_at: Option<Instant>,
    deadline: Option<Instant>,
    lost: bool,
}

impl Transport {
    pub(super) fn new(rtc: Box<Rtc>, owner: ParticipantKey, target: Target) -> Self {
        Self {
            rtc,
            owner,
            target,
            sections: Vec::new(),
            inbound: BTreeMap::new(),
            channels: Channels::default(),
            outgoing: Outgoing::default(),
            quality: Quality::default(),
            connected: false,
            restarting: false,
            ice_lost_at: None,
            deadline: None,
            lost: false,
        }
    }

    /// Runs one change on the `Rtc`. The caller drains afterwards with [`Transport::drain`].
    pub(super) fn call<R>(&mut self, change: impl FnOnce(&mut Rtc) -> R) -> Result<R, Fault> {
        if self.lost {
            return Err(Fault);
        }
        let result = guard(&mut self.rtc, change);
        if result.is_err() {
            self.lost = true;
        }
        result
    }

    /// Frees the section with this role; the client still shows what was there.
    pub(super) fn free(&mut self, role: Role) {
        for section in &mut self.sections {
            if section.role == role {
                section.role = Role::Idle;
                section.stale = matches!(role, Role::Sends(_));
            }
        }
    }

    pub(super) fn section_of(&self, mid: Mid) -> Option<&Section> {
        self.sections.iter().find(|section| section.mid() == mid)
    }

    /// Learns where packets of `ssrc` belong. `None` if str0m does not know either.
    pub(super) fn discover(&mut self, ssrc: Ssrc) -> Option<Inbound> {
        if self.inbound.len() >= MAX_INBOUND {
            self.inbound.retain(|_, known| known.track.is_some());
        }
        if self.inbound.len() >= MAX_INBOUND {
            return None;
        }
        let (mid, rid) = self
            .call(|rtc| {
                let mut api = rtc.direct_api();
                let stream = api.stream_rx(&ssrc)?;
                Some((stream.mid(), stream.rid()))
            })
            .ok()??;
        let track = match self.section_of(mid)?.role {
            Role::Carries(track) => Some(track),
            Role::Idle | Role::Sends(_) => None,
        };
        let inbound = Inbound { mid, rid, track };
        self.inbound.insert(ssrc, inbound);
        Some(inbound)
    }

    /// The streams known here, for the transport that replaces this one.
    pub(super) fn kept_streams(&mut self) -> Vec<KeptStream> {
        let known: Vec<(Ssrc, Inbound)> = self.inbound.iter().map(|(s, i)| (*s, *i)).collect();
        known
            .into_iter()
            .map(|(ssrc, inbound)| KeptStream {
                ssrc,
                rtx: self
                    .call(|rtc| rtc.direct_api().stream_rx(&ssrc).and_then(|rx| rx.rtx()))
                    .ok()
                    .flatten(),
                mid: inbound.mid,
                rid: inbound.rid,
            })
            .collect()
    }

    /// Lets the `Rtc` say everything it has to say, until it only waits.
    pub(super) fn drain(
        &mut self,
        key: TransportKey,
        addresses: &Addresses,
        outbox: &mut Outbox,
        timers: &mut Timers,
        now: Instant,
    ) {
        match self.try_drain(key, addresses, outbox, now) {
            Ok(deadline) => {
                if self.deadline != deadline {
                    self.deadline = deadline;
                    timers.set(Timer::Transport(key), deadline);
                }
            }
            Err(loss) => {
                self.lost = true;
                outbox.happened.push_back((key, Happened::Lost(loss)));
            }
        }
    }

    /// The timer fired, so that it is not set any more.
    pub(super) fn forget_deadline(&mut self) {
        self.deadline = None;
    }

    fn try_drain(
        &mut self,
        key: TransportKey,
        addresses: &Addresses,
        outbox: &mut Outbox,
        now: Instant,
    ) -> Result<Option<Instant>, TransportLoss> {
        let mut errors = 0;
        for _ in 0..MAX_OUTPUTS {
            let output = self
                .call(Rtc::poll_output)
                .map_err(|_| TransportLoss::Fault)?;
            if let Some(keys) = tap::take() {
                self.outgoing.keys = Some(keys);
            }
            match output {
                Ok(Output::Timeout(at)) if at > now => return Ok(Some(at)),
                Ok(Output::Timeout(_)) => {
                    if let Err(error) = self
                        .call(|rtc| rtc.handle_input(Input::Timeout(now)))
                        .map_err(|_| TransportLoss::Fault)?
                    {
                        errors += 1;
                        tracing::debug!(%error, ?key, "transport timeout failed");
                    }
                }
                Ok(Output::Transmit(transmit)) => {
                    if let Some(mut control) = control(transmit, addresses)
                        && self.outgoing.pass(control.way, &mut control.contents, now)
                    {
                        outbox.counters.bytes_out += control.contents.len() as u64;
                        outbox.transmits.push_back(control);
                    }
                }
                Ok(Output::Event(event)) => {
                    let event = Happened::Event(Box::new(event));
                    outbox.happened.push_back((key, event));
                }
                Err(error) => {
                    errors += 1;
                    tracing::debug!(%error, ?key, "transport poll failed");
                }
            }
            if errors > MAX_ERRORS {
                return Err(TransportLoss::Fault);
            }
            if !self.call(|rtc| rtc.is_alive()).unwrap_or(false) {
                return Err(if errors > 0 {
                    TransportLoss::Fault
                } else {
                    TransportLoss::PeerClosed
                });
            }
        }
        Err(TransportLoss::Fault)
    }
}

/// A datagram of str0m with the socket it leaves from.
fn control(transmit: str0m::net::Transmit, addresses: &Addresses) -> Option<Control> {
    let transport = match transmit.proto {
        Protocol::Udp => super::config::Transport::Udp,
        Protocol::Tcp => super::config::Transport::Tcp,
        Protocol::SslTcp | Protocol::Tls => return None,
    };
    let way = Way {
        transport,
        local: addresses.base_of(transport, transmit.source)?,
        remote: transmit.destination,
    };
    Some(Control {
        way,
        contents: transmit.contents.into(),
    })
}
