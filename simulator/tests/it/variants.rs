//! Every wrong version of the protocol is caught, and the right one passes the same runs.

use simulator::{Engine, Fault, Kind, Link, Params, Variant, Way, World};

/// Seeds tried before a variant counts as not caught.
const SEEDS: u64 = 300;

fn catches(variant: Variant, kinds: &[Kind], params: impl Fn(u64) -> Params) {
    let caught = (0..SEEDS).find_map(|seed| {
        let wrong = Params {
            variant: Some(variant),
            ..params(seed)
        };
        let violation = World::new(wrong).run().violation?;
        Some((seed, violation))
    });
    let Some((seed, violation)) = caught else {
        panic!("{variant:?} was not caught in {SEEDS} seeds");
    };
    println!("{variant:?}: seed {seed}: {}", violation);
    assert!(kinds.contains(&violation.kind), "{variant:?}: {violation}");
    for seed in 0..=seed {
        let right = World::new(params(seed)).run().violation;
        assert_eq!(right, None, "without {variant:?}, seed {seed}");
    }
}

const SPLIT: [Kind; 2] = [Kind::Overlap, Kind::EpochNotNew];

/// The seeds of the nightly run: caught by whatever is in them.
fn any(variant: Variant, kinds: &[Kind]) {
    catches(variant, kinds, Params::from_seed);
}

/// More clients than rooms, so that whoever could take a room does.
fn busy(seed: u64, engine: Engine) -> Params {
    let mut params = Params::quiet(seed, engine, 1, 3);
    (params.rooms, params.clients) = (6, 14);
    (params.stay_ms, params.linger_ms) = (5_000, 3_000);
    params.chaos_ms = 60_000;
    params
}

fn cut(link: Link, way: Way, ms: u64) -> Fault {
    Fault::Cut { link, way, ms }
}

/// Each shard in turn cannot say anything to the directory for a while.
fn mute(params: &mut Params, ms: u64) {
    for round in 0..9_u64 {
        let shard = usize::try_from((round + params.seed) % 3).unwrap();
        let at = 6_000 + round * 6_000 + params.seed * 37 % 1_000;
        params
            .plan
            .push((at, cut(Link::ShardDirectory(shard), Way::There, ms)));
    }
}

/// All shards but one that comes new are without the directory.
fn newcomer(seed: u64) -> Params {
    let mut params = busy(seed, Engine::Redis);
    params.first_shards = 2;
    params.plan = vec![
        (15_000, cut(Link::ShardDirectory(0), Way::Both, 20_000)),
        (15_000, cut(Link::ShardDirectory(1), Way::Both, 20_000)),
        (16_000, Fault::AddShard { shard: 2 }),
    ];
    params
}

#[test]
fn a_claim_that_overwrites() {
    any(Variant::ClaimOverwrites, &SPLIT);
}

#[test]
fn no_self_fence() {
    catches(Variant::NoSelfFence, &SPLIT, |seed| {
        let mut params = busy(seed, Engine::Memory);
        mute(&mut params, 5_000);
        params
    });
}

#[test]
fn a_deadline_counted_from_receipt() {
    catches(Variant::DeadlineFromReceipt, &SPLIT, |seed| {
        let mut params = busy(seed, Engine::Memory);
        (params.slow, params.late, params.patience_ms) = (200, 200, 4_000);
        mute(&mut params, 5_000);
        params
    });
}

#[test]
fn no_margin_for_clocks_that_run_wrong() {
    catches(Variant::NoMargin, &SPLIT, |seed| {
        let mut params = busy(seed, Engine::Memory);
        params.clocks = vec![1_100, 900, 900, 900];
        mute(&mut params, 5_000);
        params
    });
}

#[test]
fn a_late_grant_that_counts() {
    catches(Variant::LateGrantCounts, &SPLIT, |seed| {
        let mut params = busy(seed, Engine::Memory);
        (params.late, params.patience_ms) = (200, 8_000);
        mute(&mut params, 5_000);
        params
    });
}

#[test]
fn a_lease_that_comes_back_after_its_end() {
    catches(Variant::EndedLifeRevives, &SPLIT, |seed| {
        let mut params = busy(seed, Engine::Memory);
        for (round, shard) in [(1, 0), (2, 1), (3, 2)] {
            params
                .plan
                .push((round * 12_000, Fault::FreezeShard { shard, ms: 6_000 }));
        }
        params
    });
}

#[test]
fn a_room_released_before_it_is_stopped() {
    let kinds = [Kind::Overlap, Kind::EpochNotNew, Kind::Disagreement];
    any(Variant::ReleaseBeforeStop, &kinds);
}

#[test]
fn hold_without_promises() {
    catches(Variant::HoldWithoutPromises, &SPLIT, |seed| {
        let mut params = busy(seed, Engine::Redis);
        for other in [0, 2] {
            let link = Link::Shards(1, other);
            params.plan.push((15_000, cut(link, Way::Both, 20_000)));
        }
        params
            .plan
            .push((15_000, cut(Link::ShardDirectory(1), Way::Both, 20_000)));
        params
    });
}

#[test]
fn a_promise_that_is_broken() {
    catches(Variant::PromiseBroken, &SPLIT, |seed| {
        let mut params = busy(seed, Engine::Redis);
        (params.shards, params.first_shards) = (2, 2);
        for round in 0..4 {
            let at = 10_000 + round * 12_000 + seed * 13 % 1_000;
            params
                .plan
                .push((at, cut(Link::ShardDirectory(0), Way::Both, 9_000)));
            params
                .plan
                .push((at, cut(Link::ShardDirectory(1), Way::Both, 2_700)));
            params
                .plan
                .push((at + 2_900, cut(Link::Shards(0, 1), Way::Both, 6_000)));
        }
        params
    });
}

#[test]
fn a_life_that_the_owner_did_not_know_inherits() {
    catches(Variant::UnknownLifeInherits, &SPLIT, newcomer);
}

#[test]
fn no_grace() {
    catches(Variant::NoGrace, &SPLIT, |seed| {
        let mut params = busy(seed, Engine::Redis);
        for round in 1..6 {
            let shard = usize::try_from(round % 3).unwrap();
            let at = round * 9_000;
            params
                .plan
                .push((at, cut(Link::ShardDirectory(shard), Way::Both, 3_000)));
            params.plan.push((at + 100, Fault::LoseData));
        }
        params
    });
}

#[test]
fn a_grace_that_waits_for_nobody() {
    catches(Variant::GraceWaitsForNobody, &SPLIT, |seed| {
        let mut params = newcomer(seed);
        let (lag_ms, zombie_ms, zombie_for) = (0, 0, 0);
        params.plan.push((
            18_000,
            Fault::FailOver {
                lag_ms,
                zombie_ms,
                zombie_for,
            },
        ));
        params
    });
}

#[test]
fn an_old_master_that_still_gives_rooms_away() {
    catches(Variant::OldMasterGrants, &SPLIT, |seed| {
        let mut params = busy(seed, Engine::Redis);
        params.gateways = 2;
        params.clocks.push(1_000);
        for round in 1..5 {
            let (lag_ms, zombie_ms) = (100, 9_000);
            // One gateway and one shard.
            let zombie_for = 0b1_0001;
            params.plan.push((
                round * 12_000,
                Fault::FailOver {
                    lag_ms,
                    zombie_ms,
                    zombie_for,
                },
            ));
        }
        params
    });
}

#[test]
fn a_reassertion_that_replaces() {
    // It takes much to go wrong: a shard that slept, and a directory that lost everything.
    let kinds = [Kind::Overlap, Kind::EpochNotNew, Kind::Disagreement];
    catches(Variant::ReassertReplaces, &kinds, |seed| {
        Params::from_seed(1_300 + seed)
    });
}

#[test]
fn requests_without_the_directorys_life() {
    let kinds = [Kind::Overlap, Kind::EpochNotNew, Kind::Disagreement];
    any(Variant::Untagged, &kinds);
}

#[test]
fn a_witness_that_counts_what_it_did_not_see() {
    catches(
        Variant::WitnessCountsGaps,
        &[Kind::LostWithoutCause],
        |seed| {
            let mut params = busy(seed, Engine::Redis);
            params.keeps_all = true;
            params.gateways = 3;
            params.clocks = vec![1_000; 6];
            params.plan = vec![(15_000, cut(Link::Directory, Way::Both, 20_000))];
            params
        },
    );
}

#[test]
fn a_witness_that_ignores_renewals() {
    let kinds = [Kind::Overlap, Kind::EpochNotNew, Kind::LostWithoutCause];
    catches(Variant::WitnessIgnoresRenewals, &kinds, |seed| {
        let mut params = busy(seed, Engine::Redis);
        params.keeps_all = true;
        params
    });
}

#[test]
fn a_lapse_that_does_not_compare() {
    catches(
        Variant::LapseWithoutCompare,
        &[Kind::LostWithoutCause],
        |seed| {
            let mut params = busy(seed, Engine::Redis);
            params.keeps_all = true;
            params.gateways = 3;
            params.clocks = vec![1_000; 6];
            (params.late, params.delay_ms) = (30, 40);
            let kill = |round: u64| {
                let shard = usize::try_from(round % 3).unwrap();
                let down_ms = 2_000;
                (round * 6_000, Fault::KillShard { shard, down_ms })
            };
            params.plan = (2..9).map(kill).collect();
            params
        },
    );
}

/// Rooms with many joins are always on their way somewhere, and nobody is sure about anything.
fn moving(seed: u64) -> Params {
    let mut params = busy(seed, Engine::Redis);
    (params.rooms, params.clients) = (3, 24);
    (params.stay_ms, params.loss, params.delay_ms) = (3_000, 60, 300);
    for round in 0..9_u64 {
        let shard = usize::try_from(round % 3).unwrap();
        let at = 6_000 + round * 6_000;
        params.plan.push((at, Fault::Drain { shard, on: true }));
        params
            .plan
            .push((at + 5_000, Fault::Drain { shard, on: false }));
    }
    params
}

#[test]
fn a_transfer_taken_back_when_its_outcome_is_unknown() {
    catches(Variant::TransferTakenBack, &SPLIT, moving);
}

#[test]
fn an_owner_that_goes_on_until_it_hears_of_its_transfer() {
    catches(Variant::LiveDuringTransfer, &SPLIT, moving);
}
