//! The pure media engine: transports, tracks and forwarding over str0m.
//!
//! Owns no socket, clock, thread or runtime: datagrams, commands and `now` come in, transmits,
//! events and deadlines go out. The node driver owns all of those.
//!
//! A packet's way: [`Engine::handle_datagram`] -> `demux` -> `transport` (str0m) -> `forward` ->
//! `fan` -> `subscription` -> `outgoing` -> [`Engine::poll_transmit`].

mod allocate;
mod arena;
mod arrived;
mod asking;
mod census;
mod channels;
mod commands;
mod config;
mod data;
mod data_packet;
mod demux;
mod dependency;
mod dynacast;
mod events;
mod exports;
mod factory;
mod fan;
mod fence;
mod fixed;
mod forward;
pub(crate) mod fuzzing;
mod gaps;
mod guard;
mod housekeeping;
mod importing;
mod io;
mod last_n;
mod layers;
mod left_out;
mod loudest;
mod meter;
mod moving;
mod negotiation;
mod offering;
mod outbox;
mod outgoing;
mod ownership;
mod peers;
mod rating;
mod reading;
mod rebase;
mod recent;
mod relay_message;
mod relaying;
mod reminder;
mod resume;
mod room;
mod sdp;
mod sdp_patch;
mod sections;
mod selection;
mod setback;
mod share;
mod signalling;
mod spatial;
mod speaker;
mod subscribing;
mod subscription;
mod tap;
mod timers;
mod tracks;
mod transport;
mod transports;

pub use census::Census;
pub use config::{EngineConfig, LocalCandidate, Transport};
pub use factory::{Prepared, TransportFactory};
pub use io::{Datagram, Transmit};
pub use peers::PeerId;
pub use relay_message::{BadRelayMessage, RelayMessage};

use allocate::Demand;
use arena::{Arena, Key};
use demux::{Addresses, Demux};
use fan::Fan;
use outbox::Outbox;
use ownership::Ownership;
use peers::Peers;
use proto::id::{ParticipantSid, RoomSid, TrackSid};
use proto::media::{NodeEvent, NodeReport};
use relaying::Relays;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;
use timers::{Timer, Timers};

type ParticipantKey = Key<room::Participant>;
type RoomKey = Key<room::Room>;
type SubscriptionKey = Key<subscription::Subscription>;
type TrackKey = Key<room::Track>;
type TransportKey = Key<transport::Transport>;

/// All rooms of one media worker.
pub struct Engine {
    addresses: Addresses,
    demux: Demux,
    transports: Arena<transport::Transport>,
    rooms: Arena<room::Room>,
    participants: Arena<room::Participant>,
    tracks: Arena<room::Track>,
    subscriptions: Arena<subscription::Subscription>,
    rooms_by_sid: BTreeMap<RoomSid, RoomKey>,
    participants_by_sid: BTreeMap<ParticipantSid, ParticipantKey>,
    tracks_by_sid: BTreeMap<TrackSid, TrackKey>,
    timers: Timers,
    outbox: Outbox,
    fan: Fan,
    /// Its place among the node's workers.
    worker: u16,
    peers: Peers,
    relays: Relays,
    /// What a client's line takes is estimated.
    estimates: bool,
    /// Where a line is shared.
    demands: Vec<Demand<SubscriptionKey>>,
    /// Which of them are next.
    share_turn: usize,
    ownership: Ownership,
    layers_chosen_at: Instant,
    /// Of the newest input.
    now: Instant,
}

impl Engine {
    /// An engine without participants. `config` must be the one its [`TransportFactory`] has.
    // The signature is the seam to the driver: it hands its configuration over.
    #[expect(clippy::needless_pass_by_value)]
    pub fn new(config: EngineConfig, now: Instant) -> Self {
        let mut timers = Timers::default();
        timers.set(Timer::Ownership, Some(now));
        Self {
            addresses: Addresses::new(&config.candidates),
            demux: Demux::default(),
            transports: Arena::new(),
            rooms: Arena::new(),
            participants: Arena::new(),
            tracks: Arena::new(),
            subscriptions: Arena::new(),
            rooms_by_sid: BTreeMap::new(),
            participants_by_sid: BTreeMap::new(),
            tracks_by_sid: BTreeMap::new(),
            timers,
            outbox: Outbox::default(),
            fan: Fan::default(),
            worker: config.worker,
            peers: Peers::default(),
            relays: Relays::default(),
            estimates: config.estimates,
            demands: Vec::new(),
            share_turn: 0,
            ownership: Ownership::default(),
            layers_chosen_at: now,
            now,
        }
    }

    /// Obeys the shard.
    pub fn handle_command(&mut self, command: Prepared, now: Instant) {
        self.now = now;
        self.obey(command.step, now);
        self.settle(now);
    }

    /// Takes one datagram (or one RFC 4571 frame). Never fails: what nobody expects is counted.
    pub fn handle_datagram(&mut self, datagram: Datagram<'_>, now: Instant) {
        self.now = now;
        self.receive(datagram, now);
        self.settle(now);
    }

    /// A TCP connection that carried datagrams is gone.
    pub fn handle_tcp_closed(&mut self, remote: SocketAddr, _now: Instant) {
        self.demux.forget_remote(Transport::Tcp, remote);
    }

    /// Time passed; call at [`Engine::poll_timeout`] at the latest.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        self.release_held(now);
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Transport(key) => self.transport_timeout(key, now),
                Timer::Line(key) => self.line_timeout(key, now),
                Timer::Negotiation(key) => self.renegotiate(key, now),
                Timer::Housekeeping => self.keep_house(now),
                Timer::Ownership => self.ask_owned(now),
                Timer::Detach(key) => self.conclude_detach(key, now),
            }
            self.settle(now);
        }
    }

    /// The next message for the shard. Drain before waiting.
    pub fn poll_event(&mut self) -> Option<NodeEvent> {
        self.outbox.events.pop_front()
    }

    /// When [`Engine::handle_timeout`] is wanted next, and why.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let held = self.fan.held_until().map(|at| (at, "held packets"));
        [self.timers.next(), held].into_iter().flatten().min()
    }

    /// Figures since start; `cpu_load` is left 0.
    pub fn report(&self) -> NodeReport {
        let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let counters = self.outbox.counters;
        NodeReport {
            participants: count(self.participants.iter().filter(|(_, it)| !it.guest).count()),
            tracks: count(self.tracks.iter().filter(|(_, it)| it.is_own()).count()),
            rooms: count(self.rooms.len()),
            packets_in: counters.packets_in,
            packets_out: counters.packets_out,
            bytes_in: counters.bytes_in,
            bytes_out: counters.bytes_out,
            stray_packets: counters.strays,
            fenced_packets: counters.fenced,
            cpu_load: 0.0,
            sys_load: 0.0,
            stress: 0.0,
        }
    }
}
