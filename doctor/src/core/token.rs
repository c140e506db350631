//! What a token says of itself. Only the server can check it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

/// The claims that matter here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Claims {
    pub(crate) nbf: u64,
    pub(crate) exp: u64,
    pub(crate) video: Video,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Video {
    pub(crate) room: String,
}

impl Claims {
    /// Reads them, unchecked.
    pub(crate) fn read(token: &str) -> Option<Self> {
        let body = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
        serde_json::from_slice(&body).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::AccessToken;

    #[test]
    fn a_token_names_its_room_and_its_times() {
        let token = AccessToken::new("standup", "ann").sign("k", "s").unwrap();
        let claims = Claims::read(&token).unwrap();
        assert_eq!(claims.video.room, "standup");
        assert_eq!(claims.exp - claims.nbf, 3600);
        assert_eq!(Claims::read("no.token.here"), None);
        assert_eq!(Claims::read(""), None);
    }
}
