//! Who may speak to a shard, and how each refusal says what is wrong.

use crate::support::{PATIENCE, TestShard, now_s, start};
use proto::context::{CONTEXT_HEADER, ClusterKey, OWNER_HEADER, RoomContext};
use proto::token::{Claims, VideoGrant};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

fn join_target(token: &str) -> String {
    format!("/rtc/v1?access_token={token}")
}

#[tokio::test]
async fn without_a_genuine_statement_of_the_gateway_everything_is_forbidden() {
    let shard = start().await;
    let none = shard.request_with("GET", "/", &[], "").await;
    assert_eq!(none.status, 403);
    assert!(
        none.body.contains("connect through the gateway"),
        "{}",
        none.body
    );
    assert_eq!(none.header("access-control-allow-origin"), Some("*"));

    let stranger = ClusterKey::new("other").unwrap();
    let forged = stranger.sign(&shard.statement(Some("standup")));
    let target = join_target(&shard.token("standup", "ann"));
    let refused = shard.open_with(&target, &forged).await.err().unwrap();
    assert_eq!(refused.status, 403);
    assert!(
        refused.body.contains("another cluster secret"),
        "{}",
        refused.body
    );

    let other_shard = RoomContext {
        shard: "s2".into(),
        ..shard.statement(Some("standup"))
    };
    let refused = shard
        .open_with(&target, &shard.cluster.sign(&other_shard))
        .await
        .err()
        .unwrap();
    assert_eq!(refused.status, 403);
    let late = RoomContext {
        expires_ms: 1,
        ..shard.statement(Some("standup"))
    };
    let refused = shard
        .open_with(&target, &shard.cluster.sign(&late))
        .await
        .err()
        .unwrap();
    assert_eq!(refused.status, 503, "clients come again");
    assert!(refused.body.contains("clocks"), "{}", refused.body);
}

#[tokio::test]
async fn two_statements_are_one_too_many() {
    let shard = start().await;
    let context = shard.context(None);
    let headers = [
        (CONTEXT_HEADER, context.as_str()),
        (CONTEXT_HEADER, context.as_str()),
    ];
    assert_eq!(
        shard.request_with("GET", "/", &headers, "").await.status,
        403
    );
}

#[tokio::test]
async fn a_token_for_another_room_than_the_url_is_refused() {
    let shard = start().await;
    let target = join_target(&shard.token("standup", "ann"));
    let refused = shard.open(&target, "retro").await.err().unwrap();
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("video.room"), "{}", refused.body);

    let target = format!("/r/retro{target}");
    let refused = shard.open(&target, "standup").await.err().unwrap();
    assert_eq!(refused.status, 400);
}

async fn refused(shard: &TestShard, claims: &Claims) -> (u16, String) {
    let token = shard.keys.mint(claims).unwrap();
    let answer = shard
        .open(&join_target(&token), "standup")
        .await
        .err()
        .unwrap();
    (answer.status, answer.body)
}

#[tokio::test]
async fn each_wrong_token_is_refused_with_its_cause() {
    let shard = start().await;
    let good = shard.claims("standup", "ann");

    let late = Claims {
        exp: now_s() - 100,
        ..good.clone()
    };
    let (status, text) = refused(&shard, &late).await;
    assert_eq!((status, text.contains("expired")), (401, true), "{text}");

    let no_grant = Claims {
        video: VideoGrant {
            room: "standup".into(),
            ..VideoGrant::default()
        },
        ..good.clone()
    };
    let (status, text) = refused(&shard, &no_grant).await;
    assert_eq!((status, text.contains("roomJoin")), (401, true), "{text}");

    let (status, text) = refused(&shard, &shard.claims("", "ann")).await;
    assert_eq!((status, text.contains("video.room")), (400, true), "{text}");
    let (status, _) = refused(&shard, &shard.claims("standup", "")).await;
    assert_eq!(status, 400);
    let (status, text) = refused(&shard, &shard.claims(&"r".repeat(300), "ann")).await;
    assert_eq!((status, text.contains("256")), (400, true), "{text}");

    let unsigned = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJkZXZrZXkifQ.";
    let answer = shard
        .open(&join_target(unsigned), "standup")
        .await
        .err()
        .unwrap();
    assert_eq!(answer.status, 401);
    let answer = shard.open("/rtc/v1", "standup").await.err().unwrap();
    assert_eq!(answer.status, 401);
    assert!(answer.body.contains("access_token"), "{}", answer.body);
    let twice = format!(
        "{}&access_token=x",
        join_target(&shard.token("standup", "ann"))
    );
    assert_eq!(
        shard.open(&twice, "standup").await.err().unwrap().status,
        400
    );
}

#[tokio::test]
async fn a_room_of_another_shard_is_answered_with_its_owner() {
    let shard = start().await;
    shard.directory.claim_for("s2", "standup");
    let target = join_target(&shard.token("standup", "ann"));
    let refused = shard.open(&target, "standup").await.err().unwrap();
    assert_eq!(refused.status, 421);
    assert_eq!(refused.header(OWNER_HEADER), Some("s2"));
}

#[tokio::test]
async fn a_gateway_with_another_directory_is_refused() {
    let shard = start().await;
    // The first join waits for the lease, so that the shard knows its directory.
    shard.join("retro", "bob").await;
    let other = RoomContext {
        directory: 78,
        ..shard.statement(Some("standup"))
    };
    let target = join_target(&shard.token("standup", "ann"));
    let refused = shard
        .open_with(&target, &shard.cluster.sign(&other))
        .await
        .err()
        .unwrap();
    assert_eq!(refused.status, 503);
    assert!(refused.body.contains("directory"), "{}", refused.body);
    assert_eq!(refused.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn validate_says_what_a_join_would_be_told() {
    let shard = start().await;
    for path in [
        "/rtc/v1/validate",
        "/rtc/validate",
        "//rtc/validate",
        "/r/standup/rtc/validate",
    ] {
        let target = format!("{path}?access_token={}", shard.token("standup", "ann"));
        let answer = shard.get(&target, "standup").await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, "success"),
            "{path}"
        );
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    }
    let answer = shard
        .get("/rtc/v1/validate?access_token=x.y.z", "standup")
        .await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    // Asking is not joining.
    shard.directory.given_back("standup").await;
    assert_eq!(shard.get("/rtc/v1", "standup").await.status, 404);
}

#[tokio::test]
async fn a_bearer_token_works_as_well_as_the_query() {
    let shard = start().await;
    let context = shard.context(Some("standup"));
    let bearer = format!("Bearer {}", shard.token("standup", "ann"));
    let headers = [
        (CONTEXT_HEADER, context.as_str()),
        ("authorization", bearer.as_str()),
    ];
    let answer = shard
        .request_with("GET", "/rtc/v1/validate", &headers, "")
        .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let preflight = shard
        .request_with("OPTIONS", "/rtc/v1/validate", &headers[..1], "")
        .await;
    assert_eq!(preflight.status, 204);
    assert!(
        preflight
            .header("access-control-allow-headers")
            .unwrap()
            .contains("authorization")
    );
}

#[tokio::test]
async fn credentials_that_are_meant_for_the_site_do_not_hide_the_token_in_the_query() {
    let shard = start().await;
    let context = shard.context(Some("standup"));
    let validate = "/rtc/v1/validate";
    let with_token = format!("{validate}?access_token={}", shard.token("standup", "ann"));
    for foreign in ["Basic dXNlcjpwYXNz", "Negotiate", "Basic bücher"] {
        let headers = [
            (CONTEXT_HEADER, context.as_str()),
            ("authorization", foreign),
        ];
        let answer = shard.request_with("GET", &with_token, &headers, "").await;
        assert_eq!(answer.status, 200, "{foreign}: {}", answer.body);
        let answer = shard.request_with("GET", validate, &headers, "").await;
        assert_eq!(answer.status, 401, "{foreign}: {}", answer.body);
        assert!(answer.body.contains("access_token"), "{}", answer.body);
    }
    // A bearer is meant for us, also a bad one.
    let headers = [
        (CONTEXT_HEADER, context.as_str()),
        ("authorization", "Bearer x.y.z"),
    ];
    let answer = shard.request_with("GET", &with_token, &headers, "").await;
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn whatever_the_gateway_lets_in_at_its_highest_settings_is_taken() {
    let shard = start().await;
    let context = shard.context(Some("standup"));
    let token = shard.token("standup", "ann");
    let padding = "p".repeat(60_000);
    let target = format!("/rtc/v1/validate?access_token={token}&padding={padding}");
    let names: Vec<String> = (0..256).map(|number| format!("x-{number}")).collect();
    let value = "v".repeat(512 * 1024 / 256 - 10);
    let mut headers: Vec<(&str, &str)> = names
        .iter()
        .map(|name| (name.as_str(), value.as_str()))
        .collect();
    headers.push((CONTEXT_HEADER, &context));
    let answer = shard.request_with("GET", &target, &headers, "").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[tokio::test]
async fn more_headers_than_any_gateway_lets_in_are_refused() {
    let shard = start().await;
    let context = shard.context(None);
    let names: Vec<String> = (0..400).map(|number| format!("x-{number}")).collect();
    let mut headers: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
    headers.push((CONTEXT_HEADER, &context));
    let answer = shard.request_with("GET", "/", &headers, "").await;
    assert_eq!(answer.status, 431);
}

#[tokio::test]
async fn a_head_without_an_end_is_not_read_for_ever() {
    let shard = start().await;
    let mut stream = TcpStream::connect(shard.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let line = format!("x-endless: {}\r\n", "x".repeat(16 * 1024));
    let mut sent = 0;
    let refused = async {
        while stream.write_all(line.as_bytes()).await.is_ok() {
            sent += line.len();
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, refused).await;
    in_time.expect("the shard closes the connection");
    // What the kernel holds in between comes on top of the shard's limit.
    assert!(sent < 64 * 1024 * 1024, "{sent} bytes");
}
