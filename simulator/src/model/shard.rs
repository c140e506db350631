//! One shard in the model: the real machine and its clock.

use super::state::Way;
use super::step::instant;
use affinity::directory::{Epoch, Incarnation};
use affinity::ownership::{Ownership, RequestId};
use std::collections::BTreeMap;
use std::time::Instant;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ShardState {
    pub(super) machine: Ownership,
    /// Which process.
    pub(super) life: u16,
    /// Ticks lost and gained by its clock.
    pub(super) slow: u16,
    pub(super) fast: u16,
    pub(super) way: Way,
    pub(super) lonely: bool,
    pub(super) paused: bool,
    /// Calls without an answer: when they were sent, true time, and which room they hand over.
    pub(super) calls: BTreeMap<RequestId, (u16, Option<(usize, Epoch)>)>,
    /// What a wrong variant believes beyond the machine.
    pub(super) believed: BTreeMap<usize, Epoch>,
}

impl ShardState {
    pub(super) fn new(number: usize, incarnation: Incarnation, tick: u16) -> Self {
        let id = format!("s{number}").into();
        Self {
            machine: Ownership::new(id, incarnation, instant(tick)),
            life: 0,
            slow: 0,
            fast: 0,
            way: Way::Open,
            lonely: false,
            paused: false,
            calls: BTreeMap::new(),
            believed: BTreeMap::new(),
        }
    }

    pub(super) fn clock(&self, tick: u16) -> Instant {
        instant(tick + self.fast - self.slow)
    }
}
