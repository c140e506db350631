//! Every way to name a room leads to its shard, by every protocol.

use crate::support::{FakeShard, TestGateway, config, token};
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::{Method, Request, Version};
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

async fn two_shards() -> (FakeShard, FakeShard, TestGateway) {
    let (one, two) = (FakeShard::start("s1").await, FakeShard::start("s2").await);
    let gateway = TestGateway::start(config(vec![one.config(), two.config()]));
    (one, two, gateway)
}

async fn http2(address: SocketAddr) -> h2::client::SendRequest<Bytes> {
    let tcp = TcpStream::connect(address).await.unwrap();
    let (client, connection) = h2::client::handshake(tcp).await.unwrap();
    tokio::spawn(async move {
        let _ = connection.await;
    });
    client
}

async fn over_http2(gateway: &TestGateway, target: &str) -> String {
    let mut client = http2(gateway.address).await.ready().await.unwrap();
    let request = Request::get(format!("http://{}{target}", gateway.address))
        .body(())
        .unwrap();
    let (answer, _) = client.send_request(request, true).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.headers()["x-anteroom-shard"]
        .to_str()
        .unwrap()
        .to_owned()
}

async fn over_websocket(gateway: &TestGateway, target: &str) -> String {
    let url = format!("ws://{}{target}", gateway.address);
    let (mut socket, answer) = tokio_tungstenite::connect_async(url).await.unwrap();
    let announced = answer.headers()["x-anteroom-shard"]
        .to_str()
        .unwrap()
        .to_owned();
    let Some(Ok(Message::Text(said))) = socket.next().await else {
        panic!("the shard says its name first");
    };
    assert_eq!(said.as_str(), announced);
    socket.send(Message::binary(vec![1, 2, 3])).await.unwrap();
    assert_eq!(
        socket.next().await.unwrap().unwrap(),
        Message::binary(vec![1, 2, 3])
    );
    announced
}

/// A WebSocket over HTTP/2 (RFC 8441), frames by hand.
pub(crate) async fn over_http2_websocket(gateway: &TestGateway, target: &str) -> String {
    let mut client = http2(gateway.address).await.ready().await.unwrap();
    while !client.is_extended_connect_protocol_enabled() {
        client = client.ready().await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(format!("http://{}{target}", gateway.address))
        .version(Version::HTTP_2)
        .header("sec-websocket-version", "13")
        .body(())
        .unwrap();
    let protocol = h2::ext::Protocol::from_static("websocket");
    request.extensions_mut().insert(protocol);
    let (answer, mut sender) = client.send_request(request, false).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200, "{answer:?}");
    let announced = answer.headers()["x-anteroom-shard"]
        .to_str()
        .unwrap()
        .to_owned();
    // A final text frame with an all-zero mask (RFC 6455 section 5.2).
    let frame = [0x81, 0x82, 0, 0, 0, 0, b'h', b'i'];
    sender
        .send_data(Bytes::copy_from_slice(&frame), false)
        .unwrap();
    let mut body = answer.into_body();
    let mut heard = Vec::new();
    while !heard.ends_with(b"hi") {
        let data = body.data().await.unwrap().unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        heard.extend_from_slice(&data);
    }
    assert_eq!(&heard[2..4], announced.as_bytes());
    announced
}

#[tokio::test(flavor = "multi_thread")]
async fn path_query_header_token_websocket_and_http2_of_a_room_meet_on_one_shard() {
    let (one, two, gateway) = two_shards().await;
    let mut shares = std::collections::BTreeMap::new();
    for n in 0..12 {
        let room = format!("room-{n}");
        let token = token(&room);
        let page = gateway.get(&format!("/{room}")).await;
        assert_eq!(page.status, 200, "{page:?}");
        let home = page.shard().to_owned();
        assert_eq!(page.text, home, "the shard itself answered");
        let bearer = format!("Bearer {token}");
        let fields = [("authorization", bearer.as_str())];
        let with_token = gateway
            .request("GET", "/rtc/validate", &fields, Bytes::new())
            .await;
        let fields = [("x-anteroom-room", room.as_str())];
        let with_header = gateway
            .request("GET", "/rtc/validate", &fields, Bytes::new())
            .await;
        let join = format!("/rtc/v1?access_token={token}");
        let sticky = format!("/r/{room}/rtc/v1?access_token={token}");
        for shard in [
            with_token.shard().to_owned(),
            with_header.shard().to_owned(),
            gateway
                .get(&format!("/rtc/validate?room={room}"))
                .await
                .shard()
                .to_owned(),
            gateway
                .get(&format!("//{}", &join[1..]))
                .await
                .shard()
                .to_owned(),
            over_websocket(&gateway, &join).await,
            over_websocket(&gateway, &sticky).await,
            over_http2(&gateway, &format!("/{room}")).await,
            over_http2_websocket(&gateway, &join).await,
            over_http2_websocket(&gateway, &sticky).await,
        ] {
            assert_eq!(shard, home, "{room}");
        }
        *shares.entry(home).or_insert(0) += 1;
    }
    assert_eq!(shares.len(), 2, "both shards have rooms: {shares:?}");
    for seen in one.seen().iter().chain(&two.seen()) {
        assert!(!seen.target.starts_with("//"), "{}", seen.target);
        assert!(seen.context.room.as_ref().unwrap().starts_with("room-"));
    }
    assert!(
        one.seen()
            .iter()
            .any(|seen| seen.version == Version::HTTP_2)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_join_url_fits_into_a_websocket_over_http2() {
    let (_one, _two, gateway) = two_shards().await;
    let join = format!(
        "/rtc/v1?join_request={}&access_token={}",
        "A".repeat(20_000),
        token("standup")
    );
    over_http2_websocket(&gateway, &join).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shard_gets_our_statements_and_nobody_elses() {
    let one = FakeShard::start("s1").await;
    let gateway = TestGateway::start(config(vec![one.config()]));
    let forged = [
        ("x-anteroom-context", "forged"),
        ("x-anteroom-shard", "forged"),
        ("x-room-epoch", "forged"),
        ("x-shard-id", "forged"),
        ("x-forwarded-for", "forged"),
        ("forwarded", "for=forged"),
        ("x-custom", "kept"),
    ];
    let answer = gateway
        .request("POST", "/r/standup/api/token", &forged, "{}".into())
        .await;
    assert_eq!((answer.status, answer.shard()), (200, "s1"));
    assert_eq!(answer.header("x-anteroom-private"), None);
    let seen = one.seen().remove(0);
    assert_eq!(&seen.body[..], b"{}");
    assert_eq!(seen.context.room.as_deref(), Some("standup"));
    assert_eq!(seen.context.client, "127.0.0.1");
    assert_eq!(seen.context.generation, 1);
    assert_eq!(seen.headers["x-forwarded-for"], "127.0.0.1");
    assert_eq!(seen.headers["x-forwarded-proto"], "http");
    assert_eq!(seen.headers["x-custom"], "kept");
    assert!(!format!("{:?}", seen.headers).contains("forged"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_routed_is_refused_in_words() {
    let (one, two, gateway) = two_shards().await;
    let good = token("standup");
    let forged = format!("{}AAAA", &good[..good.len() - 4]);
    for (target, status, word) in [
        (
            format!("/r/other/rtc?access_token={good}"),
            400,
            "must be the same",
        ),
        (format!("/rtc?access_token={forged}"), 401, "signature"),
        (
            format!("/rtc/v1/validate?access_token={good}&access_token={good}"),
            400,
            "more than once",
        ),
        ("/rtc".to_owned(), 400, "video.room"),
        (
            format!("/rtc?access_token={}", token("")),
            401,
            "video.room",
        ),
        ("/r/%2e%2e/rtc".to_owned(), 400, ".."),
        (format!("/{}", "x".repeat(300)), 400, "room name"),
        ("/a/b".to_owned(), 404, "no such path"),
    ] {
        let answer = gateway.get(&target).await;
        assert_eq!(answer.status, status, "{target}: {answer:?}");
        assert!(answer.text.contains(word), "{target}: {}", answer.text);
        assert!(!answer.text.contains(&good[..20]), "{}", answer.text);
        let cross_origin = answer.header("access-control-allow-origin") == Some("*");
        assert_eq!(cross_origin, target.contains("/rtc"), "{target}");
    }
    assert!(one.seen().is_empty() && two.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_connect_is_refused_and_a_preflight_is_answered() {
    let (one, _two, gateway) = two_shards().await;
    let mut client = http2(gateway.address).await.ready().await.unwrap();
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri("example.org:443")
        .body(())
        .unwrap();
    let (answer, _) = client.send_request(request, true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 405);

    let fields = [
        ("origin", "https://app.example.org"),
        ("access-control-request-headers", "authorization"),
    ];
    let answer = gateway
        .request("OPTIONS", "/rtc/v1/validate", &fields, Bytes::new())
        .await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert!(
        answer
            .header("access-control-allow-headers")
            .unwrap()
            .contains("authorization")
    );
    assert_eq!(answer.header("accept-post"), None);

    let answer = gateway
        .request("OPTIONS", "/r/standup/whip", &fields, Bytes::new())
        .await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("accept-post"), Some("application/sdp"));
    let methods = answer.header("access-control-allow-methods").unwrap();
    assert!(methods.contains("PATCH") && methods.contains("DELETE"));
    assert!(one.seen().is_empty());
}
