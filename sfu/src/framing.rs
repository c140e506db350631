//! Datagrams on a byte stream: a 16 bit big-endian length before each (RFC 4571 section 2, used by
//! ICE-TCP, RFC 6544). Pure: bytes in, frames out.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use thiserror::Error;

/// Bytes of the length field.
const HEADER_BYTES: usize = 2;
/// Longest frame taken. Peers send what would fit a datagram on the internet (1200 to 1500 bytes);
/// a longer announcement is no WebRTC peer, and waiting for 64 KiB of it would only cost memory.
pub(crate) const FRAME_BYTES_MAX: usize = 2048;

/// Why a stream cannot be read on: its frame borders are lost, so it must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a frame of {0} bytes was announced, {FRAME_BYTES_MAX} are allowed: not a WebRTC peer")]
pub(crate) struct FrameTooLong(pub(crate) usize);

/// Cuts a byte stream into frames.
///
/// Read into [`Decoder::buffer`], then call [`Decoder::poll_frame`] until it has no more: what stays
/// buffered after that is less than one frame.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    buffer: BytesMut,
}

impl Decoder {
    /// Where the next bytes of the stream are appended. Has room for at least a frame.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        self.buffer.reserve(HEADER_BYTES + FRAME_BYTES_MAX);
        &mut self.buffer
    }

    /// The next complete frame. Empty frames carry nothing (RFC 4571 section 2) and are skipped.
    pub(crate) fn poll_frame(&mut self) -> Result<Option<Bytes>, FrameTooLong> {
        loop {
            let Some(&[high, low]) = self.buffer.first_chunk::<HEADER_BYTES>() else {
                return Ok(None);
            };
            let length = usize::from(u16::from_be_bytes([high, low]));
            if length > FRAME_BYTES_MAX {
                return Err(FrameTooLong(length));
            }
            if self.buffer.len() < HEADER_BYTES + length {
                return Ok(None);
            }
            self.buffer.advance(HEADER_BYTES);
            let frame = self.buffer.split_to(length).freeze();
            if !frame.is_empty() {
                return Ok(Some(frame));
            }
        }
    }
}

/// Appends `contents` as one frame. False if it is too long for one: nothing is appended then.
pub(crate) fn encode(contents: &[u8], out: &mut BytesMut) -> bool {
    let Ok(length) = u16::try_from(contents.len()) else {
        return false;
    };
    out.reserve(HEADER_BYTES + contents.len());
    out.put_u16(length);
    out.put_slice(contents);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds the pieces one by one, taking all frames after each.
    fn decode(pieces: &[&[u8]]) -> Result<Vec<Vec<u8>>, FrameTooLong> {
        let mut decoder = Decoder::default();
        let mut frames = Vec::new();
        for piece in pieces {
            decoder.buffer().extend_from_slice(piece);
            while let Some(frame) = decoder.poll_frame()? {
                frames.push(frame.to_vec());
            }
        }
        Ok(frames)
    }

    #[test]
    fn frames_come_out_whole_wherever_the_stream_is_split() {
        let stream = [0, 3, 1, 2, 3, 0, 0, 0, 1, 9];
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
                assert_eq!(decode(&pieces), Ok(vec![vec![1, 2, 3], vec![9]]));
            }
        }
    }

    #[test]
    fn a_frame_that_is_announced_too_long_ends_the_stream_before_it_is_buffered() {
        assert_eq!(decode(&[&[0x08, 0x01]]), Err(FrameTooLong(2049)));
        assert_eq!(decode(&[&[0xff, 0xff]]), Err(FrameTooLong(65535)));
        assert_eq!(decode(&[b"GET / HTTP/1.1\r\n"]), Err(FrameTooLong(0x4745)));
        // TLS and SSH greetings on the wrong port.
        assert_eq!(decode(&[&[0x16, 3, 1, 2]]), Err(FrameTooLong(0x1603)));
        assert_eq!(decode(&[b"SSH-2.0-x\r\n"]), Err(FrameTooLong(0x5353)));
    }

    #[test]
    fn the_longest_frame_passes() {
        let mut stream = BytesMut::new();
        assert!(encode(&[7; FRAME_BYTES_MAX], &mut stream));
        assert_eq!(decode(&[&stream]), Ok(vec![vec![7; FRAME_BYTES_MAX]]));
    }

    #[test]
    fn what_does_not_fit_a_length_field_is_not_encoded() {
        let mut stream = BytesMut::new();
        assert!(!encode(&[0; 65536], &mut stream));
        assert!(stream.is_empty());
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_from_any_pieces(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
            piece in 1_usize..50,
        ) {
            let mut stream = BytesMut::new();
            for frame in &frames {
                prop_assert!(encode(frame, &mut stream));
            }
            let pieces: Vec<&[u8]> = stream.chunks(piece).collect();
            prop_assert_eq!(decode(&pieces), Ok(frames));
        }

        #[test]
        fn hostile_bytes_never_buffer_more_than_a_frame(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..60),
        ) {
            let mut decoder = Decoder::default();
            for piece in &pieces {
                decoder.buffer().extend_from_slice(piece);
                let open = loop {
                    match decoder.poll_frame() {
                        Ok(Some(frame)) => prop_assert!(!frame.is_empty()),
                        Ok(None) => break true,
                        Err(_) => break false,
                    }
                };
                if !open {
                    break;
                }
                prop_assert!(decoder.buffer.len() < HEADER_BYTES + FRAME_BYTES_MAX);
            }
        }
    }
}
