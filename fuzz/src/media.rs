//! Small parsers of the media path: stream framing, data packets, payloads.

use livekit_protocol::DataPacket;
use livekit_protocol::data_packet::Value;
use prost::Message as _;
use sfu::fuzzing::{frames, relay, stream};

/// Longest frame that is taken, bytes.
const FRAME_MAX: usize = 2048;
const SENDER: (&str, &str) = ("alice", "PA_alice");
const STRANGER: (&str, &str) = ("nobody-else", "PA_nobody_else");

/// A TCP stream of RFC 4571 frames; the first byte says how it is cut.
pub fn stream_frames(data: &[u8]) {
    let Some((cut, bytes)) = data.split_first() else {
        return;
    };
    let whole = frames(&[bytes]);
    let pieces: Vec<&[u8]> = bytes.chunks(usize::from(*cut).max(1)).collect();
    assert_eq!(whole, frames(&pieces), "in pieces of {cut}");
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(whole, frames(&single), "byte by byte");

    let (found, intact) = whole;
    assert!(
        found
            .iter()
            .all(|frame| (1..=FRAME_MAX).contains(&frame.len()))
    );
    assert_eq!(
        frames(&[&stream(&found)]),
        (found.clone(), true),
        "not what was sent"
    );
    let carried: usize = found.iter().map(|frame| frame.len() + 2).sum();
    assert!(carried <= bytes.len(), "bytes out of nowhere");
    if intact {
        // Empty frames are skipped; what waits is less than a frame.
        let empty = bytes.windows(2).filter(|pair| *pair == [0, 0]).count() * 2;
        assert!(
            bytes.len() - carried < FRAME_MAX + 2 + empty,
            "frames were lost"
        );
    }
}

/// A packet on a data channel.
pub fn data_packet(data: &[u8]) {
    let Ok(relayed) = relay(data, SENDER, STRANGER) else {
        return;
    };
    let again = relay(&relayed.bytes, SENDER, STRANGER);
    if relayed.bytes.len() <= 64 * 1024 {
        let again = again.expect("a relayed packet is a packet");
        assert_eq!(again.sequence, relayed.sequence);
        assert_eq!(again.reaches, relayed.reaches);
    }
    let Ok(mut sent) = DataPacket::decode(data) else {
        // No reader understands it: the fields that are not ours passed as they were.
        return;
    };
    assert_eq!(relayed.sequence, sent.sequence, "another number");
    let named = names_somebody(&sent);
    let mentioned = [STRANGER.0, STRANGER.1]
        .iter()
        .any(|name| contains(data, name.as_bytes()));
    if named && !mentioned {
        assert!(!relayed.reaches, "told to somebody it is not for");
    }
    // All is as it was, but for the sender.
    SENDER.0.clone_into(&mut sent.participant_identity);
    SENDER.1.clone_into(&mut sent.participant_sid);
    #[expect(deprecated, reason = "clients read these as well")]
    if let Some(Value::User(user)) = &mut sent.value {
        SENDER.0.clone_into(&mut user.participant_identity);
        SENDER.1.clone_into(&mut user.participant_sid);
    }
    let got = DataPacket::decode(relayed.bytes.as_slice()).expect("relayed");
    assert_eq!(format!("{got:?}"), format!("{sent:?}"));
}

#[expect(deprecated, reason = "clients write these as well")]
fn names_somebody(packet: &DataPacket) -> bool {
    let in_user = match &packet.value {
        Some(Value::User(user)) => {
            !user.destination_identities.is_empty() || !user.destination_sids.is_empty()
        }
        _ => false,
    };
    in_user || !packet.destination_identities.is_empty()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Payloads and dependency descriptors as all codecs read them, for one receiver whose wishes change.
pub fn payloads(data: &[u8]) {
    let forwarded = payload::parse_all(data);
    // A packet takes two bytes besides its own, and is read by each of four codecs.
    assert!(forwarded <= 4 * (data.len() / 2));
    assert_eq!(forwarded, payload::parse_all(data), "chance decides");
}
