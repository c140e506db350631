//! Claims per second through the engine, beside plain `SET` by `redis-benchmark` on the same server.
//!
//! Both have 50 requests in flight, the engine on its one connection, `redis-benchmark` on 50. They
//! take turns, so that a slower moment of the machine meets both. Needs `redis-server`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

#[allow(dead_code)]
#[path = "../tests/it/server.rs"]
mod server;

use affinity::directory::{
    Directory, DirectoryLimits, Holder, Incarnation, Renewal, Reply, Request,
};
use affinity::{RoomCase, RoomKey, Shard, ShardState};
use directory::{RedisConfig, RedisDirectory, Rules};
use futures::StreamExt as _;
use server::RedisServer;
use std::process::Command;
use std::time::Instant;

const ROUNDS: u32 = 5;
const REQUESTS: u32 = 50_000;
const IN_FLIGHT: usize = 50;

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = RedisServer::start();
    let rules = Rules {
        limits: DirectoryLimits {
            bindings_max: 10_000_000,
            ..DirectoryLimits::default()
        },
        ..Rules::default()
    };
    let engine = RedisDirectory::with_rules(&RedisConfig::at(server.url()), rules).unwrap();
    let holder = runtime.block_on(prepare(&engine));
    println!("{REQUESTS} requests, {IN_FLIGHT} in flight");
    println!("round   claims/s      SET/s   ratio");
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        let claims = runtime.block_on(claims_per_second(&engine, &holder, round));
        let sets = sets_per_second(&server);
        println!(
            "{round:>5} {claims:>10.0} {sets:>10.0} {:>7.2}",
            claims / sets
        );
        ratios.push(claims / sets);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.2}", ratios[ratios.len() / 2]);
}

async fn ask(engine: &RedisDirectory, request: Request) -> Reply {
    engine.call(request).await.unwrap()
}

/// A shard with a lease, after grace.
async fn prepare(engine: &RedisDirectory) -> Holder {
    let Reply::View(view) = ask(engine, Request::Watch).await else {
        panic!("no view");
    };
    let directory = view.directory;
    ask(engine, Request::EndGrace { directory }).await;
    let shard = Shard {
        id: "s1".into(),
        url: "http://127.0.0.1:7881".to_owned(),
        weight: 1,
        state: ShardState::Active,
    };
    let announce = Request::Announce {
        gateway: "bench".to_owned(),
        topology: vec![shard],
    };
    ask(engine, announce).await;
    let holder = Holder {
        shard: "s1".into(),
        incarnation: Incarnation(1),
        directory: Some(directory),
    };
    let renewal = Renewal {
        seq: 1,
        ..Renewal::default()
    };
    let renew = Request::Renew {
        holder: holder.clone(),
        renewal,
    };
    ask(engine, renew).await;
    holder
}

async fn claims_per_second(engine: &RedisDirectory, holder: &Holder, round: u32) -> f64 {
    let began = Instant::now();
    let claims = futures::stream::iter(0..REQUESTS).map(|number| {
        let name = format!("round {round} room {number:>8}");
        let room = RoomKey::from_claim(name.trim_end(), RoomCase::Sensitive).unwrap();
        let holder = holder.clone();
        engine.call(Request::Claim { holder, room })
    });
    let granted = |reply| matches!(reply, Ok(Reply::Granted { .. }));
    let mut running = claims.buffer_unordered(IN_FLIGHT);
    while let Some(reply) = running.next().await {
        assert!(granted(reply));
    }
    f64::from(REQUESTS) / began.elapsed().as_secs_f64()
}

fn sets_per_second(server: &RedisServer) -> f64 {
    let (port, requests) = (server.port.to_string(), REQUESTS.to_string());
    let clients = IN_FLIGHT.to_string();
    let output = Command::new("redis-benchmark")
        .args(["-p", &port, "-t", "set", "-n", &requests, "-c", &clients])
        .args(["-r", "1000000", "--csv"])
        .output()
        .expect("redis-benchmark is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.starts_with("\"SET\""));
    let rate = line.and_then(|line| line.split('"').nth(3));
    rate.and_then(|rate| rate.parse().ok())
        .unwrap_or_else(|| panic!("not understood: {text}"))
}
