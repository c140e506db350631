//! The node's figures: what the media thread hands out once a second, and their way into the
//! metrics. Nothing here runs per packet.

use metrics::{counter, describe_counter, describe_gauge, gauge};
use proto::media::NodeReport;

/// A snapshot of the media thread. Counters are since the thread's start.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    /// The engine's figures, with the driver's strays added; `cpu_load` is 0.
    pub(crate) report: NodeReport,
    /// Datagrams that the kernel did not take.
    pub(crate) udp_dropped: u64,
    /// Frames for connections that were too slow or gone.
    pub(crate) tcp_dropped: u64,
    /// Media connections open now.
    pub(crate) tcp_connections: usize,
}

/// Sets the metrics `anteroom_node_*`, labelled with the node's name.
#[derive(Debug)]
pub(crate) struct Gauges {
    node: String,
    /// Counters restart with the media thread: only differences are added.
    last: Figures,
}

impl Gauges {
    pub(crate) fn new(node: &str) -> Self {
        Self {
            node: node.to_owned(),
            last: Figures::default(),
        }
    }

    /// Publishes a snapshot taken later than the previous one.
    pub(crate) fn publish(&mut self, now: &Figures, cpu_load: f32) {
        let report = &now.report;
        self.gauge("anteroom_node_participants", f64::from(report.participants));
        self.gauge("anteroom_node_tracks", f64::from(report.tracks));
        self.gauge("anteroom_node_rooms", f64::from(report.rooms));
        self.gauge("anteroom_node_cpu_load", f64::from(cpu_load));
        let connections = u32::try_from(now.tcp_connections).unwrap_or(u32::MAX);
        self.gauge("anteroom_node_tcp_connections", f64::from(connections));

        let before = &self.last.report;
        let counters = [
            (
                "anteroom_node_packets_in_total",
                report.packets_in,
                before.packets_in,
            ),
            (
                "anteroom_node_packets_out_total",
                report.packets_out,
                before.packets_out,
            ),
            (
                "anteroom_node_bytes_in_total",
                report.bytes_in,
                before.bytes_in,
            ),
            (
                "anteroom_node_bytes_out_total",
                report.bytes_out,
                before.bytes_out,
            ),
            (
                "anteroom_node_stray_packets_total",
                report.stray_packets,
                before.stray_packets,
            ),
            (
                "anteroom_node_fenced_packets_total",
                report.fenced_packets,
                before.fenced_packets,
            ),
            (
                "anteroom_node_udp_dropped_total",
                now.udp_dropped,
                self.last.udp_dropped,
            ),
            (
                "anteroom_node_tcp_dropped_total",
                now.tcp_dropped,
                self.last.tcp_dropped,
            ),
        ];
        for (name, now, before) in counters {
            counter!(name, "node" => self.node.clone()).increment(now.saturating_sub(before));
        }
        self.last = now.clone();
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
}

/// Help texts, once per process (again does no harm).
pub(crate) fn describe() {
    describe_gauge!(
        "anteroom_node_attached",
        "1 while the node has a link to its shard"
    );
    describe_gauge!("anteroom_node_participants", "Participants held");
    describe_gauge!("anteroom_node_tracks", "Published tracks held");
    describe_gauge!("anteroom_node_rooms", "Rooms with a participant here");
    describe_gauge!(
        "anteroom_node_cpu_load",
        "Load of the machine, 0 to 1 of all cores"
    );
    describe_gauge!("anteroom_node_tcp_connections", "Open ICE-TCP connections");
    describe_counter!("anteroom_node_packets_in_total", "RTP packets received");
    describe_counter!("anteroom_node_packets_out_total", "RTP packets forwarded");
    describe_counter!("anteroom_node_bytes_in_total", "Media bytes received");
    describe_counter!("anteroom_node_bytes_out_total", "Media bytes sent");
    let strays = "Datagrams, frames and connections that belong to nobody here";
    describe_counter!("anteroom_node_stray_packets_total", strays);
    let fenced = "Packets not taken while the shard has not said that it owns the rooms";
    describe_counter!("anteroom_node_fenced_packets_total", fenced);
    let udp = "Datagrams that the kernel did not take";
    describe_counter!("anteroom_node_udp_dropped_total", udp);
    let tcp = "Frames for ICE-TCP connections that were too slow or gone";
    describe_counter!("anteroom_node_tcp_dropped_total", tcp);
}
