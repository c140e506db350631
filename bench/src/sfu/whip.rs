//! Joins by an offer in a POST, as WHIP (RFC 9725) does it, and its sister for subscribers.

use super::plain::Plain;
use super::wire::Wire;
use anyhow::{Context as _, ensure};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long a server may take for an answer: it waits for the tracks that are asked for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest answer, bytes.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

/// A server with `POST /pub/{room}/{name}` and `POST /sub/{room}/{name}?tracks=N`.
pub(crate) struct Whip {
    pub(crate) address: SocketAddr,
}

impl Whip {
    /// Publishes one video.
    pub(crate) async fn publish(
        &self,
        ip: IpAddr,
        room: &str,
        name: &str,
    ) -> anyhow::Result<(Box<Plain>, Wire)> {
        let wire = Wire::bind(ip)?;
        let mut plain = Box::new(Plain::new(wire.local(), true, Instant::now())?);
        let offer = plain.offer_to_send()?;
        let answer = self.post(&format!("/pub/{room}/{name}"), &offer).await?;
        plain.accept_answer(&answer, Instant::now())?;
        Ok((plain, wire))
    }

    /// Receives the videos of the others.
    pub(crate) async fn subscribe(
        &self,
        ip: IpAddr,
        room: &str,
        name: &str,
        videos: usize,
        decrypts: bool,
    ) -> anyhow::Result<(Box<Plain>, Wire)> {
        let wire = Wire::bind(ip)?;
        let mut plain = Box::new(Plain::new(wire.local(), decrypts, Instant::now())?);
        let offer = plain.offer_to_receive(videos)?;
        let target = format!("/sub/{room}/{name}?tracks={videos}");
        let answer = self.post(&target, &offer).await?;
        plain.accept_answer(&answer, Instant::now())?;
        Ok((plain, wire))
    }

    async fn post(&self, target: &str, body: &str) -> anyhow::Result<String> {
        tokio::time::timeout(ANSWER_TIMEOUT, post(self.address, target, body))
            .await
            .context("the server did not answer in time")?
    }
}

/// One POST on a connection of its own. HTTP/1.0, so that the answer ends with the connection.
async fn post(to: SocketAddr, target: &str, body: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(to)
        .await
        .with_context(|| format!("connect to {to}"))?;
    let request = format!(
        "POST {target} HTTP/1.0\r\nHost: {to}\r\nContent-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_string(&mut answer)
        .await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.lines().next().unwrap_or_default();
    ensure!(status.contains(" 201 "), "{status}: {}", body.trim());
    Ok(body.to_owned())
}
