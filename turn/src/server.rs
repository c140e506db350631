//! The server as a whole: check first, then run on a thread of its own, so that a busy relay delays
//! neither media nor signalling.

use crate::config::Config;
use crate::core::{Figures, PeerPolicy, Relay, RelayAddress, RelayConfig};
use crate::driver::{self, Driver};
use crate::streams::{self, Connections};
use crate::tls::{Certificate, CertificateError};
use proto::turn::TurnSecret;
use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::sync::{oneshot, watch};
use tokio::task::LocalSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// The name that passwords belong to. Clients are not shown it; it is in every challenge.
const REALM: &str = "anteroom";
/// How often the files of the certificate are looked at.
const RELOAD_EVERY: Duration = Duration::from_secs(3);

/// Why there is no TURN server.
#[derive(Debug, Error)]
pub enum TurnError {
    /// Nothing to check credentials with.
    #[error("node.turn.secret is missing: set it, or cluster.secret")]
    NoSecret,
    /// The certificate cannot be used.
    #[error("TURN over TLS is not possible: {0}")]
    Certificate(#[from] CertificateError),
    /// No thread, no runtime or no sockets in it.
    #[error("the TURN server cannot be started")]
    Start(#[source] io::Error),
    /// A fault.
    #[error("the TURN server's thread died by a fault")]
    Died,
}

/// Bound sockets, non-blocking.
#[derive(Debug, Default)]
pub struct Sockets {
    /// Datagrams of clients.
    pub udp: Vec<UdpSocket>,
    /// Connections of clients.
    pub tcp: Vec<TcpListener>,
    /// Connections with TLS. Without a certificate they are not listened to.
    pub tls: Vec<TcpListener>,
}

/// What a server is made of.
#[derive(Debug)]
pub struct Start<'a> {
    /// Validated.
    pub config: &'a Config,
    /// Where clients come in.
    pub sockets: Sockets,
    /// Where they come out, one for each IP version; also the host of the URLs if there is no name.
    pub addresses: Vec<RelayAddress>,
    /// The node's media addresses: always allowed as peers.
    pub media: Vec<SocketAddr>,
}

/// A server that is ready to run.
#[derive(Debug)]
pub struct TurnServer {
    sockets: Sockets,
    relay: RelayConfig,
    ports: crate::config::PortRange,
    certificate: Option<Certificate>,
    urls: Vec<String>,
}

impl TurnServer {
    /// Reads the certificate and puts the parts together.
    ///
    /// # Errors
    /// [`TurnError::NoSecret`] and [`TurnError::Certificate`].
    pub fn new(start: Start<'_>) -> Result<Self, TurnError> {
        let Start {
            config,
            sockets,
            addresses,
            media,
        } = start;
        let secret = config.secret.as_deref().and_then(TurnSecret::new);
        let secret = secret.ok_or(TurnError::NoSecret)?;
        let files = config.certificate.clone().zip(config.key.clone());
        let certificate = files
            .map(|(chain, key)| Certificate::load(chain, key))
            .transpose()?;
        let urls = urls(config, &sockets, &addresses);
        let relay = RelayConfig {
            realm: REALM.to_owned(),
            secret,
            addresses,
            peers: PeerPolicy::new(media, config.allow_peers.clone()),
            limits: config.limits(),
            nonce_key: rand::random(),
        };
        let ports = config.relay_ports;
        Ok(Self {
            sockets,
            relay,
            ports,
            certificate,
            urls,
        })
    }

    /// What clients are told (RFC 7065): UDP, TCP, TLS.
    pub fn urls(&self) -> &[String] {
        &self.urls
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// [`TurnError::Start`].
    pub fn start(self) -> Result<Running, TurnError> {
        let stop = CancellationToken::new();
        let (figures_tx, figures) = watch::channel(Figures::default());
        let (ended_tx, ended) = oneshot::channel();
        let stopping = stop.clone();
        thread::Builder::new()
            .name("turn".to_owned())
            .spawn(move || {
                let result = self.run(figures_tx, &stopping);
                // Nobody listens if the node is being dropped.
                let _ = ended_tx.send(result);
            })
            .map_err(TurnError::Start)?;
        Ok(Running {
            figures,
            ended,
            stop,
        })
    }

    fn run(self, figures: watch::Sender<Figures>, stop: &CancellationToken) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let tasks = LocalSet::new();
        tasks.block_on(&runtime, async {
            self.spawn_all(figures)?;
            stop.cancelled().await;
            Ok(())
        })
    }

    /// Must be called inside the runtime.
    fn spawn_all(self, figures: watch::Sender<Figures>) -> io::Result<()> {
        let connections = Connections::new(self.relay.limits.allocations_per_ip);
        let relay = Relay::new(self.relay, Instant::now());
        let shared = Rc::new(RefCell::new(Driver::new(relay, self.ports)));
        for socket in self.sockets.udp {
            let local = socket.local_addr()?;
            let socket = tokio::net::UdpSocket::from_std(socket)?;
            tokio::task::spawn_local(driver::serve_clients(shared.clone(), socket, local));
        }
        let acceptor = match &self.certificate {
            Some(certificate) => {
                let config = certificate.server_config().map_err(io::Error::other)?;
                Some(TlsAcceptor::from(Arc::new(config)))
            }
            None => None,
        };
        let plain = self
            .sockets
            .tcp
            .into_iter()
            .map(|listener| (listener, None));
        let tls = self.sockets.tls.into_iter();
        let tls = tls.filter_map(|listener| Some((listener, Some(acceptor.clone()?))));
        for (listener, acceptor) in plain.chain(tls) {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let accepting =
                streams::accept(shared.clone(), listener, acceptor, connections.clone());
            tokio::task::spawn_local(accepting);
        }
        if let Some(certificate) = self.certificate {
            tokio::task::spawn_local(keep_certificate(certificate));
        }
        tokio::task::spawn_local(driver::keep_time(shared, figures));
        Ok(())
    }
}

/// Looks at the certificate's files from time to time.
async fn keep_certificate(mut certificate: Certificate) {
    loop {
        tokio::time::sleep(RELOAD_EVERY).await;
        // A file may be on a slow or dead network drive.
        let reloading = tokio::task::spawn_blocking(move || {
            let outcome = certificate.reload();
            (certificate, outcome)
        });
        let Ok((same, outcome)) = reloading.await else {
            return;
        };
        certificate = same;
        match outcome {
            Ok(true) => tracing::info!("TURN: a new certificate is in use"),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "TURN: the old certificate stays in use"),
        }
    }
}

fn urls(config: &Config, sockets: &Sockets, addresses: &[RelayAddress]) -> Vec<String> {
    let Some(address) = addresses.first() else {
        return Vec::new();
    };
    let host = config.host(address.told);
    let port_of = |listeners: &[TcpListener]| {
        let first = listeners.first()?;
        first.local_addr().ok().map(|address| address.port())
    };
    let udp = sockets
        .udp
        .first()
        .and_then(|socket| socket.local_addr().ok());
    let tls = port_of(&sockets.tls).filter(|_| config.certificate.is_some());
    let url = |scheme: &str, port: u16, transport: &str| {
        format!("{scheme}:{host}:{port}?transport={transport}")
    };
    let urls = [
        udp.map(|udp| url("turn", udp.port(), "udp")),
        port_of(&sockets.tcp).map(|port| url("turn", port, "tcp")),
        tls.map(|port| url("turns", config.tls_public_port.unwrap_or(port), "tcp")),
    ];
    urls.into_iter().flatten().collect()
}

/// A server that runs. Dropping it stops it.
#[derive(Debug)]
pub struct Running {
    figures: watch::Receiver<Figures>,
    ended: oneshot::Receiver<io::Result<()>>,
    stop: CancellationToken,
}

impl Running {
    /// What it counts, new every second.
    pub fn figures(&self) -> watch::Receiver<Figures> {
        self.figures.clone()
    }

    /// Waits for its end, which comes by a fault only. Cancel safe.
    pub async fn ended(&mut self) -> TurnError {
        match (&mut self.ended).await {
            Ok(Err(error)) => TurnError::Start(error),
            Ok(Ok(())) | Err(_) => TurnError::Died,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
