//! Rooms that are live twice are found, and rooms that have moved between two questions are not.

use crate::admin::ask;
use crate::support::{FakeShard, TestGateway, config, until};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_two_shards_serve_is_counted_and_so_is_what_the_directory_does_not_know() {
    let (one, two) = (FakeShard::start("s1").await, FakeShard::start("s2").await);
    let gateway = TestGateway::start(config(vec![one.config(), two.config()]));
    gateway.claim("s1", "ghost").await;
    one.tell_rooms(&[r#"[{"room":"ghost","epoch":7,"live":true}]"#]);
    two.tell_rooms(&[r#"[{"room":"ghost","epoch":6},{"room":"tail","epoch":5,"live":false}]"#]);
    until(|| async {
        gateway.renew("s1").await;
        let (_, rooms) = ask(&gateway, "GET", "/v1/rooms").await;
        rooms["live_on_two_shards"]
            .as_array()
            .is_some_and(|found| !found.is_empty())
    })
    .await;
    let (_, rooms) = ask(&gateway, "GET", "/v1/rooms").await;
    assert_eq!(
        rooms["live_on_two_shards"],
        json!([{"room": "ghost", "shards": [["s1", 7], ["s2", 6]]}])
    );
    assert_eq!(
        rooms["directory_disagreements"],
        json!([{"room": "ghost", "shard": "s2", "epoch": 6, "owner": "s1"}])
    );
    // Both are over as soon as one of them stops.
    two.tell_rooms(&["[]"]);
    until(|| async {
        gateway.renew("s1").await;
        let (_, rooms) = ask(&gateway, "GET", "/v1/rooms").await;
        rooms["live_on_two_shards"] == json!([]) && rooms["directory_disagreements"] == json!([])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_moves_between_two_questions_is_no_ghost() {
    let (one, two) = (FakeShard::start("s1").await, FakeShard::start("s2").await);
    let before = r#"[{"room":"mover","epoch":1}]"#;
    one.tell_rooms(&[before, before, "[]"]);
    two.tell_rooms(&[r#"[{"room":"mover","epoch":2}]"#]);
    let gateway = TestGateway::start(config(vec![one.config(), two.config()]));
    gateway.claim("s2", "mover").await;
    // The first round, the questions that follow from it, and the next round.
    until(|| async {
        gateway.renew("s2").await;
        one.lists_told() >= 4
    })
    .await;
    let (_, rooms) = ask(&gateway, "GET", "/v1/rooms").await;
    assert_eq!(rooms["live_on_two_shards"], json!([]));
    assert_eq!(rooms["directory_disagreements"], json!([]));
}
