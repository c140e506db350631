//! Engines, their shards and clients in virtual time: datagrams arrive at once, nothing sleeps.

use super::peer::{Got, Peer, Sent};
use super::scalable::Camera;
use proto::id::{Identity, Member, NodeId, ParticipantSid, RoomSid, TrackSid};
use proto::media::{
    Kind, LayerSize, MediaPermission, NewParticipant, NodeCommand, NodeEvent, PeerMode,
    PublishedTrack, Quality, Selection, Target, TrackSettings,
};
use sfu::engine::{
    Datagram, Engine, EngineConfig, LocalCandidate, RelayMessage, Transport, TransportFactory,
};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use str0m::media::{MediaKind, Mid, Rid};

/// Its name among the members of rooms.
pub(crate) fn member_at(node: NodeIndex) -> Member {
    Member::new(NodeId::new(format!("n{}", node + 1)), 0x00a7)
}

/// Where clients think the node is, and the socket behind it.
pub(crate) const ADVERTISED: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 7)),
    7882,
);
pub(crate) const BASE: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)),
    7882,
);
/// One packet of speech.
const AUDIO_STEP: Duration = Duration::from_millis(20);
/// Packets of a video frame.
const FRAME_PACKETS: u8 = 2;
/// The longest payload of a long frame, about.
const PAYLOAD_BYTES: usize = 1_000;

/// A node, by its place in [`World::nodes`].
pub(crate) type NodeIndex = usize;

/// A node with an address of its own.
pub(crate) struct TestNode {
    pub(crate) engine: Engine,
    factory: TransportFactory,
    pub(crate) base: SocketAddr,
    pub(crate) advertised: SocketAddr,
    /// What it said.
    pub(crate) events: Vec<NodeEvent>,
}

impl TestNode {
    /// The first node is at [`BASE`], the others behind it.
    fn new(index: u8, estimates: bool, now: Instant) -> Self {
        let beside = |mut address: SocketAddr| {
            address.set_port(address.port() + u16::from(index));
            address
        };
        let (base, advertised) = (beside(BASE), beside(ADVERTISED));
        let config = EngineConfig {
            estimates,
            node: NodeId::new(format!("n{}", index + 1)),
            candidates: vec![LocalCandidate {
                proto: Transport::Udp,
                address: advertised,
                base,
            }],
            worker: 0x00a7,
            seed: 7 + u64::from(index),
        };
        Self {
            factory: TransportFactory::new(&config),
            engine: Engine::new(config, now),
            base,
            advertised,
            events: Vec::new(),
        }
    }

    fn command(&mut self, command: NodeCommand, now: Instant) {
        let prepared = self.factory.prepare(command, now);
        self.engine.handle_command(prepared, now);
    }
}

pub(crate) struct Client {
    pub(crate) sid: ParticipantSid,
    /// Where its shard sends what it says.
    pub(crate) node: NodeIndex,
    pub(crate) publisher: Peer,
    pub(crate) subscriber: Option<Peer>,
    pub(crate) offers: u32,
    /// The shard's answers, newest last, with what they say about the sections.
    pub(crate) answers: Vec<(String, BTreeMap<String, TrackSid>)>,
    /// The node's offers, newest last.
    pub(crate) node_offers: Vec<(String, BTreeMap<String, TrackSid>)>,
    /// (audio, video) asked for.
    pub(crate) sections_wanted: Vec<(u32, u32)>,
    /// Does what the node asks by itself.
    pub(crate) obedient: bool,
    pub(crate) in_flight: bool,
    asked: Option<(u32, u32)>,
    /// Our mid to the node's, after a resume on a fresh connection.
    pub(crate) renamed: Vec<(String, String)>,
    pub(crate) unplugged: bool,
    /// The longest data packet that its offers say it takes.
    pub(crate) max_message: Option<usize>,
}

impl Client {
    /// The connection on which this client receives.
    pub(crate) fn receiver(&mut self) -> &mut Peer {
        self.subscriber.as_mut().unwrap_or(&mut self.publisher)
    }

    pub(crate) fn got(&self) -> &[Got] {
        &self.subscriber.as_ref().unwrap_or(&self.publisher).got
    }
}

/// A thin line to a client: what waits for too long is lost.
pub(crate) struct Line {
    pub(crate) bits_per_second: u64,
    free_at: Instant,
    under_way: VecDeque<(Instant, SocketAddr, Vec<u8>)>,
    /// How long the last datagram had to wait.
    pub(crate) waited: Duration,
    pub(crate) lost: u64,
}

/// The queue in front of a thin line.
const LINE_QUEUE: Duration = Duration::from_millis(300);
const LINE_DELAY: Duration = Duration::from_millis(20);
/// How much later a late packet is: more than a frame.
const LATE: Duration = Duration::from_millis(90);

impl Line {
    fn take(&mut self, from: SocketAddr, contents: Vec<u8>, now: Instant) {
        let begin = self.free_at.max(now);
        self.waited = begin - now;
        if self.waited > LINE_QUEUE {
            self.lost += 1;
            return;
        }
        let bits = 8 * (contents.len() as u64 + 28);
        self.free_at = begin + Duration::from_nanos(bits * 1_000_000_000 / self.bits_per_second);
        self.under_way
            .push_back((self.free_at + LINE_DELAY, from, contents));
    }

    fn arrived(&mut self, now: Instant) -> Option<(SocketAddr, Vec<u8>)> {
        let (_, from, contents) = self.under_way.pop_front_if(|(at, ..)| *at <= now)?;
        Some((from, contents))
    }
}

/// A running source of media.
pub(crate) struct Source {
    pub(crate) client: &'static str,
    pub(crate) mid: Mid,
    pub(crate) kind: Kind,
    pub(crate) layers: Vec<Layer>,
    pub(crate) level: i8,
    pub(crate) on: bool,
}

pub(crate) struct Layer {
    pub(crate) rid: Option<Rid>,
    pub(crate) name: u8,
    pub(crate) on: bool,
    pub(crate) keyframes: u32,
    /// Bytes of a frame, if it shall be longer than its numbers.
    pub(crate) bytes: usize,
    frame: u32,
    picture_id: u16,
    timestamp: u32,
    key_next: bool,
    /// It is a scalable stream.
    camera: Option<Camera>,
}

pub(crate) struct World {
    pub(crate) nodes: Vec<TestNode>,
    pub(crate) now: Instant,
    pub(crate) clients: BTreeMap<&'static str, Client>,
    /// What all nodes said.
    pub(crate) events: Vec<NodeEvent>,
    /// How long the shards say that they own their rooms. `None`: they do not answer.
    pub(crate) owned_for: Option<Duration>,
    /// Clients leave the names of streams and layers out of their packets when they resume.
    pub(crate) nameless: bool,
    pub(crate) sources: Vec<Source>,
    /// What everybody in a room gets, as its shard says when somebody comes.
    pub(crate) selection: Selection,
    /// How loud microphones are that are published from now on, dB of full scale.
    pub(crate) level: i8,
    /// Tracks that are published from now on are screens.
    pub(crate) screens: bool,
    /// Clients, by name, to whom a thin line leads.
    pub(crate) lines: BTreeMap<&'static str, Line>,
    /// The network loses every n-th datagram of the node.
    pub(crate) lose_every: Option<u64>,
    /// The network between nodes loses every n-th message that may be lost.
    pub(crate) lose_relayed: Option<u64>,
    /// Messages between nodes.
    pub(crate) relayed: u64,
    /// Every n-th packet of media takes longer to the node than those behind it.
    pub(crate) late_every: Option<u64>,
    late: VecDeque<(Instant, SocketAddr, SocketAddr, Vec<u8>)>,
    arrived: u64,
    /// What the nodes allocated for media, from its arrival to its departure.
    pub(crate) allocations: u64,
    sent: u64,
    next_source_tick: Instant,
    ticks: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_nodes(1)
    }

    pub(crate) fn with_nodes(count: u8) -> Self {
        Self::made(count, true)
    }

    /// A node that does not ask what lines take.
    pub(crate) fn without_estimates() -> Self {
        Self::made(1, false)
    }

    fn made(count: u8, estimates: bool) -> Self {
        let now = Instant::now();
        let node = |index| TestNode::new(index, estimates, now);
        let mut world = Self {
            nodes: (0..count).map(node).collect(),
            now,
            clients: BTreeMap::new(),
            events: Vec::new(),
            owned_for: Some(Duration::from_secs(10)),
            nameless: false,
            sources: Vec::new(),
            selection: Selection::default(),
            level: -20,
            screens: false,
            lines: BTreeMap::new(),
            lose_every: None,
            lose_relayed: None,
            relayed: 0,
            late_every: None,
            late: VecDeque::new(),
            arrived: 0,
            allocations: 0,
            sent: 0,
            next_source_tick: now,
            ticks: 0,
        };
        // Every node asks who owns its rooms, before anything else.
        world.run(Duration::ZERO);
        world
    }

    /// The first node's engine.
    pub(crate) fn engine(&mut self) -> &mut Engine {
        &mut self.nodes[0].engine
    }

    /// To the first node.
    pub(crate) fn command(&mut self, command: NodeCommand) {
        self.command_at(0, command);
    }

    pub(crate) fn command_at(&mut self, node: NodeIndex, command: NodeCommand) {
        self.nodes[node].command(command, self.now);
        self.exchange();
    }

    /// What a shard says for this client.
    pub(crate) fn command_of(&mut self, name: &str, command: NodeCommand) {
        self.command_at(self.clients[name].node, command);
    }

    /// Adds a participant without any offer.
    pub(crate) fn add(&mut self, name: &'static str, mode: PeerMode) {
        self.add_to(name, "RM_1", mode);
    }

    /// Adds a participant at another node, and connects it.
    pub(crate) fn join_at(&mut self, name: &'static str, node: NodeIndex) {
        self.place(name, "RM_1", PeerMode::Single, node);
        self.connect(name, PeerMode::Single);
    }

    pub(crate) fn add_to(&mut self, name: &'static str, room: &str, mode: PeerMode) {
        self.place(name, room, mode, 0);
    }

    fn place(&mut self, name: &'static str, room: &str, mode: PeerMode, node: NodeIndex) {
        let index = u16::try_from(self.clients.len()).unwrap();
        let address = |port| SocketAddr::from(([192, 0, 2, 10], port));
        let sid = ParticipantSid::new(format!("PA_{name}"));
        self.clients.insert(
            name,
            Client {
                sid: sid.clone(),
                node,
                publisher: Peer::new(address(1000 + index), self.now),
                subscriber: (mode == PeerMode::Dual)
                    .then(|| Peer::new(address(2000 + index), self.now)),
                offers: 0,
                answers: Vec::new(),
                node_offers: Vec::new(),
                sections_wanted: Vec::new(),
                obedient: true,
                in_flight: false,
                asked: None,
                renamed: Vec::new(),
                unplugged: false,
                max_message: None,
            },
        );
        let command = NodeCommand::AddParticipant(NewParticipant {
            selection: self.selection,
            // A name says enough here.
            hidden: name == "ghost",
            fixed: name == "viewer",
            room: RoomSid::new(room),
            participant: sid,
            identity: Identity::new(name),
            mode,
            permission: all(),
        });
        self.command_at(node, command);
    }

    /// Adds a participant and connects it the way LiveKit's clients do.
    pub(crate) fn join(&mut self, name: &'static str, mode: PeerMode) {
        self.add(name, mode);
        self.connect(name, mode);
    }

    /// Offers what LiveKit's clients offer first.
    pub(crate) fn connect(&mut self, name: &'static str, mode: PeerMode) {
        let channels = [("_lossy", None), ("_reliable", None), ("_data_track", None)];
        let receiving: &[(MediaKind, &[&str], Option<&str>)] = match mode {
            PeerMode::Single => &[(MediaKind::Audio, &[], None), (MediaKind::Video, &[], None)],
            PeerMode::Dual => &[],
        };
        self.offer(name, receiving, &channels);
        self.run(Duration::from_secs(2));
        let client = self.clients.get_mut(name).unwrap();
        assert!(client.publisher.connected, "{name} connects");
        assert!(client.receiver().connected, "{name} connects");
    }

    pub(crate) fn offer(
        &mut self,
        name: &'static str,
        sections: &[(MediaKind, &[&str], Option<&str>)],
        channels: &[(&str, Option<u16>)],
    ) -> Vec<Mid> {
        self.offer_with(name, sections, channels, false)
    }

    pub(crate) fn restart_ice(&mut self, name: &'static str) {
        self.offer_with(name, &[], &[], true);
    }

    fn offer_with(
        &mut self,
        name: &'static str,
        sections: &[(MediaKind, &[&str], Option<&str>)],
        channels: &[(&str, Option<u16>)],
        ice_restart: bool,
    ) -> Vec<Mid> {
        let client = self.clients.get_mut(name).unwrap();
        assert!(!client.in_flight);
        let (mut sdp, mids) = client.publisher.offer(sections, channels, ice_restart);
        let names = client.renamed.iter();
        sdp = rename(
            &sdp,
            names.map(|(ours, theirs)| (ours.as_str(), theirs.as_str())),
        );
        if let Some(bytes) = client.max_message {
            let line = format!("a=max-message-size:{bytes}\r\na=was:");
            sdp = sdp.replace("a=max-message-size:", &line);
        }
        client.offers += 1;
        client.in_flight = true;
        let command = NodeCommand::Offer {
            participant: client.sid.clone(),
            offer_id: client.offers,
            sdp,
            resume: None,
        };
        self.command_of(name, command);
        mids
    }

    /// Announces and offers a track, and starts its source.
    pub(crate) fn publish(
        &mut self,
        name: &'static str,
        track: &str,
        kind: Kind,
        rids: &[&'static str],
    ) {
        let sid = self.clients[name].sid.clone();
        let mut announced = announced(sid, track, kind, rids);
        announced.screen = self.screens;
        let cid = announced.cid.clone();
        self.command_of(name, NodeCommand::Publish(announced));
        let media = match kind {
            Kind::Audio => MediaKind::Audio,
            Kind::Video => MediaKind::Video,
        };
        let mid = self.offer(name, &[(media, rids, Some(&cid))], &[])[0];
        let names: Vec<Option<&str>> = if rids.is_empty() {
            vec![None]
        } else {
            rids.iter().copied().map(Some).collect()
        };
        self.sources.push(Source {
            client: name,
            mid,
            kind,
            layers: names.into_iter().map(Layer::new).collect(),
            level: self.level,
            on: true,
        });
        self.run(Duration::from_millis(200));
    }

    /// Publishes a camera whose layers are all in one stream, announced as LiveKit's clients do.
    pub(crate) fn publish_scalable(&mut self, name: &'static str, track: &str, camera: Camera) {
        let sid = self.clients[name].sid.clone();
        let mut announced = announced(sid, track, Kind::Video, &["q", "h", "f"]);
        camera.codec().clone_into(&mut announced.codec);
        let cid = announced.cid.clone();
        self.command_of(name, NodeCommand::Publish(announced));
        let mid = self.offer(name, &[(MediaKind::Video, &[], Some(&cid))], &[])[0];
        let mut layer = Layer::new(None);
        layer.camera = Some(camera);
        self.sources.push(Source {
            client: name,
            mid,
            kind: Kind::Video,
            layers: vec![layer],
            level: self.level,
            on: true,
        });
        self.run(Duration::from_millis(200));
    }

    pub(crate) fn subscribe(&mut self, name: &str, track: &str) {
        let command = NodeCommand::Subscribe {
            participant: self.clients[name].sid.clone(),
            track: TrackSid::new(track),
            settings: TrackSettings::default(),
        };
        self.command_of(name, command);
    }

    pub(crate) fn settings(&mut self, name: &str, track: &str, settings: TrackSettings) {
        let command = NodeCommand::SetTrackSettings {
            participant: self.clients[name].sid.clone(),
            track: TrackSid::new(track),
            settings,
        };
        self.command_of(name, command);
    }

    /// Lets virtual time pass.
    pub(crate) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.tick();
        while self.now < end {
            let clients = self.clients.values();
            let peers = clients.flat_map(|c| [Some(&c.publisher), c.subscriber.as_ref()]);
            let next = peers
                .flatten()
                .filter(|peer| !peer.closed)
                .map(Peer::deadline)
                .chain(self.nodes.iter().filter_map(|node| {
                    let (at, _) = node.engine.poll_timeout()?;
                    Some(at)
                }))
                .chain(self.lines.values().filter_map(|line| {
                    let (at, ..) = line.under_way.front()?;
                    Some(*at)
                }))
                .chain(self.late.front().map(|(at, ..)| *at))
                .chain([self.next_source_tick, end])
                .min()
                .unwrap();
            self.now = next.max(self.now).min(end);
            if self.now >= self.next_source_tick {
                self.next_source_tick = self.now + AUDIO_STEP;
                self.tick_sources();
            }
            self.tick();
        }
    }

    /// Nodes whose time has come do what they must.
    fn tick(&mut self) {
        self.drain_lines();
        while let Some((_, remote, to, contents)) =
            self.late.pop_front_if(|(at, ..)| *at <= self.now)
        {
            self.deliver(remote, to, &contents);
        }
        for node in &mut self.nodes {
            let wanted = node.engine.poll_timeout();
            if wanted.is_some_and(|(at, _)| at <= self.now) {
                node.engine.handle_timeout(self.now);
            }
        }
        self.exchange();
    }

    /// Moves datagrams and messages until nothing moves.
    fn exchange(&mut self) {
        loop {
            let mut moved = false;
            for node in 0..self.nodes.len() {
                moved |= self.drain_node(node);
                moved |= self.drain_relay(node);
            }
            moved |= self.drain_clients();
            for node in 0..self.nodes.len() {
                while let Some(event) = self.nodes[node].engine.poll_event() {
                    moved = true;
                    self.act(node, &event);
                    self.nodes[node].events.push(event.clone());
                    self.events.push(event);
                }
            }
            moved |= self.obey_wishes();
            if !moved {
                return;
            }
        }
    }

    fn drain_node(&mut self, node: NodeIndex) -> bool {
        let mut moved = false;
        let TestNode { engine, base, .. } = &mut self.nodes[node];
        let mut sent: Vec<(SocketAddr, Vec<u8>)> = Vec::new();
        loop {
            let mut next = None;
            let counted = allocation_counter::measure(|| next = engine.poll_transmit());
            self.allocations += counted.count_total;
            let Some(transmit) = next else {
                break;
            };
            assert_eq!(transmit.local, *base);
            let datagrams = transmit.datagrams().map(<[u8]>::to_vec);
            sent.extend(datagrams.map(|contents| (transmit.remote, contents)));
        }
        for (remote, contents) in sent {
            moved = true;
            self.sent += 1;
            if self.lose_every.is_some_and(|n| self.sent.is_multiple_of(n)) {
                continue;
            }
            let (now, from) = (self.now, self.nodes[node].advertised);
            if let Some(line) = self.line_to(remote) {
                line.take(from, contents, now);
            } else if let Some(peer) = self.peer_at(remote) {
                peer.receive(from, &contents, now);
                peer.stash(now);
            }
        }
        moved
    }

    /// What the node says to others goes there as it would over a network.
    fn drain_relay(&mut self, node: NodeIndex) -> bool {
        let mut moved = false;
        while let Some((to, message)) = self.nodes[node].engine.poll_relay() {
            moved = true;
            self.relayed += 1;
            let lost = self
                .lose_relayed
                .is_some_and(|n| self.relayed.is_multiple_of(n));
            if lost && message.is_lossy() {
                continue;
            }
            let member = self.nodes[node].engine.member(to).unwrap().clone();
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            let message = RelayMessage::decode(&bytes).unwrap();
            let from = member_at(node);
            let mut nodes = (0..).zip(&mut self.nodes);
            if let Some((_, other)) = nodes.find(|(index, _)| member_at(*index) == member) {
                other.engine.handle_relay(&from, message, self.now);
            }
        }
        moved
    }

    fn line_to(&mut self, remote: SocketAddr) -> Option<&mut Line> {
        let has = |client: &Client| {
            let subscriber = client.subscriber.as_ref().map(|peer| peer.address);
            client.publisher.address == remote || subscriber == Some(remote)
        };
        let (name, _) = self.clients.iter().find(|(_, client)| has(client))?;
        self.lines.get_mut(name)
    }

    /// What came through thin lines by now.
    fn drain_lines(&mut self) {
        let now = self.now;
        for (name, line) in &mut self.lines {
            let Some(client) = self.clients.get_mut(name) else {
                continue;
            };
            while let Some((from, contents)) = line.arrived(now) {
                let peer = client.receiver();
                peer.receive(from, &contents, now);
                peer.stash(now);
            }
        }
    }

    /// From now on a thin line leads to a client, or one of another width.
    pub(crate) fn narrow(&mut self, name: &'static str, bits_per_second: u64) {
        let now = self.now;
        let line = self.lines.entry(name).or_insert(Line {
            bits_per_second,
            free_at: now,
            under_way: VecDeque::new(),
            waited: Duration::ZERO,
            lost: 0,
        });
        line.bits_per_second = bits_per_second;
    }

    fn peer_at(&mut self, address: SocketAddr) -> Option<&mut Peer> {
        self.clients
            .values_mut()
            .filter(|client| !client.unplugged)
            .flat_map(|client| [Some(&mut client.publisher), client.subscriber.as_mut()])
            .flatten()
            .find(|peer| peer.address == address && !peer.closed)
    }

    fn drain_clients(&mut self) -> bool {
        let mut sent = Vec::new();
        for client in self.clients.values_mut() {
            let peers = [Some(&mut client.publisher), client.subscriber.as_mut()];
            for peer in peers.into_iter().flatten().filter(|peer| !peer.closed) {
                for (destination, contents) in peer.drain(self.now) {
                    if !client.unplugged {
                        sent.push((peer.address, destination, contents));
                    }
                }
            }
        }
        let mut moved = false;
        for (remote, to, contents) in sent {
            self.arrived += u64::from(is_media(&contents));
            let late = |n| is_media(&contents) && self.arrived.is_multiple_of(n);
            if self.late_every.is_some_and(late) {
                self.late.push_back((self.now + LATE, remote, to, contents));
                continue;
            }
            moved |= self.deliver(remote, to, &contents);
        }
        moved
    }

    fn deliver(&mut self, remote: SocketAddr, to: SocketAddr, contents: &[u8]) -> bool {
        let mut nodes = self.nodes.iter_mut();
        let Some(node) = nodes.find(|node| node.advertised == to) else {
            return false;
        };
        let datagram = Datagram {
            transport: Transport::Udp,
            remote,
            local: node.base,
            contents,
        };
        let now = self.now;
        let counted = allocation_counter::measure(|| node.engine.handle_datagram(datagram, now));
        self.allocations += counted.count_total * u64::from(is_media(contents));
        true
    }

    /// What a shard and its clients do with a message of the node.
    fn act(&mut self, node: NodeIndex, event: &NodeEvent) {
        let now = self.now;
        match event {
            NodeEvent::Answer {
                participant,
                sdp,
                mid_to_track,
                ..
            } => {
                let client = self.client_of(participant);
                client.in_flight = false;
                client.answers.push((sdp.clone(), mid_to_track.clone()));
                let mut sdp = sdp.clone();
                let names = client.renamed.iter();
                sdp = rename(
                    &sdp,
                    names.map(|(ours, theirs)| (theirs.as_str(), ours.as_str())),
                );
                client.publisher.take_answer(&sdp);
                client.publisher.kick(now);
            }
            NodeEvent::Offer {
                participant,
                offer_id,
                sdp,
                mid_to_track,
            } => {
                let client = self.client_of(participant);
                client.node_offers.push((sdp.clone(), mid_to_track.clone()));
                if !client.obedient {
                    return;
                }
                let subscriber = client.subscriber.as_mut().unwrap();
                let answer = subscriber.answer(sdp);
                subscriber.kick(now);
                let command = NodeCommand::Answer {
                    participant: participant.clone(),
                    offer_id: *offer_id,
                    sdp: answer,
                };
                self.nodes[node].command(command, now);
            }
            NodeEvent::AskOwned { nonce, .. } => {
                if let Some(owned_for) = self.owned_for {
                    let command = NodeCommand::Owned {
                        nonce: *nonce,
                        for_ms: u64::try_from(owned_for.as_millis()).unwrap(),
                    };
                    self.nodes[node].command(command, now);
                }
            }
            NodeEvent::SectionsWanted {
                participant,
                audio,
                video,
            } => {
                let client = self.client_of(participant);
                client.sections_wanted.push((*audio, *video));
                client.asked = Some((*audio, *video));
            }
            _ => {}
        }
    }

    /// Clients that were asked for an offer and are free to make one do so.
    fn obey_wishes(&mut self) -> bool {
        let ready = self
            .clients
            .iter_mut()
            .filter(|(_, client)| client.obedient && !client.in_flight)
            .find_map(|(name, client)| Some((*name, client.asked.take()?)));
        let Some((name, (audio, video))) = ready else {
            return false;
        };
        let mut sections: Vec<(MediaKind, &[&str], Option<&str>)> = Vec::new();
        sections.extend((0..audio).map(|_| (MediaKind::Audio, &[][..], None)));
        sections.extend((0..video).map(|_| (MediaKind::Video, &[][..], None)));
        self.offer(name, &sections, &[]);
        true
    }

    fn client_of(&mut self, sid: &ParticipantSid) -> &mut Client {
        self.clients
            .values_mut()
            .find(|client| client.sid == *sid)
            .unwrap()
    }

    fn tick_sources(&mut self) {
        self.ticks += 1;
        for (name, client) in &mut self.clients {
            for wanted in std::mem::take(&mut client.publisher.keyframes_wanted) {
                let own = self
                    .sources
                    .iter_mut()
                    .filter(|source| source.client == *name);
                for layer in own
                    .filter(|source| source.mid == wanted.0)
                    .flat_map(|source| &mut source.layers)
                {
                    layer.key_next |= wanted.1 == layer.rid;
                }
            }
        }
        for source in &mut self.sources {
            let Some(client) = self.clients.get_mut(source.client) else {
                continue;
            };
            let peer = &mut client.publisher;
            if !source.on || !peer.connected || peer.closed {
                continue;
            }
            match source.kind {
                Kind::Audio => source.layers[0].speak(peer, source.mid, source.level, self.now),
                Kind::Video if self.ticks.is_multiple_of(2) => {
                    for layer in source.layers.iter_mut().filter(|layer| layer.on) {
                        layer.shoot(peer, source.mid, self.now);
                    }
                }
                Kind::Video => {}
            }
        }
    }

    pub(crate) fn settle(&mut self) {
        self.exchange();
    }

    /// Takes what a client got so far.
    pub(crate) fn take_got(&mut self, name: &str) -> Vec<Got> {
        std::mem::take(&mut self.clients.get_mut(name).unwrap().receiver().got)
    }

    pub(crate) fn count(&self, matches: impl Fn(&NodeEvent) -> bool) -> usize {
        self.events.iter().filter(|event| matches(event)).count()
    }

    /// A resume: the client comes with a fresh connection that claims to be the old one.
    pub(crate) fn resume(&mut self, name: &'static str, open: &[(&str, u16)]) {
        self.resume_listing(name, open, open);
    }

    /// Like [`World::resume`], for a client that lists fewer channels than it has open.
    pub(crate) fn resume_listing(
        &mut self,
        name: &'static str,
        open: &[(&str, u16)],
        listed: &[(&str, u16)],
    ) {
        let now = self.now;
        let client = self.clients.get_mut(name).unwrap();
        let (_, mids) = client.answers.last().unwrap();
        let mids = mids.clone();
        let answer = client.answers.last().unwrap().0.clone();
        let address = client.publisher.address;
        let old = std::mem::replace(&mut client.publisher, Peer::new(address, now));
        let shape = shape(&answer, &old, &std::mem::take(&mut client.renamed));
        let mut sections: Vec<(MediaKind, &[&str], Option<&str>)> = Vec::new();
        for section in &shape {
            sections.push((
                section.kind,
                section.rids.as_slice(),
                section.cid.as_deref(),
            ));
        }
        let channels: Vec<(&str, Option<u16>)> =
            open.iter().map(|(label, id)| (*label, Some(*id))).collect();
        let (mut sdp, fresh) = client.publisher.offer(&sections, &channels, false);
        for (section, mid) in shape.iter().zip(&fresh) {
            client.renamed.push((mid.to_string(), section.mid.clone()));
        }
        let names = client.renamed.iter();
        sdp = rename(
            &sdp,
            names.map(|(ours, theirs)| (ours.as_str(), theirs.as_str())),
        );
        if self.nameless {
            sdp = without_names(&sdp);
        }
        client.offers += 1;
        client.in_flight = true;
        let _ = mids;
        let command = NodeCommand::Offer {
            participant: client.sid.clone(),
            offer_id: client.offers,
            sdp,
            resume: Some(
                listed
                    .iter()
                    .map(|(label, id)| proto::media::OpenChannel {
                        label: (*label).to_owned(),
                        id: *id,
                    })
                    .collect(),
            ),
        };
        self.command_of(name, command);
        // The client's streams go on with the SSRCs they had.
        let client = self.clients.get_mut(name).unwrap();
        let mut old = old;
        for (section, mid) in shape.iter().zip(&fresh) {
            if section.cid.is_none() {
                continue;
            }
            let old_mid = section.old_mid;
            let rids: Vec<Option<Rid>> = if section.rids.is_empty() {
                vec![None]
            } else {
                section
                    .rids
                    .iter()
                    .map(|rid| Some(Rid::from(*rid)))
                    .collect()
            };
            for rid in rids {
                client.publisher.adopt_stream(&mut old, old_mid, *mid, rid);
            }
            for source in &mut self.sources {
                if source.client == name && source.mid == old_mid {
                    source.mid = *mid;
                }
            }
        }
    }

    pub(crate) fn candidate(&mut self, name: &str, candidate: &str) {
        self.command(NodeCommand::Candidate {
            participant: self.clients[name].sid.clone(),
            target: Target::Publisher,
            candidate: candidate.to_owned(),
        });
    }
}

/// RFC 7983, and no RTCP (RFC 5761).
fn is_media(contents: &[u8]) -> bool {
    matches!(contents, [128..192, kind, ..] if !(192..224).contains(kind))
}

/// A section of a connection that shall be offered once more.
struct Shape {
    /// The node's name for it.
    mid: String,
    /// The old connection's.
    old_mid: Mid,
    kind: MediaKind,
    cid: Option<String>,
    rids: Vec<&'static str>,
}

fn shape(answer: &str, old: &Peer, renamed: &[(String, String)]) -> Vec<Shape> {
    let mut sections = Vec::new();
    for section in answer.split("\r\nm=").skip(1) {
        let Some(mid) = section.lines().find_map(|line| line.strip_prefix("a=mid:")) else {
            continue;
        };
        let ours = renamed.iter().find(|(_, theirs)| theirs == mid);
        let old_mid = Mid::from(ours.map_or(mid, |(ours, _)| ours.as_str()));
        let Some(media) = old.rtc.media(old_mid) else {
            continue;
        };
        let sends = media.direction().is_sending();
        let simulcast = section.contains("a=simulcast:");
        sections.push(Shape {
            mid: mid.to_owned(),
            old_mid,
            kind: media.kind(),
            cid: sends.then(|| media.track_id().to_owned()),
            rids: if simulcast {
                vec!["q", "h", "f"]
            } else {
                vec![]
            },
        });
    }
    sections
}

/// Without the header extensions that name streams and layers.
fn without_names(sdp: &str) -> String {
    let lines = sdp
        .lines()
        .filter(|line| !line.contains(":hdrext:sdes:") && !line.contains("param:sdes"));
    lines.map(|line| line.to_owned() + "\r\n").collect()
}

/// Renames mids in `a=mid` and `a=group`: each from the first name to the second, all at once, since
/// names are random and a new one may be what another was called.
fn rename<'a>(sdp: &str, names: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let names: BTreeMap<&str, &str> = names.collect();
    let new = |word: &'_ str| (*names.get(word).unwrap_or(&word)).to_owned();
    sdp.lines()
        .map(|line| {
            if let Some(mid) = line.strip_prefix("a=mid:") {
                format!("a=mid:{}\r\n", new(mid))
            } else if let Some(mids) = line.strip_prefix("a=group:BUNDLE ") {
                let mids: Vec<String> = mids.split(' ').map(new).collect();
                format!("a=group:BUNDLE {}\r\n", mids.join(" "))
            } else {
                format!("{line}\r\n")
            }
        })
        .collect()
}

impl Layer {
    /// Of a scalable stream.
    pub(crate) fn camera(&mut self) -> &mut Camera {
        self.camera.as_mut().unwrap()
    }

    fn new(rid: Option<&'static str>) -> Self {
        let name = rid.map_or(b'f', |rid| rid.as_bytes()[0]);
        Self {
            rid: rid.map(Rid::from),
            name,
            on: true,
            keyframes: 0,
            bytes: 0,
            frame: 0,
            picture_id: u16::from(name) * 100,
            timestamp: u32::from(name) * 1_000_000,
            key_next: true,
            camera: None,
        }
    }

    fn speak(&mut self, peer: &mut Peer, mid: Mid, level: i8, now: Instant) {
        self.timestamp = self.timestamp.wrapping_add(960);
        self.frame += 1;
        let sent = Sent {
            codec: None,
            timestamp: self.timestamp,
            marker: false,
            level: Some(level),
            payload: [b"opus".as_slice(), &self.frame.to_be_bytes()].concat(),
            descriptor: None,
        };
        peer.send(mid, None, sent, now);
        // One change, then everything it causes, before the next change.
        peer.stash(now);
    }

    /// A picture of the scalable stream, or one VP8 frame: descriptor with picture id and TL0PICIDX, then layer and frame number.
    fn shoot(&mut self, peer: &mut Peer, mid: Mid, now: Instant) {
        self.timestamp = self.timestamp.wrapping_add(3600);
        self.frame += 1;
        self.picture_id = (self.picture_id + 1) & 0x7fff;
        let key = std::mem::take(&mut self.key_next);
        self.keyframes += u32::from(key);
        if let Some(camera) = &mut self.camera {
            for sent in camera.shoot(self.timestamp, key) {
                peer.send(mid, self.rid, sent, now);
                peer.stash(now);
            }
            return;
        }
        let packets = FRAME_PACKETS.max((self.bytes / PAYLOAD_BYTES) as u8);
        for index in 0..packets {
            let [high, low] = (self.picture_id | 0x8000).to_be_bytes();
            let first = if index == 0 { 0x90 } else { 0x80 };
            let mut payload = vec![first, 0xe0, high, low, self.frame as u8, 0, u8::from(!key)];
            payload.push(self.name);
            payload.extend_from_slice(&self.frame.to_be_bytes());
            payload.resize(payload.len().max(self.bytes / usize::from(packets)), 0);
            let sent = Sent {
                codec: None,
                timestamp: self.timestamp,
                marker: index + 1 == packets,
                level: None,
                payload,
                descriptor: None,
            };
            peer.send(mid, self.rid, sent, now);
            peer.stash(now);
        }
    }
}

/// A track as [`World::publish`] announces it.
pub(crate) fn announced(
    participant: ParticipantSid,
    track: &str,
    kind: Kind,
    rids: &[&str],
) -> PublishedTrack {
    PublishedTrack {
        screen: false,
        codec: String::new(),
        participant,
        track: TrackSid::new(track),
        cid: format!("cid-{track}"),
        kind,
        layers: sizes(rids),
        muted: false,
    }
}

/// What every participant may do.
pub(crate) fn all() -> MediaPermission {
    MediaPermission {
        publish: true,
        subscribe: true,
        publish_data: true,
    }
}

fn sizes(rids: &[&str]) -> Vec<LayerSize> {
    rids.iter()
        .map(|rid| match *rid {
            "q" => (Quality::Low, 320, 180),
            "h" => (Quality::Medium, 640, 360),
            _ => (Quality::High, 1280, 720),
        })
        .map(|(quality, width, height)| LayerSize {
            quality,
            width,
            height,
        })
        .collect()
}
