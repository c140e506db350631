//! A request whose shard cannot be reached waits for what the directory says of it.

use crate::ownership::room_on;
use crate::routes::over_http2_websocket;
use crate::support::{FakeShard, TestGateway, config, until};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Two shards with leases, and a room that was seen on the first.
async fn room_of_two() -> (FakeShard, FakeShard, Arc<TestGateway>, String) {
    let (one, two) = (FakeShard::start("s1").await, FakeShard::start("s2").await);
    let gateway = TestGateway::start(config(vec![one.config(), two.config()]));
    let room = room_on(&gateway, "s1").await;
    gateway.renew("s1").await;
    gateway.renew("s2").await;
    until(|| async { gateway.leases().await == 2 }).await;
    let target = format!("/r/{room}/rtc");
    assert_eq!(gateway.get(&target).await.shard(), "s1");
    (one, two, Arc::new(gateway), target)
}

async fn over_websocket(gateway: &TestGateway, target: &str) -> String {
    let url = format!("ws://{}{target}", gateway.address);
    let (_socket, answer) = tokio_tungstenite::connect_async(url).await.unwrap();
    let shard = &answer.headers()["x-anteroom-shard"];
    shard.to_str().unwrap().to_owned()
}

/// All protocols at once.
async fn by_all_ways(gateway: &TestGateway, target: &str) -> [String; 3] {
    let (plain, websocket, http2) = tokio::join!(
        gateway.get(target),
        over_websocket(gateway, target),
        over_http2_websocket(gateway, target),
    );
    assert_eq!(plain.status, 200, "{plain:?}");
    [plain.shard().to_owned(), websocket, http2]
}

fn in_background(gateway: &Arc<TestGateway>, target: &str) -> tokio::task::JoinHandle<[String; 3]> {
    let (gateway, target) = (Arc::clone(gateway), target.to_owned());
    tokio::spawn(async move { by_all_ways(&gateway, &target).await })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_until_the_lease_of_its_shard_has_ended_and_goes_to_another_one_then() {
    let (one, two, gateway, target) = room_of_two().await;
    drop(one);
    let asked = two.count();
    let waiting = in_background(&gateway, &target);
    tokio::time::sleep(Duration::from_millis(800)).await;
    gateway.renew("s2").await;
    assert!(!waiting.is_finished());
    assert_eq!(
        two.count(),
        asked,
        "nobody else is asked while the lease lasts"
    );
    // Nobody renews it any more: the witness ends it.
    assert_eq!(waiting.await.unwrap(), ["s2", "s2", "s2"]);
    assert_eq!(two.count(), asked + 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waits_is_let_in_as_soon_as_its_shard_is_back() {
    let (one, two, gateway, target) = room_of_two().await;
    let address = one.address;
    drop(one);
    let asked = two.count();
    let waiting = in_background(&gateway, &target);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(!waiting.is_finished());
    let _again = FakeShard::start_at("s1", address).await;
    let back = Instant::now();
    assert_eq!(waiting.await.unwrap(), ["s1", "s1", "s1"]);
    assert!(
        back.elapsed() < Duration::from_secs(1),
        "{:?}",
        back.elapsed()
    );
    assert_eq!(two.count(), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_lives_and_cannot_be_reached_is_a_503_after_the_wait() {
    let (one, two, gateway, target) = room_of_two().await;
    drop(one);
    let asked = two.count();
    let begun = Instant::now();
    let answer = {
        let mut clock = tokio::time::interval(Duration::from_millis(500));
        let request = gateway.get(&target);
        tokio::pin!(request);
        loop {
            tokio::select! {
                answer = &mut request => break answer,
                _ = clock.tick() => {
                    gateway.renew("s1").await;
                    gateway.renew("s2").await;
                }
            }
        }
    };
    assert_eq!((answer.status, answer.shard()), (503, "s1"), "{answer:?}");
    assert_eq!(answer.header("retry-after"), Some("1"));
    let took = begun.elapsed();
    let expected = Duration::from_millis(3_500)..Duration::from_millis(5_000);
    assert!(expected.contains(&took), "{took:?}");
    assert_eq!(two.count(), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_ever_had_a_lease_nothing_is_waited_for() {
    let one = FakeShard::start("s1").await;
    let gateway = TestGateway::start(config(vec![one.config()]));
    drop(one);
    let begun = Instant::now();
    assert_eq!(gateway.get("/standup").await.status, 503);
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_outlasts_the_restart_of_the_only_shard() {
    let one = FakeShard::start("s1").await;
    let gateway = Arc::new(TestGateway::start(config(vec![one.config()])));
    gateway.renew("s1").await;
    until(|| async { gateway.leases().await == 1 }).await;
    let address = one.address;
    gateway.leave("s1").await;
    // The ring is empty once that has been seen.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let waiting = in_background(&gateway, "/r/standup/rtc");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());
    drop(one);
    gateway.resign("s1").await;
    let _again = FakeShard::start_at("s1", address).await;
    gateway.renew("s1").await;
    assert_eq!(waiting.await.unwrap(), ["s1", "s1", "s1"]);
}
