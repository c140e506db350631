//! Load for media servers: cameras, and crowds that watch them.
//!
//! One thread is all who watch, another all who send. They join, and then do what they are told, a
//! line each: `measure SECONDS` ([`crew::Crew::measure`]), `watchers N` (so many in each room), `end`.

mod camera;
mod crew;
mod janus;
mod livekit;
mod media;
mod order;
mod plain;
mod player;
mod server;
mod studio;
mod whip;
mod wire;

use crate::crew::runtime;
use crate::talk;
use anyhow::{Context as _, bail, ensure};
use camera::{FRAMES_PER_SECOND, PAYLOAD_BYTES_MIN};
use clap::{Args, ValueEnum};
use crew::Crew;
use serde_json::json;
use std::net::IpAddr;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines, Stdin};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// Largest payload, bytes: a datagram stays below the internet's 1500.
const PAYLOAD_BYTES_MAX: usize = 1200;
/// Of a signalling connection. All of it is cleared at each look at the socket: the usual 128 KiB cost the
/// load a quarter of its time, and the server on the other half of the processor its cache.
const READ_BUFFER_BYTES: usize = 4 * 1024;
/// Longest measurement, seconds.
const SECONDS_MAX: f64 = 600.0;

fn websocket_config() -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES)
}

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Protocol {
    /// LiveKit's.
    Livekit,
    /// `POST /pub/{room}/{name}`, `POST /sub/{room}/{name}?tracks=N`.
    Whip,
    /// Janus' videoroom over a WebSocket.
    Janus,
}

/// Whom to load, and with what.
#[derive(Debug, Args)]
pub(crate) struct SfuArgs {
    /// What the server speaks.
    #[arg(long, value_enum)]
    protocol: Protocol,
    /// Where: a URL with LiveKit's protocol, else an address.
    #[arg(long)]
    to: String,
    /// Where sockets for media are bound: an address of this machine.
    #[arg(long, default_value = "127.0.0.1")]
    bind: IpAddr,
    #[arg(long, default_value_t = 1)]
    rooms: u32,
    /// Participants of a room who send a video, and receive those of the others.
    #[arg(long, default_value_t = 1)]
    publishers: u32,
    /// Participants of a room who only receive.
    #[arg(long, default_value_t = 0)]
    watchers: u32,
    /// Packets of a frame; there are 30 frames a second.
    #[arg(long, default_value_t = 8)]
    packets: u32,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 1150)]
    bytes: usize,
    /// What comes later than this behind the last frame is not delivered.
    #[arg(long, default_value_t = 200)]
    patience_ms: u64,
    #[arg(long, default_value = "devkey")]
    key: String,
    #[arg(long, default_value = "secret")]
    secret: String,
}

/// Opens everybody, then does what it is told.
pub(crate) fn run(args: &SfuArgs) -> anyhow::Result<()> {
    let bytes = PAYLOAD_BYTES_MIN..=PAYLOAD_BYTES_MAX;
    ensure!(bytes.contains(&args.bytes), "--bytes is not in {bytes:?}");
    ensure!(
        args.publishers > 0 && args.packets > 0,
        "nothing would be sent"
    );
    runtime()?.block_on(converse(args)).inspect_err(|error| {
        // Whoever runs us shows it beside the server's name.
        let _ = talk::say(&json!({ "event": "failed", "error": format!("{error:#}") }));
    })
}

async fn converse(args: &SfuArgs) -> anyhow::Result<()> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut crew = Crew::open(args).await?;
    talk::say(&json!({ "event": "ready", "join_seconds": crew.join_seconds() }))?;
    while let Some(line) = lines.next_line().await.context("read standard input")? {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("measure"), Some(seconds)) => measure(&mut crew, seconds, &mut lines).await?,
            (Some("watchers"), Some(count)) => {
                crew.set_watchers(count.parse().context("a number of watchers")?)
                    .await?;
                talk::say(&json!({ "event": "ready", "join_seconds": crew.join_seconds() }))?;
            }
            (Some("end"), None) => break,
            _ => bail!("cannot '{line}'"),
        }
    }
    crew.close().await;
    Ok(())
}

async fn measure(
    crew: &mut Crew,
    seconds: &str,
    lines: &mut Lines<BufReader<Stdin>>,
) -> anyhow::Result<()> {
    let seconds: f64 = seconds.parse().context("a number of seconds")?;
    ensure!(seconds > 0.0 && seconds <= SECONDS_MAX, "{seconds} seconds");
    let frames = (seconds * f64::from(FRAMES_PER_SECOND)).ceil() as u32;
    crew.be_quiet().await;
    talk::say(&json!({ "event": "start" }))?;
    lines.next_line().await.context("read standard input")?;
    let mut result = crew.measure(frames).await;
    result["event"] = json!("result");
    talk::say(&result)?;
    // Whoever runs us reads the server's clocks first.
    lines.next_line().await.context("read standard input")?;
    crew.warm_up();
    Ok(())
}
