//! When the directory's data may be lost, a new life begins, and everybody can tell.

use crate::pair::{announce, claim, granted, holder, listed, reassert, renew, room};
use crate::replicated::replica_of;
use crate::server::RedisServer;
use affinity::directory::{
    Directory, DirectoryIncarnation, Drain, Epoch, Holder, Reply, Request, View,
};
use directory::{RedisConfig, RedisDirectory};

/// A life of a shard that knows this life of the directory.
pub(crate) fn knowing(shard: &str, directory: DirectoryIncarnation) -> Holder {
    Holder {
        directory: Some(directory),
        ..holder(shard, 1)
    }
}

pub(crate) async fn ask(engine: &RedisDirectory, request: Request) -> Reply {
    engine.call(request).await.unwrap()
}

pub(crate) async fn view(engine: &RedisDirectory) -> View {
    match ask(engine, Request::Watch).await {
        Reply::View(view) => view,
        other => panic!("{other:?}"),
    }
}

/// Shard `a` runs, drained `b` does not, and `a` owns `room`.
pub(crate) async fn running(engine: &RedisDirectory) -> (Holder, Epoch) {
    let directory = view(engine).await.directory;
    ask(engine, announce(&["a", "b"])).await;
    let drain = Request::SetDrain {
        shard: "b".into(),
        drain: Some(Drain {
            deadline_unix_ms: None,
        }),
    };
    ask(engine, drain).await;
    ask(engine, Request::EndGrace { directory }).await;
    let a = knowing("a", directory);
    ask(engine, renew(&a, 1)).await;
    let epoch = granted(&ask(engine, claim(&a, "room")).await);
    (a, epoch)
}

/// After a loss: nothing is granted, nothing is believed, and rooms that are held come back.
async fn begins_anew(engine: &RedisDirectory, before: &Holder, epoch: Epoch) -> View {
    let Reply::StaleDirectory { current } = ask(engine, renew(before, 2)).await else {
        panic!("the old life goes on");
    };
    assert_ne!(Some(current), before.directory);
    let seen = view(engine).await;
    assert!(seen.grace);
    assert_eq!((seen.directory, seen.leases.len()), (current, 0));
    ask(engine, announce(&["a", "b"])).await;
    let a = knowing("a", current);
    assert!(matches!(
        ask(engine, renew(&a, 3)).await,
        Reply::Leased { grace: true, .. }
    ));
    assert_eq!(ask(engine, claim(&a, "room")).await, Reply::Grace);
    let again = ask(engine, reassert(&a, "room", epoch)).await;
    assert_eq!(again, Reply::Reasserted);
    seen
}

/// What the operator said outlives the data that may be old.
fn remembers_the_operator(view: &View) {
    assert_eq!(view.topology, [listed("a"), listed("b")]);
    assert_eq!(view.drains.len(), 1);
    assert_eq!(view.generation, 1);
}

#[tokio::test]
async fn flushall_begins_a_new_life_with_higher_epochs() {
    let server = RedisServer::start();
    let engine = RedisDirectory::new(&server.config()).unwrap();
    let (a, epoch) = running(&engine).await;
    server.command(&["FLUSHALL"]);
    let seen = begins_anew(&engine, &a, epoch).await;
    assert_eq!(seen.generation, 0);
    let directory = seen.directory;
    ask(&engine, Request::EndGrace { directory }).await;
    let next = granted(&ask(&engine, claim(&knowing("a", directory), "next")).await);
    assert!(next > epoch, "{next:?} after {epoch:?}");
}

#[tokio::test]
async fn a_restart_begins_a_new_life_even_if_the_data_is_there() {
    let mut server = RedisServer::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let engine = RedisDirectory::new(&server.config()).unwrap();
    let (a, epoch) = running(&engine).await;
    server.start_again();
    let owner = server.command(&["HGET", "{anteroom}:rooms", "room"]);
    assert_ne!(owner, redis::Value::Nil, "the file brings the data back");
    while engine.call(Request::Watch).await.is_err() {}
    let seen = begins_anew(&engine, &a, epoch).await;
    remembers_the_operator(&seen);
}

#[tokio::test]
async fn a_promoted_replica_begins_a_new_life() {
    let master = RedisServer::start();
    let replica = replica_of(&master).await;
    let engine = RedisDirectory::new(&master.config()).unwrap();
    let (a, epoch) = running(&engine).await;
    replica.command(&["REPLICAOF", "NO", "ONE"]);
    let engine = RedisDirectory::new(&replica.config()).unwrap();
    let seen = begins_anew(&engine, &a, epoch).await;
    remembers_the_operator(&seen);
}

/// The process is the same, and so is its record of who began the life; only the history is not.
#[tokio::test]
async fn a_master_that_was_a_replica_in_between_begins_a_new_life() {
    let first = RedisServer::start();
    let second = replica_of(&first).await;
    let engine = RedisDirectory::new(&first.config()).unwrap();
    let (a, epoch) = running(&engine).await;

    second.command(&["REPLICAOF", "NO", "ONE"]);
    let port = second.port.to_string();
    first.command(&["REPLICAOF", "127.0.0.1", &port]);
    let demoted = engine.call(Request::Watch).await.unwrap_err().to_string();
    assert!(demoted.contains("is a replica"), "{demoted}");
    let in_step = || crate::replicated::info(&first, "replication").contains("link_status:up");
    crate::server::eventually("the first follows the second", in_step).await;
    first.command(&["REPLICAOF", "NO", "ONE"]);
    while engine.call(Request::Watch).await.is_err() {}
    begins_anew(&engine, &a, epoch).await;
}

#[tokio::test]
async fn time_at_the_server_means_nothing() {
    let server = RedisServer::start();
    let engine = RedisDirectory::new(&server.config()).unwrap();
    running(&engine).await;
    let keys: Vec<String> = redis::from_redis_value(server.command(&["KEYS", "*"])).unwrap();
    assert!(keys.len() >= 5, "{keys:?}");
    for key in keys {
        assert_eq!(
            server.command(&["PTTL", &key]),
            redis::Value::Int(-1),
            "{key}"
        );
    }
    // No command that tells the time was ever called, by any script.
    let text = crate::replicated::info(&server, "commandstats");
    assert!(text.contains("cmdstat_hset"), "{text}");
    for command in ["time", "expire", "pexpire", "setex", "psetex"] {
        assert!(!text.contains(&format!("cmdstat_{command}:")), "{command}");
    }
}

#[tokio::test]
async fn deployments_with_different_prefixes_do_not_meet() {
    let server = RedisServer::start();
    let with = |prefix: &str| RedisConfig {
        prefix: prefix.to_owned(),
        ..server.config()
    };
    let one = RedisDirectory::new(&with("one")).unwrap();
    let two = RedisDirectory::new(&with("two")).unwrap();
    running(&one).await;
    running(&two).await;
    let mine = Request::Lookup {
        rooms: vec![room("room")],
    };
    let (first, second) = (ask(&one, mine.clone()).await, ask(&two, mine).await);
    assert_ne!(first, second);
    let keys: Vec<String> = redis::from_redis_value(server.command(&["KEYS", "*"])).unwrap();
    let ours = |key: &String| key.starts_with("{one}:") || key.starts_with("{two}:");
    assert!(keys.iter().all(ours), "{keys:?}");
}
