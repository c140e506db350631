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
use directory::{RedisDirectory, Rules};
use futures::StreamExt as _;
use server::RedisServer;
use std::process::Command;
use std::time::Instant;

const ROUNDS: u32 = 5;
const REQUESTS: u32 = 50_000;
/// When tests are run, only to see that it runs.
const REQUESTS_IN_TESTS: u32 = 500;
const IN_FLIGHT: usize = 50;

fn main() {
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let (rounds, requests) = match is_bench {
        true => (ROUNDS, REQUESTS),
        false => (1, REQUESTS_IN_TESTS),
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = RedisServer::start();
    let rules = Rules {
        limits: DirectoryLimits {
            bindings_max: 10_000_000,
            ..DirectoryLimits::default()
        },
        ..Rules::default()
    };
    let engine = RedisDirectory::with_rules(&server.config(), rules).unwrap();
    let holder = runtime.block_on(prepare(&engine));
    println!("{requests} requests, {IN_FLIGHT} in flight");
    println!("round   claims/s      SET/s   ratio");
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        let claims = runtime.block_on(claims_per_second(&engine, &holder, round, requests));
        let sets = sets_per_second(&server, requests);
        println!(
            "{round:>5} {claims:>10.0} {sets:>10.0} {:>7.2}",
            claims / sets
        );
        ratios.push(claims / sets);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.2}", ratios[ratios.len() / 2]);
    println!("at the server: {} for a claim", claim_cost(&server));
}

/// How long the server was busy with one script.
fn claim_cost(server: &RedisServer) -> String {
    let answer = server.command(&["INFO", "commandstats"]);
    let text: String = redis::from_redis_value(answer).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("cmdstat_evalsha:"));
    let cost = line.and_then(|line| {
        line.split(',')
            .find_map(|part| part.strip_prefix("usec_per_call="))
    });
    format!("{} us", cost.unwrap_or("?"))
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

async fn claims_per_second(
    engine: &RedisDirectory,
    holder: &Holder,
    round: u32,
    requests: u32,
) -> f64 {
    let began = Instant::now();
    let claims = futures::stream::iter(0..requests).map(|number| {
        let name = format!("round {round} room {number:>8}");
        let room = RoomKey::from_claim(name.trim_end(), RoomCase::Sensitive).unwrap();
        let holder = holder.clone();
        engine.call(Request::Claim {
            holder,
            room,
            knows: 0,
        })
    });
    let granted = |reply| matches!(reply, Ok(Reply::Granted { .. }));
    let mut running = claims.buffer_unordered(IN_FLIGHT);
    while let Some(reply) = running.next().await {
        assert!(granted(reply));
    }
    f64::from(requests) / began.elapsed().as_secs_f64()
}

fn sets_per_second(server: &RedisServer, requests: u32) -> f64 {
    let (port, requests) = (server.port.to_string(), requests.to_string());
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
