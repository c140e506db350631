//! The data channels of one transport: which are open, and what waits for room in their buffer.

use std::collections::VecDeque;
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
    backlog: VecDeque<Vec<u8>>,
    backlog_bytes: usize,
}

impl Channels {
    pub(super) fn opened(&mut self, id: ChannelId, label: Label) {
        self.expected &= label != Label::Reliable;
        self.open.retain(|(_, known)| *known != label);
        self.open.push((id, label));
    }

    pub(super) fn closed(&mut self, id: ChannelId) {
        if self.label_of(id) == Some(Label::Reliable) {
            self.backlog.clear();
            self.backlog_bytes = 0;
        }
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

    /// Takes what the transport before left. `expected`: the client says that the reliable channel
    /// is open.
    pub(super) fn inherit(&mut self, left: Self, expected: bool) {
        *self = Self { expected, ..left };
    }

    /// True if a packet for the reliable channel must wait its turn.
    pub(super) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Keeps a reliable packet for later; false if there is no room.
    pub(super) fn push_backlog(&mut self, packet: &[u8]) -> bool {
        let bytes = self.backlog_bytes + packet.len();
        if self.backlog.len() >= MAX_BACKLOG_PACKETS || bytes > MAX_BACKLOG_BYTES {
            return false;
        }
        self.backlog_bytes = bytes;
        self.backlog.push_back(packet.to_vec());
        true
    }

    /// The packet whose turn it is.
    pub(super) fn front(&self) -> Option<&[u8]> {
        self.backlog.front().map(Vec::as_slice)
    }

    /// The front packet was written.
    pub(super) fn pop_front(&mut self) {
        if let Some(packet) = self.backlog.pop_front() {
            self.backlog_bytes -= packet.len();
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

    #[test]
    fn the_backlog_is_bounded_in_packets_and_bytes() {
        let mut channels = Channels::default();
        for _ in 0..MAX_BACKLOG_PACKETS {
            assert!(channels.push_backlog(&[0; 100]));
        }
        assert!(!channels.push_backlog(&[0]));
        while channels.has_backlog() {
            channels.pop_front();
        }
        assert_eq!(channels.backlog_bytes, 0);
        for _ in 0..MAX_BACKLOG_BYTES / (64 * 1024) {
            assert!(channels.push_backlog(&[0; 64 * 1024]));
        }
        assert!(!channels.push_backlog(&[0]));
    }

    #[test]
    fn what_waits_is_left_to_the_next_transport_and_kept_until_its_channel_opens() {
        let mut first = Channels {
            expected: true,
            ..Channels::default()
        };
        assert!(first.push_backlog(&[1]));
        let left = first.leave();
        assert!(!first.has_backlog() && !first.is_expected());
        assert!(left.is_expected());
        let mut second = Channels::default();
        second.inherit(left, true);
        assert!(second.is_expected());
        assert_eq!(second.front(), Some(&[1][..]));
        assert_eq!(second.backlog_bytes, 1);
        assert!(!Channels::default().leave().is_expected());
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
