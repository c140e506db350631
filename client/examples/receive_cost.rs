//! What a received packet costs a client that counts: CPU time of its process for each packet.
//!
//! ```sh
//! target/release/anteroom up
//! receive_cost publish ws://127.0.0.1:7880 PACKETS_A_SECOND PACKETS_A_BURST SECONDS
//! receive_cost receive ws://127.0.0.1:7880 SECONDS
//! ```
//!
//! API key and secret are those of `anteroom up`. CPU time is of the only thread, read from
//! `/proc/self/schedstat`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measurement that fails has nothing to say; it talks by its output"
)]

use client::{
    AccessToken, Agent, Client, Codec, ConnectOptions, Fidelity, Layer, LayerSpec, RtpOut, Session,
    SessionEvent, TrackHandle, TrackSpec,
};
use std::time::{Duration, Instant};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let number = |text: &String| text.parse::<u32>().expect("a number");
    match arguments.as_slice() {
        [role, url, rate, burst, seconds] if role == "publish" => {
            let publisher = Publisher {
                burst: number(burst),
                gap: Duration::from_secs(1) * number(burst) / number(rate),
                track: None,
                due: None,
                frame: 0,
            };
            runtime.block_on(publish(url, publisher, number(seconds)));
        }
        [role, url, seconds] if role == "receive" => {
            runtime.block_on(receive(url, number(seconds)));
        }
        _ => eprintln!("usage: receive_cost publish URL RATE BURST SECONDS | receive URL SECONDS"),
    }
}

fn options(url: &str, identity: &str) -> ConnectOptions {
    let token = AccessToken::new("receive-cost", identity).sign("devkey", "secret");
    ConnectOptions::new(url, token.unwrap())
}

/// Sends bursts of packets of 1,100 bytes.
struct Publisher {
    burst: u32,
    gap: Duration,
    track: Option<TrackHandle>,
    due: Option<Instant>,
    frame: u32,
}

impl Agent for Publisher {
    fn handle_event(&mut self, event: SessionEvent, _session: &mut Session, now: Instant) {
        if let SessionEvent::Sending(_) = event {
            self.due = Some(now);
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    fn handle_timeout(&mut self, session: &mut Session, now: Instant) {
        let (Some(track), Some(due)) = (self.track, self.due) else {
            return;
        };
        self.due = Some((due + self.gap).max(now.checked_sub(self.gap).unwrap_or(now)));
        self.frame += 1;
        for number in 0..self.burst {
            // A VP8 descriptor, then what looks like the first byte of a key frame (RFC 7741).
            let mut payload = vec![0; 1100];
            payload[0] = if number == 0 { 0x10 } else { 0 };
            let packet = RtpOut {
                payload: payload.into(),
                timestamp: self.frame.wrapping_mul(3000),
                marker: number + 1 == self.burst,
                audio_level: None,
            };
            // Before media is connected nothing is taken.
            let _ = session.write(track, Layer::High, packet, now);
        }
    }
}

async fn publish(url: &str, publisher: Publisher, seconds: u32) {
    let client = Client::connect_with(options(url, "ann"), publisher).await;
    let client = client.unwrap();
    let layer = LayerSpec {
        layer: Layer::High,
        width: 1280,
        height: 720,
        bitrate_bps: 10_000_000,
    };
    let spec = TrackSpec::camera(Codec::Vp8, [layer]);
    let published = client.call(move |session, agent: &mut Publisher, now| {
        agent.track = Some(session.publish(spec, now));
    });
    published.await.unwrap();
    tokio::time::sleep(Duration::from_secs(seconds.into())).await;
    let counters = client.call(|session, _, _| session.counters()).await;
    println!("written {}", counters.unwrap().written_packets);
    client.close().await;
}

struct Counter(u64);

impl Agent for Counter {
    fn handle_event(&mut self, event: SessionEvent, _session: &mut Session, _now: Instant) {
        if let SessionEvent::Header(_) = event {
            self.0 += 1;
        }
    }
}

async fn receive(url: &str, seconds: u32) {
    let mut options = options(url, "bob");
    options.session.fidelity = Fidelity::Counting;
    let client = Client::connect_with(options, Counter(0)).await.unwrap();
    let count = || client.call(|_, counter: &mut Counter, _| counter.0);
    let start = Instant::now();
    while count().await.unwrap() < 100 {
        assert!(start.elapsed() < Duration::from_secs(20), "somebody sends");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (packets, cpu, start) = (count().await.unwrap(), cpu_ns(), Instant::now());
    tokio::time::sleep(Duration::from_secs(seconds.into())).await;
    let packets = count().await.unwrap() - packets;
    let cpu = cpu_ns() - cpu;
    let elapsed = start.elapsed().as_millis();
    println!(
        "{packets} packets in {elapsed} ms, {} ns of CPU each",
        cpu / packets.max(1)
    );
    client.close().await;
}

/// Of the main thread, nanoseconds.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    let first = text.split(' ').next().unwrap();
    first.parse().unwrap()
}
