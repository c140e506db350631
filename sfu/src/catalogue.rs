//! All metrics of a media node.

use observe::{Label, Metric};

/// Several nodes may share a process.
const NODE: Label = Label::open("node", "the node's name");
const STATE: Label = Label::closed("state", &["connecting", "connected", "unreachable"]);
const LOST_WHY: Label = Label::closed("why", &["silent", "closed", "fault"]);
const TURN_REFUSED_WHY: Label = Label::closed("why", &["credentials", "rate", "quota", "peer"]);
const TURN_DROPPED_WHY: Label = Label::closed("why", &["bandwidth", "slow", "stray"]);
const DIRECTION: Label = Label::closed("direction", &["in", "out"]);

/// All metrics of a media node.
pub const METRICS: &[Metric] = &[
    Metric::gauge(
        "anteroom_node_attached",
        &[NODE],
        "1 while the node has a link to its shard.",
    ),
    Metric::gauge(
        "anteroom_node_rooms",
        &[NODE],
        "Rooms with a participant here.",
    ),
    Metric::gauge(
        "anteroom_node_participants",
        &[NODE],
        "Participants held now.",
    ),
    Metric::gauge(
        "anteroom_node_tracks",
        &[NODE],
        "Published tracks held now.",
    ),
    Metric::gauge(
        "anteroom_node_subscriptions",
        &[NODE],
        "Tracks forwarded to somebody, counted for each receiver.",
    ),
    Metric::gauge(
        "anteroom_node_transports",
        &[NODE, STATE],
        "Peer connections. unreachable: connected once, and no ICE check has come for some seconds.",
    ),
    Metric::counter(
        "anteroom_node_transports_lost_total",
        &[NODE, LOST_WHY],
        "Peer connections that ended by themselves: silent for 30 s, closed by the client, or by a fault of \
         this program. Alert on faults.",
    ),
    Metric::gauge(
        "anteroom_node_tcp_connections",
        &[NODE],
        "ICE-TCP connections open now.",
    ),
    Metric::gauge(
        "anteroom_node_stress_ratio",
        &[NODE],
        "How busy the busiest worker is: share of the processor time that it could have. At \
         `shard.limits.node_stress` nobody else is let in.",
    ),
    Metric::gauge(
        "anteroom_node_relay_peers",
        &[NODE],
        "Other nodes of the shard that can be reached: as many as there are, if all is well.",
    ),
    Metric::counter(
        "anteroom_node_relayed_packets_total",
        &[NODE, DIRECTION],
        "RTP packets between workers and nodes that share a room.",
    ),
    Metric::counter(
        "anteroom_node_relay_dropped_total",
        &[NODE],
        "Messages between workers and nodes that nobody took: the receiver was too slow, or could not be \
         reached.",
    ),
    Metric::counter(
        "anteroom_node_packets_in_total",
        &[NODE],
        "RTP packets received.",
    ),
    Metric::counter(
        "anteroom_node_packets_out_total",
        &[NODE],
        "RTP packets forwarded.",
    ),
    Metric::counter(
        "anteroom_node_bytes_in_total",
        &[NODE],
        "Bytes received in datagrams and ICE-TCP frames.",
    ),
    Metric::counter(
        "anteroom_node_bytes_out_total",
        &[NODE],
        "Bytes sent in datagrams and ICE-TCP frames.",
    ),
    Metric::counter(
        "anteroom_node_nacks_total",
        &[NODE, DIRECTION],
        "Requests to send RTP packets again: of receivers (in), and ours to publishers (out). Counted every \
         few seconds.",
    ),
    Metric::counter(
        "anteroom_node_keyframe_requests_total",
        &[NODE, DIRECTION],
        "Requests for a key frame (PLI, FIR): of receivers (in), and ours to publishers (out).",
    ),
    Metric::gauge(
        "anteroom_node_loss_ratio",
        &[NODE, DIRECTION],
        "Mean share of RTP packets lost from publishers (in) and to receivers (out), over the peer \
         connections that said so in the last few seconds.",
    ),
    Metric::gauge(
        "anteroom_node_rtt_seconds",
        &[NODE],
        "Mean round trip to clients, over the peer connections that measured it in the last few seconds.",
    ),
    Metric::counter(
        "anteroom_node_stray_packets_total",
        &[NODE],
        "Datagrams, frames and connections that belong to nobody here.",
    ),
    Metric::counter(
        "anteroom_node_fenced_packets_total",
        &[NODE],
        "Packets neither taken nor forwarded because the shard has not said that it owns the rooms.",
    ),
    Metric::counter(
        "anteroom_node_udp_dropped_total",
        &[NODE],
        "Datagrams that the kernel did not take.",
    ),
    Metric::counter(
        "anteroom_node_tcp_dropped_total",
        &[NODE],
        "Frames for ICE-TCP connections that were too slow or gone.",
    ),
    Metric::gauge(
        "anteroom_node_media_cpu_ratio",
        &[NODE],
        "Share of one core that the media thread used in the last second. Near 1 the node is full.",
    ),
    Metric::gauge(
        "anteroom_node_media_wait_ratio",
        &[NODE],
        "Share of the last second in which the media thread was ready and had no core: the machine is \
         overloaded.",
    ),
    Metric::gauge(
        "anteroom_node_loop_late_seconds",
        &[NODE],
        "How late the media thread's timer was at worst in the last second.",
    ),
    Metric::gauge(
        "anteroom_node_loop_busy_seconds",
        &[NODE],
        "The longest pass of the media thread in the last second: packets waited that long.",
    ),
    Metric::gauge(
        "anteroom_node_cpu_load",
        &[NODE],
        "Load of the node's machine, 0 to 1 of all cores.",
    ),
    Metric::gauge(
        "anteroom_node_turn_allocations",
        &[NODE],
        "Relayed addresses of TURN clients held now.",
    ),
    Metric::counter(
        "anteroom_node_turn_allocations_total",
        &[NODE],
        "Relayed addresses given to TURN clients.",
    ),
    Metric::gauge(
        "anteroom_node_turn_connections",
        &[NODE],
        "TCP and TLS connections to the TURN server open now.",
    ),
    Metric::counter(
        "anteroom_node_turn_refused_total",
        &[NODE, TURN_REFUSED_WHY],
        "TURN requests refused. credentials: none yet, wrong or expired; the first request of each client is \
         one. rate: unanswered, too many. quota: too many relayed addresses, or no port. peer: a peer, or a \
         packet to or from one, that is not allowed.",
    ),
    Metric::counter(
        "anteroom_node_turn_dropped_total",
        &[NODE, TURN_DROPPED_WHY],
        "TURN packets dropped: over a relayed address's bandwidth, not taken by the kernel or a slow \
         connection, or of nobody.",
    ),
    Metric::counter(
        "anteroom_node_turn_bytes_total",
        &[NODE, DIRECTION],
        "Bytes relayed from TURN clients (in) and to them (out), without headers.",
    ),
];
