//! The one connection of a [`crate::RedisDirectory`], replaced when it breaks.
//!
//! Owns: that there is at most one connection and at most one attempt, and when the next attempt may
//! begin. Must not: repeat a request.
//!
//! A connection that works may lead to a master that was left behind: it answers, and no replica has
//! what it writes. Then the master is looked for anew, beside the connection, which stays if that finds
//! the same server, or none.

use crate::connect::{Facts, Plan};
use crate::error::StartError;
use crate::link::Link;
use crate::probe;
use crate::replicas::Writes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Pause before the first new attempt after a failure.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
/// Longest pause between attempts: leases live for 3 s.
const BACKOFF_MAX: Duration = Duration::from_millis(500);

pub(crate) struct Connector {
    shared: Arc<Shared>,
}

struct Shared {
    plan: Plan,
    state: Mutex<State>,
    /// Counts finished attempts.
    finished: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    current: Option<Current>,
    /// Number of the last connection.
    serial: u64,
    is_attempting: bool,
    /// Failures since the last request that succeeded.
    connecting: Backoff,
    /// Why there is no connection.
    problem: Option<StartError>,
    /// Searches since the last write that enough replicas had.
    searching: Backoff,
    /// How the last one failed.
    search_problem: Option<StartError>,
}

/// When to try again.
#[derive(Default)]
struct Backoff {
    failures: u32,
    not_before: Option<Instant>,
}

/// The present connection.
#[derive(Clone)]
pub(crate) struct Current {
    pub(crate) link: Link,
    pub(crate) facts: Arc<Facts>,
    pub(crate) writes: Arc<Writes>,
    serial: u64,
}

impl Connector {
    pub(crate) fn new(plan: Plan) -> Self {
        Self {
            shared: Arc::new(Shared {
                plan,
                state: Mutex::default(),
                finished: watch::Sender::new(0),
            }),
        }
    }

    /// The connection, or why there is none. Waits for one attempt, after its pause.
    pub(crate) async fn current(&self) -> Result<Current, StartError> {
        let mut finished = self.shared.finished.subscribe();
        {
            let mut state = self.shared.lock();
            if let Some(current) = &state.current {
                return Ok(current.clone());
            }
            if !state.is_attempting {
                state.is_attempting = true;
                // Apart from the caller: one that gives up must not end the attempt for the others.
                tokio::spawn(attempt(Attempt(Arc::clone(&self.shared))));
            }
        }
        // Fails only if the sender is gone, and we hold it.
        let _ = finished.changed().await;
        let state = self.shared.lock();
        match (&state.current, &state.problem) {
            (Some(current), _) => Ok(current.clone()),
            (None, Some(problem)) => Err(problem.clone()),
            (None, None) => Err(StartError::Unreachable {
                address: "the configured address".to_owned(),
                cause: "the attempt to connect broke off".to_owned(),
            }),
        }
    }

    /// Why there was no connection within this time.
    pub(crate) fn problem(&self, waited: Duration) -> StartError {
        let problem = self.shared.lock().problem.clone();
        problem.unwrap_or_else(|| StartError::Timeout {
            address: "the configured address".to_owned(),
            ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// A request on this connection was answered.
    pub(crate) fn succeeded(&self) {
        self.shared.lock().connecting.failures = 0;
    }

    /// Enough replicas have what was written.
    pub(crate) fn confirmed(&self) {
        let mut state = self.shared.lock();
        state.searching.failures = 0;
        state.search_problem = None;
    }

    /// Too few replicas have what was written on this connection: its server may be a master no more.
    /// Looks for the master, unless that was done a moment ago.
    pub(crate) fn doubt(&self, doubted: &Current) {
        let mut state = self.shared.lock();
        let is_present = |current: &Current| current.serial == doubted.serial;
        if state.is_attempting
            || !state.current.as_ref().is_some_and(is_present)
            || !state.searching.is_due()
        {
            return;
        }
        state.searching.failed();
        state.is_attempting = true;
        drop(state);
        self.shared.plan.ask_another();
        tokio::spawn(attempt(Attempt(Arc::clone(&self.shared))));
    }

    /// A request on this connection failed in a way that a new one may mend. Only the first that says
    /// so closes it.
    pub(crate) fn discard(&self, broken: &Current, problem: &StartError) {
        let mut state = self.shared.lock();
        let is_present = |current: &Current| current.serial == broken.serial;
        if state.current.as_ref().is_some_and(is_present) {
            state.current = None;
            state.failed(problem.clone());
            drop(state);
            tracing::warn!(%problem, "redis: connection given up");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backoff {
    fn failed(&mut self) {
        let pause = BACKOFF_FIRST * 2_u32.saturating_pow(self.failures.min(8));
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(Instant::now() + pause.min(BACKOFF_MAX));
    }

    fn is_due(&self) -> bool {
        self.not_before.is_none_or(|at| at <= Instant::now())
    }
}

impl State {
    fn failed(&mut self, problem: StartError) {
        self.connecting.failed();
        self.problem = Some(problem);
    }

    /// The connection to a server, if it is another one than we have.
    fn connected(&mut self, link: Link, facts: Facts) {
        if let Some(current) = &self.current {
            if current.facts.run_id == facts.run_id {
                return;
            }
            tracing::warn!(
                from = current.link.address(),
                to = link.address(),
                "redis: the master is another one now"
            );
        }
        tracing::info!(address = link.address(), "redis: connected");
        // At start this is a refusal. In the middle of things, after a fail-over, it is not: no
        // directory is worse than one that may forget.
        if let Some(problem) = probe::eviction(link.address(), &facts) {
            tracing::error!(%problem, "redis");
        }
        self.serial += 1;
        self.problem = None;
        self.current = Some(Current {
            link,
            facts: Arc::new(facts),
            writes: Arc::default(),
            serial: self.serial,
        });
    }

    /// No connection came of it. Said once, not with every attempt.
    fn not_connected(&mut self, problem: StartError) {
        if self.current.is_some() {
            if self.search_problem.as_ref() != Some(&problem) {
                tracing::warn!(%problem, "redis: too few replicas, and no other master found");
            }
            self.search_problem = Some(problem);
            return;
        }
        if self.problem.as_ref() != Some(&problem) {
            tracing::warn!(%problem, "redis: no connection");
        }
        self.failed(problem);
    }
}

/// Says that the attempt is over, however it ends.
struct Attempt(Arc<Shared>);

impl Drop for Attempt {
    fn drop(&mut self) {
        self.0.lock().is_attempting = false;
        self.0.finished.send_modify(|count| *count += 1);
    }
}

async fn attempt(attempt: Attempt) {
    let shared = &attempt.0;
    let not_before = shared.lock().connecting.not_before;
    if let Some(not_before) = not_before {
        tokio::time::sleep_until(not_before).await;
    }
    let outcome = shared.plan.establish().await;
    let mut state = shared.lock();
    match outcome {
        Ok((link, facts)) => state.connected(link, facts),
        Err(problem) => state.not_connected(problem),
    }
}
