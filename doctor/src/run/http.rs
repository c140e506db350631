//! Plain requests to the gateway, one a connection.

use super::line::Line;
use crate::core::target::sticky;
use crate::core::verdict::gateway::Answer;
use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use std::time::UNIX_EPOCH;

/// Longest answer that is read, bytes: a token, or a refusal.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// Of a body in a message, characters.
const TEXT_CHARS_MAX: usize = 300;
/// Who answered.
const SHARD_HEADER: &str = "x-anteroom-shard";

/// Asks for a path.
pub(super) async fn get(line: &Line, path: &str, token: Option<&str>) -> Result<Answer, String> {
    let (answer, body) = ask(line, Method::GET, path, token, "").await?;
    let text: Vec<&str> = body.split_whitespace().collect();
    // A page is nothing that anybody wants to read here.
    let is_text = content_type(&answer).starts_with("text/plain");
    let text = if is_text {
        text.join(" ")
    } else {
        String::new()
    };
    let field = |name: &str| Some(answer.headers().get(name)?.to_str().ok()?.to_owned());
    let date = field("date").and_then(|date| httpdate::parse_http_date(&date).ok());
    let date = date.and_then(|date| date.duration_since(UNIX_EPOCH).ok());
    Ok(Answer {
        status: answer.status().as_u16(),
        shard: field(SHARD_HEADER),
        date: date.and_then(|date| i64::try_from(date.as_secs()).ok()),
        text: text.chars().take(TEXT_CHARS_MAX).collect(),
    })
}

/// A token of the server's own, where it hands them out.
pub(super) async fn token(line: &Line, room: &str) -> Option<String> {
    let path = format!("{}/api/token", sticky(room));
    let asked = r#"{"name":"Connection test"}"#;
    let (answer, body) = ask(line, Method::POST, &path, None, asked).await.ok()?;
    if !answer.status().is_success() {
        return None;
    }
    let json: serde_json::Value = serde_json::from_str(&body).ok()?;
    Some(json.get("token")?.as_str()?.to_owned())
}

fn content_type(answer: &Response<()>) -> &str {
    let field = answer.headers().get(header::CONTENT_TYPE);
    field
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default()
}

async fn ask(
    line: &Line,
    method: Method,
    path: &str,
    token: Option<&str>,
    body: &str,
) -> Result<(Response<()>, String), String> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, line.authority())
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request
        .body(Full::new(Bytes::from(body.to_owned())))
        .map_err(|error| format!("the request cannot be made: {error}"))?;
    let exchange = tokio::time::timeout(line.within(), exchange(line, request));
    exchange.await.unwrap_or_else(|_| {
        Err(format!(
            "no answer within {} s",
            line.within().as_secs_f32()
        ))
    })
}

async fn exchange(
    line: &Line,
    request: Request<Full<Bytes>>,
) -> Result<(Response<()>, String), String> {
    let stream = line.open().await?;
    let broken = |error: hyper::Error| format!("what answers is no HTTP: {error}");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    // It ends with the sender.
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(broken)?;
    let (head, body) = answer.into_parts();
    let text = read(body).await;
    Ok((Response::from_parts(head, ()), text))
}

/// As much as comes: the status matters more.
async fn read(body: Incoming) -> String {
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        Err(_) => String::new(),
    }
}
