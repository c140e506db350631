//! One life of the link to the shard: commands are prepared and passed to the media thread of the worker
//! that they are for, events come back, figures go out once a second. A new link means new engines.

use crate::cpu::{self, CpuMeter};
use crate::engine::{Engine, EngineConfig, Prepared, TransportFactory};
use crate::exchange::{Exchange, Mailbox, Postman};
use crate::figures::{Figures, Gauges};
use crate::media_thread::{COMMANDS_MAX, End, MediaThread, Start, panic_text};
use crate::node::{NodeError, Stop};
use crate::ports::Sockets;
use proto::link::{LINK_QUEUE_MESSAGES, NodeEnd};
use proto::media::{MEDIA_PROTOCOL, NodeCommand, NodeEvent, NodePeer, ToWorker, TurnOffer};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Commands prepared in one go. Each may take some milliseconds.
const PREPARE_BATCH: usize = 16;
/// Commands that may wait to be prepared: as many as may wait on the link. When there are more, the
/// link's own queue fills.
const WAITING_MAX: usize = LINK_QUEUE_MESSAGES;
/// How long the media thread may show no sign of life. It shows one each second.
const MEDIA_SILENCE_LIMIT: Duration = Duration::from_secs(10);
/// How long the media thread may take to stop before it is left behind.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Why a link ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkEnd {
    /// We were asked to stop.
    Shutdown,
    /// The shard or the connection is gone.
    Closed,
    /// The shard took no events any more.
    Stalled,
}

/// What a worker is made of.
pub(crate) struct NewWorker {
    pub(crate) config: EngineConfig,
    pub(crate) sockets: Sockets,
}

/// The way of commands to a worker.
#[derive(Clone)]
struct Lane {
    factory: TransportFactory,
    prepared: mpsc::Sender<Prepared>,
}

/// What the node says of itself at first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offer {
    pub(crate) turn: Option<TurnOffer>,
    /// Where other nodes reach it.
    pub(crate) relay: Option<SocketAddr>,
}

/// Serves one link until it ends.
pub(crate) async fn run(
    workers: Vec<NewWorker>,
    exchange: &Arc<Exchange>,
    link: NodeEnd,
    offer: Offer,
    gauges: &mut Gauges,
    stop: &Stop,
) -> Result<LinkEnd, NodeError> {
    let NodeEnd { commands, events } = link;
    let Some(first) = workers.first() else {
        return Ok(LinkEnd::Closed);
    };
    let hello = NodeEvent::Hello {
        node: first.config.node.clone(),
        protocol: MEDIA_PROTOCOL,
        turn: offer.turn,
        workers: u16::try_from(workers.len()).unwrap_or(u16::MAX),
        relay: offer.relay,
    };
    if events.try_send(hello).is_err() {
        return Ok(LinkEnd::Closed);
    }

    let (mut threads, mut lanes, mut figures) = (Vec::new(), Vec::new(), Vec::new());
    let mail = exchange.open(workers.len());
    for (worker, mail) in workers.into_iter().zip(mail) {
        let (thread, lane, figures_rx) = start(worker, mail, &events)?;
        threads.push(thread);
        lanes.push(lane);
        figures.push(figures_rx);
    }
    let peers = |peers| exchange.set_peers(peers);
    let mut passing = Box::pin(pass_commands(commands, lanes, peers, events.clone()));
    let leave = &stop.when_empty;
    let mut reporting = Box::pin(report(figures, exchange, leave, events, gauges));
    let outcome = tokio::select! {
        biased;
        () = stop.now.cancelled() => Ok(LinkEnd::Shutdown),
        ended = first_end(&mut threads) => ended.map(link_end),
        end = &mut reporting => end,
        end = &mut passing => Ok(end),
    };
    // Dropping the commands' senders stops the threads.
    drop(passing);
    drop(reporting);
    end(threads).await?;
    outcome
}

fn start(
    worker: NewWorker,
    (mailbox, postman): (Mailbox, Postman),
    events: &mpsc::Sender<NodeEvent>,
) -> Result<(MediaThread, Lane, watch::Receiver<Figures>), NodeError> {
    let NewWorker { config, sockets } = worker;
    let (prepared, commands) = mpsc::channel(COMMANDS_MAX);
    let (figures_tx, figures_rx) = watch::channel(Figures::default());
    let factory = TransportFactory::new(&config);
    let thread = MediaThread::spawn(Start {
        engine: Engine::new(config, Instant::now()),
        sockets,
        commands,
        mailbox,
        postman,
        events: events.clone(),
        figures: figures_tx,
    })?;
    Ok((thread, Lane { factory, prepared }, figures_rx))
}

/// Waits for the end of any thread, which is the end of the link. Cancel safe.
async fn first_end(threads: &mut [MediaThread]) -> Result<End, NodeError> {
    poll_fn(|cx| {
        let mut ended = threads.iter_mut().map(|it| pin!(it.ended()).poll(cx));
        ended.find(Poll::is_ready).unwrap_or(Poll::Pending)
    })
    .await
}

/// Waits until all threads have stopped; those that have ended before say nothing again.
async fn end(threads: Vec<MediaThread>) -> Result<(), NodeError> {
    for mut thread in threads.into_iter().filter(|thread| !thread.has_ended()) {
        match timeout(STOP_LIMIT, thread.ended()).await {
            Ok(ended) => drop(ended?),
            Err(_) => return Err(NodeError::MediaThreadStuck(STOP_LIMIT)),
        }
    }
    Ok(())
}

fn link_end(end: End) -> LinkEnd {
    match end {
        End::Stopped | End::LinkClosed => LinkEnd::Closed,
        End::LinkStalled => LinkEnd::Stalled,
    }
}

/// Prepares commands and hands them on, strictly in order: a subscription must not overtake the
/// publication it is about, even of another participant. Only what the shard says of its ownership
/// passes the others: it comes too late soon, and a burst of joins takes seconds to prepare.
async fn pass_commands(
    mut commands: mpsc::Receiver<ToWorker>,
    lanes: Vec<Lane>,
    set_peers: impl Fn(Vec<NodePeer>),
    events: mpsc::Sender<NodeEvent>,
) -> LinkEnd {
    let lanes: Arc<[Lane]> = lanes.into();
    let mut arrived = Vec::with_capacity(PREPARE_BATCH);
    let mut waiting: VecDeque<ToWorker> = VecDeque::new();
    let mut preparing = None;
    loop {
        if preparing.is_none() && !waiting.is_empty() {
            let batch: Vec<_> = waiting.drain(..waiting.len().min(PREPARE_BATCH)).collect();
            let lanes = Arc::clone(&lanes);
            preparing = Some(tokio::task::spawn_blocking(move || {
                let prepare = |message| prepare(&lanes, message);
                batch.into_iter().map(prepare).collect::<Vec<_>>()
            }));
        }
        tokio::select! {
            count = commands.recv_many(&mut arrived, PREPARE_BATCH),
                if waiting.len() < WAITING_MAX =>
            {
                if count == 0 {
                    return LinkEnd::Closed;
                }
                let (urgent, others): (Vec<ToWorker>, Vec<_>) = arrived
                    .drain(..)
                    .partition(|message| matches!(message.command, NodeCommand::Owned { .. }));
                for message in others {
                    match message.command {
                        // Of the node, not of a worker.
                        NodeCommand::SetPeers(peers) => set_peers(peers),
                        _ => waiting.push_back(message),
                    }
                }
                let urgent = urgent.into_iter().map(|message| prepare(&lanes, message));
                if !pass(urgent.collect(), &lanes, &events).await {
                    return LinkEnd::Closed;
                }
            }
            outcomes = finished(&mut preparing) => {
                preparing = None;
                // Fails only if the runtime shuts down.
                let Ok(outcomes) = outcomes else {
                    return LinkEnd::Closed;
                };
                if !pass(outcomes, &lanes, &events).await {
                    return LinkEnd::Closed;
                }
            }
        }
    }
}

/// The end of the task, or never without one.
async fn finished<T>(task: &mut Option<JoinHandle<T>>) -> Result<T, JoinError> {
    match task {
        Some(task) => task.await,
        None => std::future::pending().await,
    }
}

/// Hands prepared commands on; false if nobody takes them any more.
async fn pass(outcomes: Vec<Outcome>, lanes: &[Lane], events: &mpsc::Sender<NodeEvent>) -> bool {
    for outcome in outcomes {
        let passed = match outcome {
            Outcome::Prepared(worker, command) => match lane(lanes, worker) {
                Some(lane) => lane.prepared.send(command).await.is_ok(),
                None => true,
            },
            Outcome::Refused(event) => events.try_send(event).is_ok(),
            Outcome::Lost => true,
        };
        if !passed {
            return false;
        }
    }
    true
}

fn lane(lanes: &[Lane], worker: u16) -> Option<&Lane> {
    lanes.get(usize::from(worker))
}

enum Outcome {
    Prepared(u16, Prepared),
    /// It hit a fault in the parser; the shard is told.
    Refused(NodeEvent),
    /// It hit a fault, and there is nothing to tell.
    Lost,
}

/// Prepares one command. SDP comes from strangers and its parser is large: a panic there costs the
/// one offer, not the node.
fn prepare(lanes: &[Lane], message: ToWorker) -> Outcome {
    let ToWorker { worker, command } = message;
    let Some(lane) = lane(lanes, worker) else {
        return Outcome::Lost;
    };
    let refusal = refusal_of(&command);
    let attempt = AssertUnwindSafe(|| lane.factory.prepare(command, Instant::now()));
    match catch_unwind(attempt) {
        Ok(prepared) => Outcome::Prepared(worker, prepared),
        Err(payload) => {
            let fault = panic_text(payload.as_ref());
            tracing::error!(
                fault,
                "a command could not be prepared: a fault in this program"
            );
            refusal.map_or(Outcome::Lost, Outcome::Refused)
        }
    }
}

/// What the shard hears if this command hits a fault.
fn refusal_of(command: &NodeCommand) -> Option<NodeEvent> {
    match command {
        NodeCommand::Offer {
            participant,
            offer_id,
            ..
        }
        | NodeCommand::Answer {
            participant,
            offer_id,
            ..
        } => Some(NodeEvent::Refused {
            participant: participant.clone(),
            offer_id: *offer_id,
            reason: "the description hit a fault in the node".to_owned(),
        }),
        _ => None,
    }
}

/// Passes the media threads' figures on as they come, each second, and watches their pulse.
async fn report(
    mut figures: Vec<watch::Receiver<Figures>>,
    exchange: &Exchange,
    leave: &CancellationToken,
    events: mpsc::Sender<NodeEvent>,
    gauges: &mut Gauges,
) -> Result<LinkEnd, NodeError> {
    let mut cpu = CpuMeter::default();
    let mut drains = false;
    loop {
        let mut now = Figures::default();
        for worker in &mut figures {
            next_figures(worker).await?;
            now.add(&worker.borrow_and_update());
        }
        let cpu_load = cpu.measure();
        now.relay_dropped = exchange.dropped();
        now.relay = exchange.relay_figures();
        gauges.publish(&now, cpu_load);
        let mut report = now.report;
        report.cpu_load = cpu_load;
        report.sys_load = cpu::sys_load();
        report.stress = now.pulse.stress as f32;
        // The shard knows for a second at least before an empty node ends.
        if drains && report.participants == 0 {
            return Ok(LinkEnd::Shutdown);
        }
        let begins = leave.is_cancelled() && !std::mem::replace(&mut drains, leave.is_cancelled());
        let draining = begins.then_some(NodeEvent::Draining);
        for event in draining.into_iter().chain([NodeEvent::Report(report)]) {
            match events.try_send(event) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(_)) => return Ok(LinkEnd::Stalled),
                Err(mpsc::error::TrySendError::Closed(_)) => return Ok(LinkEnd::Closed),
            }
        }
    }
}

/// Waits for new figures of the media thread, which is stuck if there are none for too long.
async fn next_figures(figures: &mut watch::Receiver<Figures>) -> Result<(), NodeError> {
    // In two halves: a process that was stopped for a while finds one of them over, and waits on.
    for _ in 0..2 {
        match timeout(MEDIA_SILENCE_LIMIT / 2, figures.changed()).await {
            Ok(Ok(())) => return Ok(()),
            // The thread has ended, and says why elsewhere.
            Ok(Err(_)) => std::future::pending::<()>().await,
            Err(_) => {}
        }
    }
    Err(NodeError::MediaThreadStuck(MEDIA_SILENCE_LIMIT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::id::{NodeId, ParticipantSid};
    use proto::media::Target;

    #[tokio::test(start_paused = true)]
    async fn a_media_thread_without_figures_is_stuck_in_time_and_one_that_ended_is_not() {
        let (figures_tx, mut figures) = watch::channel(Figures::default());
        figures_tx.send_replace(Figures::default());
        next_figures(&mut figures).await.unwrap();
        let began = tokio::time::Instant::now();
        let stuck = next_figures(&mut figures).await;
        assert!(matches!(stuck, Err(NodeError::MediaThreadStuck(_))));
        assert_eq!(began.elapsed(), MEDIA_SILENCE_LIMIT);
        drop(figures_tx);
        let ended = timeout(2 * MEDIA_SILENCE_LIMIT, next_figures(&mut figures));
        assert!(ended.await.is_err(), "says nothing");
    }

    fn to_worker(command: NodeCommand) -> ToWorker {
        ToWorker { worker: 0, command }
    }

    #[tokio::test]
    async fn what_the_shard_says_of_its_ownership_passes_a_burst_of_other_commands() {
        let config = EngineConfig {
            estimates: true,
            node: NodeId::new("n1"),
            candidates: Vec::new(),
            worker: 0,
            seed: 1,
        };
        let (commands_tx, commands) = mpsc::channel(LINK_QUEUE_MESSAGES);
        let (prepared_tx, mut prepared) = mpsc::channel(COMMANDS_MAX);
        let (events, _events) = mpsc::channel(1);
        for _ in 0..500 {
            let slow = NodeCommand::Candidate {
                participant: ParticipantSid::new("PA_1"),
                target: Target::Publisher,
                candidate: String::new(),
            };
            commands_tx.try_send(to_worker(slow)).unwrap();
        }
        let owned = NodeCommand::Owned {
            nonce: 1,
            for_ms: 1,
        };
        commands_tx.try_send(to_worker(owned)).unwrap();
        let lane = Lane {
            factory: TransportFactory::new(&config),
            prepared: prepared_tx,
        };
        let passing = tokio::spawn(pass_commands(commands, vec![lane], drop, events));
        let mut order = Vec::new();
        while order.len() < 501 {
            order.push(prepared.recv().await.unwrap().is_owned());
        }
        let place = order.iter().position(|owned| *owned).unwrap();
        assert!(place < 500, "{place}");
        drop(commands_tx);
        assert_eq!(passing.await.unwrap(), LinkEnd::Closed);
    }
}
