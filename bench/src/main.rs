//! What stands behind a proxy while it is measured, and what asks it: origins and load for the
//! benches.
//!
//! One process is all origins, another is one kind of load. A load prints lines of JSON and waits for
//! a line on its standard input at each, so that whoever runs it can look at the proxy in between:
//! see [`talk`]. Every answer is checked: status, body, that a room stays with one origin, that an
//! echo has the same bytes. A proxy that answers wrong must not win.
//! Must not: know any proxy.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod answer;
mod cert;
mod crew;
mod frame;
mod hold;
mod http;
mod latency;
mod lease;
mod limit;
mod messages;
mod origin;
mod rooms;
mod sfu;
mod sockets;
mod talk;
mod tally;
mod target;
#[cfg(test)]
mod tests;

use clap::{Parser, Subcommand};

/// Origins and load for the benches.
#[derive(Debug, Parser)]
#[command(name = "bench", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a self-signed certificate for `localhost` (cert.pem, key.pem, both.pem).
    Cert(cert::CertArgs),
    /// Answer requests and echo WebSocket messages, until killed.
    Origin(origin::OriginArgs),
    /// Keep-alive requests, the next when the last is answered.
    Http(http::HttpArgs),
    /// Open WebSockets as fast as they open.
    Upgrade(sockets::UpgradeArgs),
    /// WebSocket messages to and fro, the next when the last is back.
    Messages(messages::MessagesArgs),
    /// Open WebSockets and let them rest.
    Idle(sockets::IdleArgs),
    /// Requests at a fixed rate, timed from the moment at which they were due.
    Latency(latency::LatencyArgs),
    /// WebSockets, requests and new joins at an easy pace, and count what is lost.
    Hold(hold::HoldArgs),
    /// Cameras and crowds that watch them, for a media server.
    Sfu(sfu::SfuArgs),
    /// What a processor can encrypt and send at most.
    Limit(limit::LimitArgs),
    /// Receive what `limit` sends.
    LimitSink(limit::SinkArgs),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Cert(args) => cert::run(&args),
        Command::Origin(args) => origin::run(&args),
        Command::Http(args) => http::run(&args),
        Command::Upgrade(args) => sockets::run_upgrade(&args),
        Command::Messages(args) => messages::run(&args),
        Command::Idle(args) => sockets::run_idle(&args),
        Command::Latency(args) => latency::run(&args),
        Command::Hold(args) => hold::run(&args),
        Command::Sfu(args) => sfu::run(&args),
        Command::Limit(args) => limit::run(&args),
        Command::LimitSink(args) => limit::sink(&args),
    }
}
