use super::*;
use crate::core::{CoreConfig, Signalling};
use affinity::directory::Epoch;
use livekit_protocol::ClientInfo;
use proto::media::PeerMode;
use proto::token::VideoGrant;
use std::collections::BTreeMap;

pub(super) fn join(room: &RoomKey, epoch: Epoch) -> Join {
    let claims = Claims {
        sub: "ann".to_owned(),
        video: VideoGrant {
            room: room.as_str().to_owned(),
            room_join: true,
            ..VideoGrant::default()
        },
        ..Claims::default()
    };
    Join {
        session: SessionId(1),
        room: room.clone(),
        epoch,
        claims,
        mode: PeerMode::Single,
        signalling: Signalling::Socket,
        client: ClientInfo::default(),
        auto_subscribe: true,
        adaptive_stream: false,
        resume: None,
        offer: None,
        add_tracks: Vec::new(),
        metadata: String::new(),
        attributes: BTreeMap::new(),
        stored_options: None,
    }
}

pub(super) struct Script {
    pub(super) driver: Driver,
    shutdown: CancellationToken,
    pub(super) outbound: mpsc::Receiver<Outbound>,
    /// The node's end of the link.
    pub(super) commands: mpsc::Receiver<ToWorker>,
    /// What the driver gets from its own tasks, and the sender that keeps that open.
    pub(super) inputs: (mpsc::Sender<Input>, mpsc::Receiver<Input>),
    pub(super) now: Instant,
}

pub(super) const NODE: &str = "n1";
pub(super) const LINK: LinkId = LinkId(1);

/// A driver with one participant on one node.
pub(super) fn with_participant() -> Script {
    with_link(64)
}

/// The same, with a link that holds this many commands until they are read.
fn with_link(room: usize) -> Script {
    let (mut script, pin) = of_room("standup", room);
    script.arrive(join(&pin.room, pin.epoch), pin);
    script
}

/// A driver with one node, on a shard that owns a room that nobody has joined.
pub(super) fn of_room(name: &str, room: usize) -> (Script, Pin) {
    let now = Instant::now();
    let (owner, pin) = Owner::of_room(name, now);
    let inputs = mpsc::channel(64);
    let shutdown = CancellationToken::new();
    let secrets = BTreeMap::from([("key".to_owned(), "secret".to_owned())]);
    let mut driver = Driver::new(Parts {
        shard: ShardId::new("s1"),
        core: Core::new(CoreConfig::default(), now),
        owner,
        keys: ApiKeys::new(secrets).unwrap(),
        peers: crate::ownership::tests::nobody(),
        inputs: inputs.0.downgrade(),
        drain: DrainSettings {
            ordered: Duration::from_secs(600),
            leaving: Duration::ZERO,
        },
        empty: Arc::default(),
        attached: Arc::default(),
        condition: Arc::default(),
        shutdown: shutdown.clone(),
    });
    let (commands, received) = mpsc::channel(room);
    let attached = Input::NodeAttached {
        node: NodeId::new(NODE),
        link: LINK,
        commands,
        offer: NodeOffer {
            workers: 1,
            ..NodeOffer::default()
        },
    };
    driver.handle_input(attached, now);
    let script = Script {
        driver,
        shutdown,
        outbound: mpsc::channel(1).1,
        commands: received,
        inputs,
        now,
    };
    (script, pin)
}

impl Script {
    /// A client comes.
    pub(super) fn arrive(&mut self, join: Join, pin: Pin) {
        let (outbound, received) = mpsc::channel(64);
        self.outbound = received;
        let arrival = Arrival {
            join,
            outbound,
            overflow: CancellationToken::new(),
            pin,
        };
        let arrived = Input::Arrived(Box::new(arrival));
        self.driver.handle_input(arrived, self.now);
    }

    /// Time passes, and the shard keeps its lease.
    pub(super) fn pass(&mut self, time: Duration) {
        let then = self.now + time;
        self.driver.owner.stays_leased(self.now, then);
        self.now = then;
    }

    /// The participant says something that its node shall know.
    fn trickle(&mut self) {
        let candidate_init = r#"{"candidate":"candidate:1 1 udp"}"#.to_owned();
        let trickle = livekit_protocol::TrickleRequest {
            candidate_init,
            ..Default::default()
        };
        let message = Box::new(signal_request::Message::Trickle(trickle));
        let session = SessionId(1);
        self.driver
            .handle_input(Input::Signal { session, message }, self.now);
    }

    fn node_gone(&mut self) {
        let gone = Input::NodeGone {
            node: NodeId::new(NODE),
            link: LINK,
        };
        self.driver.handle_input(gone, self.now);
    }

    /// The reasons of all farewells.
    fn farewells(&mut self) -> Vec<DisconnectReason> {
        let mut reasons = Vec::new();
        while let Ok(outbound) = self.outbound.try_recv() {
            if let Outbound::Message(message) = outbound
                && let signal_response::Message::Leave(leave) = *message
            {
                assert_eq!(leave.action(), leave_request::Action::Reconnect);
                reasons.push(leave.reason());
            }
        }
        reasons
    }
}

#[test]
fn the_end_of_a_node_is_a_media_failure() {
    let mut script = with_participant();
    script.node_gone();
    assert_eq!(script.farewells(), [DisconnectReason::MediaFailure]);
}

#[test]
fn the_end_of_a_node_while_the_shard_ends_is_a_shutdown_even_if_it_is_heard_first() {
    let mut script = with_participant();
    script.shutdown.cancel();
    script.node_gone();
    assert_eq!(script.farewells(), [DisconnectReason::ServerShutdown]);
    script.driver.handle_input(Input::Shutdown, script.now);
    assert_eq!(script.farewells(), []);
}

#[test]
fn the_end_of_a_node_after_the_farewells_adds_nothing() {
    let mut script = with_participant();
    script.shutdown.cancel();
    script.driver.handle_input(Input::Shutdown, script.now);
    script.node_gone();
    assert_eq!(script.farewells(), [DisconnectReason::ServerShutdown]);
}

#[tokio::test]
async fn a_burst_that_the_link_cannot_hold_costs_no_node_and_arrives() {
    let mut script = with_link(1);
    for _ in 0..9 {
        script.trickle();
    }
    assert_eq!(script.farewells(), []);
    for _ in 0..9 {
        script.commands.recv().await.unwrap();
        let node = room_for_more(&script.driver.nodes).await;
        script.driver.flush(&node, script.now);
    }
    script.commands.try_recv().unwrap();
    script.commands.try_recv().unwrap_err();
    assert_eq!(script.farewells(), []);
}

#[test]
fn a_node_that_takes_nothing_for_long_is_given_up() {
    let mut script = with_link(1);
    script.trickle();
    script.pass(Duration::from_secs(9));
    script.driver.handle_due_timers(script.now);
    assert_eq!(script.farewells(), []);
    script.pass(Duration::from_secs(1));
    script.driver.handle_due_timers(script.now);
    assert_eq!(script.farewells(), [DisconnectReason::MediaFailure]);
}

#[test]
fn what_waits_in_the_queue_of_a_process_that_stood_still_finds_no_owner() {
    let mut script = with_participant();
    script.now += Duration::from_secs(5);
    script.trickle();
    assert_eq!(script.farewells(), [DisconnectReason::StateMismatch]);
    assert!(script.driver.core.rooms().is_empty());
}
