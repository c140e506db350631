//! The first message of a TLS connection, as far as it is needed: the name that the client asks for
//! (RFC 6066 section 3). Read by rustls, as its own server would.

use rustls::server::Acceptor;
use std::fmt;
use thiserror::Error;

/// Longest first message, with the headers of its records, bytes. Post-quantum key shares make it 2 KB.
pub(super) const HELLO_BYTES_MAX: usize = 16 * 1024;

/// Why there is no name to be had.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum HelloError {
    /// Longer than is read.
    #[error("the first message is longer than {HELLO_BYTES_MAX} bytes")]
    TooLong,
    /// No TLS.
    #[error("no TLS: {0}")]
    NoTls(String),
    /// It ended before it was whole.
    #[error("the client has gone before its first message was whole")]
    Cut,
}

/// A first message that is being read.
#[derive(Default)]
pub(super) struct Hello {
    /// All that was read, to be passed on: it may be more than the message.
    bytes: Vec<u8>,
    acceptor: Acceptor,
    name: Option<String>,
}

impl fmt::Debug for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hello({:?}, {} bytes)", self.name, self.bytes.len())
    }
}

impl Hello {
    /// Takes what was read; true if the message is whole. Not to be called again then.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<bool, HelloError> {
        if self.bytes.len() + bytes.len() > HELLO_BYTES_MAX {
            return Err(HelloError::TooLong);
        }
        self.bytes.extend_from_slice(bytes);
        let mut rest = bytes;
        while !rest.is_empty() {
            // A slice can always be read; the reader has a limit of its own.
            let read = self.acceptor.read_tls(&mut rest);
            if read.map_err(|error| HelloError::NoTls(error.to_string()))? == 0 {
                return Err(HelloError::TooLong);
            }
            match self.acceptor.accept() {
                Ok(Some(accepted)) => {
                    let name = accepted.client_hello().server_name().map(str::to_owned);
                    self.name = name;
                    return Ok(true);
                }
                Ok(None) => {}
                Err((error, _)) => return Err(HelloError::NoTls(error.to_string())),
            }
        }
        Ok(false)
    }

    /// The name, in lower case, if the client named one.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// All that was read.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};
    use std::sync::Arc;

    /// What a client sends first.
    pub(in crate::sni) fn hello(name: &str) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn the_name_is_read_and_every_byte_is_kept() {
        let mut bytes = hello("turn.example.org");
        let mut whole = Hello::default();
        assert_eq!(whole.push(&bytes), Ok(true));
        assert_eq!(whole.name(), Some("turn.example.org"));
        assert_eq!(whole.bytes(), bytes);
        // A client that asks for an address names nothing.
        bytes = hello("192.0.2.1");
        let mut unnamed = Hello::default();
        assert_eq!(unnamed.push(&bytes), Ok(true));
        assert_eq!(unnamed.name(), None);
    }

    #[test]
    fn what_is_no_tls_is_refused_at_once_and_what_is_too_long_at_the_limit() {
        let refused = Hello::default().push(b"GET / HTTP/1.1\r\n\r\n");
        assert!(matches!(refused, Err(HelloError::NoTls(_))), "{refused:?}");
        // A record that announces a first message of 16 MB, and goes on.
        let mut endless = Hello::default();
        let record = [
            &[22, 3, 1, 0x10, 0, 1, 0xff, 0xff, 0xff][..],
            &[0; 0x1000 - 4],
        ]
        .concat();
        let mut outcome = Ok(false);
        for _ in 0..10 {
            outcome = endless.push(&record);
            if outcome.is_err() {
                break;
            }
        }
        assert!(outcome.is_err(), "{outcome:?}");
    }

    proptest! {
        #[test]
        fn the_cut_does_not_decide(cuts in proptest::collection::vec(1usize..200, 1..20)) {
            let bytes = hello("turn.example.org");
            let (mut rest, mut reading) = (bytes.as_slice(), Hello::default());
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                let is_whole = reading.push(now).unwrap();
                prop_assert_eq!(is_whole, later.is_empty());
                rest = later;
                if is_whole {
                    break;
                }
            }
            prop_assert_eq!(reading.name(), Some("turn.example.org"));
            prop_assert_eq!(reading.bytes(), bytes);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0usize..300) {
            let _ = Hello::default().push(&bytes);
            let mut damaged = hello("turn.example.org");
            let at = at % damaged.len();
            damaged[at] ^= bytes.first().copied().unwrap_or(1);
            let _ = Hello::default().push(&damaged);
        }
    }
}
