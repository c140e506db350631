//! Small parsers of the media path: stream framing, data packets, VP8 descriptors.

use crate::records;
use livekit_protocol::DataPacket;
use livekit_protocol::data_packet::Value;
use prost::Message as _;
use sfu::fuzzing::{frames, relay, rewrite_vp8, stream};

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

/// VP8 payloads of one forwarded stream, as records; an odd flag starts a new source.
pub fn vp8_descriptors(data: &[u8]) {
    let records = records(data);
    let payloads: Vec<(bool, &[u8])> = records
        .iter()
        .map(|(flags, payload)| (flags & 1 == 1, *payload))
        .collect();
    let rewritten = rewrite_vp8(&payloads);
    assert_eq!(rewritten.len(), payloads.len());
    let second = payloads
        .iter()
        .enumerate()
        .filter(|(_, (switch, _))| *switch)
        .nth(1);
    // Nothing precedes the first source: payloads before the first switch belong to none.
    if payloads.first().is_some_and(|(switch, _)| *switch) {
        let untouched = second.map_or(payloads.len(), |(at, _)| at);
        assert!(
            !rewritten.iter().take(untouched).any(|done| *done),
            "the first source changed"
        );
    }
    let empty = payloads
        .iter()
        .zip(rewritten)
        .filter(|((_, payload), _)| payload.is_empty());
    for (_, done) in empty {
        assert!(!done, "nothing was rewritten");
    }
}
