//! What a client says when it cannot join, or cannot stay.

use crate::guest::{Guest, until};
use crate::world::World;
use client::{AccessToken, Client, ConnectError, ConnectOptions, EndReason, PeerMode, Step};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

async fn refused(options: ConnectOptions) -> ConnectError {
    Client::connect(options).await.expect_err("no way in")
}

#[tokio::test]
async fn a_wrong_token_is_refused_with_the_servers_text() {
    let world = World::start().await;
    let forged = AccessToken::new("standup", "ann").sign("devkey", "another");
    for mode in [PeerMode::Single, PeerMode::Dual] {
        let options = world.options_with("standup", forged.as_ref().unwrap().clone(), mode);
        let error = refused(options).await;
        let text = error.to_string();
        assert!(
            matches!(error, ConnectError::Status { status: 401, .. }),
            "{text}"
        );
        assert!(
            text.contains("signature is wrong") && !text.contains('\n'),
            "{text}"
        );
    }
    world.stop().await;
}

#[tokio::test]
async fn a_path_without_a_server_is_no_way_in() {
    let world = World::start().await;
    let mut options = world.options("standup", "ann", PeerMode::Single);
    options.url = format!("ws://{}/nowhere", world.address());
    let text = refused(options).await.to_string();
    assert!(text.contains("404"), "{text}");
    world.stop().await;
}

#[tokio::test]
async fn a_host_that_nobody_listens_on_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = refused(ConnectOptions::new(format!("ws://{address}"), "t")).await;
    let text = error.to_string();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{text}");
    assert!(
        text.contains(&address.to_string()) && text.contains("refused"),
        "{text}"
    );
}

#[tokio::test]
async fn a_server_that_answers_nothing_is_a_timeout_that_names_the_step() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut options = ConnectOptions::new(format!("ws://{address}"), "t");
    options.step_timeout = Duration::from_millis(200);
    let error = refused(options).await;
    let step = |error: &ConnectError| match error {
        ConnectError::Timeout { step, .. } => Some(*step),
        _ => None,
    };
    assert_eq!(step(&error), Some(Step::Handshake), "{error}");
}

#[tokio::test]
async fn a_certificate_that_nobody_trusts_is_no_way_in() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        // Anything but TLS.
        let (mut stream, _) = listener.accept().await.unwrap();
        use tokio::io::AsyncWriteExt as _;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    });
    let options = ConnectOptions::new(format!("wss://localhost:{}", address.port()), "t");
    let error = refused(options).await;
    assert!(matches!(error, ConnectError::Tls { .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_goes_away_ends_the_client() {
    let world = World::start().await;
    let mut ann = Guest::join(&world, "ann", PeerMode::Single).await;
    let connected = |guests: &[&mut Guest; 1]| guests[0].seen.connected == 1;
    until("ann is connected", [&mut ann], connected).await;
    world.stop().await;
    let start = Instant::now();
    until("ann hears of it", [&mut ann], |[ann]| {
        ann.seen.ended.is_some()
    })
    .await;
    assert!(start.elapsed() < Duration::from_secs(5));
    let reason = ann.seen.ended.as_ref().unwrap();
    let expected = matches!(
        reason,
        EndReason::ServerLeft { .. } | EndReason::SignalClosed(_) | EndReason::MediaFailed(_)
    );
    assert!(expected, "{reason}");
    assert!(ann.client.ended().await.is_some());
}

#[tokio::test]
async fn the_same_identity_once_more_replaces_the_first() {
    let world = World::start().await;
    let mut first = Guest::join(&world, "ann", PeerMode::Single).await;
    let second = Guest::join(&world, "ann", PeerMode::Single).await;
    until("the first is sent away", [&mut first], |[first]| {
        first.seen.ended.is_some()
    })
    .await;
    let text = first.seen.ended.as_ref().unwrap().to_string();
    assert!(text.contains("DUPLICATE_IDENTITY"), "{text}");
    assert!(!second.client.has_ended());
    drop(second);
    world.stop().await;
}
