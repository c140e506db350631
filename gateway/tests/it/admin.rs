//! What operators ask.

use crate::support::{FakeShard, TestGateway, config, until};
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

async fn ask(gateway: &TestGateway, method: &str, path: &str) -> (u16, Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .body(Body::empty())
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
    let gateway = TestGateway::start(config(vec![one.config(), two.config()]));
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
