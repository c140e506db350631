//! TLS as browsers see it, and the certificate that was shown.

use crate::core::verdict::reach::{Shown, TlsFailure};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Whom this machine trusts.
#[derive(Clone)]
pub(super) struct Trust {
    verifier: Arc<WebPkiServerVerifier>,
    provider: Arc<CryptoProvider>,
}

impl Trust {
    /// The certificate authorities of this machine, read once in a process.
    pub(super) fn system() -> Result<Self, String> {
        static SYSTEM: OnceLock<Result<Trust, String>> = OnceLock::new();
        SYSTEM.get_or_init(Self::read).clone()
    }

    fn read() -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        let (added, _) =
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if added == 0 {
            return Err(
                "this machine trusts no certificate authority: install ca-certificates".to_owned(),
            );
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let verifier = verifier.build().map_err(|error| error.to_string())?;
        Ok(Self { verifier, provider })
    }
}

/// What came of a handshake.
pub(super) struct Dialled {
    pub(super) shown: Shown,
    pub(super) outcome: Result<TlsStream<TcpStream>, TlsFailure>,
}

/// Does the handshake.
pub(super) async fn connect(
    trust: &Trust,
    host: &str,
    stream: TcpStream,
    within: Duration,
) -> Dialled {
    let witness = Arc::new(Witness {
        verifier: Arc::clone(&trust.verifier),
        shown: Mutex::default(),
    });
    let outcome = handshake(trust, &witness, host, stream, within).await;
    let shown = witness.shown.lock().unwrap_or_else(PoisonError::into_inner);
    Dialled {
        shown: shown.clone(),
        outcome,
    }
}

async fn handshake(
    trust: &Trust,
    witness: &Arc<Witness>,
    host: &str,
    stream: TcpStream,
    within: Duration,
) -> Result<TlsStream<TcpStream>, TlsFailure> {
    let other = |error: Error| TlsFailure::Other(error.to_string());
    let config = ClientConfig::builder_with_provider(Arc::clone(&trust.provider))
        .with_safe_default_protocol_versions()
        .map_err(other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(witness) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| TlsFailure::Other(error.to_string()))?;
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
    match tokio::time::timeout(within, connecting).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(failure(&error)),
        Err(_) => Err(TlsFailure::Late(within)),
    }
}

/// Checks as the machine does, and remembers what it saw.
#[derive(Debug)]
struct Witness {
    verifier: Arc<WebPkiServerVerifier>,
    shown: Mutex<Shown>,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let seen = look_at(end_entity, 1 + intermediates.len());
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        self.verifier
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

fn look_at(certificate: &CertificateDer<'_>, chain: usize) -> Shown {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else {
        return Shown {
            chain,
            ..Shown::default()
        };
    };
    let issuer = parsed.issuer();
    let common_name = issuer
        .iter_common_name()
        .find_map(|name| name.as_str().ok());
    Shown {
        not_after: Some(parsed.validity().not_after.timestamp()),
        issuer: common_name.map_or_else(|| issuer.to_string(), str::to_owned),
        chain,
        is_self_signed: issuer == parsed.subject(),
    }
}

fn failure(error: &std::io::Error) -> TlsFailure {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    let seconds = |at: UnixTime| i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    match inner {
        Some(Error::InvalidCertificate(certificate)) => match certificate {
            CertificateError::NotValidForNameContext { presented, .. } => {
                TlsFailure::Name(presented.clone())
            }
            CertificateError::ExpiredContext { not_after, .. } => {
                TlsFailure::Expired(seconds(*not_after))
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                TlsFailure::NotYet
            }
            CertificateError::UnknownIssuer => TlsFailure::UnknownIssuer,
            other => TlsFailure::Other(format!("the certificate is refused: {other}")),
        },
        Some(Error::InvalidMessage(_)) => TlsFailure::NoTls,
        _ => TlsFailure::Other(error.to_string()),
    }
}
