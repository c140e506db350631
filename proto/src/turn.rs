//! Credentials for TURN with a lifetime: the user name says until when they hold and for whom, the
//! password is its MAC ("TURN REST API", draft-uberti-behave-turn-rest-00 section 2.2). Whoever has
//! the secret makes them, whoever has the secret checks them, and nobody keeps a list.
//!
//! The shard makes them for its clients, the node checks them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use sha1::Sha1;
use std::fmt;
use thiserror::Error;

/// Longest user name that is read, in bytes. RFC 8489 section 14.3 allows 508; ours have about 30.
pub const USERNAME_BYTES_MAX: usize = 256;
/// URLs of one node that are read; further ones are left out.
pub const URLS_MAX: usize = 8;
/// Longest URL that is read, in bytes.
pub const URL_BYTES_MAX: usize = 300;

/// The secret of one TURN service, shared by those who make credentials and those who check them.
#[derive(Clone, PartialEq, Eq)]
pub struct TurnSecret(Vec<u8>);

impl fmt::Debug for TurnSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TurnSecret(..)")
    }
}

/// What a client needs to use a TURN server.
#[derive(Clone, PartialEq, Eq)]
pub struct TurnCredentials {
    /// `{expiry}:{participant}`, the expiry in seconds since the Unix epoch.
    pub username: String,
    /// Base64 of HMAC-SHA1 over the user name.
    pub password: String,
}

impl fmt::Debug for TurnCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TurnCredentials({}, ..)", self.username)
    }
}

/// A user name that holds now. That the client knows the password is still to be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct TurnUser<'a> {
    /// For whom the credentials were made.
    pub participant: &'a str,
    /// Until when they hold, in seconds since the Unix epoch.
    pub expires_s: u64,
    /// What the client must know.
    pub password: String,
}

impl fmt::Debug for TurnUser<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TurnUser({}:{}, ..)", self.expires_s, self.participant)
    }
}

/// Why a user name is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TurnUserError {
    /// Not of the form `{expiry}:{participant}`, or too long.
    #[error("malformed")]
    Malformed,
    /// Its time is over.
    #[error("expired")]
    Expired,
}

impl TurnSecret {
    /// A secret from its configured text. An empty one is refused.
    pub fn new(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(text.as_bytes().to_vec()))
    }

    /// Credentials for `participant` that hold until `expires_s`, seconds since the Unix epoch.
    pub fn issue(&self, participant: &str, expires_s: u64) -> TurnCredentials {
        let username = format!("{expires_s}:{participant}");
        let password = self.password(&username);
        TurnCredentials { username, password }
    }

    /// Reads a user name at wall clock `now_s`, seconds since the Unix epoch.
    ///
    /// # Errors
    /// See [`TurnUserError`]. Whether the secret made it shows only in the password.
    pub fn check<'a>(&self, username: &'a str, now_s: u64) -> Result<TurnUser<'a>, TurnUserError> {
        if username.len() > USERNAME_BYTES_MAX {
            return Err(TurnUserError::Malformed);
        }
        let (expiry, participant) = username.split_once(':').ok_or(TurnUserError::Malformed)?;
        // `parse` would take a sign.
        let is_number = !expiry.is_empty() && expiry.bytes().all(|byte| byte.is_ascii_digit());
        let expires_s = expiry.parse().ok().filter(|_| is_number);
        let expires_s = expires_s.ok_or(TurnUserError::Malformed)?;
        if participant.is_empty() {
            return Err(TurnUserError::Malformed);
        }
        if expires_s <= now_s {
            return Err(TurnUserError::Expired);
        }
        Ok(TurnUser {
            participant,
            expires_s,
            password: self.password(username),
        })
    }

    fn password(&self, username: &str) -> String {
        // HMAC takes a key of any length: new_from_slice cannot fail.
        #[expect(clippy::expect_used, reason = "HMAC accepts every key length")]
        let mut mac = Hmac::<Sha1>::new_from_slice(&self.0).expect("any length");
        mac.update(username.as_bytes());
        STANDARD.encode(mac.finalize().into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secret() -> TurnSecret {
        TurnSecret::new("north").unwrap()
    }

    /// `printf 1700000000:PA_x | openssl dgst -sha1 -hmac north -binary | base64`
    #[test]
    fn the_password_is_what_other_programs_compute() {
        let made = secret().issue("PA_x", 1_700_000_000);
        assert_eq!(made.username, "1700000000:PA_x");
        assert_eq!(made.password, "bJNHYqfyCkl+PF7CTIj5CKSY9i0=");
    }

    #[test]
    fn what_is_issued_is_taken_until_it_expires() {
        let made = secret().issue("PA_x", 100);
        let user = secret().check(&made.username, 99).unwrap();
        assert_eq!((user.participant, user.expires_s), ("PA_x", 100));
        assert_eq!(user.password, made.password);
        let late = secret().check(&made.username, 100);
        assert_eq!(late, Err(TurnUserError::Expired));
    }

    #[test]
    fn another_secret_or_another_name_has_another_password() {
        let made = secret().issue("PA_x", 100);
        let other = TurnSecret::new("south").unwrap();
        let user = other.check(&made.username, 1).unwrap();
        assert_ne!(user.password, made.password);
        let user = secret().check("101:PA_x", 1).unwrap().password;
        assert_ne!(user, made.password);
        assert!(TurnSecret::new("").is_none());
    }

    #[test]
    fn malformed_names_are_refused() {
        let long = format!("100:{}", "x".repeat(USERNAME_BYTES_MAX));
        let bad = ["", "100", "100:", ":x", "+100:x", "-1:x", "1e9:x", " 9:x"];
        for name in bad.into_iter().chain([long.as_str()]) {
            let refused = secret().check(name, 1);
            assert_eq!(refused, Err(TurnUserError::Malformed), "{name}");
        }
    }

    #[test]
    fn secrets_and_passwords_are_not_printed() {
        let made = secret().issue("PA_x", 100);
        let user = secret().check(&made.username, 1).unwrap();
        let printed = format!("{:?} {made:?} {user:?}", secret());
        assert!(!printed.contains("north") && !printed.contains(&made.password));
        assert!(printed.contains("PA_x"));
    }

    proptest! {
        #[test]
        fn any_participant_survives_the_way(name in "[^\u{0}]{1,40}", expires in 1u64.., late in 0u64..5) {
            let made = secret().issue(&name, expires);
            let now = expires.saturating_sub(1).saturating_add(late);
            match secret().check(&made.username, now) {
                Ok(user) => prop_assert!(user.participant == name && now < expires),
                Err(error) => prop_assert!(error == TurnUserError::Expired && now >= expires),
            }
        }

        #[test]
        fn no_name_panics(name in ".{0,300}", now: u64) {
            let _ = secret().check(&name, now);
        }
    }
}
