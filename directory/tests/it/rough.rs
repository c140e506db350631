//! A server that is slow, full, forgetful or busy.

use crate::fakes::{Fake, infos};
use crate::lives::{ask, knowing, running, view};
use crate::pair::{claim, granted, renew};
use crate::server::RedisServer;
use affinity::directory::{Directory, DirectoryLimits, Reply, Request};
use directory::{RedisConfig, RedisDirectory, Rules};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_server_that_stands_still_is_given_up_in_time_and_found_again() {
    let server = RedisServer::start();
    let engine = RedisDirectory::new(&RedisConfig::at(server.url())).unwrap();
    let (a, _) = running(&engine).await;
    server.pause();
    let began = Instant::now();
    let error = engine.call(renew(&a, 2)).await.unwrap_err().to_string();
    assert!(error.contains("did not answer within 800 ms"), "{error}");
    // The next ones find no connection, and wait no longer.
    for _ in 0..3 {
        assert!(engine.call(renew(&a, 3)).await.is_err());
    }
    assert!(began.elapsed() < Duration::from_secs(6));
    server.resume();
    let began = Instant::now();
    while engine.call(renew(&a, 4)).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(6), "not found again");
    }
}

/// As when a firewall has forgotten the connection: only a new one gets through.
#[tokio::test]
async fn a_connection_that_fell_silent_is_replaced() {
    let fake = Fake::falling_silent(infos("7.2.4"));
    let engine = RedisDirectory::new(&RedisConfig::at(fake.url())).unwrap();
    for _ in 0..2 {
        assert!(engine.call(Request::Watch).await.is_err());
    }
    assert_eq!(fake.accepted.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_connection_whose_callers_give_up_before_it_does_is_replaced_too() {
    let fake = Fake::falling_silent(infos("7.2.4"));
    let config = RedisConfig {
        call_timeout_ms: 2_000,
        ..RedisConfig::at(fake.url())
    };
    let engine = RedisDirectory::new(&config).unwrap();
    for limit_ms in [100, 900, 900] {
        let limit = Duration::from_millis(limit_ms);
        let call = tokio::time::timeout(limit, engine.call(Request::Watch));
        assert!(call.await.is_err(), "no answer comes");
    }
    // Not for the one that was in a hurry.
    assert_eq!(fake.accepted.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_full_server_refuses_and_says_so_and_the_connection_stays() {
    let server = RedisServer::start();
    let engine = RedisDirectory::new(&server.config()).unwrap();
    let (a, _) = running(&engine).await;
    let connection = || {
        let clients: String = redis::from_redis_value(server.command(&["CLIENT", "LIST"])).unwrap();
        let ours = clients.lines().find(|line| line.contains("cmd=eval"));
        ours.and_then(|line| line.split(' ').next().map(str::to_owned))
    };
    let before = connection();
    assert!(before.is_some());
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let error = engine.call(renew(&a, 2)).await.unwrap_err().to_string();
    assert!(error.contains("OOM"), "{error}");
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    assert!(matches!(
        ask(&engine, renew(&a, 3)).await,
        Reply::Leased { .. }
    ));
    assert_eq!(connection(), before);
}

#[tokio::test]
async fn attempts_to_connect_keep_their_distance() {
    let fake = Fake::closing();
    let engine = RedisDirectory::new(&RedisConfig::at(fake.url())).unwrap();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(2) {
        assert!(engine.call(Request::Watch).await.is_err());
    }
    // 0, 50, 150, 350, 750, 1250, 1750 ms.
    let attempts = fake.accepted.load(Ordering::SeqCst);
    assert!((3..=8).contains(&attempts), "{attempts} attempts in 2 s");
}

#[tokio::test]
async fn scripts_that_the_server_forgot_are_sent_again() {
    let server = RedisServer::start();
    let engine = RedisDirectory::new(&server.config()).unwrap();
    let (a, _) = running(&engine).await;
    server.command(&["SCRIPT", "FLUSH"]);
    granted(&ask(&engine, claim(&a, "next")).await);
}

#[tokio::test]
async fn keys_of_somebody_else_are_an_error_not_an_answer() {
    let server = RedisServer::start();
    let engine = RedisDirectory::new(&server.config()).unwrap();
    let (a, _) = running(&engine).await;
    server.command(&["DEL", "{anteroom}:rooms"]);
    server.command(&["SET", "{anteroom}:rooms", "mine"]);
    let error = engine
        .call(claim(&a, "next"))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("WRONGTYPE"), "{error}");
}

#[tokio::test]
async fn of_many_claims_at_once_one_is_granted() {
    let server = RedisServer::start();
    let config = server.config();
    let engines = [
        RedisDirectory::new(&config).unwrap(),
        RedisDirectory::new(&config).unwrap(),
    ];
    let (a, _) = running(&engines[0]).await;
    let directory = a.directory.unwrap();
    ask(&engines[0], crate::pair::announce(&["a", "c"])).await;
    let c = knowing("c", directory);
    ask(&engines[1], renew(&c, 1)).await;

    let names: Vec<String> = (0..100)
        .map(|number| format!("contested {number}"))
        .collect();
    let mut claims = Vec::new();
    for name in &names {
        for (index, holder) in [&a, &c, &c, &a].into_iter().enumerate() {
            claims.push(engines[index % 2].call(claim(holder, name)));
        }
    }
    let replies = futures::future::join_all(claims).await;
    for (name, replies) in names.iter().zip(replies.chunks(4)) {
        let granted = |reply: &&Result<Reply, _>| matches!(reply, Ok(Reply::Granted { .. }));
        assert_eq!(
            replies.iter().filter(granted).count(),
            1,
            "{name}: {replies:?}"
        );
    }
}

#[tokio::test]
async fn rooms_of_a_forgotten_life_go_page_by_page_and_nobody_sees_them_meanwhile() {
    let server = RedisServer::start();
    let rules = Rules {
        limits: DirectoryLimits {
            bindings_max: 5_000,
            ..DirectoryLimits::default()
        },
        ..Rules::default()
    };
    let engine = RedisDirectory::with_rules(&server.config(), rules).unwrap();
    let (a, _) = running(&engine).await;
    let directory = a.directory.unwrap();
    for hundred in 0..40 {
        let names = (0..100).map(|number| format!("room {}", 100 * hundred + number));
        let claims = names.map(|name| engine.call(claim(&a, &name)));
        futures::future::try_join_all(claims).await.unwrap();
    }
    let bound = || server.command(&["HLEN", "{anteroom}:rooms"]);
    assert_eq!(bound(), redis::Value::Int(4_001));

    let (shard, incarnation) = (a.shard.clone(), a.incarnation);
    let ended = [
        Request::Lapse {
            directory,
            shard: shard.clone(),
            incarnation,
            seq: 1,
        },
        Request::Forget {
            directory,
            shard,
            incarnation,
        },
    ];
    for request in ended {
        assert_eq!(ask(&engine, request).await, Reply::Done);
    }
    assert_ne!(bound(), redis::Value::Int(0), "not all in one step");
    ask(&engine, crate::pair::announce(&["c"])).await;
    let c = knowing("c", directory);
    ask(&engine, renew(&c, 1)).await;
    granted(&ask(&engine, claim(&c, "room 3999")).await);
    let mut looks = 0;
    while server.command(&["HEXISTS", "{anteroom}:dir", "sweep"]) == redis::Value::Int(1) {
        view(&engine).await;
        looks += 1;
        assert!(looks < 20, "the sweep does not end");
    }
    assert!(looks >= 2);
    assert_eq!(bound(), redis::Value::Int(1));
}
