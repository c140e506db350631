//! One life of the link to the shard: commands are prepared and passed to the media thread, events
//! come back, figures go out once a second. A new link means a new engine.

use crate::cpu::CpuMeter;
use crate::engine::{Engine, EngineConfig, Prepared, TransportFactory};
use crate::figures::{Figures, Gauges};
use crate::media_thread::{COMMANDS_MAX, End, MediaThread, Start, panic_text};
use crate::node::NodeError;
use crate::ports::Sockets;
use proto::link::{LINK_QUEUE_MESSAGES, NodeEnd};
use proto::media::{MEDIA_PROTOCOL, NodeCommand, NodeEvent, TurnOffer};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
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

/// Serves one link until it ends.
pub(crate) async fn run(
    config: EngineConfig,
    sockets: Sockets,
    link: NodeEnd,
    turn: Option<TurnOffer>,
    gauges: &mut Gauges,
    shutdown: &CancellationToken,
) -> Result<LinkEnd, NodeError> {
    let NodeEnd { commands, events } = link;
    let hello = NodeEvent::Hello {
        node: config.node.clone(),
        protocol: MEDIA_PROTOCOL,
        turn,
    };
    if events.try_send(hello).is_err() {
        return Ok(LinkEnd::Closed);
    }

    let (prepared_tx, prepared_rx) = mpsc::channel(COMMANDS_MAX);
    let (figures_tx, figures_rx) = watch::channel(Figures::default());
    let factory = TransportFactory::new(&config);
    let mut media = MediaThread::spawn(Start {
        engine: Engine::new(config, Instant::now()),
        sockets,
        commands: prepared_rx,
        events: events.clone(),
        figures: figures_tx,
    })?;

    let mut passing = Box::pin(pass_commands(
        commands,
        factory,
        prepared_tx,
        events.clone(),
    ));
    let mut reporting = Box::pin(report(figures_rx, events, gauges));
    let outcome = tokio::select! {
        biased;
        () = shutdown.cancelled() => Ok(LinkEnd::Shutdown),
        ended = media.ended() => return ended.map(link_end),
        end = &mut reporting => end,
        end = &mut passing => Ok(end),
    };
    // Dropping the commands' sender stops the thread.
    drop(passing);
    drop(reporting);
    match timeout(STOP_LIMIT, media.ended()).await {
        Ok(Ok(_)) => outcome,
        Ok(Err(error)) => Err(error),
        Err(_) => Err(NodeError::MediaThreadStuck(STOP_LIMIT)),
    }
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
    mut commands: mpsc::Receiver<NodeCommand>,
    factory: TransportFactory,
    prepared: mpsc::Sender<Prepared>,
    events: mpsc::Sender<NodeEvent>,
) -> LinkEnd {
    let mut arrived = Vec::with_capacity(PREPARE_BATCH);
    let mut waiting: VecDeque<NodeCommand> = VecDeque::new();
    let mut preparing = None;
    loop {
        if preparing.is_none() && !waiting.is_empty() {
            let batch: Vec<_> = waiting.drain(..waiting.len().min(PREPARE_BATCH)).collect();
            let factory = factory.clone();
            preparing = Some(tokio::task::spawn_blocking(move || {
                let prepare = |command| prepare(&factory, command);
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
                let (urgent, others): (Vec<_>, Vec<_>) = arrived
                    .drain(..)
                    .partition(|command| matches!(command, NodeCommand::Owned { .. }));
                waiting.extend(others);
                let urgent = urgent.into_iter().map(|command| prepare(&factory, command));
                if !pass(urgent.collect(), &prepared, &events).await {
                    return LinkEnd::Closed;
                }
            }
            outcomes = finished(&mut preparing) => {
                preparing = None;
                // Fails only if the runtime shuts down.
                let Ok(outcomes) = outcomes else {
                    return LinkEnd::Closed;
                };
                if !pass(outcomes, &prepared, &events).await {
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
async fn pass(
    outcomes: Vec<Outcome>,
    prepared: &mpsc::Sender<Prepared>,
    events: &mpsc::Sender<NodeEvent>,
) -> bool {
    for outcome in outcomes {
        let passed = match outcome {
            Outcome::Prepared(command) => prepared.send(command).await.is_ok(),
            Outcome::Refused(event) => events.try_send(event).is_ok(),
            Outcome::Lost => true,
        };
        if !passed {
            return false;
        }
    }
    true
}

enum Outcome {
    Prepared(Prepared),
    /// It hit a fault in the parser; the shard is told.
    Refused(NodeEvent),
    /// It hit a fault, and there is nothing to tell.
    Lost,
}

/// Prepares one command. SDP comes from strangers and its parser is large: a panic there costs the
/// one offer, not the node.
fn prepare(factory: &TransportFactory, command: NodeCommand) -> Outcome {
    let refusal = refusal_of(&command);
    let attempt = AssertUnwindSafe(|| factory.prepare(command, Instant::now()));
    match catch_unwind(attempt) {
        Ok(prepared) => Outcome::Prepared(prepared),
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

/// Passes the media thread's figures on as they come, each second, and watches its pulse.
async fn report(
    mut figures: watch::Receiver<Figures>,
    events: mpsc::Sender<NodeEvent>,
    gauges: &mut Gauges,
) -> Result<LinkEnd, NodeError> {
    let mut cpu = CpuMeter::default();
    loop {
        next_figures(&mut figures).await?;
        let now = figures.borrow_and_update().clone();
        let cpu_load = cpu.measure();
        gauges.publish(&now, cpu_load);
        let mut report = now.report;
        report.cpu_load = cpu_load;
        match events.try_send(NodeEvent::Report(report)) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Ok(LinkEnd::Stalled),
            Err(mpsc::error::TrySendError::Closed(_)) => return Ok(LinkEnd::Closed),
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

    #[tokio::test]
    async fn what_the_shard_says_of_its_ownership_passes_a_burst_of_other_commands() {
        let config = EngineConfig {
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
            commands_tx.try_send(slow).unwrap();
        }
        let owned = NodeCommand::Owned {
            nonce: 1,
            for_ms: 1,
        };
        commands_tx.try_send(owned).unwrap();
        let factory = TransportFactory::new(&config);
        let passing = tokio::spawn(pass_commands(commands, factory, prepared_tx, events));
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
