//! Loads against an origin in the same process.

use crate::frame::Ping;
use crate::http::Client;
use crate::rooms::Rooms;
use crate::target::{Target, TargetArgs};
use crate::{origin, sockets};
use bytes::BytesMut;
use clap::{Args as _, Command, FromArgMatches as _};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

async fn origin(number: u8) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(origin::accept(listener, number));
    address
}

fn target(address: SocketAddr) -> Target {
    let command = TargetArgs::augment_args(Command::new("test"));
    let matches = command.get_matches_from(["test", "--to", &address.to_string()]);
    Target::new(&TargetArgs::from_arg_matches(&matches).unwrap()).unwrap()
}

#[tokio::test]
async fn requests_of_one_connection_are_answered_and_a_room_that_moves_is_noticed() {
    let rooms = Arc::new(Rooms::new());
    let (one, two) = (target(origin(1).await), target(origin(2).await));
    let mut client = Client::open(&one, Arc::clone(&rooms), 0).await.unwrap();
    for _ in 0..20 {
        client.exchange().await.unwrap();
    }
    let mut other = Client::open(&two, rooms, 0).await.unwrap();
    let error = other.exchange().await.unwrap_err();
    assert!(error.contains("was at origin 1 and is at 2"), "{error}");
}

#[tokio::test]
async fn a_websocket_opens_and_every_message_comes_back() {
    let rooms = Rooms::new();
    let target = target(origin(1).await);
    let mut wire = sockets::open(&target, &rooms, 3).await.unwrap();
    let mut buffer = BytesMut::new();
    for length in [32, 100, 2048, 70_000] {
        let mut ping = Ping::new(length);
        for _ in 0..3 {
            sockets::exchange(&mut wire, &mut ping, &mut buffer)
                .await
                .unwrap();
        }
    }
}
