//! The way to the server: TCP, and TLS where the URL wants it.

use crate::error::{ConnectError, Step};
use crate::tls::Tls;
use crate::url::ServerUrl;
use rustls_pki_types::ServerName;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A connection, encrypted or not.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection, encrypted or not.
pub(crate) type Stream = Box<dyn Io>;

/// A connection to a server.
pub(crate) struct Dialled {
    pub(crate) stream: Stream,
    pub(crate) remote: SocketAddr,
}

/// Connects, trying all addresses of the name.
pub(crate) async fn dial(
    url: &ServerUrl,
    tls: Option<&Tls>,
    within: Duration,
) -> Result<Dialled, ConnectError> {
    let unreachable = |error: std::io::Error| ConnectError::Unreachable {
        server: url.authority().to_owned(),
        cause: format!("{error}{}", crate::error::limit_hint(&error)),
    };
    let late = |step| ConnectError::Timeout {
        server: url.authority().to_owned(),
        step,
        after: within,
    };
    let connecting = TcpStream::connect((url.host(), url.port()));
    let stream = tokio::time::timeout(within, connecting)
        .await
        .map_err(|_| late(Step::Dial))?
        .map_err(unreachable)?;
    let remote = stream.peer_addr().map_err(unreachable)?;
    // Messages are small and each one matters now.
    stream.set_nodelay(true).map_err(unreachable)?;
    let stream: Stream = if url.is_tls() {
        tokio::time::timeout(within, encrypt(url, tls, stream))
            .await
            .map_err(|_| late(Step::Tls))??
    } else {
        Box::new(stream)
    };
    Ok(Dialled { stream, remote })
}

async fn encrypt(
    url: &ServerUrl,
    tls: Option<&Tls>,
    stream: TcpStream,
) -> Result<Stream, ConnectError> {
    let refused = |cause: String| ConnectError::Tls {
        server: url.authority().to_owned(),
        cause,
    };
    let tls = match tls {
        Some(tls) => tls.clone(),
        None => Tls::system().map_err(refused)?,
    };
    let name = ServerName::try_from(url.host().to_owned())
        .map_err(|_| refused("its name cannot stand in a certificate".to_owned()))?;
    let stream = tls
        .connector()
        .connect(name, stream)
        .await
        .map_err(|error| refused(error.to_string()))?;
    Ok(Box::new(stream))
}
