//! The room key: the one canonical form of a room name.
//!
//! Owns: how a name is decoded, normalised and checked, whichever part of a request it came from.
//! Must not: know routes, tokens or shards. A name that could be read in two ways is refused and
//! never repaired: two readings would be two rooms.

mod rules;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::sync::Arc;
use thiserror::Error;

/// Longest canonical name out of a token or an API body, bytes: LiveKit's own limit.
pub const ROOM_BYTES_MAX: usize = 256;

/// Longest canonical name out of a path, query or header, bytes: a join URL stays readable and
/// far below every proxy's limit even if each byte is percent-encoded.
pub const ROOM_SEGMENT_BYTES_MAX: usize = 128;

/// First path segments that belong to the product. A room of that name works through a token, but
/// has no page.
const RESERVED_SEGMENTS: [&str; 9] = [
    "rtc", "twirp", "whip", "whep", "agent", "api", "r", "settings", "assets",
];

/// Whether `name` is a first path segment that belongs to the product and so is never a page room.
/// `name` is decoded; the comparison is exact.
pub fn is_reserved_segment(name: &str) -> bool {
    RESERVED_SEGMENTS.contains(&name)
}

/// Whether `Standup` and `standup` are one room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoomCase {
    /// Two rooms, as in LiveKit.
    #[default]
    Sensitive,
    /// One room, for URLs that people type. Folds as Unicode's full case folding does for the
    /// letters in use (`ß` is `ss`, final sigma is sigma); dotless `ı` is `i`.
    Fold,
}

/// Canonical name of a room: NFC, at most [`ROOM_BYTES_MAX`] bytes, nothing invisible in it.
/// Equal keys are one room everywhere.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomKey(Arc<str>);

/// Why a name is no room.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RoomKeyError {
    /// Nothing there.
    #[error("room name is empty: give it at least one character")]
    Empty,
    /// Over the limit of its source.
    #[error("room name has {bytes} bytes: shorten it to at most {max}")]
    TooLong {
        /// Bytes found (of the canonical form, or of the decoded input if that alone is too long).
        bytes: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Decoded bytes are no text.
    #[error("room name is not valid UTF-8: encode it as UTF-8 before percent-encoding it")]
    NotUtf8,
    /// `%` without two hex digits.
    #[error("room name has a broken percent escape: write a `%` and two hex digits")]
    BadEscape,
    /// A `%` is left after one decoding.
    #[error("room name contains `%` after decoding: percent-encode it once, not twice")]
    DoubleEncoded,
    /// A character that is invisible, unstable or has a meaning in a URL.
    #[error("room name contains {what}: remove it")]
    Forbidden {
        /// The kind of character, for people.
        what: &'static str,
    },
    /// `.` or `..`.
    #[error("room name is a path step (`.` or `..`): choose another name")]
    Dots,
    /// White space at an end.
    #[error("room name starts or ends with white space: trim it")]
    EdgeSpace,
    /// The path belongs to the product.
    #[error("`{0}` is a reserved path and no room: choose another name")]
    Reserved(String),
    /// Another program sent a name that is not in canonical form.
    #[error("room key is not in canonical form: the sender must canonicalise it before sending")]
    NotCanonical,
}

impl RoomKey {
    /// A name out of a verified token or an API body: all that LiveKit takes, up to
    /// [`ROOM_BYTES_MAX`] bytes, except controls, bidi marks and other invisible characters.
    /// Names that a path cannot express are fine: they have no page.
    pub fn from_claim(name: &str, case: RoomCase) -> Result<Self, RoomKeyError> {
        rules::canonical(name, case, rules::Rules::Claim).map(|name| Self(Arc::from(name)))
    }

    /// One path segment as it stands in the request target: decoded exactly once (RFC 3986
    /// section 2.1; `+` is a plus), strict rules, at most [`ROOM_SEGMENT_BYTES_MAX`] bytes, not
    /// [reserved](is_reserved_segment).
    pub fn from_path_segment(raw: &str, case: RoomCase) -> Result<Self, RoomKeyError> {
        let decoded = rules::percent_decode(raw.as_bytes(), rules::Plus::Literal)?;
        let key = Self::strict(&decoded, case)?;
        if is_reserved_segment(key.as_str()) {
            return Err(RoomKeyError::Reserved(key.as_str().to_owned()));
        }
        Ok(key)
    }

    /// A query value as it stands in the request target: decoded exactly once, `+` is a space
    /// (`application/x-www-form-urlencoded`), strict rules.
    pub fn from_query_value(raw: &str, case: RoomCase) -> Result<Self, RoomKeyError> {
        let decoded = rules::percent_decode(raw.as_bytes(), rules::Plus::Space)?;
        Self::strict(&decoded, case)
    }

    /// A header value: UTF-8 as it stands, no decoding, strict rules.
    pub fn from_header(raw: &[u8], case: RoomCase) -> Result<Self, RoomKeyError> {
        Self::strict(raw, case)
    }

    /// The canonical name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The bytes that placement hashes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn strict(decoded: &[u8], case: RoomCase) -> Result<Self, RoomKeyError> {
        let name = std::str::from_utf8(decoded).map_err(|_| RoomKeyError::NotUtf8)?;
        rules::canonical(name, case, rules::Rules::Strict).map(|name| Self(Arc::from(name)))
    }
}

impl TryFrom<String> for RoomKey {
    type Error = RoomKeyError;

    /// A key that another program made: it must be canonical already, or the two programs disagree
    /// about the rules and would split the room.
    fn try_from(name: String) -> Result<Self, RoomKeyError> {
        let key = Self::from_claim(&name, RoomCase::Sensitive)?;
        if key.as_str() == name {
            Ok(key)
        } else {
            Err(RoomKeyError::NotCanonical)
        }
    }
}

impl fmt::Display for RoomKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RoomKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoomKey({:?})", &*self.0)
    }
}

impl Serialize for RoomKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RoomKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::try_from(name).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
