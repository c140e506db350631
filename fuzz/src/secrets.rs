//! What is signed: nobody without the secret makes, changes or relabels it.

use crate::NOW_S;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use proto::context::{ClusterKey, ContextError, PeerContext, RoomContext};
use proto::token::{
    ApiKeys, Claims, IDENTITY_BYTES_MAX, LEEWAY_S, LIFETIME_MAX_S, TokenError, VideoGrant,
};
use sha2::Sha256;
use std::collections::BTreeMap;

const NOW_MS: u64 = NOW_S * 1000;
/// Name and secret of the only API key.
const KEY: (&str, &str) = ("devkey", "a secret of at least 32 bytes, as asked");

/// The gateway's statement about a request.
pub fn signed_context(data: &[u8]) {
    let key = ClusterKey::new("cluster secret").expect("a key");
    if let Ok(text) = std::str::from_utf8(data) {
        assert!(key.verify::<RoomContext>(text, NOW_MS).is_err(), "forged");
        assert!(key.verify::<PeerContext>(text, NOW_MS).is_err(), "forged");
    }
    let context = RoomContext {
        room: Some(String::from_utf8_lossy(data).into_owned()),
        shard: "s1".to_owned(),
        directory: 7,
        generation: 1,
        client: "192.0.2.1".to_owned(),
        expires_ms: NOW_MS + 5_000,
    };
    let text = key.sign(&context);
    assert_eq!(key.verify(&text, NOW_MS), Ok(context));
    assert_eq!(
        key.verify::<PeerContext>(&text, NOW_MS),
        Err(ContextError::Malformed),
        "a request is no introduction"
    );
    let other = ClusterKey::new("another secret").expect("a key");
    assert_eq!(
        other.verify::<RoomContext>(&text, NOW_MS),
        Err(ContextError::BadSignature)
    );
    if let Some(altered) = alter(&text, data) {
        let read = key.verify::<RoomContext>(&altered, NOW_MS);
        assert!(read.is_err(), "believed after {altered:?}");
    }
}

/// An access token.
pub fn access_token(data: &[u8]) {
    let keys = api_keys();
    if let Ok(text) = std::str::from_utf8(data) {
        assert!(keys.verify(text, NOW_S).is_err(), "forged");
    }
    let token = token("standup");
    assert!(keys.verify(&token, NOW_S).is_ok());
    if let Some(altered) = alter(&token, data) {
        assert!(keys.verify(&altered, NOW_S).is_err(), "{altered:?}");
    }
    hostile_claims(&keys, data);
    hostile_header(&keys, data);
}

/// Claims of somebody who has the secret, but not our good manners.
fn hostile_claims(keys: &ApiKeys, data: &[u8]) {
    let token = signed(br#"{"alg":"HS256","typ":"JWT"}"#, data);
    if let Ok(claims) = keys.verify(&token, NOW_S) {
        assert_eq!(claims.iss, KEY.0);
        assert!(claims.exp >= NOW_S - LEEWAY_S, "expired");
        assert!(claims.exp <= NOW_S + LIFETIME_MAX_S + LEEWAY_S, "eternal");
        assert!(claims.nbf <= NOW_S + LEEWAY_S, "of the future");
        assert!(claims.identity().len() <= IDENTITY_BYTES_MAX);
    }
}

/// The signature is right, the header is the stranger's.
fn hostile_header(keys: &ApiKeys, data: &[u8]) {
    let claims = serde_json::to_vec(&claims("standup")).expect("JSON");
    let Ok(_) = keys.verify(&signed(data, &claims), NOW_S) else {
        return;
    };
    let header: serde_json::Value = serde_json::from_slice(data).expect("a header is JSON");
    assert_eq!(header["alg"], "HS256", "the algorithm is ours to choose");
    for refused in ["crit", "jku", "jwk", "x5u", "x5c", "zip", "cty"] {
        assert!(header.get(refused).is_none(), "{refused} is believed");
    }
}

/// `text` with the bytes of `data` written over it: the first two say where. `None`: it is as it was.
fn alter(text: &str, data: &[u8]) -> Option<String> {
    let (at, with) = data.split_first_chunk::<2>()?;
    let mut bytes = text.as_bytes().to_vec();
    let at = usize::from(u16::from_be_bytes(*at)) % bytes.len();
    for (byte, with) in bytes.iter_mut().skip(at).zip(with) {
        *byte = *with;
    }
    let altered = String::from_utf8(bytes).ok()?;
    (altered != text).then_some(altered)
}

fn signed(header: &[u8], claims: &[u8]) -> String {
    let body = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let mut mac = Hmac::<Sha256>::new_from_slice(KEY.1.as_bytes()).expect("any length");
    mac.update(body.as_bytes());
    let tag = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    format!("{body}.{tag}")
}

pub(crate) fn api_keys() -> ApiKeys {
    let keys = BTreeMap::from([(KEY.0.to_owned(), KEY.1.to_owned())]);
    ApiKeys::new(keys).expect("a secret")
}

pub(crate) fn token(room: &str) -> String {
    let minted: Result<String, TokenError> = api_keys().mint(&claims(room));
    minted.expect("a token")
}

fn claims(room: &str) -> Claims {
    Claims {
        iss: KEY.0.to_owned(),
        sub: "ada".to_owned(),
        exp: NOW_S + 600,
        video: VideoGrant {
            room: room.to_owned(),
            room_join: true,
            ..VideoGrant::default()
        },
        ..Claims::default()
    }
}
