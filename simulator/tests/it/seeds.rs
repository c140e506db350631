//! A fixed choice of seeds; the nightly command runs many more.

use simulator::{Counts, Params, World};

const SEEDS: u64 = 600;

#[test]
fn no_room_is_ever_live_on_two_shards_and_all_that_is_asked_of_histories_holds() {
    let mut sum = Counts::default();
    for seed in 0..SEEDS {
        let outcome = World::new(Params::from_seed(seed)).run();
        if let Some(violation) = outcome.violation {
            panic!(
                "seed {seed}: {violation}; see `cargo run -p simulator -- --seeds 1 --from {seed}`"
            );
        }
        sum.add(&outcome.counts);
    }
    // A protocol that never lets anybody own anything would pass all that.
    assert!(
        sum.accepts > 40 * SEEDS && sum.intervals > 5 * SEEDS,
        "{sum:?}"
    );
    let rare = [
        sum.fences,
        sum.lost,
        sum.reasserted,
        sum.transfers,
        sum.stays,
        sum.accepts_on_hold,
        sum.promises,
        sum.relays,
        sum.held,
        sum.graces,
        sum.excused,
        sum.redirects,
        sum.waits,
        sum.rehomed_ms.len() as u64,
    ];
    assert!(rare.iter().all(|count| *count > 0), "{sum:?}");
}

#[test]
fn a_seed_is_a_run() {
    for seed in [3, 17] {
        let run = || World::new(Params::from_seed(seed)).run();
        assert_eq!(run().counts, run().counts);
    }
}
