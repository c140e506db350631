//! Several gateways over one directory: any of them knows what all of them know.

use crate::support::{FakeShard, SharedDirectory, TestGateway, config, until};
use affinity::directory::{Holder, Incarnation, Renewal, Reply, Request};
use affinity::{ShardId, ShardState};
use axum::body::Body;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

async fn ask(gateway: &TestGateway, path: &str) -> (u16, String) {
    let request = http::Request::get(path).body(Body::empty()).unwrap();
    let answer = gateway.admin.clone().oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

async fn shards(gateway: &TestGateway) -> Value {
    serde_json::from_str(&ask(gateway, "/v1/shards").await.1).unwrap()
}

fn view(directory: &SharedDirectory) -> affinity::directory::View {
    match directory.ask(Request::Watch) {
        Reply::View(view) => view,
        other => panic!("{other:?}"),
    }
}

fn announced(directory: &SharedDirectory) -> Vec<String> {
    let shards = view(directory).topology.into_iter();
    shards
        .map(|shard| match shard.state {
            ShardState::Active => shard.id.to_string(),
            ShardState::Draining => format!("({})", shard.id),
        })
        .collect()
}

fn renewal(shard: &str, life: u64) -> Request {
    Request::Renew {
        holder: Holder {
            shard: ShardId::new(shard),
            incarnation: Incarnation(life),
            directory: None,
        },
        renewal: Renewal {
            seq: 1,
            ..Renewal::default()
        },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shards_are_announced_again_once_the_directory_has_lost_them_and_never_in_turn() {
    let (one, two) = (FakeShard::start("s1").await, FakeShard::start("s2").await);
    let directory = SharedDirectory::start();
    let first = TestGateway::start_sharing(config(vec![one.config()]), &directory);
    until(|| async { announced(&directory) == ["s1"] }).await;
    let wide = config(vec![one.config(), two.config()]);
    let second = TestGateway::start_sharing(wide.clone(), &directory);
    until(|| async { announced(&directory) == ["s1", "s2"] }).await;
    until(|| async { shards(&first).await["topology_differs"] == "`s2` only there" }).await;
    assert!(shards(&second).await["topology_differs"].is_null());
    let generation = view(&directory).generation;
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    assert_eq!(view(&directory).generation, generation, "nobody insists");

    first.reload_with(&wide).unwrap();
    until(|| async { shards(&first).await["topology_differs"].is_null() }).await;
    directory.lose_everything();
    until(|| async { announced(&directory) == ["s1", "s2"] }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_only_another_gateway_names_is_reached_by_a_redirect() {
    let (one, two) = (FakeShard::start("s1").await, FakeShard::start("s2").await);
    let directory = SharedDirectory::start();
    let narrow = TestGateway::start_sharing(config(vec![one.config()]), &directory);
    until(|| async { announced(&directory) == ["s1"] }).await;
    let wide = config(vec![one.config(), two.config()]);
    let _wide = TestGateway::start_sharing(wide, &directory);
    directory.ask(renewal("s2", 1));
    one.set_owner("far", Some("s2"));
    until(|| async { narrow.get("/r/far/rtc").await.shard() == "s2" }).await;
    for n in 0..20 {
        assert_eq!(narrow.get(&format!("/new-{n}")).await.shard(), "s1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_starts_after_a_removal_keeps_the_removed_shard_until_it_is_empty() {
    let (one, two) = (FakeShard::start("s1").await, FakeShard::start("s2").await);
    let directory = SharedDirectory::start();
    let both = config(vec![one.config(), two.config()]);
    let old = TestGateway::start_sharing(both, &directory);
    until(|| async { announced(&directory) == ["s1", "s2"] }).await;
    directory.ask(renewal("s2", 1));
    drop(old);
    let new = TestGateway::start_sharing(config(vec![one.config()]), &directory);
    until(|| async { announced(&directory) == ["s1", "(s2)"] }).await;
    assert_eq!(shards(&new).await["shards"][1]["state"], "removed");
    // Nobody renews the lease: the witness ends it, and with it goes the shard.
    until(|| async { announced(&directory) == ["s1"] }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_directory_is_named_as_the_cause_and_known_rooms_are_still_found() {
    let (one, two) = (FakeShard::start("s1").await, FakeShard::start("s2").await);
    let directory = SharedDirectory::start();
    directory.set_silent(true);
    let both = config(vec![one.config(), two.config()]);
    let gateway = TestGateway::start_sharing(both, &directory);
    until(|| async { ask(&gateway, "/readyz").await.1.contains("pulled the plug") }).await;
    assert_eq!(
        gateway.get("/standup").await.status,
        200,
        "the ring is there"
    );
    directory.set_silent(false);
    until(|| async { announced(&directory).len() == 2 }).await;
    directory.ask(renewal("s1", 1));
    directory.ask(renewal("s2", 1));
    until(|| async { ask(&gateway, "/readyz").await.0 == 200 }).await;
    one.set_owner("known", Some("s2"));
    two.set_owner("known", None);
    assert_eq!(gateway.get("/r/known/rtc").await.shard(), "s2");

    directory.set_silent(true);
    until(|| async { ask(&gateway, "/readyz").await.0 == 503 }).await;
    let (_, why) = ask(&gateway, "/readyz").await;
    assert!(why.contains("has not answered for 3 s"), "{why}");
    let asked = one.count();
    assert_eq!(gateway.get("/r/known/rtc").await.shard(), "s2");
    assert_eq!(one.count(), asked, "the hint still counts");
    assert_eq!(shards(&gateway).await["shards"][0]["lease"]["alive"], true);
}
