//! 300 Mbit/s of media between two relays: what arrives, how late, and what it costs. Over loopback,
//! and over a network made up in between that delays and loses.
//!
//! `cargo bench -p relay`; with `-- 60` each line takes a minute. Nothing is asserted but that loss
//! does not throttle.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs
)]

#[path = "../tests/it/forwarder.rs"]
#[allow(dead_code)]
mod forwarder;

use bytes::Bytes;
use forwarder::{Forwarder, Network};
use hdrhistogram::Histogram;
use proto::context::ClusterKey;
use proto::id::NodeId;
use relay::{Config, Handle, Incoming, Peer, Relay};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

const BITS_PER_SECOND: usize = 300_000_000;
/// What an encoder's packets have.
const PAYLOAD: usize = 1_200;
const TICK: Duration = Duration::from_millis(1);
/// Datagrams at once: 10 ms at full rate.
const BURST_MAX: u128 = 312;
const SECONDS: u64 = 5;
const PATIENCE: Duration = Duration::from_secs(10);
/// What is on its way at the end.
const SETTLE: Duration = Duration::from_millis(300);

struct Case {
    name: &'static str,
    network: Option<Network>,
    payload: usize,
    rate: usize,
    /// What must arrive at least, of what is sent.
    delivered_min: f64,
}

fn main() {
    let asked = std::env::args().find_map(|argument| argument.parse().ok());
    let length = Duration::from_secs(asked.unwrap_or(SECONDS));
    let far = Network {
        delay: Duration::from_millis(20),
        ..Network::PERFECT
    };
    let case = |name, network, delivered_min| Case {
        name,
        network,
        payload: PAYLOAD,
        rate: BITS_PER_SECOND,
        delivered_min,
    };
    let lossy = Network { loss: 0.01, ..far };
    // Its packets are lost until the black hole is noticed.
    let narrow = Network { mtu: 1_300, ..far };
    let slow = |name, network, payload, delivered_min| Case {
        payload,
        rate: BITS_PER_SECOND / 10,
        ..case(name, Some(network), delivered_min)
    };
    let cases = [
        case("loopback", None, 0.999),
        case("20 ms", Some(far), 0.999),
        case("20 ms, 1 % lost", Some(lossy), 0.989),
        slow("30 Mbit/s, 20 ms, MTU 1300", narrow, 1_000, 0.999),
        slow("30 Mbit/s, 1400 B, MTU 1300", narrow, 1_400, 0.5),
        slow("30 Mbit/s, 1500 B, 20 ms", far, 1_500, 0.999),
    ];
    println!(
        "{:28} {:>7} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8} {:>7} {:>5} {:>7}",
        "",
        "sent",
        "arrived",
        "p50 ms",
        "p99 ms",
        "max ms",
        "ns/out",
        "ns/in",
        "dropped",
        "MTU",
        "split"
    );
    for case in cases {
        run(&case, length);
    }
}

/// Its threads are named after it, so that their time can be told apart.
struct Node {
    handle: Handle,
    address: SocketAddr,
    stop: CancellationToken,
    runtime: Runtime,
}

fn node(name: &'static str, deliver: impl Fn(Incoming) + Send + Sync + 'static) -> Node {
    let relay = Relay::bind(Config {
        node: NodeId::new(name),
        bind: "127.0.0.1:0".parse().unwrap(),
        key: ClusterKey::new("a secret of some length").unwrap(),
    });
    let relay = relay.unwrap();
    let (handle, address) = (relay.handle(), relay.address());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name(name)
        .enable_all()
        .build()
        .unwrap();
    let stop = CancellationToken::new();
    runtime.spawn(relay.run(deliver, stop.clone()));
    Node {
        handle,
        address,
        stop,
        runtime,
    }
}

fn run(case: &Case, length: Duration) {
    let start = Instant::now();
    let delays = Arc::new(Mutex::new(Histogram::<u64>::new(3).unwrap()));
    let recording = delays.clone();
    let sender = node("out", |_| {});
    let receiver = node("in", move |incoming| {
        if let Incoming::Datagram { bytes, .. } = incoming {
            let sent = u64::from_be_bytes(bytes[..8].try_into().unwrap());
            let now = u64::try_from(start.elapsed().as_nanos()).unwrap();
            recording.lock().unwrap().record(now - sent).unwrap();
        }
    });
    // The smaller name connects: "in".
    let network = case.network.map(|n| Forwarder::new(sender.address, n, 1));
    let address = network.as_ref().map_or(sender.address, |n| n.front);
    let peer = |name, address| Peer {
        node: NodeId::new(name),
        address,
    };
    sender.handle.set_peers(vec![peer("in", receiver.address)]);
    receiver.handle.set_peers(vec![peer("out", address)]);
    while sender.handle.figures().connections + receiver.handle.figures().connections < 2 {
        assert!(start.elapsed() < PATIENCE, "no connection");
        std::thread::sleep(TICK);
    }

    let before = [cpu_ns("out"), cpu_ns("in")];
    let sent = generate(&sender.handle, case, length, start);
    std::thread::sleep(SETTLE);
    let cpu = [cpu_ns("out") - before[0], cpu_ns("in") - before[1]];
    report(case, sent, &delays.lock().unwrap(), cpu, &sender.handle);
    for node in [sender, receiver] {
        node.stop.cancel();
        node.runtime.shutdown_timeout(PATIENCE);
    }
}

/// Even over ticks, as far as the machine lets us: what a longer pause has left out is left out, since
/// no media comes in such bursts. Each carries the time it was sent at.
fn generate(to: &Handle, case: &Case, length: Duration, start: Instant) -> u64 {
    let receiver = NodeId::new("in");
    let per_second = case.rate / 8 / case.payload;
    let begin = Instant::now();
    let (mut sent, mut last) = (0, 0);
    while begin.elapsed() < length {
        let due = begin.elapsed().as_micros() * per_second as u128 / 1_000_000;
        let burst = (due - last).min(BURST_MAX);
        last = due;
        for _ in 0..burst {
            let mut payload = vec![0; case.payload];
            let now = u64::try_from(start.elapsed().as_nanos()).unwrap();
            payload[..8].copy_from_slice(&now.to_be_bytes());
            assert!(
                to.send_datagram(&receiver, Bytes::from(payload)),
                "it is up"
            );
            sent += 1;
        }
        std::thread::sleep(TICK);
    }
    sent
}

fn report(case: &Case, sent: u64, delays: &Histogram<u64>, cpu: [u64; 2], sender: &Handle) {
    let figures = sender.figures();
    let arrived = delays.len() as f64 / sent as f64;
    let network = case.network.map_or(Duration::ZERO, |n| n.delay);
    let added = |ns: u64| (ns as f64 - network.as_nanos() as f64) / 1e6;
    println!(
        "{:28} {:>7} {:>7.2} % {:>8.2} {:>8.2} {:>8.2} {:>8} {:>8} {:>7} {:>5} {:>7}",
        case.name,
        sent,
        100.0 * arrived,
        added(delays.value_at_quantile(0.5)),
        added(delays.value_at_quantile(0.99)),
        added(delays.max()),
        cpu[0] / sent,
        cpu[1] / delays.len().max(1),
        figures.datagrams_dropped,
        figures.mtu_min,
        figures.datagrams_split,
    );
    assert!(
        arrived >= case.delivered_min,
        "{}: too little arrives",
        case.name
    );
}

/// Processor time of all threads of this name, ns.
fn cpu_ns(name: &str) -> u64 {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let time = |thread: std::io::Result<std::fs::DirEntry>| {
        let folder = thread.ok()?.path();
        let comm = std::fs::read_to_string(folder.join("comm")).ok()?;
        let stat = std::fs::read_to_string(folder.join("schedstat")).ok()?;
        let on_cpu = stat.split(' ').next()?.parse::<u64>().ok()?;
        (comm.trim() == name).then_some(on_cpu)
    };
    threads.filter_map(time).sum::<u64>()
}
