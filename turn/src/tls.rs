//! The certificate of the TLS port, read again when its files change.

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::path::PathBuf;
use std::sync::Arc;
use thiserror::Error;

/// The ALPN name of TURN (RFC 7443). Offered, not asked for: browsers send none.
const ALPN: &[u8] = b"stun.turn";

/// A certificate that cannot be used.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// A file that cannot be read.
    #[error("{setting} {path} cannot be read")]
    Read {
        /// Which.
        setting: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file that holds something else.
    #[error("{setting} {path} is no PEM file of its kind")]
    Pem {
        /// Which.
        setting: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// Two files that do not fit together, or a kind of key that is not known.
    #[error("node.turn.certificate and node.turn.key do not fit together")]
    Pair(#[source] rustls::Error),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}

/// The files, and what was in them last.
#[derive(Debug)]
pub(crate) struct Certificate {
    files: [File; 2],
    read: [Vec<u8>; 2],
    current: Arc<Current>,
}

#[derive(Clone, Debug)]
struct File {
    setting: &'static str,
    path: PathBuf,
}

impl File {
    fn read(&self) -> Result<Vec<u8>, CertificateError> {
        std::fs::read(&self.path).map_err(|source| CertificateError::Read {
            setting: self.setting,
            path: self.path.clone(),
            source,
        })
    }

    fn no_pem(&self) -> CertificateError {
        CertificateError::Pem {
            setting: self.setting,
            path: self.path.clone(),
        }
    }
}

#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Certificate {
    pub(crate) fn load(certificate: PathBuf, key: PathBuf) -> Result<Self, CertificateError> {
        let certificate = File {
            setting: "node.turn.certificate",
            path: certificate,
        };
        let key = File {
            setting: "node.turn.key",
            path: key,
        };
        let files = [certificate, key];
        let read = read(&files)?;
        let current = ArcSwap::from_pointee(parse(&files, &read)?);
        Ok(Self {
            files,
            read,
            current: Arc::new(Current(current)),
        })
    }

    /// TLS 1.2 and 1.3.
    pub(crate) fn server_config(&self) -> Result<ServerConfig, CertificateError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(CertificateError::Tls)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(config)
    }

    /// Looks at the files; true if new ones are in use from now on. New connections get them.
    ///
    /// # Errors
    /// See [`CertificateError`]; then the old ones stay in use. Files that are being replaced fit
    /// together at the next look.
    pub(crate) fn reload(&mut self) -> Result<bool, CertificateError> {
        let read = read(&self.files)?;
        if read == self.read {
            return Ok(false);
        }
        self.current.0.store(Arc::new(parse(&self.files, &read)?));
        self.read = read;
        Ok(true)
    }
}

fn read(files: &[File; 2]) -> Result<[Vec<u8>; 2], CertificateError> {
    let [certificate, key] = files;
    Ok([certificate.read()?, key.read()?])
}

fn parse(files: &[File; 2], read: &[Vec<u8>; 2]) -> Result<CertifiedKey, CertificateError> {
    let ([certificate, key], [certificate_pem, key_pem]) = (files, read);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate_pem).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or_else(|| certificate.no_pem())?;
    let private = PrivateKeyDer::from_pem_slice(key_pem).map_err(|_| key.no_pem())?;
    let provider = aws_lc_rs::default_provider();
    CertifiedKey::from_der(chain, private, &provider).map_err(CertificateError::Pair)
}
