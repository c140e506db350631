//! WebSockets over HTTP/1.1, byte by byte: what a shard says right behind its 101 arrives, and a
//! shard that does not say anything is not waited for.

use crate::support::{Answer, TestGateway, config, shard_config};
use bytes::BytesMut;
use futures::future::join_all;
use http::HeaderMap;
use proto::context::CONTEXT_HEADER;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What a raw shard does with a handshake.
#[derive(Clone, Copy)]
enum Manner {
    /// 101 and a word in the same segment, then everything back.
    Welcome,
    /// The same, the word in a segment of its own, and the 101 late.
    Late,
    /// These bytes, then the connection is kept open.
    Say(&'static str),
    /// Nothing, ever.
    Stall,
    /// The connection is closed.
    HangUp,
}

const ACCEPT: &str =
    "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
const LATE: Duration = Duration::from_millis(200);
/// Sockets at one time, and how often: a relay that loses one in a thousand is found.
const SOCKETS: usize = 400;
const ROUNDS: usize = 3;

/// A shard without any HTTP library.
struct RawShard {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl RawShard {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                connections.spawn(serve(tcp, manner, Arc::clone(&seen)));
            }
        });
        Self {
            address,
            heads,
            task,
        }
    }

    fn gateway(&self) -> TestGateway {
        self.gateway_waiting(1_000)
    }

    fn gateway_waiting(&self, answer_timeout_ms: u64) -> TestGateway {
        let mut config = config(vec![shard_config(
            "s1",
            &format!("http://{}", self.address),
        )]);
        config.threads = 2;
        config.upstream.answer_timeout_ms = answer_timeout_ms;
        TestGateway::start(config)
    }
}

impl Drop for RawShard {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads up to the end of a head; the head, and what came behind it.
async fn read_head(tcp: &mut TcpStream) -> Option<(String, BytesMut)> {
    let mut bytes = BytesMut::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = bytes.split_to(end + 4);
            return Some((String::from_utf8_lossy(&head).into_owned(), bytes));
        }
        if tcp.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

async fn serve(mut tcp: TcpStream, manner: Manner, heads: Arc<Mutex<Vec<String>>>) {
    tcp.set_nodelay(true).unwrap();
    let Some((head, behind)) = read_head(&mut tcp).await else {
        return;
    };
    // The gateway asks for rooms in its own time.
    if head.starts_with("GET /internal/") {
        return;
    }
    heads.lock().unwrap().push(head);
    assert!(behind.is_empty(), "bytes of the client before the 101");
    match manner {
        Manner::Welcome => {
            let welcome = format!("{ACCEPT}welcome");
            let _ = tcp.write_all(welcome.as_bytes()).await;
        }
        Manner::Late => {
            // Nothing may come until the 101 is out.
            let mut early = [0];
            let read = tokio::time::timeout(LATE, tcp.read(&mut early)).await;
            assert!(read.is_err(), "{read:?} before the 101");
            let _ = tcp.write_all(ACCEPT.as_bytes()).await;
            let _ = tcp.write_all(b"welcome").await;
        }
        Manner::Say(answer) => {
            let _ = tcp.write_all(answer.as_bytes()).await;
        }
        Manner::Stall => std::future::pending().await,
        Manner::HangUp => return,
    }
    let (mut reader, mut writer) = tcp.split();
    let _ = tokio::io::copy(&mut reader, &mut writer).await;
}

fn handshake(room: &str) -> String {
    format!(
        "GET /r/{room}/rtc HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n\
         Upgrade: websocket\r\nx-anteroom-context: forged\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
}

async fn send(gateway: &TestGateway, bytes: &str) -> TcpStream {
    let mut tcp = TcpStream::connect(gateway.address).await.unwrap();
    tcp.write_all(bytes.as_bytes()).await.unwrap();
    tcp
}

/// Reads `length` bytes behind a 101.
async fn opened(tcp: &mut TcpStream, length: usize) -> Result<(String, String), String> {
    let (head, mut behind) = read_head(tcp).await.ok_or("closed before a head")?;
    if !head.starts_with("HTTP/1.1 101 ") {
        return Err(head);
    }
    while behind.len() < length {
        match tcp.read_buf(&mut behind).await {
            Ok(0) => return Err(format!("closed after 101 and {behind:?}")),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok((head, String::from_utf8_lossy(&behind).into_owned()))
}

/// A whole answer, up to the end of the connection.
async fn refused(gateway: &TestGateway, request: &str) -> Answer {
    let mut tcp = send(gateway, request).await;
    let (head, mut behind) = read_head(&mut tcp).await.unwrap();
    while tcp.read_buf(&mut behind).await.unwrap() > 0 {}
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let mut headers = HeaderMap::new();
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap();
        let name: http::HeaderName = name.parse().unwrap();
        headers.append(name, value.parse().unwrap());
    }
    Answer {
        status: status.parse().unwrap(),
        headers,
        text: String::from_utf8_lossy(&behind).into_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_shard_says_right_behind_its_101_reaches_every_client() {
    let shard = RawShard::start(Manner::Welcome).await;
    let gateway = shard.gateway();
    for _ in 0..ROUNDS {
        open_all(&gateway).await;
    }
}

async fn open_all(gateway: &TestGateway) {
    let sockets = (0..SOCKETS).map(|n| async move {
        let mut tcp = send(gateway, &handshake(&format!("room-{n}"))).await;
        opened(&mut tcp, "welcome".len()).await?;
        let word = format!("word {n}");
        tcp.write_all(word.as_bytes()).await.unwrap();
        let mut heard = vec![0; word.len()];
        tcp.read_exact(&mut heard)
            .await
            .map_err(|error| error.to_string())?;
        Ok::<_, String>(heard == word.as_bytes())
    });
    let results = join_all(sockets).await;
    let lost: Vec<_> = results
        .iter()
        .filter(|result| **result != Ok(true))
        .collect();
    assert!(lost.is_empty(), "{} lost: {lost:?}", lost.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn early_bytes_wait_for_the_101_and_are_not_lost() {
    let shard = RawShard::start(Manner::Late).await;
    let gateway = shard.gateway();
    let mut tcp = send(&gateway, &format!("{}early ", handshake("standup"))).await;
    tcp.write_all(b"and later").await.unwrap();
    let expected = "welcomeearly and later";
    let (head, heard) = opened(&mut tcp, expected.len()).await.unwrap();
    assert_eq!(heard, expected);
    assert!(head.contains("x-anteroom-shard: s1"), "{head}");

    // More than is held stays in the client's socket.
    let large = "x".repeat(300_000);
    let mut tcp = send(&gateway, &handshake("standup")).await;
    let (mut reader, mut writer) = tcp.split();
    let mut heard = Vec::new();
    let (sent, ()) = tokio::join!(writer.write_all(large.as_bytes()), async {
        while heard.len() < ACCEPT.len() || !heard.ends_with(b"x") || heard.len() < large.len() {
            assert_ne!(reader.read_buf(&mut heard).await.unwrap(), 0);
        }
    });
    sent.unwrap();

    let head = shard.heads.lock().unwrap().remove(0);
    assert!(
        head.starts_with("GET /r/standup/rtc HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(
        head.contains(CONTEXT_HEADER) && !head.contains("forged"),
        "{head}"
    );
    assert!(head.contains("x-forwarded-for: 127.0.0.1"), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_stalls_or_hangs_up_is_a_503_in_time() {
    for manner in [
        Manner::Stall,
        Manner::HangUp,
        Manner::Say("nonsense\r\n\r\n"),
    ] {
        let shard = RawShard::start(manner).await;
        let gateway = shard.gateway();
        let begun = Instant::now();
        let answer = refused(&gateway, &handshake("standup")).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert_eq!(
            (answer.shard(), answer.header("connection")),
            ("s1", Some("close"))
        );
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?}",
            begun.elapsed()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_stands_still_is_a_503_as_soon_as_its_lease_has_ended() {
    let shard = RawShard::start(Manner::Stall).await;
    let gateway = shard.gateway_waiting(30_000);
    gateway.renew("s1").await;
    let begun = Instant::now();
    // The gateway has seen the lease.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let answer = refused(&gateway, &handshake("standup")).await;
    assert_eq!((answer.status, answer.shard()), (503, "s1"), "{answer:?}");
    let took = begun.elapsed();
    let expected = Duration::from_secs(3)..Duration::from_secs(6);
    assert!(expected.contains(&took), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_no_101_comes_through_and_ends_the_connection() {
    for (said, text) in [
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 426 Upgrade Required\r\ncontent-length: 4\r\n\
             x-anteroom-private: y\r\nsec-websocket-version: 13\r\n\r\nwhy?and more",
            "why?",
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", ""),
    ] {
        let shard = RawShard::start(Manner::Say(said)).await;
        let gateway = shard.gateway();
        let answer = refused(&gateway, &handshake("standup")).await;
        assert_eq!((answer.text.as_str(), answer.shard()), (text, "s1"));
        assert_eq!(answer.header("connection"), Some("close"));
        assert_eq!(answer.header("x-anteroom-private"), None);
    }
    // Without a length the body ends when the shard says nothing more.
    let shard = RawShard::start(Manner::Say("HTTP/1.1 401 No\r\n\r\nno entry")).await;
    let answer = refused(&shard.gateway(), &handshake("standup")).await;
    assert_eq!((answer.status, answer.text.as_str()), (401, "no entry"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_side_learns_of_the_end_of_the_other() {
    let shard = RawShard::start(Manner::Welcome).await;
    let gateway = shard.gateway();
    let mut tcp = send(&gateway, &handshake("standup")).await;
    opened(&mut tcp, "welcome".len()).await.unwrap();
    tcp.write_all(b"last word").await.unwrap();
    tcp.shutdown().await.unwrap();
    // The shard sends back what it gets until the end: its end is the answer to ours.
    let mut heard = Vec::new();
    tcp.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"last word");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_is_refused_as_any_other_request_is() {
    let shard = RawShard::start(Manner::Welcome).await;
    let gateway = shard.gateway();
    let wrong = handshake("standup").replace("/rtc ", "/rtc?room=other ");
    let answer = refused(&gateway, &wrong).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text.contains("must be the same"), "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("x-anteroom-shard"), None);
    assert!(shard.heads.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn other_upgrades_are_ignored() {
    let shard = RawShard::start(Manner::Say(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ))
    .await;
    let gateway = shard.gateway();
    let other = handshake("standup").replace("Upgrade: websocket", "Upgrade: h2c");
    let mut tcp = send(&gateway, &other).await;
    let (head, _) = read_head(&mut tcp).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let head = shard.heads.lock().unwrap().remove(0);
    assert!(
        !head.to_ascii_lowercase().contains("upgrade: h2c"),
        "{head}"
    );
}
