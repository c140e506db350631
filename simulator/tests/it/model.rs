//! Every history within small scopes, as far as a few seconds go: breadth first, so the short ones.

use simulator::model::scopes;
use std::time::Duration;

/// For each scope.
const LIMIT: Duration = Duration::from_secs(6);

#[test]
fn no_short_history_within_the_scopes_has_a_room_live_on_two_shards() {
    for scope in scopes(2, 8) {
        let report = scope.check(2, LIMIT);
        println!(
            "{}: {} states, depth {}, complete: {}",
            scope.name, report.states, report.depth, report.complete
        );
        assert_eq!(report.violation, None, "{}", scope.name);
        assert!(report.states > 100, "{}", scope.name);
    }
}
