//! The shard's side of a node and the clients of one room, driven by the test itself.

use super::client::{Client, Via};
use super::{LOOPBACK, PATIENCE};
use proto::id::{Identity, ParticipantSid, RoomSid, TrackSid};
use proto::link::{ShardEnd, pair};
use proto::media::{
    Kind, MediaPermission, NewParticipant, NodeCommand, NodeEvent, NodeReport, PeerMode,
    PublishedTrack, ToWorker, TrackSettings,
};
use sfu::{Config, Node, NodeError};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const MICROPHONE: &str = "microphone-cid";
/// How often clients look at their sockets.
const STEP: Duration = Duration::from_millis(1);

pub(super) struct World {
    shard: ShardEnd,
    port: u16,
    /// Of all workers.
    ports: Vec<u16>,
    node: Option<(JoinHandle<Result<(), NodeError>>, CancellationToken)>,
    clients: BTreeMap<&'static str, Client>,
    publisher: Option<&'static str>,
    report: Option<NodeReport>,
    events: Vec<NodeEvent>,
}

impl World {
    /// With a node on a link inside the process.
    pub(super) fn start(config: Config) -> Self {
        let node = Node::bind(config).unwrap();
        let ports = node.udp_ports();
        assert_eq!(node.tcp_ports(), ports);
        let (shard, node_end) = pair();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(node.run(node_end, None, shutdown.clone()));
        let mut world = Self::on(shard, ports[0]);
        world.ports = ports;
        world.node = Some((running, shutdown));
        world
    }

    /// With a node that runs elsewhere.
    pub(super) fn on(shard: ShardEnd, port: u16) -> Self {
        Self {
            shard,
            port,
            ports: vec![port],
            node: None,
            clients: BTreeMap::new(),
            publisher: None,
            report: None,
            events: Vec::new(),
        }
    }

    pub(super) fn udp(&self) -> SocketAddr {
        SocketAddr::new(LOOPBACK, self.port)
    }

    pub(super) fn tcp(&self) -> SocketAddr {
        SocketAddr::new(LOOPBACK, self.port)
    }

    /// All answers lead to the port of this worker.
    pub(super) fn is_at_worker(&self, worker: usize) -> bool {
        let here = format!(" {} typ host", self.ports[worker]);
        let mut answers = self.events.iter().filter_map(|event| match event {
            NodeEvent::Answer { sdp, .. } => Some(sdp),
            _ => None,
        });
        answers.all(|sdp| {
            let mut candidates = sdp.lines().filter(|line| line.starts_with("a=candidate"));
            candidates.all(|line| line.contains(&here))
        })
    }

    pub(super) fn report(&self) -> Option<&NodeReport> {
        self.report.as_ref()
    }

    pub(super) fn client(&self, who: &str) -> &Client {
        &self.clients[who]
    }

    pub(super) fn all_connected(&self) -> bool {
        let told = |event: &&NodeEvent| matches!(event, NodeEvent::Connected { .. });
        self.events.iter().filter(told).count() == self.clients.len()
            && self.clients.values().all(|client| client.connected)
    }

    pub(super) fn join(&mut self, who: &'static str, via: Via) {
        let sid = self.add(who, "RM_room");
        self.clients.insert(who, Client::new(sid, via, self.tcp()));
    }

    /// Somebody in some room, who never comes.
    pub(super) fn add(&mut self, who: &str, room: &str) -> ParticipantSid {
        let sid = sid(who);
        self.command(NodeCommand::AddParticipant(NewParticipant {
            selection: Default::default(),
            hidden: false,
            fixed: false,
            room: RoomSid::new(room),
            participant: sid.clone(),
            identity: Identity::new(who),
            mode: PeerMode::Single,
            permission: MediaPermission {
                publish: true,
                subscribe: true,
                publish_data: true,
            },
        }));
        sid
    }

    pub(super) fn publish_audio(&mut self, who: &'static str) {
        self.publisher = Some(who);
        self.command(NodeCommand::Publish(PublishedTrack {
            screen: false,
            codec: String::new(),
            participant: sid(who),
            track: track(),
            cid: MICROPHONE.to_owned(),
            kind: Kind::Audio,
            layers: Vec::new(),
            muted: false,
        }));
    }

    pub(super) fn subscribe(&mut self, who: &'static str) {
        self.command(NodeCommand::Subscribe {
            participant: sid(who),
            track: track(),
            settings: TrackSettings::default(),
        });
    }

    /// The first offer: the publisher's microphone, or a section to listen on.
    pub(super) fn offer(&mut self, who: &'static str) {
        if self.publisher == Some(who) {
            self.send_offer(who, Some(MICROPHONE), 0);
        } else {
            self.send_offer(who, None, 1);
        }
    }

    /// Sends a user packet, as the protobuf message `DataPacket { user { payload } }`.
    pub(super) fn say(&mut self, who: &str, label: &str, text: &[u8]) {
        let field = |tag: u8, bytes: &[u8]| {
            let mut out = vec![tag, u8::try_from(bytes.len()).unwrap()];
            out.extend_from_slice(bytes);
            out
        };
        let packet = field(0x12, &field(0x12, text));
        self.clients.get_mut(who).unwrap().send(label, &packet);
    }

    /// Drives everybody until `done`, or fails saying what was waited for.
    pub(super) async fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(
                Instant::now() < deadline,
                "waited in vain until {what}; report {:?}, events {:?}",
                self.report,
                self.events
            );
            self.step();
            tokio::time::sleep(STEP).await;
        }
    }

    pub(super) async fn stop(mut self) -> Result<(), NodeError> {
        let (running, shutdown) = self.node.take().expect("a node of our own");
        shutdown.cancel();
        tokio::time::timeout(PATIENCE, running)
            .await
            .unwrap()
            .unwrap()
    }

    fn step(&mut self) {
        while let Ok(event) = self.shard.events.try_recv() {
            self.handle_event(event);
        }
        for client in self.clients.values_mut() {
            client.step();
        }
    }

    fn handle_event(&mut self, event: NodeEvent) {
        match event {
            NodeEvent::Report(report) => self.report = Some(report),
            NodeEvent::AskOwned { nonce, .. } => self.command(NodeCommand::Owned {
                nonce,
                for_ms: 10_000,
            }),
            NodeEvent::Answer {
                participant, sdp, ..
            } => self.client_mut(&participant).answer(&sdp),
            NodeEvent::Refused { reason, .. } => panic!("refused: {reason}"),
            NodeEvent::SectionsWanted {
                participant, audio, ..
            } => {
                let of = |client: &&Client| client.sid == participant;
                let busy = self
                    .clients
                    .values()
                    .find(of)
                    .is_some_and(Client::is_negotiating);
                let who = self.name_of(&participant);
                assert!(
                    !busy,
                    "{who} is asked for sections while an offer of it is open"
                );
                // str0m offers nothing without a change: a plain "offer again" brings one too.
                self.send_offer(who, None, audio.max(1));
            }
            other => self.events.push(other),
        }
    }

    fn send_offer(&mut self, who: &'static str, cid: Option<&str>, sections: u32) {
        let client = self.clients.get_mut(who).unwrap();
        let (offer_id, sdp) = client.offer(cid, sections);
        self.command(NodeCommand::Offer {
            participant: sid(who),
            offer_id,
            sdp,
            resume: None,
        });
    }

    fn command(&self, command: NodeCommand) {
        let message = ToWorker { worker: 0, command };
        self.shard.commands.try_send(message).unwrap();
    }

    fn name_of(&self, participant: &ParticipantSid) -> &'static str {
        let of = |(_, client): &(&&'static str, &Client)| client.sid == *participant;
        self.clients.iter().find(of).unwrap().0
    }

    fn client_mut(&mut self, participant: &ParticipantSid) -> &mut Client {
        let of = |client: &&mut Client| client.sid == *participant;
        self.clients.values_mut().find(of).unwrap()
    }
}

fn sid(who: &str) -> ParticipantSid {
    ParticipantSid::new(format!("PA_{who}"))
}

fn track() -> TrackSid {
    TrackSid::new("TR_microphone")
}
