//! The phases of a join, and how long each takes.

use crate::distribution::{Distribution, Quantiles};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What has been reached. The order is the usual one; a phase lasts from the one reached before it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// TCP, TLS and the answer to the HTTP request (101).
    Http,
    /// The answer to the join over the WebSocket.
    Websocket,
    /// A pair of addresses that works.
    Ice,
    /// Keys.
    Dtls,
    /// The first media packet of anybody.
    FirstPacket,
    /// The first frame that could be shown.
    FirstFrame,
}

impl Phase {
    /// All, in their usual order.
    pub const ALL: [Self; 6] = [
        Self::Http,
        Self::Websocket,
        Self::Ice,
        Self::Dtls,
        Self::FirstPacket,
        Self::FirstFrame,
    ];

    /// For a reader.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Websocket => "WebSocket",
            Self::Ice => "ICE",
            Self::Dtls => "DTLS",
            Self::FirstPacket => "first packet",
            Self::FirstFrame => "first frame",
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Http => 0,
            Self::Websocket => 1,
            Self::Ice => 2,
            Self::Dtls => 3,
            Self::FirstPacket => 4,
            Self::FirstFrame => 5,
        }
    }
}

/// One join as it goes on.
#[derive(Clone, Debug)]
pub struct Join {
    began_ns: u64,
    reached_ns: [Option<u64>; Phase::ALL.len()],
}

impl Join {
    /// A join that begins now (nanoseconds since the start of the run).
    #[must_use]
    pub fn begin(now_ns: u64) -> Self {
        Self {
            began_ns: now_ns,
            reached_ns: [None; Phase::ALL.len()],
        }
    }

    /// A phase is over; only the first time counts.
    pub fn reach(&mut self, phase: Phase, now_ns: u64) {
        if let Some(reached) = self.reached_ns.get_mut(phase.index()) {
            reached.get_or_insert(now_ns);
        }
    }

    /// True once this phase was reached.
    #[must_use]
    pub fn has_reached(&self, phase: Phase) -> bool {
        self.reached_ns
            .get(phase.index())
            .is_some_and(Option::is_some)
    }
}

/// The joins of a run.
#[derive(Clone, Debug, Default)]
pub struct Joins {
    attempted: u64,
    succeeded: u64,
    failed: u64,
    phases: [Distribution; Phase::ALL.len()],
    connected: Distribution,
    total: Distribution,
}

impl Joins {
    /// Takes a join that ended: well, or not. A failed one counts in no distribution, so that quick
    /// refusals do not look like quick joins.
    pub fn finish(&mut self, join: &Join, succeeded: bool) {
        self.attempted += 1;
        if !succeeded {
            self.failed += 1;
            return;
        }
        self.succeeded += 1;
        let since = |from: u64, to: u64| Duration::from_nanos(to.saturating_sub(from));
        let mut before = join.began_ns;
        for (reached, phase) in join.reached_ns.iter().zip(&mut self.phases) {
            // A phase that was passed over (nobody publishes video) lasts no time and counts nowhere.
            if let Some(reached) = *reached {
                phase.record(since(before, reached));
                before = before.max(reached);
            }
        }
        let dtls = join.reached_ns.get(Phase::Dtls.index()).copied().flatten();
        if let Some(reached) = dtls {
            self.connected.record(since(join.began_ns, reached));
        }
        self.total.record(since(join.began_ns, before));
    }

    /// Takes in what another worker saw.
    pub fn merge(&mut self, other: &Self) {
        self.attempted += other.attempted;
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        for (ours, theirs) in self.phases.iter_mut().zip(&other.phases) {
            ours.merge(theirs);
        }
        self.connected.merge(&other.connected);
        self.total.merge(&other.total);
    }

    /// What a report says.
    #[must_use]
    pub fn report(&self) -> JoinReport {
        let phases = Phase::ALL.iter().zip(&self.phases);
        JoinReport {
            attempted: self.attempted,
            succeeded: self.succeeded,
            failed: self.failed,
            phases: phases
                .filter_map(|(phase, times)| {
                    Some(PhaseReport {
                        phase: *phase,
                        times: times.quantiles()?,
                    })
                })
                .collect(),
            connected: self.connected.quantiles(),
            total: self.total.quantiles(),
        }
    }
}

/// The joins in a report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JoinReport {
    /// Joins begun and ended.
    pub attempted: u64,
    /// Those that came to an end well.
    pub succeeded: u64,
    /// Those that did not.
    pub failed: u64,
    /// The phases that were reached, in order, each from the end of the one before.
    pub phases: Vec<PhaseReport>,
    /// From the start until media can flow (HTTP to DTLS).
    pub connected: Option<Quantiles>,
    /// From the start to the last phase reached.
    pub total: Option<Quantiles>,
}

/// One phase in a report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseReport {
    /// Which.
    pub phase: Phase,
    /// How long it took.
    pub times: Quantiles,
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn each_phase_lasts_from_the_one_before() {
        let mut join = Join::begin(1000 * MS);
        for (phase, at) in [
            (Phase::Http, 1010),
            (Phase::Websocket, 1030),
            (Phase::Ice, 1060),
            (Phase::Dtls, 1100),
            (Phase::FirstPacket, 1150),
            (Phase::FirstFrame, 1210),
        ] {
            assert!(!join.has_reached(phase));
            join.reach(phase, at * MS);
            join.reach(phase, 9999 * MS);
        }
        let mut joins = Joins::default();
        joins.finish(&join, true);
        let report = joins.report();
        let seen: Vec<f64> = report
            .phases
            .iter()
            .map(|phase| phase.times.p50_ms)
            .collect();
        for (seen, exact) in seen.iter().zip([10.0, 20.0, 30.0, 40.0, 50.0, 60.0]) {
            assert!((seen - exact).abs() <= exact / 50.0, "{seen} for {exact}");
        }
        assert!((report.connected.unwrap().p50_ms - 100.0).abs() < 2.0);
        assert!((report.total.unwrap().p50_ms - 210.0).abs() < 4.0);
    }

    #[test]
    fn what_is_passed_over_and_what_fails_is_in_no_distribution() {
        let mut joins = Joins::default();
        let mut join = Join::begin(0);
        join.reach(Phase::Http, 5 * MS);
        join.reach(Phase::Ice, 15 * MS);
        joins.finish(&join, true);
        joins.finish(&Join::begin(0), false);
        let mut all = Joins::default();
        all.merge(&joins);
        let report = all.report();
        assert_eq!(
            (report.attempted, report.succeeded, report.failed),
            (2, 1, 1)
        );
        let phases: Vec<Phase> = report.phases.iter().map(|phase| phase.phase).collect();
        assert_eq!(phases, [Phase::Http, Phase::Ice]);
        assert!(report.connected.is_none());
        assert_eq!(report.total.unwrap().count, 1);
    }
}
