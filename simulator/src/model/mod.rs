//! The same protocol code as a state machine whose every step is explored.
//!
//! Three shards, two rooms, two witnesses, one directory. Time goes in ticks of a sixth of a lease.
//! Whoever can claim does so at once: at every tick each shard asks for each room that it does not
//! own, so the only choices are faults and what operators do. Each of them is tried at every moment, up
//! to a budget; healing is free.
//!
//! Owns: the states and what may follow them. Must not: decide what is right: that is in
//! [`properties`](Scope::check).

mod choices;
mod scopes;
mod shard;
mod state;
mod step;

pub use scopes::scopes;
pub use state::{Fault, Kind, Scope, Slip, State, Topic, Way};

use crate::variant::Variant;
use stateright::{Checker, CheckerBuilder, HasDiscoveries, Model, Property};
use std::time::{Duration, Instant};

/// What a search found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Different states.
    pub states: usize,
    /// Longest path.
    pub depth: usize,
    /// Everything within the scope was looked at.
    pub complete: bool,
    /// Time taken.
    pub took: Duration,
    /// A path to a room that is live twice, readable.
    pub violation: Option<String>,
    /// Things that must be possible, and were not seen.
    pub never: Vec<&'static str>,
}

const SAFE: &str = "no room is live on two shards";

impl Model for Scope {
    type State = State;
    type Action = Fault;

    fn init_states(&self) -> Vec<State> {
        self.beginnings()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Fault>) {
        if state.tick < self.first_tick() + self.ticks {
            self.choices(state, actions);
        }
    }

    fn next_state(&self, last: &State, fault: Fault) -> Option<State> {
        let mut state = last.clone();
        self.apply(&mut state, fault);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![Property::always(SAFE, |_, state: &State| state.is_safe())];
        for (name, condition) in self.sometimes() {
            properties.push(Property::sometimes(name, condition));
        }
        properties
    }
}

impl Scope {
    /// Explores the scope, at most for so long. What it finds is as short as may be.
    pub fn check(&self, threads: usize, limit: Duration) -> Report {
        self.search(threads, limit, |builder| builder.spawn_bfs().join())
    }

    /// Explores a large scope, with less memory.
    pub fn check_large(&self, threads: usize, limit: Duration) -> Report {
        self.search(threads, limit, |builder| builder.spawn_dfs().join())
    }

    fn search<C: Checker<Self>>(
        &self,
        threads: usize,
        limit: Duration,
        spawn: impl FnOnce(CheckerBuilder<Self>) -> C,
    ) -> Report {
        let start = Instant::now();
        let wanted: Vec<&'static str> = self.sometimes().iter().map(|(name, _)| *name).collect();
        let builder = self.clone().checker().threads(threads).timeout(limit);
        let unsafe_found = HasDiscoveries::AnyOf([SAFE].into());
        let checker = spawn(builder.finish_when(unsafe_found));
        let found = checker.discoveries();
        let violation = found.get(SAFE).map(|path| {
            let steps: Vec<String> = path
                .clone()
                .into_actions()
                .iter()
                .map(|a| format!("{a:?}"))
                .collect();
            let last = path.last_state();
            format!(
                "{} steps: {}; live: {:?}",
                steps.len(),
                steps.join(", "),
                last.live()
            )
        });
        Report {
            states: checker.unique_state_count(),
            depth: checker.max_depth(),
            complete: violation.is_none() && start.elapsed() < limit,
            took: start.elapsed(),
            violation,
            never: wanted
                .into_iter()
                .filter(|name| !found.contains_key(name))
                .collect(),
        }
    }

    /// The same scope for a wrong version.
    #[must_use]
    pub fn with(mut self, variant: Variant) -> Self {
        self.variant = Some(variant);
        self
    }
}
