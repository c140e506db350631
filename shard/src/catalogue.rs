//! All metrics of a shard.

use observe::{Label, Metric};

/// `anteroom up` runs several shards in one process.
const SHARD: Label = Label::open("shard", "the shard's name");
const JOIN_RESULT: Label =
    Label::closed("result", &["accepted", "resumed", "refused", "redirected"]);
const REFUSED_STATUS: Label = Label::open("status", "the status that was answered");
const UNTIL: Label = Label::closed("until", &["admitted", "welcome", "answer", "connected"]);
const REQUEST_KIND: Label = Label::closed(
    "kind",
    &[
        "page", "join", "validate", "token", "whip", "whep", "internal",
    ],
);
const STATUS: Label = Label::open("status", "the status that was answered");
const CLOSE_CODE: Label = Label::open("code", "the WebSocket close code");
const DIRECTION: Label = Label::closed("direction", &["in", "out"]);
const KEEP_ANSWER: Label = Label::closed("answer", &["relayed", "promised", "refused", "silent"]);
const MOVE_RESULT: Label = Label::closed("result", &["moved", "came", "failed"]);
const PULL_RESULT: Label =
    Label::closed("result", &["told", "nothing", "refused", "silent", "late"]);

/// All metrics of a shard.
pub const METRICS: &[Metric] = &[
    Metric::gauge("anteroom_shard_rooms", &[SHARD], "Rooms held now."),
    Metric::gauge(
        "anteroom_shard_participants",
        &[SHARD],
        "Participants held now, hidden ones too.",
    ),
    Metric::gauge(
        "anteroom_shard_tracks",
        &[SHARD],
        "Published tracks, held now.",
    ),
    Metric::gauge(
        "anteroom_shard_subscriptions",
        &[SHARD],
        "Tracks that nodes forward to somebody, counted for each receiver.",
    ),
    Metric::gauge(
        "anteroom_shard_sessions",
        &[SHARD],
        "Signalling connections open now.",
    ),
    Metric::gauge(
        "anteroom_shard_nodes",
        &[SHARD],
        "Media nodes attached now.",
    ),
    Metric::gauge(
        "anteroom_shard_inputs_waiting",
        &[SHARD],
        "Inputs that wait for the task of the rooms, of 4,096 at most. It should be near 0.",
    ),
    Metric::counter(
        "anteroom_shard_joins_total",
        &[SHARD, JOIN_RESULT],
        "Handshakes of clients. redirected: the room is another shard's (421).",
    ),
    Metric::counter(
        "anteroom_shard_join_refusals_total",
        &[SHARD, REFUSED_STATUS],
        "Handshakes of clients that were refused, by status.",
    ),
    Metric::counter(
        "anteroom_shard_whip_requests_total",
        &[SHARD, STATUS],
        "Requests of WHIP publishers by status: POST (which counts as a join too), PATCH, DELETE.",
    ),
    Metric::counter(
        "anteroom_shard_whep_requests_total",
        &[SHARD, STATUS],
        "Requests of WHEP viewers by status: POST (which counts as a join too), PATCH, DELETE.",
    ),
    Metric::histogram(
        "anteroom_shard_join_seconds",
        &[SHARD, UNTIL],
        "From the request: until the checks are passed and the room is ours (admitted), the first message \
         is out (welcome), the first answer to an offer is out (answer), the media transports are up \
         (connected).",
    ),
    Metric::histogram(
        "anteroom_shard_request_seconds",
        &[SHARD, REQUEST_KIND],
        "From a request head to the head of its answer.",
    ),
    Metric::counter(
        "anteroom_shard_signal_messages_total",
        &[SHARD, DIRECTION],
        "Signalling messages of clients (in) and to them (out).",
    ),
    Metric::counter(
        "anteroom_shard_closes_total",
        &[SHARD, CLOSE_CODE],
        "Signalling connections that the shard closed.",
    ),
    Metric::counter(
        "anteroom_shard_sessions_overflowed_total",
        &[SHARD],
        "Signalling connections closed because the client read too slowly.",
    ),
    Metric::gauge(
        "anteroom_shard_lease_remaining_seconds",
        &[SHARD],
        "For how much longer the shard may serve its rooms. 0: it has no lease. Renewed every second; 3 s \
         at most.",
    ),
    Metric::gauge(
        "anteroom_shard_on_hold",
        &[SHARD],
        "1 while the shard goes on without the directory, by the promises of the others.",
    ),
    Metric::counter(
        "anteroom_shard_rooms_lost_total",
        &[SHARD],
        "Rooms given up: lease ended, taken over, not re-asserted. Alert on it.",
    ),
    Metric::histogram(
        "anteroom_shard_directory_call_seconds",
        &[SHARD],
        "Calls to the directory that were answered.",
    ),
    Metric::counter(
        "anteroom_shard_directory_failures_total",
        &[SHARD],
        "Calls to the directory without an answer.",
    ),
    Metric::counter(
        "anteroom_shard_keeps_total",
        &[SHARD, KEEP_ANSWER],
        "Questions to other shards while the directory is silent.",
    ),
    Metric::counter(
        "anteroom_shard_late_wakes_total",
        &[SHARD],
        "Times the process was not run for 0.3 s when it meant to renew its lease: the machine is \
         overloaded or stood still.",
    ),
    Metric::counter(
        "anteroom_shard_nodes_lost_total",
        &[SHARD],
        "Links to media nodes lost; the rooms there end.",
    ),
    Metric::counter(
        "anteroom_shard_room_moves_total",
        &[SHARD, MOVE_RESULT],
        "Rooms handed over (moved), taken over (came), and moves that failed.",
    ),
    Metric::counter(
        "anteroom_shard_pulls_total",
        &[SHARD, PULL_RESULT],
        "Questions about a participant of a room that came from another shard: told, nothing newer, \
         refused, silent (no answer in 1 s), late (an answer after that: data is delivered).",
    ),
    Metric::gauge(
        "anteroom_shard_drain_rooms_left",
        &[SHARD],
        "Rooms that a drain has left to do.",
    ),
];
