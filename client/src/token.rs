//! Makes access tokens, for whoever holds the API secret. Knows nothing about how they are checked.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use thiserror::Error;

/// What a token shall allow: to join a room, and to do there what most participants may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessToken {
    /// The room.
    pub room: String,
    /// Who joins. Two with the same identity replace each other.
    pub identity: String,
    /// Shown name; empty: none.
    pub name: String,
    /// How long the token can be used to join.
    pub lifetime: Duration,
    /// May publish tracks and data.
    pub can_publish: bool,
    /// May receive tracks.
    pub can_subscribe: bool,
    /// Others do not see it.
    pub hidden: bool,
    /// Is a recorder.
    pub recorder: bool,
}

/// Why there is no token.
#[derive(Debug, Error)]
pub enum TokenError {
    /// Anybody could sign with it.
    #[error("the API secret is empty: give the one that belongs to the API key")]
    EmptySecret,
    /// The library refused.
    #[error("the token cannot be signed: {0}")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    nbf: u64,
    exp: u64,
    video: Video<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Video<'a> {
    room: &'a str,
    room_join: bool,
    can_publish: bool,
    can_subscribe: bool,
    can_publish_data: bool,
    hidden: bool,
    recorder: bool,
}

impl AccessToken {
    /// For a participant who publishes and subscribes, for an hour.
    pub fn new(room: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            room: room.into(),
            identity: identity.into(),
            name: String::new(),
            lifetime: Duration::from_secs(3600),
            can_publish: true,
            can_subscribe: true,
            hidden: false,
            recorder: false,
        }
    }

    /// Signs it with HS256, valid from now on.
    ///
    /// # Errors
    /// An empty secret.
    pub fn sign(&self, api_key: &str, api_secret: &str) -> Result<String, TokenError> {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        self.sign_at(api_key, api_secret, since_epoch.unwrap_or_default())
    }

    fn sign_at(
        &self,
        api_key: &str,
        api_secret: &str,
        since_epoch: Duration,
    ) -> Result<String, TokenError> {
        if api_secret.is_empty() {
            return Err(TokenError::EmptySecret);
        }
        let claims = Claims {
            iss: api_key,
            sub: &self.identity,
            name: &self.name,
            nbf: since_epoch.as_secs(),
            exp: since_epoch.saturating_add(self.lifetime).as_secs(),
            video: Video {
                room: &self.room,
                room_join: true,
                can_publish: self.can_publish,
                can_subscribe: self.can_subscribe,
                can_publish_data: self.can_publish,
                hidden: self.hidden,
                recorder: self.recorder,
            },
        };
        let key = EncodingKey::from_secret(api_secret.as_bytes());
        Ok(jsonwebtoken::encode(
            &Header::new(Algorithm::HS256),
            &claims,
            &key,
        )?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::token::ApiKeys;
    use std::collections::BTreeMap;

    #[test]
    fn a_server_takes_the_token_and_reads_room_and_identity() {
        let secrets = BTreeMap::from([("devkey".to_owned(), "secret".to_owned())]);
        let keys = ApiKeys::new(secrets).unwrap();
        let token = AccessToken::new("standup", "ann");
        let signed = token.sign("devkey", "secret").unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let claims = keys.verify(&signed, now.as_secs()).unwrap();
        assert_eq!(claims.identity(), "ann");
        assert_eq!(claims.video.room, "standup");
        assert!(claims.video.room_join && claims.video.may_publish_data());
        assert_eq!(claims.exp - claims.nbf, 3600);
    }

    #[test]
    fn a_listener_may_not_publish() {
        let mut token = AccessToken::new("standup", "ann");
        token.can_publish = false;
        let signed = token
            .sign_at("devkey", "secret", Duration::from_secs(5))
            .unwrap();
        let payload = signed.split('.').nth(1).unwrap();
        use base64::Engine as _;
        let json = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(payload)
            .unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(json["video"]["canPublish"], false);
        assert_eq!(json["nbf"], 5);
        assert!(json.get("name").is_none());
    }

    #[test]
    fn without_a_secret_there_is_no_token() {
        let refused = AccessToken::new("r", "i").sign("devkey", "").unwrap_err();
        assert!(refused.to_string().contains("secret is empty"));
    }
}
