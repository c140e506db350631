//! A peer connection without a protocol around it, for servers that take an offer or make one: str0m
//! with a counter in front of it.
//!
//! Counts as LiveKit's client does (`client::Fidelity`): the media of one who only counts is known by
//! its clear header and never gets to str0m.

use super::camera::Packet;
use super::media::Heard;
use anyhow::Context as _;
use client::{DatagramKind, RtpHead};
use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::config::CryptoProvider;
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{Extension, ExtensionMap, RtpWrite};
use str0m::{Candidate, Event, Input, Output, Rtc};

/// First sequence number: below 2^16 (RFC 3711 section 3.3.1), and a few can be lost before a wrap.
const FIRST_SEQUENCE: u64 = 1000;

/// A connection that sends one video or receives some.
pub(crate) struct Plain {
    rtc: Rtc,
    local: SocketAddr,
    decrypts: bool,
    deadline: Instant,
    pending: Option<SdpPendingOffer>,
    sends: Option<Mid>,
    payload_type: Option<Pt>,
    sent: u64,
    /// Sources that str0m has told apart from repeats.
    known: HashSet<u32>,
    transmits: VecDeque<(SocketAddr, Vec<u8>)>,
    heard: VecDeque<Heard>,
}

impl Plain {
    /// With a socket at `local`; takes a millisecond or two.
    pub(crate) fn new(local: SocketAddr, decrypts: bool, now: Instant) -> anyhow::Result<Self> {
        let mut rtc = Rtc::builder()
            .set_crypto_provider(crypto())
            .set_rtp_mode(true)
            .set_extension_map(extensions())
            .clear_codecs()
            .enable_vp8(true)
            .build(now);
        let candidate = Candidate::host(local, "udp").context("make a candidate")?;
        rtc.add_local_candidate(candidate);
        Ok(Self {
            rtc,
            local,
            decrypts,
            deadline: now,
            pending: None,
            sends: None,
            payload_type: None,
            sent: 0,
            known: HashSet::new(),
            transmits: VecDeque::new(),
            heard: VecDeque::new(),
        })
    }

    /// An offer to send one video.
    pub(crate) fn offer_to_send(&mut self) -> anyhow::Result<String> {
        let mut api = self.rtc.sdp_api();
        let name = Some("camera".to_owned());
        let mid = api.add_media(
            MediaKind::Video,
            Direction::SendOnly,
            name.clone(),
            name,
            None,
        );
        self.sends = Some(mid);
        let (offer, pending) = api.apply().context("there is nothing to offer")?;
        self.pending = Some(pending);
        Ok(offer.to_sdp_string())
    }

    /// An offer to receive some.
    pub(crate) fn offer_to_receive(&mut self, videos: usize) -> anyhow::Result<String> {
        let mut api = self.rtc.sdp_api();
        for _ in 0..videos {
            api.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        }
        let (offer, pending) = api.apply().context("there is nothing to offer")?;
        self.pending = Some(pending);
        Ok(offer.to_sdp_string())
    }

    /// The server's answer.
    pub(crate) fn accept_answer(&mut self, sdp: &str, now: Instant) -> anyhow::Result<()> {
        let answer = SdpAnswer::from_sdp_string(sdp).context("read the answer")?;
        let pending = self.pending.take().context("nothing was offered")?;
        self.rtc
            .sdp_api()
            .accept_answer(pending, answer)
            .context("take the answer")?;
        self.kick(now)
    }

    /// Our answer to the server's offer.
    pub(crate) fn answer(&mut self, sdp: &str, now: Instant) -> anyhow::Result<String> {
        let offer = SdpOffer::from_sdp_string(sdp).context("read the offer")?;
        let answer = self.rtc.sdp_api().accept_offer(offer);
        let answer = answer.context("take the offer")?.to_sdp_string();
        self.kick(now)?;
        Ok(answer)
    }

    fn kick(&mut self, now: Instant) -> anyhow::Result<()> {
        self.rtc
            .handle_input(Input::Timeout(now))
            .context("start the connection")?;
        self.drain(now);
        Ok(())
    }

    pub(crate) fn handle_datagram(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) {
        let is_media = DatagramKind::of(datagram) == DatagramKind::Rtp;
        if is_media
            && !self.decrypts
            && let Some(head) = RtpHead::parse(datagram)
            && self.known.contains(&head.ssrc)
        {
            self.heard.push_back(Heard::Media {
                source: head.ssrc,
                bytes: datagram.len(),
                payload: None,
            });
            return;
        }
        let Ok(receive) = Receive::new(Protocol::Udp, from, self.local, datagram) else {
            return;
        };
        let input = Input::Receive(now, receive);
        if self.rtc.accepts(&input) {
            if let Err(error) = self.rtc.handle_input(input) {
                self.heard.push_back(Heard::Ended(error.to_string()));
            }
            self.drain(now);
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if let Err(error) = self.rtc.handle_input(Input::Timeout(now)) {
            self.heard.push_back(Heard::Ended(error.to_string()));
        }
        self.drain(now);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.rtc.is_alive().then_some(self.deadline)
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.transmits.pop_front()
    }

    pub(crate) fn poll_heard(&mut self) -> Option<Heard> {
        self.heard.pop_front()
    }

    /// Sends a packet of the video; false: it was not taken.
    pub(crate) fn write(&mut self, packet: Packet, now: Instant) -> bool {
        let (Some(mid), Some(pt)) = (self.sends, self.payload_type) else {
            return false;
        };
        let mut api = self.rtc.direct_api();
        let Some(stream) = api.stream_tx_by_mid(mid, None) else {
            return false;
        };
        let sequence = (FIRST_SEQUENCE + self.sent).into();
        let write = RtpWrite::new(pt, sequence, packet.timestamp, now, packet.payload)
            .marker(packet.marker)
            .nackable(true);
        stream.write_rtp(write);
        self.sent += 1;
        self.drain(now);
        true
    }

    /// Says goodbye.
    pub(crate) fn close(&mut self, now: Instant) {
        let _ = self.rtc.close();
        self.drain(now);
    }

    fn drain(&mut self, now: Instant) {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    if at > now || !self.rtc.is_alive() {
                        self.deadline = at;
                        return;
                    }
                    // A fault there shows as the end of this connection.
                    if self.rtc.handle_input(Input::Timeout(now)).is_err() {
                        return;
                    }
                }
                Ok(Output::Transmit(transmit)) => {
                    let (to, contents) = (transmit.destination, transmit.contents.into());
                    self.transmits.push_back((to, contents));
                }
                Ok(Output::Event(event)) => self.handle_event(event),
                Err(error) => {
                    self.heard.push_back(Heard::Ended(error.to_string()));
                    return;
                }
            }
        }
    }

    fn handle_event(&mut self, event: Event) {
        match event {
            Event::Connected => {
                if let Some(mid) = self.sends {
                    self.payload_type = self.vp8_of(mid);
                    self.heard.push_back(match self.payload_type {
                        Some(_) => Heard::CanSend,
                        None => Heard::Ended("the server takes no VP8".to_owned()),
                    });
                }
            }
            Event::RtpPacket(packet) => {
                let source = *packet.header.ssrc;
                self.known.insert(source);
                self.heard.push_back(Heard::Media {
                    source,
                    bytes: packet.payload.len(),
                    payload: Some(packet.payload.clone()),
                });
            }
            Event::KeyframeRequest(_) => self.heard.push_back(Heard::KeyFrameWanted),
            Event::IceConnectionStateChange(state) if state.is_disconnected() => {
                let cause = "the way to the server was lost".to_owned();
                self.heard.push_back(Heard::Ended(cause));
            }
            Event::Closed => {
                let cause = "the server closed the connection".to_owned();
                self.heard.push_back(Heard::Ended(cause));
            }
            _ => {}
        }
    }

    fn vp8_of(&self, mid: Mid) -> Option<Pt> {
        let pts = self.rtc.media(mid)?.remote_pts();
        let params = self.rtc.codec_config().params();
        let is_vp8 = |pt: &&Pt| {
            let mut of_pt = params.iter().filter(|params| params.pt() == **pt);
            of_pt.any(|params| params.spec().codec == Codec::Vp8)
        };
        pts.iter().find(is_vp8).copied()
    }
}

fn crypto() -> Arc<CryptoProvider> {
    static CRYPTO: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(CRYPTO.get_or_init(|| Arc::new(str0m::crypto::from_feature_flags())))
}

/// As `client` offers them when it counts.
fn extensions() -> ExtensionMap {
    let mut map = ExtensionMap::empty();
    map.set(2, Extension::AbsoluteSendTime);
    map.set(4, Extension::RtpMid);
    map.set(10, Extension::RtpStreamId);
    map.set(11, Extension::RepairedRtpStreamId);
    map.set(13, Extension::VideoOrientation);
    map
}
