//! Answers that the gateway makes itself: plain text, never with anything secret in it.

use affinity::ShardId;
use bytes::{BufMut as _, Bytes, BytesMut};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use proto::context::SHARD_HEADER;

/// What a client should wait before it tries again, seconds.
const RETRY_AFTER_S: u64 = 1;
/// How long a browser may remember that scripts of other origins are welcome, seconds.
const PREFLIGHT_AGE_S: u64 = 86_400;

/// An answer to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    /// For the client's developer.
    pub(crate) text: &'a str,
    /// The shard that it is about, if it is to be announced.
    pub(crate) shard: Option<&'a ShardId>,
    /// Whether scripts of other origins may read it.
    pub(crate) cross_origin: bool,
}

impl Answer<'_> {
    /// Sends it. The connection is closed afterwards, since the request's body was not read.
    pub(crate) async fn send(&self, session: &mut Session) -> pingora::Result<()> {
        let head = self.head()?;
        let body = if session.req_header().method == http::Method::HEAD {
            Bytes::new()
        } else {
            Bytes::from(self.body())
        };
        session.as_mut().write_error_response(head, body).await
    }

    /// The whole answer to a GET in the form of HTTP/1.1, for a connection that is then closed.
    pub(crate) fn to_wire(&self) -> pingora::Result<BytesMut> {
        let mut head = self.head()?;
        head.insert_header("connection", "close")?;
        let mut wire = head_to_wire(&head);
        wire.extend_from_slice(self.body().as_bytes());
        Ok(wire)
    }

    fn body(&self) -> String {
        format!("{}\n", self.text)
    }

    fn head(&self) -> pingora::Result<ResponseHeader> {
        let mut head = ResponseHeader::build(self.status, Some(9))?;
        head.insert_header("content-type", "text/plain; charset=utf-8")?;
        head.insert_header("x-content-type-options", "nosniff")?;
        head.insert_header("content-length", self.body().len())?;
        head.insert_header("cache-control", "no-store")?;
        if self.status == 503 {
            head.insert_header("retry-after", RETRY_AFTER_S)?;
        }
        self.add_common(&mut head)?;
        Ok(head)
    }

    /// Says to a browser that scripts of other origins may ask (Fetch standard, CORS preflight).
    /// `offers`: WHIP and WHEP clients may post offers there.
    pub(crate) async fn send_preflight(
        &self,
        session: &mut Session,
        offers: bool,
    ) -> pingora::Result<()> {
        let mut head = ResponseHeader::build(204, Some(7))?;
        if offers {
            head.insert_header("accept-post", "application/sdp")?;
        }
        head.insert_header(
            "access-control-allow-methods",
            "GET, HEAD, POST, PATCH, DELETE, OPTIONS",
        )?;
        head.insert_header(
            "access-control-allow-headers",
            "authorization, content-type, if-match",
        )?;
        head.insert_header("access-control-max-age", PREFLIGHT_AGE_S)?;
        self.add_common(&mut head)?;
        session.write_response_header(Box::new(head), true).await
    }

    fn add_common(&self, head: &mut ResponseHeader) -> pingora::Result<()> {
        if let Some(shard) = self.shard {
            head.insert_header(SHARD_HEADER, shard.as_str())?;
        }
        if self.cross_origin {
            head.insert_header("access-control-allow-origin", "*")?;
        }
        Ok(())
    }
}

/// The head in the form of HTTP/1.1 (RFC 9112 section 4).
pub(crate) fn head_to_wire(head: &ResponseHeader) -> BytesMut {
    let mut wire = BytesMut::with_capacity(512);
    wire.put_slice(b"HTTP/1.1 ");
    wire.put_slice(head.status.as_str().as_bytes());
    wire.put_u8(b' ');
    wire.put_slice(head.get_reason_phrase().unwrap_or_default().as_bytes());
    wire.put_slice(b"\r\n");
    head.header_to_h1_wire(&mut wire);
    wire.put_slice(b"\r\n");
    wire
}
