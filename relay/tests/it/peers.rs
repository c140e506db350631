//! Who is up, who is down, and how soon that is known.

use crate::forwarder::{Forwarder, Network};
use crate::node::{Node, SECRET, any_port, eventually, pair};
use bytes::Bytes;
use relay::{Incoming, Peer};
use std::time::{Duration, Instant};

/// A lost node must be known to be within this time.
const LOST_WITHIN: Duration = Duration::from_millis(2_500);
/// What is said aloud is heard within this time.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

fn assert_down_within(node: &Node, other: &Node, limit: Duration) {
    let start = Instant::now();
    node.expect_down(other.name.as_str());
    assert!(start.elapsed() < limit, "only after {:?}", start.elapsed());
}

/// a and b, with a network in between.
fn pair_over(network: Network) -> (Node, Node, Forwarder) {
    let (a, b) = (Node::new("a"), Node::new("b"));
    let forwarder = Forwarder::new(b.address, network, 7);
    b.knows(&[&a]);
    let (node, address) = (b.name.clone(), forwarder.front);
    a.handle.set_peers(vec![Peer { node, address }]);
    a.expect_up("b");
    b.expect_up("a");
    (a, b, forwarder)
}

#[test]
fn who_is_no_peer_any_more_is_down_and_comes_up_as_one_again() {
    for removing_first in [true, false] {
        let (a, b) = pair();
        let (one, other) = if removing_first { (&a, &b) } else { (&b, &a) };
        one.knows(&[]);
        assert_down_within(one, other, TOLD_WITHIN);
        assert_down_within(other, one, TOLD_WITHIN);
        assert!(!one.handle.send_datagram(&other.name, Bytes::new()));
        assert_eq!(one.figures().connections, 0);

        one.knows(&[other]);
        a.expect_up("b");
        b.expect_up("a");
    }
}

#[test]
fn peers_told_again_and_again_stay_up() {
    let (a, b) = pair();
    for _ in 0..100 {
        a.knows(&[&b]);
        b.knows(&[&a, &b]);
    }
    let last = Bytes::from_static(b"still here");
    assert!(a.handle.send_message(&b.name, last.clone()));
    b.expect_message("a", &last);
    assert_eq!(a.figures().connected, 1);
}

#[test]
fn who_ends_in_good_order_is_down_at_once() {
    let (a, b) = pair();
    let start = Instant::now();
    b.stop();
    assert!(start.elapsed() < TOLD_WITHIN);
    a.expect_down("b");
    assert!(start.elapsed() < TOLD_WITHIN);
}

#[test]
fn who_dies_without_a_word_is_down_soon_and_up_when_it_is_back() {
    let (a, b) = pair();
    let (start, name) = (Instant::now(), b.name.clone());
    let address = b.die();
    a.expect_down("b");
    let took = start.elapsed();
    assert!(took < LOST_WITHIN, "only after {took:?}");
    assert!(!a.handle.send_message(&name, Bytes::new()));

    let back = Node::at("b", address, SECRET);
    back.knows(&[&a]);
    a.expect_up("b");
    back.expect_up("a");
}

#[test]
fn the_one_who_connects_is_back_before_its_old_connection_is_given_up() {
    let (a, b) = pair();
    let address = a.die();
    let back = Node::at("a", address, SECRET);
    back.knows(&[&b]);
    back.expect_up("b");
    b.expect_down("a");
    b.expect_up("a");
    let hello = Bytes::from_static(b"hello");
    assert!(b.handle.send_message(&back.name, hello.clone()));
    back.expect_message("b", &hello);
}

#[test]
fn a_cut_between_two_is_noticed_by_both_and_mended() {
    let (a, b, network) = pair_over(Network::PERFECT);
    network.cut(true);
    let start = Instant::now();
    a.expect_down("b");
    b.expect_down("a");
    assert!(start.elapsed() < LOST_WITHIN, "after {:?}", start.elapsed());
    network.cut(false);
    a.expect_up("b");
    b.expect_up("a");
}

#[test]
fn media_that_goes_one_way_only_does_not_hide_a_cut() {
    let (a, b, network) = pair_over(Network::PERFECT);
    network.cut(true);
    let start = Instant::now();
    while a
        .handle
        .send_datagram(&b.name, Bytes::from_static(&[0; 1_000]))
    {
        assert!(start.elapsed() < LOST_WITHIN, "it is still up");
        std::thread::sleep(Duration::from_millis(1));
    }
    a.expect_down("b");
}

#[test]
fn who_moves_to_another_address_is_found_there() {
    let (a, b) = pair();
    b.stop();
    a.expect_down("b");
    let moved = Node::at("b", any_port(), SECRET);
    moved.knows(&[&a]);
    a.knows(&[&moved]);
    a.expect_up("b");
    moved.expect_up("a");
}

#[test]
fn who_comes_later_than_it_is_known_is_found() {
    let (a, place) = (Node::new("a"), Node::new("b"));
    a.knows(&[&place]);
    // It is there, and does not know us yet.
    eventually("a is refused", || place.figures().refused > 0);
    place.knows(&[&a]);
    a.expect_up("b");
    place.expect_up("a");
}

#[test]
fn nobody_is_up_after_the_end() {
    let (a, b) = pair();
    let (handle, name) = (a.handle.clone(), b.name.clone());
    a.stop();
    assert!(!handle.send_datagram(&name, Bytes::new()));
    assert_eq!(handle.figures().connections, 0);
    handle.set_peers(Vec::new());
}

#[test]
fn loss_and_delay_do_not_keep_two_from_talking() {
    let lossy = Network {
        delay: Duration::from_millis(10),
        loss: 0.1,
        ..Network::PERFECT
    };
    let (a, b, network) = pair_over(lossy);
    for number in 0..200_u32 {
        let message = Bytes::copy_from_slice(&number.to_be_bytes());
        assert!(a.handle.send_message(&b.name, message));
    }
    for number in 0..200_u32 {
        b.expect_message("a", &Bytes::copy_from_slice(&number.to_be_bytes()));
    }
    assert!(network.lost() > 0, "nothing was lost");
}

#[test]
fn a_narrow_path_is_noticed_and_datagrams_go_in_halves() {
    let narrow = Network {
        mtu: 1_300,
        ..Network::PERFECT
    };
    let (a, b, _network) = pair_over(narrow);
    let payload = Bytes::from_static(&[5; 1_400]);
    eventually("one gets through", || {
        assert!(a.handle.send_datagram(&b.name, payload.clone()));
        b.next_within(Duration::from_millis(5)).is_some()
    });
    let figures = a.figures();
    assert!(
        figures.mtu_min <= 1_300 && figures.datagrams_split > 0,
        "{figures:?}"
    );
    assert!(a.handle.send_datagram(&b.name, payload.clone()));
    let from = a.name.clone();
    assert_eq!(
        b.next(),
        Incoming::Datagram {
            from,
            bytes: payload
        }
    );
}
