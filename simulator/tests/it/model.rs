//! Every history within small scopes.

use simulator::Variant;
use simulator::model::{Kind, Scope, scopes};
use std::time::Duration;

/// For each scope: on a busy machine the search ends before it is complete, and says so. `make
/// nightly` runs to the end.
const LIMIT: Duration = Duration::from_secs(5);

/// The search for a wrong version ends with what it finds, in half a minute at most on a free machine.
const CATCH: Duration = Duration::from_secs(300);

#[test]
fn no_short_history_within_the_scopes_has_a_room_live_on_two_shards() {
    for scope in scopes(2, 7) {
        let report = scope.check_large(2, LIMIT);
        println!("{}: {report:?}", scope.name);
        assert_eq!(report.violation, None, "{}", scope.name);
        assert!(report.states > 1_000, "{}", scope.name);
    }
}

#[test]
fn what_the_scopes_are_about_happens_in_them() {
    for scope in scopes(1, 10) {
        let report = scope.check_large(2, CATCH);
        assert_eq!(report.violation, None, "{}", scope.name);
        assert_eq!(report.never, Vec::<&str>::new(), "{}", scope.name);
    }
}

fn scope(kinds: &'static [Kind], faults: u8, hold_ms: u64) -> Scope {
    let (name, ticks, variant) = ("wrong", 10, None);
    Scope {
        name,
        ticks,
        faults,
        kinds,
        hold_ms,
        variant,
    }
}

fn catches(variant: Variant, scope: Scope) {
    let report = scope.with(variant).check(2, CATCH);
    println!("{variant:?}: {report:?}");
    assert!(report.violation.is_some(), "{variant:?}: {report:?}");
}

const HOLD_MS: u64 = 60_000;

#[test]
fn no_self_fence() {
    catches(Variant::NoSelfFence, scope(&[Kind::Cut], 1, 0));
}

#[test]
fn a_deadline_counted_from_receipt() {
    let kinds = &[Kind::Late, Kind::Cut];
    catches(Variant::DeadlineFromReceipt, scope(kinds, 2, 0));
}

#[test]
fn no_margin_for_clocks_that_run_wrong() {
    catches(Variant::NoMargin, scope(&[Kind::Slip, Kind::Cut], 2, 0));
}

#[test]
fn no_grace() {
    let kinds = &[Kind::FailOver, Kind::Cut];
    catches(Variant::NoGrace, scope(kinds, 2, 0));
}

#[test]
fn a_grace_that_waits_for_nobody() {
    let kinds = &[Kind::FailOver, Kind::Cut];
    catches(Variant::GraceWaitsForNobody, scope(kinds, 3, HOLD_MS));
}

#[test]
fn hold_without_promises() {
    let kinds = &[Kind::Cut, Kind::Lonely];
    catches(Variant::HoldWithoutPromises, scope(kinds, 2, HOLD_MS));
}

#[test]
fn a_promise_that_is_broken() {
    let kinds = &[Kind::Cut, Kind::Lonely];
    catches(Variant::PromiseBroken, scope(kinds, 2, HOLD_MS));
}

#[test]
fn a_life_that_the_owner_did_not_know_inherits() {
    catches(
        Variant::UnknownLifeInherits,
        scope(&[Kind::Cut], 2, HOLD_MS),
    );
}

#[test]
fn a_transfer_taken_back_when_its_outcome_is_unknown() {
    let kinds = &[Kind::Transfer, Kind::Late];
    catches(Variant::TransferTakenBack, scope(kinds, 2, HOLD_MS));
}

#[test]
fn an_owner_that_goes_on_until_it_hears_of_its_transfer() {
    let kinds = &[Kind::Transfer, Kind::Late];
    catches(Variant::LiveDuringTransfer, scope(kinds, 2, HOLD_MS));
}
