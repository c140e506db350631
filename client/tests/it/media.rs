//! Clients that hear, see and write to each other.

use crate::guest::{Guest, both_hear, until};
use crate::world::World;
use client::{DataKind, Fidelity, Kind, PeerMode, Sections};
use std::collections::BTreeSet;

#[tokio::test]
async fn two_clients_hear_and_see_each_other() {
    let world = World::start().await;
    let mut ann = Guest::join(&world, "ann", PeerMode::Single).await;
    let mut bob = Guest::join(&world, "bob", PeerMode::Single).await;
    ann.publish().await;
    bob.publish().await;
    until("both hear each other", [&mut ann, &mut bob], both_hear).await;
    assert!(ann.is_sending() && bob.is_sending());

    let video = bob
        .seen
        .tracks
        .values()
        .find(|track| track.kind == Kind::Video);
    let packets = &bob.seen.packets[&video.unwrap().id];
    // A descriptor, then the layer's name.
    let layers: BTreeSet<u8> = packets.iter().map(|packet| packet.payload[7]).collect();
    assert!(
        layers.iter().all(|layer| b"qhf".contains(layer)),
        "{layers:?}"
    );
    let audio = bob
        .seen
        .tracks
        .values()
        .find(|track| track.kind == Kind::Audio);
    let packets = &bob.seen.packets[&audio.unwrap().id];
    assert!(
        packets
            .iter()
            .all(|packet| packet.payload.starts_with(b"opus"))
    );
    let in_order = |pair: &[client::ReceivedPacket]| pair[0].sequence < pair[1].sequence;
    assert!(packets.windows(2).all(in_order));

    let timeline = bob.client.timeline().await.unwrap();
    let steps = [
        timeline.dialled,
        timeline.http,
        timeline.joined,
        timeline.answered,
        timeline.ice_connected,
        timeline.dtls_connected,
        timeline.first_packet,
        timeline.first_frame,
    ];
    assert!(steps.iter().all(Option::is_some), "{timeline:?}");
    assert!(timeline.joined <= timeline.ice_connected);
    assert!(timeline.ice_connected <= timeline.dtls_connected);

    ann.client.close().await.expect("it ends in time");
    let left = |guests: &[&mut Guest; 1]| guests[0].seen.left.contains(&"ann".to_owned());
    until("ann has left", [&mut bob], left).await;
    world.stop().await;
}

#[tokio::test]
async fn a_counting_client_counts_what_it_does_not_decrypt() {
    let world = World::start().await;
    let mut ann = Guest::join(&world, "ann", PeerMode::Single).await;
    let mut options = world.options("standup", "bob", PeerMode::Single);
    options.session.fidelity = Fidelity::Counting;
    let mut bob = Guest::join_with("bob", options).await;
    ann.publish().await;
    // It can publish all the same.
    bob.publish().await;
    until("both hear each other", [&mut ann, &mut bob], both_hear).await;

    assert!(bob.seen.packets.is_empty() && ann.seen.headers.is_empty());
    for headers in bob.seen.headers.values() {
        let media: Vec<_> = headers.iter().filter(|header| !header.repeats).collect();
        let next = |pair: &[&client::CountedPacket]| {
            pair[0].ssrc != pair[1].ssrc || pair[1].sequence == pair[0].sequence.wrapping_add(1)
        };
        assert!(media.windows(2).all(next), "loopback loses nothing");
        // Header and authentication tag come on top of what was written.
        assert!(media.iter().all(|header| header.bytes > 8 + 12));
    }
    let counters = bob
        .client
        .call(|session, _, _| session.counters())
        .await
        .unwrap();
    assert!(counters.unclaimed_packets < 10, "{counters:?}");
    assert_eq!(counters.dropped_packets, 0);
    world.stop().await;
}

#[tokio::test]
async fn a_client_with_few_sections_is_asked_for_more_and_gets_every_track() {
    let world = World::start().await;
    let mut ann = Guest::join(&world, "ann", PeerMode::Single).await;
    let mut bob = Guest::join(&world, "bob", PeerMode::Single).await;
    ann.publish().await;
    bob.publish().await;
    until("both hear each other", [&mut ann, &mut bob], both_hear).await;
    let mut options = world.options("standup", "cat", PeerMode::Single);
    options.session.receive = Sections { audio: 1, video: 1 };
    let mut cat = Guest::join_with("cat", options).await;
    let hears_all = |guests: &[&mut Guest; 3]| {
        let [_, _, cat] = guests;
        let kinds = [Kind::Audio, Kind::Video];
        let heard = |name| kinds.iter().all(|kind| cat.heard(name, *kind) > 5);
        heard("ann") && heard("bob")
    };
    until("cat hears both", [&mut ann, &mut bob, &mut cat], hears_all).await;
    assert!(!cat.seen.asked.is_empty());

    // The end of a track is told, and its section is free again.
    let camera = ann.camera.take().unwrap();
    let ended = ann
        .client
        .call(move |session, _, now| session.unpublish(camera, now));
    ended.await.unwrap().unwrap();
    let lost = |guests: &[&mut Guest; 3]| guests[2].seen.tracks.len() == 3;
    until("ann's camera is gone", [&mut ann, &mut bob, &mut cat], lost).await;
    world.stop().await;
}

#[tokio::test]
async fn messages_and_mutes_reach_the_others() {
    let world = World::start().await;
    let mut ann = Guest::join(&world, "ann", PeerMode::Single).await;
    let mut bob = Guest::join(&world, "bob", PeerMode::Single).await;
    ann.publish().await;
    bob.publish().await;
    until("both hear each other", [&mut ann, &mut bob], both_hear).await;
    let open = |guests: &[&mut Guest; 2]| guests.iter().all(|guest| guest.seen.open.len() == 2);
    until("data channels are open", [&mut ann, &mut bob], open).await;
    for kind in [DataKind::Reliable, DataKind::Lossy] {
        let text = format!("{kind:?}").into_bytes();
        let sent = ann
            .client
            .call(move |session, _, now| session.send_message(kind, text, &["bob"], now));
        sent.await.unwrap().unwrap();
    }
    let told = |guests: &[&mut Guest; 2]| {
        let told = |text: &str| ("ann".to_owned(), text.as_bytes().to_vec());
        let messages = &guests[1].seen.messages;
        messages.contains(&told("Reliable")) && messages.contains(&told("Lossy"))
    };
    until("bob reads both messages", [&mut ann, &mut bob], told).await;

    let microphone = ann.microphone.unwrap();
    let muted = ann
        .client
        .call(move |session, _, _| session.mute(microphone, true));
    muted.await.unwrap().unwrap();
    let sees = |guests: &[&mut Guest; 2]| guests[1].seen.muted;
    until("bob sees that ann is muted", [&mut ann, &mut bob], sees).await;
    world.stop().await;
}

#[tokio::test]
async fn clients_with_one_and_with_two_connections_hear_each_other() {
    let world = World::start().await;
    let mut ann = Guest::join(&world, "ann", PeerMode::Dual).await;
    let mut bob = Guest::join(&world, "bob", PeerMode::Single).await;
    ann.publish().await;
    bob.publish().await;
    until("both hear each other", [&mut ann, &mut bob], both_hear).await;
    assert_eq!((ann.seen.connected, bob.seen.connected), (2, 1));
    let mut cat = Guest::join(&world, "cat", PeerMode::Dual).await;
    let sent = |guests: &[&mut Guest; 3]| {
        let told = ("cat".to_owned(), b"hello".to_vec());
        guests[0].seen.messages.contains(&told)
    };
    // The first attempt opens the channel.
    let say = |session: &mut client::Session, now| {
        session.send_message(DataKind::Reliable, b"hello".to_vec(), &[], now)
    };
    let first = cat
        .client
        .call(move |session, _, now| say(session, now))
        .await;
    assert_eq!(first, Ok(Err(client::DataError::NotOpen)));
    let open = |guests: &[&mut Guest; 3]| guests[2].seen.open.contains(&DataKind::Reliable);
    until(
        "cat's channel is open",
        [&mut ann, &mut bob, &mut cat],
        open,
    )
    .await;
    cat.chant = Some(b"hello");
    until("ann reads it", [&mut ann, &mut bob, &mut cat], sent).await;
    world.stop().await;
}
