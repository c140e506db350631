//! What a client may send before anybody has looked at it.

use crate::support::{FakeShard, TestGateway, config, token};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Sends bytes and reads until the gateway closes.
async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let _ = tcp.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_drips_is_cut_off_at_the_total_deadline() {
    let one = FakeShard::start("s1").await;
    let mut slow = config(vec![one.config()]);
    slow.header_deadline_ms = 700;
    let gateway = TestGateway::start(slow);
    let begun = Instant::now();
    let tcp = TcpStream::connect(gateway.address).await.unwrap();
    let (mut reader, mut writer) = tcp.into_split();
    let drip = tokio::spawn(async move {
        let _ = writer.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n").await;
        loop {
            if writer.write_all(b"x").await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let mut answer = Vec::new();
    let _ = reader.read_to_end(&mut answer).await;
    drip.abort();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    let took = begun.elapsed();
    assert!(
        (Duration::from_millis(600)..Duration::from_secs(8)).contains(&took),
        "{took:?}"
    );

    // A connection without a byte is closed without a word.
    assert_eq!(raw(gateway.address, b"").await, "");
    assert!(one.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_over_a_limit_are_refused_and_long_join_urls_are_not() {
    let one = FakeShard::start("s1").await;
    let gateway = TestGateway::start(config(vec![one.config()]));
    let large = format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "y".repeat(40_000)
    );
    let answer = raw(gateway.address, large.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let many = format!(
        "GET / HTTP/1.1\r\nhost: a\r\n{}\r\n",
        "x: y\r\n".repeat(150)
    );
    let answer = raw(gateway.address, many.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let long = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "y".repeat(70_000));
    let answer = raw(gateway.address, long.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 414"), "{answer}");
    let answer = raw(gateway.address, b"\x16\x03\x01\x02\x00\x01\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(one.seen().is_empty());

    let join = format!(
        "/rtc/v1?join_request={}&access_token={}",
        "A".repeat(50_000),
        token("standup")
    );
    let answer = gateway.get(&join).await;
    assert_eq!((answer.status, answer.shard()), (200, "s1"), "{answer:?}");
    assert_eq!(one.seen()[0].target, join);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_serves_request_after_request_with_and_without_bodies() {
    let one = FakeShard::start("s1").await;
    let gateway = TestGateway::start(config(vec![one.config()]));
    let mut tcp = TcpStream::connect(gateway.address).await.unwrap();
    for n in 0..4 {
        let request = if n % 2 == 0 {
            format!("GET /room-{n} HTTP/1.1\r\nhost: a\r\n\r\n")
        } else {
            format!(
                "POST /r/room-{n}/api/token HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{{}}"
            )
        };
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\ns1") {
            assert_ne!(
                tcp.read_buf(&mut answer).await.unwrap(),
                0,
                "closed after {n}"
            );
        }
    }
    assert_eq!(one.seen().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_stops_within_a_second_or_so_with_clients_connected() {
    let one = FakeShard::start("s1").await;
    let gateway = TestGateway::start(config(vec![one.config()]));
    let url = format!("ws://{}/r/standup/rtc", gateway.address);
    let (_socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let _idle = TcpStream::connect(gateway.address).await.unwrap();
    let took = tokio::task::spawn_blocking(move || gateway.stop())
        .await
        .unwrap();
    assert!(took < Duration::from_secs(8), "{took:?}");
}
