//! WHIP and WHEP: offers made fit for a node, and ICE fragments.

use shard::fuzzing;
use std::collections::BTreeSet;

/// A participant has no more tracks.
const TRACKS_MAX: usize = 32;

/// An offer, read as a publisher's and as a viewer's.
pub fn resource_offer(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for publish in [true, false] {
        match fuzzing::resource_offer(publish, text) {
            Err(cause) => assert!(!cause.is_empty()),
            Ok((sdp, tracks)) => {
                assert_eq!(sections(&sdp), sections(text), "a section came or went");
                assert!(tracks.len() <= TRACKS_MAX && tracks.is_empty() != publish);
                let names: BTreeSet<_> = tracks.iter().map(|track| &track.cid).collect();
                assert_eq!(names.len(), tracks.len(), "two tracks of one name");
                // What a node gets means the same as what the client said.
                let again = fuzzing::resource_offer(publish, &sdp);
                assert_eq!(again, Ok((sdp, tracks)), "read otherwise the second time");
            }
        }
    }
}

fn sections(sdp: &str) -> usize {
    sdp.lines().filter(|line| line.starts_with("m=")).count()
}

/// A fragment.
pub fn ice_fragment(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(fragment) = fuzzing::ice_fragment(text) else {
        return;
    };
    assert!(fragment.candidates <= 64);
    let mut told = String::new();
    for (name, value) in [
        ("ice-ufrag", &fragment.ufrag),
        ("ice-pwd", &fragment.password),
    ] {
        if let Some(value) = value {
            assert!((4..=256).contains(&value.len()));
            told += &format!("a={name}:{value}\r\n");
        }
    }
    told += &"a=candidate:1\r\n".repeat(fragment.candidates);
    assert_eq!(fuzzing::ice_fragment(&told), Ok(fragment));
}
