//! A room is looked for where it was last seen, a 421 redirects once, and a dead shard is never
//! replaced by a guess.

use crate::routes::over_http2_websocket;
use crate::support::{FakeShard, TestGateway, config, shard_config, until};
use bytes::Bytes;

/// A room whose candidate is `shard`.
pub(crate) async fn room_on(gateway: &TestGateway, shard: &str) -> String {
    for n in 0..200 {
        let room = format!("room-{n}");
        if gateway.get(&format!("/{room}")).await.shard() == shard {
            return room;
        }
    }
    panic!("no room is placed on {shard}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_is_looked_for_where_it_was_last_seen_while_that_shard_has_a_lease() {
    let (one, two) = (FakeShard::start("s1").await, FakeShard::start("s2").await);
    let gateway = TestGateway::start(config(vec![one.config(), two.config()]));
    let room = room_on(&gateway, "s1").await;
    gateway.renew("s1").await;
    gateway.claim("s2", &room).await;
    one.set_owner(&room, Some("s2"));
    let target = format!("/r/{room}/rtc");
    // The first one is redirected; from then on nobody asks the other shard, by any protocol.
    assert_eq!(gateway.get(&target).await.shard(), "s2");
    until(|| async {
        let before = one.count();
        let shard = gateway.get(&target).await.shard().to_owned();
        shard == "s2" && one.count() == before
    })
    .await;
    let asked = one.count();
    let url = format!("ws://{}{target}", gateway.address);
    let (_socket, answer) = tokio_tungstenite::connect_async(&url).await.unwrap();
    assert_eq!(answer.headers()["x-anteroom-shard"], "s2");
    assert_eq!(over_http2_websocket(&gateway, &target).await, "s2");
    assert_eq!(one.count(), asked);

    gateway.resign("s2").await;
    one.set_owner(&room, None);
    until(|| async { gateway.get(&target).await.shard() == "s1" }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_says_nothing_about_where_its_room_is() {
    let (one, two) = (FakeShard::start("s1").await, FakeShard::start("s2").await);
    let gateway = TestGateway::start(config(vec![one.config(), two.config()]));
    let room = room_on(&gateway, "s1").await;
    gateway.renew("s1").await;
    gateway.renew("s2").await;
    let mut narrower = gateway.config.clone();
    narrower.shards[0].state = gateway::ShardStateConfig::Draining;
    gateway.reload_with(&narrower).unwrap();
    assert_eq!(gateway.get(&format!("/{room}")).await.shard(), "s2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_421_is_followed_once_with_the_whole_body() {
    let (one, two) = (FakeShard::start("s1").await, FakeShard::start("s2").await);
    let gateway = TestGateway::start(config(vec![one.config(), two.config()]));
    let room = room_on(&gateway, "s1").await;
    one.disown("s2");
    let answer = gateway
        .request(
            "POST",
            &format!("/r/{room}/api/token"),
            &[],
            Bytes::from_static(b"{\"name\":\"ada\"}"),
        )
        .await;
    assert_eq!(
        (answer.status, answer.shard(), answer.text.as_str()),
        (200, "s2", "s2")
    );
    let seen = two.seen().pop().unwrap();
    assert_eq!(&seen.body[..], b"{\"name\":\"ada\"}");
    assert_eq!(seen.context.shard, "s2");

    let url = format!("ws://{}/r/{room}/rtc", gateway.address);
    let (_socket, answer) = tokio_tungstenite::connect_async(url).await.unwrap();
    assert_eq!(answer.headers()["x-anteroom-shard"], "s2");

    let target = format!("/r/{room}/rtc");
    assert_eq!(over_http2_websocket(&gateway, &target).await, "s2");

    // Both point at each other: the client tries again later.
    two.disown("s1");
    let answer = gateway.get(&format!("/{room}")).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.header("x-anteroom-owner"), None);

    two.disown("unheard-of");
    assert_eq!(gateway.get(&format!("/{room}")).await.status, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_cannot_be_sent_again_is_a_503() {
    let (one, two) = (FakeShard::start("s1").await, FakeShard::start("s2").await);
    let gateway = TestGateway::start(config(vec![one.config(), two.config()]));
    let room = room_on(&gateway, "s1").await;
    let before = two.seen().len();
    one.disown("s2");
    let large = Bytes::from(vec![b'x'; 300 * 1024]);
    let answer = gateway
        .request("POST", &format!("/r/{room}/api/token"), &[], large)
        .await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(two.seen().len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_refuses_connections_is_a_503_and_no_other_is_tried() {
    let one = FakeShard::start("s1").await;
    // A port that nobody listens on: taken and given back.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let dead = shard_config("s2", &format!("http://{free}"));
    let gateway = TestGateway::start(config(vec![one.config(), dead]));
    let mut refused = 0;
    for n in 0..40 {
        let answer = gateway.get(&format!("/rtc/validate?room=room-{n}")).await;
        match answer.shard() {
            "s1" => assert_eq!(answer.status, 200),
            shard => {
                refused += 1;
                assert_eq!((answer.status, shard), (503, "s2"), "{answer:?}");
                assert_eq!(answer.header("retry-after"), Some("1"));
                assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
            }
        }
    }
    assert!(refused > 0);
    let rooms = one.seen().len();
    assert_eq!(rooms + refused, 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_rooms_of_a_shard_whose_lease_has_ended_are_placed_on_the_others() {
    let (one, two) = (FakeShard::start("s1").await, FakeShard::start("s2").await);
    let gateway = TestGateway::start(config(vec![one.config(), two.config()]));
    let room = room_on(&gateway, "s1").await;
    gateway.claim("s1", &room).await;
    gateway.claim("s2", "another-room").await;
    assert_eq!(gateway.get(&format!("/{room}")).await.shard(), "s1");
    // The directory notices leases by its clock: the shard must have been seen alive.
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    gateway.resign("s1").await;
    until(|| async { gateway.get(&format!("/{room}")).await.shard() == "s2" }).await;
    gateway.claim("s1", "back-again").await;
    until(|| async { gateway.get(&format!("/{room}")).await.shard() == "s1" }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_comes_back_is_used_again_in_spite_of_dead_kept_connections() {
    let one = FakeShard::start("s1").await;
    let gateway = TestGateway::start(config(vec![one.config()]));
    let address = one.address;
    assert_eq!(gateway.get("/standup").await.status, 200);
    drop(one);
    until(|| async { gateway.get("/standup").await.status == 503 }).await;
    let again = FakeShard::start_at("s1", address).await;
    let answer = gateway.get("/standup").await;
    assert_eq!((answer.status, answer.shard()), (200, "s1"), "{answer:?}");
    assert_eq!(again.seen().len(), 1);
}
