//! What happens to tracks and subscriptions when a transport goes and another one takes over.

use super::subscription::Exit;
use super::transport::{Inbound, KeptStream, Role, Section, Transport};
use super::{Engine, TransportKey};
use super::{channels, channels::Label};
use proto::media::OpenChannel;
use std::time::Instant;
use str0m::Rtc;

/// Most channels that a resuming client may say it has open: LiveKit has three.
const MAX_CHANNELS: usize = 8;
/// Highest SCTP stream id taken; clients count from 0.
const MAX_STREAM_ID: u16 = 1023;

impl Engine {
    /// Nothing leaves or comes in through this transport any more.
    pub(super) fn detach(&mut self, key: TransportKey, sections: &[Section]) {
        for section in sections {
            match section.role {
                Role::Idle => {}
                Role::Sends(subscription) => {
                    if let Some(subscription) = self.subscriptions.get_mut(subscription)
                        && subscription.exit.is_some_and(|exit| exit.transport == key)
                    {
                        subscription.unbind();
                    }
                }
                Role::Carries(track) => {
                    let Some(track) = self.tracks.get_mut(track) else {
                        continue;
                    };
                    track.transport = None;
                    track.sources.clear();
                    for subscription in &track.subscriptions {
                        if let Some(subscription) = self.subscriptions.get_mut(*subscription) {
                            subscription.pause();
                        }
                    }
                }
            }
        }
    }

    /// Connects tracks and subscriptions with the sections of a transport, as they are now.
    pub(super) fn attach(&mut self, key: TransportKey, now: Instant) {
        let Some(transport) = self.transports.get(key) else {
            return;
        };
        let mut begun = Vec::new();
        for section in &transport.sections {
            match section.role {
                Role::Idle => {}
                Role::Sends(subscription) => {
                    let exit = Exit {
                        transport: key,
                        mid: section.mid(),
                    };
                    if let Some(subscription) = self.subscriptions.get_mut(subscription)
                        && subscription.exit != Some(exit)
                    {
                        subscription.bind(exit);
                        begun.push(subscription.track);
                    }
                }
                Role::Carries(track) => {
                    if let Some(track) = self.tracks.get_mut(track) {
                        track.transport = Some(key);
                    }
                }
            }
        }
        for track in begun {
            self.retarget(track, now);
        }
    }
}

/// Tells a fresh `Rtc` what the client does not say again: its open data channels and, for
/// simulcast, which SSRC is which layer. Returns the streams that it took.
pub(super) fn restore(
    rtc: &mut Rtc,
    channels: &[(Label, u16)],
    streams: &[KeptStream],
) -> Vec<KeptStream> {
    for (label, id) in channels {
        let config: channels::Config = label.config(Some(*id));
        rtc.direct_api().create_data_channel(config);
    }
    let mut taken = Vec::new();
    for stream in streams {
        let receives = rtc
            .media(stream.mid)
            .is_some_and(|media| media.direction().is_receiving());
        if receives {
            rtc.direct_api()
                .expect_stream_rx(stream.ssrc, stream.rtx, stream.mid, stream.rid);
            taken.push(*stream);
        }
    }
    taken
}

/// The channels of a list that make sense: str0m asserts on a stream id given twice.
pub(super) fn usable_channels(open: &[OpenChannel]) -> Vec<(Label, u16)> {
    let mut usable = Vec::new();
    for channel in open.iter().take(MAX_CHANNELS) {
        if let Some(label) = Label::parse(&channel.label) {
            add_channel(&mut usable, label, channel.id);
        }
    }
    usable
}

/// What a client says it has open, and what it does not mention: clients list only two of the three.
pub(super) fn channels_of(open: &[OpenChannel], known: &[(Label, u16)]) -> Vec<(Label, u16)> {
    let mut channels = usable_channels(open);
    for (label, id) in known {
        if !channels.iter().any(|(listed, _)| listed == label) {
            add_channel(&mut channels, *label, *id);
        }
    }
    channels
}

fn add_channel(channels: &mut Vec<(Label, u16)>, label: Label, id: u16) {
    if id <= MAX_STREAM_ID && !channels.iter().any(|(_, taken)| *taken == id) {
        channels.push((label, id));
    }
}

/// The table of known streams of a transport that took over.
pub(super) fn inbound_of(
    transport: &Transport,
    streams: &[KeptStream],
) -> Vec<(str0m::rtp::Ssrc, Inbound)> {
    let track_of = |section: &Section| match section.role {
        Role::Carries(track) => Some(track),
        Role::Idle | Role::Sends(_) => None,
    };
    streams
        .iter()
        .map(|stream| {
            let inbound = Inbound {
                mid: stream.mid,
                rid: stream.rid,
                track: transport.section_of(stream.mid).and_then(track_of),
            };
            (stream.ssrc, inbound)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(channels: &[(&str, u16)]) -> Vec<OpenChannel> {
        let channels = channels.iter().map(|(label, id)| OpenChannel {
            label: (*label).to_owned(),
            id: *id,
        });
        channels.collect()
    }

    #[test]
    fn the_channels_of_a_client_are_those_it_lists_and_those_it_does_not_mention() {
        let listed = open(&[("_lossy", 0), ("_reliable", 2)]);
        let known = [(Label::Reliable, 6), (Label::DataTrack, 4)];
        assert_eq!(
            channels_of(&listed, &known),
            [
                (Label::Lossy, 0),
                (Label::Reliable, 2),
                (Label::DataTrack, 4)
            ]
        );
        let clash = [(Label::DataTrack, 2)];
        assert_eq!(channels_of(&listed, &clash).len(), 2);
    }

    #[test]
    fn channels_that_make_no_sense_are_left_out() {
        let listed = open(&[("_lossy", 0), ("_reliable", 0), ("other", 1)]);
        assert_eq!(usable_channels(&listed), [(Label::Lossy, 0)]);
        assert!(usable_channels(&open(&[("_lossy", MAX_STREAM_ID + 1)])).is_empty());
        let many: Vec<OpenChannel> = (0..5000)
            .map(|id| OpenChannel {
                label: "_lossy".to_owned(),
                id,
            })
            .collect();
        assert_eq!(usable_channels(&many).len(), MAX_CHANNELS);
    }
}
