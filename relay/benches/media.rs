//! 300 Mbit/s of media between two relays: what arrives, how late, and what it costs. Over loopback,
//! and over a network made up in between that delays and loses.
//!
//! `cargo bench -p relay`; with `-- 60` each line takes a minute. `wait` is how much of the time the
//! threads of sender, network and receiver together were ready and had no core: if it is not near 0,
//! the machine is busy with other things, and delays and drops are its own. Nothing is asserted but
//! that loss does not throttle: other controllers let a few percent of this rate through.
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
/// A busy machine drops some; a controller that heeds loss would drop nearly all.
const ARRIVED_MIN: f64 = 0.5;
const SECONDS: u64 = 5;
const PATIENCE: Duration = Duration::from_secs(10);
/// What is on its way at the end.
const SETTLE: Duration = Duration::from_millis(300);

struct Case {
    name: &'static str,
    network: Option<Network>,
    payload: usize,
    rate: usize,
}

fn main() {
    let asked = std::env::args().find_map(|argument| argument.parse().ok());
    let length = Duration::from_secs(asked.unwrap_or(SECONDS));
    let far = Network {
        delay: Duration::from_millis(20),
        ..Network::PERFECT
    };
    let case = |name, network| Case {
        name,
        network,
        payload: PAYLOAD,
        rate: BITS_PER_SECOND,
    };
    let lossy = Network { loss: 0.01, ..far };
    // Packets are lost until the black hole is noticed.
    let narrow = Network { mtu: 1_300, ..far };
    let slow = |name, network, payload| Case {
        payload,
        rate: BITS_PER_SECOND / 10,
        ..case(name, Some(network))
    };
    let cases = [
        case("loopback", None),
        case("20 ms", Some(far)),
        case("20 ms, 1 % lost", Some(lossy)),
        slow("30 Mbit/s, 20 ms, 1500 B", far, 1_500),
        slow("the same, 1350 B, MTU 1300", narrow, 1_350),
    ];
    println!(
        "{:28} {:>7} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8} {:>7} {:>5} {:>7} {:>5}",
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
        "split",
        "wait"
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

    let names = ["out", "in", forwarder::THREADS];
    let (begin, before) = (Instant::now(), names.map(Time::of));
    let sent = generate(&sender.handle, case, length, start);
    std::thread::sleep(SETTLE);
    let after = names.map(Time::of);
    let took = u64::try_from(begin.elapsed().as_nanos()).unwrap();
    let [out, input, network] = std::array::from_fn(|at| after[at].since(before[at]));
    let cost = Cost {
        out: out.on_core / sent,
        input: input.on_core / delays.lock().unwrap().len().max(1),
        waited: 100 * (out.waiting + input.waiting + network.waiting) / took,
    };
    report(case, sent, &delays.lock().unwrap(), &cost, &sender.handle);
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

fn report(case: &Case, sent: u64, delays: &Histogram<u64>, cost: &Cost, sender: &Handle) {
    let figures = sender.figures();
    let arrived = delays.len() as f64 / sent as f64;
    let network = case.network.map_or(Duration::ZERO, |n| n.delay);
    let added = |ns: u64| (ns as f64 - network.as_nanos() as f64) / 1e6;
    println!(
        "{:28} {:>7} {:>7.2} % {:>8.2} {:>8.2} {:>8.2} {:>8} {:>8} {:>7} {:>5} {:>7} {:>3} %",
        case.name,
        sent,
        100.0 * arrived,
        added(delays.value_at_quantile(0.5)),
        added(delays.value_at_quantile(0.99)),
        added(delays.max()),
        cost.out,
        cost.input,
        figures.datagrams_dropped,
        figures.mtu_min,
        figures.datagrams_split,
        cost.waited,
    );
    assert!(arrived >= ARRIVED_MIN, "{}: throttled", case.name);
}

/// Of one datagram, ns of processor time; and percents.
struct Cost {
    out: u64,
    input: u64,
    waited: u64,
}

/// Of all threads of a name, ns.
#[derive(Clone, Copy, Default)]
struct Time {
    on_core: u64,
    waiting: u64,
}

impl Time {
    fn of(name: &str) -> Self {
        let mut time = Self::default();
        for thread in std::fs::read_dir("/proc/self/task").unwrap() {
            let folder = thread.unwrap().path();
            let read = |file| std::fs::read_to_string(folder.join(file)).unwrap_or_default();
            if read("comm").trim() == name {
                let stat = read("schedstat");
                let mut numbers = stat.split_whitespace().map_while(|n| n.parse::<u64>().ok());
                time.on_core += numbers.next().unwrap_or(0);
                time.waiting += numbers.next().unwrap_or(0);
            }
        }
        time
    }

    fn since(self, before: Self) -> Self {
        Self {
            on_core: self.on_core - before.on_core,
            waiting: self.waiting - before.waiting,
        }
    }
}
