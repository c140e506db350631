//! One signalling connection: the loop between a WebSocket and the driver.
//!
//! Owns: framing (protobuf or JSON), pings at both levels, limits of one connection and its close
//! codes. Must not: know what the messages mean; only the ping is answered here, because its answer
//! is about this connection's clock.

use crate::clock;
use crate::core::SessionId;
use crate::driver::{Input, Outbound};
use crate::entry::Entry;
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use livekit_protocol::{Pong, SignalRequest, SignalResponse, signal_request, signal_response};
use prost::Message as _;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_util::sync::CancellationToken;

/// Largest signalling message, bytes (as LiveKit). Beyond: close 1009.
pub(crate) const MESSAGE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// WebSocket pings (RFC 6455 section 5.5.2) keep idle connections open through proxies and find dead
/// peers.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// A peer that has sent nothing for this long, not even pongs, is gone.
const DEAD_AFTER: Duration = Duration::from_secs(30);
/// A peer that takes nothing for this long is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the peer may take to answer our close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of a refused message that are read and thrown away, so that the close frame is not lost in
/// a TCP reset.
const DRAIN_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Messages taken from a client at once, and per second afterwards. A join with many candidates is a
/// burst of about a hundred. Beyond: reading pauses, TCP slows the client down.
const BURST: f64 = 500.0;
const MESSAGES_PER_SECOND: f64 = 100.0;

/// Limits and buffers of the WebSocket. The read buffer starts small: there may be thousands of idle
/// connections.
pub(crate) fn websocket_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX))
        .read_buffer_size(8 * 1024)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * MESSAGE_BYTES_MAX)
}

/// Why a session ended.
#[derive(Debug)]
enum End {
    /// The peer closed, or the connection broke.
    Gone,
    /// We close with this code and reason.
    Close(CloseCode, String),
    /// As `Close`, and what the peer is sending cannot be read as WebSocket any more.
    CloseRaw(CloseCode, String),
}

/// One signalling connection.
pub(crate) struct Session<S> {
    pub(crate) id: SessionId,
    pub(crate) socket: WebSocketStream<S>,
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) outbound: mpsc::Receiver<Outbound>,
    /// Cancelled when `outbound` is full.
    pub(crate) overflow: CancellationToken,
    /// Given back when the client has been told that this connection ends.
    untold: Option<OwnedSemaphorePermit>,
    entry: Entry,
    encoding: Encoding,
    heard: Instant,
    allowance: Allowance,
}

/// How signalling messages are written. The client's last message decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Protobuf,
    Json,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    pub(crate) fn new(
        id: SessionId,
        socket: WebSocketStream<S>,
        inputs: mpsc::Sender<Input>,
        outbound: mpsc::Receiver<Outbound>,
        overflow: CancellationToken,
        untold: OwnedSemaphorePermit,
        entry: Entry,
    ) -> Self {
        let now = Instant::now();
        Self {
            id,
            socket,
            inputs,
            outbound,
            overflow,
            untold: Some(untold),
            entry,
            encoding: Encoding::Protobuf,
            heard: now,
            allowance: Allowance::new(now),
        }
    }

    /// Runs until the connection is closed.
    pub(crate) async fn run(mut self) {
        let end = self.serve().await;
        // The room shall know at once; the polite end of the connection may take a moment.
        let _ = self.inputs.send(Input::Closed { session: self.id }).await;
        match end {
            End::Gone => tracing::debug!("signalling connection gone"),
            End::Close(code, reason) => {
                self.send_close(code, &reason).await;
                let answer = async { while let Some(Ok(_)) = self.socket.next().await {} };
                let _ = tokio::time::timeout(CLOSE_TIMEOUT, answer).await;
            }
            End::CloseRaw(code, reason) => {
                self.send_close(code, &reason).await;
                let mut rest = self.socket.get_mut().take(DRAIN_BYTES_MAX);
                let mut nowhere = tokio::io::sink();
                let drain = tokio::io::copy(&mut rest, &mut nowhere);
                let _ = tokio::time::timeout(CLOSE_TIMEOUT, drain).await;
            }
        }
    }

    async fn serve(&mut self) -> End {
        let mut ping = tokio::time::interval(PING_INTERVAL);
        ping.reset();
        loop {
            let pause = self.allowance.pause(Instant::now());
            let step = tokio::select! {
                message = self.socket.next(), if pause.is_none() => self.handle_frame(message).await,
                outbound = self.outbound.recv() => self.handle_outbound(outbound).await,
                _ = ping.tick() => self.handle_ping_time().await,
                () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => Ok(()),
                () = self.overflow.cancelled() => Err(End::Close(
                    CloseCode::Again,
                    "the client reads too slowly: join again".to_owned(),
                )),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    async fn handle_frame(
        &mut self,
        message: Option<Result<Message, tungstenite::Error>>,
    ) -> Result<(), End> {
        self.heard = Instant::now();
        let request = match message {
            None => return Err(End::Gone),
            Some(Err(error)) => return Err(end_of(&error)),
            Some(Ok(Message::Close(_))) => {
                // The library has queued the answer (RFC 6455 section 5.5.1).
                self.flush().await?;
                return Err(End::Gone);
            }
            Some(Ok(Message::Binary(bytes))) => {
                self.encoding = Encoding::Protobuf;
                read_binary(bytes).map_err(|error| unreadable("protobuf", &error))?
            }
            Some(Ok(Message::Text(text))) => {
                self.encoding = Encoding::Json;
                read_text(&text).map_err(|error| unreadable("JSON", &error))?
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {
                self.allowance.take(self.heard);
                // The library has queued the pong; it goes out with the next write.
                return self.flush().await;
            }
        };
        self.allowance.take(self.heard);
        self.entry.figures().count_signal_in();
        self.handle_request(request).await
    }

    async fn handle_request(&mut self, request: SignalRequest) -> Result<(), End> {
        match request.message {
            Some(signal_request::Message::Ping(_)) => {
                let pong = signal_response::Message::Pong(clock::unix_ms_signed());
                self.send(pong).await
            }
            Some(signal_request::Message::PingReq(ping)) => {
                let pong = signal_response::Message::PongResp(Pong {
                    last_ping_timestamp: ping.timestamp,
                    timestamp: clock::unix_ms_signed(),
                });
                self.send(pong).await
            }
            Some(message) => {
                let input = Input::Signal {
                    session: self.id,
                    message: Box::new(message),
                };
                self.inputs.send(input).await.map_err(|_| End::Gone)
            }
            // A kind of message that is newer than we are.
            None => Ok(()),
        }
    }

    async fn handle_outbound(&mut self, outbound: Option<Outbound>) -> Result<(), End> {
        match outbound {
            Some(Outbound::Message(message)) => self.send(*message).await,
            // WebSockets have other words for it.
            Some(Outbound::Refused(_)) => Ok(()),
            Some(Outbound::Close(reason)) => Err(End::Close(CloseCode::Normal, reason.to_owned())),
            None => Err(End::Close(
                CloseCode::Away,
                "the shard is shutting down".to_owned(),
            )),
        }
    }

    async fn handle_ping_time(&mut self) -> Result<(), End> {
        if self.heard.elapsed() > DEAD_AFTER {
            let reason = "nothing heard for 30 s".to_owned();
            return Err(End::Close(CloseCode::Away, reason));
        }
        self.write(Message::Ping(Bytes::new())).await
    }

    async fn send(&mut self, message: signal_response::Message) -> Result<(), End> {
        self.entry.said(&message);
        let response = SignalResponse {
            message: Some(message),
        };
        let frame = match self.encoding {
            Encoding::Protobuf => Message::Binary(response.encode_to_vec().into()),
            Encoding::Json => match serde_json::to_string(&response) {
                Ok(text) => Message::Text(text.into()),
                Err(error) => {
                    let reason = format!("cannot be written as JSON: {error}");
                    return Err(End::Close(CloseCode::Error, reason));
                }
            },
        };
        self.entry.figures().count_signal_out();
        self.write(frame).await
    }

    async fn write(&mut self, frame: Message) -> Result<(), End> {
        match tokio::time::timeout(SEND_TIMEOUT, self.socket.send(frame)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Gone),
        }
    }

    async fn flush(&mut self) -> Result<(), End> {
        match tokio::time::timeout(SEND_TIMEOUT, self.socket.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Gone),
        }
    }

    async fn send_close(&mut self, code: CloseCode, reason: &str) {
        tracing::debug!(
            code = u16::from(code),
            reason,
            "closing the signalling connection"
        );
        self.entry.figures().count_as(
            "anteroom_shard_closes_total",
            "code",
            u16::from(code).to_string(),
        );
        let frame = CloseFrame {
            code,
            reason: shortened(reason).into(),
        };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.socket.close(Some(frame))).await;
        self.untold = None;
    }
}

/// A close frame holds at most 123 bytes of text (RFC 6455 section 5.5).
fn shortened(reason: &str) -> String {
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason.get(..end).unwrap_or_default().to_owned()
}

/// A message in a binary frame: protobuf.
pub(crate) fn read_binary(frame: Bytes) -> Result<SignalRequest, prost::DecodeError> {
    SignalRequest::decode(frame)
}

/// A message in a text frame: protobuf's JSON form.
pub(crate) fn read_text(frame: &str) -> Result<SignalRequest, serde_json::Error> {
    serde_json::from_str(frame)
}

fn unreadable(form: &str, error: &dyn std::fmt::Display) -> End {
    End::Close(
        CloseCode::Invalid,
        format!("not a SignalRequest in {form}: {error}"),
    )
}

fn end_of(error: &tungstenite::Error) -> End {
    use tungstenite::Error;
    match error {
        Error::Capacity(_) => End::CloseRaw(
            CloseCode::Size,
            format!("message too big: at most {MESSAGE_BYTES_MAX} bytes"),
        ),
        Error::Utf8(_) => End::CloseRaw(CloseCode::Invalid, "text that is not UTF-8".to_owned()),
        Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
            End::Gone
        }
        Error::Protocol(error) => End::CloseRaw(CloseCode::Protocol, error.to_string()),
        _ => End::Gone,
    }
}

/// Token bucket for the messages of one client.
struct Allowance {
    left: f64,
    at: Instant,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            at: now,
        }
    }

    fn refill(&mut self, now: Instant) {
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * MESSAGES_PER_SECOND;
        self.left = (self.left + earned).min(BURST);
        self.at = now;
    }

    fn take(&mut self, now: Instant) {
        self.refill(now);
        self.left -= 1.0;
    }

    /// How long to read nothing.
    fn pause(&mut self, now: Instant) -> Option<Duration> {
        self.refill(now);
        (self.left < 1.0)
            .then(|| Duration::from_secs_f64((1.0 - self.left).max(0.0) / MESSAGES_PER_SECOND))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_at_once_and_a_flood_is_slowed_down() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        for _ in 0..500 {
            assert_eq!(allowance.pause(start), None);
            allowance.take(start);
        }
        let pause = allowance.pause(start).unwrap();
        assert_eq!(pause, Duration::from_millis(10));
        assert_eq!(allowance.pause(start + pause * 2), None);
    }

    #[test]
    fn a_close_reason_is_cut_between_characters() {
        assert_eq!(shortened("short"), "short");
        let long = "ä".repeat(100);
        assert_eq!(shortened(&long).len(), 122);
    }
}
