//! Those who must not come in.

use crate::node::{Node, PATIENCE, SECRET, any_port, eventually, id, pair};
use crate::stranger::{client, connect, hello, read_hello, stranger};
use bytes::Bytes;
use proto::context::RelayRole;
use quinn::{Connection, ConnectionError, Endpoint, RecvStream};
use relay::{AUTHENTICATING_MAX, Peer};
use std::time::{Duration, Instant};

/// Closed by the relay because nothing was proved.
const REFUSED: u32 = 1;
/// Closed because it did not keep to the protocol.
const VIOLATION: u32 = 3;

async fn assert_closed(connection: &Connection, code: u32) {
    let closed = tokio::time::timeout(PATIENCE, connection.closed()).await;
    let reason = closed.expect("it is closed");
    let ConnectionError::ApplicationClosed(close) = &reason else {
        panic!("{reason}");
    };
    assert_eq!(close.error_code, code.into(), "{reason}");
}

/// b, which takes a for a peer and has not met it.
fn waiting_for_a() -> Node {
    let b = Node::new("b");
    let address = any_port();
    b.handle.set_peers(vec![Peer {
        node: id("a"),
        address,
    }]);
    b
}

fn assert_nothing_came(node: &Node) {
    assert_eq!(node.next_within(Duration::from_millis(50)), None);
    assert_eq!(node.figures().connected, 0);
}

/// Says these bytes first, with a datagram and a message besides.
async fn say(
    endpoint: &Endpoint,
    to: &Node,
    bytes: impl FnOnce(&Connection) -> Vec<u8>,
) -> (Connection, RecvStream) {
    let connection = connect(endpoint, to.address).await;
    connection
        .send_datagram(Bytes::from_static(&[0, 1, 2]))
        .unwrap();
    let mut messages = connection.open_uni().await.unwrap();
    messages.write_all(&[0, 0, 0, 1, 7]).await.unwrap();
    let (mut send, receive) = connection.open_bi().await.unwrap();
    // It may be closed before all is written.
    let _ = send.write_all(&bytes(&connection)).await;
    let _ = send.finish();
    // Listening still: who stops listening is refused for that alone.
    (connection, receive)
}

/// One who knows all that a node a knows.
async fn enter_as_a(endpoint: &Endpoint, to: &Node) -> Connection {
    let connection = connect(endpoint, to.address).await;
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    let hello = hello(SECRET, RelayRole::Connecting, ["a", "b"], &connection);
    send.write_all(&hello).await.unwrap();
    read_hello(&mut receive).await;
    to.expect_up("a");
    connection
}

#[test]
fn another_secret_is_refused_while_others_go_on() {
    let (a, b) = pair();
    let c = Node::at("c", any_port(), "another secret");
    a.knows(&[&b, &c]);
    b.knows(&[&a, &c]);
    c.knows(&[&a, &b]);
    eventually("c has refused both", || c.figures().refused >= 2);
    let hello = Bytes::from_static(b"hello");
    assert!(a.handle.send_message(&b.name, hello.clone()));
    b.expect_message("a", &hello);
    assert_nothing_came(&c);
    assert_eq!((a.figures().connections, b.figures().connections), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_instead_of_a_hello_is_refused() {
    let (b, endpoint) = (waiting_for_a(), stranger());
    let nonsense: [&[u8]; 7] = [
        b"",
        b"\0",
        b"\0\0",
        b"\xff\xff",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0\x05\x01a\x01bx",
        b"\0\x24\x02\xff\xff\x01bxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    ];
    for (count, bytes) in (1..).zip(nonsense) {
        let (connection, _answer) = say(&endpoint, &b, |_| bytes.to_vec()).await;
        assert_closed(&connection, REFUSED).await;
        assert_eq!(b.figures().refused, count, "{}", bytes.escape_ascii());
    }
    assert_nothing_came(&b);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_is_good_for_its_claim_only() {
    let (b, endpoint) = (waiting_for_a(), stranger());
    let connecting = RelayRole::Connecting;
    let claims = [
        ("another secret", connecting, ["a", "b"]),
        (SECRET, RelayRole::Accepting, ["a", "b"]),
        // Meant for somebody else.
        (SECRET, connecting, ["a", "c"]),
        // Nobody of this name is a peer, or is to connect to us.
        (SECRET, connecting, ["0", "b"]),
        (SECRET, connecting, ["c", "b"]),
        (SECRET, connecting, ["b", "b"]),
    ];
    for (count, (secret, role, names)) in (1..).zip(claims) {
        let (connection, _answer) = say(&endpoint, &b, |c| hello(secret, role, names, c)).await;
        assert_closed(&connection, REFUSED).await;
        assert_eq!(b.figures().refused, count, "{secret} {role:?} {names:?}");
    }
    assert_nothing_came(&b);

    // So it is not the test's own fault.
    let good = enter_as_a(&endpoint, &b).await;
    drop(good);
    b.expect_down("a");
}

/// What a stranger at b's address hears and says: all that a has said on its first stream, thrown back.
#[tokio::test(flavor = "multi_thread")]
async fn a_proof_thrown_back_is_refused() {
    let (a, endpoint) = (Node::new("a"), stranger());
    let address = endpoint.local_addr().unwrap();
    let node = id("b");
    a.handle.set_peers(vec![Peer { node, address }]);
    let connection = endpoint.accept().await.unwrap().await.unwrap();
    let (mut send, mut receive) = connection.accept_bi().await.unwrap();
    let said = read_hello(&mut receive).await;
    send.write_all(&said).await.unwrap();
    assert_closed(&connection, REFUSED).await;

    // With the names the other way round, too.
    let connection = endpoint.accept().await.unwrap().await.unwrap();
    let (mut send, mut receive) = connection.accept_bi().await.unwrap();
    let said = read_hello(&mut receive).await;
    let turned = [&said[..2], b"\x01b\x01a", &said[6..]].concat();
    send.write_all(&turned).await.unwrap();
    assert_closed(&connection, REFUSED).await;
    assert!(a.figures().refused >= 2);
    assert_nothing_came(&a);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_carried_from_one_session_to_another_is_refused() {
    let (a, b, endpoint) = (Node::new("a"), waiting_for_a(), stranger());
    let (node, address) = (id("b"), endpoint.local_addr().unwrap());
    a.handle.set_peers(vec![Peer { node, address }]);
    let from_a = endpoint.accept().await.unwrap().await.unwrap();
    let (_send, mut receive) = from_a.accept_bi().await.unwrap();
    let said = read_hello(&mut receive).await;
    let (to_b, _answer) = say(&endpoint, &b, |_| said).await;
    assert_closed(&to_b, REFUSED).await;
    assert_eq!(b.figures().refused, 1);
    assert_nothing_came(&b);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_says_nothing_is_refused_after_two_seconds() {
    let (b, endpoint) = (waiting_for_a(), stranger());
    let connection = connect(&endpoint, b.address).await;
    let start = Instant::now();
    let closed = tokio::time::timeout(PATIENCE, connection.closed()).await;
    closed.expect("it is closed");
    let took = start.elapsed().as_millis();
    assert!((1_500..3_000).contains(&took), "after {took} ms");
    assert_eq!(b.figures().refused, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_who_say_nothing_are_refused_and_a_peer_comes_in_after_them() {
    let (b, endpoint) = (waiting_for_a(), stranger());
    let mut silent = Vec::new();
    // On a slow machine the first are over before the last have come.
    while let Ok(connection) = endpoint.connect(b.address, "anything").unwrap().await {
        silent.push(connection);
        assert!(silent.len() < 20 * AUTHENTICATING_MAX, "nobody is refused");
    }
    assert!(silent.len() >= AUTHENTICATING_MAX);
    assert!(b.figures().refused >= 1);

    let a = Node::new("a");
    a.knows(&[&b]);
    a.expect_up("b");
    b.expect_up("a");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_protocol_is_not_spoken() {
    let (b, endpoint) = (waiting_for_a(), stranger());
    for protocols in [&[][..], &[b"h3".as_slice()], &[b"anteroom-relay/2"]] {
        let connecting = endpoint.connect_with(client(protocols), b.address, "anything");
        assert!(connecting.unwrap().await.is_err());
    }
    assert_nothing_came(&b);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_breaks_the_protocol_is_put_out() {
    let (b, endpoint) = (waiting_for_a(), stranger());
    for (message, ends) in [(&[0xff; 4][..], false), (&[0, 0, 0, 9, 1], true)] {
        let connection = enter_as_a(&endpoint, &b).await;
        // Nonsense that may be lost is only counted.
        let before = b.figures().malformed;
        connection
            .send_datagram(Bytes::from_static(&[9, 9]))
            .unwrap();
        eventually("it is counted", || b.figures().malformed == before + 1);

        let mut messages = connection.open_uni().await.unwrap();
        messages.write_all(message).await.unwrap();
        if ends {
            messages.finish().unwrap();
        }
        assert_closed(&connection, VIOLATION).await;
        b.expect_down("a");
    }
}
