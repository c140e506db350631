//! From the URL that people open to what has to be asked: host, port, room, paths.

use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::net::IpAddr;
use thiserror::Error;

/// What stays as it is in a path segment (RFC 3986 section 2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Why a text is no URL that people open.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("'{url}' is no URL of a deployment: {cause}; give one such as https://meet.example.org")]
pub struct TargetError {
    url: String,
    cause: &'static str,
}

/// A deployment, as people reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Signalling is encrypted.
    pub tls: bool,
    /// Name or address, IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// `host[:port]`, for the field Host.
    pub authority: String,
    /// The room in the path, decoded.
    pub room: Option<String>,
}

impl Target {
    /// Reads `http`, `https`, `ws` or `wss`; the path may name a room, as `/standup` or `/r/standup`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(url: &str) -> Result<Self, TargetError> {
        let refused = |cause| TargetError {
            // A password has no business on a screen.
            url: url.split('@').next_back().unwrap_or_default().to_owned(),
            cause,
        };
        let uri: Uri = url.trim().parse().map_err(|_| refused("it is malformed"))?;
        let tls = match uri.scheme_str() {
            Some("http" | "ws") => false,
            Some("https" | "wss") => true,
            Some(_) => return Err(refused("its scheme is neither http nor https")),
            None => return Err(refused("it has no scheme")),
        };
        let authority = uri.authority().ok_or_else(|| refused("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(refused("it names a user"));
        }
        let host = authority.host();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(refused("it has no host"));
        }
        let room = room(uri.path()).map_err(refused)?;
        Ok(Self {
            tls,
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            room,
        })
    }

    /// The host is an address and no name.
    pub(crate) fn literal(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// Where SDKs join a room: they add `/rtc/v1`.
    pub(crate) fn signal_url(&self, room: &str) -> String {
        let scheme = if self.tls { "wss" } else { "ws" };
        format!("{scheme}://{}{}", self.authority, sticky(room))
    }
}

/// The path of a room for programs.
pub(crate) fn sticky(room: &str) -> String {
    format!("/r/{}", utf8_percent_encode(room, SEGMENT))
}

fn room(path: &str) -> Result<Option<String>, &'static str> {
    let path = path.trim_matches('/');
    let segment = path.strip_prefix("r/").unwrap_or(path);
    if segment.is_empty() {
        return Ok(None);
    }
    if segment.contains('/') {
        return Err("its path is more than the name of a room");
    }
    let decoded = percent_decode_str(segment).decode_utf8();
    let decoded = decoded.map_err(|_| "its path is no UTF-8")?;
    Ok(Some(decoded.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_people_open_are_read() {
        let target = Target::parse("https://meet.example.org/Team%207").unwrap();
        assert_eq!((target.tls, target.port), (true, 443));
        assert_eq!(target.room.as_deref(), Some("Team 7"));
        assert_eq!(
            target.signal_url("Team 7"),
            "wss://meet.example.org/r/Team%207"
        );
        let target = Target::parse("ws://[::1]:7880/r/standup/").unwrap();
        assert_eq!((target.host.as_str(), target.port), ("::1", 7880));
        assert_eq!(target.room.as_deref(), Some("standup"));
        assert_eq!(target.signal_url("x"), "ws://[::1]:7880/r/x");
        assert!(target.literal().is_some());
        let target = Target::parse("http://host").unwrap();
        assert_eq!((target.port, target.room.clone()), (80, None));
        assert!(target.literal().is_none());
    }

    #[test]
    fn what_is_no_url_is_refused_with_its_cause() {
        let cause = |url: &str| Target::parse(url).unwrap_err().to_string();
        assert!(
            cause("host:7880").contains("it is malformed") || cause("host:7880").contains("scheme")
        );
        assert!(cause("ftp://host").contains("neither http nor https"));
        assert!(cause("/standup").contains("no scheme"));
        assert!(cause("https://host/a/b").contains("more than the name of a room"));
        let secret = cause("https://ann:secret@host");
        assert!(
            secret.contains("user") && !secret.contains("secret"),
            "{secret}"
        );
    }
}
