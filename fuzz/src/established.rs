//! Datagrams with the source address of a connected client: they cannot end its session.

use crate::records;
use crate::world::{ADVERTISED, CLIENT, World, marked, our_ufrag};
use proto::media::{NodeEvent, PeerMode};
use sfu::engine::Transport;
use std::sync::Arc;
use std::time::{Duration, Instant};
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::media::{Direction, MediaKind};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc};

/// How long consent checks may go unanswered before a client is gone, and more.
const LONG: Duration = Duration::from_secs(40);

/// Forged datagrams as records, between which the real client goes on.
pub fn established(data: &[u8]) {
    let mut session = Session::connect();
    for (flags, contents) in records(data) {
        let contents = marked(contents, &session.ufrag);
        session.world.datagram(Transport::Udp, CLIENT, &contents);
        assert_lives(&session.world.events());
        if flags & 1 == 1 {
            session.run(Duration::from_millis(50));
        }
    }
    session.run(LONG);
    assert!(!session.client.closed, "the client was told to go");
    assert_eq!(session.world.engine.report().participants, 1);
    session.world.leave();
}

fn assert_lives(events: &[NodeEvent]) {
    let lost = events
        .iter()
        .find(|event| matches!(event, NodeEvent::Disconnected { .. }));
    assert!(lost.is_none(), "a stranger ended the session: {lost:?}");
}

struct Session {
    world: World,
    ufrag: String,
    client: Client,
}

impl Session {
    fn connect() -> Self {
        let world = World::new(PeerMode::Single);
        let client = Client::new(world.now);
        let mut session = Self {
            world,
            ufrag: String::new(),
            client,
        };
        let (sdp, pending) = session.client.offer();
        let events = session.world.offer(1, &sdp);
        session.ufrag = events.iter().find_map(our_ufrag).expect("an answer");
        let answer = events.into_iter().find_map(|event| match event {
            NodeEvent::Answer { sdp, .. } => Some(sdp),
            _ => None,
        });
        let answer = SdpAnswer::from_sdp_string(&answer.expect("an answer")).expect("SDP");
        let accepted = session.client.rtc.sdp_api().accept_answer(pending, answer);
        accepted.expect("the answer fits");
        session.run(Duration::from_secs(1));
        assert!(session.client.connected, "the client connects");
        session
    }

    /// Lets virtual time pass for both.
    fn run(&mut self, duration: Duration) {
        let end = self.world.now + duration;
        self.exchange();
        while self.world.now < end {
            let theirs = self.client.deadline;
            let ours = self.world.engine.poll_timeout().map(|(at, _)| at);
            let next = [Some(theirs), ours, Some(end)].into_iter().flatten().min();
            self.world.now = next.unwrap_or(end).max(self.world.now);
            if ours.is_some_and(|at| at <= self.world.now) {
                self.world.engine.handle_timeout(self.world.now);
            }
            self.exchange();
        }
    }

    /// Moves datagrams until none moves.
    fn exchange(&mut self) {
        loop {
            let sent = self.client.drain(self.world.now);
            let received = self.world.transmits();
            if sent.is_empty() && received.is_empty() {
                assert_lives(&self.world.events());
                return;
            }
            for contents in sent {
                self.world.datagram(Transport::Udp, CLIENT, &contents);
            }
            for (_, contents) in received {
                self.client.receive(&contents, self.world.now);
            }
        }
    }
}

/// The real client: a full ICE agent without sockets.
struct Client {
    rtc: Rtc,
    deadline: Instant,
    connected: bool,
    closed: bool,
    stashed: Vec<Vec<u8>>,
}

impl Client {
    fn new(now: Instant) -> Self {
        let mut rtc = Rtc::builder()
            .set_crypto_provider(Arc::new(str0m::crypto::from_feature_flags()))
            .set_rtp_mode(true)
            .build(now);
        rtc.add_local_candidate(Candidate::host(CLIENT, "udp").expect("a candidate"));
        Self {
            rtc,
            deadline: now,
            connected: false,
            closed: false,
            stashed: Vec::new(),
        }
    }

    fn offer(&mut self) -> (String, SdpPendingOffer) {
        let mut changes = self.rtc.sdp_api();
        changes.add_channel("_reliable".to_owned());
        for kind in [MediaKind::Audio, MediaKind::Video] {
            changes.add_media(kind, Direction::SendOnly, None, None, None);
        }
        let (offer, pending) = changes.apply().expect("changes");
        (offer.to_sdp_string(), pending)
    }

    fn receive(&mut self, contents: &[u8], now: Instant) {
        let receive = Receive::new(Protocol::Udp, ADVERTISED, CLIENT, contents);
        let input = Input::Receive(now, receive.expect("a node sends what can be read"));
        if self.rtc.accepts(&input) {
            self.rtc.handle_input(input).expect("taken");
        }
        // str0m wants to be drained after each input.
        let sent = self.drain(now);
        self.stashed = sent;
    }

    /// All there is to send.
    fn drain(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut sent = std::mem::take(&mut self.stashed);
        while self.rtc.is_alive() {
            match self.rtc.poll_output().expect("alive") {
                Output::Timeout(at) if at > now => {
                    self.deadline = at;
                    return sent;
                }
                Output::Timeout(_) => {
                    let passed = self.rtc.handle_input(Input::Timeout(now));
                    passed.expect("time passes");
                }
                Output::Transmit(transmit) => sent.push(transmit.contents.into()),
                Output::Event(Event::Connected) => self.connected = true,
                Output::Event(Event::Closed) => self.closed = true,
                Output::Event(_) => {}
            }
        }
        self.closed = true;
        sent
    }
}
