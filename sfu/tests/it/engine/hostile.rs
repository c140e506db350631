//! What must change nothing: garbage, bad descriptions, other rooms; and what ends.

use super::*;

#[test]
fn garbage_from_anywhere_is_counted_and_changes_nothing() {
    let mut world = subscribed(PeerMode::Single);
    let peer = world.clients["bob"].publisher.address;
    let stranger = SocketAddr::from(([198, 51, 100, 9], 9));
    let mut random: u32 = 1;
    let before = world.engine().report().stray_packets;
    for round in 0..3000_usize {
        let mut contents: Vec<u8> = (0..round % 1500)
            .map(|_| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (random >> 24) as u8
            })
            .collect();
        // Look like STUN, DTLS, RTP and RTCP by turns.
        let first = [0x00, 0x16, 0x80, 0x81, 0x17, 0xff][round % 6];
        if let Some(byte) = contents.first_mut() {
            *byte = first;
        }
        for remote in [stranger, peer] {
            let datagram = Datagram {
                transport: Transport::Udp,
                remote,
                local: BASE,
                contents: &contents,
            };
            let now = world.now;
            world.engine().handle_datagram(datagram, now);
        }
        let tcp = Datagram {
            transport: Transport::Tcp,
            remote: stranger,
            local: BASE,
            contents: &contents,
        };
        let now = world.now;
        world.engine().handle_datagram(tcp, now);
    }
    assert!(world.engine().report().stray_packets >= before + 6000);
    let now = world.now;
    world.engine().handle_tcp_closed(stranger, now);
    world.take_got("bob");
    world.run(seconds(2));
    assert_eq!(
        world.count(|event| matches!(event, NodeEvent::Disconnected { .. })),
        0
    );
    let got = world.take_got("bob");
    assert!(audio(&got).len() > 50 && video(&got).len() > 50);
}

/// A binding request that names our transport, without its password.
fn forged_check(ours: &str, filler: u8) -> Vec<u8> {
    let name = format!("{ours}:peer");
    let padded = name.len().next_multiple_of(4);
    let length = u16::try_from(4 + padded + 24).unwrap();
    let mut check = vec![0, 1];
    check.extend_from_slice(&length.to_be_bytes());
    check.extend_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
    check.extend_from_slice(&[filler; 12]);
    check.extend_from_slice(&[0, 6]);
    check.extend_from_slice(&u16::try_from(name.len()).unwrap().to_be_bytes());
    check.extend_from_slice(name.as_bytes());
    check.resize(20 + 4 + padded, 0);
    check.extend_from_slice(&[0, 8, 0, 20]);
    check.extend_from_slice(&[filler; 20]);
    check
}

/// Each is little work, nothing is answered, and whoever talks goes on talking.
#[test]
fn a_million_bad_datagrams_are_dropped_without_a_word() {
    let mut world = subscribed(PeerMode::Single);
    let peer = world.clients["bob"].publisher.address;
    let stranger = SocketAddr::from(([198, 51, 100, 9], 9));
    let (answer, _) = world.clients["bob"].answers.last().unwrap();
    let ufrag = answer
        .lines()
        .find_map(|line| line.strip_prefix("a=ice-ufrag:"));
    let check = |filler| forged_check(ufrag.unwrap(), filler);
    let rtp = |filler: u8| [&[0x80, 96, filler, filler][..], &[filler; 60]].concat();
    let rtcp = |filler: u8| [&[0x81, 201, 0, 7][..], &[filler; 40]].concat();
    let dtls = |filler: u8| [&[0x17, 0xfe, 0xfd, 0, 1, filler][..], &[filler; 60]].concat();
    let kinds: [&dyn Fn(u8) -> Vec<u8>; 4] = [&check, &rtp, &rtcp, &dtls];
    let bad: Vec<Vec<u8>> = (0..=255)
        .flat_map(|filler| kinds.map(|kind| kind(filler)))
        .collect();
    let now = world.now;
    let mut answered = 0;
    for (contents, round) in bad.iter().cycle().zip(0..1_000_000_u32) {
        let remote = if round % 8 < 4 { stranger } else { peer };
        let datagram = Datagram {
            transport: Transport::Udp,
            remote,
            local: BASE,
            contents,
        };
        world.engine().handle_datagram(datagram, now);
        while world.engine().poll_transmit().is_some() {
            answered += 1;
        }
    }
    assert_eq!(answered, 0);
    world.take_got("bob");
    world.run(seconds(2));
    let lost = |event: &NodeEvent| matches!(event, NodeEvent::Disconnected { .. });
    assert_eq!(world.count(lost), 0);
    let got = world.take_got("bob");
    assert!(audio(&got).len() > 90 && video(&got).len() > 90);
}

#[test]
fn a_replayed_datagram_from_another_address_is_not_answered() {
    let mut world = World::new();
    world.join("alice", PeerMode::Single);
    let stray = world.engine().report().stray_packets;
    // A DTLS client hello from somewhere else, before and after ICE is done.
    let hello = [
        &[0x16, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..],
        &[0; 64],
    ]
    .concat();
    let datagram = Datagram {
        transport: Transport::Udp,
        remote: SocketAddr::from(([198, 51, 100, 9], 9)),
        local: BASE,
        contents: &hello,
    };
    let now = world.now;
    world.engine().handle_datagram(datagram, now);
    assert_eq!(world.engine().report().stray_packets, stray + 1);
    assert!(world.engine().poll_transmit().is_none());
}

#[test]
fn bad_descriptions_and_candidates_are_refused_and_the_transport_stays() {
    let mut world = subscribed(PeerMode::Single);
    let participant = world.clients["alice"].sid.clone();
    let offer = |sdp: String, resume| NodeCommand::Offer {
        participant: participant.clone(),
        offer_id: 99,
        sdp,
        resume,
    };
    world.command(offer("hello".into(), None));
    world.command(offer(String::new(), Some(vec![])));
    world.command(offer("x".repeat(300_000), None));
    let half = world.clients["alice"].answers[0]
        .0
        .replace("a=fingerprint", "a=nothing");
    world.command(offer(half, None));
    for candidate in [
        "",
        "candidate:",
        "candidate:1 1 udp 1 x.local 1 typ host",
        "\0",
    ] {
        world.candidate("alice", candidate);
    }
    for _ in 0..200 {
        world.candidate(
            "alice",
            "candidate:1 1 udp 2113937151 192.0.2.77 9 typ host",
        );
    }
    let refused: Vec<u32> = world
        .events
        .iter()
        .filter_map(|event| match event {
            NodeEvent::Refused { offer_id, .. } => Some(*offer_id),
            _ => None,
        })
        .collect();
    assert_eq!(refused, [99, 99, 99, 99]);
    world.take_got("bob");
    world.run(seconds(1));
    assert!(!world.take_got("bob").is_empty());
}

#[test]
fn who_is_removed_leaves_nothing_behind() {
    let mut world = subscribed(PeerMode::Single);
    let report = world.engine().report();
    assert_eq!(
        (report.participants, report.tracks, report.rooms),
        (2, 2, 1)
    );
    assert!(report.packets_in > 0 && report.packets_out > 0);
    assert!(report.bytes_in > 0 && report.bytes_out > 0);
    world.command(NodeCommand::RemoveParticipant {
        participant: world.clients["alice"].sid.clone(),
    });
    world.sources.clear();
    world.clients.remove("alice");
    world.run(seconds(1));
    assert_eq!(world.clients["bob"].sections_wanted.last(), Some(&(0, 0)));
    world.command(NodeCommand::RemoveParticipant {
        participant: world.clients["bob"].sid.clone(),
    });
    world.clients.clear();
    let report = world.engine().report();
    assert_eq!(
        (report.participants, report.tracks, report.rooms),
        (0, 0, 0)
    );
    world.run(seconds(1));
    let left = world.engine().poll_timeout().map(|(_, reason)| reason);
    assert_eq!(left, Some("ownership"), "a node asks for ever");
}

#[test]
fn a_client_that_closes_its_connection_is_reported() {
    let mut world = subscribed(PeerMode::Single);
    world
        .clients
        .get_mut("bob")
        .unwrap()
        .publisher
        .rtc
        .close()
        .unwrap();
    world.settle();
    world.run(seconds(2));
    assert_eq!(
        world.count(|event| matches!(
            event,
            NodeEvent::Disconnected {
                reason: TransportLoss::PeerClosed,
                ..
            }
        )),
        1
    );
}

#[test]
fn a_track_does_not_leave_its_room() {
    let mut world = meeting(PeerMode::Single);
    world.add_to("mallory", "RM_2", PeerMode::Single);
    world.connect("mallory", PeerMode::Single);
    world.subscribe("mallory", "TR_mic");
    world.run(seconds(1));
    assert!(world.take_got("mallory").is_empty());
    assert!(world.clients["mallory"].sections_wanted.is_empty());
    send(
        &mut world,
        "alice",
        "_reliable",
        &data_packet(1, None, b"hello"),
    );
    assert!(take_data(&mut world, "mallory").is_empty());
}
