//! What the gateway changes in a request to a shard and in its answer.

use crate::admit::target_of;
use http::header::HeaderName;
use http::uri::PathAndQuery;
use observe::{TRACE_HEADER, Traceparent};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::{Error, ErrorType, Result};
use proto::context::{CONTEXT_HEADER, SHARD_HEADER};

/// Headers that only we may set. What a client sends under these names is dropped, or it could speak
/// in the gateway's name.
const OURS: [&str; 4] = ["x-anteroom-", "x-room-", "x-shard-", "x-forwarded-"];
/// And a client cannot put itself into our traces.
const OURS_EXACTLY: [&str; 5] = [
    "forwarded",
    "x-real-ip",
    TRACE_HEADER,
    "tracestate",
    "baggage",
];

fn is_ours(name: &str) -> bool {
    OURS_EXACTLY.contains(&name) || OURS.iter().any(|prefix| name.starts_with(prefix))
}

fn ours(headers: &http::HeaderMap) -> Vec<HeaderName> {
    headers
        .keys()
        .filter(|name| is_ours(name.as_str()))
        .cloned()
        .collect()
}

/// Prepares a request for the shard: our own statements in, everybody else's out.
pub(crate) fn prepare_request(
    request: &mut RequestHeader,
    context: &str,
    client: &str,
    tls: bool,
    trace: Option<Traceparent>,
) -> Result<()> {
    for name in ours(&request.headers) {
        request.remove_header(&name);
    }
    normalise_target(request)?;
    request.insert_header(CONTEXT_HEADER, context)?;
    if let Some(trace) = trace {
        request.insert_header(TRACE_HEADER, trace.to_string())?;
    }
    request.insert_header("x-forwarded-for", client)?;
    request.insert_header("x-forwarded-proto", if tls { "https" } else { "http" })?;
    Ok(())
}

/// The shard sees exactly the target that was routed on.
fn normalise_target(request: &mut RequestHeader) -> Result<()> {
    let unusable = || Error::explain(ErrorType::InvalidHTTPHeader, "request target");
    let target = target_of(request).ok_or_else(unusable)?;
    if request.raw_path() == target.as_bytes() {
        return Ok(());
    }
    let mut parts = request.uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(target).map_err(|_| unusable())?);
    let uri = http::Uri::from_parts(parts).map_err(|_| unusable())?;
    request.set_uri(uri);
    Ok(())
}

/// Takes the shard's private remarks out of an answer and says which shard gave it.
pub(crate) fn prepare_answer(answer: &mut ResponseHeader, shard: Option<&str>) -> Result<()> {
    for name in ours(&answer.headers) {
        answer.remove_header(&name);
    }
    if let Some(shard) = shard {
        answer.insert_header(SHARD_HEADER, shard)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_cannot_speak_in_the_gateways_name() {
        let mut request = RequestHeader::build("GET", b"//rtc/v1?x=//y", None).unwrap();
        for name in [
            "x-anteroom-context",
            "X-Anteroom-Room",
            "x-room-epoch",
            "x-shard-id",
            "X-Forwarded-For",
            "Forwarded",
            "x-real-ip",
            "traceparent",
            "tracestate",
            "baggage",
        ] {
            request.append_header(name, "forged").unwrap();
        }
        request.append_header("x-forwarded-for", "forged").unwrap();
        request.append_header("x-custom", "kept").unwrap();
        let trace = Traceparent::unsampled();
        prepare_request(&mut request, "signed", "192.0.2.1", true, Some(trace)).unwrap();
        assert_eq!(request.headers["traceparent"], trace.to_string());
        assert_eq!(request.raw_path(), b"/rtc/v1?x=//y");
        assert!(!format!("{:?}", request.headers).contains("forged"));
        assert_eq!(request.headers["x-anteroom-context"], "signed");
        assert_eq!(request.headers["x-forwarded-for"], "192.0.2.1");
        assert_eq!(request.headers["x-forwarded-proto"], "https");
        assert_eq!(request.headers["x-custom"], "kept");
    }

    #[test]
    fn an_answer_names_its_shard_and_keeps_no_private_remark() {
        let mut answer = ResponseHeader::build(200, None).unwrap();
        answer.insert_header("x-anteroom-owner", "s9").unwrap();
        answer.insert_header("x-anteroom-shard", "s9").unwrap();
        prepare_answer(&mut answer, Some("s1")).unwrap();
        assert_eq!(answer.headers["x-anteroom-shard"], "s1");
        assert!(!answer.headers.contains_key("x-anteroom-owner"));
    }
}
