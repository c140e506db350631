//! Joins, framing, limits and the good end of a signalling connection.

use crate::support::{PATIENCE, start};
use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use flate2::write::GzEncoder;
use futures::SinkExt as _;
use http_body_util::Empty;
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::wrapped_join_request::Compression;
use livekit_protocol::{ClientInfo, JoinRequest, SessionDescription, WrappedJoinRequest};
use livekit_protocol::{leave_request, signal_request};
use prost::Message as _;
use proto::context::CONTEXT_HEADER;
use proto::media::NodeCommand;
use std::io::Write as _;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

fn join_request() -> Vec<u8> {
    let request = JoinRequest {
        client_info: Some(ClientInfo {
            protocol: 17,
            ..Default::default()
        }),
        publisher_offer: Some(SessionDescription {
            r#type: "offer".into(),
            sdp: "v=0\r\n".repeat(3000),
            id: 5,
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&request.encode_to_vec()).unwrap();
    WrappedJoinRequest {
        compression: Compression::Gzip.into(),
        join_request: gzip.finish().unwrap(),
    }
    .encode_to_vec()
}

#[tokio::test]
async fn a_join_with_a_gzipped_join_request_is_answered_and_its_offer_reaches_the_node() {
    let mut shard = start().await;
    let wrapped = join_request();
    for (identity, encoded) in [
        ("ann", URL_SAFE.encode(&wrapped)),
        ("bob", URL_SAFE_NO_PAD.encode(&wrapped)),
    ] {
        let token = shard.token("standup", identity);
        let target = format!("/r/standup/rtc/v1?access_token={token}&join_request={encoded}");
        let mut client = shard.open(&target, "standup").await.unwrap();
        let Response::Join(join) = client.next().await else {
            panic!("no join first")
        };
        assert_eq!(join.room.unwrap().name, "standup");
        assert_eq!(join.participant.unwrap().identity, identity);
        assert!(join.ping_interval > 0 && join.server_info.is_some());
        let answer = |message| match message {
            Response::Answer(answer) => Some(answer),
            _ => None,
        };
        assert_eq!(client.next_where(answer).await.id, 5);
    }
    assert!(matches!(
        shard.commands.recv().await,
        Some(NodeCommand::AddParticipant(_))
    ));
    assert_eq!(shard.directory.owner("standup").as_deref(), Some("s1"));
}

#[tokio::test]
async fn a_join_with_two_peer_connections_gets_the_subscriber_offer() {
    let shard = start().await;
    let token = shard.token("standup", "ann");
    let target = format!("/rtc?access_token={token}&auto_subscribe=1&sdk=js&protocol=17");
    let mut client = shard.open(&target, "standup").await.unwrap();
    assert!(matches!(client.next().await, Response::Join(_)));
    let offer = |message| match message {
        Response::Offer(offer) => Some(offer),
        _ => None,
    };
    assert_eq!(client.next_where(offer).await.r#type, "offer");
}

#[tokio::test]
async fn a_join_request_that_cannot_be_read_is_refused_before_the_upgrade() {
    let shard = start().await;
    let token = shard.token("standup", "ann");
    let target = format!("/rtc/v1?access_token={token}&join_request=%25%25");
    let refused = shard.open(&target, "standup").await.err().unwrap();
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("join_request"), "{}", refused.body);
}

#[tokio::test]
async fn text_frames_switch_to_json_until_a_binary_one_comes() {
    let shard = start().await;
    let mut client = shard.join("standup", "ann").await;
    client
        .socket
        .send(Message::text(r#"{"ping":"17"}"#))
        .await
        .unwrap();
    let text = loop {
        if let Message::Text(text) = client.frame().await {
            break text;
        }
    };
    assert!(text.contains("pong"), "{text}");
    client.send(signal_request::Message::Ping(18)).await;
    assert!(matches!(client.frame().await, Message::Binary(_)));
}

#[tokio::test]
async fn both_pings_are_answered() {
    let shard = start().await;
    let mut client = shard.join("standup", "ann").await;
    client.ping().await;
    let ping = livekit_protocol::Ping {
        timestamp: 42,
        rtt: 1,
    };
    client.send(signal_request::Message::PingReq(ping)).await;
    let pong = |message| match message {
        Response::PongResp(pong) => Some(pong),
        _ => None,
    };
    assert_eq!(client.next_where(pong).await.last_ping_timestamp, 42);
}

#[tokio::test]
async fn an_oversized_message_closes_its_connection_only() {
    let shard = start().await;
    let mut other = shard.join("standup", "bob").await;
    let mut client = shard.join("standup", "ann").await;
    client
        .socket
        .send(Message::Binary(vec![0; 3 * 1024 * 1024].into()))
        .await
        .unwrap();
    let close = client.closed().await;
    assert_eq!(close.code, CloseCode::Size);
    assert!(close.reason.contains("too big"), "{}", close.reason);
    other.ping().await;
}

#[tokio::test]
async fn garbage_closes_its_connection_with_a_reason() {
    let shard = start().await;
    let mut other = shard.join("standup", "bob").await;
    for garbage in [
        Message::Binary(vec![0xff; 40].into()),
        Message::text("{nonsense"),
    ] {
        let mut client = shard.join("standup", "ann").await;
        client.socket.send(garbage).await.unwrap();
        let close = client.closed().await;
        assert_eq!(close.code, CloseCode::Invalid);
        assert!(close.reason.contains("SignalRequest"), "{}", close.reason);
    }
    other.ping().await;
}

#[tokio::test]
async fn a_shard_that_ends_sends_everybody_away_and_gives_its_rooms_back() {
    let mut shard = start().await;
    let mut client = shard.join("standup", "ann").await;
    assert_eq!(shard.directory.owner("standup").as_deref(), Some("s1"));
    shard.stop.cancel();
    let leave = |message| match message {
        Response::Leave(leave) => Some(leave),
        _ => None,
    };
    let leave = client.next_where(leave).await;
    assert_eq!(leave.action(), leave_request::Action::Reconnect);
    client.closed().await;
    let ended = tokio::time::timeout(PATIENCE, &mut shard.running).await;
    ended.expect("an end in time").unwrap().unwrap();
    assert_eq!(shard.directory.owner("standup"), None);
}

#[tokio::test]
async fn a_websocket_over_http2_works_as_well() {
    let shard = start().await;
    let stream = tokio::net::TcpStream::connect(shard.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .handshake::<_, Empty<bytes::Bytes>>(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    // The server's settings say whether extended CONNECT is allowed (RFC 8441 section 3): they come
    // with the first answer at the latest.
    let hello = http::Request::get(format!("http://{}/", shard.address))
        .header(CONTEXT_HEADER, shard.context(None))
        .body(Empty::new())
        .unwrap();
    assert_eq!(sender.send_request(hello).await.unwrap().status(), 200);

    let target = format!("/rtc/v1?access_token={}", shard.token("standup", "ann"));
    let request = http::Request::connect(format!("http://{}{target}", shard.address))
        .extension(Protocol::from_static("websocket"))
        .header("sec-websocket-version", "13")
        .header(CONTEXT_HEADER, shard.context(Some("standup")))
        .body(Empty::new())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let upgraded = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    let mut socket = WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await;
    let first = tokio::time::timeout(PATIENCE, futures::StreamExt::next(&mut socket)).await;
    assert!(matches!(
        first.unwrap().unwrap().unwrap(),
        Message::Binary(_)
    ));
}

#[tokio::test]
async fn a_room_that_everybody_left_is_given_back() {
    let shard = start().await;
    let mut client = shard.join("standup", "ann").await;
    assert_eq!(shard.directory.owner("standup").as_deref(), Some("s1"));
    client
        .send(signal_request::Message::Leave(Default::default()))
        .await;
    shard.directory.given_back("standup").await;
}

#[tokio::test]
async fn a_resume_of_an_unknown_session_is_sent_to_join_afresh_and_leaves_no_room_behind() {
    let shard = start().await;
    let token = shard.token("standup", "ann");
    let target = format!("/rtc?access_token={token}&reconnect=1&sid=PA_gone");
    let mut client = shard.open(&target, "standup").await.unwrap();
    let Response::Leave(leave) = client.next().await else {
        panic!("no leave first")
    };
    assert_eq!(leave.action(), leave_request::Action::Reconnect);
    client.closed().await;
    shard.directory.given_back("standup").await;
}

#[tokio::test]
async fn without_a_word_from_the_directory_for_a_lease_the_rooms_are_given_up() {
    let shard = start().await;
    let mut client = shard.join("standup", "ann").await;
    shard
        .directory
        .cut
        .store(true, std::sync::atomic::Ordering::Relaxed);
    let leave = |message| match message {
        Response::Leave(leave) => Some(leave),
        _ => None,
    };
    let leave = client.next_where(leave).await;
    assert_eq!(leave.action(), leave_request::Action::Reconnect);
    let target = format!("/rtc/v1?access_token={}", shard.token("standup", "ann"));
    let refused = shard.open(&target, "standup").await.err().unwrap();
    assert_eq!(refused.status, 503, "{}", refused.body);
}
