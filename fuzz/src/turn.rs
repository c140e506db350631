//! TURN: what anybody may send to the node's port, and what a client with an allocation may.

use std::net::SocketAddr;
use std::time::Instant;
use turn_server::core::{
    Client, Limits, Now, Output, PeerPolicy, Relay, RelayAddress, RelayConfig,
};
use turn_server::fuzzing;

/// Longest answer to a stranger: a challenge with the longest of everything.
const CHALLENGE_BYTES_MAX: usize = 64;

/// A stream: byte of cut, then its bytes. And its bytes as one datagram from a stranger.
pub fn turn_messages(data: &[u8]) {
    let Some((cut, bytes)) = data.split_first() else {
        return;
    };
    let (first, second) = bytes.split_at(usize::from(*cut).min(bytes.len()));
    let whole = fuzzing::read_stream(bytes, &[]);
    assert_eq!(
        fuzzing::read_stream(first, second),
        whole,
        "the cut decides"
    );
    strange(bytes);
}

/// Without credentials nothing is opened and nothing relayed, and answers are short.
fn strange(bytes: &[u8]) {
    let at = Instant::now();
    let mut relay = relay(at);
    let now = Now {
        at,
        unix_s: crate::NOW_S,
    };
    let client = Client::Udp {
        local: address("192.0.2.1:3478"),
        remote: address("198.51.100.9:5000"),
    };
    relay.handle_client(client, bytes, now);
    let mut answers = 0;
    while let Some(output) = relay.poll_output() {
        let Output::ToClient { client: to, bytes } = output else {
            panic!("a stranger got {output:?}");
        };
        assert_eq!(to, client);
        assert!(bytes.len() <= CHALLENGE_BYTES_MAX, "{} bytes", bytes.len());
        answers += 1;
    }
    assert!(answers <= 1);
    assert!(!relay.has_allocation(client));
}

fn relay(now: Instant) -> Relay {
    let ip = address("192.0.2.1:0").ip();
    let config = RelayConfig {
        realm: "anteroom".to_owned(),
        secret: proto::turn::TurnSecret::new("a secret for fuzzing").expect("not empty"),
        addresses: vec![RelayAddress { base: ip, told: ip }],
        peers: PeerPolicy::default(),
        limits: Limits::default(),
        nonce_key: [1; 32],
    };
    Relay::new(config, now)
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}
