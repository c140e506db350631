//! Joins by LiveKit's protocol, over one peer connection.

use super::wire::Wire;
use anyhow::{Context as _, bail};
use client::lk::{SignalRequest, SignalResponse};
use client::{
    AccessToken, Codec, Fidelity, LocalAddresses, Sections, ServerUrl, Session, SessionOptions,
};
use futures::{SinkExt as _, StreamExt as _};
use prost::Message as _;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

/// How long joining may take, until the server says that we are in.
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a polite end may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A server, and what lets us in.
pub(crate) struct LiveKit {
    pub(crate) url: String,
    pub(crate) key: String,
    pub(crate) secret: String,
}

/// Who joins.
pub(crate) struct Ticket {
    pub(crate) room: String,
    pub(crate) identity: String,
    pub(crate) videos: u32,
    pub(crate) decrypts: bool,
    pub(crate) seed: u64,
}

/// The WebSocket for signalling.
pub(crate) struct Signal(WebSocketStream<TcpStream>);

impl Signal {
    /// The next message. Nothing is lost if the future is dropped.
    pub(crate) async fn next(&mut self) -> anyhow::Result<SignalResponse> {
        loop {
            match self.0.next().await.context("the server closed it")?? {
                Message::Binary(bytes) => {
                    return SignalResponse::decode(bytes).context("read a message");
                }
                Message::Close(_) => bail!("the server closed it"),
                _ => {}
            }
        }
    }

    pub(crate) async fn send(&mut self, request: &SignalRequest) -> anyhow::Result<()> {
        let frame = Message::Binary(request.encode_to_vec().into());
        Ok(self.0.send(frame).await?)
    }

    /// Says goodbye, and waits a moment for the answer.
    pub(crate) async fn close(mut self) {
        let goodbye = async {
            if self.0.close(None).await.is_ok() {
                while let Some(Ok(_)) = self.0.next().await {}
            }
        };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, goodbye).await;
    }
}

impl LiveKit {
    /// Joins; media is connected later.
    pub(crate) async fn join(
        &self,
        ip: IpAddr,
        ticket: &Ticket,
    ) -> anyhow::Result<(Box<Session>, Signal, Wire)> {
        tokio::time::timeout(JOIN_TIMEOUT, self.join_patiently(ip, ticket))
            .await
            .context("joining took too long")?
    }

    async fn join_patiently(
        &self,
        ip: IpAddr,
        ticket: &Ticket,
    ) -> anyhow::Result<(Box<Session>, Signal, Wire)> {
        let wire = Wire::bind(ip)?;
        let options = options(ticket);
        let addresses = LocalAddresses {
            publisher: wire.local(),
            subscriber: None,
        };
        let mut session = Box::new(Session::new(options.clone(), addresses, Instant::now())?);
        let url = ServerUrl::parse(&self.url)?;
        let target = url.join_target(&options, session.initial_offer());
        let token = AccessToken::new(ticket.room.clone(), ticket.identity.clone());
        let token = token.sign(&self.key, &self.secret)?;
        let mut signal = dial(&url, &target, &token).await?;
        let first = signal.next().await?;
        session.handle_signal(first, Instant::now());
        if let Some(end) = session.end() {
            bail!("{end}");
        }
        Ok((session, signal, wire))
    }
}

fn options(ticket: &Ticket) -> SessionOptions {
    SessionOptions {
        fidelity: if ticket.decrypts {
            Fidelity::Full
        } else {
            Fidelity::Counting
        },
        auto_subscribe: ticket.videos > 0,
        receive: Sections {
            audio: 0,
            video: ticket.videos,
        },
        video_codecs: vec![Codec::Vp8],
        seed: ticket.seed,
        ..SessionOptions::default()
    }
}

async fn dial(url: &ServerUrl, target: &str, token: &str) -> anyhow::Result<Signal> {
    let (host, port) = (url.host(), url.port());
    let stream = TcpStream::connect((host, port)).await;
    let stream = stream.with_context(|| format!("connect to {host}:{port}"))?;
    stream.set_nodelay(true)?;
    let mut request = format!("ws://{host}:{port}{target}").into_client_request()?;
    let bearer = format!("Bearer {token}").parse()?;
    request.headers_mut().insert("authorization", bearer);
    let (socket, _) = tokio_tungstenite::client_async_with_config(
        request,
        stream,
        Some(super::websocket_config()),
    )
    .await
    .context("join")?;
    Ok(Signal(socket))
}
