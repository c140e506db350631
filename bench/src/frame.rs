//! WebSocket frames (RFC 6455 section 5.2), unfragmented, without extensions.

use bytes::{Buf as _, BufMut as _, BytesMut};

/// The mask of all frames of clients. Proxies do not look.
const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
/// FIN and "binary".
const BINARY: u8 = 0x82;
/// Bytes of a message that number it.
pub(crate) const NUMBER_BYTES: usize = 8;
/// Longest payload that an origin takes, bytes. The longest that is sent here is some KB.
const PAYLOAD_MAX: usize = 1 << 20;

/// The opcode of a closing frame (RFC 6455 section 5.5.1).
pub(crate) const CLOSE: u8 = 8;

/// A message and its echo, with a new number each time.
pub(crate) struct Ping {
    number: u64,
    /// The message, masked.
    pub(crate) sent: Vec<u8>,
    /// The echo, which is not.
    pub(crate) expected: Vec<u8>,
    sent_at: usize,
    expected_at: usize,
}

impl Ping {
    /// A message of `length` bytes, at least 8.
    pub(crate) fn new(length: usize) -> Self {
        let length = length.max(NUMBER_BYTES);
        let payload: Vec<u8> = (b'a'..=b'z').cycle().take(length).collect();
        let (mut sent, mut expected) = (BytesMut::new(), BytesMut::new());
        put_header(&mut sent, BINARY, length, Some(MASK));
        let sent_at = sent.len();
        sent.extend(payload.iter().zip(MASK.iter().cycle()).map(|(a, b)| a ^ b));
        put_header(&mut expected, BINARY, length, None);
        let expected_at = expected.len();
        expected.extend_from_slice(&payload);
        Self {
            number: 0,
            sent: sent.to_vec(),
            expected: expected.to_vec(),
            sent_at,
            expected_at,
        }
    }

    /// The next message.
    pub(crate) fn next(&mut self) {
        self.number += 1;
        let number = self.number.to_be_bytes();
        let places = self.sent.iter_mut().skip(self.sent_at);
        for ((place, byte), mask) in places.zip(number).zip(MASK.iter().cycle()) {
            *place = byte ^ mask;
        }
        let places = self.expected.iter_mut().skip(self.expected_at);
        for (place, byte) in places.zip(number) {
            *place = byte;
        }
    }
}

fn put_header(out: &mut BytesMut, first: u8, length: usize, mask: Option<[u8; 4]>) {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    out.put_u8(first);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..=125), _) => out.put_u8(masked | short),
        (_, Ok(medium)) => {
            out.put_u8(masked | 126);
            out.put_u16(medium);
        }
        _ => {
            out.put_u8(masked | 127);
            out.put_u64(length as u64);
        }
    }
    if let Some(mask) = mask {
        out.extend_from_slice(&mask);
    }
}

/// Takes one frame of a client out of `input` and puts its echo into `output`. The opcode, or `None`
/// if the frame is not complete.
///
/// # Errors
/// Why it is none of ours.
pub(crate) fn echo(
    input: &mut BytesMut,
    output: &mut BytesMut,
) -> Result<Option<u8>, &'static str> {
    let [first, second, ..] = input[..] else {
        return Ok(None);
    };
    if second & 0x80 == 0 {
        return Err("a frame without a mask");
    }
    let after = input.get(2..).unwrap_or_default();
    let (length, header) = match (second & 0x7f, after) {
        (126, [a, b, ..]) => (usize::from(u16::from_be_bytes([*a, *b])), 4),
        (127, [a, b, c, d, e, f, g, h, ..]) => {
            let length = u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
            (usize::try_from(length).unwrap_or(usize::MAX), 10)
        }
        (126 | 127, _) => return Ok(None),
        (short, _) => (usize::from(short), 2),
    };
    if length > PAYLOAD_MAX {
        return Err("a frame that is too long");
    }
    let all = header + MASK.len() + length;
    let Some(masked) = input.get(header..all) else {
        return Ok(None);
    };
    let (mask, payload) = masked.split_at(MASK.len());
    put_header(output, first, length, None);
    output.extend(payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
    input.advance(all);
    Ok(Some(first & 0x0f))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_echo_of_a_ping_is_what_it_expects_however_long_it_is() {
        for length in [8, 100, 125, 126, 2048, 65_535, 65_536] {
            let mut ping = Ping::new(length);
            for _ in 0..3 {
                let before = ping.expected.clone();
                ping.next();
                assert_ne!(ping.expected, before, "each message is another one");
                let (mut input, mut output) = (BytesMut::from(&ping.sent[..]), BytesMut::new());
                assert_eq!(echo(&mut input, &mut output), Ok(Some(2)));
                assert_eq!(output, ping.expected);
                assert!(input.is_empty());
            }
        }
    }

    #[test]
    fn an_incomplete_frame_is_waited_for_and_a_bare_one_refused() {
        let ping = Ping::new(200);
        for end in 0..ping.sent.len() {
            let mut input = BytesMut::from(&ping.sent[..end]);
            assert_eq!(echo(&mut input, &mut BytesMut::new()), Ok(None), "{end}");
            assert_eq!(input.len(), end);
        }
        let mut bare = BytesMut::from(&ping.expected[..]);
        assert!(echo(&mut bare, &mut BytesMut::new()).is_err());
    }
}
