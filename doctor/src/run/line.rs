//! Connections to the gateway.

use super::tls::{self, Trust};
use crate::core::target::Target;
use crate::core::verdict::reach::{DialFailure, Dials, Shown, TlsFailure};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A connection, encrypted or not.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection, encrypted or not.
pub(super) type Stream = Box<dyn Io>;

/// The way to the gateway, by the address that took a connection.
pub(super) struct Line {
    target: Target,
    address: SocketAddr,
    within: Duration,
}

impl Line {
    pub(super) fn new(target: Target, address: SocketAddr, within: Duration) -> Self {
        Self {
            target,
            address,
            within,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn authority(&self) -> &str {
        &self.target.authority
    }

    pub(super) fn within(&self) -> Duration {
        self.within
    }

    /// A connection, or why there is none.
    pub(super) async fn open(&self) -> Result<Stream, String> {
        let stream = dial(self.address, self.within).await;
        let stream = stream.map_err(|failure| failure.cause())?;
        if !self.target.tls {
            return Ok(Box::new(stream));
        }
        let trust = Trust::system()?;
        let dialled = tls::connect(&trust, &self.target.host, stream, self.within).await;
        match dialled.outcome {
            Ok(stream) => Ok(Box::new(stream)),
            Err(_) => Err("TLS does not come about any more".to_owned()),
        }
    }

    /// What the server shows of itself, and whether it is good.
    pub(super) async fn try_tls(&self) -> (Shown, Result<(), TlsFailure>) {
        let trust = match Trust::system() {
            Ok(trust) => trust,
            Err(cause) => return (Shown::default(), Err(TlsFailure::Other(cause))),
        };
        let stream = match dial(self.address, self.within).await {
            Ok(stream) => stream,
            Err(failure) => {
                return (Shown::default(), Err(TlsFailure::Other(failure.cause())));
            }
        };
        let dialled = tls::connect(&trust, &self.target.host, stream, self.within).await;
        let outcome = match dialled.outcome {
            Ok(_) => Ok(()),
            // A server that waits for the end of a request does not say that it got none.
            Err(TlsFailure::Late(_)) if self.speaks_http().await => Err(TlsFailure::NoTls),
            Err(failure) => Err(failure),
        };
        (dialled.shown, outcome)
    }

    /// What answers there is plain HTTP.
    async fn speaks_http(&self) -> bool {
        let Ok(mut stream) = dial(self.address, self.within).await else {
            return false;
        };
        let asking = async {
            let mut begin = [0; 5];
            stream.write_all(b"HEAD / HTTP/1.0\r\n\r\n").await?;
            stream.read_exact(&mut begin).await?;
            std::io::Result::Ok(begin)
        };
        let answer = tokio::time::timeout(self.within, asking).await;
        matches!(answer, Ok(Ok(begin)) if &begin == b"HTTP/")
    }
}

/// All addresses at once.
pub(super) async fn dial_all(addresses: &[IpAddr], port: u16, within: Duration) -> Dials {
    let dials = addresses.iter().map(|ip| async move {
        let address = SocketAddr::new(*ip, port);
        let began = Instant::now();
        let outcome = dial(address, within).await.map(|_| began.elapsed());
        (address, outcome)
    });
    futures::future::join_all(dials).await
}

pub(super) async fn dial(address: SocketAddr, within: Duration) -> Result<TcpStream, DialFailure> {
    let dialling = tokio::time::timeout(within, TcpStream::connect(address)).await;
    let stream = match dialling {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(failure(&error)),
        Err(_) => return Err(DialFailure::Late(within)),
    };
    // Messages are small and each one matters now.
    stream.set_nodelay(true).map_err(|error| failure(&error))?;
    Ok(stream)
}

pub(super) fn failure(error: &std::io::Error) -> DialFailure {
    if error.kind() == std::io::ErrorKind::ConnectionRefused {
        DialFailure::Refused
    } else {
        DialFailure::Other(error.to_string())
    }
}
