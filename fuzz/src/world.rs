//! An engine with one participant, in virtual time.

use proto::id::{Identity, NodeId, ParticipantSid, RoomSid};
use proto::media::{MediaPermission, NewParticipant, NodeCommand, NodeEvent, PeerMode};
use sfu::engine::{Datagram, Engine, EngineConfig, LocalCandidate, Transport, TransportFactory};
use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Once;
use std::time::{Duration, Instant};

/// Where clients think the node is, and the socket behind it.
pub(crate) const ADVERTISED: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7)), 7882);
pub(crate) const BASE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 7882);
/// Where the client is.
pub(crate) const CLIENT: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)), 1000);

thread_local! {
    /// Panics of this thread, caught ones too: the engine bears them, a harness does not.
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

fn panics() -> u64 {
    static COUNT: Once = Once::new();
    COUNT.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            report(info);
        }));
    });
    PANICS.get()
}

pub(crate) struct World {
    panics: u64,
    pub(crate) engine: Engine,
    factory: TransportFactory,
    pub(crate) now: Instant,
}

impl World {
    /// A node that holds transports for one participant.
    pub(crate) fn new(mode: PeerMode) -> Self {
        let candidate = |proto| LocalCandidate {
            proto,
            address: ADVERTISED,
            base: BASE,
        };
        let config = EngineConfig {
            estimates: true,
            node: NodeId::new("n1"),
            candidates: vec![candidate(Transport::Udp), candidate(Transport::Tcp)],
            worker: 0x00a7,
            seed: 7,
        };
        let now = Instant::now();
        let mut world = Self {
            panics: panics(),
            factory: TransportFactory::new(&config),
            engine: Engine::new(config, now),
            now,
        };
        // It asks who owns its rooms.
        world.pass(Duration::ZERO);
        world.command(NodeCommand::AddParticipant(NewParticipant {
            selection: Default::default(),
            hidden: false,
            fixed: false,
            room: RoomSid::new("RM_1"),
            participant: participant(),
            identity: Identity::new("ada"),
            mode,
            permission: MediaPermission {
                publish: true,
                subscribe: true,
                publish_data: true,
            },
        }));
        world
    }

    pub(crate) fn command(&mut self, command: NodeCommand) {
        let prepared = self.factory.prepare(command, self.now);
        self.engine.handle_command(prepared, self.now);
    }

    /// Offers, and gives back what the node says to it.
    pub(crate) fn offer(&mut self, offer_id: u32, sdp: &str) -> Vec<NodeEvent> {
        self.command(NodeCommand::Offer {
            participant: participant(),
            offer_id,
            sdp: sdp.to_owned(),
            resume: None,
        });
        self.events()
    }

    pub(crate) fn datagram(&mut self, transport: Transport, remote: SocketAddr, contents: &[u8]) {
        let datagram = Datagram {
            transport,
            remote,
            local: BASE,
            contents,
        };
        self.engine.handle_datagram(datagram, self.now);
    }

    /// What the node has to say.
    pub(crate) fn events(&mut self) -> Vec<NodeEvent> {
        assert_eq!(
            panics(),
            self.panics,
            "the engine caught a panic, see above"
        );
        let mut events = Vec::new();
        while let Some(event) = self.engine.poll_event() {
            match event {
                NodeEvent::AskOwned { nonce, .. } => self.command(NodeCommand::Owned {
                    nonce,
                    for_ms: OWNED_MS,
                }),
                event => events.push(event),
            }
        }
        events
    }

    /// What it sends, and where to.
    pub(crate) fn transmits(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut sent = Vec::new();
        while let Some(transmit) = self.engine.poll_transmit() {
            let datagrams = transmit.datagrams().map(<[u8]>::to_vec);
            sent.extend(datagrams.map(|contents| (transmit.remote, contents)));
        }
        sent
    }

    /// Lets time pass for a node that nobody answers.
    pub(crate) fn pass(&mut self, duration: Duration) -> Vec<NodeEvent> {
        let end = self.now + duration;
        let mut events = Vec::new();
        // Far more than the timers of one participant need.
        for _ in 0..10_000 {
            match self.engine.poll_timeout() {
                Some((at, _)) if at <= end => {
                    self.now = at.max(self.now);
                    self.engine.handle_timeout(self.now);
                    events.extend(self.events());
                }
                _ => {
                    self.now = end;
                    return events;
                }
            }
        }
        panic!("the engine's timers never come to rest");
    }

    /// Nothing is left of the participant.
    pub(crate) fn leave(&mut self) {
        self.command(NodeCommand::RemoveParticipant {
            participant: participant(),
        });
        self.events();
        let report = self.engine.report();
        assert_eq!(
            (report.participants, report.rooms, report.tracks),
            (0, 0, 0)
        );
    }
}

/// How long the shard says that it owns its rooms, milliseconds. Harnesses let hours pass.
const OWNED_MS: u64 = 24 * 3600 * 1000;

pub(crate) fn participant() -> ParticipantSid {
    ParticipantSid::new("PA_1")
}

/// An offer as a browser makes it, for harnesses that need a negotiated connection.
pub(crate) const OFFER: &str = include_str!("../corpus/sdp_offer/chromium_single.sdp");

/// Stands for the ufrag of a transport that waits for its client; both have 16 characters.
const UFRAG_MARK: &[u8; 16] = b"UFRAGUFRAGUFRAGU";

/// The ufrag in an answer: what a client's binding requests are addressed to.
pub(crate) fn our_ufrag(event: &NodeEvent) -> Option<String> {
    let NodeEvent::Answer { sdp, .. } = event else {
        return None;
    };
    let line = sdp
        .lines()
        .find_map(|line| line.strip_prefix("a=ice-ufrag:"))?;
    let ufrag = line.trim().to_owned();
    assert_eq!(ufrag.len(), UFRAG_MARK.len(), "the mark stands for it");
    Some(ufrag)
}

/// A datagram with our ufrag in the place of its mark.
pub(crate) fn marked(contents: &[u8], ufrag: &str) -> Vec<u8> {
    let mut contents = contents.to_vec();
    let at = contents
        .windows(UFRAG_MARK.len())
        .position(|window| window == UFRAG_MARK);
    for (byte, with) in contents
        .iter_mut()
        .skip(at.unwrap_or(usize::MAX))
        .zip(ufrag.as_bytes())
    {
        *byte = *with;
    }
    contents
}
