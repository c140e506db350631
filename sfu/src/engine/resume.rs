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

/// What a fresh `Rtc` was told.
pub(super) struct Restored {
    /// The streams it took.
    pub(super) streams: Vec<KeptStream>,
    /// The reliable channel will open.
    pub(super) reliable: bool,
}

/// Tells a fresh `Rtc` what the client does not say again: its open data channels and, for
/// simulcast, which SSRC is which layer.
pub(super) fn restore(
    rtc: &mut Rtc,
    channels: &[OpenChannel],
    streams: &[KeptStream],
    has_data: bool,
) -> Restored {
    let reliable = has_data && open_channels(rtc, channels);
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
    Restored {
        streams: taken,
        reliable,
    }
}

/// True if the reliable channel is among them.
fn open_channels(rtc: &mut Rtc, open: &[OpenChannel]) -> bool {
    let mut reliable = false;
    // str0m asserts on a stream id given twice.
    let mut ids: Vec<u16> = Vec::new();
    for channel in open.iter().take(MAX_CHANNELS) {
        let Some(label) = Label::parse(&channel.label) else {
            continue;
        };
        if channel.id > MAX_STREAM_ID || ids.contains(&channel.id) {
            continue;
        }
        ids.push(channel.id);
        let config: channels::Config = label.config(Some(channel.id));
        rtc.direct_api().create_data_channel(config);
        reliable |= label == Label::Reliable;
    }
    reliable
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
