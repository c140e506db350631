//! The proxy that is measured: its address, and connections to it, plain or by TLS.

use anyhow::Context as _;
use clap::Args;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::crypto::aws_lc_rs::kx_group::X25519;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Longest wait for anything. A proxy that takes longer has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Whom to ask.
#[derive(Clone, Debug, Args)]
pub(crate) struct TargetArgs {
    /// Address of the proxy.
    #[arg(long)]
    to: SocketAddr,
    /// Speak TLS, and trust the certificate in this PEM file.
    #[arg(long, value_name = "PEM")]
    tls: Option<PathBuf>,
}

/// A connection for tasks.
pub(crate) type Wire = Box<dyn Io>;

/// Both ways of a connection.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection for a thread.
pub(crate) type BlockingWire = Box<dyn BlockingIo>;

/// Both ways of a connection.
pub(crate) trait BlockingIo: Read + Write + Send {}
impl<T: Read + Write + Send> BlockingIo for T {}

/// Whom to ask, and how.
#[derive(Clone)]
pub(crate) struct Target {
    address: SocketAddr,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl Target {
    pub(crate) fn new(args: &TargetArgs) -> anyhow::Result<Self> {
        let tls = args.tls.as_deref().map(tls_config).transpose()?;
        Ok(Self {
            address: args.to,
            tls,
        })
    }

    /// A connection that ends with a reset, so that thousands of them leave no ports behind.
    pub(crate) async fn connect(&self) -> Result<Wire, String> {
        let connected = async {
            let tcp = TcpStream::connect(self.address).await?;
            tcp.set_nodelay(true)?;
            tcp.set_zero_linger()?;
            Ok::<Wire, std::io::Error>(match &self.tls {
                None => Box::new(tcp),
                Some((config, name)) => {
                    let connector = TlsConnector::from(Arc::clone(config));
                    Box::new(connector.connect(name.clone(), tcp).await?)
                }
            })
        };
        let connected = tokio::time::timeout(PATIENCE, connected).await;
        let connected = connected.map_err(|_| "connecting took too long".to_owned())?;
        connected.map_err(|error| format!("connecting: {error}"))
    }

    pub(crate) fn connect_blocking(&self) -> anyhow::Result<BlockingWire> {
        let tcp = std::net::TcpStream::connect(self.address).context("connecting")?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        tcp.set_write_timeout(Some(PATIENCE))?;
        Ok(match &self.tls {
            None => Box::new(tcp),
            Some((config, name)) => {
                let client = ClientConnection::new(Arc::clone(config), name.clone())?;
                Box::new(StreamOwned::new(client, tcp))
            }
        })
    }
}

/// One suite, one key exchange and no resumption: all proxies do the same work.
fn tls_config(path: &Path) -> anyhow::Result<(Arc<ClientConfig>, ServerName<'static>)> {
    let certificate = CertificateDer::from_pem_file(path)
        .with_context(|| format!("certificate {}", path.display()))?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    let provider = CryptoProvider {
        cipher_suites: vec![TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![X25519],
        ..aws_lc_rs::default_provider()
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    Ok((Arc::new(config), ServerName::try_from("localhost")?))
}
