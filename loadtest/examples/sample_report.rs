//! Writes the report of a run that never was, to look at: `cargo run -p loadtest --example
//! sample_report -- FOLDER [good|bad|invalid]`. Everything in it goes through the real modules, with
//! packets that are lost, late and out of order by dice.

#![allow(clippy::expect_used, clippy::print_stdout)]

use loadtest::collect::{Collector, Generator};
use loadtest::media::{Codec, Layer, Media, MediaSettings, synthetic::synthetic};
use loadtest::packetize::{Packetizer, Placement};
use loadtest::phases::{Join, Phase};
use loadtest::receive::{Packet, StreamStats};
use loadtest::report::RunInfo;
use loadtest::scrape::Servers;
use loadtest::slo::Slo;
use loadtest::stamp::Stamp;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SECONDS: u64 = 60;
const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;
const ROOMS: u64 = 20;
const PEOPLE: u64 = 4;

/// Xorshift: dice for a picture.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }

    /// Mostly small, sometimes large.
    fn tail(&mut self, scale: u64) -> u64 {
        let base = self.below(scale) + self.below(scale);
        if self.below(40) == 0 {
            base + self.below(scale * 12)
        } else {
            base
        }
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().expect("a folder to write into"));
    let kind = arguments.next().unwrap_or_else(|| "good".to_owned());
    let bad = kind != "good";
    let mut dice = Dice(42);
    let mut collector = Collector::default();
    joins(&mut collector, &mut dice, bad);
    streams(&mut collector, &mut dice, bad);
    if bad {
        faults(&mut collector, &mut dice);
    }
    let generator = generator(&mut dice, kind == "invalid");
    let slo = "join_p95_ms: 1000\nlatency_p95_ms: 100\nlatency_p99_ms: 150\nloss_max: 0.1%\n\
               freeze_ratio_max: 1%\nerrors_max: 0\nserver_cpu_cores_max: 2\n";
    let slo = Slo::parse(Path::new("slo.yaml"), slo).expect("good objectives");
    let report = collector.report(info(bad), &servers(&mut dice), &generator, Some(&slo));
    std::fs::create_dir_all(&folder).expect("a folder");
    let write = |name: &str, text: &str| {
        std::fs::write(folder.join(name), text).expect("a file that can be written");
    };
    write("report.json", &report.to_json());
    write("report.html", &loadtest::html::render(&report));
    println!(
        "{:?}: {}",
        report.verdict,
        folder.join("report.html").display()
    );
}

fn info(bad: bool) -> RunInfo {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    RunInfo {
        tool: "anteroom 0.1.0".to_owned(),
        profile: if bad { "torture" } else { "meeting" }.to_owned(),
        url: "ws://127.0.0.1:7880".to_owned(),
        started_unix_s: 1_795_340_000,
        duration_s: 60.0,
        interrupted: false,
        broken: None,
        rooms: ROOMS,
        people: PEOPLE,
        seed: 1,
        settings: vec![pair(
            "Media",
            "VP8 simulcast 180p/360p/720p, Opus 32 kbit/s",
        )],
        machine: vec![
            pair("Machine", "2 cores, 24 GiB"),
            pair("System", "Linux 6.18"),
        ],
    }
}

fn joins(collector: &mut Collector, dice: &mut Dice, bad: bool) {
    for person in 0..ROOMS * PEOPLE {
        let mut now_ns = person * 100 * MS;
        let mut join = Join::begin(now_ns);
        let phases = [
            (Phase::Http, 3),
            (Phase::Websocket, 8),
            (Phase::Ice, 20),
            (Phase::Dtls, 14),
            (Phase::FirstPacket, 40),
            (Phase::FirstFrame, 90),
        ];
        for (phase, scale) in phases {
            now_ns += dice.tail(scale) * MS + dice.below(MS);
            join.reach(phase, now_ns);
        }
        collector.handle_join(&join, !(bad && dice.below(20) == 0), now_ns);
    }
    for second in 0..SECONDS {
        let connected = (second * 10).min(ROOMS * PEOPLE);
        collector.handle_participants(usize::try_from(connected).expect("few"), second * S);
    }
}

fn streams(collector: &mut Collector, dice: &mut Dice, bad: bool) {
    let media = synthetic(&MediaSettings::default());
    // A tenth of the rooms is enough for a picture.
    for publisher in 0..(ROOMS * PEOPLE) / 10 {
        let begin_ns = publisher * S;
        for codec in [Codec::Vp8, Codec::Opus] {
            for receiver in 0..PEOPLE - 1 {
                let name = match (publisher, receiver) {
                    (0, 0) => "<script>alert('mallory')</script> to room-1-p2".to_owned(),
                    _ => format!("room-1-p{publisher} to room-1-p{receiver}"),
                };
                let stats = StreamStats::new(codec, name);
                let stats = one_stream(collector, stats, &media, codec, begin_ns, dice, bad);
                collector.handle_stream_end(stats, SECONDS * S);
            }
        }
    }
}

fn one_stream(
    collector: &mut Collector,
    mut stats: StreamStats,
    media: &Media,
    codec: Codec,
    begin_ns: u64,
    dice: &mut Dice,
    bad: bool,
) -> StreamStats {
    let mut layer = if codec.is_video() {
        Layer::High
    } else {
        Layer::Low
    };
    let mut packetizer = Packetizer::new(codec, layer, Placement::EveryPacket, 1);
    let mut arrivals: Vec<(u64, Packet)> = Vec::new();
    let (mut now_ns, mut number, mut sequence) = (begin_ns, 0_u32, 1000_u16);
    while now_ns < SECONDS * S {
        let stream = media.stream(codec, layer).expect("a stream");
        let index = usize::try_from(number).expect("few") % stream.frames.len();
        let frame = &stream.frames[index];
        if codec.is_video() && frame.key && dice.below(if bad { 4 } else { 12 }) == 0 {
            layer = if layer == Layer::High {
                Layer::Medium
            } else {
                Layer::High
            };
            packetizer = Packetizer::new(codec, layer, Placement::EveryPacket, 1);
            continue;
        }
        let payloads = packetizer.handle_frame(frame, number, now_ns);
        let late = Duration::from_micros(dice.tail(if bad { 900 } else { 300 }));
        collector.handle_sent(&payloads, late, now_ns);
        let busy = bad && (25..32).contains(&(now_ns / S));
        for payload in &payloads {
            sequence = sequence.wrapping_add(1);
            if dice.below(if busy { 60 } else { 40_000 }) == 0 {
                continue;
            }
            let way_us = 1500 + dice.tail(900) + if busy { dice.tail(60_000) } else { 0 };
            let packet = Packet {
                sequence,
                timestamp: timestamp(now_ns, codec),
                marker: payload.marker,
                bytes: payload.bytes.len(),
                stamp: Stamp::find(codec, &payload.bytes),
            };
            arrivals.push((now_ns + way_us * 1000, packet));
        }
        now_ns += u64::from(frame.duration_us) * 1000;
        number += 1;
    }
    arrivals.sort_by_key(|arrival| arrival.0);
    for (now_ns, packet) in arrivals {
        stats.handle_packet(&packet, &mut collector.timeline, now_ns);
    }
    stats
}

fn timestamp(now_ns: u64, codec: Codec) -> u32 {
    let ticks = now_ns / 1000 * u64::from(codec.clock_rate()) / 1_000_000;
    u32::try_from(ticks).expect("a minute")
}

fn faults(collector: &mut Collector, dice: &mut Dice) {
    for _ in 0..30 {
        let now_ns = (10 + dice.below(45)) * S;
        collector.handle_reconnect(Duration::from_millis(60 + dice.tail(80)), now_ns);
    }
    for _ in 0..7 {
        let example = "loadtest-4-p2: POST http://127.0.0.1:7880/rtc: 503 \"no media node\"";
        collector.handle_error("join refused: 503", example, (26 + dice.below(5)) * S);
    }
    let example = "<img src=x onerror=alert(1)> closed without a word";
    collector.handle_error("connection lost", example, 27 * S);
}

fn generator(dice: &mut Dice, busy: bool) -> Generator {
    let mut generator = Generator {
        cores: 2,
        ..Generator::default()
    };
    let mut used_ms = 0_u32;
    for second in 0..SECONDS {
        let share = if busy { 1750 } else { 420 };
        used_ms += u32::try_from(share + dice.below(200)).expect("small");
        generator
            .cpu
            .handle_sample(f64::from(used_ms) / 1000.0, second * S);
    }
    generator
}

fn servers(dice: &mut Dice) -> Servers {
    let mut servers = Servers::default();
    let (mut cpu_ms, mut packets) = (0, 0);
    for second in 0..SECONDS {
        cpu_ms += 300 + 60 * second.min(8) + dice.below(120);
        packets += 2000 + 2400 * second.min(8) + dice.below(900);
        let cpu = Duration::from_millis(cpu_ms).as_secs_f64();
        let memory = 90_000_000 + second * 400_000;
        let one = (second * 5 / 4).min(9);
        let other = (second * 5 / 4).min(11);
        let body = format!(
            "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total {cpu}\n\
             process_resident_memory_bytes {memory}\n\
             anteroom_shard_rooms{{shard=\"s1\"}} {one}\nanteroom_shard_rooms{{shard=\"s2\"}} {other}\n\
             anteroom_node_packets_out_total{{node=\"n1\"}} {packets}\n"
        );
        servers
            .handle_scrape("anteroom up", &body, second * S)
            .expect("good metrics");
    }
    servers
}
