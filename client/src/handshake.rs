//! The client's part of a WebSocket's opening handshake (RFC 6455 section 4.1).
//!
//! Done here and not by the library, because a server says why it refuses in the body of its answer,
//! which the library does not read to its end.

use crate::dial::Stream;
use crate::error::ConnectError;
use http::{HeaderName, HeaderValue};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// Largest head of an answer, bytes. Beyond: it is no server of ours.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Fields of an answer that are looked at. Beyond: it is no server of ours.
const FIELDS_MAX: usize = 64;
/// Of a refusal's body, bytes. Beyond: cut off.
const BODY_BYTES_MAX: usize = 4 * 1024;
/// Of a refusal's body in an error message, characters.
const TEXT_CHARS_MAX: usize = 300;
/// How long the rest of a refusal may take: the status matters more.
const BODY_TIMEOUT: Duration = Duration::from_secs(2);
/// Largest signalling message, bytes. A join response names every participant; LiveKit's own limit
/// for what it takes is 2 MiB.
const MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What is asked for.
pub(crate) struct Upgrade<'a> {
    /// `host[:port]`.
    pub(crate) authority: &'a str,
    pub(crate) target: &'a str,
    pub(crate) token: &'a str,
    pub(crate) headers: &'a [(String, String)],
}

/// The head of an answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    accept: Option<String>,
    body_bytes: Option<usize>,
    chunked: bool,
    /// What came behind the head.
    pub(crate) rest: Vec<u8>,
}

impl Upgrade<'_> {
    /// Does the handshake on a fresh connection.
    pub(crate) async fn run(
        &self,
        mut stream: Stream,
    ) -> Result<WebSocketStream<Stream>, ConnectError> {
        let key = generate_key();
        let request = self.request(&key)?;
        let broken = |error: std::io::Error| self.foreign(format!("the connection broke: {error}"));
        stream.write_all(request.as_bytes()).await.map_err(broken)?;
        stream.flush().await.map_err(broken)?;
        let answer = self.read_head(&mut stream).await?;
        if answer.status != 101 {
            return Err(refusal(&mut stream, answer).await);
        }
        if answer.accept.as_deref() != Some(derive_accept_key(key.as_bytes()).as_str()) {
            return Err(self.foreign("its WebSocket handshake is wrong".to_owned()));
        }
        let config = websocket_config();
        let socket =
            WebSocketStream::from_partially_read(stream, answer.rest, Role::Client, Some(config));
        Ok(socket.await)
    }

    fn request(&self, key: &str) -> Result<String, ConnectError> {
        let mut text = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n",
            self.target, self.authority
        );
        let bearer = format!("Bearer {}", self.token);
        push(&mut text, "Authorization", &bearer)?;
        for (name, value) in self.headers {
            push(&mut text, name, value)?;
        }
        text.push_str("\r\n");
        Ok(text)
    }

    async fn read_head(&self, stream: &mut Stream) -> Result<Answer, ConnectError> {
        let mut bytes = Vec::with_capacity(1024);
        loop {
            if let Some(answer) = Answer::parse(&bytes).map_err(|cause| self.foreign(cause))? {
                return Ok(answer);
            }
            match stream.read_buf(&mut bytes).await {
                Ok(0) => {
                    let cause = "it closed the connection without an answer";
                    return Err(self.foreign(cause.to_owned()));
                }
                Ok(_) => {}
                Err(error) => {
                    return Err(self.foreign(format!("the connection broke: {error}")));
                }
            }
        }
    }

    fn foreign(&self, cause: String) -> ConnectError {
        ConnectError::NotLiveKit {
            server: self.authority.to_owned(),
            cause,
        }
    }
}

impl Answer {
    /// Reads the head (RFC 9112 section 4), if it is complete; `Err`: it is none of ours.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Self>, String> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut response = httparse::Response::new(&mut fields);
        match response.parse(bytes) {
            Ok(httparse::Status::Complete(length)) if length <= HEAD_BYTES_MAX => {
                let rest = bytes.get(length..).unwrap_or_default().to_vec();
                Ok(Some(Self::new(&response, rest)))
            }
            Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => Ok(None),
            Ok(_) => Err("the head of its answer has no end".to_owned()),
            Err(error) => Err(format!("its answer is no HTTP: {error}")),
        }
    }

    /// What is to be told to people of a refusal whose body came as far as this.
    pub(crate) fn text(&self, body: &[u8]) -> String {
        let wanted = self.wanted();
        let body = if self.chunked {
            unchunked(body)
        } else {
            body.to_vec()
        };
        let body = body.get(..wanted).unwrap_or(&body);
        one_line(&String::from_utf8_lossy(body))
    }

    /// Bytes of the body that are looked at.
    fn wanted(&self) -> usize {
        let wanted = self.body_bytes.unwrap_or(BODY_BYTES_MAX);
        wanted.min(BODY_BYTES_MAX)
    }

    fn new(response: &httparse::Response<'_, '_>, rest: Vec<u8>) -> Self {
        let field = |name: &str| {
            let mut fields = response.headers.iter();
            let field = fields.find(|field| field.name.eq_ignore_ascii_case(name))?;
            Some(String::from_utf8_lossy(field.value).trim().to_owned())
        };
        let chunked = |coding: String| coding.to_ascii_lowercase().contains("chunked");
        Self {
            status: response.code.unwrap_or_default(),
            accept: field("sec-websocket-accept"),
            body_bytes: field("content-length").and_then(|length| length.parse().ok()),
            chunked: field("transfer-encoding").is_some_and(chunked),
            rest,
        }
    }
}

/// Limits and buffers of the WebSocket. Small: there are thousands in a process, and each is idle most
/// of the time.
fn websocket_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX))
        .read_buffer_size(8 * 1024)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * MESSAGE_BYTES_MAX)
}

fn push(text: &mut String, name: &str, value: &str) -> Result<(), ConnectError> {
    let allowed = HeaderName::try_from(name).is_ok() && HeaderValue::try_from(value).is_ok();
    if !allowed {
        return Err(ConnectError::Header(name.to_owned()));
    }
    text.push_str(name);
    text.push_str(": ");
    text.push_str(value);
    text.push_str("\r\n");
    Ok(())
}

async fn refusal(stream: &mut Stream, mut answer: Answer) -> ConnectError {
    let wanted = answer.wanted();
    let mut body = std::mem::take(&mut answer.rest);
    let rest = async {
        while body.len() < wanted && !(answer.chunked && body.ends_with(b"0\r\n\r\n")) {
            if !matches!(stream.read_buf(&mut body).await, Ok(1..)) {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(BODY_TIMEOUT, rest).await;
    ConnectError::Status {
        status: answer.status,
        text: answer.text(&body),
    }
}

/// The contents of chunks (RFC 9112 section 7.1), as far as they came.
fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Ok(httparse::Status::Complete((start, length))) = httparse::parse_chunk_size(body) {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let rest = body.get(start..).unwrap_or_default();
        out.extend_from_slice(rest.get(..length).unwrap_or(rest));
        // Behind a chunk there is an end of line.
        match rest.get(length.saturating_add(2)..) {
            Some(next) if length > 0 => body = next,
            _ => break,
        }
    }
    out
}

fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(TEXT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::DuplexStream;

    /// Answers a handshake with a text, and returns what the client made of it.
    async fn answered(text: &'static str) -> Result<(), ConnectError> {
        let (client, server) = tokio::io::duplex(64 * 1024);
        let serving = tokio::spawn(serve(server, text));
        let upgrade = Upgrade {
            authority: "host:1",
            target: "/rtc/v1?join_request=x",
            token: "t",
            headers: &[],
        };
        let result = upgrade.run(Box::new(client)).await.map(|_| ());
        let request = serving.await.unwrap();
        assert!(request.starts_with("GET /rtc/v1?join_request=x HTTP/1.1\r\nHost: host:1\r\n"));
        assert!(request.contains("\r\nAuthorization: Bearer t\r\n"));
        result
    }

    async fn serve(mut stream: DuplexStream, text: &str) -> String {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut request).await.unwrap();
        }
        let request = String::from_utf8(request).unwrap();
        let key = request.split("Sec-WebSocket-Key: ").nth(1).unwrap();
        let accept = derive_accept_key(key.split('\r').next().unwrap().as_bytes());
        // In two parts, as a network may deliver it.
        let text = text.replace("ACCEPT", &accept);
        let (first, second) = text.split_at(text.len() / 2);
        stream.write_all(first.as_bytes()).await.unwrap();
        tokio::task::yield_now().await;
        // A client that has read enough does not wait for it.
        let _ = stream.write_all(second.as_bytes()).await;
        request
    }

    #[tokio::test]
    async fn a_right_answer_opens_the_websocket() {
        let text = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                    Connection: Upgrade\r\nSec-WebSocket-Accept: ACCEPT\r\n\r\n";
        answered(text).await.unwrap();
    }

    #[tokio::test]
    async fn a_refusal_is_told_with_its_text() {
        let plain = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 12\r\n\r\nno\nsignature";
        let error = answered(plain).await.unwrap_err().to_string();
        assert!(error.contains("401 no signature; check API key"), "{error}");
        let chunked = "HTTP/1.1 503 Service Unavailable\r\nTransfer-Encoding: chunked\r\n\r\n\
                       5\r\nno no\r\n3\r\nde!\r\n0\r\n\r\n";
        let error = answered(chunked).await.unwrap_err().to_string();
        assert!(error.contains("503 no node!; try again"), "{error}");
        let until_closed = "HTTP/1.0 404 Not Found\r\n\r\nnothing here";
        let error = answered(until_closed).await.unwrap_err().to_string();
        assert!(
            error.contains("404 nothing here; check the path"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn another_server_is_told_from_a_refusal() {
        for text in [
            "SSH-2.0-OpenSSH_9.2\r\n",
            "",
            "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: wrong\r\n\r\n",
        ] {
            let error = answered(text).await.unwrap_err();
            assert!(matches!(error, ConnectError::NotLiveKit { .. }), "{error}");
        }
    }

    #[test]
    fn a_field_cannot_smuggle_another_one_in() {
        let upgrade = Upgrade {
            authority: "host",
            target: "/rtc",
            token: "t\r\nx: y",
            headers: &[],
        };
        assert!(matches!(upgrade.request("k"), Err(ConnectError::Header(_))));
    }
}
