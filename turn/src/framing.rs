//! Messages in a stream: each says its length itself (RFC 8489 section 6.2.2, RFC 8656 section 12.5).

use crate::core::wire::{MESSAGE_BYTES_MAX, SHORT_HEADER_BYTES, STUN_HEADER_BYTES};
use thiserror::Error;

/// A stream that is none of ours, or whose borders are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum FramingError {
    /// Neither STUN nor channel data.
    #[error("no message begins here")]
    NoMessage,
    /// Longer than is read.
    #[error("a message of {0} bytes")]
    TooLong(usize),
}

/// Cuts a stream into messages.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    bytes: Vec<u8>,
}

impl Decoder {
    /// Takes what was read. Call [`Decoder::poll_message`] until it gives nothing, so that no more than
    /// a message and a read wait here.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message, with its padding.
    pub(crate) fn poll_message(&mut self) -> Result<Option<Vec<u8>>, FramingError> {
        let Some(length) = length_of(&self.bytes)? else {
            return Ok(None);
        };
        if self.bytes.len() < length {
            return Ok(None);
        }
        Ok(Some(self.bytes.drain(..length).collect()))
    }
}

/// Length of the message that begins here, as far as can be told.
fn length_of(bytes: &[u8]) -> Result<Option<usize>, FramingError> {
    let Some(first) = bytes.first() else {
        return Ok(None);
    };
    let kind = first >> 6;
    if kind > 1 {
        return Err(FramingError::NoMessage);
    }
    let Some([_, _, high, low]) = bytes.first_chunk::<SHORT_HEADER_BYTES>() else {
        return Ok(None);
    };
    let body = usize::from(u16::from_be_bytes([*high, *low]));
    let length = match kind {
        0 => STUN_HEADER_BYTES + body,
        _ => SHORT_HEADER_BYTES + body.next_multiple_of(4),
    };
    if length > MESSAGE_BYTES_MAX {
        return Err(FramingError::TooLong(length));
    }
    Ok(Some(length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stun(body: usize) -> Vec<u8> {
        let mut bytes = vec![0, 1];
        bytes.extend(u16::try_from(body).unwrap().to_be_bytes());
        bytes.resize(STUN_HEADER_BYTES + body, 7);
        bytes
    }

    fn channel(body: usize) -> Vec<u8> {
        let mut bytes = vec![0x40, 0];
        bytes.extend(u16::try_from(body).unwrap().to_be_bytes());
        bytes.resize(SHORT_HEADER_BYTES + body.next_multiple_of(4), 7);
        bytes
    }

    #[test]
    fn what_is_no_turn_ends_the_stream() {
        for first in [b"GET / HTTP/1.1\r\n".as_slice(), &[0x80; 8], &[0xff]] {
            let mut decoder = Decoder::default();
            decoder.push(first);
            let error = decoder.poll_message().unwrap_err();
            let is_get = first.starts_with(b"GET");
            assert!(is_get || error == FramingError::NoMessage, "{error}");
        }
        let mut decoder = Decoder::default();
        decoder.push(&stun(MESSAGE_BYTES_MAX));
        let length = MESSAGE_BYTES_MAX + STUN_HEADER_BYTES;
        assert_eq!(decoder.poll_message(), Err(FramingError::TooLong(length)));
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in_however_they_are_cut(
            bodies in proptest::collection::vec((any::<bool>(), 0usize..300), 1..10),
            cuts in proptest::collection::vec(1usize..50, 1..20),
        ) {
            let make = |(is_stun, body): (bool, usize)| if is_stun { stun(body) } else { channel(body) };
            let messages: Vec<Vec<u8>> = bodies.into_iter().map(make).collect();
            let stream = messages.concat();
            let (mut rest, mut found, mut decoder) = (stream.as_slice(), Vec::new(), Decoder::default());
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                decoder.push(now);
                while let Some(message) = decoder.poll_message().unwrap() {
                    found.push(message);
                }
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(found, messages);
        }

        #[test]
        fn no_stream_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.poll_message() {}
        }
    }
}
