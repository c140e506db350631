//! From plan to report without a socket: publishers at their pace, a network that takes 10 ms, and
//! receivers that count.

use loadtest::collect::{Collector, Generator};
use loadtest::media::{Codec, Layer, Media, MediaSettings, synthetic::synthetic};
use loadtest::pace::{Clip, Pacer};
use loadtest::packetize::{Packetizer, Placement};
use loadtest::phases::{Join, Phase};
use loadtest::plan::{Action, PlanSettings, Profile, Step};
use loadtest::receive::{Packet, StreamStats};
use loadtest::report::{Report, RunInfo, Verdict};
use loadtest::scrape::Servers;
use loadtest::slo::Slo;
use loadtest::stamp::Stamp;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

const WAY_NS: u64 = 10_000_000;
const TICK: Duration = Duration::from_millis(5);

struct Publisher {
    pacer: Pacer,
    packetizer: Packetizer,
    sequence: u16,
}

/// A room of virtual people; each receives the video of all others.
#[derive(Default)]
struct Hall {
    publishers: BTreeMap<(String, String), Publisher>,
    /// By room, sender, receiver.
    streams: BTreeMap<(String, String, String), StreamStats>,
    collector: Collector,
    /// Every how many-th packet is lost; 0: none.
    lossy: u64,
    sent: u64,
}

impl Hall {
    fn handle_step(&mut self, step: &Step, media: &Media, now: Duration) {
        let key = (step.room.to_string(), step.identity.to_string());
        match &step.action {
            Action::Join { .. } => {
                let now_ns = nanos(now);
                let mut join = Join::begin(now_ns);
                join.reach(Phase::Http, now_ns + 1_000_000);
                self.collector.handle_join(&join, true, now_ns);
                let clip = Clip::of(media.stream(Codec::Vp8, Layer::Low).unwrap()).unwrap();
                let packetizer = Packetizer::new(Codec::Vp8, Layer::Low, Placement::EveryPacket, 3);
                let publisher = Publisher {
                    pacer: Pacer::new(clip, 7, now),
                    packetizer,
                    sequence: 65_500,
                };
                self.publishers.insert(key, publisher);
            }
            Action::Leave | Action::Vanish => {
                self.publishers.remove(&key);
                let (room, who) = key;
                let mut gone = Vec::new();
                for stream in self.streams.keys() {
                    if stream.0 == room && (stream.1 == who || stream.2 == who) {
                        gone.push(stream.clone());
                    }
                }
                for stream in gone {
                    let stats = self.streams.remove(&stream).unwrap();
                    self.collector.handle_stream_end(stats, nanos(now));
                }
            }
            _ => {}
        }
    }

    fn tick(&mut self, media: &Media, now: Duration) {
        let frames = &media.stream(Codec::Vp8, Layer::Low).unwrap().frames;
        let people: Vec<(String, String)> = self.publishers.keys().cloned().collect();
        self.collector.handle_participants(people.len(), nanos(now));
        for (room, sender) in &people {
            let publisher = self
                .publishers
                .get_mut(&(room.clone(), sender.clone()))
                .unwrap();
            while let Some(due) = publisher.pacer.poll_due(now) {
                let frame = &frames[due.index];
                let payloads = publisher
                    .packetizer
                    .handle_frame(frame, due.number, nanos(now));
                self.collector
                    .handle_sent(&payloads, due.lateness, nanos(now));
                for payload in payloads {
                    publisher.sequence = publisher.sequence.wrapping_add(1);
                    self.sent += 1;
                    if self.lossy > 0 && self.sent.is_multiple_of(self.lossy) {
                        continue;
                    }
                    let packet = Packet {
                        sequence: publisher.sequence,
                        timestamp: due.timestamp,
                        marker: payload.marker,
                        bytes: payload.bytes.len(),
                        stamp: Stamp::find(Codec::Vp8, &payload.bytes),
                    };
                    for (_, receiver) in people.iter().filter(|who| who.0 == *room) {
                        if receiver == sender {
                            continue;
                        }
                        let key = (room.clone(), sender.clone(), receiver.clone());
                        let name = format!("{sender} to {receiver}");
                        let stats = self.streams.entry(key);
                        let stats = stats.or_insert_with(|| StreamStats::new(Codec::Vp8, name));
                        let timeline = &mut self.collector.timeline;
                        stats.handle_packet(&packet, timeline, nanos(now) + WAY_NS);
                    }
                }
            }
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap()
}

fn run(profile: Profile, lossy: u64) -> Report {
    let settings = PlanSettings {
        rooms: 2,
        people: 3,
        duration: Duration::from_secs(10),
        ..PlanSettings::new(profile)
    };
    let media = synthetic(&MediaSettings::default());
    let steps = settings.plan().unwrap();
    let mut steps = steps.iter().peekable();
    let mut hall = Hall {
        lossy,
        ..Hall::default()
    };
    let mut now = Duration::ZERO;
    while steps.peek().is_some() {
        while let Some(step) = steps.next_if(|step| step.at <= now) {
            hall.handle_step(step, &media, now);
        }
        hall.tick(&media, now);
        now += TICK;
    }
    let slo = "latency_p99_ms: 12\nloss_max: 0\nfreeze_ratio_max: 0\nerrors_max: 0\n";
    let slo = Slo::parse(Path::new("slo.yaml"), slo).unwrap();
    let generator = Generator {
        cores: 2,
        ..Generator::default()
    };
    let info = RunInfo {
        profile: profile.name().to_owned(),
        duration_s: now.as_secs_f64(),
        ..RunInfo::default()
    };
    hall.collector
        .report(info, &Servers::default(), &generator, Some(&slo))
}

#[test]
fn a_meeting_without_faults_keeps_all_objectives() {
    let report = run(Profile::Meeting, 0);
    assert_eq!(report.verdict, Verdict::Passed, "{:?}", report.slo);
    assert_eq!(report.joins.succeeded, 6);
    assert_eq!(report.media.streams, 12);
    // Before all three were in the room, packets had fewer receivers.
    let (sent, received) = (report.media.packets_sent, report.media.packets_received);
    assert!(
        received <= sent * 2 && received > sent * 19 / 10,
        "{received} of {sent}"
    );
    let latency = report.media.latency.unwrap();
    assert!(
        (latency.p50_ms - 10.0).abs() < 0.2 && latency.max_ms < 10.2,
        "{latency:?}"
    );
    let page = loadtest::html::render(&report);
    assert!(page.contains("Passed") && !page.contains("NaN"));
    assert_eq!(Report::from_json(&report.to_json()).unwrap(), report);
}

#[test]
fn loss_is_counted_and_freezes_are_seen() {
    let report = run(Profile::Meeting, 100);
    assert_eq!(report.verdict, Verdict::Failed);
    assert!(
        (report.media.loss - 0.01).abs() < 0.002,
        "{}",
        report.media.loss
    );
    assert!(report.media.freezes > 10, "{}", report.media.freezes);
    assert!(!report.worst_streams.is_empty());
    let failed: Vec<&str> = report
        .slo
        .iter()
        .filter(|row| !row.passed)
        .map(|row| row.name.as_str())
        .collect();
    assert_eq!(failed, ["loss_max", "freeze_ratio_max"]);
}

#[test]
fn people_who_come_and_go_leave_no_stream_behind() {
    let report = run(Profile::Churn, 0);
    assert!(report.joins.succeeded > 10, "{:?}", report.joins);
    assert_eq!(report.media.lost, 0);
    // Who joins late starts in the middle: not before the next key frame is a picture seen.
    assert_eq!(report.media.freezes, 0);
    assert!(report.timeline.iter().all(|point| point.participants <= 7));
}
