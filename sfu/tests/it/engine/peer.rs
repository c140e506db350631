//! One connection of a test client: a full ICE str0m in RTP mode, without sockets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::channel::{ChannelConfig, ChannelId, Reliability};
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind, Mid, Pt, Rid, Simulcast, SimulcastLayer};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{Extension, ExtensionSerializer, ExtensionValues, RtpWrite};
use str0m::{Candidate, Event, Input, Output, Rtc};

/// A packet that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) mid: String,
    pub(crate) ssrc: u32,
    pub(crate) sequence: u64,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) level: Option<i8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) descriptor: Option<Vec<u8>>,
}

/// What a peer sends.
pub(crate) struct Sent {
    /// `None`: the first that was agreed on.
    pub(crate) codec: Option<Codec>,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) level: Option<i8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) descriptor: Option<Vec<u8>>,
}

/// A dependency descriptor on its way.
#[derive(Debug)]
struct Descriptor(Vec<u8>);

#[derive(Debug)]
struct Descriptors;

impl ExtensionSerializer for Descriptors {
    fn write_to(&self, into: &mut [u8], values: &ExtensionValues) -> usize {
        let Some(Descriptor(bytes)) = values.user_values.get() else {
            return 0;
        };
        into[..bytes.len()].copy_from_slice(bytes);
        bytes.len()
    }

    fn parse_value(&self, bytes: &[u8], values: &mut ExtensionValues) -> bool {
        values.user_values.set(Descriptor(bytes.to_vec()));
        true
    }

    fn is_video(&self) -> bool {
        true
    }

    fn is_audio(&self) -> bool {
        false
    }

    fn requires_two_byte_form(&self, values: &ExtensionValues) -> bool {
        let found = values.user_values.get::<Descriptor>();
        found.is_some_and(|found| found.0.len() > 16)
    }
}

const DESCRIPTORS: &str =
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";

/// A peer connection.
pub(crate) struct Peer {
    pub(crate) rtc: Rtc,
    pub(crate) address: SocketAddr,
    pending: Option<SdpPendingOffer>,
    pub(crate) got: Vec<Got>,
    pub(crate) data: Vec<(String, Vec<u8>)>,
    pub(crate) keyframes_wanted: Vec<(Mid, Option<Rid>)>,
    pub(crate) channels: BTreeMap<String, ChannelId>,
    pub(crate) connected: bool,
    pub(crate) closed: bool,
    sequences: BTreeMap<(String, Option<String>), u64>,
    deadline: Instant,
    stashed: Vec<(SocketAddr, Vec<u8>)>,
    receiving: Vec<Mid>,
}

impl Peer {
    pub(crate) fn new(address: SocketAddr, now: Instant) -> Self {
        let mut rtc = Rtc::builder()
            .set_crypto_provider(Arc::new(str0m::crypto::from_feature_flags()))
            // Under another id than the node's.
            .set_extension(8, Extension::with_serializer(DESCRIPTORS, Descriptors))
            .set_rtp_mode(true)
            .build(now);
        rtc.add_local_candidate(Candidate::host(address, "udp").unwrap());
        Self {
            rtc,
            address,
            pending: None,
            got: Vec::new(),
            data: Vec::new(),
            keyframes_wanted: Vec::new(),
            channels: BTreeMap::new(),
            connected: false,
            closed: false,
            sequences: BTreeMap::new(),
            deadline: now,
            stashed: Vec::new(),
            receiving: Vec::new(),
        }
    }

    /// An offer with new sections: (kind, simulcast rids, cid); without cid a receiving one.
    pub(crate) fn offer(
        &mut self,
        sections: &[(MediaKind, &[&str], Option<&str>)],
        channels: &[(&str, Option<u16>)],
        ice_restart: bool,
    ) -> (String, Vec<Mid>) {
        let mut changes = self.rtc.sdp_api();
        for (label, id) in channels {
            changes.add_channel_with_config(channel(label, *id));
        }
        let mut mids = Vec::new();
        for (kind, rids, cid) in sections {
            let direction = if cid.is_some() {
                Direction::SendOnly
            } else {
                Direction::RecvOnly
            };
            let simulcast = (!rids.is_empty()).then(|| {
                let mut simulcast = Simulcast::new();
                for rid in *rids {
                    simulcast.add_send_layer(SimulcastLayer::new(rid));
                }
                simulcast
            });
            mids.push(changes.add_media(
                *kind,
                direction,
                cid.map(|_| "stream".to_owned()),
                cid.map(str::to_owned),
                simulcast,
            ));
        }
        // A browser goes on wanting to receive where the last answer sent nothing.
        for mid in &self.receiving {
            changes.set_direction(*mid, Direction::RecvOnly);
        }
        if ice_restart {
            changes.ice_restart(true);
        } else if !changes.has_changes() {
            // str0m offers only if something changed; a browser offers when asked.
            let unused = MediaKind::Audio;
            self.receiving
                .push(changes.add_media(unused, Direction::RecvOnly, None, None, None));
        }
        let (offer, pending) = changes.apply().unwrap();
        let added = sections.iter().zip(&mids);
        let receiving = added.filter(|((_, _, cid), _)| cid.is_none());
        self.receiving.extend(receiving.map(|(_, mid)| *mid));
        self.pending = Some(pending);
        (offer.to_sdp_string(), mids)
    }

    pub(crate) fn take_answer(&mut self, sdp: &str) {
        let answer = SdpAnswer::from_sdp_string(sdp).unwrap();
        let pending = self.pending.take().unwrap();
        self.rtc.sdp_api().accept_answer(pending, answer).unwrap();
    }

    pub(crate) fn answer(&mut self, offer: &str) -> String {
        let offer = SdpOffer::from_sdp_string(offer).unwrap();
        self.rtc
            .sdp_api()
            .accept_offer(offer)
            .unwrap()
            .to_sdp_string()
    }

    pub(crate) fn send(&mut self, mid: Mid, rid: Option<Rid>, sent: Sent, now: Instant) -> bool {
        let kind = self.rtc.media(mid).unwrap().kind();
        let Some(pt) = self.payload_type(mid, sent.codec) else {
            return false;
        };
        let key = (mid.to_string(), rid.map(|rid| rid.to_string()));
        // Near the wrap of 16 bits, so that every test crosses it.
        let sequence = self.sequences.entry(key).or_insert(65_500);
        *sequence += 1;
        let mut values = ExtensionValues {
            audio_level: sent.level,
            voice_activity: sent.level.map(|level| level > -40),
            ..ExtensionValues::default()
        };
        if let Some(descriptor) = sent.descriptor {
            values.user_values.set(Descriptor(descriptor));
        }
        let write = RtpWrite::new(pt, (*sequence).into(), sent.timestamp, now, sent.payload)
            .marker(sent.marker)
            .ext_vals(values)
            .nackable(kind.is_video());
        let mut api = self.rtc.direct_api();
        let Some(stream) = api.stream_tx_by_mid(mid, rid) else {
            return false;
        };
        stream.write_rtp(write);
        true
    }

    /// The first one of the section, or that of a codec.
    fn payload_type(&self, mid: Mid, codec: Option<Codec>) -> Option<Pt> {
        let taken = self.rtc.media(mid)?.remote_pts();
        let Some(codec) = codec else {
            return taken.first().copied();
        };
        let known = self.rtc.codec_config().params().iter();
        let mut of_codec = known.filter(|params| params.spec().codec == codec);
        let found = of_codec.find(|params| taken.contains(&params.pt()));
        found.map(|params| params.pt())
    }

    pub(crate) fn send_data(&mut self, label: &str, data: &[u8]) -> bool {
        let Some(id) = self.channels.get(label) else {
            return false;
        };
        self.rtc.channel(*id).unwrap().write(true, data).unwrap()
    }

    pub(crate) fn receive(&mut self, source: SocketAddr, contents: &[u8], now: Instant) {
        let receive = Receive::new(Protocol::Udp, source, self.address, contents).unwrap();
        let input = Input::Receive(now, receive);
        if self.rtc.accepts(&input) {
            self.rtc.handle_input(input).unwrap();
        }
    }

    /// Drains after one change; the datagrams leave with the next [`Peer::drain`].
    pub(crate) fn stash(&mut self, now: Instant) {
        let out = self.drain(now);
        self.stashed = out;
    }

    /// Sends on with the SSRC that another connection had, as a client does after an ICE restart.
    pub(crate) fn adopt_stream(
        &mut self,
        old: &mut Self,
        old_mid: Mid,
        mid: Mid,
        rid: Option<Rid>,
    ) {
        let mut api = old.rtc.direct_api();
        let stream = api.stream_tx_by_mid(old_mid, rid).unwrap();
        let (ssrc, rtx) = (stream.ssrc(), stream.rtx());
        let mut api = self.rtc.direct_api();
        let fresh = api.stream_tx_by_mid(mid, rid).unwrap().ssrc();
        if fresh != ssrc {
            api.remove_stream_tx(fresh);
            api.declare_stream_tx(ssrc, rtx, mid, rid);
        }
    }

    /// Starts timers that a description wound up.
    pub(crate) fn kick(&mut self, now: Instant) {
        self.rtc.handle_input(Input::Timeout(now)).unwrap();
    }

    /// Everything there is to send, until the peer only waits.
    pub(crate) fn drain(&mut self, now: Instant) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut out = std::mem::take(&mut self.stashed);
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(at) if at > now => {
                    self.deadline = at;
                    return out;
                }
                Output::Timeout(_) => self.rtc.handle_input(Input::Timeout(now)).unwrap(),
                Output::Transmit(transmit) => {
                    out.push((transmit.destination, transmit.contents.into()));
                }
                Output::Event(event) => self.handle(event),
            }
            if !self.rtc.is_alive() {
                self.closed = true;
                return out;
            }
        }
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Connected => self.connected = true,
            Event::Closed => self.closed = true,
            Event::RtpPacket(packet) => {
                let ssrc = packet.header.ssrc;
                let mid = self.rtc.direct_api().stream_rx(&ssrc).unwrap().mid();
                let values = &packet.header.ext_vals;
                self.got.push(Got {
                    mid: mid.to_string(),
                    ssrc: *ssrc,
                    sequence: *packet.seq_no,
                    timestamp: packet.header.timestamp,
                    marker: packet.header.marker,
                    level: values.audio_level,
                    payload: packet.payload.to_vec(),
                    descriptor: values
                        .user_values
                        .get::<Descriptor>()
                        .map(|it| it.0.clone()),
                });
            }
            Event::KeyframeRequest(request) => {
                self.keyframes_wanted.push((request.mid, request.rid));
            }
            Event::ChannelOpen(id, label) => {
                self.channels.insert(label, id);
            }
            Event::ChannelData(data) => {
                let label = self.channels.iter().find(|(_, id)| **id == data.id);
                let label = label.map_or_else(String::new, |(label, _)| label.clone());
                self.data.push((label, data.data));
            }
            _ => {}
        }
    }
}

fn channel(label: &str, negotiated: Option<u16>) -> ChannelConfig {
    let reliable = label == "_reliable";
    ChannelConfig {
        label: label.to_owned(),
        ordered: reliable,
        reliability: if reliable {
            Reliability::Reliable
        } else {
            Reliability::MaxRetransmits { retransmits: 0 }
        },
        negotiated,
        protocol: String::new(),
    }
}
