//! Doors for the fuzz harness: the parsers of foreign bytes, which are private otherwise.

use crate::framing::Decoder;

/// A datagram, or one message of a stream.
pub fn read_message(bytes: &[u8]) -> bool {
    crate::core::wire::read(bytes).is_some()
}

/// A stream in two pieces; returns how many messages came out.
pub fn read_stream(first: &[u8], second: &[u8]) -> usize {
    let mut decoder = Decoder::default();
    let mut count = 0;
    for piece in [first, second] {
        decoder.push(piece);
        while let Ok(Some(message)) = decoder.poll_message() {
            count += usize::from(read_message(&message));
        }
    }
    count
}
