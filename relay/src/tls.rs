//! TLS between nodes: encryption and a session to prove oneself in, no more. Certificates say nothing:
//! each node makes one when it starts, and takes any. Who a peer is shows its proof, which is bound to
//! the session (`handshake.rs`): one in the middle has two sessions, and can't use a proof of one in
//! the other.

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{DigitallySignedStruct, SignatureScheme};
use std::sync::Arc;
use thiserror::Error;

/// What both ends must speak.
const ALPN: &[u8] = b"anteroom-relay/1";
/// In every certificate and every greeting: it is not looked at.
pub(crate) const SERVER_NAME: &str = "relay";

/// Why there is no TLS.
#[derive(Debug, Error)]
pub enum TlsError {
    /// No certificate can be made.
    #[error("no certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// rustls does not take what it was given.
    #[error("no TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// QUIC's own cipher is missing.
    #[error("no QUIC: {0}")]
    Quic(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
}

/// AES-128-GCM first: it is QUIC's own, and cheaper than the 256 bits that rustls prefers.
fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
            aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        ..aws_lc_rs::default_provider()
    }
}

/// For those who connect to us.
pub(crate) fn server() -> Result<QuicServerConfig, TlsError> {
    let made = rcgen::generate_simple_self_signed([SERVER_NAME.to_owned()])?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.into()], key.into())?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Connections last: nothing is gained by going on with an old session.
    config.send_tls13_tickets = 0;
    Ok(config.try_into()?)
}

/// For those whom we connect to.
pub(crate) fn client() -> Result<QuicClientConfig, TlsError> {
    let provider = provider();
    let verifier = AnyCertificate(provider.signature_verification_algorithms);
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config.try_into()?)
}

/// Takes every certificate whose key the other end has.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
