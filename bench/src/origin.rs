//! What is behind the proxies: answers requests of rooms with its name, and echoes WebSockets.

use crate::answer::{GREETING, ORIGIN_HEADER};
use crate::rooms::{ACCEPT, KEY};
use crate::{frame, lease, talk};
use anyhow::{Context as _, bail};
use bytes::{Buf as _, BytesMut};
use clap::Args;
use proto::context::ClusterKey;
use serde_json::json;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Most origins: the name is one digit, so that all answers have one length.
const ORIGINS_MAX: usize = 9;
/// Most header fields of a request.
const FIELDS_MAX: usize = 64;
/// How much is read at once.
const READ_BYTES: usize = 4 * 1024;
/// Longest request head, bytes.
const HEAD_MAX: usize = 64 * 1024;
/// Pause after an accept that failed: there is no file left, perhaps.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
/// What a gateway asks each shard for now and then.
const ROOM_LIST: &str = "/internal/rooms";

/// What to serve.
#[derive(Debug, Args)]
pub(crate) struct OriginArgs {
    /// Addresses, one for each origin: the first is s1, and so on.
    #[arg(long, value_delimiter = ',', required = true)]
    listen: Vec<SocketAddr>,
    /// Threads that serve.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Internal addresses (`http://host:port`) of gateways where every origin holds a lease.
    #[arg(long, value_delimiter = ',')]
    directory: Vec<String>,
    /// The deployment's secret, for the leases.
    #[arg(long, default_value = "")]
    secret: String,
}

/// Serves until the process ends.
pub(crate) fn run(args: &OriginArgs) -> anyhow::Result<()> {
    if args.listen.len() > ORIGINS_MAX {
        bail!("at most {ORIGINS_MAX} origins: their names are one digit");
    }
    let bound = args.listen.iter().map(|address| {
        let listener =
            TcpListener::bind(address).with_context(|| format!("listen on {address}"))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    let listeners = bound.collect::<anyhow::Result<Vec<_>>>()?;
    for _ in 1..args.threads {
        let clones = listeners.iter().map(TcpListener::try_clone);
        let clones = clones.collect::<io::Result<Vec<_>>>()?;
        thread::spawn(move || serve_all(clones, &[]));
    }
    let mut leases = Vec::new();
    for directory in &args.directory {
        let secret = ClusterKey::new(&args.secret).context("leases need --secret")?;
        leases.push((directory.clone(), secret));
    }
    talk::say(&json!({ "event": "listening" }))?;
    serve_all(listeners, &leases)
}

fn serve_all(listeners: Vec<TcpListener>, leases: &[(String, ClusterKey)]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut numbers = 1_u8..;
        for listener in listeners {
            let number = numbers.next().unwrap_or_default();
            let listener = tokio::net::TcpListener::from_std(listener)?;
            for (directory, cluster) in leases {
                let shard = format!("s{number}");
                tokio::spawn(lease::hold(directory.clone(), cluster.clone(), shard));
            }
            tokio::spawn(accept(listener, number));
        }
        std::future::pending().await
    })
}

/// Serves one origin.
pub(crate) async fn accept(listener: tokio::net::TcpListener, number: u8) {
    let answers = Arc::new(Answers::of(number));
    loop {
        match listener.accept().await {
            Ok((tcp, _)) => {
                let answers = Arc::clone(&answers);
                // What a client or a proxy breaks off, they have counted.
                tokio::spawn(async move { serve(tcp, &answers).await });
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Everything that an origin ever says.
struct Answers {
    greeting: Vec<u8>,
    acceptance: Vec<u8>,
    no_rooms: Vec<u8>,
}

impl Answers {
    fn of(number: u8) -> Self {
        let full = |kind: &str, body: &str| {
            let length = body.len();
            let head = "HTTP/1.1 200 OK\r\nContent-Type";
            format!("{head}: {kind}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
        };
        let acceptance = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {ACCEPT}\r\n{ORIGIN_HEADER}: {number}\r\n\r\n"
        );
        Self {
            greeting: full("text/plain", &format!("{GREETING}{number}")),
            acceptance: acceptance.into_bytes(),
            no_rooms: full("application/json", "[]"),
        }
    }
}

/// What a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Greeting,
    WebSocket,
    Rooms,
    Wrong(&'static str),
}

async fn serve(mut tcp: TcpStream, answers: &Answers) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let mut input = BytesMut::with_capacity(READ_BYTES);
    loop {
        while let Some(asked) = take_request(&mut input) {
            match asked {
                Asked::Greeting => tcp.write_all(&answers.greeting).await?,
                Asked::Rooms => tcp.write_all(&answers.no_rooms).await?,
                Asked::WebSocket => {
                    tcp.write_all(&answers.acceptance).await?;
                    return echo(tcp, input).await;
                }
                Asked::Wrong(why) => {
                    let length = why.len();
                    let answer = format!(
                        "HTTP/1.1 400 Bad Request\r\nContent-Length: {length}\r\n\
                         Connection: close\r\n\r\n{why}"
                    );
                    tcp.write_all(answer.as_bytes()).await?;
                    return tcp.shutdown().await;
                }
            }
        }
        input.reserve(READ_BYTES);
        if tcp.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}

/// Takes the head of a request out of `input`; `None` if it is not complete.
fn take_request(input: &mut BytesMut) -> Option<Asked> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(input) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if input.len() <= HEAD_MAX => return None,
        Ok(httparse::Status::Partial) => return Some(Asked::Wrong("a head that is too long")),
        Err(_) => return Some(Asked::Wrong("no HTTP request")),
    };
    let asked = asked(&request);
    input.advance(length);
    Some(asked)
}

fn asked(request: &httparse::Request<'_, '_>) -> Asked {
    let path = request.path.unwrap_or_default();
    if request.method != Some("GET") {
        return Asked::Wrong("not a GET");
    }
    if path == ROOM_LIST {
        return Asked::Rooms;
    }
    if !path.contains("?room=bench-") {
        return Asked::Wrong("no room");
    }
    let (mut upgrade, mut key) = (false, false);
    for field in request.headers.iter() {
        let name = field.name;
        if name.eq_ignore_ascii_case("upgrade") {
            upgrade = field.value.eq_ignore_ascii_case(b"websocket");
        } else if name.eq_ignore_ascii_case("sec-websocket-key") {
            key = field.value == KEY.as_bytes();
        } else if name.eq_ignore_ascii_case("transfer-encoding")
            || (name.eq_ignore_ascii_case("content-length") && field.value != b"0")
        {
            return Asked::Wrong("a GET with a body");
        }
    }
    match (upgrade, key) {
        (false, _) => Asked::Greeting,
        (true, true) => Asked::WebSocket,
        (true, false) => Asked::Wrong("a handshake with another key"),
    }
}

async fn echo(mut tcp: TcpStream, mut input: BytesMut) -> io::Result<()> {
    let mut output = BytesMut::new();
    loop {
        loop {
            match frame::echo(&mut input, &mut output) {
                Ok(Some(frame::CLOSE)) => {
                    tcp.write_all(&output).await?;
                    return tcp.shutdown().await;
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(why) => return Err(io::Error::other(why)),
            }
        }
        if !output.is_empty() {
            tcp.write_all(&output).await?;
            output.clear();
        }
        input.reserve(READ_BYTES);
        if tcp.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_what_it_says_and_anything_odd_is_refused() {
        let ask = |text: &str| take_request(&mut BytesMut::from(text));
        let page = "GET /rtc/validate?room=bench-001 HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(ask(page), Some(Asked::Greeting));
        assert_eq!(ask(&page[..40]), None);
        assert_eq!(
            ask("GET /internal/rooms HTTP/1.1\r\n\r\n"),
            Some(Asked::Rooms)
        );
        let join = format!("Upgrade: websocket\r\nSec-WebSocket-Key: {KEY}\r\nHost");
        assert_eq!(ask(&page.replace("Host", &join)), Some(Asked::WebSocket));
        for odd in [
            page.replace("GET", "PUT"),
            page.replace("room", "rum"),
            page.replace("Host: a", "Content-Length: 2"),
            page.replace("Host: a", "Upgrade: websocket"),
            "\u{1}\r\n\r\n".to_owned(),
        ] {
            assert!(matches!(ask(&odd), Some(Asked::Wrong(_))), "{odd}");
        }
    }
}
