//! All metrics of a gateway.

use observe::{Label, Metric};

/// What a request came to, for operators: the words of `result`.
const REQUEST_RESULT: Label = Label::closed(
    "result",
    &["ok", "refused", "failed", "shard_error", "client_gone"],
);
const CLASS: Label = Label::closed("class", &["1xx", "2xx", "3xx", "4xx", "5xx", "none"]);
const REQUEST_KIND: Label = Label::closed("kind", &["page", "join", "other"]);
const JOIN_RESULT: Label = Label::closed(
    "result",
    &[
        "opened",
        "refused",
        "shard_refused",
        "failed",
        "client_gone",
    ],
);
const PLACED_BY: Label = Label::closed("by", &["hint", "ring", "none"]);
const UPSTREAM_WHY: Label = Label::closed(
    "why",
    &[
        "refused",
        "connect",
        "connect_timeout",
        "no_answer",
        "broken",
    ],
);
const SHARD_STATE: Label = Label::closed("state", &["serving", "draining", "dead"]);
const CONNECTION_WHY: Label = Label::closed("why", &["tls", "tls_timeout", "http2_handshake"]);
const HOLD_RESULT: Label = Label::closed("result", &["placed", "reached", "expired", "full"]);
const STATUS: Label = Label::open("status", "the status that was answered");
const REFUSAL_WHY: Label = Label::open("why", "`request`, or the fault of the request head");

/// All metrics of a gateway.
pub const METRICS: &[Metric] = &[
    Metric::counter(
        "anteroom_gateway_requests_total",
        &[REQUEST_RESULT, CLASS],
        "Ended requests, WebSockets among them. shard_error: a shard answered 5xx; failed: no answer came.",
    ),
    Metric::histogram(
        "anteroom_gateway_answer_seconds",
        &[REQUEST_KIND],
        "From a complete request head to the head of the answer, waiting for a shard included; a join ends \
         with its 101.",
    ),
    Metric::counter(
        "anteroom_gateway_joins_total",
        &[JOIN_RESULT],
        "WebSocket handshakes. refused: by the gateway; shard_refused: a shard answered something else \
         than the WebSocket.",
    ),
    Metric::counter(
        "anteroom_gateway_placements_total",
        &[PLACED_BY],
        "Requests that got a shard: where the room was last seen (hint), by the ring, or none: the request \
         belongs to no room.",
    ),
    Metric::counter(
        "anteroom_gateway_redirects_total",
        &[],
        "421s of shards followed to the room's owner.",
    ),
    Metric::counter(
        "anteroom_gateway_refusals_total",
        &[STATUS, REFUSAL_WHY],
        "Requests refused by the gateway itself.",
    ),
    Metric::counter(
        "anteroom_gateway_upstream_failures_total",
        &[UPSTREAM_WHY],
        "Tries at a shard that failed. The first three reached nobody, and the request waits and is tried \
         again; no_answer: none in time; broken: the connection broke off.",
    ),
    Metric::gauge(
        "anteroom_gateway_connections",
        &[],
        "Client connections open now.",
    ),
    Metric::counter(
        "anteroom_gateway_connections_total",
        &[],
        "Client connections accepted.",
    ),
    Metric::counter(
        "anteroom_gateway_connections_refused_total",
        &[CONNECTION_WHY],
        "Client connections closed before their first request.",
    ),
    Metric::gauge("anteroom_gateway_websockets", &[], "WebSockets open now."),
    Metric::gauge(
        "anteroom_gateway_held_requests",
        &[],
        "Requests that wait now because their shard cannot be reached.",
    ),
    Metric::counter(
        "anteroom_gateway_holds_total",
        &[HOLD_RESULT],
        "Ended waits: placed on another shard, reached the same one, expired (503), full (503 at once: too \
         many wait).",
    ),
    Metric::gauge(
        "anteroom_gateway_shards",
        &[SHARD_STATE],
        "Shards of the topology. dead: without a lease.",
    ),
    Metric::gauge(
        "anteroom_gateway_topology_generation",
        &[],
        "Grows with each change of the list of shards.",
    ),
    Metric::gauge(
        "anteroom_gateway_topology_differs",
        &[],
        "1 while another gateway has announced other shards than this one's file names.",
    ),
    Metric::gauge(
        "anteroom_gateway_hints",
        &[],
        "Rooms of which the gateway knows where they were last seen.",
    ),
    Metric::gauge(
        "anteroom_gateway_directory_rooms",
        &[],
        "Rooms with an owner, as the directory said last.",
    ),
    Metric::gauge(
        "anteroom_gateway_directory_stale",
        &[],
        "1 while the directory does not answer: live rooms go on, new ones get 503.",
    ),
    Metric::gauge(
        "anteroom_gateway_directory_grace",
        &[],
        "1 while idle rooms cannot be opened because the directory has lost its data.",
    ),
    Metric::histogram(
        "anteroom_gateway_directory_call_seconds",
        &[],
        "Calls to the directory that were answered.",
    ),
    Metric::counter(
        "anteroom_gateway_directory_failures_total",
        &[],
        "Calls to the directory without a usable answer.",
    ),
    Metric::gauge(
        "anteroom_rooms_live_on_two_shards",
        &[],
        "Rooms that two shards serve at one time, by their own reports, looked at every 5 s. It must be 0: \
         alert on it, and report it.",
    ),
    Metric::gauge(
        "anteroom_directory_disagreements",
        &[],
        "Rooms that a shard serves although the directory gives them to another one, or to nobody. Alert \
         on it.",
    ),
    Metric::counter("anteroom_reloads_total", &[], "Configuration reloads done."),
    Metric::counter(
        "anteroom_reload_failures_total",
        &[],
        "Configuration reloads refused; everything stayed as it was.",
    ),
    Metric::gauge(
        "anteroom_reload_last_ok",
        &[],
        "1 if the last reload was done, or none was tried; 0 while the file on disk is refused.",
    ),
];
