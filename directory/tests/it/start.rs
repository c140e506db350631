//! What is wrong with one server is said at start, with cause and fix.

use crate::fakes::{Fake, infos};
use crate::server::{RedisServer, free_port};
use crate::{mistake, outcome};
use directory::{RedisConfig, RedisDirectory, StartError};
use std::time::{Duration, Instant};

const LOCKED: [&str; 2] = ["--requirepass", "hidden-word"];

fn with_login(server: &RedisServer, login: &str) -> RedisConfig {
    RedisConfig::at(format!("redis://{login}@127.0.0.1:{}", server.port))
}

#[tokio::test]
async fn a_sound_server_is_taken_and_described_and_left_as_it_was() {
    let server = RedisServer::start();
    let directory = RedisDirectory::connect(&RedisConfig::at(server.url()))
        .await
        .unwrap();
    let info = directory.probe().await.unwrap();
    assert_eq!(info.address, format!("127.0.0.1:{}", server.port));
    assert_eq!(info.replicas, 0);
    assert!(!info.version.is_empty());
    assert_eq!(server.command(&["DBSIZE"]), redis::Value::Int(0));
}

#[tokio::test]
async fn nobody_listens() {
    let config = RedisConfig::at(format!("redis://127.0.0.1:{}", free_port()));
    let text = mistake(&config).await;
    assert!(
        text.contains("cannot be reached: Connection refused"),
        "{text}"
    );
    assert!(outcome(&config).await.unwrap_err().is_passing());
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_in_time() {
    let fake = Fake::silent();
    let began = Instant::now();
    let text = mistake(&RedisConfig::at(fake.url())).await;
    assert!(text.contains("did not answer within 1000 ms"), "{text}");
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn something_else_listens_there() {
    let fake = Fake::saying(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let text = mistake(&RedisConfig::at(fake.url())).await;
    assert!(text.contains("or is no Redis"), "{text}");
}

#[tokio::test]
async fn a_server_too_old_is_refused() {
    let fake = Fake::saying(infos("6.0.16").leak());
    let text = mistake(&RedisConfig::at(fake.url())).await;
    assert!(text.contains("is version 6.0.16: 6.2 or newer"), "{text}");
}

#[tokio::test]
async fn a_missing_password_is_told_from_a_wrong_one() {
    let server = RedisServer::with(&LOCKED);
    let none = mistake(&RedisConfig::at(server.url())).await;
    assert!(none.contains("wants a password"), "{none}");
    let wrong = mistake(&with_login(&server, ":hidden-words")).await;
    assert!(wrong.contains("refuses user or password"), "{wrong}");
    let nobody = mistake(&with_login(&server, "nobody:hidden-word")).await;
    assert!(nobody.contains("refuses user or password"), "{nobody}");
    assert_eq!(outcome(&with_login(&server, ":hidden-word")).await, Ok(()));
    let named = with_login(&server, "default:hidden-word");
    assert_eq!(outcome(&named).await, Ok(()));
}

#[tokio::test]
async fn a_password_that_nobody_asked_for_is_a_mistake_too() {
    let server = RedisServer::start();
    let text = mistake(&with_login(&server, ":hidden-word")).await;
    assert!(text.contains("refuses user or password"), "{text}");
    assert!(text.contains("without any password"), "{text}");
}

#[tokio::test]
async fn a_user_without_rights_gets_the_rule_that_helps_and_the_rule_helps() {
    let server = RedisServer::start();
    let allow = |rules: &str| {
        let mut words = vec!["ACL", "SETUSER", "guest", "reset", "on", ">hidden-word"];
        words.extend(rules.split(' '));
        server.command(&words);
    };
    let config = with_login(&server, "guest:hidden-word");

    allow("~* +info +eval +evalsha +wait");
    let inside = mistake(&config).await;
    assert!(inside.contains("may not do enough"), "{inside}");
    allow("~* +@all -info");
    let outside = mistake(&config).await;
    assert!(outside.contains("'info' command"), "{outside}");
    allow("~* +@all -wait");
    assert!(mistake(&config).await.contains("'wait' command"));
    allow("~* +@all -evalsha");
    assert!(mistake(&config).await.contains("'evalsha' command"));
    allow("~other:* +@all");
    let keys = mistake(&config).await;
    assert!(keys.contains("may not do enough"), "{keys}");

    let rule = keys
        .split_once("commands: ")
        .and_then(|(_, rest)| rest.split_once(", with"))
        .map(|(rule, _)| rule.replace("PREFIX", "anteroom"))
        .unwrap();
    allow(&rule);
    assert_eq!(outcome(&config).await, Ok(()));
}

#[tokio::test]
async fn a_server_that_may_evict_our_keys_is_refused() {
    let server = RedisServer::start();
    let config = RedisConfig::at(server.url());
    let policy = |name: &str| server.command(&["CONFIG", "SET", "maxmemory-policy", name]);
    policy("allkeys-lru");
    let text = mistake(&config).await;
    assert!(text.contains("maxmemory-policy allkeys-lru"), "{text}");
    policy("volatile-lru");
    assert_eq!(outcome(&config).await, Ok(()));
}

#[tokio::test]
async fn a_mended_server_is_taken_without_a_new_start() {
    let server = RedisServer::with(&["--maxmemory-policy", "allkeys-lfu"]);
    let directory = RedisDirectory::new(&RedisConfig::at(server.url())).unwrap();
    assert!(matches!(
        directory.probe().await,
        Err(StartError::Evicts { .. })
    ));
    server.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    assert!(directory.probe().await.is_ok());
}

#[tokio::test]
async fn a_database_that_is_not_there_is_refused() {
    let server = RedisServer::start();
    let with = |db: u32| RedisConfig::at(format!("{}/{db}", server.url()));
    let text = mistake(&with(99)).await;
    assert!(text.contains("DB index is out of range"), "{text}");
    assert_eq!(outcome(&with(3)).await, Ok(()));
}

#[tokio::test]
async fn many_callers_share_one_attempt() {
    let fake = Fake::silent();
    let directory = RedisDirectory::new(&RedisConfig::at(fake.url())).unwrap();
    let probes: Vec<_> = (0..50).map(|_| directory.probe()).collect();
    let mut failed = 0;
    for probe in futures_of(probes).await {
        failed += u32::from(probe.is_err());
    }
    assert_eq!(failed, 50);
    assert_eq!(fake.accepted.load(std::sync::atomic::Ordering::SeqCst), 1);
}

async fn futures_of<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    futures::future::join_all(futures).await
}

#[tokio::test]
async fn a_server_that_comes_back_is_found_within_the_longest_pause() {
    let mut server = RedisServer::start();
    let directory = RedisDirectory::connect(&RedisConfig::at(server.url()))
        .await
        .unwrap();
    server.kill();
    for _ in 0..8 {
        assert!(directory.probe().await.is_err());
    }
    server.start_again();
    let began = Instant::now();
    while directory.probe().await.is_err() {}
    let taken = began.elapsed();
    assert!(taken < Duration::from_secs(3), "found after {taken:?}");
}
