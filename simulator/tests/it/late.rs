//! What comes too late, or from those who do not count: claims, leases, announcements.

use crate::scenarios::{cut, run};
use simulator::{Engine, Fault, Link, Params, Way};

/// Many joins to few rooms, so that whoever could take a room does.
fn busy(seed: u64, shards: usize, first_shards: usize) -> Params {
    let mut params = Params::quiet(seed, Engine::Redis, 1, shards);
    params.first_shards = first_shards;
    (params.rooms, params.clients) = (6, 24);
    (params.stay_ms, params.linger_ms) = (3_000, 5_000);
    params.chaos_ms = 45_000;
    params
}

/// The gateway is restarted: it knows no more where rooms are, and asks whom the ring names.
fn forgets(at: u64) -> (u64, Fault) {
    let (gateway, down_ms) = (0, 50);
    (at, Fault::KillGateway { gateway, down_ms })
}

/// Shard 1 claims rooms of shard 0, and its claims are late. Then shard 0 loses the directory, and shard 1
/// its answers: it promises to claim nothing. The lease of shard 0 ends, and it goes on. Now the claims
/// come in. Then shard 1 gives all that it has to anybody.
#[test]
fn a_claim_that_comes_in_when_another_ones_life_has_ended_takes_nothing_from_it() {
    let mut held = 0;
    for seed in 0..60 {
        let mut params = busy(seed, 2, 1);
        params.gateways = 2;
        params.clocks.push(1_000);
        let at = 15_000 + seed * 17;
        let late = Fault::LateClaims {
            shard: 1,
            ms: 1_200,
            late_ms: 4_500,
        };
        let deaf = Fault::Cut {
            link: Link::ShardDirectory(1),
            way: Way::Back,
            ms: 5_600,
        };
        let (shard, down_ms) = (1, 50);
        params.plan = vec![
            (10_000, Fault::AddShard { shard: 1 }),
            (at - 50, late),
            forgets(at - 50),
            (at, cut(Link::ShardDirectory(0), 20_000)),
            (at, deaf),
            (at + 5_500, Fault::StopShard { shard, down_ms }),
        ];
        held += run(params).counts.held;
    }
    assert!(held > 0);
}

/// Shards 0 and 1 go on without the directory, which gets a new life; shard 2 is new there, and so is a
/// shard that was removed: only most of those that the topology names end the grace.
#[test]
fn a_shard_that_the_topology_does_not_name_ends_no_grace() {
    for seed in 0..30 {
        let mut params = busy(seed, 4, 2);
        params.plan = vec![
            (15_000, cut(Link::ShardDirectory(0), 20_000)),
            (15_000, cut(Link::ShardDirectory(1), 20_000)),
            (16_000, Fault::AddShard { shard: 2 }),
            (16_000, Fault::AddShard { shard: 3 }),
            (17_500 + seed * 10, Fault::RemoveShard { shard: 3 }),
            (
                20_000,
                Fault::FailOver {
                    lag_ms: 0,
                    zombie_ms: 0,
                    zombie_for: 0,
                },
            ),
            forgets(25_000),
        ];
        run(params);
    }
}

/// Shards 1 and 2 are dead, shard 3 was removed. With it, shard 0 would be two of three and go on, while
/// shards 1 and 2 come back to a new life of the directory, as two of three.
#[test]
fn a_shard_that_the_topology_does_not_name_helps_nobody_to_go_on() {
    for seed in 0..30 {
        let mut params = busy(seed, 4, 4);
        let kill = |shard, down_ms| (12_000, Fault::KillShard { shard, down_ms });
        params.plan = vec![
            (10_000, Fault::RemoveShard { shard: 3 }),
            kill(1, 8_000),
            kill(2, 8_000),
            (18_000 + seed * 20, cut(Link::ShardDirectory(0), 20_000)),
            (18_000 + seed * 20, cut(Link::ShardDirectory(3), 20_000)),
            (
                19_000,
                Fault::FailOver {
                    lag_ms: 0,
                    zombie_ms: 0,
                    zombie_for: 0,
                },
            ),
            forgets(23_000),
        ];
        run(params);
    }
}

/// While the directory's data is lost a shard is added, and those who go on do not hear of it: alone, shard 0 is
/// all there are; together, shards 0 and 1 are two of three. Who comes to the new life counts one more.
#[test]
fn a_shard_that_is_added_meanwhile_counts_on_both_sides() {
    const LOST: Fault = Fault::FailOver {
        lag_ms: 0,
        zombie_ms: 0,
        zombie_for: 0,
    };
    for seed in 0..30 {
        let mut params = busy(seed, 2, 1);
        params.plan = vec![
            (18_000, cut(Link::ShardDirectory(0), 20_000)),
            (19_000, LOST),
            (19_500 + seed * 20, Fault::AddShard { shard: 1 }),
            forgets(24_500),
        ];
        run(params);

        let mut params = busy(seed, 4, 3);
        let (shard, down_ms) = (2, 8_000);
        params.plan = vec![
            (12_000, Fault::KillShard { shard, down_ms }),
            (18_000, cut(Link::ShardDirectory(0), 20_000)),
            (18_000, cut(Link::ShardDirectory(1), 20_000)),
            (19_000, LOST),
            (19_500 + seed * 20, Fault::AddShard { shard: 3 }),
            forgets(24_500),
        ];
        run(params);
    }
}

/// Shard 0 is alone, goes on without the directory, hears that it has a new life and takes a lease there, but
/// nothing more comes back. For the others it has arrived, and its time to confirm its rooms is over soon.
#[test]
fn who_hears_no_more_of_a_new_directory_life_than_that_there_is_one_stops() {
    for seed in 0..40 {
        let mut params = busy(seed, 2, 1);
        params.delay_ms = 250;
        let deaf = Fault::Cut {
            link: Link::ShardDirectory(0),
            way: Way::Back,
            ms: 15_000,
        };
        params.plan = vec![
            (18_000, Fault::LoseData),
            (18_200 + seed * 30, deaf),
            (19_000, Fault::AddShard { shard: 1 }),
            forgets(23_000),
        ];
        run(params);
    }
}

/// The directory has lost even the topology, and hears of it long after the first leases.
#[test]
fn a_grace_does_not_end_before_the_directory_knows_how_many_shards_there_are() {
    for seed in 0..30 {
        let mut params = busy(seed, 3, 2);
        params.plan = vec![
            (15_000, cut(Link::ShardDirectory(0), 20_000)),
            (15_000, cut(Link::ShardDirectory(1), 20_000)),
            (16_000, Fault::AddShard { shard: 2 }),
            (18_500, Fault::LateTopology { ms: 5_000 }),
            (18_500 + seed * 10, Fault::LoseData),
        ];
        run(params);
    }
}

/// As before, and who had a lease before the topology was known is cut off from all: nobody has told it
/// that it may go on.
#[test]
fn who_got_a_lease_before_the_topology_was_known_does_not_go_on_without_it() {
    for seed in 0..30 {
        let mut params = busy(seed, 3, 3);
        params.plan = vec![
            (14_900, Fault::LateTopology { ms: 4_000 }),
            (15_000, Fault::LoseData),
            (17_000 + seed * 30, cut(Link::ShardDirectory(0), 20_000)),
            (17_000 + seed * 30, cut(Link::ShardDirectory(1), 20_000)),
            (17_100 + seed * 30, cut(Link::Shards(0, 2), 20_000)),
            (17_100 + seed * 30, cut(Link::Shards(1, 2), 20_000)),
            forgets(20_500),
        ];
        run(params);
    }
}
