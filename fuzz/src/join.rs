//! Join parameters: bounded whatever they inflate to, and the same in every encoding.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use flate2::Compression as Level;
use flate2::write::GzEncoder;
use livekit_protocol::WrappedJoinRequest;
use livekit_protocol::wrapped_join_request::Compression;
use prost::Message as _;
use proto::media::PeerMode;
use shard::fuzzing::{JoinParameters, join_parameters as read};
use std::io::Write as _;

/// What a join request may inflate to, bytes.
const INFLATED_MAX: usize = 1024 * 1024;

/// A query; the contents of `join_request` before base64; a `JoinRequest`; a gzip stream.
pub fn join_parameters(data: &[u8]) {
    if let Ok(query) = std::str::from_utf8(data) {
        for mode in [PeerMode::Single, PeerMode::Dual] {
            checked(read(mode, query));
        }
    }
    join_request(data);
    join_request(&wrapped(Compression::Gzip, data.to_vec()));

    let plain = join_request(&wrapped(Compression::None, data.to_vec()));
    let zipped = join_request(&wrapped(Compression::Gzip, gzip(data)));
    match (plain, zipped) {
        (Some(plain), Some(zipped)) => assert_eq!(plain, zipped, "compression changes the request"),
        // Too long in one form only.
        (None, Some(_)) => assert!(data.len() > 128 * 1024),
        (Some(_), None) => panic!("compression loses the request"),
        (None, None) => {}
    }
}

/// Reads a wrapped request in each base64; `None` if it is refused.
fn join_request(wrapped: &[u8]) -> Option<String> {
    let mut results = [
        URL_SAFE_NO_PAD.encode(wrapped),
        URL_SAFE.encode(wrapped),
        STANDARD.encode(wrapped),
        STANDARD
            .encode(wrapped)
            .replace('+', "%2B")
            .replace('/', "%2F"),
    ]
    .map(|encoded| checked(read(PeerMode::Single, &format!("join_request={encoded}"))));
    assert!(
        results.iter().all(|other| *other == results[0]),
        "the alphabet matters"
    );
    results[0].take()
}

/// What was read, as text; `None` if it was refused.
fn checked(result: Result<JoinParameters, (u16, String)>) -> Option<String> {
    match result {
        Ok(params) => {
            assert!(params.add_tracks.len() <= 64, "too many tracks");
            let offer = params.offer.as_ref().map_or(0, |offer| offer.sdp.len());
            let attributes = params
                .attributes
                .iter()
                .map(|(key, value)| key.len() + value.len());
            let size = offer + params.metadata.len() + attributes.sum::<usize>();
            assert!(size <= INFLATED_MAX, "{size} bytes came out");
            Some(format!("{params:?}"))
        }
        Err((status, cause)) => {
            assert_eq!(status, 400, "{cause}");
            assert!(!cause.is_empty());
            None
        }
    }
}

fn wrapped(compression: Compression, join_request: Vec<u8>) -> Vec<u8> {
    WrappedJoinRequest {
        compression: compression.into(),
        join_request,
    }
    .encode_to_vec()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Level::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}
