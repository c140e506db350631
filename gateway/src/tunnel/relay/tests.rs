//! A client, a shard and the relay between them, on a clock that only moves while all wait.

use super::{HALF_CLOSED, Limits, READ_BYTES, relay};
use bytes::BytesMut;
use pingora::{Error, ErrorSource, ErrorType};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

const LIMITS: Limits = Limits {
    idle: Duration::from_secs(75),
    write: Duration::from_secs(30),
};
/// What a socket between them takes before somebody reads.
const SOCKET_BYTES: usize = 1024;

struct Scene {
    client: DuplexStream,
    shard: DuplexStream,
    relay: JoinHandle<Result<(), Box<Error>>>,
    begun: Instant,
}

impl Scene {
    fn new(early: &[u8]) -> Self {
        let (client, client_side) = duplex(SOCKET_BYTES);
        let (shard, shard_side) = duplex(SOCKET_BYTES);
        let early = BytesMut::from(early);
        Self {
            client,
            shard,
            relay: tokio::spawn(relay(Box::new(client_side), shard_side, early, LIMITS)),
            begun: Instant::now(),
        }
    }

    /// Whose fault the end was, which, and when it came.
    async fn fault(self) -> (ErrorSource, ErrorType, Duration) {
        let error = self.relay.await.unwrap().unwrap_err();
        (
            error.esource().clone(),
            error.etype().clone(),
            self.begun.elapsed(),
        )
    }
}

async fn hear(stream: &mut DuplexStream, text: &[u8]) {
    let mut heard = vec![0; text.len()];
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, text);
}

#[tokio::test(start_paused = true)]
async fn what_the_client_said_early_comes_first_and_both_ways_go_on() {
    let mut scene = Scene::new(b"early ");
    scene.client.write_all(b"late").await.unwrap();
    hear(&mut scene.shard, b"early late").await;
    for round in 0..100_u8 {
        scene.shard.write_all(&[round; 100]).await.unwrap();
        hear(&mut scene.client, &[round; 100]).await;
        scene.client.write_all(&[round; 7]).await.unwrap();
        hear(&mut scene.shard, &[round; 7]).await;
    }
    drop(scene.client);
    assert_eq!(scene.shard.read(&mut [0]).await.unwrap(), 0);
    drop(scene.shard);
    scene.relay.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_gets_every_byte_in_order_and_holds_the_writer_up() {
    let mut scene = Scene::new(b"");
    let sent: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    let all = sent.clone();
    let mut shard = scene.shard;
    let writer = tokio::spawn(async move {
        shard.write_all(&all).await.unwrap();
        shard
    });
    sleep(Duration::from_secs(20)).await;
    assert!(!writer.is_finished(), "somebody keeps all of it");
    let mut heard = Vec::new();
    let mut part = [0; 3 * READ_BYTES];
    while heard.len() < sent.len() {
        // Never as long as the limit of a write, and in sum longer.
        sleep(Duration::from_millis(200)).await;
        let read = scene.client.read(&mut part).await.unwrap();
        assert!(read > 0, "it was cut off");
        heard.extend_from_slice(&part[..read]);
    }
    assert!(heard == sent, "other bytes");
    drop(writer.await.unwrap());
    drop(scene.client);
    scene.relay.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn silence_ends_it_when_its_time_is_over_and_not_before() {
    let mut scene = Scene::new(b"");
    // The client is heard now and then, the shard never.
    for _ in 0..3 {
        sleep(Duration::from_secs(20)).await;
        scene.client.write_all(b"ping").await.unwrap();
        hear(&mut scene.shard, b"ping").await;
    }
    let (source, fault, when) = scene.fault().await;
    assert_eq!(source, ErrorSource::Upstream);
    assert_eq!(fault, ErrorType::ReadTimedout);
    assert_eq!(when.as_secs(), LIMITS.idle.as_secs());
}

#[tokio::test(start_paused = true)]
async fn who_speaks_in_time_is_never_cut_off() {
    let mut scene = Scene::new(b"");
    for _ in 0..50 {
        sleep(LIMITS.idle - Duration::from_secs(1)).await;
        scene.client.write_all(b"ping").await.unwrap();
        hear(&mut scene.shard, b"ping").await;
        scene.shard.write_all(b"pong").await.unwrap();
        hear(&mut scene.client, b"pong").await;
    }
    assert!(!scene.relay.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_side_that_takes_nothing_ends_it_long_before_silence_would() {
    let mut scene = Scene::new(b"");
    scene.shard.write_all(b"hello").await.unwrap();
    hear(&mut scene.client, b"hello").await;
    sleep(Duration::from_secs(10)).await;
    let flood = vec![1; 5 * SOCKET_BYTES];
    let _ = tokio::time::timeout(Duration::from_secs(1), scene.shard.write_all(&flood)).await;
    let (source, fault, when) = scene.fault().await;
    assert_eq!(source, ErrorSource::Downstream);
    assert_eq!(fault, ErrorType::WriteTimedout);
    assert_eq!(when.as_secs(), 10 + LIMITS.write.as_secs());
}

#[tokio::test(start_paused = true)]
async fn the_second_side_may_finish_and_has_not_for_ever() {
    let mut scene = Scene::new(b"");
    scene.client.shutdown().await.unwrap();
    assert_eq!(scene.shard.read(&mut [0]).await.unwrap(), 0);
    scene.shard.write_all(b"bye").await.unwrap();
    hear(&mut scene.client, b"bye").await;
    let ended = Instant::now();
    scene.relay.await.unwrap().unwrap();
    assert_eq!(ended.elapsed().as_secs(), HALF_CLOSED.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_gone_is_the_clients_fault() {
    let mut scene = Scene::new(b"");
    drop(scene.client);
    // The shard learns of it, goes on talking, and nobody is there.
    assert_eq!(scene.shard.read(&mut [0]).await.unwrap(), 0);
    scene.shard.write_all(b"hello?").await.unwrap();
    let error = scene.relay.await.unwrap().unwrap_err();
    assert_eq!(*error.esource(), ErrorSource::Downstream);
    assert_eq!(*error.etype(), ErrorType::WriteError);
}
