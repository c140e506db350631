//! WebSockets, requests and new joins at an easy pace, for as long as somebody does something to the
//! proxy, and what of them is lost.

use crate::answer::Then;
use crate::crew::runtime;
use crate::frame::Ping;
use crate::http::Client;
use crate::rooms::Rooms;
use crate::sockets::{exchange, open};
use crate::talk::{self, Clock};
use crate::target::{PATIENCE, Target, TargetArgs, Wire};
use anyhow::anyhow;
use bytes::BytesMut;
use clap::Args;
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// A message over each WebSocket this often.
const MESSAGE_EVERY: Duration = Duration::from_millis(200);
/// A request over each kept connection this often.
const REQUEST_EVERY: Duration = Duration::from_millis(20);
/// A new WebSocket this often, which says one thing and goes.
const JOIN_EVERY: Duration = Duration::from_millis(20);
/// Bytes of a message.
const BYTES: usize = 100;

/// What to hold.
#[derive(Debug, Args)]
pub(crate) struct HoldArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// WebSockets that stay.
    #[arg(long, default_value_t = 200)]
    sockets: usize,
    /// Kept connections with requests.
    #[arg(long, default_value_t = 16)]
    requests: usize,
}

/// What became of everything.
#[derive(Default)]
struct Seen {
    messages: u64,
    /// WebSockets that ended or lost a message.
    lost: u64,
    requests: u64,
    /// Requests that met a connection just closed and were sent again, as any client does.
    retried: u64,
    /// Connections that were closed after an answer that said so.
    closed: u64,
    /// Requests without an answer, the second time too.
    failed: u64,
    joins: u64,
    failed_joins: u64,
    first_error: Option<String>,
}

/// What all tasks share.
struct Held {
    target: Target,
    rooms: Arc<Rooms>,
    stop: AtomicBool,
    seen: Mutex<Seen>,
}

impl Held {
    fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn blame(&self, error: String, change: impl FnOnce(&mut Seen)) {
        self.note(|seen| {
            change(seen);
            seen.first_error.get_or_insert(error);
        });
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }
}

/// Holds everything from the first word to the second, and reports.
pub(crate) fn run(args: &HoldArgs) -> anyhow::Result<()> {
    let held = Arc::new(Held {
        target: Target::new(&args.target)?,
        rooms: Arc::new(Rooms::new()),
        stop: AtomicBool::new(false),
        seen: Mutex::default(),
    });
    let runtime = runtime()?;
    let sockets = runtime.block_on(async {
        let mut sockets = Vec::new();
        for number in 0..args.sockets {
            let opened = open(&held.target, &held.rooms, number).await;
            sockets.push(opened.map_err(|error| anyhow!(error))?);
        }
        anyhow::Ok(sockets)
    })?;
    talk::cue("ready")?;
    let clock = Clock::start();
    let word = Arc::clone(&held);
    thread::spawn(move || {
        let _ = talk::wait();
        word.stop.store(true, Ordering::Relaxed);
    });
    runtime.block_on(hold_all(&held, sockets, args.requests));
    let (seconds, own_cpu) = clock.stop();
    let seen = held.seen.lock().unwrap_or_else(PoisonError::into_inner);
    talk::result(json!({
        "seconds": seconds,
        "own_cpu": own_cpu,
        "threads": 1,
        "sockets": args.sockets,
        "messages": seen.messages,
        "lost": seen.lost,
        "requests": seen.requests,
        "retried": seen.retried,
        "closed": seen.closed,
        "failed": seen.failed,
        "joins": seen.joins,
        "failed_joins": seen.failed_joins,
        "first_error": seen.first_error,
    }))
}

async fn hold_all(held: &Arc<Held>, sockets: Vec<Wire>, clients: usize) {
    let mut tasks = JoinSet::new();
    for (number, wire) in sockets.into_iter().enumerate() {
        tasks.spawn(hold_socket(Arc::clone(held), wire, number));
    }
    for number in 0..clients {
        tasks.spawn(keep_asking(Arc::clone(held), number));
    }
    tasks.spawn(keep_joining(Arc::clone(held)));
    // One that panicked counts for nothing, and all are ours.
    while tasks.join_next().await.is_some() {}
}

async fn talk_once(wire: &mut Wire, ping: &mut Ping, buffer: &mut BytesMut) -> Result<(), String> {
    let exchanged = timeout(PATIENCE, exchange(wire, ping, buffer)).await;
    exchanged.unwrap_or_else(|_| Err("no echo".to_owned()))
}

async fn hold_socket(held: Arc<Held>, mut wire: Wire, number: usize) {
    let (mut ping, mut buffer) = (Ping::new(BYTES), BytesMut::new());
    // Not all at the same moment.
    let offset = u32::try_from(number % 100).unwrap_or_default();
    sleep(MESSAGE_EVERY * offset / 100).await;
    while held.goes_on() {
        match talk_once(&mut wire, &mut ping, &mut buffer).await {
            Ok(()) => held.note(|seen| seen.messages += 1),
            Err(error) => {
                held.blame(format!("WebSocket: {error}"), |seen| seen.lost += 1);
                return;
            }
        }
        sleep(MESSAGE_EVERY).await;
    }
}

async fn keep_asking(held: Arc<Held>, number: usize) {
    let mut kept: Option<Client> = None;
    while held.goes_on() {
        sleep(REQUEST_EVERY).await;
        let outcome = match kept.take() {
            Some(client) => match ask(client).await {
                Err(_) => {
                    held.note(|seen| seen.retried += 1);
                    ask_afresh(&held, number).await
                }
                answered => answered,
            },
            None => ask_afresh(&held, number).await,
        };
        match outcome {
            Ok((client, Then::Stay)) => {
                held.note(|seen| seen.requests += 1);
                kept = Some(client);
            }
            Ok((_, Then::Close)) => held.note(|seen| {
                seen.requests += 1;
                seen.closed += 1;
            }),
            Err(error) => held.blame(format!("request: {error}"), |seen| seen.failed += 1),
        }
    }
}

async fn ask_afresh(held: &Held, number: usize) -> Result<(Client, Then), String> {
    let client = Client::open(&held.target, Arc::clone(&held.rooms), number).await?;
    ask(client).await
}

async fn ask(mut client: Client) -> Result<(Client, Then), String> {
    let exchanged = timeout(PATIENCE, client.exchange()).await;
    let then = exchanged.unwrap_or_else(|_| Err("no answer".to_owned()))?;
    Ok((client, then))
}

async fn keep_joining(held: Arc<Held>) {
    let (mut ping, mut buffer) = (Ping::new(BYTES), BytesMut::new());
    let mut number = 0;
    while held.goes_on() {
        sleep(JOIN_EVERY).await;
        number += 1;
        let joined = async {
            let mut wire = open(&held.target, &held.rooms, number).await?;
            talk_once(&mut wire, &mut ping, &mut buffer).await
        };
        match joined.await {
            Ok(()) => held.note(|seen| seen.joins += 1),
            Err(error) => held.blame(format!("join: {error}"), |seen| seen.failed_joins += 1),
        }
    }
}
