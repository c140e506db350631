//! What str0m reports, and what the engine does about it.

use super::channels::Label;
use super::transport::Role;
use super::{Engine, TransportKey};
use proto::media::{NodeEvent, PeerMode, Target, TransportLoss};
use std::time::Instant;
use str0m::{Event, IceConnectionState};

impl Engine {
    /// One event of one transport.
    pub(super) fn handle_event(&mut self, key: TransportKey, event: Event, now: Instant) {
        match event {
            Event::RtpPacket(packet) => self.forward(key, &packet, now),
            Event::ChannelData(data) => {
                let label = self
                    .transports
                    .get(key)
                    .and_then(|transport| transport.channels.label_of(data.id));
                match label {
                    Some(label) => self.relay(key, label, &data.data, now),
                    None => self.outbox.counters.strays += 1,
                }
            }
            Event::KeyframeRequest(request) => {
                self.outbox.counters.keyframes_in += 1;
                let role = self
                    .transports
                    .get(key)
                    .and_then(|transport| transport.section_of(request.mid))
                    .map(|section| section.role);
                if let Some(Role::Sends(subscription)) = role {
                    self.keyframe_wanted(subscription, now);
                }
            }
            Event::Connected => self.connected(key, now),
            Event::IceConnectionStateChange(state) => self.ice_changed(key, state, now),
            Event::ChannelOpen(id, label) => {
                if let (Some(transport), Some(label)) =
                    (self.transports.get_mut(key), Label::parse(&label))
                {
                    let stream = transport
                        .call(|rtc| rtc.direct_api().sctp_stream_id_by_channel_id(id))
                        .ok()
                        .flatten();
                    if transport.channels.opened(id, label, stream) {
                        self.catch_up(key, now);
                    }
                    // What came while the client connected or resumed.
                    self.flush_backlog(key, now);
                }
            }
            Event::ChannelClose(id) => {
                if let Some(transport) = self.transports.get_mut(key) {
                    transport.channels.closed(id);
                }
            }
            Event::ChannelBufferedAmountLow(_) => self.flush_backlog(key, now),
            Event::PeerStats(stats) => self.note_peer(key, &stats),
            Event::MediaIngressStats(stats) => self.note_ingress(key, &stats),
            Event::MediaEgressStats(stats) => self.note_egress(key, &stats),
            Event::Closed => self.lose(key, TransportLoss::PeerClosed),
            _ => {}
        }
    }

    fn connected(&mut self, key: TransportKey, now: Instant) {
        let Some(transport) = self.transports.get_mut(key) else {
            return;
        };
        transport.connected = true;
        transport.ice_lost_at = None;
        transport.restarting = false;
        self.say_connected(key);
        self.retarget_of(key, now);
    }

    /// Tells the shard, if this is the connection that makes the participant connected.
    fn say_connected(&mut self, key: TransportKey) {
        let Some(transport) = self.transports.get(key) else {
            return;
        };
        let Some(participant) = self.participants.get(transport.owner) else {
            return;
        };
        tracing::debug!(participant = %participant.sid, target = ?transport.target, "connected");
        let primary = match participant.mode {
            PeerMode::Dual if participant.permission.subscribe => Target::Subscriber,
            PeerMode::Dual | PeerMode::Single => Target::Publisher,
        };
        if transport.target == primary {
            self.outbox.events.push_back(NodeEvent::Connected {
                participant: participant.sid.clone(),
            });
        }
    }

    fn ice_changed(&mut self, key: TransportKey, state: IceConnectionState, now: Instant) {
        let Some(transport) = self.transports.get_mut(key) else {
            return;
        };
        match state {
            IceConnectionState::Disconnected => transport.ice_lost_at = Some(now),
            IceConnectionState::Connected | IceConnectionState::Completed => {
                transport.ice_lost_at = None;
                if std::mem::take(&mut transport.restarting) && transport.connected {
                    self.say_connected(key);
                }
            }
            IceConnectionState::New | IceConnectionState::Checking => {}
        }
    }
}
