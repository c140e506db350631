//! Histories with a plan: what must not be lost, and how long things may take.

use simulator::{Engine, Fault, Link, Outcome, Params, Way, World};

pub(crate) fn run(params: Params) -> Outcome {
    let seed = params.seed;
    let outcome = World::new(params).run();
    assert_eq!(outcome.violation, None, "seed {seed}");
    outcome
}

pub(crate) fn cut(link: Link, ms: u64) -> Fault {
    let way = Way::Both;
    Fault::Cut { link, way, ms }
}

#[test]
fn without_faults_every_join_is_let_in_at_once_and_no_room_is_lost() {
    for seed in 0..20 {
        for engine in [Engine::Memory, Engine::Redis] {
            let mut params = Params::quiet(seed, engine, 3, 4);
            params.keeps_all = true;
            let counts = run(params).counts;
            assert!(counts.accepts > 30, "{counts:?}");
            // The jitter of a client's first try is most of it.
            assert!(counts.slowest_join_ms < 700, "{counts:?}");
            assert_eq!(counts.fences, 0);
        }
    }
}

#[test]
fn one_gateway_and_three_give_the_same_owners() {
    let histories = |seed, gateways, first_shards, added: u64| {
        let mut params = Params::quiet(seed, Engine::Redis, gateways, 4);
        (params.rooms, params.clients, params.first_shards) = (8, 6, first_shards);
        (params.stay_ms, params.linger_ms) = (3_000, 500);
        if added > 0 {
            params.plan = vec![(1_000 * added, Fault::AddShard { shard: 3 })];
        }
        run(params).histories
    };
    for seed in 0..40 {
        assert_eq!(
            histories(seed, 1, 4, 0),
            histories(seed, 3, 4, 0),
            "seed {seed}"
        );
        // A live room stays where it is, an idle one may move to the new shard and to no other. Which
        // one is idle when is a matter of milliseconds.
        for gateways in [1, 3] {
            for room in histories(seed, gateways, 3, 30) {
                let place = room.first().copied();
                let stays = |shard: &usize| *shard == 3 || Some(*shard) == place;
                assert!(room.iter().all(stays), "seed {seed}: {room:?}");
            }
        }
    }
}

#[test]
fn after_a_kill_the_first_join_is_let_in_within_the_lease_and_a_retry() {
    for engine in [Engine::Memory, Engine::Redis] {
        let mut rehomed = Vec::new();
        for seed in 0..150 {
            let mut params = Params::quiet(seed, engine, 2, 3);
            params.chaos_ms = 45_000;
            params.clients = 9;
            params.stay_ms = 20_000;
            let shard = usize::try_from(seed % 3).unwrap();
            let down_ms = 40_000;
            params.plan = vec![(20_000 + seed * 7, Fault::KillShard { shard, down_ms })];
            rehomed.extend(run(params).counts.rehomed_ms);
        }
        rehomed.sort_unstable();
        let quantile = |percent: usize| rehomed[(rehomed.len() - 1) * percent / 100];
        let (half, most, all) = (quantile(50), quantile(99), quantile(100));
        println!(
            "{engine:?}: {} rooms, p50 {half} ms, p99 {most} ms, max {all} ms",
            rehomed.len()
        );
        assert!(rehomed.len() > 100);
        assert!(
            half <= 4_000 && most <= 6_000,
            "p50 {half} ms, p99 {most} ms"
        );
    }
}

#[test]
fn ten_minutes_without_redis_cost_no_live_room_and_its_joins_go_on() {
    for seed in 0..3 {
        let mut params = Params::quiet(seed, Engine::Redis, 2, 3);
        params.keeps_all = true;
        (params.rooms, params.clients) = (2, 12);
        (params.stay_ms, params.linger_ms) = (20_000, 30_000);
        params.plan = vec![(20_000, cut(Link::Directory, 600_000))];
        params.chaos_ms = 640_000;
        params.calm_ms = 45_000;
        let counts = run(params).counts;
        assert!(counts.accepts_on_hold > 20, "{counts:?}");
        assert_eq!((counts.lost, counts.fences), (0, 0));
    }
}

#[test]
fn a_redis_that_fails_over_within_the_shards_deadline_costs_no_live_room() {
    for seed in 0..40 {
        let mut params = Params::quiet(seed, Engine::Redis, 2, 3);
        params.keeps_all = true;
        let fault = Fault::FailOver {
            lag_ms: 1_000,
            zombie_ms: 0,
            zombie_for: 0,
        };
        params.plan = vec![(20_000, fault), (23_000 + seed * 40, fault)];
        params.calm_ms = 45_000;
        let counts = run(params).counts;
        assert!(counts.reasserted > 0, "{counts:?}");
    }
}

#[test]
fn a_directory_that_lost_its_data_and_knows_no_time_gives_no_epoch_twice() {
    for engine in [Engine::Memory, Engine::Redis] {
        for seed in 0..20 {
            let mut params = Params::quiet(seed, engine, 2, 3);
            params.wrong_clock = true;
            (params.stay_ms, params.linger_ms) = (3_000, 500);
            let lose = match engine {
                Engine::Memory => Fault::KillGateway {
                    gateway: 0,
                    down_ms: 200,
                },
                Engine::Redis => Fault::LoseData,
            };
            // The last one after the shards have ended one by one, and with them what they remembered.
            params.plan = vec![(15_000, lose), (25_000 + seed * 40, lose), (55_000, lose)];
            for shard in 0..3 {
                let at = 32_000 + 6_000 * u64::try_from(shard).unwrap();
                let down_ms = 2_000;
                params.plan.push((at, Fault::KillShard { shard, down_ms }));
            }
            params.calm_ms = 45_000;
            run(params);
        }
    }
}

/// A shard goes over to the new master just before its lease would end; at the old one, where a gateway
/// and another shard still are, that end is seen.
#[test]
fn a_master_that_was_left_behind_gives_nothing_away_that_its_owner_has_taken_along() {
    for hold_ms in [0, 900_000] {
        for seed in 0..60 {
            let mut params = Params::quiet(seed, Engine::Redis, 1, 3);
            params.hold_ms = hold_ms;
            (params.rooms, params.clients) = (6, 24);
            (params.stay_ms, params.linger_ms) = (1_500, 5_000);
            for round in 1..5_u64 {
                let at = round * 12_000 + seed * 23;
                let shard = usize::try_from(round % 3).unwrap();
                // The gateway and all shards but this one.
                let zombie_for = 0b1111 & !(0b10 << shard);
                let fault = Fault::FailOver {
                    lag_ms: 0,
                    zombie_ms: 9_000,
                    zombie_for,
                };
                let alone = cut(Link::ShardDirectory(shard), 1_500);
                params.plan.extend([(at, alone), (at + 1_500, fault)]);
            }
            run(params);
        }
    }
}

#[test]
fn a_second_fault_while_redis_is_gone_costs_rooms_and_splits_none() {
    let mut lost = 0;
    for seed in 0..30 {
        let mut params = Params::quiet(seed, Engine::Redis, 2, 3);
        params.stay_ms = 60_000;
        params.clients = 9;
        params.plan = vec![
            (20_000, cut(Link::Directory, 60_000)),
            (
                40_000,
                Fault::KillShard {
                    shard: 1,
                    down_ms: 2_000,
                },
            ),
        ];
        params.chaos_ms = 90_000;
        params.calm_ms = 60_000;
        lost += run(params).counts.lost;
    }
    // A dead shard cannot promise: the others stop, and start again when Redis is back.
    assert!(lost > 20, "{lost}");
}

#[test]
fn a_shard_that_is_removed_while_it_serves_and_then_loses_the_directory_is_not_doubled() {
    for seed in 0..40 {
        let mut params = Params::quiet(seed, Engine::Redis, 1, 3);
        params.first_shards = 2;
        (params.rooms, params.clients, params.stay_ms) = (6, 12, 30_000);
        params.plan = vec![
            (15_000, Fault::RemoveShard { shard: 0 }),
            (15_000 + seed * 100, cut(Link::ShardDirectory(0), 20_000)),
            (15_000 + seed * 100, cut(Link::ShardDirectory(1), 20_000)),
            (19_000, Fault::AddShard { shard: 2 }),
        ];
        run(params);
    }
}

#[test]
fn a_shard_that_is_alone_goes_on_and_nobody_who_comes_later_takes_its_rooms() {
    let mut held = 0;
    for seed in 0..20 {
        let mut params = Params::quiet(seed, Engine::Redis, 1, 3);
        params.first_shards = 1;
        (params.rooms, params.clients, params.stay_ms) = (6, 12, 30_000);
        params.keeps_all = true;
        params.plan = vec![
            (15_000, cut(Link::ShardDirectory(0), 20_000)),
            (19_000, Fault::AddShard { shard: 1 }),
            (20_000, Fault::AddShard { shard: 2 }),
        ];
        // When the cut ends its lease is gone, and with it the rooms: until then they are not.
        params.chaos_ms = 34_000;
        held += run(params).counts.held;
    }
    assert!(held > 0);
}
