//! What a client asks for when it joins: `join_request` on `/rtc/v1`, single parameters on `/rtc`.
//!
//! Everything here is foreign input before the connection is accepted: sizes are capped before
//! anything is inflated or parsed.

use super::query::Query;
use super::refusal::Refusal;
use crate::core::Resume;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use flate2::read::GzDecoder;
use livekit_protocol::client_info::{Capability, Sdk};
use livekit_protocol::wrapped_join_request::Compression;
use livekit_protocol::{
    AddTrackRequest, ClientInfo, JoinRequest, SessionDescription, WrappedJoinRequest,
};
use prost::Message as _;
use proto::id::ParticipantSid;
use proto::media::PeerMode;
use std::collections::BTreeMap;
use std::io::Read as _;

/// Longest `join_request` or `attributes` as sent, bytes. An 18 KB offer is 2.4 KB here; the request
/// target as a whole ends at 64 KiB (crate `http`). Beyond: 400.
const ENCODED_BYTES_MAX: usize = 64 * 1024;
/// Largest join request after inflation, bytes (as LiveKit): an uncompressed offer of many sections
/// has 45 KiB, and a zip bomb shall not get far. Beyond: 400.
const INFLATED_BYTES_MAX: usize = 1024 * 1024;
/// Tracks announced with the join. Beyond: 400. A participant may not have more anyway.
const ADD_TRACKS_MAX: usize = 32;

/// The same on both paths.
#[derive(Default)]
pub(crate) struct JoinParams {
    pub(crate) client: ClientInfo,
    pub(crate) auto_subscribe: bool,
    pub(crate) adaptive_stream: bool,
    pub(crate) resume: Option<Resume>,
    pub(crate) offer: Option<SessionDescription>,
    pub(crate) add_tracks: Vec<AddTrackRequest>,
    pub(crate) metadata: String,
    pub(crate) attributes: BTreeMap<String, String>,
}

impl JoinParams {
    pub(crate) fn parse(mode: PeerMode, query: &Query) -> Result<Self, Refusal> {
        match mode {
            PeerMode::Single => Self::from_join_request(query),
            PeerMode::Dual => Self::from_parameters(query),
        }
    }

    fn from_join_request(query: &Query) -> Result<Self, Refusal> {
        let request = match query.get("join_request") {
            Some(encoded) => unwrap_join_request(encoded)?,
            None => JoinRequest::default(),
        };
        if request.add_track_requests.len() > ADD_TRACKS_MAX {
            return Err(bad(format!("announces more than {ADD_TRACKS_MAX} tracks")));
        }
        let settings = request.connection_settings;
        let resume = request.reconnect.then(|| Resume {
            participant: ParticipantSid::new(request.participant_sid),
            reason: request.reconnect_reason,
            sync_state: request.sync_state,
        });
        Ok(Self {
            client: request.client_info.unwrap_or_default(),
            auto_subscribe: settings
                .as_ref()
                .is_none_or(|settings| settings.auto_subscribe),
            adaptive_stream: settings
                .as_ref()
                .is_some_and(|settings| settings.adaptive_stream),
            resume,
            offer: request.publisher_offer,
            add_tracks: request.add_track_requests,
            metadata: request.metadata,
            attributes: request.participant_attributes.into_iter().collect(),
        })
    }

    fn from_parameters(query: &Query) -> Result<Self, Refusal> {
        let reconnect = query.flag("reconnect").unwrap_or(false);
        let resume = reconnect.then(|| Resume {
            participant: ParticipantSid::new(query.text("sid")),
            reason: query.number("reconnect_reason"),
            sync_state: None,
        });
        let attributes = match query.get("attributes") {
            Some(encoded) => attributes(encoded)?,
            None => BTreeMap::new(),
        };
        Ok(Self {
            client: client_info(query),
            auto_subscribe: query.flag("auto_subscribe").unwrap_or(true),
            adaptive_stream: query.flag("adaptive_stream").unwrap_or(false),
            resume,
            attributes,
            ..Self::default()
        })
    }
}

fn bad(cause: impl std::fmt::Display) -> Refusal {
    Refusal::bad_request(format!("query parameter 'join_request': {cause}"))
}

fn unwrap_join_request(encoded: &str) -> Result<JoinRequest, Refusal> {
    let bytes = decode_base64(encoded).map_err(bad)?;
    let wrapped = WrappedJoinRequest::decode(bytes.as_slice())
        .map_err(|error| bad(format!("not a WrappedJoinRequest: {error}")))?;
    let inner = match Compression::try_from(wrapped.compression) {
        Ok(Compression::None) => wrapped.join_request,
        Ok(Compression::Gzip) => inflate(&wrapped.join_request)?,
        Err(_) => return Err(bad("unknown compression: use none or gzip")),
    };
    JoinRequest::decode(inner.as_slice())
        .map_err(|error| bad(format!("not a JoinRequest: {error}")))
}

fn inflate(compressed: &[u8]) -> Result<Vec<u8>, Refusal> {
    let limit = u64::try_from(INFLATED_BYTES_MAX).unwrap_or(u64::MAX);
    let mut inflated = Vec::new();
    GzDecoder::new(compressed)
        .take(limit.saturating_add(1))
        .read_to_end(&mut inflated)
        .map_err(|error| bad(format!("not gzip: {error}")))?;
    if inflated.len() > INFLATED_BYTES_MAX {
        return Err(bad(format!(
            "more than {INFLATED_BYTES_MAX} bytes inflated"
        )));
    }
    Ok(inflated)
}

/// Base64 in either alphabet, with or without padding. A `+` that was not percent-encoded arrives as
/// a space.
fn decode_base64(text: &str) -> Result<Vec<u8>, String> {
    const ENGINE: GeneralPurpose = GeneralPurpose::new(
        &alphabet::URL_SAFE,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    if text.len() > ENCODED_BYTES_MAX {
        return Err(format!("more than {ENCODED_BYTES_MAX} bytes"));
    }
    let url_safe = text.replace(['+', ' '], "-").replace('/', "_");
    ENGINE
        .decode(url_safe)
        .map_err(|error| format!("not base64url: {error}"))
}

fn attributes(encoded: &str) -> Result<BTreeMap<String, String>, Refusal> {
    let bad =
        |cause: String| Refusal::bad_request(format!("query parameter 'attributes': {cause}"));
    let json = decode_base64(encoded).map_err(bad)?;
    serde_json::from_slice(&json).map_err(|error| bad(error.to_string()))
}

fn client_info(query: &Query) -> ClientInfo {
    ClientInfo {
        sdk: sdk(query.get("sdk").unwrap_or_default()).into(),
        version: query.text("version"),
        protocol: query.number("protocol"),
        os: query.text("os"),
        os_version: query.text("os_version"),
        device_model: query.text("device_model"),
        browser: query.text("browser"),
        browser_version: query.text("browser_version"),
        address: String::new(),
        network: query.text("network"),
        other_sdks: query.text("other_sdks"),
        client_protocol: query.number("client_protocol"),
        capabilities: capabilities(query.get("capabilities").unwrap_or_default()),
    }
}

fn sdk(name: &str) -> Sdk {
    match name {
        "js" => Sdk::Js,
        "ios" | "swift" => Sdk::Swift,
        "android" => Sdk::Android,
        "flutter" => Sdk::Flutter,
        "go" => Sdk::Go,
        "unity" => Sdk::Unity,
        "reactnative" => Sdk::ReactNative,
        "rust" => Sdk::Rust,
        "python" => Sdk::Python,
        "cpp" => Sdk::Cpp,
        "unityweb" => Sdk::UnityWeb,
        "node" => Sdk::Node,
        "unreal" => Sdk::Unreal,
        "esp32" => Sdk::Esp32,
        "dotnet" => Sdk::Dotnet,
        _ => Sdk::Unknown,
    }
}

/// Numbers or names, separated by commas; unknown ones are of a newer client and left out.
fn capabilities(text: &str) -> Vec<i32> {
    text.split(',')
        .map(str::trim)
        .filter_map(|item| match item.parse::<i32>() {
            Ok(number) => Capability::try_from(number).ok(),
            Err(_) => Capability::from_str_name(item),
        })
        .map(i32::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
    use flate2::Compression as Level;
    use flate2::write::GzEncoder;
    use livekit_protocol::ConnectionSettings;
    use std::io::Write as _;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Level::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn wrap(compression: Compression, join_request: Vec<u8>) -> Vec<u8> {
        WrappedJoinRequest {
            compression: compression.into(),
            join_request,
        }
        .encode_to_vec()
    }

    fn parse_v1(encoded: &str) -> Result<JoinParams, Refusal> {
        let query = Query::parse(&format!("join_request={encoded}"))?;
        JoinParams::parse(PeerMode::Single, &query)
    }

    fn request() -> JoinRequest {
        JoinRequest {
            client_info: Some(ClientInfo {
                protocol: 17,
                ..Default::default()
            }),
            connection_settings: Some(ConnectionSettings {
                auto_subscribe: false,
                adaptive_stream: true,
                ..Default::default()
            }),
            reconnect: true,
            participant_sid: "PA_x".into(),
            ..Default::default()
        }
    }

    #[test]
    fn a_join_request_is_read_plain_or_gzipped_and_in_each_base64() {
        let plain = wrap(Compression::None, request().encode_to_vec());
        let zipped = wrap(Compression::Gzip, gzip(&request().encode_to_vec()));
        for wrapped in [plain, zipped] {
            for encoded in [
                URL_SAFE.encode(&wrapped),
                URL_SAFE_NO_PAD.encode(&wrapped),
                STANDARD.encode(&wrapped),
            ] {
                let params = parse_v1(&encoded).unwrap();
                assert_eq!(params.client.protocol, 17);
                assert!(!params.auto_subscribe && params.adaptive_stream);
                assert_eq!(params.resume.unwrap().participant.as_str(), "PA_x");
            }
        }
    }

    #[test]
    fn a_join_without_request_subscribes_to_everything() {
        let params = JoinParams::parse(PeerMode::Single, &Query::default()).unwrap();
        assert!(params.auto_subscribe && params.offer.is_none() && params.resume.is_none());
    }

    #[test]
    fn a_zip_bomb_and_garbage_are_refused_with_their_cause() {
        let text = |result: Result<JoinParams, Refusal>| result.err().unwrap().text;
        let bomb = wrap(Compression::Gzip, gzip(&vec![0; 2 * INFLATED_BYTES_MAX]));
        assert!(text(parse_v1(&URL_SAFE.encode(bomb))).contains("inflated"));
        let no_gzip = wrap(Compression::Gzip, b"plain".to_vec());
        assert!(text(parse_v1(&URL_SAFE.encode(no_gzip))).contains("not gzip"));
        assert!(text(parse_v1("%21")).contains("not base64url"));
        assert!(text(parse_v1(&URL_SAFE.encode([0xff; 9]))).contains("WrappedJoinRequest"));
        assert!(text(parse_v1(&"A".repeat(ENCODED_BYTES_MAX + 1))).contains("more than"));
    }

    #[test]
    fn dual_parameters_are_read_one_by_one() {
        let attributes = STANDARD.encode(r#"{"role":"host"}"#).replace('=', "%3D");
        let query = Query::parse(&format!(
            "access_token=t&reconnect=1&sid=PA_y&reconnect_reason=2&auto_subscribe=0&sdk=js\
             &version=2.23.0&protocol=17&client_protocol=2&os=linux&browser=Chrome\
             &adaptive_stream=1&capabilities=1,CAP_COMPRESSION_DEFLATE_RAW,99&attributes={attributes}"
        ))
        .unwrap();
        let params = JoinParams::parse(PeerMode::Dual, &query).unwrap();
        let resume = params.resume.unwrap();
        assert_eq!((resume.participant.as_str(), resume.reason), ("PA_y", 2));
        assert!(!params.auto_subscribe && params.adaptive_stream);
        assert_eq!(params.client.sdk, i32::from(Sdk::Js));
        assert_eq!(
            (params.client.protocol, params.client.client_protocol),
            (17, 2)
        );
        assert_eq!(params.client.capabilities, vec![1, 2]);
        assert_eq!(
            params.attributes.get("role").map(String::as_str),
            Some("host")
        );
    }

    proptest::proptest! {
        #[test]
        fn whatever_stands_in_the_query_is_an_answer_and_no_panic(raw in ".{0,200}", bytes: Vec<u8>) {
            for query in [raw, format!("join_request={}", URL_SAFE.encode(bytes))] {
                if let Ok(query) = Query::parse(&query) {
                    let _ = JoinParams::parse(PeerMode::Single, &query);
                    let _ = JoinParams::parse(PeerMode::Dual, &query);
                }
            }
        }
    }
}
