//! LiveKit-compatible access tokens: HS256 only, room and permissions in the `video` claim.
//!
//! Rules follow RFC 8725: the algorithm is pinned by us, header parameters that fetch or embed keys
//! are refused, `exp` is required, and a token's life is capped.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use thiserror::Error;

/// Clock difference borne for `exp` and `nbf`, seconds (as LiveKit).
pub const LEEWAY_S: u64 = 60;
/// Longest life of a token from now, seconds: a stolen one must end some day.
pub const LIFETIME_MAX_S: u64 = 24 * 3600;
/// Longest token that is looked at, bytes. LiveKit's largest (metadata, attributes) stay below.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Longest identity, bytes.
pub const IDENTITY_BYTES_MAX: usize = 256;

/// The `video` claim. An absent `can*` means yes, as in LiveKit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VideoGrant {
    /// The room; empty is an error wherever a room is needed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub room: String,
    /// May join `room`.
    #[serde(skip_serializing_if = "is_false")]
    pub room_join: bool,
    /// May create and delete rooms.
    #[serde(skip_serializing_if = "is_false")]
    pub room_create: bool,
    /// May list rooms.
    #[serde(skip_serializing_if = "is_false")]
    pub room_list: bool,
    /// May moderate `room`.
    #[serde(skip_serializing_if = "is_false")]
    pub room_admin: bool,
    /// May record.
    #[serde(skip_serializing_if = "is_false")]
    pub room_record: bool,
    /// May publish tracks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish: Option<bool>,
    /// May receive tracks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_subscribe: Option<bool>,
    /// May send data; absent: as `can_publish`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish_data: Option<bool>,
    /// Allowed sources (`camera`, `microphone`, `screen_share`, `screen_share_audio`); empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub can_publish_sources: Vec<String>,
    /// May change its own metadata; absent: no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_update_own_metadata: Option<bool>,
    /// Others do not see it.
    #[serde(skip_serializing_if = "is_false")]
    pub hidden: bool,
    /// Is a recorder.
    #[serde(skip_serializing_if = "is_false")]
    pub recorder: bool,
    /// Is an agent.
    #[serde(skip_serializing_if = "is_false")]
    pub agent: bool,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_false(value: &bool) -> bool {
    !*value
}

impl VideoGrant {
    /// May publish tracks.
    pub fn may_publish(&self) -> bool {
        self.can_publish.unwrap_or(true)
    }

    /// May receive tracks.
    pub fn may_subscribe(&self) -> bool {
        self.can_subscribe.unwrap_or(true)
    }

    /// May send data packets.
    pub fn may_publish_data(&self) -> bool {
        self.can_publish_data.unwrap_or_else(|| self.may_publish())
    }
}

/// The `roomConfig` claim: what the room is like that the holder opens. The part of LiveKit's
/// `RoomConfiguration` (protobuf JSON) that is offered here; the rest is ignored. 0 and empty: as the
/// deployment has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RoomConfig {
    /// How long the room waits for the first participant, seconds.
    #[serde(alias = "empty_timeout", deserialize_with = "number")]
    pub empty_timeout: u32,
    /// How long the room stays after the last participant left, seconds.
    #[serde(alias = "departure_timeout", deserialize_with = "number")]
    pub departure_timeout: u32,
    /// Most participants, without hidden ones, recorders and agents.
    #[serde(alias = "max_participants", deserialize_with = "number")]
    pub max_participants: u32,
    /// Not of LiveKit: pictures that everybody gets at once, of those who spoke last.
    #[serde(alias = "last_n", deserialize_with = "number")]
    pub last_n: u32,
    /// Not of LiveKit: voices that everybody gets at once, the loudest ones.
    #[serde(alias = "loudest_n", deserialize_with = "number")]
    pub loudest_n: u32,
    /// Free text of the application, shown to everybody in the room.
    #[serde(deserialize_with = "text")]
    pub metadata: String,
}

/// A number as protobuf JSON writes it: also as text, or null.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Plain(u32),
        Text(String),
    }
    match Option::deserialize(deserializer)? {
        None => Ok(0),
        Some(Number::Plain(number)) => Ok(number),
        Some(Number::Text(text)) => text.parse().map_err(serde::de::Error::custom),
    }
}

/// A text, or null.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// The claims of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Claims {
    /// API key: chooses the secret.
    pub iss: String,
    /// Identity of the participant.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sub: String,
    /// Fallback identity.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub jti: String,
    /// End, seconds since the Unix epoch. Required.
    pub exp: u64,
    /// Start, seconds since the Unix epoch.
    #[serde(skip_serializing_if = "is_zero")]
    pub nbf: u64,
    /// Display name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Free text of the application.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub metadata: String,
    /// Key-value pairs of the application.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// `standard`, `agent`, `egress`, `ingress`, `sip`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Room and permissions.
    pub video: VideoGrant,
    /// What the room is like if this token opens it.
    #[serde(rename = "roomConfig", skip_serializing_if = "Option::is_none")]
    pub room_config: Option<RoomConfig>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl Claims {
    /// `sub`, or `jti` where it is empty.
    pub fn identity(&self) -> &str {
        if self.sub.is_empty() {
            &self.jti
        } else {
            &self.sub
        }
    }
}

/// Why a token was refused. The text is meant for the client's developer: it names the cause, never
/// the token.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// No token in the request.
    #[error("no access token: send it as `Authorization: Bearer` or as query `access_token`")]
    Missing,
    /// Not three base64url parts of JSON, or too long.
    #[error("the access token is malformed")]
    Malformed,
    /// Another algorithm than HS256, or a header that tries to bring its own key.
    #[error("the access token must be signed with HS256 and carry no {0}")]
    Header(&'static str),
    /// `iss` names no configured API key.
    #[error("the access token's issuer is no API key of this deployment")]
    UnknownKey,
    /// Wrong secret.
    #[error("the access token's signature is wrong: check the API secret")]
    BadSignature,
    /// Past `exp`.
    #[error("the access token has expired")]
    Expired,
    /// Before `nbf`.
    #[error("the access token is not valid yet: check the clocks")]
    NotYet,
    /// `exp` is missing or too far away.
    #[error("the access token must expire within 24 hours (claim `exp`)")]
    Lifetime,
    /// Identity missing or too long.
    #[error("the access token needs an identity of 1 to 256 bytes (claim `sub`)")]
    Identity,
}

/// API keys and their secrets.
#[derive(Clone, Default)]
pub struct ApiKeys(BTreeMap<String, String>);

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

/// Why API keys were refused at start-up.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ApiKeysError {
    /// Anybody could sign with it.
    #[error("API key '{0}' has an empty secret")]
    EmptySecret(String),
}

impl ApiKeys {
    /// Key names and secrets, as configured.
    ///
    /// # Errors
    /// An empty secret is refused.
    pub fn new(keys: BTreeMap<String, String>) -> Result<Self, ApiKeysError> {
        match keys.iter().find(|(_, secret)| secret.is_empty()) {
            Some((key, _)) => Err(ApiKeysError::EmptySecret(key.clone())),
            None => Ok(Self(keys)),
        }
    }

    /// Names of the keys.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Signs `claims` with the secret of `claims.iss`.
    ///
    /// # Errors
    /// [`TokenError::UnknownKey`] if there is no such key.
    pub fn mint(&self, claims: &Claims) -> Result<String, TokenError> {
        let secret = self.0.get(&claims.iss).ok_or(TokenError::UnknownKey)?;
        let key = EncodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key)
            .map_err(|_| TokenError::Malformed)
    }

    /// Checks signature and times at `now_s` (seconds since the Unix epoch) and reads the claims.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn verify(&self, token: &str, now_s: u64) -> Result<Claims, TokenError> {
        if token.is_empty() {
            return Err(TokenError::Missing);
        }
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed);
        }
        check_header(token)?;
        let secret = self
            .0
            .get(&unverified_issuer(token)?)
            .ok_or(TokenError::UnknownKey)?;
        let claims = verify_signature(token, secret)?;
        check_times(&claims, now_s)?;
        if claims.identity().len() > IDENTITY_BYTES_MAX {
            return Err(TokenError::Identity);
        }
        Ok(claims)
    }
}

/// Header parameters that change how a token is read or which key checks it (RFC 7515 section 4.1,
/// RFC 7516 section 4.1.3).
const REFUSED_HEADERS: [&str; 7] = ["crit", "jku", "jwk", "x5u", "x5c", "zip", "cty"];

fn check_header(token: &str) -> Result<(), TokenError> {
    let header = decode_part(token, 0)?;
    let object = header.as_object().ok_or(TokenError::Malformed)?;
    if object.get("alg").and_then(|alg| alg.as_str()) != Some("HS256") {
        return Err(TokenError::Header("other algorithm"));
    }
    match REFUSED_HEADERS
        .into_iter()
        .find(|name| object.contains_key(*name))
    {
        Some(name) => Err(TokenError::Header(name)),
        None => Ok(()),
    }
}

fn unverified_issuer(token: &str) -> Result<String, TokenError> {
    let claims = decode_part(token, 1)?;
    let issuer = claims
        .get("iss")
        .and_then(|iss| iss.as_str())
        .ok_or(TokenError::UnknownKey)?;
    Ok(issuer.to_owned())
}

fn decode_part(token: &str, index: usize) -> Result<serde_json::Value, TokenError> {
    let part = token.split('.').nth(index).ok_or(TokenError::Malformed)?;
    let json = URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| TokenError::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| TokenError::Malformed)
}

fn verify_signature(token: &str, secret: &str) -> Result<Claims, TokenError> {
    use jsonwebtoken::errors::ErrorKind;

    // Times are checked by ourselves against the caller's clock.
    let mut validation = Validation::new(Algorithm::HS256);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let key = DecodingKey::from_secret(secret.as_bytes());
    match jsonwebtoken::decode::<Claims>(token, &key, &validation) {
        Ok(data) => Ok(data.claims),
        Err(error) => Err(match error.kind() {
            ErrorKind::InvalidSignature => TokenError::BadSignature,
            _ => TokenError::Malformed,
        }),
    }
}

fn check_times(claims: &Claims, now_s: u64) -> Result<(), TokenError> {
    if claims.exp == 0 || claims.exp > now_s.saturating_add(LIFETIME_MAX_S + LEEWAY_S) {
        return Err(TokenError::Lifetime);
    }
    if claims.exp.saturating_add(LEEWAY_S) < now_s {
        return Err(TokenError::Expired);
    }
    if claims.nbf > now_s.saturating_add(LEEWAY_S) {
        return Err(TokenError::NotYet);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn keys() -> ApiKeys {
        ApiKeys::new(BTreeMap::from([("devkey".into(), "secret".into())])).expect("keys")
    }

    fn claims() -> Claims {
        Claims {
            iss: "devkey".into(),
            sub: "ada".into(),
            exp: NOW + 600,
            video: VideoGrant {
                room: "standup".into(),
                room_join: true,
                ..Default::default()
            },
            ..Default::default()
        }
    }

    fn forge(header: &str, claims: &Claims) -> String {
        let body = serde_json::to_vec(claims).expect("json");
        format!(
            "{}.{}.",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(body)
        )
    }

    #[test]
    fn a_minted_token_is_read_back() {
        let token = keys().mint(&claims()).expect("mint");
        assert_eq!(keys().verify(&token, NOW), Ok(claims()));
    }

    #[test]
    fn a_room_configuration_is_read_as_livekits_libraries_write_it() {
        let read = |json: &str| serde_json::from_str::<Claims>(json).map(|c| c.room_config);
        let json = r#"{"roomConfig": {"name": "", "emptyTimeout": 300, "departure_timeout": "20",
            "maxParticipants": 5, "lastN": 9, "loudest_n": 3, "metadata": "agenda", "agents": [{"agentName": "scribe"}]}}"#;
        let config = RoomConfig {
            empty_timeout: 300,
            departure_timeout: 20,
            max_participants: 5,
            last_n: 9,
            loudest_n: 3,
            metadata: "agenda".into(),
        };
        assert_eq!(read(json).expect("claims"), Some(config.clone()));
        let claims = Claims {
            room_config: Some(config),
            ..claims()
        };
        let token = keys().mint(&claims).expect("mint");
        assert_eq!(keys().verify(&token, NOW), Ok(claims));

        let nulls = r#"{"roomConfig": {"emptyTimeout": null, "metadata": null}}"#;
        assert_eq!(read(nulls).expect("claims"), Some(RoomConfig::default()));
        assert_eq!(read("{}").expect("claims"), None);
        for wrong in ["-1", "4294967296", r#""soon""#, "true"] {
            let json = format!(r#"{{"roomConfig": {{"emptyTimeout": {wrong}}}}}"#);
            assert!(read(&json).is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_wrong_token_is_refused_with_its_cause() {
        let verify = |claims: &Claims| keys().verify(&keys().mint(claims).expect("mint"), NOW);
        let expired = Claims {
            exp: NOW - 61,
            ..claims()
        };
        assert_eq!(verify(&expired), Err(TokenError::Expired));
        assert_eq!(
            verify(&Claims {
                exp: NOW - 59,
                ..claims()
            })
            .map(|c| c.exp),
            Ok(NOW - 59)
        );
        assert_eq!(
            verify(&Claims { exp: 0, ..claims() }),
            Err(TokenError::Lifetime)
        );
        assert_eq!(
            verify(&Claims {
                exp: NOW + 90_000,
                ..claims()
            }),
            Err(TokenError::Lifetime)
        );
        assert_eq!(
            verify(&Claims {
                nbf: NOW + 61,
                ..claims()
            }),
            Err(TokenError::NotYet)
        );
        assert_eq!(
            verify(&Claims {
                sub: "x".repeat(257),
                ..claims()
            }),
            Err(TokenError::Identity)
        );

        let other =
            ApiKeys::new(BTreeMap::from([("devkey".into(), "other".into())])).expect("keys");
        let token = other.mint(&claims()).expect("mint");
        assert_eq!(keys().verify(&token, NOW), Err(TokenError::BadSignature));
        let stranger =
            ApiKeys::new(BTreeMap::from([("k2".into(), "secret".into())])).expect("keys");
        let token = stranger
            .mint(&Claims {
                iss: "k2".into(),
                ..claims()
            })
            .expect("mint");
        assert_eq!(keys().verify(&token, NOW), Err(TokenError::UnknownKey));
    }

    #[test]
    fn unsigned_tokens_and_headers_that_bring_keys_are_refused() {
        let none = forge(r#"{"alg":"none"}"#, &claims());
        assert_eq!(
            keys().verify(&none, NOW),
            Err(TokenError::Header("other algorithm"))
        );
        let unsigned = forge(r#"{"alg":"HS256"}"#, &claims());
        assert_eq!(keys().verify(&unsigned, NOW), Err(TokenError::BadSignature));
        let key_url = forge(r#"{"alg":"HS256","jku":"https://e.example"}"#, &claims());
        assert_eq!(keys().verify(&key_url, NOW), Err(TokenError::Header("jku")));
        assert_eq!(keys().verify("", NOW), Err(TokenError::Missing));
        assert_eq!(keys().verify("a.b", NOW), Err(TokenError::Malformed));
        assert_eq!(
            keys().verify(&"a".repeat(TOKEN_BYTES_MAX + 1), NOW),
            Err(TokenError::Malformed)
        );
    }

    #[test]
    fn an_empty_secret_is_refused_at_start() {
        let keys = ApiKeys::new(BTreeMap::from([("k".into(), String::new())]));
        assert_eq!(keys.err(), Some(ApiKeysError::EmptySecret("k".into())));
    }
}
