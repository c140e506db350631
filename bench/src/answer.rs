//! Reading and checking answers.

use crate::rooms::{ACCEPT, Room};
use bytes::{Buf as _, BytesMut};

/// What every origin says, up to its number.
pub(crate) const GREETING: &str = "hello from s";
/// The header with an origin's number in the answer to a handshake.
pub(crate) const ORIGIN_HEADER: &str = "x-origin";
/// Most header fields of an answer. Origins send few and proxies add few.
const FIELDS_MAX: usize = 32;

/// The head of an answer, with what of it matters here.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    bytes: usize,
    body: Option<usize>,
    origin: Option<u8>,
    accepted: bool,
    closes: bool,
}

/// Whether the connection takes another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Stay,
    Close,
}

/// Takes the answer to a request out of `buffer`; `None` if it is not complete.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn take_greeting(buffer: &mut BytesMut, room: &Room) -> Result<Option<Then>, String> {
    let Some(head) = parse(buffer)? else {
        return Ok(None);
    };
    if head.status != 200 {
        return Err(format!("status {}", head.status));
    }
    let length = head.body.ok_or("an answer without a length")?;
    let Some(body) = buffer.get(head.bytes..head.bytes + length) else {
        return Ok(None);
    };
    let origin = match body.strip_prefix(GREETING.as_bytes()) {
        Some([digit @ b'1'..=b'9']) => digit - b'0',
        _ => return Err(format!("a wrong body: {}", String::from_utf8_lossy(body))),
    };
    buffer.advance(head.bytes + length);
    nothing_left(buffer)?;
    room.seen_at(origin)?;
    let then = if head.closes { Then::Close } else { Then::Stay };
    Ok(Some(then))
}

/// Takes the answer to a handshake out of `buffer`; false if it is not complete.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn take_acceptance(buffer: &mut BytesMut, room: &Room) -> Result<bool, String> {
    let Some(head) = parse(buffer)? else {
        return Ok(false);
    };
    if head.status != 101 {
        return Err(format!("status {} to a handshake", head.status));
    }
    if !head.accepted {
        return Err("a 101 with a wrong Sec-WebSocket-Accept".to_owned());
    }
    let origin = head.origin.ok_or("a 101 that is not an origin's")?;
    buffer.advance(head.bytes);
    nothing_left(buffer)?;
    room.seen_at(origin)?;
    Ok(true)
}

fn nothing_left(buffer: &BytesMut) -> Result<(), String> {
    match buffer.len() {
        0 => Ok(()),
        more => Err(format!("{more} bytes behind the answer")),
    }
}

fn parse(bytes: &[u8]) -> Result<Option<Head>, String> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut fields);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(format!("no HTTP answer: {error}")),
    };
    let mut head = Head {
        status: parsed.code.unwrap_or_default(),
        bytes: length,
        body: None,
        origin: None,
        accepted: false,
        closes: false,
    };
    for field in parsed.headers.iter() {
        let value = std::str::from_utf8(field.value).unwrap_or_default();
        if field.name.eq_ignore_ascii_case("content-length") {
            head.body = value.parse().ok();
        } else if field.name.eq_ignore_ascii_case(ORIGIN_HEADER) {
            head.origin = value.parse().ok();
        } else if field.name.eq_ignore_ascii_case("sec-websocket-accept") {
            head.accepted = value == ACCEPT;
        } else if field.name.eq_ignore_ascii_case("connection") {
            head.closes = value.eq_ignore_ascii_case("close");
        }
    }
    Ok(Some(head))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rooms::Rooms;

    fn take(text: &str) -> Result<Option<Then>, String> {
        let rooms = Rooms::new();
        take_greeting(&mut BytesMut::from(text), rooms.get(0).unwrap())
    }

    #[test]
    fn an_answer_is_taken_when_it_is_complete() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nhello from s2";
        assert_eq!(take(text), Ok(Some(Then::Stay)));
        for end in 0..text.len() {
            assert_eq!(take(&text[..end]), Ok(None), "{end}");
        }
        let last = text.replace("Content", "Connection: close\r\nContent");
        assert_eq!(take(&last), Ok(Some(Then::Close)));
    }

    #[test]
    fn wrong_answers_are_errors() {
        for (text, why) in [
            ("HTTP/1.1 503 No\r\n\r\n", "status 503"),
            ("HTTP/1.1 200 OK\r\n\r\nhello from s2", "without a length"),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong",
                "wrong body",
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\nhello from s2x",
                "1 bytes behind",
            ),
            ("SSH-2.0\r\n\r\n", "no HTTP answer"),
        ] {
            let error = take(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn a_handshake_needs_the_right_acceptance_and_an_origin() {
        let take = |text: &str| {
            let rooms = Rooms::new();
            take_acceptance(&mut BytesMut::from(text), rooms.get(0).unwrap())
        };
        let right = format!(
            "HTTP/1.1 101 Switching\r\nSec-WebSocket-Accept: {ACCEPT}\r\nX-Origin: 1\r\n\r\n"
        );
        assert_eq!(take(&right), Ok(true));
        assert_eq!(take(&right[..30]), Ok(false));
        assert!(take(&right.replace("+xOo", "+xOO")).is_err());
        assert!(take(&right.replace("X-Origin", "X-Other")).is_err());
        assert!(take(&format!("{right}x")).is_err());
        assert!(take("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").is_err());
    }
}
