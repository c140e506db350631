//! Scripts: messages in, exact outputs out, nothing left in the queue.

use super::*;
use stun_types::attribute::{
    ErrorCode, Nonce, Realm, UnknownAttributes, Username, XorMappedAddress,
};
use stun_types::message::{
    BINDING, IntegrityAlgorithm, LongTermKeyCredentials, Message, MessageIntegrityCredentials,
    MessageType, MessageWriteVec, Method, TransactionId,
};
use stun_types::prelude::{AttributeWrite, MessageWrite as _, MessageWriteExt as _};
use turn_types::attribute::{
    ChannelNumber, Data, EvenPort, Lifetime, RequestedAddressFamily, RequestedTransport,
    XorPeerAddress, XorRelayedAddress,
};
use turn_types::channel::ChannelData;
use turn_types::message::{ALLOCATE, CHANNEL_BIND, CREATE_PERMISSION, DATA, REFRESH, SEND};

const UNIX_S: u64 = 1_700_000_000;
const EXPIRES_S: u64 = UNIX_S + 86_400;
const MEDIA: &str = "198.51.100.1:7882";
const OTHER: &str = "198.51.100.1:22";
const RELAY_PORT: u16 = 50_000;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn secret() -> TurnSecret {
    TurnSecret::new("a secret for tests").unwrap()
}

/// A server and the time.
struct World {
    relay: Relay,
    now: Now,
    /// Ports are free.
    has_ports: bool,
}

impl World {
    fn new() -> Self {
        Self::with(Limits::default(), &[])
    }

    fn with(limits: Limits, ranges: &[&str]) -> Self {
        let v4 = RelayAddress {
            base: "10.0.0.5".parse().unwrap(),
            told: "198.51.100.1".parse().unwrap(),
        };
        let v6: IpAddr = "2001:db8::5".parse().unwrap();
        let ranges = ranges.iter().map(|range| range.parse().unwrap());
        let at = Instant::now();
        let config = RelayConfig {
            realm: "r".to_owned(),
            secret: secret(),
            addresses: vec![v4, RelayAddress { base: v6, told: v6 }],
            peers: PeerPolicy::new([address(MEDIA)], ranges.collect()),
            limits,
            nonce_key: [7; 32],
        };
        Self {
            relay: Relay::new(config, at),
            now: Now { at, unix_s: UNIX_S },
            has_ports: true,
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now.at += time;
        self.now.unix_s += time.as_secs();
        self.relay.handle_timeout(self.now.at);
    }

    /// Sends and returns everything that comes of it; sockets are opened on the way.
    fn send(&mut self, client: Client, bytes: &[u8]) -> Vec<Output> {
        self.relay.handle_client(client, bytes, self.now);
        self.outputs()
    }

    fn outputs(&mut self) -> Vec<Output> {
        let mut outputs = Vec::new();
        while let Some(output) = self.relay.poll_output() {
            if let Output::Open { allocation, .. } = &output {
                let port = self.has_ports.then_some(RELAY_PORT);
                self.relay.handle_opened(*allocation, port, self.now);
            }
            outputs.push(output);
        }
        outputs
    }

    /// The one message that the client gets.
    fn answer(&mut self, client: Client, bytes: &[u8]) -> Vec<u8> {
        let outputs = self.send(client, bytes);
        let messages: Vec<Vec<u8>> = outputs.into_iter().filter_map(|o| to(client, o)).collect();
        assert_eq!(messages.len(), 1, "one answer");
        messages.into_iter().next().unwrap()
    }

    fn code(&mut self, client: Client, bytes: &[u8]) -> u16 {
        let answer = self.answer(client, bytes);
        code(&answer)
    }
}

fn to(client: Client, output: Output) -> Option<Vec<u8>> {
    match output {
        Output::ToClient { client: to, bytes } if to == client => Some(bytes),
        _ => None,
    }
}

/// 0 for success.
fn code(answer: &[u8]) -> u16 {
    let message = Message::from_bytes(answer).unwrap();
    message
        .attribute::<ErrorCode>()
        .map_or(0, |code| code.code())
}

/// What a client knows.
struct User {
    client: Client,
    username: String,
    password: String,
    nonce: String,
    transactions: u128,
}

impl User {
    fn new(participant: &str, remote: &str) -> Self {
        let local = address("10.0.0.5:3478");
        let made = secret().issue(participant, EXPIRES_S);
        Self {
            client: Client::Udp {
                local,
                remote: address(remote),
            },
            username: made.username,
            password: made.password,
            nonce: String::new(),
            transactions: 1,
        }
    }

    fn alice() -> Self {
        Self::new("PA_alice", "192.0.2.1:4000")
    }

    /// Learns a nonce and allocates.
    fn allocated(mut self, world: &mut World) -> Self {
        self.learn(world);
        let request = self.allocate(&[]);
        assert_eq!(world.code(self.client, &request), 0);
        self
    }

    fn learn(&mut self, world: &mut World) {
        let answer = world.answer(self.client, &self.plain(ALLOCATE, &[]));
        let message = Message::from_bytes(&answer).unwrap();
        self.nonce = message.attribute::<Nonce>().unwrap().nonce().to_owned();
    }

    fn plain(&mut self, method: Method, attributes: &[&dyn AttributeWrite]) -> Vec<u8> {
        self.write(method, attributes).finish()
    }

    fn write(&mut self, method: Method, attributes: &[&dyn AttributeWrite]) -> MessageWriteVec {
        self.transactions += 1;
        let class = stun_types::message::MessageClass::Request;
        let kind = MessageType::from_class_method(class, method);
        let transaction = TransactionId::from(self.transactions);
        let mut message = Message::builder(kind, transaction, MessageWriteVec::new());
        for attribute in attributes {
            message.add_attribute(*attribute).unwrap();
        }
        message
    }

    /// A request with credentials; peers are written for its transaction.
    fn request(
        &mut self,
        method: Method,
        attributes: &[&dyn AttributeWrite],
        peers: &[SocketAddr],
    ) -> Vec<u8> {
        let mut message = self.write(method, attributes);
        let transaction = TransactionId::from(self.transactions);
        for peer in peers {
            let peer = XorPeerAddress::new(*peer, transaction);
            message.add_attribute(&peer).unwrap();
        }
        message
            .add_attribute(&Username::new(&self.username).unwrap())
            .unwrap();
        message.add_attribute(&Realm::new("r").unwrap()).unwrap();
        message
            .add_attribute(&Nonce::new(&self.nonce).unwrap())
            .unwrap();
        let algorithm = IntegrityAlgorithm::Sha1;
        message
            .add_message_integrity(&self.key(), algorithm)
            .unwrap();
        message.finish()
    }

    fn key(&self) -> MessageIntegrityCredentials {
        let (name, password) = (self.username.clone(), self.password.clone());
        LongTermKeyCredentials::new(name, password, "r".to_owned()).into()
    }

    fn allocate(&mut self, more: &[&dyn AttributeWrite]) -> Vec<u8> {
        let udp = RequestedTransport::new(RequestedTransport::UDP);
        let mut attributes: Vec<&dyn AttributeWrite> = vec![&udp];
        attributes.extend(more);
        self.request(ALLOCATE, &attributes, &[])
    }

    fn permit(&mut self, peers: &[&str]) -> Vec<u8> {
        let peers: Vec<SocketAddr> = peers.iter().map(|peer| address(peer)).collect();
        self.request(CREATE_PERMISSION, &[], &peers)
    }

    fn bind(&mut self, number: u16, peer: &str) -> Vec<u8> {
        self.request(
            CHANNEL_BIND,
            &[&ChannelNumber::new(number)],
            &[address(peer)],
        )
    }

    fn refresh(&mut self, seconds: u32) -> Vec<u8> {
        self.request(REFRESH, &[&Lifetime::new(seconds)], &[])
    }
}

fn send_indication(peer: &str, data: &[u8]) -> Vec<u8> {
    let mut message = Message::builder_indication(SEND, MessageWriteVec::new());
    let transaction = message.transaction_id();
    let peer = XorPeerAddress::new(address(peer), transaction);
    message.add_attribute(&peer).unwrap();
    message.add_attribute(&Data::new(data)).unwrap();
    message.finish()
}

fn channel(number: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; data.len() + 4];
    ChannelData::new(number, data).write_into_unchecked(&mut bytes);
    bytes
}

#[test]
fn a_stranger_is_told_its_address() {
    let mut world = World::new();
    let mut alice = User::alice();
    let answer = world.answer(alice.client, &alice.plain(BINDING, &[]));
    let message = Message::from_bytes(&answer).unwrap();
    let mapped = message.attribute::<XorMappedAddress>().unwrap();
    assert_eq!(mapped.addr(message.transaction_id()), alice.client.remote());
}

#[test]
fn a_challenge_is_short_and_a_signed_request_gets_an_address() {
    let mut world = World::new();
    let mut alice = User::alice();
    let udp = RequestedTransport::new(RequestedTransport::UDP);
    let first = alice.plain(ALLOCATE, &[&udp]);
    let challenge = world.answer(alice.client, &first);
    assert_eq!(code(&challenge), 401);
    // What the standard demands: header, code, realm and nonce, without a word more.
    assert_eq!((first.len(), challenge.len()), (28, 20 + 8 + 8 + 20));
    alice.learn(&mut world);

    let request = alice.allocate(&[]);
    let outputs = world.send(alice.client, &request);
    let [Output::Open { ip, .. }, Output::ToClient { bytes, .. }] = outputs.as_slice() else {
        panic!("{outputs:?}");
    };
    assert_eq!(ip.to_string(), "10.0.0.5");
    let message = Message::from_bytes(bytes).unwrap();
    let relayed = message.attribute::<XorRelayedAddress>().unwrap();
    let relayed = relayed.addr(message.transaction_id());
    assert_eq!(relayed, address("198.51.100.1:50000"));
    assert_eq!(message.attribute::<Lifetime>().unwrap().seconds(), 600);
    assert!(message.validate_integrity(&alice.key()).is_ok());

    // Lost on the way: the same request again.
    assert_eq!(world.code(alice.client, &request), 0);
    assert_eq!(world.code(alice.client, &alice.allocate(&[])), 437);
    assert_eq!(world.relay.figures().allocations, 1);
}

#[test]
fn credentials_must_be_ours_and_hold() {
    let mut world = World::new();
    let mut alice = User::alice();
    alice.learn(&mut world);
    let mut forged = User {
        password: "forged".to_owned(),
        ..User::alice()
    };
    forged.nonce.clone_from(&alice.nonce);
    assert_eq!(world.code(forged.client, &forged.allocate(&[])), 401);

    let old = secret().issue("PA_alice", UNIX_S);
    let mut late = User {
        username: old.username,
        password: old.password,
        ..User::alice()
    };
    late.nonce.clone_from(&alice.nonce);
    assert_eq!(world.code(late.client, &late.allocate(&[])), 401);

    let mut stale = User::alice();
    stale.nonce = "AAAAAAAAAAAAAAAA".to_owned();
    assert_eq!(world.code(stale.client, &stale.allocate(&[])), 438);
    assert_eq!(world.code(alice.client, &alice.allocate(&[])), 0);
    assert_eq!(world.relay.figures().unauthorized, 4);
}

#[test]
fn an_allocation_ends_with_its_credentials() {
    let mut world = World::new();
    let mut alice = User::alice();
    let short = secret().issue("PA_alice", UNIX_S + 100);
    (alice.username, alice.password) = (short.username, short.password);
    alice.learn(&mut world);
    let request = alice.allocate(&[&Lifetime::new(3_600)]);
    let answer = world.answer(alice.client, &request);
    let message = Message::from_bytes(&answer).unwrap();
    assert_eq!(message.attribute::<Lifetime>().unwrap().seconds(), 100);
    world.pass(Duration::from_secs(99));
    assert_eq!(world.code(alice.client, &alice.refresh(600)), 0);
    world.pass(Duration::from_secs(2));
    assert!(matches!(world.outputs().as_slice(), [Output::Close { .. }]));
    assert_eq!(world.code(alice.client, &alice.refresh(600)), 401);
    assert!(world.relay.per_user.is_empty() && world.relay.per_source.is_empty());
}

#[test]
fn lifetimes_are_between_ten_minutes_and_an_hour() {
    let mut world = World::new();
    let mut alice = User::alice().allocated(&mut world);
    for (wanted, given) in [(1, 600), (1_000, 1_000), (u32::MAX, 3_600)] {
        let answer = world.answer(alice.client, &alice.refresh(wanted));
        let message = Message::from_bytes(&answer).unwrap();
        assert_eq!(message.attribute::<Lifetime>().unwrap().seconds(), given);
    }
    let outputs = world.send(alice.client, &alice.refresh(0));
    assert!(matches!(
        outputs.as_slice(),
        [Output::Close { .. }, Output::ToClient { .. }]
    ));
    assert_eq!(world.relay.figures().allocations, 0);
}

#[test]
fn data_goes_both_ways_by_indications_and_by_a_channel() {
    let mut world = World::new();
    let mut alice = User::alice().allocated(&mut world);
    assert_eq!(world.code(alice.client, &alice.permit(&[MEDIA])), 0);
    let outputs = world.send(alice.client, &send_indication(MEDIA, b"up"));
    let [
        Output::ToPeer {
            allocation,
            peer,
            bytes,
        },
    ] = outputs.as_slice()
    else {
        panic!("{outputs:?}");
    };
    assert_eq!((*peer, bytes.as_slice()), (address(MEDIA), &b"up"[..]));
    let id = *allocation;

    world
        .relay
        .handle_peer(id, address(MEDIA), b"down", world.now.at);
    let down = to(alice.client, world.outputs().remove(0)).unwrap();
    let message = Message::from_bytes(&down).unwrap();
    assert!(message.method() == DATA);
    assert_eq!(message.attribute::<Data>().unwrap().data(), b"down");
    let from = message.attribute::<XorPeerAddress>().unwrap();
    assert_eq!(from.addr(message.transaction_id()), address(MEDIA));

    assert_eq!(world.code(alice.client, &alice.bind(0x4000, MEDIA)), 0);
    let outputs = world.send(alice.client, &channel(0x4000, b"up"));
    assert!(
        matches!(outputs.as_slice(), [Output::ToPeer { .. }]),
        "{outputs:?}"
    );
    world
        .relay
        .handle_peer(id, address(MEDIA), b"down", world.now.at);
    let down = to(alice.client, world.outputs().remove(0)).unwrap();
    assert_eq!(down, channel(0x4000, b"down"));

    // The permission ends, and the channel with it in effect; then the channel itself.
    world.pass(Duration::from_secs(301));
    assert!(world.send(alice.client, &channel(0x4000, b"up")).is_empty());
    world
        .relay
        .handle_peer(id, address(MEDIA), b"down", world.now.at);
    assert!(world.outputs().is_empty());
    let figures = world.relay.figures();
    assert_eq!((figures.bytes_to_peers, figures.bytes_to_clients), (4, 8));
    assert_eq!(figures.denied, 2);
}

#[test]
fn no_packet_goes_to_a_peer_that_is_not_allowed() {
    let mut world = World::new();
    let mut alice = User::alice().allocated(&mut world);
    for denied in [
        "127.0.0.1:7882",
        "169.254.169.254:80",
        "8.8.8.8:53",
        "10.0.0.5:7882",
    ] {
        assert_eq!(
            world.code(alice.client, &alice.permit(&[MEDIA, denied])),
            403,
            "{denied}"
        );
        assert_eq!(
            world.code(alice.client, &alice.bind(0x4000, denied)),
            403,
            "{denied}"
        );
        assert!(
            world
                .send(alice.client, &send_indication(denied, b"x"))
                .is_empty()
        );
    }
    // The node's address is permitted, its other ports are not.
    assert_eq!(world.code(alice.client, &alice.permit(&[OTHER])), 0);
    assert!(
        world
            .send(alice.client, &send_indication(OTHER, b"x"))
            .is_empty()
    );
    assert_eq!(world.code(alice.client, &alice.bind(0x4000, OTHER)), 403);
    assert_eq!(
        world
            .send(alice.client, &send_indication(MEDIA, b"x"))
            .len(),
        1
    );
    let id = AllocationId(1);
    world
        .relay
        .handle_peer(id, address(OTHER), b"x", world.now.at);
    world
        .relay
        .handle_peer(id, address("8.8.8.8:53"), b"x", world.now.at);
    assert!(world.outputs().is_empty());
}

#[test]
fn without_a_permission_nothing_passes() {
    let mut world = World::new();
    let alice = User::alice().allocated(&mut world);
    assert!(
        world
            .send(alice.client, &send_indication(MEDIA, b"x"))
            .is_empty()
    );
    assert!(world.send(alice.client, &channel(0x4000, b"x")).is_empty());
    world
        .relay
        .handle_peer(AllocationId(1), address(MEDIA), b"x", world.now.at);
    assert!(world.outputs().is_empty());
    let bob = User::new("PA_bob", "192.0.2.1:4001");
    assert!(
        world
            .send(bob.client, &send_indication(MEDIA, b"x"))
            .is_empty()
    );
}

#[test]
fn others_cannot_use_an_allocation() {
    let mut world = World::new();
    let alice = User::alice().allocated(&mut world);
    let made = secret().issue("PA_mallory", EXPIRES_S);
    let mut mallory = User {
        username: made.username,
        password: made.password,
        ..alice
    };
    assert_eq!(world.code(mallory.client, &mallory.permit(&[MEDIA])), 441);
    assert_eq!(world.code(mallory.client, &mallory.refresh(0)), 441);
    assert_eq!(world.relay.figures().allocations, 1);
}

#[test]
fn every_limit_on_allocations_is_kept_and_freed_places_are_given_again() {
    let limits = Limits {
        allocations: 4,
        allocations_per_user: 2,
        allocations_per_ip: 3,
        ..Limits::default()
    };
    let mut world = World::with(limits, &[]);
    let code = |world: &mut World, name: &str, remote: &str| {
        let mut user = User::new(name, remote);
        user.learn(world);
        world.code(user.client, &user.allocate(&[]))
    };
    assert_eq!(code(&mut world, "a", "192.0.2.1:1"), 0);
    assert_eq!(code(&mut world, "a", "192.0.2.1:2"), 0);
    assert_eq!(code(&mut world, "a", "192.0.2.2:3"), 486);
    assert_eq!(code(&mut world, "b", "192.0.2.1:4"), 0);
    assert_eq!(code(&mut world, "c", "192.0.2.1:5"), 486);
    assert_eq!(code(&mut world, "c", "192.0.2.2:6"), 0);
    assert_eq!(code(&mut world, "d", "192.0.2.3:7"), 508);
    assert_eq!(world.relay.figures().over_quota, 3);

    let local = address("10.0.0.5:3478");
    world.relay.handle_client_gone(Client::Udp {
        local,
        remote: address("192.0.2.1:1"),
    });
    assert_eq!(code(&mut world, "a", "192.0.2.2:8"), 0);
}

#[test]
fn without_a_free_port_there_is_no_allocation() {
    let mut world = World::new();
    world.has_ports = false;
    let mut alice = User::alice();
    alice.learn(&mut world);
    assert_eq!(world.code(alice.client, &alice.allocate(&[])), 508);
    assert_eq!(world.relay.figures().allocations, 0);
}

#[test]
fn what_is_asked_for_and_not_there_is_refused_by_name() {
    let mut world = World::new();
    let mut alice = User::alice();
    alice.learn(&mut world);
    let tcp = RequestedTransport::new(6);
    let request = alice.request(ALLOCATE, &[&tcp], &[]);
    assert_eq!(world.code(alice.client, &request), 442);
    let request = alice.request(ALLOCATE, &[], &[]);
    assert_eq!(world.code(alice.client, &request), 400);
    let answer = world.answer(alice.client, &alice.allocate(&[&EvenPort::new(true)]));
    let message = Message::from_bytes(&answer).unwrap();
    assert_eq!(code(&answer), 420);
    let unknown = message.attribute::<UnknownAttributes>().unwrap();
    assert!(unknown.has_attribute(0x0018.into()));
    assert_eq!(world.code(alice.client, &alice.permit(&[MEDIA])), 437);
    assert_eq!(world.code(alice.client, &alice.refresh(0)), 437);
}

#[test]
fn an_allocation_has_one_ip_version() {
    let mut world = World::with(Limits::default(), &["2001:db8::/32"]);
    let mut alice = User::alice();
    alice.learn(&mut world);
    let v6 = RequestedAddressFamily::new(turn_types::AddressFamily::IPV6);
    let answer = world.answer(alice.client, &alice.allocate(&[&v6]));
    let message = Message::from_bytes(&answer).unwrap();
    let relayed = message.attribute::<XorRelayedAddress>().unwrap();
    let relayed = relayed.addr(message.transaction_id());
    assert_eq!(relayed, address("[2001:db8::5]:50000"));
    assert_eq!(world.code(alice.client, &alice.permit(&[MEDIA])), 443);
    assert_eq!(world.code(alice.client, &alice.bind(0x4000, MEDIA)), 443);
    let peer = "[2001:db8::9]:7882";
    assert_eq!(world.code(alice.client, &alice.permit(&[peer])), 0);
    assert_eq!(
        world.send(alice.client, &send_indication(peer, b"x")).len(),
        1
    );
    assert!(
        world
            .send(alice.client, &send_indication(MEDIA, b"x"))
            .is_empty()
    );
}

#[test]
fn an_allocation_over_its_bandwidth_loses_packets_each_way_by_itself() {
    let limits = Limits {
        allocation_kbps: 80,
        ..Limits::default()
    };
    let mut world = World::with(limits, &[]);
    let mut alice = User::alice().allocated(&mut world);
    assert_eq!(world.code(alice.client, &alice.bind(0x4000, MEDIA)), 0);
    let packet = channel(0x4000, &[0; 1_000]);
    let sent = (0..20).map(|_| world.send(alice.client, &packet).len());
    assert_eq!(sent.sum::<usize>(), 5, "half a second's worth");
    world
        .relay
        .handle_peer(AllocationId(1), address(MEDIA), &[0; 1_000], world.now.at);
    assert_eq!(world.outputs().len(), 1);
    world.pass(Duration::from_millis(200));
    assert_eq!(world.send(alice.client, &packet).len(), 1);
    assert_eq!(world.relay.figures().over_bandwidth, 15);
}

#[test]
fn a_flood_of_strangers_is_not_answered_and_an_allocation_is_not_disturbed() {
    let mut world = World::new();
    let mut alice = User::new("PA_alice", "192.0.2.9:1").allocated(&mut world);
    let mut flood = User::new("x", "192.0.2.9:2");
    let mut answered = 0;
    for _ in 0..1_000 {
        let request = flood.plain(ALLOCATE, &[]);
        answered += world.send(flood.client, &request).len();
    }
    assert!(answered < 200, "{answered}");
    assert!(world.relay.figures().limited > 800);
    assert_eq!(world.code(alice.client, &alice.permit(&[MEDIA])), 0);
    let mut bob = User::new("PA_bob", "192.0.2.10:1");
    bob.learn(&mut world);
}

#[test]
fn a_connection_that_ends_takes_its_allocation_along() {
    let mut world = World::new();
    let mut alice = User::alice();
    alice.client = Client::Stream {
        id: 1,
        remote: address("192.0.2.1:4000"),
    };
    let mut alice = alice.allocated(&mut world);
    assert!(world.relay.has_allocation(alice.client));
    assert_eq!(world.code(alice.client, &alice.bind(0x4000, MEDIA)), 0);
    world
        .relay
        .handle_peer(AllocationId(1), address(MEDIA), b"odd", world.now.at);
    let down = to(alice.client, world.outputs().remove(0)).unwrap();
    assert_eq!(down.len(), 8, "padded");
    world.relay.handle_client_gone(alice.client);
    assert!(matches!(world.outputs().as_slice(), [Output::Close { .. }]));
    assert!(!world.relay.has_allocation(alice.client));
}

#[test]
fn what_is_no_turn_is_counted_and_not_answered() {
    let mut world = World::new();
    let client = User::alice().client;
    for bytes in [&b""[..], b"GET /", &[0x80; 20], &[0; 19]] {
        assert!(world.send(client, bytes).is_empty());
    }
    assert_eq!(world.relay.figures().stray, 4);
}
