//! A thread with its share of the participants.

use super::clock::Clock;
use super::desk::{Common, Desk};
use super::orders::{self, Order};
use super::participant::{Participant, Ticket};
use crate::collect::Collector;
use crate::plan::{Action, Step};
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Time from look to look at how many are connected.
const TICK: Duration = Duration::from_millis(250);
/// How long all may take to leave. Beyond: their clients are aborted.
const LEAVE_WITHIN: Duration = Duration::from_secs(10);

/// A step of the plan, with the participant's number in the run.
pub(super) struct Task {
    pub(super) number: usize,
    pub(super) step: Step,
}

/// Deals the steps out: all of one participant to one worker, neighbours to different ones.
pub(super) fn deal(steps: Vec<Step>, workers: usize) -> Vec<Vec<Task>> {
    let mut shares: Vec<Vec<Task>> = (0..workers).map(|_| Vec::new()).collect();
    let mut numbers: HashMap<Arc<str>, usize> = HashMap::new();
    for step in steps {
        let next = numbers.len();
        let number = *numbers.entry(Arc::clone(&step.identity)).or_insert(next);
        if let Some(share) = shares.get_mut(number % workers.max(1)) {
            share.push(Task { number, step });
        }
    }
    shares
}

/// Starts a worker; it ends with the plan, or soon after `stop`.
pub(super) fn start(
    common: Arc<Common>,
    tasks: Vec<Task>,
    number: usize,
    stop: CancellationToken,
) -> io::Result<JoinHandle<Collector>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let thread = std::thread::Builder::new().name(format!("load-{number}"));
    thread.spawn(move || {
        let worker = Worker {
            desk: Arc::new(Desk::new(common)),
            present: HashMap::new(),
            tasks: JoinSet::new(),
            stop,
        };
        let collector = runtime.block_on(worker.work(tasks));
        // Whatever is still looked up or closed somewhere shall not hold up the end.
        runtime.shutdown_background();
        collector
    })
}

struct Worker {
    desk: Arc<Desk>,
    /// Who can be given orders.
    present: HashMap<Arc<str>, mpsc::Sender<Order>>,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Worker {
    async fn work(mut self, tasks: Vec<Task>) -> Collector {
        for task in tasks {
            let at = self.clock().at(task.step.at);
            if !self.wait_until(at).await {
                break;
            }
            self.handle(task);
        }
        // All channels are closed: that is the order to leave.
        self.present.clear();
        let everybody = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(LEAVE_WITHIN, everybody).await.is_err() {
            self.tasks.shutdown().await;
        }
        self.desk.take()
    }

    fn clock(&self) -> &Clock {
        &self.desk.common.clock
    }

    /// False: the run ends.
    async fn wait_until(&mut self, at: Instant) -> bool {
        loop {
            let now = Instant::now();
            if !self.desk.is_over(now) {
                let connected = self.desk.connected();
                self.desk
                    .collector()
                    .handle_participants(connected, self.desk.ns(now));
            }
            while self.tasks.try_join_next().is_some() {}
            if self.stop.is_cancelled() {
                return false;
            }
            if now >= at {
                return true;
            }
            let until = at.min(now + TICK);
            tokio::select! {
                () = tokio::time::sleep_until(until.into()) => {}
                () = self.stop.cancelled() => return false,
            }
        }
    }

    fn handle(&mut self, task: Task) {
        let Task { number, step } = task;
        match step.action {
            Action::Join { publish } => {
                let ticket = Ticket {
                    room: step.room,
                    identity: step.identity,
                    publishes: publish,
                    number,
                };
                self.join(ticket);
            }
            Action::Leave => {
                self.present.remove(&step.identity);
            }
            ref action => {
                let order = Order::of(action);
                let channel = self.present.get(&step.identity);
                if let (Some(order), Some(channel)) = (order, channel)
                    && let Err(mpsc::error::TrySendError::Full(_)) = channel.try_send(order)
                {
                    let now = Instant::now();
                    self.desk
                        .note_error("participant hangs", &step.identity, now);
                }
            }
        }
    }

    fn join(&mut self, ticket: Ticket) {
        let settings = &self.desk.common.settings;
        match settings.token(&ticket.room, &ticket.identity, ticket.publishes) {
            Ok(token) => {
                let (sender, orders) = orders::channel();
                self.present.insert(Arc::clone(&ticket.identity), sender);
                let desk = Arc::clone(&self.desk);
                self.tasks
                    .spawn(Participant::new(desk, ticket, token, orders).live());
            }
            Err(error) => {
                self.desk
                    .note_error("no token", &error.to_string(), Instant::now());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{PlanSettings, Profile};
    use std::collections::BTreeSet;

    #[test]
    fn a_participant_has_one_worker_and_workers_have_about_the_same() {
        let plan = PlanSettings {
            rooms: 3,
            people: 5,
            ..PlanSettings::new(Profile::Torture)
        };
        let shares = deal(plan.plan().unwrap(), 4);
        let people: Vec<BTreeSet<&str>> = shares
            .iter()
            .map(|share| share.iter().map(|task| &*task.step.identity).collect())
            .collect();
        for (index, some) in people.iter().enumerate() {
            assert!(
                people
                    .iter()
                    .skip(index + 1)
                    .all(|others| others.is_disjoint(some))
            );
        }
        let sizes: Vec<usize> = people.iter().map(BTreeSet::len).collect();
        assert!(
            sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1,
            "{sizes:?}"
        );
        for share in &shares {
            let times: Vec<Duration> = share.iter().map(|task| task.step.at).collect();
            assert!(times.is_sorted());
        }
    }
}
