//! One handshake with a shard: connect, or wait for it; ask, read the head of the answer, follow one
//! 421.
//!
//! Each step has its own limit, so that a shard that hangs is a quick 503 and not a client that
//! waits for the idle time of a WebSocket.

use crate::answer::head_to_wire;
use crate::config::UpstreamConfig;
use crate::farewell;
use crate::forward::{prepare_answer, prepare_request};
use crate::journey::{Journey, REDIRECT};
use crate::snapshot::Upstream;
use crate::way::Shared;
use bytes::{Buf as _, BytesMut};
use http::{StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Stream;
use pingora::protocols::http::v1::client::http_req_header_to_wire;
use pingora::{Error, ErrorType, OrErr as _, Result};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Most bytes of a shard's answer before its body. Shards send some hundred.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Most header fields of a shard's answer.
const FIELDS_MAX: usize = 64;
/// How much is read at once.
const READ_BYTES: usize = 4 * 1024;
/// Headers of one connection only (RFC 9110 section 7.6.1): the client's end here.
const HOP_BY_HOP: [&str; 3] = ["keep-alive", "proxy-connection", "http2-settings"];

/// Where a request came from.
pub(super) struct Origin {
    /// The client's IP address.
    pub(super) client: String,
    tls: bool,
}

impl Origin {
    pub(super) fn of(stream: &Stream) -> Self {
        let socket = stream.get_socket_digest();
        let peer = socket.as_ref().and_then(|digest| digest.peer_addr());
        let address = peer.and_then(|address| address.as_inet());
        Self {
            client: address
                .map_or_else(|| "unknown".to_owned(), |address| address.ip().to_string()),
            tls: stream.get_ssl_digest().is_some(),
        }
    }
}

/// A shard's answer, up to its head.
pub(super) struct ShardAnswer {
    pub(super) head: ResponseHeader,
    /// What came behind the head.
    pub(super) rest: BytesMut,
    pub(super) stream: TcpStream,
}

/// Asks the shard of this journey and, if that one names another owner, the owner.
pub(super) async fn ask(
    shared: &Shared,
    journey: &mut Journey,
    request: &RequestHeader,
    origin: &Origin,
) -> Result<ShardAnswer> {
    loop {
        let stream = reach(shared, journey, request).await?;
        let answer = ask_once(shared, journey, request, origin, stream).await?;
        let misdirected = answer.head.status == StatusCode::MISDIRECTED_REQUEST;
        if !misdirected || journey.room.is_none() {
            shared.learn(journey, answer.head.status);
            return Ok(answer);
        }
        let error = shared.redirect(journey, &answer.head);
        if *error.etype() != REDIRECT {
            return Err(error);
        }
    }
}

/// Connects to the shard of this journey, which may become another one while it waits.
async fn reach(
    shared: &Shared,
    journey: &mut Journey,
    request: &RequestHeader,
) -> Result<TcpStream> {
    loop {
        let shard = journey.shard.as_ref();
        let upstream = shard.and_then(|shard| journey.settings.upstreams.get(shard));
        let upstream = upstream.ok_or_else(|| Error::new_in(ErrorType::HTTPStatus(503)))?;
        match connect(upstream, journey.connect_limit()).await {
            Ok(stream) => {
                shared.reached(journey);
                return Ok(stream);
            }
            Err(error) => shared.hold(request, journey, error).await?,
        }
    }
}

async fn ask_once(
    shared: &Shared,
    journey: &mut Journey,
    request: &RequestHeader,
    origin: &Origin,
    mut stream: TcpStream,
) -> Result<ShardAnswer> {
    let Some(shard) = journey.shard.clone() else {
        return Err(Error::new_in(ErrorType::HTTPStatus(503)));
    };
    let mut head = request.clone();
    for name in HOP_BY_HOP {
        head.remove_header(name);
    }
    let context = shared.context(journey, &shard, &origin.client);
    let trace = journey.trace.asks(&shard);
    prepare_request(&mut head, &context, &origin.client, origin.tls, trace)?;
    let malformed = || Error::new_down(ErrorType::InvalidHTTPHeader);
    let wire = http_req_header_to_wire(&head).ok_or_else(malformed)?;

    let exchange = async {
        let sent = stream.write_all(&wire).await;
        sent.or_err(ErrorType::WriteError, "to the shard")?;
        read_head(&mut stream).await
    };
    let limit = Duration::from_millis(journey.settings.timeouts.answer_timeout_ms);
    // A shard that stands still keeps its connections. The client is sent away as soon as its next
    // try has somewhere to go; what became of this one is unknown.
    let answer = tokio::select! {
        biased;
        answer = timeout(limit, exchange) => answer.ok(),
        () = shared.life_is_over(&shard) => None,
    };
    match answer {
        Some(Ok((head, rest))) => Ok(ShardAnswer { head, rest, stream }),
        Some(Err(error)) => Err(error.into_up()),
        None => Err(Error::new_up(ErrorType::ReadTimedout)),
    }
}

async fn connect(upstream: &Upstream, limit: Duration) -> Result<TcpStream> {
    let connected = async {
        let stream = TcpStream::connect(upstream.resolve().await?).await?;
        stream.set_nodelay(true)?;
        Ok::<_, io::Error>(stream)
    };
    match timeout(limit, connected).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => {
            let etype = match error.kind() {
                io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
                _ => ErrorType::ConnectError,
            };
            Err(Error::because(etype, "the shard", error).into_up())
        }
        Err(_) => Err(Error::new_up(ErrorType::ConnectTimedout)),
    }
}

/// Reads until the head of the final answer is complete.
async fn read_head(stream: &mut TcpStream) -> Result<(ResponseHeader, BytesMut)> {
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    loop {
        while let Some((head, length)) = parse(&buffer)? {
            buffer.advance(length);
            // Informational answers (RFC 9110 section 15.2) are not the answer.
            if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok((head, buffer));
            }
        }
        if buffer.len() > HEAD_BYTES_MAX {
            let why = "the head of the answer is too large";
            return Error::e_explain(ErrorType::InvalidHTTPHeader, why);
        }
        buffer.reserve(READ_BYTES);
        let read = stream.read_buf(&mut buffer).await;
        if read.or_err(ErrorType::ReadError, "from the shard")? == 0 {
            return Error::e_explain(ErrorType::ConnectionClosed, "before an answer");
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Option<(ResponseHeader, usize)>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut fields);
    let status = parsed.parse(bytes);
    let status = status.or_err(ErrorType::InvalidHTTPHeader, "the shard's answer")?;
    let httparse::Status::Complete(length) = status else {
        return Ok(None);
    };
    let count = parsed.headers.len();
    let mut head = ResponseHeader::build(parsed.code.unwrap_or_default(), Some(count + 1))?;
    for field in parsed.headers.iter() {
        head.append_header(field.name.to_owned(), field.value)?;
    }
    Ok(Some((head, length)))
}

/// Forwards an answer that opens no WebSocket, and ends the connection. The body ends where its
/// length says so, or with the shard's connection; it may be silent no longer than the head.
pub(super) async fn pass_on(
    client: &mut Stream,
    answer: ShardAnswer,
    announced: Option<&str>,
    timeouts: &UpstreamConfig,
) -> Result<()> {
    let ShardAnswer {
        mut head,
        mut rest,
        mut stream,
    } = answer;
    let mut missing = body_length(&head);
    prepare_answer(&mut head, announced)?;
    head.insert_header(header::CONNECTION, "close")?;
    head.remove_header("keep-alive");
    let write = Duration::from_millis(timeouts.write_timeout_ms);
    super::send(client, &head_to_wire(&head), write).await?;
    let silence = Duration::from_millis(timeouts.answer_timeout_ms);
    let body = async {
        loop {
            rest.truncate(usize::try_from(missing).unwrap_or(usize::MAX));
            super::send(client, &rest, write).await?;
            missing = missing.saturating_sub(u64::try_from(rest.len()).unwrap_or(u64::MAX));
            if missing == 0 {
                return Ok(());
            }
            rest.clear();
            rest.reserve(READ_BYTES);
            match timeout(silence, stream.read_buf(&mut rest)).await {
                Ok(Ok(0)) => return Ok(()),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    return Err(Error::because(ErrorType::ReadError, "the body", error).into_up());
                }
                Err(_) => return Err(Error::new_up(ErrorType::ReadTimedout)),
            }
        }
    };
    let limit = Duration::from_millis(timeouts.read_timeout_ms);
    let result = timeout(limit, body).await;
    farewell::close(client).await;
    result.unwrap_or_else(|_| Err(Error::new_up(ErrorType::ReadTimedout)))
}

/// Bytes of the body; without a length it ends with the connection.
fn body_length(head: &ResponseHeader) -> u64 {
    if matches!(
        head.status,
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
    ) {
        return 0;
    }
    let length = head.headers.get(header::CONTENT_LENGTH);
    length
        .and_then(|length| length.to_str().ok()?.parse().ok())
        .unwrap_or(u64::MAX)
}
