//! WebSockets over HTTP/1.1 (RFC 6455), from the request head to the last byte.
//!
//! Pingora's HTTP/1.1 proxy reads the request's body, which is empty, and the shard's answer at the
//! same time. If the 101 comes first, it takes the end of that body for the end of the tunnel, and
//! one join in some hundreds under load ends with its handshake. Here the 101 comes first, always.
//!
//! Owns: the exchange with the shard, the relay, and the connection of the client from its head on.
//! Must not: route, refuse, sign or log in its own way; that is `way.rs` and `journey.rs`.

mod exchange;
mod handshake;
mod relay;

pub(crate) use handshake::take_handshake;

use crate::admit::Admission;
use crate::answer::head_to_wire;
use crate::farewell;
use crate::forward::prepare_answer;
use crate::journey::Journey;
use crate::way::Shared;
use affinity::{Refusal, ShardId};
use bytes::BytesMut;
use exchange::{Origin, ShardAnswer};
use http::StatusCode;
use pingora::http::RequestHeader;
use pingora::protocols::Stream;
use pingora::{Error, ErrorType, Result};
use relay::{Limits, relay};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Bytes that a client may send before the 101. It should send none (RFC 6455 section 4.1): more is
/// left in its socket until the tunnel is open.
const EARLY_BYTES_MAX: usize = 4 * 1024;

/// What became of a handshake.
enum Outcome {
    /// The 101 is out.
    Open(TcpStream),
    /// The client has another answer.
    Answered(u16),
    /// It came to nothing; what the client was told, 0 for nothing.
    Failed(u16, Box<Error>),
}

/// Serves a client that sent a handshake, and after it `early`, until one side ends.
pub(crate) async fn serve(
    shared: &Shared,
    mut client: Stream,
    request: Box<RequestHeader>,
    mut early: BytesMut,
) {
    let mut journey = Journey::new();
    let origin = Origin::of(&client);
    // In a box that is gone before the relay begins: an open WebSocket holds nothing of it.
    let outcome = Box::pin(open(
        shared,
        &mut client,
        &origin,
        request,
        &mut early,
        &mut journey,
    ))
    .await;
    let (status, result) = match outcome {
        Outcome::Open(shard) => {
            let limits = Limits {
                idle: journey.silence(),
                write: Duration::from_millis(journey.settings.timeouts.write_timeout_ms),
            };
            journey.opened();
            let result = relay(client, shard, early, limits).await;
            journey.websocket = None;
            (StatusCode::SWITCHING_PROTOCOLS.as_u16(), result)
        }
        Outcome::Answered(status) => (status, Ok(())),
        Outcome::Failed(status, error) => (status, Err(error)),
    };
    journey.conclude(
        "GET",
        &origin.client,
        status,
        result.as_ref().err().map(|error| &**error),
    );
}

/// Everything up to the client's answer.
async fn open(
    shared: &Shared,
    client: &mut Stream,
    origin: &Origin,
    request: Box<RequestHeader>,
    early: &mut BytesMut,
    journey: &mut Journey,
) -> Outcome {
    if let Err(refusal) = admit(shared, &request, journey).await {
        let status = refusal.status;
        if let Ok(wire) = journey.refusal_answer(&refusal).to_wire() {
            farewell::say(client, &wire).await;
        }
        journey.refusal = Some(refusal);
        return Outcome::Answered(status);
    }
    let answer = tokio::select! {
        biased;
        answer = exchange::ask(shared, journey, &request, origin) => answer,
        gone = hold(client, early) => Err(gone),
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return fail(client, journey, error).await,
    };
    let announced = journey.announced().map(ShardId::as_str);
    let write = Duration::from_millis(journey.settings.timeouts.write_timeout_ms);
    if answer.head.status == StatusCode::SWITCHING_PROTOCOLS {
        return match accept(client, answer, announced, write).await {
            Ok(shard) => Outcome::Open(shard),
            Err(error) => Outcome::Failed(0, error),
        };
    }
    let status = answer.head.status.as_u16();
    journey.answered();
    let announced = journey.announced().map(ShardId::as_str);
    match exchange::pass_on(client, answer, announced, &journey.settings.timeouts).await {
        Ok(()) => Outcome::Answered(status),
        Err(error) => Outcome::Failed(status, error),
    }
}

async fn admit(
    shared: &Shared,
    request: &RequestHeader,
    journey: &mut Journey,
) -> Result<(), Refusal> {
    match shared.enter(request, journey).await? {
        Admission::Forward(_) => Ok(()),
        // A handshake is a GET, and only OPTIONS asks for this.
        Admission::Preflight => Err(Refusal {
            status: 405,
            reason: "a WebSocket handshake is a GET".to_owned(),
        }),
    }
}

/// Keeps what the client says before it may. Ends only if the client is gone.
async fn hold(client: &mut Stream, early: &mut BytesMut) -> Box<Error> {
    loop {
        if early.len() >= EARLY_BYTES_MAX {
            return std::future::pending().await;
        }
        early.reserve(EARLY_BYTES_MAX - early.len());
        match client.read_buf(early).await {
            Ok(0) => return Error::new_down(ErrorType::ConnectionClosed),
            Ok(_) => {}
            Err(error) => {
                return Error::because(ErrorType::ReadError, "before the 101", error).into_down();
            }
        }
    }
}

async fn fail(client: &mut Stream, journey: &Journey, error: Box<Error>) -> Outcome {
    let mut status = 0;
    if let Some(answer) = journey.failure_answer(&error)
        && let Ok(wire) = answer.to_wire()
    {
        status = answer.status;
        farewell::say(client, &wire).await;
    }
    Outcome::Failed(status, error)
}

/// Sends the 101, with what the shard has said behind it.
async fn accept(
    client: &mut Stream,
    answer: ShardAnswer,
    announced: Option<&str>,
    limit: Duration,
) -> Result<TcpStream> {
    let ShardAnswer {
        mut head,
        rest,
        stream,
    } = answer;
    prepare_answer(&mut head, announced)?;
    let mut wire = head_to_wire(&head);
    wire.extend_from_slice(&rest);
    send(client, &wire, limit).await?;
    Ok(stream)
}

/// Sends all of `bytes` to the client.
async fn send(client: &mut Stream, bytes: &[u8], limit: Duration) -> Result<()> {
    let sent = async {
        client.write_all(bytes).await?;
        client.flush().await
    };
    match timeout(limit, sent).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            let error = Error::because(ErrorType::WriteError, "to the client", error);
            Err(error.into_down())
        }
        Err(_) => Err(Error::new_down(ErrorType::WriteTimedout)),
    }
}
