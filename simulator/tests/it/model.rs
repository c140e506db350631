//! Every history within small scopes.

use simulator::Variant;
use simulator::model::{Kind, Scope, scopes};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn no_history_within_the_scopes_has_a_room_live_on_two_shards() {
    for scope in scopes(2, 12) {
        let report = scope.check(2, LIMIT);
        println!(
            "{}: {} states, depth {}, complete: {}",
            scope.name, report.states, report.depth, report.complete
        );
        assert_eq!(report.violation, None, "{}", scope.name);
        assert_eq!(report.never, Vec::<&str>::new(), "{}", scope.name);
    }
}
