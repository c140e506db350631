//! What must hold for every byte sequence that a stranger may send us.
//!
//! Owns: one harness per parser of foreign bytes, each asserting more than that nothing panics, and
//! their table [`TARGETS`]. `tests/replay.rs` runs them over `corpus/`, `libfuzzer/` under a fuzzer.
//! Must not: be needed by any program.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a harness reports what it finds by panicking"
)]

mod client;
mod datagrams;
mod edge;
mod established;
mod feedback;
mod join;
mod media;
mod names;
mod peer;
mod relay;
mod routing;
mod sdp;
mod secrets;
mod signal;
mod turn;
mod whip;
mod world;

pub use client::{client_datagrams, client_sdp, client_signal, client_upgrade};
pub use datagrams::datagrams;
pub use edge::request_head;
pub use established::established;
pub use feedback::feedback;
pub use join::join_parameters;
pub use media::{data_packet, payloads, stream_frames};
pub use names::room_key;
pub use peer::peer_message;
pub use relay::{relay_datagrams, relay_hello, relay_message};
pub use routing::routing;
pub use sdp::{candidates, sdp_answer, sdp_offer};
pub use secrets::{access_token, signed_context};
pub use signal::{signal_binary, signal_text};
pub use turn::turn_messages;
pub use whip::{ice_fragment, resource_offer};

/// A harness and the name of its corpus folder.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Folder below `corpus/`, and file below `libfuzzer/fuzz_targets/`.
    pub name: &'static str,
    /// Panics if a property does not hold for these bytes.
    pub run: fn(&[u8]),
}

/// All harnesses.
pub const TARGETS: &[Target] = &[
    target("access_token", access_token),
    target("candidates", candidates),
    target("client_datagrams", client_datagrams),
    target("client_sdp", client_sdp),
    target("client_signal", client_signal),
    target("client_upgrade", client_upgrade),
    target("data_packet", data_packet),
    target("datagrams", datagrams),
    target("established", established),
    target("feedback", feedback),
    target("ice_fragment", ice_fragment),
    target("join_parameters", join_parameters),
    target("payloads", payloads),
    target("peer_message", peer_message),
    target("relay_datagrams", relay_datagrams),
    target("relay_hello", relay_hello),
    target("relay_message", relay_message),
    target("request_head", request_head),
    target("resource_offer", resource_offer),
    target("room_key", room_key),
    target("routing", routing),
    target("sdp_answer", sdp_answer),
    target("sdp_offer", sdp_offer),
    target("signal_binary", signal_binary),
    target("signal_text", signal_text),
    target("signed_context", signed_context),
    target("stream_frames", stream_frames),
    target("turn_messages", turn_messages),
];

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}

/// A wall clock for tokens and contexts, seconds since the Unix epoch.
const NOW_S: u64 = 1_800_000_000;

/// The pieces of an input that is a sequence of records: two bytes of length (big-endian), one of
/// flags, the contents. A record that is cut off ends where the input does.
fn records(mut data: &[u8]) -> Vec<(u8, &[u8])> {
    let mut records = Vec::new();
    while let [high, low, flags, rest @ ..] = data {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (contents, tail) = rest.split_at(length);
        records.push((*flags, contents));
        data = tail;
    }
    records
}
