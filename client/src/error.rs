//! Why a client could not join. One line each: what is wrong and what to do about it.

use crate::event::EndReason;
use crate::session::SessionError;
use crate::url::UrlError;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use thiserror::Error;

/// What a client was waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The TCP connection.
    Dial,
    /// TLS on it.
    Tls,
    /// The answer to the WebSocket's handshake.
    Handshake,
    /// The first message.
    Join,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dial => "the TCP connection",
            Self::Tls => "the TLS handshake",
            Self::Handshake => "the answer to the WebSocket handshake",
            Self::Join => "the join response",
        })
    }
}

/// Why a client could not join.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The URL is none.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// Name resolution or TCP failed.
    #[error("cannot reach {server}: {cause}; check the address and whether the server runs")]
    Unreachable {
        /// `host:port`.
        server: String,
        /// What the system said.
        cause: String,
    },
    /// No certificate authority, or a certificate that is not trusted.
    #[error(
        "no TLS with {server}: {cause}; check its certificate, or use ws:// where TLS ends elsewhere"
    )]
    Tls {
        /// `host:port`.
        server: String,
        /// What the library said.
        cause: String,
    },
    /// A step took too long.
    #[error("{server} did not bring {step} within {} s; it may be overloaded", .after.as_secs_f32())]
    Timeout {
        /// `host:port`.
        server: String,
        /// What was waited for.
        step: Step,
        /// For how long.
        after: Duration,
    },
    /// The server answered the handshake with another status than 101.
    #[error("the server refused to join: {status} {text}{}", hint(*.status))]
    Status {
        /// HTTP status.
        status: u16,
        /// The body, shortened, in one line.
        text: String,
    },
    /// It does not speak the protocol.
    #[error("{server} is no LiveKit server: {cause}; check the URL")]
    NotLiveKit {
        /// `host:port`.
        server: String,
        /// What was wrong.
        cause: String,
    },
    /// The server ended the session before it began.
    #[error("the server did not let the client in: {0}")]
    Refused(EndReason),
    /// No socket for media.
    #[error("no UDP socket at {address}: {source}{}", limit_hint(.source))]
    Socket {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A header field that HTTP does not allow.
    #[error("the header field '{0}' has a name or value that HTTP does not allow")]
    Header(String),
    /// The peer connection could not be made.
    #[error(transparent)]
    Session(#[from] SessionError),
}

fn hint(status: u16) -> &'static str {
    match status {
        401 | 403 => "; check API key, secret and grants of the token",
        404 => "; check the path of the URL",
        429 | 503 => "; try again later",
        _ => "",
    }
}

/// Many clients in one process run into the limit of open files first.
pub(crate) fn limit_hint(error: &io::Error) -> &'static str {
    // EMFILE and ENFILE, the same numbers on Linux and the BSDs.
    match error.raw_os_error() {
        Some(23 | 24) => "; raise the limit of open files (ulimit -n)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_one_line_with_cause_and_fix() {
        let errors = [
            ConnectError::Unreachable {
                server: "host:1".into(),
                cause: "Connection refused".into(),
            },
            ConnectError::Timeout {
                server: "host:1".into(),
                step: Step::Join,
                after: Duration::from_millis(1500),
            },
            ConnectError::Status {
                status: 401,
                text: "the access token's signature is wrong".into(),
            },
            ConnectError::Socket {
                address: SocketAddr::from(([127, 0, 0, 1], 0)),
                source: io::Error::from_raw_os_error(24),
            },
        ];
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert!(texts.iter().all(|text| !text.contains('\n')));
        assert!(texts[0].contains("Connection refused; check the address"));
        assert!(texts[1].contains("join response within 1.5 s"));
        assert!(texts[2].contains("401 the access token's signature is wrong; check API key"));
        assert!(texts[3].contains("ulimit -n"), "{}", texts[3]);
    }
}
