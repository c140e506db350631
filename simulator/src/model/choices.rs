//! What may happen next in a state, and what must be possible in a scope.

use super::state::{
    Condition, Fault, Kind, SHARDS, SLIP_TICKS, Scope, Slip, State, Topic, WITNESSES, Way,
};

impl Scope {
    pub(super) fn choices(&self, state: &State, choices: &mut Vec<Fault>) {
        choices.push(Fault::Tick);
        choices.extend((0..state.late.len()).map(Fault::Late));
        self.repairs(state, choices);
        if state.faults >= self.faults {
            return;
        }
        for kind in self.kinds {
            self.troubles(*kind, state, choices);
        }
    }

    pub(super) fn repairs(&self, state: &State, choices: &mut Vec<Fault>) {
        for (number, shard) in state.shards.iter().enumerate() {
            if shard.way != Way::Open {
                choices.push(Fault::Link(number, Way::Open));
            }
            if shard.lonely {
                choices.push(Fault::Lonely(number, false));
            }
            if shard.paused {
                choices.push(Fault::Pause(number, false));
            }
        }
        for (number, witness) in state.witnesses.iter().enumerate() {
            if witness.way != Way::Open {
                choices.push(Fault::Witness(number, Way::Open));
            }
        }
        if state.down_since.is_some() {
            choices.push(Fault::Down(false));
        }
    }

    pub(super) fn troubles(&self, kind: Kind, state: &State, choices: &mut Vec<Fault>) {
        let shards = || state.shards.iter().enumerate();
        let running = || {
            shards()
                .filter(|(_, shard)| !shard.paused)
                .map(|(number, _)| number)
        };
        let mut ways = |way| {
            let others = shards().filter(|(_, shard)| shard.way != way);
            choices.extend(others.map(|(number, _)| Fault::Link(number, way)));
        };
        match kind {
            Kind::Cut => ways(Way::Cut),
            Kind::Late => {
                for topic in [Topic::Renew, Topic::Claim, Topic::Held] {
                    ways(Way::LateReply(topic));
                    ways(Way::LateRequest(topic));
                }
            }
            Kind::Slip => {
                if state.slipped.is_none_or(|at| state.tick >= at + SLIP_TICKS) {
                    let slips = (0..SHARDS).flat_map(|n| [Slip::SlowShard(n), Slip::FastShard(n)]);
                    choices.extend(slips.map(Fault::Slip));
                    choices.extend((0..WITNESSES).map(Slip::FastWitness).map(Fault::Slip));
                }
            }
            Kind::Witness => {
                // They are alike.
                if state
                    .witnesses
                    .iter()
                    .all(|witness| witness.way == Way::Open)
                {
                    choices.push(Fault::Witness(0, Way::Cut));
                    choices.push(Fault::Witness(0, Way::LateRequest(Topic::Said)));
                }
            }
            Kind::Lonely => {
                let lonely = shards().filter(|(_, shard)| !shard.lonely);
                choices.extend(lonely.map(|(number, _)| Fault::Lonely(number, true)));
            }
            Kind::Crash => choices.extend(running().map(Fault::Crash)),
            Kind::Pause => choices.extend(running().map(|number| Fault::Pause(number, true))),
            Kind::Down if state.down_since.is_none() => choices.push(Fault::Down(true)),
            Kind::Down => {}
            Kind::FailOver => choices.push(Fault::NewLife { topology: true }),
            Kind::LoseData => choices.push(Fault::NewLife { topology: false }),
            Kind::Release | Kind::Transfer => self.goodbyes(kind, state, choices),
        }
    }

    pub(super) fn goodbyes(&self, kind: Kind, state: &State, choices: &mut Vec<Fault>) {
        for (room, shard, _) in state.live() {
            if state.shards[shard].paused {
                continue;
            }
            if kind == Kind::Release {
                choices.push(Fault::Release(shard, room));
                continue;
            }
            let others = (0..SHARDS).filter(|to| *to != shard);
            choices.extend(others.map(|to| Fault::Transfer(shard, room, to)));
        }
    }

    /// What must be possible within the scope, or it shows nothing.
    pub(super) fn sometimes(&self) -> Vec<(&'static str, Condition)> {
        let has = |kind| self.kinds.contains(&kind);
        let mut all: Vec<(&'static str, Condition)> = Vec::new();
        if has(Kind::Cut) || has(Kind::Crash) || has(Kind::Pause) {
            all.push((
                "a room is taken over when its owner's lease has ended",
                |_, state| {
                    !state.handed_over && state.live().iter().any(|(_, shard, _)| *shard == 2)
                },
            ));
        }
        if has(Kind::FailOver) || has(Kind::LoseData) {
            all.push(("a room is kept over a loss of data", |_, state| {
                let kept = |(_, shard, epoch): &(usize, usize, u64)| {
                    let machine = &state.shards[*shard].machine;
                    let now = state.shards[*shard].clock(state.tick);
                    machine.directory() == Some(state.directory.incarnation())
                        && machine.lease(now).is_ok()
                        && *epoch < 1 << 17
                };
                state.lives > 1 && !state.directory.view().grace && state.live().iter().any(kept)
            }));
        }
        if has(Kind::Down) && self.hold_ms > 0 {
            all.push((
                "a room is live without the directory for longer than a lease",
                |_, state| {
                    let long = state.down_since.is_some_and(|since| state.tick > since + 6);
                    long && !state.live().is_empty()
                },
            ));
        }
        if has(Kind::Transfer) {
            all.push(("a room is handed over", |_, state| {
                state.handed_over && state.live().iter().any(|(_, shard, _)| *shard == 2)
            }));
        }
        all
    }
}

pub(super) fn costs(fault: Fault) -> bool {
    !matches!(
        fault,
        Fault::Tick
            | Fault::Late(_)
            | Fault::Link(_, Way::Open)
            | Fault::Witness(_, Way::Open)
            | Fault::Lonely(_, false)
            | Fault::Pause(_, false)
            | Fault::Down(false)
    )
}
