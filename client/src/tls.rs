//! Whom a client trusts with `wss`.

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use std::fmt;
use std::sync::{Arc, OnceLock};
use tokio_rustls::TlsConnector;

/// A TLS configuration that many clients share. Cheap to clone.
#[derive(Clone)]
pub struct Tls(Arc<ClientConfig>);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Trusts the certificate authorities of this machine, read once in a process.
    ///
    /// # Errors
    /// The machine has none.
    pub fn system() -> Result<Self, String> {
        static SYSTEM: OnceLock<Result<Tls, String>> = OnceLock::new();
        let read = || Self::trusting(rustls_native_certs::load_native_certs().certs);
        SYSTEM.get_or_init(read).clone()
    }

    /// Trusts these certificate authorities alone.
    ///
    /// # Errors
    /// There is no usable one among them.
    pub fn trusting(
        roots: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Result<Self, String> {
        let mut store = RootCertStore::empty();
        let (added, _) = store.add_parsable_certificates(roots);
        if added == 0 {
            return Err("there is no certificate authority to trust".to_owned());
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(store)
            .with_no_client_auth();
        // The handshake of a WebSocket is HTTP/1.1 (RFC 6455 section 4.1).
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }

    pub(crate) fn connector(&self) -> TlsConnector {
        TlsConnector::from(Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_authority_nobody_is_trusted() {
        let refused = Tls::trusting([CertificateDer::from(vec![1, 2, 3])]).unwrap_err();
        assert!(refused.contains("no certificate authority"));
    }
}
