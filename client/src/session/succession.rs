//! A fresh peer connection takes the place of an old one, because the server answered a restart from a
//! fresh transport of its own: it keeps sections, sources and channels.
//!
//! str0m cannot change the server's certificate of a connection. But a fresh one takes names and order
//! of the sections from a description that it is offered, so the server's answer is read as an offer;
//! our part of it, credentials and certificate, was in the offer that the server answered.

use super::Session;
use super::negotiation::channel;
use super::peer::{Peer, text};
use super::publications::State;
use crate::track::Layer;
use std::time::Instant;
use str0m::change::SdpOffer;
use str0m::media::{Mid, Rid};
use str0m::rtp::Ssrc;
use str0m::{IceCreds, Rtc};

/// A stream that goes out.
struct Outgoing {
    mid: Mid,
    rid: Option<Rid>,
    ssrc: Ssrc,
    rtx: Option<Ssrc>,
}

impl Session {
    /// Takes the server's answer into a fresh connection that knows itself by `credentials`.
    pub(super) fn succeed(
        &mut self,
        answer: &str,
        credentials: IceCreds,
        now: Instant,
    ) -> Result<(), String> {
        let streams = self.outgoing()?;
        let channels = self.data.channels();
        let certificate = self.publisher.certificate().clone();
        let local = self.publisher.local();
        let fresh = Peer::with_certificate(&self.options, local, certificate, now);
        let mut fresh = fresh.map_err(|error| error.to_string())?;
        fresh.call(|rtc| {
            rtc.direct_api().set_local_ice_credentials(credentials);
            let answer = SdpOffer::from_sdp_string(answer).map_err(|e| e.to_string())?;
            rtc.sdp_api().accept_offer(answer).map_err(text)?;
            // The offer was ours, whatever the server is.
            rtc.direct_api().set_ice_controlling(true);
            for stream in &streams {
                keep(rtc, stream);
            }
            for (kind, id) in &channels {
                let mut config = channel(*kind);
                config.negotiated = Some(*id);
                rtc.direct_api().create_data_channel(config);
            }
            Ok(())
        })?;
        // Without a goodbye: that would close the channels at the server for good.
        self.publisher = fresh;
        self.data.forget_publisher();
        self.publications.start_anew();
        self.publisher.kick(now)
    }

    /// All streams of our tracks, as the old connection numbered them.
    fn outgoing(&mut self) -> Result<Vec<Outgoing>, String> {
        let all = self.publications.all.values();
        let sections: Vec<(Mid, bool)> = all
            .filter_map(|track| match track.state {
                State::Sending { mid, .. } => Some((mid, track.spec.is_simulcast())),
                _ => None,
            })
            .collect();
        self.publisher.call(|rtc| {
            let mut api = rtc.direct_api();
            let mut streams = Vec::new();
            for (mid, simulcast) in sections {
                let rids = if simulcast {
                    Layer::ALL.map(|layer| Some(layer.rid())).to_vec()
                } else {
                    vec![None]
                };
                for rid in rids {
                    if let Some(stream) = api.stream_tx_by_mid(mid, rid) {
                        streams.push(Outgoing {
                            mid,
                            rid,
                            ssrc: stream.ssrc(),
                            rtx: stream.rtx(),
                        });
                    }
                }
            }
            Ok(streams)
        })
    }
}

/// The server knows our sources by their numbers.
fn keep(rtc: &mut Rtc, stream: &Outgoing) {
    let is_sending = rtc
        .media(stream.mid)
        .is_some_and(|media| media.direction().is_sending());
    if !is_sending {
        return;
    }
    let mut api = rtc.direct_api();
    if let Some(made) = api.stream_tx_by_mid(stream.mid, stream.rid) {
        let made = made.ssrc();
        api.remove_stream_tx(made);
    }
    api.declare_stream_tx(stream.ssrc, stream.rtx, stream.mid, stream.rid);
}
