//! Fail-over by Sentinels to a replica that missed the last writes, while the old master lives on.

use crate::lives::{ask, knowing, running, view};
use crate::pair::{claim, granted, release, renew, room};
use crate::replicated::{Watched, cluster, info, replica_of};
use crate::server::{RedisServer, eventually};
use affinity::directory::{Directory, Reply, Request};
use directory::{RedisConfig, RedisDirectory, SecretText};

/// Nobody gets in at the master any more, and only the engines stay in: the replica has lost it for
/// good, and the Sentinels, who get no proper answer, take it for dead.
fn cut_off(master: &RedisServer) {
    master.command(&["CONFIG", "SET", "requirepass", "hidden-word"]);
    let client = redis::Client::open(format!("redis://:hidden-word@127.0.0.1:{}", master.port));
    let mut connection = client.unwrap().get_connection().unwrap();
    let list = redis::cmd("CLIENT").arg("LIST").query(&mut connection);
    let list: String = list.unwrap();
    let is_engine = |line: &&str| line.contains("cmd=eval") || line.contains("cmd=wait");
    for line in list.lines().filter(|line| !is_engine(line)) {
        let id = line.split(' ').find_map(|field| field.strip_prefix("id="));
        let mut kill = redis::cmd("CLIENT");
        kill.arg("KILL").arg("ID").arg(id).arg("SKIPME").arg("yes");
        kill.query::<redis::Value>(&mut connection).unwrap();
    }
}

#[tokio::test]
async fn a_stale_replica_begins_a_new_life_and_the_old_master_prolongs_no_lease() {
    let watched = Watched::start().await;
    let old = watched.servers[0].config();
    let careless = RedisDirectory::new(&old).unwrap();
    let careful = RedisDirectory::new(&RedisConfig { replicas: 1, ..old }).unwrap();
    let (a, _) = running(&careful).await;
    ask(&careless, Request::Watch).await;

    cut_off(&watched.servers[0]);
    // The replica never hears of this one.
    let lost = granted(&ask(&careless, claim(&a, "lost")).await);
    let refused = careful.call(renew(&a, 2)).await.unwrap_err().to_string();
    assert!(
        refused.contains("only 0 of 1 replicas have it"),
        "{refused}"
    );

    watched.failed_over().await;
    let following = RedisDirectory::new(&watched.config()).unwrap();
    let seen = view(&following).await;
    assert!(seen.grace);
    let stale = ask(&following, renew(&a, 3)).await;
    assert!(matches!(stale, Reply::StaleDirectory { current } if current == seen.directory));
    let b = knowing("b", seen.directory);
    ask(&following, renew(&b, 1)).await;
    // `b` is being drained: what matters is that nothing is granted in grace either way.
    let again = ask(&following, claim(&b, "lost")).await;
    assert!(matches!(again, Reply::Draining | Reply::Grace), "{again:?}");
    let lookup = Request::Lookup {
        rooms: vec![room("lost")],
    };
    assert_eq!(ask(&following, lookup).await, Reply::Bindings(vec![None]));

    // The same master, still there: without `replicas` it goes on, which is why they are advised.
    assert!(matches!(
        ask(&careless, renew(&a, 4)).await,
        Reply::Leased { .. }
    ));
    for seq in 5..8 {
        assert!(careful.call(renew(&a, seq)).await.is_err());
    }
    assert!(lost.0 > 0);
}

/// Its connection works, and leads to a master that nobody else takes for one.
#[tokio::test]
async fn an_engine_leaves_a_master_that_was_left_behind() {
    let watched = Watched::start().await;
    let config = RedisConfig {
        replicas: 1,
        call_timeout_ms: 2_000,
        ..watched.config()
    };
    let engine = RedisDirectory::connect(&config).await.unwrap();
    let (a, _) = running(&engine).await;
    cut_off(&watched.servers[0]);
    watched.failed_over().await;
    let _replica = replica_of(&watched.servers[1]).await;
    let began = std::time::Instant::now();
    let reply = loop {
        match engine.call(renew(&a, 2)).await {
            Ok(reply) => break reply,
            Err(error) => assert!(began.elapsed().as_secs() < 15, "{error}"),
        }
    };
    let Reply::StaleDirectory { current } = reply else {
        panic!("{reply:?}");
    };
    assert_ne!(Some(current), a.directory);
    let address = engine.probe().await.unwrap().address;
    let new = watched.servers[1].port;
    assert!(address.ends_with(&format!(":{new}")), "{address}");
}

#[tokio::test]
async fn while_replicas_are_missing_the_master_is_looked_for_once_in_a_while() {
    let master = RedisServer::start();
    let replica = replica_of(&master).await;
    let config = RedisConfig {
        replicas: 1,
        replicas_timeout_ms: 1,
        ..master.config()
    };
    let engine = RedisDirectory::connect(&config).await.unwrap();
    let (a, _) = running(&engine).await;
    let ours = || -> String {
        let clients: String = redis::from_redis_value(master.command(&["CLIENT", "LIST"])).unwrap();
        let ours = clients.lines().find(|line| line.contains("cmd=wait"));
        ours.and_then(|line| line.split(' ').next()).unwrap().into()
    };
    let connections = || -> u32 {
        let stats = info(&master, "stats");
        let count = stats
            .lines()
            .find_map(|line| line.strip_prefix("total_connections_received:"));
        count.unwrap().trim().parse().unwrap()
    };
    let (before, kept) = (connections(), ours());
    replica.pause();
    let (began, mut seq) = (std::time::Instant::now(), 2);
    while began.elapsed().as_millis() < 2_000 {
        assert!(engine.call(renew(&a, seq)).await.is_err());
        view(&engine).await;
        seq += 1;
    }
    // 0, 50, 150, 350, 750, 1250, 1750 ms, and the test's own.
    let searches = connections() - before - 2;
    assert!((3..=8).contains(&searches), "{searches} searches in 2 s");
    assert!(seq > 20, "{seq}");
    replica.resume();
    let began = std::time::Instant::now();
    while engine.call(renew(&a, seq)).await.is_err() {
        assert!(began.elapsed().as_secs() < 10);
        seq += 1;
    }
    assert_eq!(ours(), kept, "the same server, the same connection");
}

#[tokio::test]
async fn an_engine_follows_the_sentinels_by_itself() {
    let mut watched = Watched::start().await;
    let engine = RedisDirectory::connect(&watched.config()).await.unwrap();
    let (a, _) = running(&engine).await;
    watched.servers[0].kill();
    watched.failed_over().await;
    let began = std::time::Instant::now();
    let reply = loop {
        match engine.call(renew(&a, 2)).await {
            Ok(reply) => break reply,
            Err(error) => assert!(began.elapsed().as_secs() < 15, "{error}"),
        }
    };
    assert!(matches!(reply, Reply::StaleDirectory { .. }), "{reply:?}");
}

#[tokio::test]
async fn what_counts_is_at_the_replicas() {
    let master = RedisServer::start();
    let replica = replica_of(&master).await;
    let config = RedisConfig {
        replicas: 1,
        ..master.config()
    };
    let engine = RedisDirectory::connect(&config).await.unwrap();
    let (a, _) = running(&engine).await;
    for number in 0..20 {
        let name = format!("room {number}");
        granted(&ask(&engine, claim(&a, &name)).await);
        let there = replica.command(&["HEXISTS", "{anteroom}:rooms", &name]);
        assert_eq!(there, redis::Value::Int(1), "{name}");
    }
    // Scripts that the server has forgotten are sent again, and count as well.
    master.command(&["SCRIPT", "FLUSH"]);
    let epoch = granted(&ask(&engine, claim(&a, "one more")).await);
    let there = replica.command(&["HEXISTS", "{anteroom}:rooms", "one more"]);
    assert_eq!(there, redis::Value::Int(1));

    // A replica that stands still: looking goes on, granting does not.
    replica.pause();
    let refused = engine.call(claim(&a, "late")).await.unwrap_err();
    assert!(refused.to_string().contains("only 0 of 1"), "{refused}");
    view(&engine).await;
    // Nor does it count for another connection, which has written nothing.
    let other = RedisDirectory::new(&config).unwrap();
    view(&other).await;
    assert!(other.call(claim(&a, "late")).await.is_err());
    // What makes nobody live needs no proof.
    let gone = release(&a, "one more", epoch);
    assert_eq!(ask(&engine, gone).await, Reply::Released);
    replica.resume();
    let caught_up = || info(&master, "replication").contains("lag=0");
    eventually("the replica catches up", caught_up).await;
    let late = ask(&engine, claim(&a, "late")).await;
    assert!(matches!(late, Reply::Mine { .. }), "{late:?}");
}

#[tokio::test]
async fn one_wait_for_replicas_covers_all_that_was_written_before_it() {
    let master = RedisServer::start();
    let replica = replica_of(&master).await;
    let config = RedisConfig {
        replicas: 1,
        ..master.config()
    };
    let engine = RedisDirectory::connect(&config).await.unwrap();
    let (a, _) = running(&engine).await;
    master.command(&["CONFIG", "RESETSTAT"]);
    let names: Vec<String> = (0..100).map(|number| format!("room {number}")).collect();
    let claims = names.iter().map(|name| ask(&engine, claim(&a, name)));
    for reply in futures::future::join_all(claims).await {
        granted(&reply);
    }
    for name in &names {
        let there = replica.command(&["HEXISTS", "{anteroom}:rooms", name]);
        assert_eq!(there, redis::Value::Int(1), "{name}");
    }
    let stats = info(&master, "commandstats");
    let waits = stats
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_wait:calls="));
    let waits: u32 = waits.unwrap().split(',').next().unwrap().parse().unwrap();
    assert!(waits < 50, "{waits} waits");
}

#[tokio::test]
async fn in_a_cluster_the_slot_is_followed() {
    let nodes = cluster().await;
    let config = RedisConfig {
        cluster: vec![SecretText::new(nodes[0].url())],
        ..RedisConfig::default()
    };
    let engine = RedisDirectory::connect(&config).await.unwrap();
    let (a, _) = running(&engine).await;
    let home = engine.probe().await.unwrap().address;

    // The slot goes to another node, without its data.
    let is_home = |node: &&RedisServer| home.ends_with(&format!(":{}", node.port));
    let from = nodes.iter().find(is_home).unwrap();
    let to = nodes.iter().find(|node| !is_home(node)).unwrap();
    let text = |value| redis::from_redis_value::<String>(value).unwrap();
    let to_id = text(to.command(&["CLUSTER", "MYID"]));
    let slot: i64 =
        redis::from_redis_value(to.command(&["CLUSTER", "KEYSLOT", "{anteroom}:dir"])).unwrap();
    let slot = slot.to_string();
    from.command(&["FLUSHALL"]);
    for node in [to, from] {
        node.command(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
    }
    let began = std::time::Instant::now();
    let reply = loop {
        match engine.call(renew(&a, 2)).await {
            Ok(reply) => break reply,
            Err(error) => assert!(began.elapsed().as_secs() < 10, "{error}"),
        }
    };
    assert!(matches!(reply, Reply::StaleDirectory { .. }), "{reply:?}");
    let address = engine.probe().await.unwrap().address;
    assert!(address.ends_with(&format!(":{}", to.port)), "{address}");
}
