//! The media engine as its shard and its clients see it, in virtual time and without sockets.

mod chat;
mod data;
mod dependency;
mod fixed;
mod forwarding;
mod hostile;
mod moving;
mod ownership;
mod peer;
mod relaying;
mod resuming;
mod scalable;
mod sections;
mod selection;
mod share;
mod world;

use peer::Got;
use proto::id::TrackSid;
use proto::media::{
    Kind, MediaPermission, NodeCommand, NodeEvent, PeerMode, Quality, TrackSettings, TransportLoss,
};
use sfu::engine::{Datagram, Transport};
use std::net::SocketAddr;
use std::time::Duration;
use str0m::media::MediaKind;
use world::{BASE, World, all};

const SIMULCAST: [&str; 3] = ["q", "h", "f"];

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Two participants, of whom alice publishes a microphone `TR_mic` and a simulcast camera `TR_cam`.
fn meeting(mode: PeerMode) -> World {
    let mut world = World::new();
    world.join("alice", mode);
    world.join("bob", mode);
    world.publish("alice", "TR_mic", Kind::Audio, &[]);
    world.publish("alice", "TR_cam", Kind::Video, &SIMULCAST);
    world
}

fn subscribed(mode: PeerMode) -> World {
    let mut world = meeting(mode);
    world.subscribe("bob", "TR_mic");
    world.subscribe("bob", "TR_cam");
    world.run(seconds(3));
    world
}

fn video(got: &[Got]) -> Vec<&Got> {
    got.iter().filter(|got| got.level.is_none()).collect()
}

fn audio(got: &[Got]) -> Vec<&Got> {
    got.iter().filter(|got| got.level.is_some()).collect()
}

/// The simulcast layer that a packet of the test camera belongs to.
fn layer(got: &Got) -> u8 {
    got.payload[7]
}

fn picture_id(got: &Got) -> u16 {
    u16::from_be_bytes([got.payload[2] & 0x7f, got.payload[3]])
}

fn is_keyframe(got: &Got) -> bool {
    got.payload[0] & 0x10 != 0 && got.payload[6] & 1 == 0
}

/// Without loss, the packets of one stream have numbers without a hole and times that only grow.
fn assert_continuous(packets: &[&Got]) {
    for pair in packets.windows(2) {
        let [before, after] = pair else { continue };
        assert_eq!(after.ssrc, before.ssrc);
        assert_eq!(after.sequence, before.sequence + 1);
        let step = after.timestamp.wrapping_sub(before.timestamp);
        assert!(step < 90_000 * 20, "time runs backwards by {step}");
    }
}

fn announced(world: &World, name: &str) -> String {
    let client = &world.clients[name];
    let described = client.node_offers.last().or(client.answers.last());
    described.unwrap().0.clone()
}

/// A `DataPacket` with these fields: (sequence, destination, payload).
fn data_packet(sequence: u8, destination: Option<&str>, payload: &[u8]) -> Vec<u8> {
    let mut user = vec![0x12, u8::try_from(payload.len()).unwrap()];
    user.extend_from_slice(payload);
    let mut packet = vec![0x12, u8::try_from(user.len()).unwrap()];
    packet.extend(user);
    if sequence > 0 {
        packet.extend([0x80, 0x01, sequence]);
    }
    if let Some(destination) = destination {
        packet.extend([0x2a, u8::try_from(destination.len()).unwrap()]);
        packet.extend(destination.as_bytes());
    }
    packet
}

fn send(world: &mut World, name: &str, label: &str, packet: &[u8]) {
    let client = world.clients.get_mut(name).unwrap();
    assert!(client.publisher.send_data(label, packet));
    world.run(Duration::from_millis(200));
}

fn take_data(world: &mut World, name: &str) -> Vec<(String, Vec<u8>)> {
    std::mem::take(&mut world.clients.get_mut(name).unwrap().receiver().data)
}
