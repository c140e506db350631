//! A reload changes where new rooms go, and nothing that is connected.

use crate::support::{FakeShard, TestGateway, config, until};
use affinity::directory::{Holder, Incarnation, Renewal, Reply, Request};
use affinity::{RoomCase, ShardId};
use futures::{SinkExt as _, StreamExt as _};
use gateway::{Deps, Gateway, GatewayError, Loaded, ShardStateConfig};
use proto::rpc::DirectoryClient;
use proto::token::ApiKeys;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test(flavor = "multi_thread")]
async fn a_new_shard_gets_new_rooms_while_sockets_and_live_rooms_stay() {
    let (one, two) = (FakeShard::start("s1").await, FakeShard::start("s2").await);
    let gateway = TestGateway::start(config(vec![one.config(), two.config()]));
    let mut sockets = Vec::new();
    for n in 0..20 {
        let url = format!("ws://{}/r/live-{n}/rtc", gateway.address);
        let (socket, answer) = tokio_tungstenite::connect_async(url).await.unwrap();
        let shard = answer.headers()["x-anteroom-shard"]
            .to_str()
            .unwrap()
            .to_owned();
        gateway.claim(&shard, &format!("live-{n}")).await;
        sockets.push((n, shard, socket));
    }
    let three = FakeShard::start("s3").await;
    let mut wider = gateway.config.clone();
    wider.shards.push(three.config());
    let report = gateway.reload_with(&wider).unwrap();
    assert_eq!(report.shards_added, ["s3"]);
    assert_eq!((report.generation_before, report.generation_after), (1, 2));
    assert_eq!((report.live_rooms, report.live_rooms_moved), (20, 0));
    assert!((0.25..0.42).contains(&report.idle_rooms_moved), "{report}");

    for (n, shard, socket) in &mut sockets {
        let word = Message::text(format!("still here {n}"));
        assert!(
            matches!(socket.next().await, Some(Ok(Message::Text(_)))),
            "its name"
        );
        socket.send(word.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), word);
        assert_eq!(gateway.get(&format!("/live-{n}")).await.shard(), shard);
    }
    let mut on_three = 0;
    for n in 0..40 {
        on_three += usize::from(gateway.get(&format!("/new-{n}")).await.shard() == "s3");
    }
    assert!(on_three > 0, "new rooms reach the new shard");

    let report = gateway.reload().unwrap();
    assert_eq!(report.generation_after, 2, "nothing changed");
    assert!(report.idle_rooms_moved.abs() < f64::EPSILON);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_changes_nothing_and_says_why() {
    let one = FakeShard::start("s1").await;
    let gateway = TestGateway::start(config(vec![one.config()]));
    gateway
        .loader
        .set_broken("line 3 column 7: unknown key `shrads`");
    let error = gateway.reload().unwrap_err();
    assert!(error.contains("line 3 column 7"), "{error}");
    let mut wrong = gateway.config.clone();
    wrong.shards[0].url = "ftp://nowhere".to_owned();
    let error = gateway.reload_with(&wrong).unwrap_err();
    assert!(
        error.contains("'s1'") && error.contains("ftp://nowhere"),
        "{error}"
    );
    wrong.shards.clear();
    assert!(gateway.reload_with(&wrong).is_err());
    assert_eq!(gateway.get("/standup").await.shard(), "s1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_shard_keeps_its_live_rooms_until_they_end() {
    let (one, two) = (FakeShard::start("s1").await, FakeShard::start("s2").await);
    let gateway = TestGateway::start(config(vec![one.config(), two.config()]));
    gateway.claim("s2", "live").await;
    one.set_owner("live", Some("s2"));
    let mut narrower = gateway.config.clone();
    narrower.shards.pop();
    let report = gateway.reload_with(&narrower).unwrap();
    assert_eq!(report.shards_leaving, ["s2"]);
    assert_eq!(gateway.get("/live").await.shard(), "s2");
    for n in 0..20 {
        assert_eq!(gateway.get(&format!("/new-{n}")).await.shard(), "s1");
    }
    gateway.resign("s2").await;
    one.set_owner("live", None);
    until(|| async { gateway.get("/live").await.shard() == "s1" }).await;
    let report = gateway.reload().unwrap();
    assert!(report.shards_leaving.is_empty(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_shard_that_says_for_three_seconds_that_it_is_empty_is_let_go() {
    let (one, two) = (FakeShard::start("s1").await, FakeShard::start("s2").await);
    let gateway = TestGateway::start(config(vec![one.config(), two.config()]));
    gateway.renew("s2").await;
    let mut narrower = gateway.config.clone();
    narrower.shards.pop();
    let removed = Instant::now();
    gateway.reload_with(&narrower).unwrap();
    until(|| async {
        gateway.renew("s2").await;
        gateway.reload().unwrap().shards_leaving.is_empty()
    })
    .await;
    assert!(removed.elapsed() >= Duration::from_secs(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_shard_gets_no_new_rooms_and_restart_settings_are_named() {
    let (one, two) = (FakeShard::start("s1").await, FakeShard::start("s2").await);
    let gateway = TestGateway::start(config(vec![one.config(), two.config()]));
    let mut draining = gateway.config.clone();
    draining.shards[0].state = ShardStateConfig::Draining;
    draining.shards[1].weight = 3;
    draining.listen[0].address = "127.0.0.1:1".to_owned();
    let report = gateway.reload_with(&draining).unwrap();
    assert_eq!(report.shards_drained, ["s1"]);
    assert_eq!(report.shards_reweighed.len(), 1);
    assert_eq!(report.needs_restart, ["gateway.listen"]);
    for n in 0..20 {
        assert_eq!(gateway.get(&format!("/new-{n}")).await.shard(), "s2");
    }
    draining.shards[1].state = ShardStateConfig::Draining;
    gateway.reload_with(&draining).unwrap();
    let answer = gateway.get("/new").await;
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("1"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_shard_is_kept_while_its_lease_is_so_young_that_its_rooms_may_be_unknown() {
    let (one, two) = (FakeShard::start("s1").await, FakeShard::start("s2").await);
    let gateway = TestGateway::start(config(vec![one.config(), two.config()]));
    gateway.renew("s2").await;
    let mut narrower = gateway.config.clone();
    narrower.shards.pop();
    let report = gateway.reload_with(&narrower).unwrap();
    assert_eq!(report.shards_leaving, ["s2"], "{report}");
    gateway.resign("s2").await;
    let report = gateway.reload().unwrap();
    assert!(report.shards_leaving.is_empty(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_keys_are_used_at_once_and_the_case_of_rooms_stays() {
    let one = FakeShard::start("s1").await;
    let gateway = TestGateway::start(config(vec![one.config()]));
    let other = [("devkey".to_owned(), "changed".to_owned())];
    gateway.loader.set_loaded(Loaded {
        config: gateway.config.clone(),
        keys: ApiKeys::new(other.into()).unwrap(),
        rooms: RoomCase::Fold,
    });
    let target = format!(
        "/rtc/validate?access_token={}",
        crate::support::token("Standup")
    );
    assert_eq!(gateway.get(&target).await.status, 200);
    let report = gateway.reload().unwrap();
    assert_eq!(report.needs_restart.len(), 2, "{report}");
    assert_eq!(report.needs_restart[0], "rooms.case");
    assert!(report.needs_restart[1].starts_with("keys (in use here; shards"));
    assert_eq!(gateway.get(&target).await.status, 401);
    assert_eq!(gateway.get("/Standup").await.status, 200);
    let seen = one.seen().pop().unwrap();
    assert_eq!(seen.context.room.as_deref(), Some("Standup"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_replaced_is_noticed_and_an_unchanged_one_is_not() {
    let (one, two) = (FakeShard::start("s1").await, FakeShard::start("s2").await);
    let folder = std::env::temp_dir().join(format!("anteroom-watch-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("anteroom.yaml");
    std::fs::write(&path, "one").unwrap();
    let gateway = TestGateway::start_watching(config(vec![one.config()]), path.clone());
    let mut other = gateway.config.clone();
    other.shards = vec![two.config()];
    gateway.loader.set(&other);
    // The watch begins a moment after the start: write until it is noticed.
    let mut n = 0;
    until(|| {
        n += 1;
        let fresh = folder.join("anteroom.yaml.new");
        std::fs::write(&fresh, format!("two {n}")).unwrap();
        std::fs::rename(&fresh, &path).unwrap();
        let gateway = &gateway;
        async move {
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            gateway.get("/standup").await.shard() == "s2"
        }
    })
    .await;
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_gateway_is_refused_in_the_directorys_own_words() {
    let one = FakeShard::start("s1").await;
    let mut first = config(vec![one.config()]);
    first.internal = Some("127.0.0.1:0".parse().unwrap());
    let gateway = TestGateway::start(first);
    let address = format!("http://{}", gateway.internal.unwrap());

    // Shards of other processes come in by the same door.
    let client = DirectoryClient::<Request, Reply>::new(
        &address,
        "shard/s1".into(),
        crate::support::cluster(),
    );
    let holder = Holder {
        shard: ShardId::new("s1"),
        incarnation: Incarnation(1),
        directory: None,
    };
    let reply = client
        .unwrap()
        .call(Request::Renew {
            holder,
            renewal: Renewal::default(),
        })
        .await
        .unwrap();
    assert!(
        matches!(reply, Reply::Leased { .. } | Reply::StaleDirectory { .. }),
        "{reply:?}"
    );

    let mut second = config(vec![one.config()]);
    second.directory = Some(address.clone());
    let deps = Deps {
        keys: crate::support::keys(),
        cluster: crate::support::cluster(),
        rooms: RoomCase::Sensitive,
        loader: Arc::new(|| Err("not used".to_owned())),
        watch: None,
        directory: None,
        first_start: false,
    };
    let Err(GatewayError::SecondGateway { reason, .. }) = Gateway::bind(second, deps) else {
        panic!("a second gateway is refused");
    };
    assert!(!reason.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_ends_prolongs_no_lease_on_either_door() {
    let one = FakeShard::start("s1").await;
    let mut ending = config(vec![one.config()]);
    ending.internal = Some("127.0.0.1:0".parse().unwrap());
    ending.shutdown_grace_s = 3;
    let gateway = TestGateway::start(ending);
    let address = format!("http://{}", gateway.internal.unwrap());
    let cluster = crate::support::cluster();
    let client = DirectoryClient::<Request, Reply>::new(&address, "shard/s1".into(), cluster);
    let client = client.unwrap();
    let renew = || Request::Renew {
        holder: Holder {
            shard: ShardId::new("s1"),
            incarnation: Incarnation(1),
            directory: None,
        },
        renewal: Renewal::default(),
    };
    assert!(matches!(
        client.call(renew()).await,
        Ok(Reply::Leased { .. })
    ));
    gateway.begin_stop();
    // The order takes a moment to arrive; the grace has not ended then.
    until(|| async { gateway.directory.call(renew()).await.is_err() }).await;
    assert!(client.call(renew()).await.is_err());
    assert!(gateway.is_running(), "the grace is not over");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_is_named_with_its_cause() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let one = FakeShard::start("s1").await;
    let mut wrong = config(vec![one.config()]);
    wrong.listen[0].address.clone_from(&address);
    let deps = Deps {
        keys: crate::support::keys(),
        cluster: crate::support::cluster(),
        rooms: RoomCase::Sensitive,
        loader: Arc::new(|| Err("not used".to_owned())),
        watch: None,
        directory: None,
        first_start: true,
    };
    let error = Gateway::bind(wrong, deps).err().unwrap().to_string();
    assert!(
        error.contains(&address) && error.contains("gateway.listen"),
        "{error}"
    );
}
