//! Telling a WebSocket handshake from other requests, before anything else is done with it.

use crate::admit::{Upgrade, upgrade_of};
use crate::config::HEADERS_CEILING;
use crate::framing::Lines;
use bytes::{Buf as _, BytesMut};
use http::Version;
use pingora::http::RequestHeader;
use pingora::protocols::http::authority::validate_request_authority;

const UPGRADE: &[u8] = b"upgrade:";

/// The handshake at the begin of `bytes`, which are a complete and checked head with what came
/// behind it. The head is taken away. Anything else is left alone, what is malformed too: the proxy
/// answers it.
pub(crate) fn take_handshake(bytes: &mut BytesMut) -> Option<Box<RequestHeader>> {
    let (request, length) = parse(bytes)?;
    bytes.advance(length);
    Some(request)
}

fn parse(bytes: &[u8]) -> Option<(Box<RequestHeader>, usize)> {
    // Most requests are none: one look at the begin of each line says so.
    if !mentions_upgrade(bytes) {
        return None;
    }
    let mut fields = [httparse::EMPTY_HEADER; HEADERS_CEILING];
    let mut parsed = httparse::Request::new(&mut fields);
    let Ok(httparse::Status::Complete(length)) = parsed.parse(bytes) else {
        return None;
    };
    let count = parsed.headers.len();
    let target = parsed.path?.as_bytes();
    let mut request = RequestHeader::build(parsed.method?, target, Some(count + 4)).ok()?;
    if parsed.version == Some(1) {
        request.set_version(Version::HTTP_11);
    } else {
        return None;
    }
    for field in parsed.headers.iter() {
        let name = field.name.to_owned();
        request.append_header(name, field.value).ok()?;
    }
    let usable = matches!(upgrade_of(&request), Ok(Upgrade::Http1))
        && validate_request_authority(&request).is_ok();
    usable.then(|| (Box::new(request), length))
}

fn mentions_upgrade(bytes: &[u8]) -> bool {
    Lines(bytes).skip(1).any(|line| {
        line.get(..UPGRADE.len())
            .is_some_and(|name| name.eq_ignore_ascii_case(UPGRADE))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(head: &str) -> Option<(RequestHeader, BytesMut)> {
        let mut bytes = BytesMut::from(head.as_bytes());
        let request = take_handshake(&mut bytes)?;
        Some((*request, bytes))
    }

    #[test]
    fn a_handshake_is_taken_and_what_came_behind_it_is_kept() {
        let head = "GET /rtc?a=b HTTP/1.1\r\nHost: a\r\nUpgrade: foo, WebSocket\r\n\
                    Connection: keep-alive, Upgrade\r\nX-Odd: \u{e4}\r\n\r\nearly";
        let (request, rest) = take(head).unwrap();
        assert_eq!(request.raw_path(), b"/rtc?a=b");
        assert_eq!(request.headers["host"], "a");
        assert_eq!(request.version, Version::HTTP_11);
        assert_eq!(&rest[..], b"early");
        assert!(take("\r\nGET / HTTP/1.1\nhost: a\nupgrade:websocket\n\n").is_some());
    }

    #[test]
    fn whatever_else_it_is_it_stays_untouched() {
        for head in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocketx\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\n{}",
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nUpgrade: websocket\r\n\r\n",
            "GET http://b/ HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket",
            "\u{1}\r\nUpgrade: websocket\r\n\r\n",
        ] {
            let mut bytes = BytesMut::from(head.as_bytes());
            assert!(take_handshake(&mut bytes).is_none(), "{head:?}");
            assert_eq!(bytes, head.as_bytes());
        }
    }
}
