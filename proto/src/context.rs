//! The gateway's signed statement about a request, and the programs' proof that they belong
//! together.
//!
//! Form: `base64url(json) "." base64url(HMAC-SHA-256(cluster secret, first part))`. Short-lived, so
//! that a leaked header is worth little; bound to one shard, so that it can't be replayed at another.

use crate::id::NodeId;
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

/// The same for the key of media nodes' proofs to each other.
const RELAY_LABEL: &[u8] = b"anteroom relay key";

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

/// Which end of a connection between two media nodes somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayRole {
    /// Opened it.
    Connecting,
    /// Was called.
    Accepting,
}

/// What a media node claims when another one connects to it, or it to another one. All of it is in
/// the proof: one heard on a connection is worth nothing on another, nor thrown back on the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayClaim<'a> {
    /// Of the one that proves.
    pub role: RelayRole,
    /// Who proves.
    pub prover: &'a NodeId,
    /// To whom.
    pub verifier: &'a NodeId,
    /// What both ends know of their TLS session and nobody else: its exported keying material.
    pub binding: &'a [u8],
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

    /// Proves a claim to one who has the same secret.
    pub fn relay_proof(&self, claim: &RelayClaim<'_>) -> [u8; 32] {
        self.relay_mac(claim).finalize().into_bytes().into()
    }

    /// Whether a proof is of this claim, by one who has the same secret. Takes as long for every wrong
    /// proof.
    pub fn is_relay_proof(&self, claim: &RelayClaim<'_>, proof: &[u8]) -> bool {
        self.relay_mac(claim).verify_slice(proof).is_ok()
    }

    fn relay_mac(&self, claim: &RelayClaim<'_>) -> Hmac<Sha256> {
        let key = self.mac(RELAY_LABEL).finalize().into_bytes();
        let role = match claim.role {
            RelayRole::Connecting => b"connecting".as_slice(),
            RelayRole::Accepting => b"accepting",
        };
        let prover = claim.prover.as_str().as_bytes();
        let verifier = claim.verifier.as_str().as_bytes();
        let mut mac = keyed(&key);
        // With lengths, so that no two claims are the same bytes.
        for part in [role, prover, verifier, claim.binding] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
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
        let mut mac = keyed(&self.0);
        mac.update(body);
        mac
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    // HMAC takes a key of any length: new_from_slice cannot fail.
    #[expect(clippy::expect_used, reason = "HMAC accepts every key length")]
    Hmac::<Sha256>::new_from_slice(key).expect("any length")
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
    fn a_proof_between_nodes_is_of_its_claim_only() {
        let [a, b] = ["a", "b"].map(NodeId::new);
        let claim = RelayClaim {
            role: RelayRole::Connecting,
            prover: &a,
            verifier: &b,
            binding: &[7; 32],
        };
        let key = ClusterKey::new("one").expect("not empty");
        let proof = key.relay_proof(&claim);
        assert!(key.is_relay_proof(&claim, &proof));
        assert!(!key.is_relay_proof(&claim, &proof[..31]));

        let other = ClusterKey::new("two").expect("not empty");
        assert!(!other.is_relay_proof(&claim, &proof));
        let role = RelayRole::Accepting;
        for else_claimed in [
            RelayClaim { role, ..claim },
            RelayClaim {
                prover: &b,
                ..claim
            },
            RelayClaim {
                verifier: &a,
                ..claim
            },
            RelayClaim {
                binding: &[8; 32],
                ..claim
            },
        ] {
            assert!(!key.is_relay_proof(&else_claimed, &proof));
        }
    }

    #[test]
    fn the_parts_of_a_claim_do_not_run_into_each_other() {
        let key = ClusterKey::new("one").expect("not empty");
        let proof = |prover: &str, verifier: &str| {
            key.relay_proof(&RelayClaim {
                role: RelayRole::Connecting,
                prover: &NodeId::new(prover),
                verifier: &NodeId::new(verifier),
                binding: &[7; 32],
            })
        };
        assert_ne!(proof("ab", "c"), proof("a", "bc"));
    }

    #[test]
    fn an_empty_secret_makes_no_key() {
        assert!(ClusterKey::new("").is_none());
    }
}
