//! The data channels of one transport: which are open, and what waits for room in their buffer.

use proto::media::OpenChannel;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use str0m::Rtc;
use str0m::channel::{ChannelConfig, ChannelId, Reliability};

pub(super) use str0m::channel::ChannelConfig as Config;

/// Most reliable packets waiting for a slow receiver. More are dropped and counted: the client
/// asks for what it misses only after a resume, so a receiver this slow has lost its data anyway.
const MAX_BACKLOG_PACKETS: usize = 1024;
/// Most bytes waiting for a slow receiver.
const MAX_BACKLOG_BYTES: usize = 4 * 1024 * 1024;

/// LiveKit's data channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    /// Ordered and complete.
    Reliable,
    /// Neither.
    Lossy,
    /// Frames of data tracks, passed as they are.
    DataTrack,
}

impl Label {
    pub(super) fn parse(label: &str) -> Option<Self> {
        match label {
            "_reliable" => Some(Self::Reliable),
            "_lossy" => Some(Self::Lossy),
            "_data_track" => Some(Self::DataTrack),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Reliable => "_reliable",
            Self::Lossy => "_lossy",
            Self::DataTrack => "_data_track",
        }
    }

    /// How a channel with this label is opened; `negotiated` with its stream id if the client has
    /// it open already.
    pub(super) fn config(self, negotiated: Option<u16>) -> ChannelConfig {
        let reliable = self == Self::Reliable;
        ChannelConfig {
            label: self.name().to_owned(),
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
}

/// A data packet on its way to receivers.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// Its place among the reliable packets of the room.
    pub(super) serial: u64,
    pub(super) bytes: Arc<[u8]>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// It is on its way.
    Yes,
    /// There is no room for it now.
    Full,
    /// It can never be written: longer than the peer takes, or the channel is closing.
    Never,
}

/// The channels of a transport.
#[derive(Default)]
pub(super) struct Channels {
    open: Vec<(ChannelId, Label)>,
    /// The client has the reliable channel open, but this transport is not there yet.
    expected: bool,
    /// The SCTP streams of the channels that are open or about to be.
    streams: Vec<(Label, u16)>,
    /// In the order of the room.
    backlog: VecDeque<Message>,
    backlog_bytes: usize,
}

impl Channels {
    /// What a client has open at another node, or had.
    pub(super) fn carried(streams: Vec<(Label, u16)>) -> Self {
        Self {
            expected: streams.iter().any(|(label, _)| *label == Label::Reliable),
            streams,
            ..Self::default()
        }
    }

    /// True: reliable packets can be sent from now on, and none was kept for them until now.
    pub(super) fn opened(&mut self, id: ChannelId, label: Label, stream: Option<u16>) -> bool {
        let reliable = label == Label::Reliable;
        let fresh = reliable && !self.expected;
        self.expected &= !reliable;
        self.open.retain(|(_, known)| *known != label);
        self.open.push((id, label));
        self.streams.retain(|(known, _)| *known != label);
        self.streams.extend(stream.map(|stream| (label, stream)));
        fresh
    }

    pub(super) fn closed(&mut self, id: ChannelId) {
        let label = self.label_of(id);
        if label == Some(Label::Reliable) {
            self.backlog.clear();
            self.backlog_bytes = 0;
        }
        self.streams.retain(|(known, _)| Some(*known) != label);
        self.open.retain(|(known, _)| *known != id);
    }

    pub(super) fn label_of(&self, id: ChannelId) -> Option<Label> {
        self.open
            .iter()
            .find(|(known, _)| *known == id)
            .map(|(_, label)| *label)
    }

    pub(super) fn id_of(&self, label: Label) -> Option<ChannelId> {
        self.open
            .iter()
            .find(|(_, known)| *known == label)
            .map(|(id, _)| *id)
    }

    /// True if reliable packets are kept until their channel opens.
    pub(super) fn is_expected(&self) -> bool {
        self.expected
    }

    /// What the transport that takes this one's place begins with: no channel, but all that waits.
    pub(super) fn leave(&mut self) -> Self {
        let reliable = self.expected || self.id_of(Label::Reliable).is_some();
        let left = std::mem::take(self);
        Self {
            open: Vec::new(),
            expected: reliable,
            ..left
        }
    }

    /// Takes what the transport before left. `streams`: the channels that are about to open;
    /// `missed`: what the client may have missed, if it has the reliable channel.
    pub(super) fn inherit(
        &mut self,
        left: Self,
        streams: Vec<(Label, u16)>,
        missed: impl DoubleEndedIterator<Item = Message>,
    ) {
        let expected = streams.iter().any(|(label, _)| *label == Label::Reliable);
        *self = Self {
            expected,
            streams,
            ..left
        };
        if expected {
            self.merge(missed);
        }
    }

    /// Takes what waited elsewhere.
    pub(super) fn take_backlog(&mut self, mut other: Self) {
        if self.expected {
            self.backlog = std::mem::take(&mut other.backlog);
            self.backlog_bytes = other.backlog_bytes;
        }
    }

    /// Puts messages where they belong in the order of the room. What has no room is left out, the
    /// oldest first: it is the most likely to have arrived.
    pub(super) fn merge(&mut self, missed: impl DoubleEndedIterator<Item = Message>) {
        let waiting = std::mem::take(&mut self.backlog).into_iter();
        let mut merged: BTreeMap<u64, Message> = waiting.map(|kept| (kept.serial, kept)).collect();
        for message in missed.rev() {
            if merged.contains_key(&message.serial) {
                continue;
            }
            let bytes = self.backlog_bytes + message.bytes.len();
            if merged.len() >= MAX_BACKLOG_PACKETS || bytes > MAX_BACKLOG_BYTES {
                break;
            }
            self.backlog_bytes = bytes;
            merged.insert(message.serial, message);
        }
        self.backlog = merged.into_values().collect();
    }

    /// The SCTP streams of the channels that are open or about to be.
    pub(super) fn streams(&self) -> &[(Label, u16)] {
        &self.streams
    }

    /// The same in the words of the shard.
    pub(super) fn open_channels(&self) -> Vec<OpenChannel> {
        let open = self.streams.iter().map(|(label, id)| OpenChannel {
            label: label.name().to_owned(),
            id: *id,
        });
        open.collect()
    }

    /// True if a packet for the reliable channel must wait its turn.
    pub(super) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Keeps a reliable packet for later; false if there is no room.
    pub(super) fn push_backlog(&mut self, message: &Message) -> bool {
        let bytes = self.backlog_bytes + message.bytes.len();
        if self.backlog.len() >= MAX_BACKLOG_PACKETS || bytes > MAX_BACKLOG_BYTES {
            return false;
        }
        self.backlog_bytes = bytes;
        self.backlog.push_back(message.clone());
        true
    }

    /// The packet whose turn it is.
    pub(super) fn front(&self) -> Option<Arc<[u8]>> {
        Some(Arc::clone(&self.backlog.front()?.bytes))
    }

    /// The front packet was written.
    pub(super) fn pop_front(&mut self) {
        if let Some(packet) = self.backlog.pop_front() {
            self.backlog_bytes -= packet.bytes.len();
        }
    }
}

/// Writes one message.
pub(super) fn write(rtc: &mut Rtc, id: ChannelId, packet: &[u8]) -> Written {
    let Some(mut channel) = rtc.channel(id) else {
        return Written::Full;
    };
    match channel.write(true, packet) {
        Ok(true) => Written::Yes,
        Ok(false) => Written::Full,
        Err(error) => {
            tracing::debug!(%error, bytes = packet.len(), "data packet cannot be written");
            Written::Never
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(serial: u64, bytes: usize) -> Message {
        Message {
            serial,
            bytes: vec![0; bytes].into(),
        }
    }

    fn serials(channels: &Channels) -> Vec<u64> {
        channels.backlog.iter().map(|kept| kept.serial).collect()
    }

    #[test]
    fn the_backlog_is_bounded_in_packets_and_bytes() {
        let mut channels = Channels::default();
        for _ in 0..MAX_BACKLOG_PACKETS {
            assert!(channels.push_backlog(&message(1, 100)));
        }
        assert!(!channels.push_backlog(&message(1, 1)));
        while channels.has_backlog() {
            channels.pop_front();
        }
        assert_eq!(channels.backlog_bytes, 0);
        for _ in 0..MAX_BACKLOG_BYTES / (64 * 1024) {
            assert!(channels.push_backlog(&message(1, 64 * 1024)));
        }
        assert!(!channels.push_backlog(&message(1, 1)));
    }

    #[test]
    fn what_waits_is_left_to_the_next_transport_and_kept_until_its_channel_opens() {
        let mut first = Channels {
            expected: true,
            ..Channels::default()
        };
        assert!(first.push_backlog(&message(1, 1)));
        let left = first.leave();
        assert!(!first.has_backlog() && !first.is_expected());
        assert!(left.is_expected());
        let mut second = Channels::default();
        second.inherit(left, vec![(Label::Reliable, 2)], std::iter::empty());
        assert!(second.is_expected());
        assert_eq!(serials(&second), [1]);
        assert_eq!(second.backlog_bytes, 1);
        assert!(!Channels::default().leave().is_expected());
    }

    #[test]
    fn what_may_have_been_missed_comes_in_the_order_of_the_room_and_once() {
        let left = || {
            let mut left = Channels::default();
            assert!(left.push_backlog(&message(2, 1)) && left.push_backlog(&message(5, 1)));
            left
        };
        let missed = || [1, 3, 5, 6].map(|serial| message(serial, 1)).into_iter();
        let mut channels = Channels::default();
        channels.inherit(left(), vec![(Label::Reliable, 2)], missed());
        assert_eq!(serials(&channels), [1, 2, 3, 5, 6]);
        assert_eq!(channels.backlog_bytes, 5);
        channels.inherit(left(), vec![(Label::Lossy, 0)], missed());
        assert_eq!(serials(&channels), [2, 5], "no channel to send it on");
    }

    #[test]
    fn the_oldest_of_what_may_have_been_missed_is_left_out_when_it_is_too_much() {
        let mut channels = Channels::default();
        assert!(channels.push_backlog(&message(2000, 1)));
        let left = channels.leave();
        let missed = (1..=1100).map(|serial| message(serial, 1));
        channels.inherit(left, vec![(Label::Reliable, 2)], missed);
        let kept = serials(&channels);
        assert_eq!(kept.len(), MAX_BACKLOG_PACKETS);
        assert_eq!((kept[0], kept[1022], kept[1023]), (78, 1100, 2000));
    }

    #[test]
    fn the_streams_of_channels_are_known_while_these_are_open_or_about_to_be() {
        let mut channels = Channels::default();
        let streams = vec![(Label::DataTrack, 4), (Label::Reliable, 2)];
        channels.inherit(Channels::default(), streams, std::iter::empty());
        let open = channels.open_channels();
        assert_eq!((open[0].label.as_str(), open[0].id), ("_data_track", 4));
        assert_eq!(channels.leave().streams().len(), 2);
        assert!(Channels::carried(vec![(Label::Reliable, 2)]).is_expected());
        assert!(!Channels::carried(vec![(Label::Lossy, 2)]).is_expected());
    }

    #[test]
    fn lossy_channels_are_opened_unordered_without_retransmits() {
        let config = Label::Lossy.config(Some(2));
        assert!(!config.ordered);
        assert_eq!(config.negotiated, Some(2));
        assert_eq!(Label::parse(&config.label), Some(Label::Lossy));
        assert!(Label::Reliable.config(None).ordered);
        assert_eq!(Label::parse("other"), None);
    }
}
