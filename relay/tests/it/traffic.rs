//! What goes over between those who are up.

use crate::node::{Node, eventually, id, pair};
use bytes::Bytes;
use relay::{DATAGRAM_MAX, Incoming, MESSAGE_MAX};

#[test]
fn two_nodes_come_up_and_both_kinds_go_both_ways() {
    let (a, b) = pair();
    let hello = Bytes::from_static(b"hello");
    for (from, to) in [(&a, &b), (&b, &a)] {
        assert!(from.handle.send_datagram(&to.name, hello.clone()));
        to.expect_datagram(from.name.as_str(), &hello);
        assert!(from.handle.send_message(&to.name, hello.clone()));
        to.expect_message(from.name.as_str(), &hello);
    }
    let figures = a.figures();
    assert_eq!((figures.connections, figures.connected), (1, 1));
    assert_eq!((figures.datagrams_out, figures.datagrams_in), (1, 1));
    assert_eq!((figures.messages_out, figures.messages_in), (1, 1));
    assert_eq!((figures.refused, figures.overflows), (0, 0));
    assert!(figures.mtu_min >= 1_200 && !figures.rtt_max.is_zero());
}

#[test]
fn messages_keep_their_order_and_their_bytes() {
    let (a, b) = pair();
    let message = |number: usize| {
        let length = [0, 1, 900, MESSAGE_MAX][number % 4];
        let byte = u8::try_from(number % 256).unwrap();
        Bytes::from(vec![byte; length])
    };
    for round in 0..20 {
        let numbers = round * 32..(round + 1) * 32;
        for number in numbers.clone() {
            assert!(a.handle.send_message(&b.name, message(number)));
        }
        for number in numbers {
            b.expect_message("a", &message(number));
        }
    }
}

#[test]
fn datagrams_of_every_length_arrive_and_long_ones_go_in_halves() {
    let (a, b) = pair();
    for length in [0, 1, 1_200, 1_500, DATAGRAM_MAX] {
        let payload: Bytes = (0..length)
            .map(|at| u8::try_from(at % 251).unwrap())
            .collect();
        assert!(a.handle.send_datagram(&b.name, payload.clone()));
        b.expect_datagram("a", &payload);
    }
    assert_eq!(a.figures().datagrams_split, 2);
    assert_eq!(b.figures().datagrams_in, 5);
}

#[test]
fn what_cannot_be_sent_is_said_so() {
    let (a, b) = pair();
    let long = |length: usize| Bytes::from(vec![0; length]);
    assert!(!a.handle.send_datagram(&b.name, long(DATAGRAM_MAX + 1)));
    assert!(!a.handle.send_message(&b.name, long(MESSAGE_MAX + 1)));
    for stranger in ["c", "a"] {
        assert!(!a.handle.send_datagram(&id(stranger), long(1)));
        assert!(!a.handle.send_message(&id(stranger), long(1)));
    }
}

#[test]
fn three_nodes_hear_each_other() {
    let nodes = ["a", "b", "c"].map(Node::new);
    let [a, b, c] = &nodes;
    a.knows(&[b, c]);
    b.knows(&[a, c]);
    c.knows(&[a, b]);
    for node in &nodes {
        eventually("both others up", || node.figures().connections == 2);
        for _ in 0..2 {
            assert!(matches!(node.next(), Incoming::Up(_)));
        }
    }
    for from in &nodes {
        for to in nodes.iter().filter(|to| to.name != from.name) {
            let payload = Bytes::from(format!("{} to {}", from.name, to.name));
            assert!(from.handle.send_datagram(&to.name, payload.clone()));
            to.expect_datagram(from.name.as_str(), &payload);
        }
    }
}

#[test]
fn a_full_queue_of_messages_closes_the_connection_and_it_comes_back() {
    let (a, b) = pair();
    let message = Bytes::from(vec![0; MESSAGE_MAX]);
    // Faster than any network takes them, up to the limit in bytes.
    while a.handle.send_message(&b.name, message.clone()) {}
    a.expect_down("b");
    a.expect_up("b");
    assert_eq!(a.figures().overflows, 1);
    eventually("it comes over", || {
        a.handle.send_message(&b.name, Bytes::from_static(b"again"))
    });
    let mut down = false;
    let last = loop {
        match b.next() {
            Incoming::Down(_) => down = true,
            Incoming::Message { bytes, .. } if bytes.len() < MESSAGE_MAX => break bytes,
            _ => {}
        }
    };
    assert!(down, "it was told of the gap");
    assert_eq!(last, "again");
}
