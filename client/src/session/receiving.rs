//! Datagrams in, and what str0m makes of them.
//!
//! Owns: which datagrams str0m gets (all but the media of a counting client), what its events mean.

use super::Session;
use super::remote::{Binding, Change, Source};
use crate::event::{CountedPacket, EndReason, ReceivedPacket, SessionEvent};
use crate::options::{Connection, Fidelity, PeerMode};
use crate::rtp::{DatagramKind, RtpHead};
use crate::sdp::RemoteSection;
use crate::timeline::Timeline;
use crate::track::{Kind, Layer};
use livekit_protocol as lk;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;
use str0m::media::KeyframeRequestKind;
use str0m::rtp::RtpPacket;
use str0m::{Event, IceConnectionState, Output};

impl Session {
    /// A datagram from the socket of `connection`, read at `now`.
    pub fn handle_datagram(
        &mut self,
        connection: Connection,
        from: SocketAddr,
        datagram: &[u8],
        now: Instant,
    ) {
        if self.end.is_some() {
            return;
        }
        let is_media = DatagramKind::of(datagram) == DatagramKind::Rtp;
        if is_media {
            self.out.counters.received_packets += 1;
        }
        let counts = is_media && self.options.fidelity == Fidelity::Counting;
        if counts && self.count(datagram, now) {
            return;
        }
        let Some(peer) = self.peer_mut(connection) else {
            return;
        };
        if let Err(cause) = peer.handle_datagram(from, datagram, now) {
            // Anybody can send a datagram: it is the connection's state that decides.
            tracing::debug!("datagram refused: {cause}");
        }
        self.drain(connection, now);
        // str0m may have found out whose it is.
        if counts && !self.count(datagram, now) {
            self.out.counters.unclaimed_packets += 1;
        }
    }

    /// Asks for a key frame of the video whose packets have this source, because what comes cannot be
    /// decoded (RFC 4585 section 6.3.1). Does nothing where the source is unknown.
    pub fn request_key_frame(&mut self, ssrc: u32, now: Instant) {
        let connection = match self.options.mode {
            PeerMode::Single => Connection::Publisher,
            PeerMode::Dual => Connection::Subscriber,
        };
        let Some(peer) = self.peer_mut(connection) else {
            return;
        };
        let asked = peer.call(|rtc| {
            if let Some(stream) = rtc.direct_api().stream_rx(&ssrc.into()) {
                stream.request_keyframe(KeyframeRequestKind::Pli);
            }
            Ok(())
        });
        // It goes out with the next look at the clock.
        if asked.and_then(|()| peer.kick(now)).is_ok() {
            self.drain(connection, now);
        }
    }

    /// Reads the clear header alone. False: nobody knows the source.
    fn count(&mut self, datagram: &[u8], at: Instant) -> bool {
        let Some(head) = RtpHead::parse(datagram) else {
            return false;
        };
        let Some(source) = self.remotes.source(head.ssrc) else {
            return false;
        };
        self.note_media(source, head.marker, at);
        self.out.say(SessionEvent::Header(CountedPacket {
            track: source.track,
            ssrc: head.ssrc,
            repeats: source.repeats,
            sequence: head.sequence,
            timestamp: head.timestamp,
            marker: head.marker,
            bytes: datagram.len(),
            at,
        }));
        true
    }

    fn note_media(&mut self, source: Source, marker: bool, at: Instant) {
        Timeline::mark(&mut self.timeline.first_packet, at);
        if marker && source.kind == Kind::Video && !source.repeats {
            Timeline::mark(&mut self.timeline.first_frame, at);
        }
    }

    /// Everything that str0m has to say now.
    pub(super) fn drain(&mut self, connection: Connection, now: Instant) {
        loop {
            let Some(peer) = self.peer_mut(connection) else {
                return;
            };
            match peer.step(now) {
                Ok(None | Some(Output::Timeout(_))) => return,
                Ok(Some(Output::Transmit(transmit))) => {
                    let (to, contents) = (transmit.destination, transmit.contents.into());
                    self.out.transmit(connection, to, contents);
                }
                Ok(Some(Output::Event(event))) => self.handle_event(connection, event, now),
                Err(cause) => {
                    self.finish(EndReason::MediaFailed(cause), now);
                    return;
                }
            }
        }
    }

    /// The datagrams of a connection that is being closed.
    pub(super) fn drain_quietly(&mut self, connection: Connection, now: Instant) {
        while let Some(peer) = self.peer_mut(connection)
            && let Ok(Some(output)) = peer.step(now)
        {
            if let Output::Transmit(transmit) = output {
                let (to, contents) = (transmit.destination, transmit.contents.into());
                self.out.transmit(connection, to, contents);
            }
        }
    }

    fn handle_event(&mut self, connection: Connection, event: Event, now: Instant) {
        if self.end.is_some() {
            return;
        }
        match event {
            Event::Connected => self.handle_connected(connection, now),
            Event::IceConnectionStateChange(state) => self.handle_ice(connection, state, now),
            Event::RtpPacket(packet) => self.handle_packet(connection, &packet),
            Event::KeyframeRequest(request) => {
                let layer = request.rid.and_then(|rid| Layer::of_name(&rid));
                if let Some(track) = self.publications.at(request.mid) {
                    let layer = layer.unwrap_or(Layer::High);
                    self.out.say(SessionEvent::KeyframeRequest { track, layer });
                }
            }
            Event::ChannelOpen(id, label) => self.handle_channel_open(connection, id, &label, now),
            Event::ChannelData(data) => self.handle_channel_data(connection, &data),
            Event::ChannelClose(id) => self.data.close(connection, id),
            Event::Closed => {
                let cause = "the server closed the media connection".to_owned();
                self.finish(EndReason::MediaFailed(cause), now);
            }
            _ => {}
        }
    }

    fn handle_connected(&mut self, connection: Connection, now: Instant) {
        if connection == self.primary() {
            Timeline::mark(&mut self.timeline.dtls_connected, now);
            self.media_due = None;
        }
        if connection == Connection::Publisher {
            self.publications.connected = true;
        }
        self.out.say(SessionEvent::Connected(connection));
        self.handle_way(connection, now);
    }

    fn handle_ice(&mut self, connection: Connection, state: IceConnectionState, now: Instant) {
        let is_primary = connection == self.primary();
        let Some(peer) = self.peer_mut(connection) else {
            return;
        };
        let was = peer.reachable;
        if state == IceConnectionState::Checking {
            peer.checks = true;
        }
        if state.is_connected() {
            peer.reachable = Some(true);
            peer.checks = false;
            if is_primary {
                Timeline::mark(&mut self.timeline.ice_connected, now);
            }
        } else if state.is_disconnected() {
            peer.reachable = Some(false);
        } else {
            return;
        }
        let is = state.is_connected();
        // The first time is part of the join.
        if was.is_some_and(|was| was != is) {
            self.out.say(SessionEvent::Reachable {
                connection,
                reachable: is,
            });
        }
        // A fresh connection is only ready with its keys.
        if is && was.is_some() {
            self.handle_way(connection, now);
        }
    }

    fn handle_packet(&mut self, connection: Connection, packet: &RtpPacket) {
        let ssrc = *packet.header.ssrc;
        let known = self.remotes.source(ssrc);
        let Some(source) = known.or_else(|| self.learn(connection, packet)) else {
            self.out.counters.unclaimed_packets += 1;
            return;
        };
        if self.options.fidelity == Fidelity::Counting {
            // It is counted with its header, by whoever handed it to str0m.
            return;
        }
        self.note_media(source, packet.header.marker, packet.timestamp);
        self.out.say(SessionEvent::Rtp(ReceivedPacket {
            track: source.track,
            ssrc,
            sequence: *packet.seq_no,
            timestamp: packet.header.timestamp,
            marker: packet.header.marker,
            payload_type: *packet.header.payload_type,
            payload: packet.payload.clone(),
            at: packet.timestamp,
        }));
    }

    fn learn(&mut self, connection: Connection, packet: &RtpPacket) -> Option<Source> {
        let ssrc = packet.header.ssrc;
        let peer = self.peer_mut(connection)?;
        let mid = peer.call(|rtc| Ok(rtc.direct_api().stream_rx(&ssrc).map(|rx| rx.mid())));
        let mid = mid.ok().flatten()?;
        self.remotes.learn(*ssrc, &mid)
    }

    /// What a description of the server's says about the tracks that it sends.
    pub(super) fn bind(&mut self, sections: &[RemoteSection], names: &HashMap<String, String>) {
        let bindings: Vec<Binding> = sections
            .iter()
            .filter(|section| section.sends)
            .filter_map(|section| self.binding(section, names))
            .collect();
        for change in self.remotes.bind(&bindings) {
            self.out.say(match change {
                Change::Added(track) => SessionEvent::Subscribed(track),
                Change::Removed { id, sid } => SessionEvent::Unsubscribed { id, sid },
            });
        }
    }

    /// The track's name is in the message, or in its msid: `PA_x|TR_y TR_y`.
    fn binding(&self, section: &RemoteSection, names: &HashMap<String, String>) -> Option<Binding> {
        let sid = match names.get(&section.mid) {
            Some(sid) => sid,
            None if section.track.starts_with("TR_") => &section.track,
            None => return None,
        };
        let owner = section.stream.split('|').next().unwrap_or_default();
        let known = self.people.track(sid);
        let identity = known.as_ref().map(|known| known.identity);
        let identity = identity.or_else(|| self.people.identity(owner));
        let kind = Kind::of_section(section.video);
        Some(Binding {
            mid: section.mid.clone(),
            sid: sid.clone(),
            participant_sid: known
                .as_ref()
                .map_or(owner, |known| known.participant_sid)
                .to_owned(),
            identity: identity.unwrap_or_default().to_owned(),
            kind,
            source: known.map_or(lk::TrackSource::Unknown, |known| known.source),
            sources: section.sources.clone(),
        })
    }
}
