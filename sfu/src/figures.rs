//! The node's figures: what the media thread hands out once a second, and their way into the
//! metrics. Nothing here runs per packet.

use crate::engine::Census;
use metrics::{counter, gauge};
use proto::media::NodeReport;
use std::time::Duration;

/// A snapshot of the media thread. Counters are since the thread's start.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    /// The engine's figures, with the driver's strays added; `cpu_load` is 0.
    pub(crate) report: NodeReport,
    /// More of them, for operators only.
    pub(crate) census: Census,
    /// Datagrams that the kernel did not take.
    pub(crate) udp_dropped: u64,
    /// Frames for connections that were too slow or gone.
    pub(crate) tcp_dropped: u64,
    /// Media connections open now.
    pub(crate) tcp_connections: usize,
    /// Messages between members that nobody took.
    pub(crate) relay_dropped: u64,
    /// The transport between nodes.
    pub(crate) relay: relay::Figures,
    /// How the thread itself did since the last snapshot.
    pub(crate) pulse: Pulse,
}

impl Figures {
    /// Those of another worker of the same node besides.
    pub(crate) fn add(&mut self, other: &Self) {
        add_report(&mut self.report, &other.report);
        self.census.add(&other.census);
        self.udp_dropped += other.udp_dropped;
        self.tcp_dropped += other.tcp_dropped;
        self.tcp_connections += other.tcp_connections;
        self.pulse.add(other.pulse);
    }
}

fn add_report(sum: &mut NodeReport, other: &NodeReport) {
    sum.participants += other.participants;
    sum.tracks += other.tracks;
    sum.rooms += other.rooms;
    sum.packets_in += other.packets_in;
    sum.packets_out += other.packets_out;
    sum.bytes_in += other.bytes_in;
    sum.bytes_out += other.bytes_out;
    sum.stray_packets += other.stray_packets;
    sum.fenced_packets += other.fenced_packets;
}

/// How the media thread did in the time between two snapshots, which is about a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Pulse {
    /// How late its timer was at worst.
    pub(crate) late_max: Duration,
    /// The longest pass of its loop.
    pub(crate) pass_max: Duration,
    /// Share of the time in which it ran.
    pub(crate) running: f64,
    /// Share of the time in which it wanted to run and had no core.
    pub(crate) waiting: f64,
    /// Share of the time that it could have: 1.0 can do no more.
    pub(crate) stress: f64,
}

impl Pulse {
    /// Of several threads: the worst, and the shares together.
    fn add(&mut self, other: Self) {
        self.late_max = self.late_max.max(other.late_max);
        self.pass_max = self.pass_max.max(other.pass_max);
        self.running += other.running;
        self.waiting += other.waiting;
        self.stress = self.stress.max(other.stress);
    }
}

/// Sets the metrics `anteroom_node_*`, labelled with the node's name.
#[derive(Debug)]
pub(crate) struct Gauges {
    node: String,
    /// Counters restart with the media thread: only differences are added.
    last: Figures,
}

impl Gauges {
    /// Shows all metrics of the node, most of them 0.
    pub(crate) fn new(node: &str) -> Self {
        observe::register(crate::catalogue::METRICS, &[("node", node)]);
        Self {
            node: node.to_owned(),
            last: Figures::default(),
        }
    }

    /// Publishes a snapshot taken later than the previous one.
    pub(crate) fn publish(&mut self, now: &Figures, cpu_load: f32) {
        self.publish_held(now, cpu_load);
        self.publish_counters(now);
        self.last = now.clone();
    }

    fn publish_held(&self, now: &Figures, cpu_load: f32) {
        let (report, census, pulse) = (&now.report, &now.census, &now.pulse);
        let connections = u32::try_from(now.tcp_connections).unwrap_or(u32::MAX);
        let gauges = [
            ("anteroom_node_participants", f64::from(report.participants)),
            ("anteroom_node_tracks", f64::from(report.tracks)),
            ("anteroom_node_rooms", f64::from(report.rooms)),
            (
                "anteroom_node_subscriptions",
                f64::from(census.subscriptions),
            ),
            ("anteroom_node_relay_peers", now.relay.connections as f64),
            ("anteroom_node_cpu_load", f64::from(cpu_load)),
            ("anteroom_node_tcp_connections", f64::from(connections)),
            ("anteroom_node_rtt_seconds", census.rtt.as_secs_f64()),
            ("anteroom_node_media_cpu_ratio", pulse.running),
            ("anteroom_node_media_wait_ratio", pulse.waiting),
            ("anteroom_node_stress_ratio", pulse.stress),
            (
                "anteroom_node_loop_late_seconds",
                pulse.late_max.as_secs_f64(),
            ),
            (
                "anteroom_node_loop_busy_seconds",
                pulse.pass_max.as_secs_f64(),
            ),
        ];
        for (name, value) in gauges {
            self.gauge(name, value);
        }
        let transports = [
            ("connecting", census.connecting),
            ("connected", census.connected),
            ("unreachable", census.unreachable),
        ];
        for (state, count) in transports {
            let labels = self.labels("state", state);
            gauge!("anteroom_node_transports", &labels).set(f64::from(count));
        }
        for (direction, loss) in [("in", census.loss_in), ("out", census.loss_out)] {
            let labels = self.labels("direction", direction);
            gauge!("anteroom_node_loss_ratio", &labels).set(f64::from(loss));
        }
    }

    fn publish_counters(&self, now: &Figures) {
        let count = |name: &'static str, of: fn(&Figures) -> u64| {
            let more = of(now).saturating_sub(of(&self.last));
            counter!(name, "node" => self.node.clone()).increment(more);
        };
        count("anteroom_node_packets_in_total", |f| f.report.packets_in);
        count("anteroom_node_packets_out_total", |f| f.report.packets_out);
        count("anteroom_node_bytes_in_total", |f| f.report.bytes_in);
        count("anteroom_node_bytes_out_total", |f| f.report.bytes_out);
        count("anteroom_node_stray_packets_total", |f| {
            f.report.stray_packets
        });
        count("anteroom_node_fenced_packets_total", |f| {
            f.report.fenced_packets
        });
        count("anteroom_node_relay_dropped_total", |f| f.relay_dropped);
        count("anteroom_node_udp_dropped_total", |f| f.udp_dropped);
        count("anteroom_node_tcp_dropped_total", |f| f.tcp_dropped);

        let count_as = |name: &'static str, label, value, of: fn(&Census) -> u64| {
            let more = of(&now.census).saturating_sub(of(&self.last.census));
            counter!(name, &self.labels(label, value)).increment(more);
        };
        let name = "anteroom_node_relayed_packets_total";
        count_as(name, "direction", "in", |c| c.relayed_in);
        count_as(name, "direction", "out", |c| c.relayed_out);
        let name = "anteroom_node_nacks_total";
        count_as(name, "direction", "in", |c| c.nacks_in);
        count_as(name, "direction", "out", |c| c.nacks_out);
        let name = "anteroom_node_keyframe_requests_total";
        count_as(name, "direction", "in", |c| c.keyframes_in);
        count_as(name, "direction", "out", |c| c.keyframes_out);
        let name = "anteroom_node_transports_lost_total";
        count_as(name, "why", "silent", |c| c.lost_silent);
        count_as(name, "why", "closed", |c| c.lost_closed);
        count_as(name, "why", "fault", |c| c.lost_fault);
    }

    /// The link is up or gone. When it goes, everybody here is gone too.
    pub(crate) fn set_attached(&mut self, attached: bool) {
        self.gauge("anteroom_node_attached", if attached { 1.0 } else { 0.0 });
        self.last = Figures::default();
        self.publish(&Figures::default(), 0.0);
    }

    fn gauge(&self, name: &'static str, value: f64) {
        gauge!(name, "node" => self.node.clone()).set(value);
    }

    fn labels(&self, label: &'static str, value: &'static str) -> [(&'static str, String); 2] {
        [("node", self.node.clone()), (label, value.to_owned())]
    }
}
