//! What one worker has seen of a run, and how workers' sights become one report.
//!
//! Each worker has a [`Collector`] of its own and shares nothing while the run goes on; at the end
//! they are merged. Owns: totals, and which streams were the worst.

use crate::distribution::Distribution;
use crate::errors::ErrorLog;
use crate::generator::{CpuUse, GeneratorLimits, GeneratorReport};
use crate::numbers::{ratio, rounded};
use crate::packetize::Payload;
use crate::phases::{Join, Joins};
use crate::receive::{StreamStats, StreamSummary};
use crate::report::{MediaReport, ReconnectReport, Report, RunInfo, VERSION};
use crate::scrape::Servers;
use crate::slo::Slo;
use crate::timeline::{Step, Timeline};
use crate::witness::Witness;
use std::time::Duration;

/// Streams of which the report tells each one.
const WORST_MAX: usize = 20;

/// The figures of one worker. Times are nanoseconds since the start of the run.
#[derive(Clone, Debug, Default)]
pub struct Collector {
    /// What happened when; receivers write into it.
    pub timeline: Timeline,
    joins: Joins,
    errors: ErrorLog,
    jitter: Distribution,
    recovery: Distribution,
    reconnects: u64,
    streams: u64,
    unsent: u64,
    worst: Vec<StreamSummary>,
    witnesses: Vec<Witness>,
}

/// Of the generator itself, for the report.
#[derive(Clone, Debug, Default)]
pub struct Generator {
    /// Cores that it may use.
    pub cores: u32,
    /// Its CPU time.
    pub cpu: CpuUse,
    /// What it may use and how late it may be.
    pub limits: GeneratorLimits,
}

impl Collector {
    /// A publisher has sent a frame, so long after its time.
    pub fn handle_sent(&mut self, payloads: &[Payload], lateness: Duration, now_ns: u64) {
        let step = self.timeline.at(now_ns);
        step.lateness.record(lateness);
        step.packets_sent += count(payloads.len());
        let bytes: usize = payloads.iter().map(|payload| payload.bytes.len()).sum();
        step.bytes_sent += count(bytes);
    }

    /// The generator's own system did not take so many datagrams: they were lost before the network.
    pub fn handle_unsent(&mut self, datagrams: u64) {
        self.unsent += datagrams;
    }

    /// A join came to its end.
    pub fn handle_join(&mut self, join: &Join, succeeded: bool, now_ns: u64) {
        self.joins.finish(join, succeeded);
        let step = self.timeline.at(now_ns);
        if succeeded {
            step.joined += 1;
        } else {
            step.join_failures += 1;
        }
    }

    /// A connection that was lost is back, so long after its loss.
    pub fn handle_reconnect(&mut self, took: Duration, now_ns: u64) {
        self.reconnects += 1;
        self.recovery.record(took);
        self.timeline.at(now_ns).reconnects += 1;
    }

    /// Something went wrong. `kind` must not have names or numbers in it; `example` may.
    pub fn handle_error(&mut self, kind: &str, example: &str, now_ns: u64) {
        self.errors.record(kind, example, now_ns);
        self.timeline.at(now_ns).errors += 1;
    }

    /// So many of this worker's participants are connected. Call at least once a second.
    pub fn handle_participants(&mut self, connected: usize, now_ns: u64) {
        let step = self.timeline.at(now_ns);
        step.participants = step.participants.max(count(connected));
    }

    /// A received stream has ended; gives what it was like.
    pub fn handle_stream_end(&mut self, stream: StreamStats, now_ns: u64) -> StreamSummary {
        let summary = stream.finish(&mut self.timeline, now_ns);
        self.streams += 1;
        if summary.packets > 1 {
            self.jitter.record_us((summary.jitter_ms * 1000.0) as u64);
        }
        self.worst.push(summary.clone());
        if self.worst.len() >= WORST_MAX * 4 {
            self.keep_worst();
        }
        summary
    }

    /// A participant with another WebRTC implementation has ended.
    pub fn handle_witness(&mut self, witness: Witness) {
        self.witnesses.push(witness);
    }

    /// Takes in what another worker saw.
    pub fn merge(&mut self, other: Self) {
        self.timeline.merge(other.timeline);
        self.joins.merge(&other.joins);
        self.errors.merge(other.errors);
        self.jitter.merge(&other.jitter);
        self.recovery.merge(&other.recovery);
        self.reconnects += other.reconnects;
        self.streams += other.streams;
        self.unsent += other.unsent;
        self.worst.extend(other.worst);
        self.witnesses.extend(other.witnesses);
        self.keep_worst();
    }

    /// The report, judged.
    #[must_use]
    pub fn report(
        mut self,
        run: RunInfo,
        servers: &Servers,
        generator: &Generator,
        slo: Option<&Slo>,
    ) -> Report {
        self.keep_worst();
        let total = self.timeline.total();
        let own = GeneratorReport::new(
            generator.cores,
            &generator.cpu,
            &total.lateness,
            generator.limits,
        )
        .with_unsent(self.unsent, total.packets_sent);
        let mut report = Report {
            version: VERSION,
            run,
            joins: self.joins.report(),
            media: self.media(&total),
            reconnects: ReconnectReport {
                count: self.reconnects,
                recovery: self.recovery.quantiles(),
            },
            timeline: self.timeline.points(),
            step_s: self.timeline.step_s(),
            worst_streams: self.worst,
            servers: servers.report(),
            shards: servers.shards(),
            generator: Some(own),
            witnesses: self.witnesses,
            error_count: self.errors.count(),
            errors: self.errors.report(),
            ..Report::default()
        };
        report.judge(slo);
        report
    }

    fn media(&self, total: &Step) -> MediaReport {
        MediaReport {
            streams: self.streams,
            packets_sent: total.packets_sent,
            bytes_sent: total.bytes_sent,
            packets_received: total.packets,
            bytes_received: total.bytes,
            lost: total.lost(),
            loss: rounded(ratio(total.lost(), total.packets + total.lost())),
            reordering: rounded(ratio(total.reordered, total.packets)),
            duplicates: total.duplicates,
            latency: total.latency.quantiles(),
            latency_curve: total.latency.curve(),
            jitter: self.jitter.quantiles(),
            frames: total.frames,
            freezes: total.freezes,
            freeze_ratio: rounded(ratio(total.frozen_ns, total.watched_ns)),
            layer_switches: total.layer_switches,
        }
    }

    /// The worst first; streams without any trouble are not told of.
    fn keep_worst(&mut self) {
        let trouble = |stream: &StreamSummary| stream.freeze_ratio + stream.loss;
        self.worst.retain(|stream| trouble(stream) > 0.0);
        self.worst.sort_by(|a, b| {
            let by_trouble = trouble(b).total_cmp(&trouble(a));
            by_trouble.then_with(|| a.name.cmp(&b.name))
        });
        self.worst.truncate(WORST_MAX);
    }
}

fn count(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Codec;
    use crate::receive::Packet;

    const MS: u64 = 1_000_000;

    /// A stream that loses each `loss`-th packet.
    fn stream(collector: &mut Collector, name: &str, loss: u16) {
        let mut stats = StreamStats::new(Codec::Opus, name.to_owned());
        for sequence in 0..100_u16 {
            let packet = Packet {
                sequence,
                timestamp: u32::from(sequence) * 960,
                marker: false,
                bytes: 100,
                stamp: None,
            };
            if sequence % loss != loss - 1 || sequence == 99 {
                let now_ns = u64::from(sequence) * 20 * MS;
                stats.handle_packet(&packet, &mut collector.timeline, now_ns);
            }
        }
        collector.handle_stream_end(stats, 2000 * MS);
    }

    #[test]
    fn workers_become_one_report_with_the_worst_streams_first() {
        let mut one = Collector::default();
        stream(&mut one, "good", 200);
        stream(&mut one, "bad", 10);
        one.handle_participants(3, 0);
        one.handle_join(&Join::begin(0), true, 5 * MS);
        let mut other = Collector::default();
        stream(&mut other, "worse", 5);
        other.handle_participants(4, 0);
        other.handle_join(&Join::begin(0), false, 5 * MS);
        other.handle_error("join refused", "eve: 401", 5 * MS);
        other.handle_reconnect(Duration::from_millis(300), 1500 * MS);
        one.merge(other);
        let info = RunInfo::default();
        let report = one.report(info, &Servers::default(), &Generator::default(), None);
        let worst: Vec<&str> = report
            .worst_streams
            .iter()
            .map(|s| s.name.as_str())
            .collect();
        assert_eq!(worst, ["worse", "bad"]);
        assert_eq!(report.media.streams, 3);
        assert_eq!((report.joins.succeeded, report.joins.failed), (1, 1));
        assert_eq!((report.error_count, report.reconnects.count), (1, 1));
        assert_eq!(report.timeline[0].participants, 7);
        assert_eq!(report.timeline[1].reconnects, 1);
        assert_eq!(report.media.lost, 9 + 19);
    }

    #[test]
    fn the_list_of_streams_is_bounded() {
        let mut collector = Collector::default();
        for number in 0..500 {
            stream(&mut collector, &format!("s{number}"), 10);
        }
        assert!(collector.worst.len() < WORST_MAX * 4);
        let info = RunInfo::default();
        let report = collector.report(info, &Servers::default(), &Generator::default(), None);
        assert_eq!(
            (report.worst_streams.len(), report.media.streams),
            (WORST_MAX, 500)
        );
    }
}
