//! What one run is: all of it follows from its seed.

use crate::fault::{Fault, Link, Way};
use crate::random::Random;
use crate::variant::Variant;
use affinity::directory::HOLD_MS;

/// Where the directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// In the memory of the only gateway; no hold.
    Memory,
    /// Apart, for any number of gateways; with hold.
    Redis,
}

/// A run.
#[derive(Clone, Debug)]
pub struct Params {
    /// Source of all chance in the run.
    pub seed: u64,
    /// Where the directory is.
    pub engine: Engine,
    /// How many gateways.
    pub gateways: usize,
    /// How many shards, those that come later included.
    pub shards: usize,
    /// How many of them are there from the start.
    pub first_shards: usize,
    /// How many rooms.
    pub rooms: usize,
    /// How many clients, each always on its way into some room.
    pub clients: usize,
    /// What the directory allows, milliseconds.
    pub hold_ms: u64,
    /// The wall clock by which later lives of the directory begin is far behind.
    pub wrong_clock: bool,
    /// Rate of each clock, thousandths: gateways first, then shards.
    pub clocks: Vec<u64>,
    /// Longest usual way of a message, milliseconds.
    pub delay_ms: u64,
    /// So many of a thousand messages are lost,
    pub loss: u64,
    /// or take up to two seconds,
    pub slow: u64,
    /// or up to eight, which is longer than anybody waits.
    pub late: u64,
    /// How long a caller waits, milliseconds.
    pub patience_ms: u64,
    /// When clients begin to come: before, the directory's first grace is in their way.
    pub clients_at_ms: u64,
    /// How long a client stays, on average.
    pub stay_ms: u64,
    /// How long an empty room is kept.
    pub linger_ms: u64,
    /// Time of faults.
    pub chaos_ms: u64,
    /// Time without, at the end of which all must be well.
    pub calm_ms: u64,
    /// Nothing that happens in this run may cost a live room.
    pub keeps_all: bool,
    /// What happens when.
    pub plan: Vec<(u64, Fault)>,
    /// The wrong version under test, if any.
    pub variant: Option<Variant>,
    /// Keep a trace.
    pub trace: bool,
}

impl Params {
    /// A run without any fault, drift or loss.
    pub fn quiet(seed: u64, engine: Engine, gateways: usize, shards: usize) -> Self {
        let gateways = if engine == Engine::Memory {
            1
        } else {
            gateways
        };
        Self {
            seed,
            engine,
            gateways,
            shards,
            first_shards: shards,
            rooms: 4,
            clients: 6,
            hold_ms: if engine == Engine::Redis { HOLD_MS } else { 0 },
            wrong_clock: false,
            clocks: vec![1_000; gateways + shards],
            delay_ms: 10,
            loss: 0,
            slow: 0,
            late: 0,
            patience_ms: 900,
            clients_at_ms: 6_000,
            stay_ms: 6_000,
            linger_ms: 1_000,
            chaos_ms: 60_000,
            calm_ms: 0,
            keeps_all: false,
            plan: Vec::new(),
            variant: None,
            trace: false,
        }
    }

    /// The run of a seed: which kinds of faults there are, how many, and when, is drawn anew.
    pub fn from_seed(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed);
        let engine = if random.permille(350) {
            Engine::Memory
        } else {
            Engine::Redis
        };
        let gateways = usize::try_from(random.between(1, 3)).unwrap_or(1);
        let shards = random.index(4) + 2;
        let mut params = Self::quiet(seed, engine, gateways, shards);
        if shards > 2 && random.permille(500) {
            params.first_shards = shards - 1;
        }
        params.rooms = random.index(4) + 1;
        params.clients = random.index(6) + 3;
        if engine == Engine::Redis && random.permille(400) {
            params.hold_ms = random.between(4_000, 30_000);
        }
        let drift = random.permille(700);
        for rate in &mut params.clocks {
            *rate = if drift {
                random.between(900, 1_100)
            } else {
                1_000
            };
        }
        params.delay_ms = [2, 20, 80][random.index(3)];
        params.loss = if random.permille(500) {
            random.below(80)
        } else {
            0
        };
        params.slow = if random.permille(500) {
            random.below(150)
        } else {
            0
        };
        params.late = if random.permille(500) {
            random.below(80)
        } else {
            0
        };
        params.patience_ms = [900, 1_500, 4_000][random.index(3)];
        params.clients_at_ms = 0;
        params.stay_ms = [1_500, 6_000, 20_000][random.index(3)];
        params.linger_ms = random.below(3_000);
        params.chaos_ms = random.between(30_000, 90_000);
        params.calm_ms = 60_000;
        params.plan = plan(&params, &mut random);
        if params.engine == Engine::Redis && random.permille(15) {
            params.add_long_outage(&mut random);
        }
        params
    }

    /// The directory is gone for minutes, after everything else.
    fn add_long_outage(&mut self, random: &mut Random) {
        let ms = random.between(60_000, 1_000_000);
        let cut = Fault::Cut {
            link: Link::Directory,
            way: Way::Both,
            ms,
        };
        self.plan.push((self.chaos_ms, cut));
        self.chaos_ms += ms;
    }
}

/// Kinds of faults, each in or out for the whole run.
const KINDS: usize = 14;

fn plan(params: &Params, random: &mut Random) -> Vec<(u64, Fault)> {
    let mut kinds: Vec<usize> = (0..KINDS).filter(|_| random.permille(400)).collect();
    if kinds.is_empty() {
        kinds.push(random.index(KINDS));
    }
    // Once in a while everything at once, and sometimes hardly anything.
    let gap_ms = [1_500, 4_000, 9_000][random.index(3)];
    let mut plan = Vec::new();
    let mut at = random.below(gap_ms);
    while at < params.chaos_ms {
        let kind = kinds[random.index(kinds.len())];
        plan.extend(fault(kind, params, random).map(|fault| (at, fault)));
        at += 1 + random.below(2 * gap_ms);
        // A second blow while the first still hurts.
        if random.permille(150) {
            at = at.saturating_sub(gap_ms);
        }
    }
    plan.sort_by_key(|(at, _)| *at);
    plan
}

fn fault(kind: usize, params: &Params, random: &mut Random) -> Option<Fault> {
    let memory = params.engine == Engine::Memory;
    let shard = random.index(params.shards);
    let gateway = random.index(params.gateways);
    let way = [Way::Both, Way::Both, Way::There, Way::Back][random.index(4)];
    let short = random.between(100, 9_000);
    let cut = |link| {
        Some(Fault::Cut {
            link,
            way,
            ms: short,
        })
    };
    match kind {
        0 => cut(Link::ShardDirectory(shard)),
        1 => cut(Link::GatewayDirectory(gateway)),
        2 => cut(Link::Shards(shard, random.index(params.shards))),
        3 => cut(Link::GatewayShard(gateway, shard)),
        4 => {
            let ms = random.between(500, 25_000);
            let (link, way) = (Link::Directory, Way::Both);
            Some(Fault::Cut { link, way, ms })
        }
        5 => {
            let down_ms = random.between(50, 12_000);
            Some(if random.permille(700) {
                Fault::KillShard { shard, down_ms }
            } else {
                Fault::StopShard { shard, down_ms }
            })
        }
        6 => {
            let down_ms = random.between(50, 9_000);
            Some(Fault::KillGateway { gateway, down_ms })
        }
        7 => Some(Fault::PauseShard { shard, ms: short }),
        8 if random.permille(600) => Some(Fault::PauseGateway { gateway, ms: short }),
        8 if memory => Some(Fault::FreezeGateway { gateway, ms: short }),
        8 => Some(Fault::PauseDirectory { ms: short }),
        9 => Some(Fault::FreezeShard {
            shard,
            ms: random.below(15_000),
        }),
        10 if memory => Some(Fault::KillGateway {
            gateway,
            down_ms: 50,
        }),
        10 => Some(Fault::LoseData),
        11 if memory => None,
        11 => Some(Fault::FailOver {
            lag_ms: random.below(2_000),
            zombie_ms: if random.permille(500) {
                random.below(12_000)
            } else {
                0
            },
            zombie_for: u32::try_from(random.below(1 << 16)).unwrap_or_default(),
        }),
        12 => Some(match random.index(3) {
            0 => Fault::Weigh {
                shard,
                weight: u32::try_from(random.between(1, 3)).unwrap_or(1),
            },
            1 => Fault::AddShard { shard },
            _ => Fault::RemoveShard { shard },
        }),
        13 => Some(Fault::Drain {
            shard,
            on: random.permille(600),
        }),
        _ => Some(Fault::Slow { ms: short }),
    }
}
