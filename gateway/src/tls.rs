//! Certificates: read from files, chosen by name, swapped at a reload.

use crate::config::{Config, ListenConfig, TlsConfig};
use arc_swap::ArcSwap;
use pingora::listeners::tls::Acceptor;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::path::Path;
use std::sync::Arc;

/// The certificates of one listener.
#[derive(Debug)]
pub(crate) struct Certificates(ArcSwap<Vec<Entry>>);

#[derive(Debug)]
pub(crate) struct Entry {
    /// Empty: the names in the certificate count.
    names: Vec<String>,
    key: Arc<CertifiedKey>,
}

impl Certificates {
    pub(crate) fn new(entries: Vec<Entry>) -> Self {
        Self(ArcSwap::from_pointee(entries))
    }

    pub(crate) fn replace(&self, entries: Vec<Entry>) {
        self.0.store(Arc::new(entries));
    }

    fn choose(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let entries = self.0.load();
        let chosen = name.and_then(|name| entries.iter().find(|entry| entry.serves(name)));
        let entry = chosen.or_else(|| entries.first())?;
        Some(Arc::clone(&entry.key))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name())
    }
}

impl Entry {
    fn serves(&self, name: &str) -> bool {
        if !self.names.is_empty() {
            return self.names.iter().any(|pattern| matches_name(pattern, name));
        }
        let (Some(cert), Ok(name)) = (self.key.cert.first(), ServerName::try_from(name)) else {
            return false;
        };
        ParsedCertificate::try_from(cert)
            .is_ok_and(|cert| rustls::client::verify_server_name(&cert, &name).is_ok())
    }
}

/// `*.example.org` stands for exactly one label (RFC 6125 section 6.4.3).
pub(crate) fn matches_name(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(parent) => name
            .split_once('.')
            .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(parent)),
        None => pattern.eq_ignore_ascii_case(name),
    }
}

/// Reads every file that the section names, as a start does, without opening a listener.
///
/// # Errors
/// A text that names the address, the file and the cause: unreadable, no PEM, or a key that is not
/// the certificate's.
pub fn check_files(config: &Config) -> Result<(), String> {
    let mut listen = config.listen.iter();
    listen.try_for_each(|listen| load_listener(listen).map(drop))
}

/// Reads the files of a listener, if it has any. The error names the address, the file and the cause.
pub(crate) fn load_listener(listen: &ListenConfig) -> Result<Option<Vec<Entry>>, String> {
    let entries = listen.tls.as_ref().map(load).transpose();
    entries.map_err(|cause| format!("gateway.listen '{}': {cause}", listen.address))
}

fn load(config: &TlsConfig) -> Result<Vec<Entry>, String> {
    let provider = aws_lc_rs::default_provider();
    let entries = config.certificates.iter().map(|certificate| {
        let key = load_key(&certificate.cert, &certificate.key, &provider)?;
        Ok(Entry {
            names: certificate.names.clone(),
            key: Arc::new(key),
        })
    });
    entries.collect()
}

fn load_key(cert: &Path, key: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let unreadable = |error| format!("certificate {}: {error}", cert.display());
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(unreadable)?;
    if chain.is_empty() {
        return Err(format!(
            "certificate {}: no PEM certificate in it",
            cert.display()
        ));
    }
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| format!("private key {}: {error}", key.display()))?;
    CertifiedKey::from_der(chain, private, provider).map_err(|error| {
        let (cert, key) = (cert.display(), key.display());
        format!("certificate {cert} and private key {key} do not fit together: {error}")
    })
}

/// A TLS 1.2 and 1.3 acceptor that offers HTTP/2 and HTTP/1.1.
pub(crate) fn acceptor(certificates: Arc<Certificates>) -> Result<Acceptor, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Acceptor::from_server_config(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_one_label() {
        assert!(matches_name("*.example.org", "meet.EXAMPLE.org"));
        assert!(!matches_name("*.example.org", "a.b.example.org"));
        assert!(!matches_name("*.example.org", "example.org"));
        assert!(matches_name("example.org", "EXAMPLE.org"));
    }
}
