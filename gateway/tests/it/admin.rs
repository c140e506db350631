//! What operators ask.

use crate::support::{FakeShard, SharedDirectory, TestGateway, config, until};
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

pub(crate) async fn ask(gateway: &TestGateway, method: &str, path: &str) -> (u16, Value) {
    ask_with(gateway, method, path, "").await
}

async fn ask_with(
    gateway: &TestGateway,
    method: &str,
    path: &str,
    body: &'static str,
) -> (u16, Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .body(Body::from(body))
        .unwrap();
    let answer = gateway.admin.clone().oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let value = serde_json::from_slice(&body);
    (
        status,
        value.unwrap_or_else(|_| json!(String::from_utf8_lossy(&body))),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_rooms_readiness_and_reload_are_told_as_json() {
    let (one, two) = (FakeShard::start("s1").await, FakeShard::start("s2").await);
    one.tell_rooms(&[
        r#"[{"room":"standup","node":"n1","epoch":1,"participants":3,"sid":"RM_x"},
            {"room":"moved","epoch":1,"live":false}]"#,
    ]);
    two.tell_rooms(&[r#"{"rooms": [{"room":"moved","epoch":2}]}"#]);
    let gateway = TestGateway::start(config(vec![one.config(), two.config()]));
    let (_, rooms) = ask(&gateway, "GET", "/v1/rooms").await;
    assert_eq!(rooms["rooms"][0]["shard"], "s2", "the one that is live");
    let (status, why) = ask(&gateway, "GET", "/readyz").await;
    assert_eq!(status, 503, "{why}");
    gateway.claim("s1", "standup").await;
    assert_eq!(ask(&gateway, "GET", "/readyz").await.0, 200);

    let (_, shards) = ask(&gateway, "GET", "/v1/shards").await;
    let first = &shards["shards"][0];
    assert_eq!(first["id"], "s1");
    assert_eq!(
        (&first["state"], &first["rooms"]),
        (&json!("active"), &json!(1))
    );
    assert_eq!(first["lease"]["alive"], true);
    assert_eq!(shards["shards"][1]["lease"]["alive"], false);

    drop(two);
    until(|| async {
        let (_, rooms) = ask(&gateway, "GET", "/v1/rooms").await;
        rooms["errors"]["s2"].is_string()
    })
    .await;
    let (_, rooms) = ask(&gateway, "GET", "/v1/rooms").await;
    let rooms = rooms["rooms"].as_array().unwrap();
    let standup = rooms.iter().find(|room| room["room"] == "standup").unwrap();
    assert_eq!(
        (&standup["shard"], &standup["node"]),
        (&json!("s1"), &json!("n1"))
    );
    assert_eq!(standup["participants"], 3);

    let (status, report) = ask(&gateway, "POST", "/v1/reload").await;
    assert_eq!((status, &report["live_rooms_moved"]), (200, &json!(0)));
    gateway.loader.set_broken("line 1 column 1: not a mapping");
    let (status, error) = ask(&gateway, "POST", "/v1/reload").await;
    assert_eq!(
        (status, &error["error"]),
        (422, &json!("line 1 column 1: not a mapping"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_to_empty_a_shard_holds_for_all_gateways_until_it_is_taken_back_at_any() {
    let (one, two) = (FakeShard::start("s1").await, FakeShard::start("s2").await);
    let directory = SharedDirectory::start();
    let both = config(vec![one.config(), two.config()]);
    let first = TestGateway::start_sharing(both.clone(), &directory);
    let second = TestGateway::start_sharing(both, &directory);
    first.renew("s1").await;
    first.renew("s2").await;
    let order = r#"{"deadline_s": 600}"#;
    until(|| async {
        ask_with(&first, "POST", "/v1/shards/s1/drain", order)
            .await
            .0
            == 200
    })
    .await;
    let (_, shards) = ask(&first, "GET", "/v1/shards").await;
    assert_eq!(shards["shards"][0]["state"], "draining");
    let deadline = shards["shards"][0]["drain"]["deadline_unix_ms"].as_u64();
    let now_s = crate::support::unix_s();
    assert!((now_s + 590..now_s + 601).contains(&(deadline.unwrap() / 1000)));
    assert!(shards["shards"][1].get("drain").is_none());
    for n in 0..20 {
        assert_eq!(first.get(&format!("/new-{n}")).await.shard(), "s2");
    }
    until(|| async {
        let (_, shards) = ask(&second, "GET", "/v1/shards").await;
        shards["shards"][0]["state"] == "draining"
    })
    .await;
    // It outlasts the loss of the directory's data.
    directory.lose_everything();
    until(|| async { directory.drains() == ["s1"] }).await;

    let (status, shard) = ask(&second, "POST", "/v1/shards/s1/undrain").await;
    assert_eq!(
        (status, &shard["state"]),
        (200, &json!("active")),
        "{shard}"
    );
    assert!(directory.drains().is_empty());
    until(|| async {
        let (_, shards) = ask(&first, "GET", "/v1/shards").await;
        shards["shards"][0]["state"] == "active"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_cannot_be_followed_says_why() {
    let (one, two) = (FakeShard::start("s1").await, FakeShard::start("s2").await);
    let directory = SharedDirectory::start();
    let mut both = config(vec![one.config(), two.config()]);
    both.shards[1].state = gateway::ShardStateConfig::Draining;
    let gateway = TestGateway::start_sharing(both, &directory);
    until(|| async { ask(&gateway, "POST", "/v1/shards/s1/drain").await.0 == 200 }).await;
    for (path, body, status, word) in [
        ("s9/drain", "", 404, "there are: s1 s2"),
        ("s9/undrain", "", 404, "there are: s1 s2"),
        ("s2/undrain", "", 409, "`state: draining`"),
        ("s1/drain", "soon", 400, "deadline_s"),
        ("s1/drain", r#"{"deadline": 1}"#, 400, "unknown field"),
        ("s1/drain", r#"{"deadline_s": 99999999}"#, 400, "30 days"),
    ] {
        let path = format!("/v1/shards/{path}");
        let (found, why) = ask_with(&gateway, "POST", &path, body).await;
        assert_eq!(found, status, "{path} {body}: {why}");
        assert!(why["error"].as_str().unwrap().contains(word), "{why}");
    }
    gateway.leave("s1").await;
    ask(&gateway, "POST", "/v1/shards/s1/undrain").await;
    let (status, why) = ask(&gateway, "POST", "/v1/shards/s1/undrain").await;
    assert_eq!(status, 409, "{why}");
    assert!(why["error"].as_str().unwrap().contains("SIGTERM"), "{why}");
    directory.set_silent(true);
    let (status, why) = ask(&gateway, "POST", "/v1/shards/s1/drain").await;
    assert_eq!(status, 503, "{why}");
    assert!(
        why["error"].as_str().unwrap().contains("pulled the plug"),
        "{why}"
    );
}
