//! The signalling alone, for whoever brings peer connections of their own.

use crate::dial::dial;
use crate::error::{ConnectError, Step};
use crate::handshake::Upgrade;
use crate::options::{ConnectOptions, PeerMode};
use crate::signal::{Signal, SignalEnd};
use crate::url::ServerUrl;
use livekit_protocol as lk;
use std::time::Instant;

/// A signalling connection over which a join was asked for. Nothing is answered by itself: neither
/// offers nor pings.
pub struct Signalling {
    signal: Signal,
    /// The WebSocket's handshake was done.
    pub opened: Instant,
}

impl std::fmt::Debug for Signalling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signalling").finish_non_exhaustive()
    }
}

impl Signalling {
    /// Asks to join with one peer connection, on `/rtc/v1`, offering this.
    ///
    /// # Errors
    /// Why it could not, in one line.
    pub async fn connect(
        options: &ConnectOptions,
        offer: lk::SessionDescription,
    ) -> Result<Self, ConnectError> {
        let url = ServerUrl::parse(&options.url)?;
        let mut session = options.session.clone();
        session.mode = PeerMode::Single;
        let dialled = dial(&url, options.tls.as_ref(), options.step_timeout).await?;
        let target = url.join_target(&session, Some(offer));
        let upgrade = Upgrade {
            authority: url.authority(),
            target: &target,
            token: &options.token,
            headers: &options.headers,
        };
        let within = tokio::time::timeout(options.step_timeout, upgrade.run(dialled.stream));
        let socket = within.await.map_err(|_| ConnectError::Timeout {
            server: url.authority().to_owned(),
            step: Step::Handshake,
            after: options.step_timeout,
        })??;
        Ok(Self {
            signal: Signal::new(socket),
            opened: Instant::now(),
        })
    }

    /// The next message; or why there are no more. Nothing is lost if the future is dropped.
    ///
    /// # Errors
    /// The connection has ended; in one line, how.
    pub async fn next(&mut self) -> Result<lk::SignalResponse, String> {
        self.signal.next().await.map_err(|SignalEnd(cause)| cause)
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The connection has ended; in one line, how.
    pub async fn send(&mut self, message: lk::signal_request::Message) -> Result<(), String> {
        let request = lk::SignalRequest {
            message: Some(message),
        };
        self.signal
            .send(&request)
            .await
            .map_err(|SignalEnd(cause)| cause)
    }

    /// Says goodbye, and waits a moment for the answer.
    pub async fn close(self) {
        self.signal.close().await;
    }
}
