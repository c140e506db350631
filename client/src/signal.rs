//! Signalling messages over a WebSocket: binary protobuf both ways.

use crate::dial::Stream;
use futures::{SinkExt as _, StreamExt as _};
use livekit_protocol::{SignalRequest, SignalResponse};
use prost::Message as _;
use std::time::Duration;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

/// A server that takes nothing for this long is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a polite end may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why there are no more messages, in one line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SignalEnd(pub(crate) String);

pub(crate) struct Signal {
    socket: WebSocketStream<Stream>,
}

impl Signal {
    pub(crate) fn new(socket: WebSocketStream<Stream>) -> Self {
        Self { socket }
    }

    /// The next message. Nothing is lost if the future is dropped. Pings of the WebSocket are
    /// answered underneath.
    pub(crate) async fn next(&mut self) -> Result<SignalResponse, SignalEnd> {
        loop {
            let bytes = match self.socket.next().await {
                None => return Err(SignalEnd("it was closed".to_owned())),
                Some(Err(error)) => return Err(end_of(&error)),
                Some(Ok(Message::Close(frame))) => {
                    let cause = frame.map_or_else(String::new, |frame| {
                        format!(" with {} {}", u16::from(frame.code), frame.reason.as_str())
                    });
                    return Err(SignalEnd(format!("the server closed it{cause}")));
                }
                Some(Ok(Message::Binary(bytes))) => bytes,
                Some(Ok(Message::Text(_))) => {
                    return Err(SignalEnd("it speaks text, which we do not".to_owned()));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
            };
            return SignalResponse::decode(bytes)
                .map_err(|error| SignalEnd(format!("a message is no SignalResponse: {error}")));
        }
    }

    /// Sends a message. Waits while the server takes nothing.
    pub(crate) async fn send(&mut self, request: &SignalRequest) -> Result<(), SignalEnd> {
        let frame = Message::Binary(request.encode_to_vec().into());
        match tokio::time::timeout(SEND_TIMEOUT, self.socket.send(frame)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(end_of(&error)),
            Err(_) => Err(SignalEnd("the server takes no messages".to_owned())),
        }
    }

    /// Says goodbye, and waits a moment for the answer.
    pub(crate) async fn close(mut self) {
        let goodbye = async {
            if self.socket.close(None).await.is_ok() {
                while let Some(Ok(_)) = self.socket.next().await {}
            }
        };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, goodbye).await;
    }
}

fn end_of(error: &Error) -> SignalEnd {
    SignalEnd(match error {
        Error::ConnectionClosed | Error::AlreadyClosed => "it was closed".to_owned(),
        Error::Io(error) => error.to_string(),
        other => other.to_string(),
    })
}
