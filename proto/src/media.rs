//! What a shard tells its nodes ([`NodeCommand`]) and what nodes tell their shard ([`NodeEvent`]).
//!
//! The shard holds rooms, permissions and subscriptions; the node holds transports, tracks and
//! forwarding. The unit of address is the participant: transports live and die inside the node, so
//! that a resume, a node move and a shard move look the same from here.
//! Everything is low rate: media never passes through these messages, and data packets only once,
//! when a room moves to another node ([`CarriedData`]).

use crate::id::{Identity, Member, NodeId, ParticipantSid, RoomSid, TrackSid};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Version of this vocabulary; a node with another one is refused at [`NodeEvent::Hello`].
pub const MEDIA_PROTOCOL: u32 = 4;

/// How many peer connections a participant uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerMode {
    /// `/rtc/v1`: one, and only the client offers.
    Single,
    /// `/rtc`: the client offers on the publisher, the node offers on the subscriber.
    Dual,
}

/// Which peer connection of a [`PeerMode::Dual`] participant is meant. `Single` uses `Publisher`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Target {
    /// The client sends media here.
    Publisher,
    /// The client receives media here.
    Subscriber,
}

/// Audio or video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// Opus, optionally in RED.
    Audio,
    /// VP8, H264, VP9 or AV1.
    Video,
}

/// A simulcast layer by its LiveKit name. The RIDs are `q`, `h`, `f`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Quality {
    /// Rid `q`.
    Low,
    /// Rid `h`.
    Medium,
    /// Rid `f`, or the only layer.
    High,
}

/// What the participant's token allows on the media path. The node enforces it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaPermission {
    /// May send tracks.
    pub publish: bool,
    /// May receive tracks.
    pub subscribe: bool,
    /// May send data packets.
    pub publish_data: bool,
}

/// One pixel layer that the publisher announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerSize {
    /// Which layer.
    pub quality: Quality,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
}

/// A track that a participant announced with `add_track`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedTrack {
    /// The publisher.
    pub participant: ParticipantSid,
    /// The server's id.
    pub track: TrackSid,
    /// The client's id: the track id in the `a=msid` of its offer.
    pub cid: String,
    /// Audio or video.
    pub kind: Kind,
    /// Announced sizes, empty for audio.
    pub layers: Vec<LayerSize>,
    /// The codec that the client wants to send, such as `H264`; empty: the first of its offer. The
    /// answer names it first, since a client sends what the answer names first.
    #[serde(default)]
    pub codec: String,
    /// Muted from the start.
    pub muted: bool,
    /// A shared screen: shown whoever speaks ([`Selection::pictures`]).
    #[serde(default)]
    pub screen: bool,
}

/// What a subscriber wants of one track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackSettings {
    /// False: send nothing for now.
    pub enabled: bool,
    /// Upper limit on the layer.
    pub max_quality: Quality,
    /// Pixels wanted, 0 = no wish. Chooses the smallest announced layer that covers it.
    pub width: u32,
    /// Pixels wanted, 0 = no wish.
    pub height: u32,
}

impl Default for TrackSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            max_quality: Quality::High,
            width: 0,
            height: 0,
        }
    }
}

/// A data channel that a resuming client already has open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenChannel {
    /// `_reliable`, `_lossy` or `_data_track`.
    pub label: String,
    /// SCTP stream id.
    pub id: u16,
}

/// How much of a room everybody gets at once. 0: all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Voices: the loudest ones.
    pub voices: u16,
    /// Pictures: of those who spoke last. Shared screens are not counted.
    pub pictures: u16,
}

/// A participant whose transports the node shall hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewParticipant {
    /// The room's life on this shard.
    pub room: RoomSid,
    /// The session.
    pub participant: ParticipantSid,
    /// Stamped into the data packets it sends.
    pub identity: Identity,
    /// One or two peer connections.
    pub mode: PeerMode,
    /// What the media path allows.
    pub permission: MediaPermission,
    /// Others do not know of it: its data packets name no sender.
    #[serde(default)]
    pub hidden: bool,
    /// Its client offers once and cannot be asked to offer again: the media sections of that offer are
    /// all there ever will be, and tracks take turns in them. Only [`PeerMode::Single`].
    #[serde(default)]
    pub fixed: bool,
    /// What everybody in its room gets, from now on.
    #[serde(default)]
    pub selection: Selection,
}

/// What a media section is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SectionKind {
    /// Audio, either way.
    Audio,
    /// Video, either way.
    Video,
    /// Data channels.
    Data,
}

/// What a media section was used for at the node it is carried from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CarriedRole {
    /// Nothing.
    Idle,
    /// The participant's own track comes in here.
    Carries(TrackSid),
    /// This track, of another participant, goes out here.
    Sends(TrackSid),
}

/// A negotiated media section. Everything else about it is in the client's next offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarriedSection {
    /// `a=mid`, at most 16 bytes.
    pub mid: String,
    /// Audio, video or data.
    pub kind: SectionKind,
    /// What it was used for.
    pub role: CarriedRole,
    /// The client was told of a track here that is gone since: the next answer must make the section
    /// inactive before another track may use it.
    #[serde(default)]
    pub stale: bool,
}

/// A stream of RTP packets from the client. Clients name the SSRCs of simulcast layers only once,
/// so that a node that is not told never recognises their packets again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarriedStream {
    /// Of the media.
    pub ssrc: u32,
    /// Of its retransmissions.
    pub rtx: Option<u32>,
    /// The media section it belongs to.
    pub mid: String,
    /// The simulcast layer.
    pub rid: Option<String>,
}

/// What a node must know to take over the transport of a participant from another node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarriedMedia {
    /// Who.
    pub participant: ParticipantSid,
    /// Its media sections. At most 512 are read.
    pub sections: Vec<CarriedSection>,
    /// The streams it sends. At most 256 are read.
    pub streams: Vec<CarriedStream>,
    /// The data channels it has open. At most 8 are read.
    pub channels: Vec<OpenChannel>,
    /// Sequence of the last reliable data packet taken from it, 0 if none.
    pub last_data_sequence: u32,
    /// By sender, the sequence of the last [`CarriedData`] from before it joined: it is not meant for
    /// those. At most 512 are read.
    #[serde(default)]
    pub joined_after: BTreeMap<ParticipantSid, u32>,
}

/// A reliable data packet that a node has taken, with a sequence and the sender's name in it.
/// Receivers drop what they have already by these two, so that such a packet may be sent again.
/// Packets of hidden participants name nobody and are not among them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarriedData {
    /// The sender.
    pub from: ParticipantSid,
    /// `DataPacket.sequence`, never 0.
    pub sequence: u32,
    /// How long ago the first node took it, milliseconds. Clients know for 30 s what they have, so
    /// that nothing older than 10 s is sent again.
    #[serde(default)]
    pub age_ms: u32,
    /// The `DataPacket` as receivers get it, with the sender's true name. At most 64 KiB. Base64 in
    /// JSON.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub packet: Vec<u8>,
}

fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map_err(serde::de::Error::custom)
}

/// A track of another member of the room, for participants here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedTrack {
    /// The room, which has participants here.
    pub room: RoomSid,
    /// Where its publisher is.
    pub from: Member,
    /// The track. Muted as well if its publisher may not publish.
    pub track: PublishedTrack,
}

/// Where other nodes reach a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePeer {
    /// Which.
    pub node: NodeId,
    /// For the transport between nodes.
    pub address: SocketAddr,
}

/// A message from the shard to a node, with the worker that it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToWorker {
    /// The worker's place. One that does not exist is passed over.
    pub worker: u16,
    /// The message.
    pub command: NodeCommand,
}

/// A message from the shard to a worker of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeCommand {
    /// Hold transports for a new participant. In `Dual` mode with `subscribe` the node answers with
    /// [`NodeEvent::Offer`] for the subscriber connection.
    AddParticipant(NewParticipant),
    /// Forget it, its tracks and its subscriptions. Nothing is said to the client by the node.
    RemoveParticipant {
        /// Who.
        participant: ParticipantSid,
    },
    /// The client's offer, for [`Target::Publisher`]. Answered by [`NodeEvent::Answer`] or
    /// [`NodeEvent::Refused`].
    Offer {
        /// Who.
        participant: ParticipantSid,
        /// Echoed in the answer.
        offer_id: u32,
        /// The SDP.
        sdp: String,
        /// `Some`: the first offer after a resume. A fresh transport (new certificate) takes over,
        /// with these data channels open already.
        resume: Option<Vec<OpenChannel>>,
    },
    /// The client's answer to [`NodeEvent::Offer`].
    Answer {
        /// Who.
        participant: ParticipantSid,
        /// The id of the offer it answers (some clients send 0: then the newest is meant).
        offer_id: u32,
        /// The SDP.
        sdp: String,
    },
    /// A trickled candidate (`candidate:...`).
    Candidate {
        /// Who.
        participant: ParticipantSid,
        /// Which connection.
        target: Target,
        /// The candidate attribute's value.
        candidate: String,
    },
    /// A resume begins. Answered by [`NodeEvent::ResumeReady`].
    PrepareResume {
        /// Who.
        participant: ParticipantSid,
    },
    /// The participant announced a track; its media section may be negotiated already or later.
    Publish(PublishedTrack),
    /// Have a track of another member at hand, for subscriptions that follow. Undone by
    /// [`NodeCommand::Unpublish`].
    Import(ImportedTrack),
    /// The other members of a room that has participants here: data packets go to all of them.
    SetMembers {
        /// Which.
        room: RoomSid,
        /// Without this one.
        members: Vec<Member>,
    },
    /// The other nodes of the shard, all of them, whoever of their workers is meant. To the first worker.
    SetPeers(Vec<NodePeer>),
    /// The track, one of a participant here or an imported one, is gone.
    Unpublish {
        /// Which.
        track: TrackSid,
    },
    /// Stop or go on forwarding it (muted by its owner or by a moderator).
    SetMuted {
        /// Which.
        track: TrackSid,
        /// True: forward nothing.
        muted: bool,
    },
    /// Forward a track to a participant of the same room.
    Subscribe {
        /// The subscriber.
        participant: ParticipantSid,
        /// What.
        track: TrackSid,
        /// How.
        settings: TrackSettings,
    },
    /// Stop forwarding and free its media section.
    Unsubscribe {
        /// The subscriber.
        participant: ParticipantSid,
        /// What.
        track: TrackSid,
    },
    /// New settings for a subscription.
    SetTrackSettings {
        /// The subscriber.
        participant: ParticipantSid,
        /// What.
        track: TrackSid,
        /// How.
        settings: TrackSettings,
    },
    /// The grants of a participant changed.
    SetPermission {
        /// Who.
        participant: ParticipantSid,
        /// What is allowed from now on.
        permission: MediaPermission,
    },
    /// The answer to [`NodeEvent::AskOwned`]: the shard owns its rooms for this long, counted by the
    /// node from the moment it asked, so that a delay on the way only makes it shorter. While that
    /// lasts media flows; afterwards nothing is forwarded and no data packet is taken, until a later
    /// answer says more. Nothing flows before the first answer.
    Owned {
        /// Of the question.
        nonce: u64,
        /// Milliseconds, 0: not at all.
        for_ms: u64,
    },
    /// Says what another node must know to take the room over. Changes nothing. Answered by
    /// [`NodeEvent::Exported`].
    Export {
        /// Which.
        room: RoomSid,
    },
    /// The participant resumes at another node. Answered by [`NodeEvent::Detached`] after 100 ms, in
    /// which the packets that are on their way arrive: clients keep only those to repeat that they
    /// have not sent yet. Media and data go on here as long as the client sends any, so that nothing
    /// is lost that comes later still: ask again for it, which is answered at once.
    Detach {
        /// Who.
        participant: ParticipantSid,
    },
    /// Like [`NodeCommand::AddParticipant`], for one whose transport is at another node: the next
    /// [`NodeCommand::Offer`] comes with `resume`, and the transport built for it goes on with what
    /// is carried. A participant that has not resumed yet takes the new state instead of the earlier
    /// one and keeps its tracks and subscriptions; one with a transport of its own is replaced as a
    /// whole. Only [`PeerMode::Single`].
    ///
    /// The carried roles count when the offer comes. By then the participant's tracks must be
    /// published and its subscriptions made; a client is told that what is missing is gone.
    Adopt {
        /// Whom.
        participant: NewParticipant,
        /// What its transport was like.
        media: CarriedMedia,
    },
    /// Hands data packets to the participants that they are meant for, as if their senders had sent
    /// them here. Packets that went to the room here already are left out. The participants must have
    /// been adopted before; those that have not resumed yet get the packets when they do. At most
    /// 1024 packets are read.
    Deliver {
        /// Where.
        room: RoomSid,
        /// In the order in which they were taken.
        data: Vec<CarriedData>,
    },
}

/// Somebody who speaks or stopped speaking.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Speaker {
    /// Who.
    pub participant: ParticipantSid,
    /// Loudness, 0.0 (silent) to 1.0.
    pub level: f32,
    /// False: just stopped.
    pub active: bool,
}

/// A node's figures, sent every second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Participants held.
    pub participants: u32,
    /// Published tracks held.
    pub tracks: u32,
    /// Rooms with a participant here.
    pub rooms: u32,
    /// RTP packets received since start.
    pub packets_in: u64,
    /// RTP packets forwarded since start.
    pub packets_out: u64,
    /// Bytes received since start.
    pub bytes_in: u64,
    /// Bytes sent since start.
    pub bytes_out: u64,
    /// Datagrams or frames that nobody here expected, since start.
    pub stray_packets: u64,
    /// RTP packets and data channel datagrams not taken because the shard does not own its rooms,
    /// since start.
    #[serde(default)]
    pub fenced_packets: u64,
    /// Load of the node's machine, 0.0 to 1.0 of all cores.
    pub cpu_load: f32,
    /// Load average of a minute for each core.
    #[serde(default)]
    pub sys_load: f32,
    /// How busy its busiest worker is: share of the processor time that it could have, 0.0 to 1.0.
    #[serde(default)]
    pub stress: f32,
}

/// Why a transport ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransportLoss {
    /// ICE consent ran out.
    IceTimeout,
    /// The peer closed DTLS or SCTP.
    PeerClosed,
    /// The engine's boundary caught a fault in this transport.
    Fault,
}

/// How good a participant's connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Rating {
    /// Speech is hard to follow, or a picture does not come through.
    Poor,
    /// One notices it.
    Good,
    /// Nobody notices anything.
    Excellent,
}

/// A node's TURN server, as clients are told of it. The credentials are made by the shard, with the
/// secret that both have ([`crate::turn`]).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnOffer {
    /// `turn:host:port?transport=udp` and so on (RFC 7065), the best way first. At most
    /// [`crate::turn::URLS_MAX`] are read.
    pub urls: Vec<String>,
}

/// A message from a node to its shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum NodeEvent {
    /// First message on a link.
    Hello {
        /// The node's name in the pool.
        node: NodeId,
        /// [`MEDIA_PROTOCOL`] of the sender.
        protocol: u32,
        /// Its TURN server, if it runs one.
        #[serde(default)]
        turn: Option<TurnOffer>,
        /// How many workers it has.
        workers: u16,
        /// Where other nodes reach it; `None`: it shares no room with others.
        relay: Option<SocketAddr>,
    },
    /// The node ends when it is empty, or after a while: it shall get nobody else.
    Draining,
    /// Figures, once a second.
    Report(NodeReport),
    /// The answer to a client's offer.
    Answer {
        /// For whom.
        participant: ParticipantSid,
        /// The id of the offer.
        offer_id: u32,
        /// The SDP.
        sdp: String,
        /// Which media section carries which track, publisher's own and forwarded ones.
        mid_to_track: BTreeMap<String, TrackSid>,
    },
    /// The node's own offer for the subscriber connection ([`PeerMode::Dual`] only).
    Offer {
        /// For whom.
        participant: ParticipantSid,
        /// Answers carry it back.
        offer_id: u32,
        /// The SDP.
        sdp: String,
        /// Which media section carries which track.
        mid_to_track: BTreeMap<String, TrackSid>,
    },
    /// An offer or answer could not be used; the transport is as before.
    Refused {
        /// Whose.
        participant: ParticipantSid,
        /// The id of the offer.
        offer_id: u32,
        /// For the log and the client.
        reason: String,
    },
    /// The client ([`PeerMode::Single`]) shall offer again with this many extra receiving sections;
    /// 0 and 0 means just offer again.
    SectionsWanted {
        /// Who.
        participant: ParticipantSid,
        /// Extra audio sections.
        audio: u32,
        /// Extra video sections.
        video: u32,
    },
    /// ICE and DTLS are up for the first time, or again after a resume.
    Connected {
        /// Who.
        participant: ParticipantSid,
    },
    /// The transport is gone.
    Disconnected {
        /// Who.
        participant: ParticipantSid,
        /// Why.
        reason: TransportLoss,
    },
    /// A published track's media section is negotiated: it can be announced to the room.
    TrackBound {
        /// The publisher.
        participant: ParticipantSid,
        /// Which.
        track: TrackSid,
        /// Its media section in the publisher's connection.
        mid: String,
        /// `audio/opus`, `video/VP8`, ...
        mime: String,
    },
    /// A participant's line is too thin for one of its subscriptions, or takes it again.
    StreamState {
        /// The subscriber.
        participant: ParticipantSid,
        /// What.
        track: TrackSid,
        /// True: nothing of it is sent for now.
        paused: bool,
    },
    /// Which layers of a track its subscribers want changed: the publisher need not send better ones. Told
    /// of each video track once, and then when it changes.
    LayersWanted {
        /// The publisher.
        participant: ParticipantSid,
        /// Which.
        track: TrackSid,
        /// The best wanted layer; `None`: nobody wants any.
        quality: Option<Quality>,
    },
    /// A participant's connection got better or worse. Told once it is known, and then when it changes.
    ConnectionRated {
        /// Whose.
        participant: ParticipantSid,
        /// How good it is.
        rating: Rating,
    },
    /// Everything needed to resume is at hand; the next offer comes with `resume`.
    ResumeReady {
        /// Who.
        participant: ParticipantSid,
        /// Sequence of the last reliable data packet taken from it, 0 if none.
        last_data_sequence: u32,
    },
    /// Changes of who speaks in a room; nothing is sent while nothing changes.
    Speakers {
        /// Where.
        room: RoomSid,
        /// Only those that changed.
        speakers: Vec<Speaker>,
    },
    /// How long does the shard own its rooms? Asked right after [`NodeEvent::Hello`] and then twice a
    /// second. Answered at once by [`NodeCommand::Owned`].
    AskOwned {
        /// The worker that asks, and is to be answered.
        worker: u16,
        /// Comes back in the answer.
        nonce: u64,
    },
    /// The answer to [`NodeCommand::Export`].
    Exported {
        /// Which.
        room: RoomSid,
        /// The worker that answers.
        worker: u16,
        /// Its [`PeerMode::Single`] participants. One that is missing cannot be moved: it must join
        /// again.
        media: Vec<CarriedMedia>,
        /// The reliable data packets of the last 10 s, at most 512 of them and 1 MiB, in the order in
        /// which they were taken. Receivers may have them or not.
        data: Vec<CarriedData>,
    },
    /// The answer to [`NodeCommand::Detach`].
    Detached {
        /// Who.
        participant: ParticipantSid,
        /// Its final state.
        media: Box<CarriedMedia>,
        /// The reliable data packets taken from this participant since the room was exported, also
        /// those that were told before, with the limits of [`NodeEvent::Exported`].
        data: Vec<CarriedData>,
    },
}
