//! Datagrams from strangers: counted, and never answered.

use crate::records;
use crate::world::{CLIENT, OFFER, World, marked, our_ufrag};
use proto::media::PeerMode;
use sfu::engine::Transport;
use std::net::SocketAddr;

/// Datagrams as records. Flags: 1 by TCP, 2 from elsewhere, 4 the TCP connection ends before.
pub fn datagrams(data: &[u8]) {
    let mut world = World::new(PeerMode::Single);
    let ufrag = world
        .offer(1, OFFER)
        .iter()
        .find_map(our_ufrag)
        .expect("an answer");
    world.transmits();
    for (flags, contents) in records(data) {
        let contents = marked(contents, &ufrag);
        let transport = if flags & 1 == 0 {
            Transport::Udp
        } else {
            Transport::Tcp
        };
        let port = if flags & 2 == 0 { CLIENT.port() } else { 2000 };
        let remote = SocketAddr::new(CLIENT.ip(), port);
        if flags & 4 != 0 {
            world.engine.handle_tcp_closed(remote, world.now);
        }
        let before = world.engine.report();
        world.datagram(transport, remote, &contents);
        let after = world.engine.report();
        assert_eq!(
            after.stray_packets,
            before.stray_packets + 1,
            "believed: {contents:?}"
        );
        assert_eq!(after.bytes_in, before.bytes_in + contents.len() as u64);
        assert_eq!(world.transmits(), [], "answered: {contents:?}");
        assert_eq!(world.events(), []);
    }
    assert_eq!(world.engine.report().participants, 1);
    world.leave();
}
