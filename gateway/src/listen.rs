//! Listening sockets, taken before anything is started.
//!
//! Pingora binds when its services run, and panics where it cannot. Sockets are therefore bound
//! here, where there is somebody to tell.

use crate::edge::{Edge, shut_down};
use crate::error::GatewayError;
use async_trait::async_trait;
use pingora::apps::HttpServerApp as _;
use pingora::protocols::l4::stream::Stream as TcpStream;
use pingora::protocols::{GetSocketDigest as _, SocketDigest, Stream};
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::Service;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::Duration;
use tracing::{error, warn};

/// Pause after a connection that could not be accepted: there is no file left, perhaps.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Takes `address`.
pub(crate) fn bind(address: &str, field: &'static str) -> Result<TcpListener, GatewayError> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|source| GatewayError::Bind {
        address: address.to_owned(),
        field,
        source,
    })
}

pub(crate) fn local_address(
    listener: &TcpListener,
    field: &'static str,
) -> Result<SocketAddr, GatewayError> {
    listener.local_addr().map_err(|source| GatewayError::Bind {
        address: field.to_owned(),
        field,
        source,
    })
}

/// A service on a socket that is bound already.
///
/// It accepts by itself: Pingora's own service keeps 9 KB for each connection, as long as that lives,
/// for a TLS handshake that is not made there, and a read buffer of 64 KB.
pub(crate) struct BoundService {
    edge: Arc<Edge>,
    listener: Option<TcpListener>,
    name: String,
    address: String,
}

impl BoundService {
    pub(crate) fn new(listener: TcpListener, address: SocketAddr, edge: Edge) -> Self {
        Self {
            edge: Arc::new(edge),
            listener: Some(listener),
            name: format!("gateway {address}"),
            address: address.to_string(),
        }
    }
}

#[async_trait]
impl Service for BoundService {
    async fn start_service(
        &mut self,
        _fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
    ) {
        match self.listener.take().map(tokio::net::TcpListener::from_std) {
            Some(Ok(listener)) => accept(listener, &self.edge, shutdown).await,
            Some(Err(error)) => error!("{}: {error}", self.name),
            None => {}
        }
        self.edge.proxy.http_cleanup().await;
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Some(vec![self.address.clone()])
    }
}

/// Accepts until the service is told to stop. What is open then goes on.
async fn accept(listener: tokio::net::TcpListener, edge: &Arc<Edge>, shutdown: ShutdownWatch) {
    let mut closing = shutdown.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shut_down(&mut closing) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((tcp, peer)) => {
                let (edge, shutdown) = (Arc::clone(edge), shutdown.clone());
                tokio::spawn(async move { edge.serve(stream(tcp, peer), &shutdown).await });
            }
            // The client has gone before it was served.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                warn!("a connection is not accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A client's connection as Pingora has it, without any buffer.
fn stream(tcp: tokio::net::TcpStream, peer: SocketAddr) -> Stream {
    let digest = SocketDigest::from_raw_fd(tcp.as_raw_fd());
    let _ = digest.peer_addr.set(Some(peer.into()));
    // What cannot be told this is broken, and says so when it is read.
    let _ = tcp.set_nodelay(true);
    let mut stream = TcpStream::from(tcp);
    stream.set_socket_digest(digest);
    Box::new(stream)
}
