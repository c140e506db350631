//! The records of the engine: rooms, participants, tracks. Plain data, changed by the other modules.

use super::arrived::Arrived;
use super::asking::KeyframeAsks;
use super::channels::Channels;
use super::dynacast::Told;
use super::exports::Exports;
use super::importing::Import;
use super::meter::Meter;
use super::outgoing::PACKET_OVERHEAD;
use super::peers::PeerId;
use super::reading::Reading;
use super::recent::Recent;
use super::reminder::Reminder;
use super::selection::Selected;
use super::spatial::Spatial;
use super::speaker::Speakers;
use super::transport::{KeptStream, Section};
use super::{ParticipantKey, RoomKey, SubscriptionKey, TransportKey};
use payload::Layers;
use proto::id::{Identity, ParticipantSid, RoomSid, TrackSid};
use proto::media::{
    CarriedSection, Kind, LayerSize, MediaPermission, PeerMode, PublishedTrack, Quality, Rating,
};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use str0m::change::SdpPendingOffer;
use str0m::format::PayloadParams;
use str0m::media::Mid;
use str0m::rtp::Ssrc;

/// Most tracks a participant may publish. More are ignored.
pub(super) const MAX_TRACKS: usize = 32;
/// Most subscriptions of a participant: as many media sections as its SDP may have. More are
/// ignored.
pub(super) const MAX_SUBSCRIPTIONS: usize = 480;
/// Most participants on a node. More are refused.
pub(super) const MAX_PARTICIPANTS: usize = 10_000;
/// Most sources remembered per track: three layers and their predecessors. The one that was silent
/// longest is forgotten.
const MAX_SOURCES: usize = 8;
/// A source without packets for this long is not being sent; screen shares are slow.
const SOURCE_SILENT: Duration = Duration::from_secs(3);
/// A simulcast layer without packets for this long is not being sent, if another layer of its track
/// is. Longer than the second between the frames of a still screen share.
const LAYER_SILENT: Duration = Duration::from_millis(1200);
/// A layer whose last packet is at most this old is being sent beyond doubt.
const LAYER_BUSY: Duration = Duration::from_millis(300);

/// The participants of a room that are on this node.
pub(super) struct Room {
    pub(super) sid: RoomSid,
    pub(super) participants: Vec<ParticipantKey>,
    pub(super) speakers: Speakers,
    pub(super) selected: Selected,
    pub(super) recent: Recent,
    /// The other members that have participants of it.
    pub(super) others: Vec<PeerId>,
}

/// A participant.
pub(super) struct Participant {
    pub(super) sid: ParticipantSid,
    pub(super) identity: Identity,
    /// Its media is at another member: only its tracks are here, as far as somebody takes them.
    pub(super) guest: bool,
    /// Others do not know of it: its data packets name no sender.
    pub(super) hidden: bool,
    pub(super) room: RoomKey,
    pub(super) mode: PeerMode,
    /// Its media sections are all there ever will be (`fixed`).
    pub(super) fixed: bool,
    pub(super) permission: MediaPermission,
    pub(super) publisher: Option<TransportKey>,
    pub(super) subscriber: Option<TransportKey>,
    pub(super) tracks: Vec<super::TrackKey>,
    pub(super) subscriptions: Vec<SubscriptionKey>,
    /// Of a fixed one: its client ends when DTLS is closed.
    pub(super) heeds_close: bool,
    /// Of a fixed one: subscriptions whose track is gone, which keep their sections.
    pub(super) parked: Vec<SubscriptionKey>,
    /// What a lost transport leaves to the one that resumes.
    pub(super) kept: Kept,
    /// Sequence of the last reliable data packet taken.
    pub(super) last_data_sequence: u32,
    /// Sequence of the last one that went to the room here. Less than what was taken, if another
    /// node took it.
    pub(super) last_spread_sequence: u32,
    /// By sender, the last sequence from before this participant joined.
    pub(super) joined_after: BTreeMap<ParticipantSid, u32>,
    pub(super) detaching: Detaching,
    /// When the client was asked for an offer that has not come yet.
    pub(super) sections_wanted_at: Option<Instant>,
    pub(super) offering: Offering,
    /// How good its connection was told to be.
    pub(super) told_rating: Option<Rating>,
}

/// Whether a participant leaves for another node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Detaching {
    /// It stays.
    #[default]
    No,
    /// It leaves; the other node is told when what is on its way has arrived.
    Soon,
    /// The other node has been told. What comes all the same is kept for when it asks again.
    Done,
}

/// The state of a transport that outlives it.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) sections: Vec<Section>,
    /// Sections from another node, instead of the ones above. Their roles count when the client's
    /// offer comes.
    pub(super) carried: Vec<CarriedSection>,
    pub(super) streams: Vec<KeptStream>,
    /// No open ones: what waits for the channels of the next transport.
    pub(super) channels: Channels,
}

/// The node's own offers on a subscriber connection.
#[derive(Default)]
pub(super) struct Offering {
    /// The one in flight: clients break on a second one.
    pub(super) pending: Option<PendingOffer>,
    pub(super) last_id: u32,
    /// The next offer restarts ICE.
    pub(super) restart: bool,
    /// The data channels have been put into an offer.
    pub(super) has_channels: bool,
}

/// An offer of the node that waits for its answer.
pub(super) struct PendingOffer {
    pub(super) id: u32,
    pub(super) token: SdpPendingOffer,
    /// Subscriptions with their sections, new ones and ones used again.
    pub(super) added: Vec<(SubscriptionKey, Mid)>,
    /// Sections that it makes inactive.
    pub(super) freed: Vec<Mid>,
}

/// A published track.
pub(super) struct Track {
    pub(super) sid: TrackSid,
    pub(super) cid: String,
    pub(super) owner: ParticipantKey,
    pub(super) owner_sid: ParticipantSid,
    pub(super) kind: Kind,
    pub(super) layers: Vec<LayerSize>,
    /// The codec that its owner wants to send; empty: the first of its offer.
    pub(super) codec: String,
    pub(super) muted: bool,
    /// A shared screen: seen whoever speaks.
    pub(super) screen: bool,
    /// The owner may publish.
    pub(super) permitted: bool,
    pub(super) transport: Option<TransportKey>,
    pub(super) mid: Option<String>,
    /// For as long as it has no section.
    pub(super) reminder: Reminder,
    pub(super) sources: Vec<Source>,
    pub(super) subscriptions: Vec<SubscriptionKey>,
    /// Packets that wait for those behind them.
    pub(super) held: Vec<Arrived>,
    /// Which layers its owner was told to be wanted.
    pub(super) told: Told,
    pub(super) origin: Origin,
    /// Copies for other members.
    pub(super) exports: Exports,
}

/// Where a track comes from.
pub(super) enum Origin {
    /// A participant here.
    Here,
    /// Another member.
    Elsewhere(Import),
}

/// One stream of a track: the only one, or a simulcast layer.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) ssrc: Ssrc,
    pub(super) quality: Quality,
    /// Codec of the last packet.
    pub(super) params: PayloadParams,
    pub(super) last_packet: Instant,
    pub(super) meter: Meter,
    pub(super) asks: KeyframeAsks,
    reading: Reading,
    /// Its layers, if it has several.
    pub(super) spatial: Spatial,
}

impl Source {
    pub(super) fn new(ssrc: Ssrc, quality: Quality, params: PayloadParams, now: Instant) -> Self {
        Self {
            ssrc,
            quality,
            params,
            last_packet: now,
            meter: Meter::new(now),
            asks: KeyframeAsks::default(),
            reading: Reading::new(params.spec().codec),
            spatial: Spatial::default(),
        }
    }

    /// Reads a packet of a picture. True: the source turned out to have more layers.
    pub(super) fn read(&mut self, arrived: &mut Arrived, now: Instant) -> bool {
        let codec = arrived.params.spec().codec;
        arrived.content = self
            .reading
            .read(codec, &arrived.payload, arrived.descriptor.as_deref());
        let bytes = arrived.payload.len() + PACKET_OVERHEAD;
        self.spatial.note(&arrived.content.packet, bytes, now)
    }

    /// What may be chosen of it: all of it, or one of its layers. A simulcast layer is one.
    fn offers(&self, silent: Duration, now: Instant) -> impl Iterator<Item = LiveSource> {
        let whole = LiveSource {
            ssrc: self.ssrc,
            quality: self.quality,
            layers: Layers::ALL,
            last_packet: self.last_packet,
            rate: self.meter.rate(),
        };
        let scalable = self.quality == Quality::High && !self.spatial.is_empty();
        let rungs = self.spatial.rungs(silent, now);
        let rungs = rungs.filter(move |_| scalable).map(move |rung| LiveSource {
            quality: rung.quality,
            layers: rung.layers,
            rate: rung.rate,
            ..whole
        });
        rungs.chain((!scalable).then_some(whole))
    }

    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last_packet)
    }
}

impl Track {
    /// A track without a source, that nobody watches yet.
    pub(super) fn new(
        published: PublishedTrack,
        owner: ParticipantKey,
        origin: Origin,
        now: Instant,
    ) -> Self {
        Self {
            sid: published.track,
            cid: published.cid,
            owner,
            owner_sid: published.participant,
            kind: published.kind,
            layers: published.layers,
            codec: published.codec,
            muted: published.muted,
            screen: published.screen,
            permitted: true,
            transport: None,
            mid: None,
            reminder: Reminder::new(now),
            sources: Vec::new(),
            subscriptions: Vec::new(),
            held: Vec::new(),
            told: Told::default(),
            origin,
            exports: Exports::default(),
        }
    }

    /// Its publisher is here.
    pub(super) fn is_own(&self) -> bool {
        matches!(self.origin, Origin::Here)
    }

    /// True if its packets may be forwarded.
    pub(super) fn is_open(&self) -> bool {
        self.permitted && !self.muted
    }

    pub(super) fn source(&self, ssrc: Ssrc) -> Option<&Source> {
        self.sources.iter().find(|source| source.ssrc == ssrc)
    }

    pub(super) fn source_mut(&mut self, ssrc: Ssrc) -> Option<&mut Source> {
        self.sources.iter_mut().find(|source| source.ssrc == ssrc)
    }

    pub(super) fn add_source(&mut self, source: Source) {
        if self.sources.len() >= MAX_SOURCES
            && let Some((oldest, _)) = self
                .sources
                .iter()
                .enumerate()
                .min_by_key(|(_, source)| source.last_packet)
        {
            self.sources.remove(oldest);
        }
        self.sources.push(source);
    }

    /// Bits per second of all that is being sent.
    pub(super) fn rate(&self, now: Instant) -> u64 {
        let live = self.sources.iter().filter(|it| it.age(now) < SOURCE_SILENT);
        live.filter_map(|source| source.meter.rate()).sum()
    }

    /// The sources being sent; all of them if none is, so that a pause does not change the choice.
    pub(super) fn live_sources(&self, now: Instant) -> Vec<LiveSource> {
        let busy = self.sources.iter().any(|it| it.age(now) < LAYER_BUSY);
        self.younger_than(if busy { LAYER_SILENT } else { SOURCE_SILENT }, now)
    }

    /// Those that were sent not long ago: an encoder that was asked for key frames leaves out frames of its
    /// smallest layer for a while.
    pub(super) fn recent_sources(&self, now: Instant) -> Vec<LiveSource> {
        self.younger_than(SOURCE_SILENT, now)
    }

    fn younger_than(&self, silent: Duration, now: Instant) -> Vec<LiveSource> {
        let young = |source: &&Source| source.age(now) < silent;
        let any = self.sources.iter().any(|source| young(&source));
        self.sources
            .iter()
            .filter(|source| !any || young(source))
            .flat_map(|source| source.offers(silent, now))
            .collect()
    }
}

/// A source that may be chosen, or a layer inside one.
#[derive(Clone, Copy, Debug)]
pub(super) struct LiveSource {
    pub(super) ssrc: Ssrc,
    pub(super) quality: Quality,
    /// What of it is forwarded.
    pub(super) layers: Layers,
    pub(super) last_packet: Instant,
    /// Bits per second, once that is known.
    pub(super) rate: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use str0m::format::CodecConfig;

    #[test]
    fn a_layer_is_given_up_soon_while_another_is_sent_and_late_when_all_are_slow() {
        let params = CodecConfig::new_with_defaults().params()[0];
        let start = Instant::now();
        let ms = |ms| start + Duration::from_millis(ms);
        let published = PublishedTrack {
            participant: ParticipantSid::new("PA_1"),
            track: TrackSid::new("TR_1"),
            cid: String::new(),
            kind: Kind::Video,
            layers: Vec::new(),
            codec: String::new(),
            muted: false,
            screen: false,
        };
        let owner = super::super::arena::Arena::key_for_tests();
        let mut track = Track::new(published, owner, Origin::Here, start);
        track.add_source(Source::new(1.into(), Quality::Low, params, start));
        track.add_source(Source::new(2.into(), Quality::High, params, start));
        let live = |track: &Track, now| -> Vec<Quality> {
            let live = track.live_sources(now).into_iter();
            live.map(|source| source.quality).collect()
        };
        let both = [Quality::Low, Quality::High];
        assert_eq!(live(&track, ms(2_900)), both, "all are slow");
        track.source_mut(1.into()).unwrap().last_packet = ms(1_100);
        assert_eq!(live(&track, ms(1_150)), both, "one frame a second");
        track.source_mut(1.into()).unwrap().last_packet = ms(1_250);
        assert_eq!(live(&track, ms(1_300)), [Quality::Low]);
        assert_eq!(live(&track, ms(1_600)), both, "no proof that one is busy");
        assert_eq!(live(&track, ms(9_000)), both, "a pause changes nothing");
    }
}
