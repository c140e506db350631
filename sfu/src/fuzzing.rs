//! Doors for the fuzz targets into parsers that are private. No stable interface.

pub use crate::engine::fuzzing::{RelayedPacket, relay};

use crate::framing::{Decoder, encode};
use bytes::BytesMut;

/// Frames of an RFC 4571 stream that arrives in these pieces; `false` if it had to be given up.
pub fn frames(pieces: &[&[u8]]) -> (Vec<Vec<u8>>, bool) {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    for piece in pieces {
        decoder.buffer().extend_from_slice(piece);
        loop {
            match decoder.poll_frame() {
                Ok(Some(frame)) => frames.push(frame.to_vec()),
                Ok(None) => break,
                Err(_) => return (frames, false),
            }
        }
    }
    (frames, true)
}

/// The RFC 4571 stream of these frames; those that fit none are left out.
pub fn stream(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut out = BytesMut::new();
    for frame in frames {
        encode(frame, &mut out);
    }
    out.to_vec()
}
