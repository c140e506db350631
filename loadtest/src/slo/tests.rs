//! Files of objectives, good and bad, and what runs reach of them.

use super::*;
use crate::distribution::Quantiles;
use std::path::Path;

fn parse(text: &str) -> Result<Slo, String> {
    Slo::parse(Path::new("slo.yaml"), text).map_err(|error| error.to_string())
}

fn mistake(text: &str) -> String {
    parse(text).expect_err("a mistake")
}

fn report() -> Report {
    let mut report = Report::default();
    report.joins.total = Some(Quantiles {
        p95_ms: 1000.0,
        ..Quantiles::default()
    });
    report.media.packets_received = 10;
    report.media.loss = 0.002;
    report
}

#[test]
fn limits_are_numbers_and_shares() {
    let slo = parse("join_p95_ms: 1000\nloss_max: 0.1%\nfreeze_ratio_max: 0.01\nerrors_max: 0\n");
    let expected = Slo {
        join_p95_ms: Some(Amount(1000.0)),
        loss_max: Some(Share(0.001)),
        freeze_ratio_max: Some(Share(0.01)),
        errors_max: Some(Amount(0.0)),
        ..Slo::default()
    };
    assert_eq!(slo, Ok(expected));
}

#[test]
fn each_mistake_names_its_place_the_word_and_what_was_meant() {
    let unknown = mistake("errors_max: 0\njoin_p59_ms: 1000\n");
    assert_eq!(
        unknown,
        "slo.yaml, line 2, column 1: unknown objective 'join_p59_ms': did you mean 'join_p95_ms'?"
    );
    let far = mistake("colour: red\n");
    assert!(
        far.contains("unknown objective 'colour': known are join_p50_ms, "),
        "{far}"
    );
    let percent = mistake("loss_max: 0.1%\njoin_p95_ms: 10%\n");
    assert!(
        percent.starts_with("slo.yaml, line 2, column "),
        "{percent}"
    );
    assert!(percent.contains("a number of 0 or more"), "{percent}");
    let large = mistake("loss_max: 5\n");
    assert!(
        large.contains("line 1") && large.contains("5 is no share"),
        "{large}"
    );
    let negative = mistake("errors_max: -1\n");
    assert!(negative.contains("-1 is no limit"), "{negative}");
    let kind = mistake("loss_max: [1]\n");
    assert!(
        kind.contains("line 1") && kind.contains("a share, as 0.1% or 0.001"),
        "{kind}"
    );
    let syntax = mistake("loss_max: 0.1\n\t- x\n");
    assert!(syntax.starts_with("slo.yaml, line "), "{syntax}");
    let empty = mistake("{}\n");
    assert_eq!(
        empty,
        "slo.yaml: no objective in it: add one, as `loss_max: 0.1%`"
    );
}

#[test]
fn a_limit_that_is_reached_exactly_is_kept_and_a_larger_value_is_not() {
    let slo = parse("join_p95_ms: 1000\nloss_max: 0.1%\nerrors_max: 0\n").unwrap();
    let rows = slo.evaluate(&report());
    let seen: Vec<_> = rows
        .iter()
        .map(|row| (row.name.as_str(), row.value, row.passed))
        .collect();
    let expected = [
        ("join_p95_ms", Some(1000.0), true),
        ("loss_max", Some(0.002), false),
        ("errors_max", Some(0.0), true),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn an_objective_of_which_nothing_was_measured_is_missed() {
    let slo = parse("latency_p99_ms: 100\nfreeze_ratio_max: 1\nserver_cpu_cores_max: 8\n").unwrap();
    let rows = slo.evaluate(&report());
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|row| !row.passed && row.value.is_none()));
}
