//! From a server's URL to the requests that join: `/rtc/v1` with everything in one parameter, `/rtc`
//! with a parameter each.

use crate::options::{PeerMode, SessionOptions};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::Uri;
use livekit_protocol as lk;
use lk::wrapped_join_request::Compression as Wrapping;
use prost::Message as _;
use std::io::Write as _;
use thiserror::Error;

/// Below, gzip costs more than it saves.
const GZIP_FROM_BYTES: usize = 256;

/// Why a text is no URL of a server.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("'{url}' is no URL of a server: {cause}; give one such as wss://example.org")]
pub struct UrlError {
    url: String,
    cause: &'static str,
}

/// The address of a server: `ws`, `wss`, `http` or `https`, with a path in front of `/rtc` if it has
/// one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    tls: bool,
    host: String,
    port: u16,
    /// `host[:port]` as written, for the field Host.
    authority: String,
    /// Without a slash at its end.
    prefix: String,
}

impl ServerUrl {
    /// Reads a URL. Its query is dropped.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        let refused = |cause| UrlError {
            // A password has no business in a log.
            url: url.split('@').next_back().unwrap_or_default().to_owned(),
            cause,
        };
        let uri: Uri = url.trim().parse().map_err(|_| refused("it is malformed"))?;
        let tls = match uri.scheme_str() {
            Some("ws" | "http") => false,
            Some("wss" | "https") => true,
            Some(_) => return Err(refused("its scheme is none of ws, wss, http and https")),
            None => return Err(refused("it has no scheme")),
        };
        let authority = uri.authority().ok_or_else(|| refused("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(refused("it names a user"));
        }
        let host = authority.host();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if bare.is_empty() {
            return Err(refused("it has no host"));
        }
        Ok(Self {
            tls,
            host: bare.to_owned(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// Signalling is encrypted.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Name or address, IPv6 without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// For messages to people, and for the field Host.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// The request target that goes on with a session: who, and nothing of what was.
    pub(crate) fn resume_target(&self, options: &SessionOptions, participant_sid: &str) -> String {
        let reason = lk::ReconnectReason::RrSignalDisconnected;
        match options.mode {
            PeerMode::Single => {
                let mut request = join_request(options, None);
                request.reconnect = true;
                request.reconnect_reason = reason.into();
                participant_sid.clone_into(&mut request.participant_sid);
                format!("{}/rtc/v1?join_request={}", self.prefix, wrap(&request))
            }
            PeerMode::Dual => format!(
                "{}/rtc?{}&reconnect=1&reconnect_reason={}&sid={}",
                self.prefix,
                parameters(options),
                i32::from(reason),
                plain(participant_sid)
            ),
        }
    }

    /// The request target that joins: path and query. The token travels in the field Authorization.
    pub fn join_target(
        &self,
        options: &SessionOptions,
        offer: Option<lk::SessionDescription>,
    ) -> String {
        match options.mode {
            PeerMode::Single => {
                let request = wrap(&join_request(options, offer));
                format!("{}/rtc/v1?join_request={request}", self.prefix)
            }
            PeerMode::Dual => format!("{}/rtc?{}", self.prefix, parameters(options)),
        }
    }
}

fn join_request(
    options: &SessionOptions,
    offer: Option<lk::SessionDescription>,
) -> lk::JoinRequest {
    lk::JoinRequest {
        client_info: Some(options.client_info.clone()),
        connection_settings: Some(lk::ConnectionSettings {
            auto_subscribe: options.auto_subscribe,
            adaptive_stream: options.adaptive_stream,
            ..lk::ConnectionSettings::default()
        }),
        publisher_offer: offer,
        ..lk::JoinRequest::default()
    }
}

/// Padded base64url, which its letters and `=` may stand in a query as they are (RFC 3986 section
/// 3.4).
fn wrap(request: &lk::JoinRequest) -> String {
    let plain = request.encode_to_vec();
    let (compression, join_request) = match gzip(&plain) {
        Some(zipped) => (Wrapping::Gzip, zipped),
        None => (Wrapping::None, plain),
    };
    let wrapped = lk::WrappedJoinRequest {
        compression: compression.into(),
        join_request,
    };
    URL_SAFE.encode(wrapped.encode_to_vec())
}

fn gzip(plain: &[u8]) -> Option<Vec<u8>> {
    if plain.len() < GZIP_FROM_BYTES {
        return None;
    }
    // An offer repeats its codecs in every section: the fastest level finds nearly all of it.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).ok()?;
    encoder.finish().ok()
}

fn parameters(options: &SessionOptions) -> String {
    let flag = |on: bool| if on { "1" } else { "0" };
    let info = &options.client_info;
    format!(
        "auto_subscribe={}&adaptive_stream={}&protocol={}&version={}&os={}",
        flag(options.auto_subscribe),
        flag(options.adaptive_stream),
        info.protocol,
        plain(&info.version),
        plain(&info.os),
    )
}

/// Drops what would have to be encoded.
fn plain(text: &str) -> String {
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    text.chars().filter(allowed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use std::io::Read as _;

    fn target(url: &str, options: &SessionOptions, sdp: Option<&str>) -> String {
        let offer = sdp.map(|sdp| lk::SessionDescription {
            r#type: "offer".into(),
            sdp: sdp.into(),
            id: 1,
            ..Default::default()
        });
        ServerUrl::parse(url).unwrap().join_target(options, offer)
    }

    fn unwrap(target: &str) -> (Wrapping, lk::JoinRequest) {
        let (_, encoded) = target.split_once("?join_request=").unwrap();
        let wrapped = URL_SAFE.decode(encoded).unwrap();
        let wrapped = lk::WrappedJoinRequest::decode(wrapped.as_slice()).unwrap();
        let inner = match wrapped.compression() {
            Wrapping::None => wrapped.join_request.clone(),
            Wrapping::Gzip => {
                let mut inflated = Vec::new();
                GzDecoder::new(wrapped.join_request.as_slice())
                    .read_to_end(&mut inflated)
                    .unwrap();
                inflated
            }
        };
        let request = lk::JoinRequest::decode(inner.as_slice()).unwrap();
        (wrapped.compression(), request)
    }

    #[test]
    fn urls_are_read_with_default_ports_and_prefix() {
        let read = |url: &str| {
            let url = ServerUrl::parse(url).unwrap();
            (url.tls, url.host.clone(), url.port, url.prefix)
        };
        let expected =
            |tls, host: &str, port, prefix: &str| (tls, host.to_owned(), port, prefix.to_owned());
        assert_eq!(read("ws://host:7880"), expected(false, "host", 7880, ""));
        assert_eq!(read("wss://host"), expected(true, "host", 443, ""));
        assert_eq!(read("http://host/"), expected(false, "host", 80, ""));
        let prefixed = expected(true, "::1", 1, "/r/standup");
        assert_eq!(read("https://[::1]:1/r/standup/?x=1"), prefixed);
    }

    #[test]
    fn what_is_no_url_is_refused_with_its_cause() {
        let cause = |url: &str| ServerUrl::parse(url).unwrap_err().to_string();
        assert!(
            cause("host:7880").contains("no URL"),
            "{}",
            cause("host:7880")
        );
        assert!(cause("ftp://host").contains("scheme"));
        assert!(cause("/rtc").contains("no scheme"));
        let secret = cause("ws://ann:secret@host");
        assert!(
            secret.contains("user") && !secret.contains("secret"),
            "{secret}"
        );
        assert!(cause("").contains("malformed"));
    }

    #[test]
    fn one_connection_puts_its_offer_into_the_join_request() {
        let options = SessionOptions {
            auto_subscribe: false,
            ..SessionOptions::default()
        };
        let sdp = "a=mid:0\r\n".repeat(100);
        let target = target("ws://host/r/standup", &options, Some(&sdp));
        assert!(target.starts_with("/r/standup/rtc/v1?join_request="));
        let (compression, request) = unwrap(&target);
        assert_eq!(compression, Wrapping::Gzip);
        assert_eq!(request.publisher_offer.unwrap().sdp, sdp);
        assert!(!request.connection_settings.unwrap().auto_subscribe);
        assert_eq!(request.client_info.unwrap().protocol, 16);
    }

    #[test]
    fn a_small_join_request_is_not_compressed() {
        let target = target("ws://host", &SessionOptions::default(), None);
        let (compression, request) = unwrap(&target);
        assert_eq!(compression, Wrapping::None);
        assert!(request.publisher_offer.is_none());
    }

    #[test]
    fn two_connections_have_a_parameter_each() {
        let options = SessionOptions {
            mode: PeerMode::Dual,
            ..SessionOptions::default()
        };
        let target = target("ws://host", &options, None);
        assert!(target.starts_with("/rtc?auto_subscribe=1&adaptive_stream=0&protocol=16&"));
        assert!(!target.contains("token"));
    }

    #[test]
    fn a_session_that_goes_on_is_named() {
        let url = ServerUrl::parse("ws://host").unwrap();
        let mut options = SessionOptions::default();
        let (_, request) = unwrap(&url.resume_target(&options, "PA_ann"));
        assert_eq!(
            (request.reconnect, request.participant_sid.as_str()),
            (true, "PA_ann")
        );
        assert_eq!(request.publisher_offer, None);
        options.mode = PeerMode::Dual;
        let target = url.resume_target(&options, "PA_ann");
        assert!(
            target.starts_with("/rtc?") && target.contains("&reconnect=1&"),
            "{target}"
        );
        assert!(target.ends_with("&sid=PA_ann"), "{target}");
    }
}
