//! One TLS port for several programs: a connection is read up to the name that its client asks for, and
//! goes on, undecrypted, to whoever has that name. It lets TURN over TLS share port 443 with HTTPS,
//! where a network lets nothing else out.
//!
//! Owns: the listener, the limits on what a client may send before it is known, the copying. Must not:
//! hold a key or a certificate.

mod config;
mod hello;

pub use config::{SniConfig, SniRoute};

use crate::edge::shut_down;
use crate::error::GatewayError;
use crate::listen::{ACCEPT_PAUSE, bind, local_address};
use async_trait::async_trait;
use hello::{Hello, HelloError};
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::Service;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{debug, warn};

/// How long a client may take until its name is known.
const HELLO_LIMIT: Duration = Duration::from_secs(5);
/// How long a connection to an upstream may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Connections at one time. Each has two descriptors and 16 KB of buffers. One more waits in the
/// kernel until another ends.
const CONNECTIONS_MAX: usize = 10_000;
/// Read at once before the name is known, bytes.
const READ_BYTES: usize = 4 * 1024;

/// The listener, bound.
pub(crate) struct SniService {
    listener: Option<TcpListener>,
    address: SocketAddr,
    config: Arc<SniConfig>,
}

impl SniService {
    /// Takes the address, if one is configured.
    pub(crate) fn take(config: Option<&SniConfig>) -> Result<Option<Self>, GatewayError> {
        let Some(config) = config else {
            return Ok(None);
        };
        let listener = bind(&config.listen, "gateway.sni.listen")?;
        Ok(Some(Self {
            address: local_address(&listener, "gateway.sni.listen")?,
            listener: Some(listener),
            config: Arc::new(config.clone()),
        }))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

#[async_trait]
impl Service for SniService {
    async fn start_service(
        &mut self,
        _fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
    ) {
        match self.listener.take().map(tokio::net::TcpListener::from_std) {
            Some(Ok(listener)) => accept(listener, Arc::clone(&self.config), shutdown).await,
            Some(Err(error)) => tracing::error!("gateway.sni: {error}"),
            None => {}
        }
    }

    fn name(&self) -> &str {
        "gateway sni"
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Some(vec![self.address.to_string()])
    }
}

/// Accepts until the service is told to stop. What is open then goes on until the process ends.
async fn accept(
    listener: tokio::net::TcpListener,
    config: Arc<SniConfig>,
    mut shutdown: ShutdownWatch,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            biased;
            () = shut_down(&mut shutdown) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((client, peer)) => {
                let config = Arc::clone(&config);
                tokio::spawn(async move {
                    if let Err(cause) = pass(client, &config).await {
                        debug!(%peer, %cause, "gateway.sni: a connection ends");
                    }
                    drop(place);
                });
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                warn!("gateway.sni: a connection is not accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Why a connection is not passed on.
#[derive(Debug, thiserror::Error)]
enum PassError {
    #[error("no name within {HELLO_LIMIT:?}")]
    Slow,
    #[error(transparent)]
    Hello(#[from] HelloError),
    #[error("nobody is configured for the name {0:?}")]
    Nobody(Option<String>),
    #[error("{upstream} does not take the connection: {source}")]
    Upstream { upstream: String, source: io::Error },
    #[error(transparent)]
    Ended(#[from] io::Error),
}

/// The life of one connection.
async fn pass(mut client: TcpStream, config: &SniConfig) -> Result<(), PassError> {
    let reading = timeout(HELLO_LIMIT, read_hello(&mut client));
    let hello = reading.await.map_err(|_| PassError::Slow)??;
    let name = hello.name().map(str::to_owned);
    let upstream = config.upstream(name.as_deref());
    let upstream = upstream.ok_or(PassError::Nobody(name))?;
    let refused = |source| PassError::Upstream {
        upstream: upstream.to_owned(),
        source,
    };
    let connecting = timeout(CONNECT_LIMIT, TcpStream::connect(upstream)).await;
    let connected = connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let mut server = connected.map_err(refused)?;
    for stream in [&client, &server] {
        // Without it small messages wait for the answer to the previous one; failing is bearable.
        let _ = stream.set_nodelay(true);
        keep_alive(stream);
    }
    server.write_all(hello.bytes()).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// A peer that has vanished without a word is noticed after two minutes: neither side may have anything
/// to say for longer than that.
fn keep_alive(stream: &TcpStream) {
    let settings = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(20));
    let _ = socket2::SockRef::from(stream).set_tcp_keepalive(&settings);
}

async fn read_hello(client: &mut TcpStream) -> Result<Hello, PassError> {
    let mut hello = Hello::default();
    let mut buffer = [0; READ_BYTES];
    loop {
        let length = client.read(&mut buffer).await?;
        if length == 0 {
            return Err(HelloError::Cut.into());
        }
        if hello.push(buffer.get(..length).unwrap_or_default())? {
            return Ok(hello);
        }
    }
}

#[cfg(test)]
mod tests;
