//! Nonces without a list of them: each says when it was made, with a MAC over that and the client's
//! address (RFC 8489 section 9.2.1.1 leaves their form to the server). Short, because the answer that
//! carries one goes to addresses that may be forged.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use std::fmt;
use std::net::SocketAddr;

/// How long a nonce is taken, seconds. Clients ask for a new one in passing (438).
const LIFETIME_S: u64 = 3_600;
/// Bytes of the time.
const TIME_BYTES: usize = 4;
/// Bytes of the MAC. Guessing one is of no use without a password.
const TAG_BYTES: usize = 8;

/// Makes and checks nonces.
pub(crate) struct Nonces([u8; 32]);

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonces(..)")
    }
}

impl Nonces {
    /// `key` must be random and this server's own.
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// A nonce for `client` at `now_s`, seconds since the Unix epoch: 16 characters.
    pub(crate) fn make(&self, client: SocketAddr, now_s: u64) -> String {
        // The upper bits of the time do not matter: see `check`.
        #[expect(clippy::cast_possible_truncation)]
        let time = (now_s as u32).to_be_bytes();
        let mut bytes = time.to_vec();
        bytes.extend(self.tag(client, time));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Whether it was made here for `client` and is not too old.
    pub(crate) fn check(&self, nonce: &str, client: SocketAddr, now_s: u64) -> bool {
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(nonce) else {
            return false;
        };
        let Some((time, tag)) = bytes.split_first_chunk::<TIME_BYTES>() else {
            return false;
        };
        if tag != self.tag(client, *time) {
            return false;
        }
        #[expect(clippy::cast_possible_truncation)]
        let age = (now_s as u32).wrapping_sub(u32::from_be_bytes(*time));
        u64::from(age) < LIFETIME_S
    }

    fn tag(&self, client: SocketAddr, time: [u8; TIME_BYTES]) -> [u8; TAG_BYTES] {
        // HMAC takes a key of any length: new_from_slice cannot fail.
        #[expect(clippy::expect_used, reason = "HMAC accepts every key length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("any length");
        mac.update(&time);
        mac.update(client.to_string().as_bytes());
        let whole: [u8; 32] = mac.finalize().into_bytes().into();
        let (tag, _) = whole.split_first_chunk().unwrap_or((&[0; TAG_BYTES], &[]));
        *tag
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn client() -> SocketAddr {
        "192.0.2.1:5000".parse().unwrap()
    }

    #[test]
    fn a_nonce_holds_for_an_hour_for_its_client_at_its_server() {
        let nonces = Nonces::new([1; 32]);
        let nonce = nonces.make(client(), 1_000_000);
        assert_eq!(nonce.len(), 16);
        assert!(nonces.check(&nonce, client(), 1_000_000));
        assert!(nonces.check(&nonce, client(), 1_003_599));
        assert!(!nonces.check(&nonce, client(), 1_003_600));
        assert!(!nonces.check(&nonce, client(), 999_999), "from the future");
        assert!(!nonces.check(&nonce, "192.0.2.1:5001".parse().unwrap(), 1_000_000));
        assert!(!Nonces::new([2; 32]).check(&nonce, client(), 1_000_000));
    }

    proptest! {
        #[test]
        fn nothing_else_is_taken(nonce in ".{0,40}", now: u64) {
            prop_assert!(!Nonces::new([1; 32]).check(&nonce, client(), now));
        }
    }
}
