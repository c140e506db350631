//! Session descriptions and candidates, from the text to the transport.

use crate::world::{OFFER, World, participant};
use proto::id::TrackSid;
use proto::media::{Kind, NodeCommand, NodeEvent, PeerMode, PublishedTrack, Target};
use std::time::Duration;

/// Longer than ICE, DTLS and consent take to give up.
const LONG: Duration = Duration::from_secs(60);

/// A client's offer, made twice, then once more as the first of a resume.
pub fn sdp_offer(data: &[u8]) {
    let sdp = String::from_utf8_lossy(data);
    let mut world = World::new(PeerMode::Single);
    publish(&mut world);
    let first = world.offer(1, &sdp);
    answered_or_refused(&first, 1, &sdp);
    let second = world.offer(2, &sdp);
    answered_or_refused(&second, 2, &sdp);
    world.command(NodeCommand::Offer {
        participant: participant(),
        offer_id: 3,
        sdp: sdp.to_string(),
        resume: Some(Vec::new()),
    });
    let resumed = world.events();
    answered_or_refused(&resumed, 3, &sdp);
    world.pass(LONG);
    world.leave();
}

fn publish(world: &mut World) {
    for (track, kind) in [("mic", Kind::Audio), ("cam", Kind::Video)] {
        world.command(NodeCommand::Publish(PublishedTrack {
            screen: false,
            codec: String::new(),
            participant: participant(),
            track: TrackSid::new(format!("TR_{track}")),
            cid: format!("cid-{track}"),
            kind,
            layers: Vec::new(),
            muted: false,
        }));
    }
}

/// Exactly one reply, and an answer that fits its offer (RFC 3264 section 6).
fn answered_or_refused(events: &[NodeEvent], id: u32, offer: &str) {
    let mut replies = 0;
    for event in events {
        match event {
            NodeEvent::Answer {
                offer_id,
                sdp,
                mid_to_track,
                ..
            } => {
                replies += 1;
                assert_eq!(*offer_id, id);
                let (offered, answered) = (mids(offer), mids(sdp));
                assert_eq!(offered, answered, "other sections were answered");
                assert!(sdp.contains("a=ice-lite") && sdp.contains("a=fingerprint:"));
                for mid in mid_to_track.keys() {
                    assert!(offered.contains(&mid.as_str()), "{mid} has no section");
                }
            }
            NodeEvent::Refused {
                offer_id, reason, ..
            } => {
                replies += 1;
                assert_eq!(*offer_id, id);
                assert!(!reason.is_empty() && !reason.contains("0x"), "{reason}");
            }
            NodeEvent::TrackBound { mid, .. } => assert!(mids(offer).contains(&mid.as_str())),
            _ => {}
        }
    }
    assert_eq!(replies, 1, "{events:?}");
}

fn mids(sdp: &str) -> Vec<&str> {
    let lines = sdp.lines().filter_map(|line| line.strip_prefix("a=mid:"));
    lines.map(str::trim).collect()
}

/// An answer to the node's own offer. `{mid}` is the mid of its first section.
pub fn sdp_answer(data: &[u8]) {
    let mut world = World::new(PeerMode::Dual);
    let events = world.events();
    let offer = events.iter().find_map(|event| match event {
        NodeEvent::Offer { offer_id, sdp, .. } => Some((*offer_id, sdp)),
        _ => None,
    });
    let (offer_id, offer) = offer.expect("the node offers to a subscriber");
    let mid = mids(offer).first().copied().unwrap_or_default();
    let sdp = String::from_utf8_lossy(data).replace("{mid}", mid);
    for _ in 0..2 {
        world.command(NodeCommand::Answer {
            participant: participant(),
            offer_id,
            sdp: sdp.clone(),
        });
        let replies = world.events();
        assert!(replies.len() <= 1, "{replies:?}");
        for reply in replies {
            assert!(matches!(reply, NodeEvent::Refused { .. }), "{reply:?}");
        }
    }
    world.pass(LONG);
    world.leave();
}

/// Trickled candidates, one a line.
pub fn candidates(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut world = World::new(PeerMode::Single);
    answered_or_refused(&world.offer(1, OFFER), 1, OFFER);
    for candidate in text.lines() {
        world.command(NodeCommand::Candidate {
            participant: participant(),
            target: Target::Publisher,
            candidate: candidate.to_owned(),
        });
    }
    assert_eq!(
        world.events(),
        [],
        "a candidate says nothing about the session"
    );
    world.pass(Duration::from_secs(5));
    // An ICE-lite side never checks (RFC 8445 section 6.1.1): nobody can aim it at an address.
    assert_eq!(world.transmits(), [], "a candidate drew packets");
    world.leave();
}
