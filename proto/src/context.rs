//! The gateway's signed statement about a request, and the programs' proof that they belong
//! together.
//!
//! Form: `base64url(json) "." base64url(HMAC-SHA-256(cluster secret, first part))`. Short-lived, so
//! that a leaked header is worth little; bound to one shard, so that it can't be replayed at another.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::Sha256;
use std::fmt;
use thiserror::Error;

/// Request header that carries a [`RoomContext`] from the gateway to a shard.
pub const CONTEXT_HEADER: &str = "x-anteroom-context";
/// Response header: which shard answered. Set by the gateway.
pub const SHARD_HEADER: &str = "x-anteroom-shard";
/// Response header of a 421 from a shard: who owns the room.
pub const OWNER_HEADER: &str = "x-anteroom-owner";
/// Request header that may name the room, on routes that take it from a header.
pub const ROOM_HEADER: &str = "x-anteroom-room";

/// Life of a signed statement. Both sides may be different machines: this much clock difference
/// is borne as well.
pub const CONTEXT_LIFETIME_MS: u64 = 10_000;

/// Tells the TURN secret from whatever else is made from the cluster secret: no signed statement
/// looks like it, since base64 has no space.
const TURN_LABEL: &[u8] = b"anteroom turn secret";

/// What the gateway found out about a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomContext {
    /// Canonical room name; `None` for requests that belong to no room (join page, assets).
    pub room: Option<String>,
    /// The shard it is meant for.
    pub shard: String,
    /// Incarnation of the directory that the gateway uses. A shard with a lease in another one
    /// refuses: two gateways with a memory directory each must not share shards.
    pub directory: u64,
    /// The gateway's topology generation.
    pub generation: u64,
    /// Client address, for limits and logs.
    pub client: String,
    /// Wall clock, milliseconds since the Unix epoch.
    pub expires_ms: u64,
}

/// What a program says of itself when it opens an RPC connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerContext {
    /// `shard/s1`, `node/n1`, `gateway/g1`.
    pub peer: String,
    /// Wall clock, milliseconds since the Unix epoch.
    pub expires_ms: u64,
}

/// A statement that dates itself.
pub trait Dated {
    /// Wall clock, milliseconds since the Unix epoch.
    fn expires_ms(&self) -> u64;
}

impl Dated for RoomContext {
    fn expires_ms(&self) -> u64 {
        self.expires_ms
    }
}

impl Dated for PeerContext {
    fn expires_ms(&self) -> u64 {
        self.expires_ms
    }
}

/// Why a statement was not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ContextError {
    /// Not of the documented form.
    #[error("malformed")]
    Malformed,
    /// Signed with another cluster secret, or altered.
    #[error("signed with another cluster secret")]
    BadSignature,
    /// Too old, or too far in the future to be honest.
    #[error("expired, or the clocks of the two machines differ by more than 10 s")]
    Expired,
}

/// The cluster secret (`cluster.secret`), shared by all programs of one deployment.
#[derive(Clone)]
pub struct ClusterKey(Vec<u8>);

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey(..)")
    }
}

impl ClusterKey {
    /// A key from the configured secret. An empty secret is refused.
    pub fn new(secret: &str) -> Option<Self> {
        (!secret.is_empty()).then(|| Self(secret.as_bytes().to_vec()))
    }

    /// The secret of the nodes' TURN servers where none is configured: from this one by HMAC, so that
    /// it tells nothing of it.
    pub fn turn_secret(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.mac(TURN_LABEL).finalize().into_bytes())
    }

    /// Signs a statement.
    pub fn sign<T: Serialize>(&self, statement: &T) -> String {
        let json = serde_json::to_vec(statement).unwrap_or_default();
        let body = URL_SAFE_NO_PAD.encode(json);
        let tag = self.mac(body.as_bytes()).finalize().into_bytes();
        format!("{body}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    /// Checks and reads a statement at wall clock `now_ms`.
    ///
    /// # Errors
    /// See [`ContextError`].
    pub fn verify<T: DeserializeOwned + Dated>(
        &self,
        text: &str,
        now_ms: u64,
    ) -> Result<T, ContextError> {
        let (body, tag) = text.split_once('.').ok_or(ContextError::Malformed)?;
        let tag = URL_SAFE_NO_PAD
            .decode(tag)
            .map_err(|_| ContextError::Malformed)?;
        self.mac(body.as_bytes())
            .verify_slice(&tag)
            .map_err(|_| ContextError::BadSignature)?;
        let json = URL_SAFE_NO_PAD
            .decode(body)
            .map_err(|_| ContextError::Malformed)?;
        let statement: T = serde_json::from_slice(&json).map_err(|_| ContextError::Malformed)?;
        let expires = statement.expires_ms();
        let alive = now_ms <= expires.saturating_add(CONTEXT_LIFETIME_MS)
            && expires <= now_ms.saturating_add(2 * CONTEXT_LIFETIME_MS);
        if alive {
            Ok(statement)
        } else {
            Err(ContextError::Expired)
        }
    }

    fn mac(&self, body: &[u8]) -> Hmac<Sha256> {
        // HMAC takes a key of any length: new_from_slice cannot fail.
        #[expect(clippy::expect_used, reason = "HMAC accepts every key length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("any length");
        mac.update(body);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(expires_ms: u64) -> RoomContext {
        RoomContext {
            room: Some("standup".into()),
            shard: "s1".into(),
            directory: 7,
            generation: 1,
            client: "192.0.2.1".into(),
            expires_ms,
        }
    }

    #[test]
    fn a_signed_statement_is_read_back_and_an_altered_or_late_one_is_not() {
        let key = ClusterKey::new("one").expect("not empty");
        let text = key.sign(&context(50_000));
        assert_eq!(
            key.verify::<RoomContext>(&text, 45_000),
            Ok(context(50_000))
        );
        assert_eq!(
            key.verify::<RoomContext>(&text, 60_001),
            Err(ContextError::Expired)
        );
        assert_eq!(
            key.verify::<RoomContext>(&text, 29_999),
            Err(ContextError::Expired)
        );

        let other = ClusterKey::new("two").expect("not empty");
        assert_eq!(
            other.verify::<RoomContext>(&text, 45_000),
            Err(ContextError::BadSignature)
        );
        assert_eq!(
            key.verify::<RoomContext>("x", 45_000),
            Err(ContextError::Malformed)
        );
        let altered = text.replacen(&text[..4], "AAAA", 1);
        assert_eq!(
            key.verify::<RoomContext>(&altered, 45_000),
            Err(ContextError::BadSignature)
        );
    }

    #[test]
    fn each_cluster_has_a_turn_secret_of_its_own() {
        let secret = |text: &str| ClusterKey::new(text).expect("not empty").turn_secret();
        assert_eq!(secret("one"), secret("one"));
        assert_ne!(secret("one"), secret("two"));
        assert_eq!(secret("one").len(), 43);
    }

    #[test]
    fn an_empty_secret_makes_no_key() {
        assert!(ClusterKey::new("").is_none());
    }
}
