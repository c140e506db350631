//! Opening WebSockets: how fast, and what they hold when nothing happens on them.

use crate::answer::take_acceptance;
use crate::crew::{Measured, runtime};
use crate::frame::Ping;
use crate::rooms::Rooms;
use crate::talk::{self, Clock};
use crate::tally::Tally;
use crate::target::{PATIENCE, Target, TargetArgs, Wire};
use bytes::BytesMut;
use clap::Args;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How much is read at once of the answer to a handshake: it is one packet.
const READ_BYTES: usize = 1024;
/// Bytes of the one message that an idle WebSocket carries: a LiveKit ping.
const SMALL: usize = 32;

/// How to open.
#[derive(Debug, Args)]
pub(crate) struct UpgradeArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// WebSockets to open. They stay open until the end.
    #[arg(long, default_value_t = 3_000)]
    count: usize,
    /// How many handshakes at the same time.
    #[arg(long, default_value_t = 32)]
    at_once: usize,
}

/// How to rest.
#[derive(Debug, Args)]
pub(crate) struct IdleArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// WebSockets to open. They stay open until the end.
    #[arg(long, default_value_t = 9_000)]
    count: usize,
    /// How many handshakes at the same time.
    #[arg(long, default_value_t = 32)]
    at_once: usize,
}

/// Opens all, timed, and reports.
pub(crate) fn run_upgrade(args: &UpgradeArgs) -> anyhow::Result<()> {
    let (target, rooms) = (Target::new(&args.target)?, Arc::new(Rooms::new()));
    let runtime = runtime()?;
    talk::cue("ready")?;
    let clock = Clock::start();
    let (sockets, tally) = runtime.block_on(open_many(&target, &rooms, args.count, args.at_once));
    let (seconds, own_cpu) = clock.stop();
    let measured = Measured {
        tally,
        seconds,
        own_cpu,
        threads: 1,
    };
    talk::result(measured.to_json())?;
    drop(sockets);
    Ok(())
}

/// Opens all, lets them be looked at, sends a message over each, lets them be looked at again.
pub(crate) fn run_idle(args: &IdleArgs) -> anyhow::Result<()> {
    let (target, rooms) = (Target::new(&args.target)?, Arc::new(Rooms::new()));
    let runtime = runtime()?;
    talk::cue("ready")?;
    let clock = Clock::start();
    let opened = runtime.block_on(open_many(&target, &rooms, args.count, args.at_once));
    let (sockets, mut tally) = opened;
    let (seconds, own_cpu) = clock.stop();
    talk::cue("opened")?;
    let (sockets, used) = runtime.block_on(use_all(sockets, args.at_once));
    tally.errors += used.errors;
    tally.first_error = tally.first_error.or(used.first_error);
    talk::cue("used")?;
    let measured = Measured {
        tally,
        seconds,
        own_cpu,
        threads: 1,
    };
    talk::result(measured.to_json())?;
    drop(sockets);
    Ok(())
}

/// One WebSocket, from the connection to the 101.
pub(crate) async fn open(target: &Target, rooms: &Rooms, number: usize) -> Result<Wire, String> {
    let mut wire = target.connect().await?;
    let shaken = timeout(PATIENCE, shake_hands(&mut wire, rooms, number)).await;
    shaken.map_err(|_| "no answer to a handshake".to_owned())??;
    Ok(wire)
}

async fn shake_hands(wire: &mut Wire, rooms: &Rooms, number: usize) -> Result<(), String> {
    let room = rooms.get(number)?;
    let sent = async {
        wire.write_all(&room.handshake).await?;
        wire.flush().await
    };
    sent.await
        .map_err(|error| format!("sending a handshake: {error}"))?;
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    loop {
        match wire.read_buf(&mut buffer).await {
            Ok(0) => return Err("closed instead of a 101".to_owned()),
            Ok(_) => {}
            Err(error) => return Err(format!("reading a 101: {error}")),
        }
        if take_acceptance(&mut buffer, room)? {
            return Ok(());
        }
    }
}

/// One message and its echo.
pub(crate) async fn exchange(
    wire: &mut Wire,
    ping: &mut Ping,
    buffer: &mut BytesMut,
) -> Result<(), String> {
    ping.next();
    let sent = async {
        wire.write_all(&ping.sent).await?;
        wire.flush().await
    };
    sent.await
        .map_err(|error| format!("sending a message: {error}"))?;
    buffer.clear();
    while buffer.len() < ping.expected.len() {
        buffer.reserve(ping.expected.len());
        match wire.read_buf(buffer).await {
            Ok(0) => return Err("closed instead of an echo".to_owned()),
            Ok(_) => {}
            Err(error) => return Err(format!("reading an echo: {error}")),
        }
    }
    if *buffer == ping.expected {
        return Ok(());
    }
    Err("an echo of other bytes".to_owned())
}

async fn open_many(
    target: &Target,
    rooms: &Arc<Rooms>,
    count: usize,
    at_once: usize,
) -> (Vec<Wire>, Tally) {
    let begun = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..at_once.max(1) {
        let (target, rooms, begun) = (target.clone(), Arc::clone(rooms), Arc::clone(&begun));
        tasks.spawn(async move {
            let (mut sockets, mut tally) = (Vec::new(), Tally::default());
            loop {
                let number = begun.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return (sockets, tally);
                }
                let opened = open(&target, &rooms, number).await;
                tally.count(opened.map(|wire| sockets.push(wire)));
            }
        });
    }
    gather(tasks).await
}

async fn use_all(mut sockets: Vec<Wire>, at_once: usize) -> (Vec<Wire>, Tally) {
    let mut tasks = JoinSet::new();
    let share = sockets.len().div_ceil(at_once.max(1)).max(1);
    while !sockets.is_empty() {
        let mut mine = sockets.split_off(sockets.len().saturating_sub(share));
        tasks.spawn(async move {
            let (mut ping, mut buffer) = (Ping::new(SMALL), BytesMut::new());
            let mut tally = Tally::default();
            for wire in &mut mine {
                let exchanged = timeout(PATIENCE, exchange(wire, &mut ping, &mut buffer)).await;
                tally.count(exchanged.unwrap_or_else(|_| Err("no echo".to_owned())));
            }
            (mine, tally)
        });
    }
    gather(tasks).await
}

async fn gather(mut tasks: JoinSet<(Vec<Wire>, Tally)>) -> (Vec<Wire>, Tally) {
    let (mut all, mut sum) = (Vec::new(), Tally::default());
    while let Some(done) = tasks.join_next().await {
        match done {
            Ok((sockets, tally)) => {
                all.extend(sockets);
                sum.add(tally);
            }
            Err(error) => {
                sum.count::<()>(Err(format!("a task: {error}")));
            }
        }
    }
    (all, sum)
}
