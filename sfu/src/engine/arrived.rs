//! A publisher's packet as the node keeps it until all subscribers have theirs.

use super::dependency;
use super::reading::Content;
use super::relay_message::RelayedPacket;
use super::subscription::{Passage, Route, Subscription};
use super::transport::Transport;
use bandwidth::Why;
use downlink::{Extensions, Packet, Patch, Payload, SharedExtension, StreamConfig};
use proto::media::Kind;
use std::sync::{Arc, LazyLock};
use std::time::Instant;
use str0m::Rtc;
use str0m::format::PayloadParams;
use str0m::media::{Mid, Pt};
use str0m::rtp::{Extension, RtpPacket, Ssrc};

/// Where a dependency descriptor has its frame's number (section A.8.1).
const NUMBER_AT: [usize; 2] = [1, 2];
/// The payload of a packet that has nothing for its receiver.
static NOTHING: LazyLock<Arc<[u8]>> = LazyLock::new(Arc::default);

/// A packet of a publisher.
#[derive(Clone, Debug)]
pub(super) struct Arrived {
    pub(super) ssrc: Ssrc,
    /// Continued beyond 16 bits.
    pub(super) sequence: u64,
    pub(super) timestamp: u32,
    pub(super) params: PayloadParams,
    /// What was read of the payload.
    pub(super) content: Content,
    /// Its track has no other source.
    pub(super) alone: bool,
    pub(super) at: Instant,
    pub(super) payload: Arc<[u8]>,
    pub(super) marker: bool,
    /// As RFC 6464 has it.
    pub(super) audio_level: Option<u8>,
    /// As 3GPP TS 26.114 section 7.4.5 has it.
    pub(super) orientation: Option<u8>,
    /// Its dependency descriptor.
    pub(super) descriptor: Option<Arc<[u8]>>,
}

/// The ids that a subscriber has for header extensions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ExtensionIds {
    mid: Option<u8>,
    audio_level: Option<u8>,
    orientation: Option<u8>,
    descriptor: Option<u8>,
    /// Only if the client tells of packets' arrival by it.
    pub(super) transport_sequence: Option<u8>,
}

impl Arrived {
    /// What the subscribers shall know of the packet; the rest belongs to the publisher's connection.
    pub(super) fn new(packet: &RtpPacket, params: PayloadParams, now: Instant) -> Self {
        let (header, values) = (&packet.header, &packet.header.ext_vals);
        let audio_level = values.audio_level.map(|level| {
            let voice = values.voice_activity.unwrap_or_default();
            // str0m gives 0 down to -127.
            (u8::from(voice) << 7) | level.unsigned_abs().min(127)
        });
        Self {
            ssrc: header.ssrc,
            sequence: *packet.seq_no,
            timestamp: header.timestamp,
            params,
            content: Content::default(),
            alone: false,
            at: now,
            payload: Arc::clone(&packet.payload),
            marker: header.marker,
            audio_level,
            orientation: values.video_orientation.map(|it| it as u8),
            descriptor: dependency::of(values),
        }
    }

    /// A packet that another member had first.
    pub(super) fn relayed(packet: &RelayedPacket, now: Instant) -> Self {
        Self {
            ssrc: packet.ssrc,
            sequence: packet.sequence,
            timestamp: packet.timestamp,
            params: packet.params,
            content: Content::default(),
            alone: false,
            at: now,
            payload: Arc::clone(&packet.payload),
            marker: packet.marker,
            audio_level: packet.audio_level,
            orientation: packet.orientation,
            descriptor: packet.descriptor.clone(),
        }
    }

    /// Writes it behind `into` as the subscriber shall see it; false: it gets nothing.
    pub(super) fn write(
        &self,
        transport: &mut Transport,
        mid: Mid,
        subscription: &mut Subscription,
        now: Instant,
        into: &mut Vec<u8>,
    ) -> bool {
        let Some(route) = route(transport, mid, subscription, self.params, now) else {
            return false;
        };
        let Some(passage) = subscription.pass(self, self.at) else {
            return false;
        };
        let Some(mut lane) = transport.outgoing.lane(route.stream) else {
            return false;
        };
        let mut extensions = self.extensions(route.ids);
        if !lane.leaving.stream.is_known() {
            name(&mut extensions, route.ids, mid);
        }
        lane.number(&mut extensions);
        let payload = self.payload(route, &passage);
        let descriptor = self.described(route.ids, &passage);
        let packet = Packet {
            sequence: passage.numbers.sequence,
            timestamp: passage.numbers.timestamp,
            payload,
            patch: passage.content.map(patch).unwrap_or_default(),
            extensions: &extensions,
            shared: descriptor.as_ref(),
        };
        let begin = into.len();
        let stream = &mut lane.leaving.stream;
        if !stream.send(lane.keys, &packet, self.at, into) {
            return false;
        }
        lane.sent(into.len() - begin, Why::Media, now);
        true
    }

    /// As the subscriber gets it. Receivers take a packet without payload for nothing but its number.
    fn payload(&self, route: Route, passage: &Passage) -> Payload<'_> {
        let (bytes, marker) = match &passage.content {
            Some(content) => (&self.payload, content.marker),
            None => (&*NOTHING, false),
        };
        Payload {
            bytes,
            payload_type: *route.to,
            repeat_type: route.repeat.map(|pt| *pt),
            marker,
        }
    }

    /// Its dependency descriptor as the subscriber shall see it. Other codecs' packets tell all by
    /// themselves, and go without.
    fn described(&self, ids: ExtensionIds, passage: &Passage) -> Option<SharedExtension> {
        let content = passage.content.as_ref()?;
        let (id, original) = (ids.descriptor?, self.descriptor.as_ref()?);
        let payload::Packet::Av1(frame) = &self.content.packet else {
            return None;
        };
        let mut described = SharedExtension {
            id,
            bytes: Arc::clone(original),
            patch: Patch::default(),
        };
        let Some(change) = content.descriptor else {
            return Some(described);
        };
        if change.active.is_some() {
            // With the first frame after a change of layers, and a few others.
            described.bytes = change.write(original, frame)?.as_bytes().into();
        } else {
            let [high, low] = change.number.to_be_bytes();
            let [first, second] = NUMBER_AT;
            described.patch.set(first, high);
            described.patch.set(second, low);
        }
        Some(described)
    }

    fn extensions(&self, ids: ExtensionIds) -> Extensions {
        let mut extensions = Extensions::default();
        let values = [
            (ids.audio_level, self.audio_level),
            (ids.orientation, self.orientation),
        ];
        for (id, value) in values {
            if let (Some(id), Some(value)) = (id, value) {
                // There is room for both.
                let _ = extensions.push(id, &[value]);
            }
        }
        extensions
    }
}

fn patch(content: payload::Passage) -> Patch {
    let mut patch = Patch::default();
    for (offset, value) in content.edits.iter() {
        patch.set(offset, value);
    }
    patch
}

/// Names the section that a stream belongs to, until the receiver knows (RFC 8843 section 15).
pub(super) fn name(extensions: &mut Extensions, ids: ExtensionIds, mid: Mid) {
    if let Some(id) = ids.mid {
        // There is room for it.
        let _ = extensions.push(id, mid.as_bytes());
    }
}

/// The subscriber's payload type and stream for the source's codec. Only a match is remembered:
/// before its answer a subscriber takes nothing.
fn route(
    transport: &mut Transport,
    mid: Mid,
    subscription: &mut Subscription,
    params: PayloadParams,
    now: Instant,
) -> Option<Route> {
    if let Some(route) = subscription.route
        && route.from == params.pt()
    {
        return Some(route);
    }
    let repeats = subscription.kind == Kind::Video;
    let found = transport.call(|rtc| find_route(rtc, mid, params, repeats));
    let (mut route, config) = found.ok().flatten()?;
    if !transport.outgoing.estimates {
        route.ids.transport_sequence = None;
    } else if route.ids.transport_sequence.is_some() {
        transport.outgoing.estimate(now);
    }
    route.stream = transport.outgoing.open(mid, config, route.ids);
    subscription.route = Some(route);
    subscription.route
}

fn find_route(
    rtc: &mut Rtc,
    mid: Mid,
    params: PayloadParams,
    repeats: bool,
) -> Option<(Route, StreamConfig)> {
    let to = matching(rtc, mid, params)?;
    let ids = ids_of(rtc, mid, to)?;
    let mut api = rtc.direct_api();
    let stream = api.stream_tx_by_mid(mid, None)?;
    let route = Route {
        from: params.pt(),
        to: to.pt(),
        repeat: to.resend().filter(|_| repeats),
        ids,
        // Its place comes with the stream.
        stream: 0,
    };
    let config = StreamConfig {
        ssrc: *stream.ssrc(),
        repeat_ssrc: stream.rtx().map(|ssrc| *ssrc),
        clock_rate: to.spec().clock_rate.get(),
    };
    Some((route, config))
}

fn ids_of(rtc: &Rtc, mid: Mid, params: PayloadParams) -> Option<ExtensionIds> {
    let extensions = rtc.media(mid)?.remote_extmap();
    let transport_sequence = extensions.id_of(Extension::TransportSequenceNumber);
    Some(ExtensionIds {
        transport_sequence: transport_sequence.filter(|_| params.fb_transport_cc()),
        mid: extensions.id_of(Extension::RtpMid),
        audio_level: extensions.id_of(Extension::AudioLevel),
        orientation: extensions.id_of(Extension::VideoOrientation),
        descriptor: extensions.id_of(dependency::extension()),
    })
}

fn matching(rtc: &Rtc, mid: Mid, params: PayloadParams) -> Option<PayloadParams> {
    let taken = rtc.media(mid)?.remote_pts();
    let is_taken = |pt: Pt| taken.contains(&pt);
    let config = rtc.codec_config();
    let exact = config.match_params(params).filter(|it| is_taken(it.pt()));
    let similar = || {
        let mut known = config.params().iter();
        known.find(|it| it.spec().codec == params.spec().codec && is_taken(it.pt()))
    };
    exact.or_else(similar).copied()
}
