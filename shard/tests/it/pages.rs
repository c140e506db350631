//! Pages, tokens for the page, and the list of rooms.

use crate::support::{Options, start, start_with};
use proto::context::CONTEXT_HEADER;
use shard::WebConfig;

#[tokio::test]
async fn the_base_url_answers_head_and_get() {
    let shard = start().await;
    for method in ["HEAD", "GET"] {
        let answer = shard.request(method, "/", None).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    }
    assert_eq!(shard.get("/standup", "standup").await.status, 200);
    assert_eq!(shard.get("/standup/", "standup").await.status, 200);
    assert_eq!(shard.request("GET", "/favicon.ico", None).await.status, 404);
    assert_eq!(
        shard
            .request("HEAD", "/r/standup", Some("standup"))
            .await
            .status,
        200
    );
    assert_eq!(
        shard.request("GET", "/assets/none.js", None).await.status,
        404
    );
    assert_eq!(
        shard
            .request("GET", "/assets/..%2f..%2fCargo.toml", None)
            .await
            .status,
        404
    );
    assert_eq!(
        shard.request("GET", "/no/such/path", None).await.status,
        404
    );
}

#[tokio::test]
async fn the_sticky_url_leads_a_browser_to_the_page() {
    let shard = start().await;
    let answer = shard.get("/r/stand%20up?x=1", "stand up").await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (307, Some("/stand%20up?x=1"))
    );
}

#[tokio::test]
async fn a_token_for_the_page_lets_its_holder_join() {
    let shard = start().await;
    let context = shard.context(Some("standup"));
    let headers = [
        (CONTEXT_HEADER, context.as_str()),
        ("content-type", "application/json"),
    ];
    let target = "/r/standup/api/token";
    let answer = shard
        .request_with("POST", target, &headers, r#"{"name":"Ann"}"#)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    // Pages of other origins shall not read it.
    assert_eq!(answer.header("access-control-allow-origin"), None);
    let json: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert!(json["identity"].as_str().unwrap().starts_with("guest-"));
    let url = json["url"].as_str().unwrap();
    let target = format!(
        "{url}/rtc/v1?access_token={}",
        json["token"].as_str().unwrap()
    );
    assert!(shard.open(&target, "standup").await.is_ok());

    let bad = shard
        .request_with("POST", "/r/standup/api/token", &headers, "[")
        .await;
    assert_eq!(bad.status, 400);
    let huge = "x".repeat(9000);
    let bad = shard
        .request_with("POST", "/r/standup/api/token", &headers, &huge)
        .await;
    assert_eq!(bad.status, 413);
    assert_eq!(
        shard.get("/r/standup/api/token", "standup").await.status,
        405
    );
}

#[tokio::test]
async fn tokens_are_given_to_nobody_where_that_is_off() {
    let web = WebConfig {
        enabled: true,
        tokens: false,
    };
    let shard = start_with(Options {
        web,
        ..Options::default()
    })
    .await;
    let context = shard.context(Some("standup"));
    let headers = [(CONTEXT_HEADER, context.as_str())];
    let answer = shard
        .request_with("POST", "/r/standup/api/token", &headers, "{}")
        .await;
    assert_eq!(answer.status, 404);
    assert!(answer.body.contains("shard.web.tokens"), "{}", answer.body);
}

#[tokio::test]
async fn the_rooms_are_listed_with_their_node_and_claim() {
    let shard = start().await;
    let _client = shard.join("standup", "ann").await;
    let answer = shard.request("GET", "/internal/rooms", None).await;
    let rooms: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    let rooms = rooms.as_array().unwrap();
    assert_eq!(rooms.len(), 1);
    assert_eq!(rooms[0]["room"], "standup");
    assert_eq!(rooms[0]["node"], "n1");
    assert_eq!(rooms[0]["participants"], 1);
    assert!(rooms[0]["epoch"].as_u64().unwrap() > 0);
}
