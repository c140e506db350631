//! The engine's transports as a set: feeding, draining, losing them.

use super::config::Transport as Protocol;
use super::guard::guard_any;
use super::io::Datagram;
use super::outbox::Happened;
use super::room::{Detaching, Kept};
use super::timers::Timer;
use super::transport::{Role, Transport};
use super::{Engine, ParticipantKey, TransportKey};
use proto::media::{NodeEvent, Target, TransportLoss};
use std::time::Instant;
use str0m::ice::StunMessage;
use str0m::media::Mid;
use str0m::net::Receive;
use str0m::{Input, Rtc};

/// Longest datagram taken, in bytes: what a path carries, DTLS and large frames on TCP included.
/// Longer ones are counted and dropped.
const MAX_DATAGRAM: usize = 2000;

impl Engine {
    /// Hands one datagram to the transport it is for.
    pub(super) fn receive(&mut self, datagram: Datagram<'_>, now: Instant) {
        self.outbox.counters.bytes_in += datagram.contents.len() as u64;
        if self.try_receive(datagram, now).is_none() {
            self.outbox.counters.strays += 1;
        }
    }

    fn try_receive(&mut self, datagram: Datagram<'_>, now: Instant) -> Option<()> {
        if datagram.contents.len() > MAX_DATAGRAM {
            return None;
        }
        let proto = match datagram.transport {
            Protocol::Udp => str0m::net::Protocol::Udp,
            Protocol::Tcp => str0m::net::Protocol::Tcp,
        };
        let destination = self
            .addresses
            .advertised(datagram.transport, datagram.local)?;
        let by_name = if is_stun(datagram.contents) {
            Some(self.named_by(datagram.contents)?)
        } else {
            None
        };
        let key = match by_name {
            Some(Some(key)) => key,
            // A response or indication names nobody.
            Some(None) | None => self.demux.by_remote(datagram.transport, datagram.remote)?,
        };
        let receive = Receive::new(proto, datagram.remote, destination, datagram.contents).ok()?;
        if is_dtls(datagram.contents) && self.withholds_data(key, now) {
            self.outbox.counters.fenced += 1;
            return Some(());
        }
        let transport = self.transports.get_mut(key)?;
        let fan = &mut self.fan;
        let heard = transport
            .outgoing
            .hear(datagram.contents, now, |missing| fan.miss(key, missing));
        let input = Input::Receive(now, receive);
        let taken = transport
            .call(|rtc| rtc.accepts(&input).then(|| rtc.handle_input(input)))
            .unwrap_or(None);
        if matches!(by_name, Some(Some(_))) && taken.is_some() {
            self.demux
                .learn_remote(datagram.transport, datagram.remote, key);
        }
        self.drain(key, now);
        if heard.of_line {
            self.handle_line(key, now);
        }
        if let Some(mid) = heard.stuck {
            self.unstick(key, mid, now);
        }
        // An error of one datagram is the sender's, who may not be the peer: it does not end
        // the transport.
        matches!(taken, Some(Ok(()))).then_some(())
    }

    /// A picture stands still for packets that do not come: a key frame goes on without them.
    fn unstick(&mut self, key: TransportKey, mid: Mid, now: Instant) {
        let transport = self.transports.get(key);
        let section = transport.and_then(|transport| transport.section_of(mid));
        if let Some(Role::Sends(subscription)) = section.map(|section| section.role) {
            self.keyframe_wanted(subscription, now);
        }
    }

    /// The transport that a STUN message names. `None`: nobody, or it is no STUN message.
    fn named_by(&self, contents: &[u8]) -> Option<Option<TransportKey>> {
        let message = guard_any(|| StunMessage::parse(contents).ok()).ok()??;
        if !message.is_binding_request() {
            return Some(None);
        }
        let (ours, _) = message.split_username()?;
        self.demux.by_ufrag(ours).map(Some)
    }

    /// A transport's own timer fired, or a description wound up new ones.
    pub(super) fn transport_timeout(&mut self, key: TransportKey, now: Instant) {
        if let Some(transport) = self.transports.get_mut(key) {
            transport.forget_deadline();
        }
        self.change(key, now, |rtc| {
            if let Err(error) = rtc.handle_input(Input::Timeout(now)) {
                tracing::debug!(%error, ?key, "transport timeout failed");
            }
        });
    }

    /// Changes one transport and lets it say what follows. `None` if it is gone or failed.
    pub(super) fn change<R>(
        &mut self,
        key: TransportKey,
        now: Instant,
        change: impl FnOnce(&mut Rtc) -> R,
    ) -> Option<R> {
        let result = self.transports.get_mut(key)?.call(change).ok();
        self.drain(key, now);
        result
    }

    /// Lets a transport say everything it has to say.
    pub(super) fn drain(&mut self, key: TransportKey, now: Instant) {
        if let Some(transport) = self.transports.get_mut(key) {
            transport.drain(
                key,
                &self.addresses,
                &mut self.outbox,
                &mut self.timers,
                now,
            );
        }
    }

    /// Works off what transports reported, and what follows from it.
    pub(super) fn settle(&mut self, now: Instant) {
        while let Some((key, happened)) = self.outbox.happened.pop_front() {
            match happened {
                Happened::Event(event) => self.handle_event(key, *event, now),
                Happened::Lost(reason) => self.lose(key, reason),
            }
        }
    }

    /// Puts a built transport into service.
    pub(super) fn install(
        &mut self,
        rtc: Box<Rtc>,
        owner: ParticipantKey,
        target: Target,
        now: Instant,
    ) -> TransportKey {
        let mut transport = Transport::new(rtc, owner, target);
        transport.outgoing.estimates = self.estimates;
        let key = self.transports.insert(transport);
        let ufrag = self.change(key, now, |rtc| {
            rtc.direct_api().local_ice_credentials().ufrag
        });
        if let Some(ufrag) = ufrag {
            self.demux.learn_ufrag(&ufrag, key);
        }
        key
    }

    /// Takes a transport out of service without a word to its peer.
    pub(super) fn uninstall(&mut self, key: TransportKey) -> Option<Transport> {
        self.demux.forget(key);
        self.timers.set(Timer::Transport(key), None);
        self.timers.set(Timer::Line(key), None);
        self.transports.remove(key)
    }

    /// A transport is over: its participant stays, and may resume with what is kept of it.
    pub(super) fn lose(&mut self, key: TransportKey, reason: TransportLoss) {
        let Some(mut transport) = self.uninstall(key) else {
            return;
        };
        self.note_loss(reason);
        let kept = Kept {
            streams: transport.kept_streams(),
            sections: std::mem::take(&mut transport.sections),
            carried: Vec::new(),
            channels: transport.channels.leave(),
        };
        self.detach(key, &kept.sections);
        let owner = transport.owner;
        let target = transport.target;
        // A transport in an unknown state may fail once more in its destructor.
        let _ = guard_any(move || drop(transport));
        let Some(participant) = self.participants.get_mut(owner) else {
            return;
        };
        match target {
            Target::Publisher => {
                participant.publisher = None;
                participant.kept = kept;
            }
            Target::Subscriber => {
                participant.subscriber = None;
                participant.offering = Default::default();
            }
        }
        if participant.detaching == Detaching::No {
            tracing::info!(participant = %participant.sid, ?target, ?reason, "transport lost");
        } else {
            // Its transport at the other node is up.
            tracing::debug!(participant = %participant.sid, ?reason, "transport left");
        }
        self.outbox.events.push_back(NodeEvent::Disconnected {
            participant: participant.sid.clone(),
            reason,
        });
    }
}

fn is_dtls(contents: &[u8]) -> bool {
    // RFC 7983.
    contents
        .first()
        .is_some_and(|first| (20..64).contains(first))
}

fn is_stun(contents: &[u8]) -> bool {
    // RFC 7983: the first byte of STUN is 0 to 3; RFC 8489: a header is 20 bytes long.
    contents.len() >= 20 && contents.first().is_some_and(|first| *first < 4)
}

#[cfg(test)]
mod tests {
    use super::super::{EngineConfig, LocalCandidate, TransportFactory};
    use super::*;
    use proto::id::{Identity, NodeId, ParticipantSid, RoomSid};
    use proto::media::{MediaPermission, NewParticipant, NodeCommand, PeerMode};
    use std::net::SocketAddr;

    fn engine_with(names: &[&str], now: Instant) -> Engine {
        let address = SocketAddr::from(([192, 0, 2, 1], 7882));
        let config = EngineConfig {
            estimates: true,
            node: NodeId::new("n1"),
            candidates: vec![LocalCandidate {
                proto: Protocol::Udp,
                address,
                base: address,
            }],
            worker: 1,
            seed: 1,
        };
        let factory = TransportFactory::new(&config);
        let mut engine = Engine::new(config, now);
        for name in names {
            let command = NodeCommand::AddParticipant(NewParticipant {
                selection: Default::default(),
                hidden: false,
                fixed: false,
                room: RoomSid::new("RM_1"),
                participant: ParticipantSid::new(*name),
                identity: Identity::new(*name),
                mode: PeerMode::Single,
                permission: MediaPermission {
                    publish: true,
                    subscribe: true,
                    publish_data: true,
                },
            });
            engine.handle_command(factory.prepare(command, now), now);
        }
        engine
    }

    fn say(engine: &mut Engine) -> Option<NodeEvent> {
        std::iter::from_fn(|| engine.poll_event())
            .find(|event| !matches!(event, NodeEvent::AskOwned { .. }))
    }

    #[test]
    fn a_panic_inside_a_transport_ends_that_transport_only() {
        let now = Instant::now();
        let mut engine = engine_with(&["PA_bad", "PA_good"], now);
        let key = engine.transports.keys()[0];
        assert_eq!(
            engine.change(key, now, |_| panic!("as str0m would")),
            None::<()>
        );
        engine.settle(now);
        assert_eq!(
            say(&mut engine),
            Some(NodeEvent::Disconnected {
                participant: ParticipantSid::new("PA_bad"),
                reason: TransportLoss::Fault,
            })
        );
        assert_eq!(say(&mut engine), None);
        assert_eq!(engine.transports.len(), 1);
        assert_eq!(engine.report().participants, 2);
        engine.handle_timeout(now);
        assert_eq!(say(&mut engine), None);
    }
}
