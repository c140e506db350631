//! What can go wrong, as data: a run's plan is a list of these.

/// Whom a cut separates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Link {
    /// A shard and the directory.
    ShardDirectory(usize),
    /// A gateway and the directory.
    GatewayDirectory(usize),
    /// Two shards.
    Shards(usize, usize),
    /// A gateway and a shard.
    GatewayShard(usize, usize),
    /// The directory and everybody.
    Directory,
}

/// Which way nothing passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// Neither.
    Both,
    /// From the first of the [`Link`].
    There,
    /// To the first of the [`Link`].
    Back,
}

/// One thing that happens. Times are milliseconds of true time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Nothing passes for a while.
    Cut {
        /// Between whom.
        link: Link,
        /// In which direction.
        way: Way,
        /// How long.
        ms: u64,
    },
    /// Messages between machines take up to 8 s, for a while.
    Slow {
        /// How long.
        ms: u64,
    },
    /// What a shard claims takes its time.
    LateClaims {
        /// Which.
        shard: usize,
        /// Claims that are sent within this time,
        ms: u64,
        /// reach the directory so much later.
        late_ms: u64,
    },
    /// What gateways say about the shards takes its time.
    LateTopology {
        /// It reaches the directory after this.
        ms: u64,
    },
    /// SIGKILL, and a new process after a while.
    KillShard {
        /// Which.
        shard: usize,
        /// Until it starts again.
        down_ms: u64,
    },
    /// SIGTERM, and a new process after a while.
    StopShard {
        /// Which.
        shard: usize,
        /// From its end until it starts again.
        down_ms: u64,
    },
    /// The same for a gateway; with it goes a directory in memory.
    KillGateway {
        /// Which.
        gateway: usize,
        /// Until it starts again.
        down_ms: u64,
    },
    /// SIGSTOP and SIGCONT: the process stands still, its clock does not.
    PauseShard {
        /// Which.
        shard: usize,
        /// How long.
        ms: u64,
    },
    /// The same for a gateway.
    PauseGateway {
        /// Which.
        gateway: usize,
        /// How long.
        ms: u64,
    },
    /// The same for Redis: what is sent meanwhile is carried out afterwards.
    PauseDirectory {
        /// How long.
        ms: u64,
    },
    /// A suspended machine: the process stands still, and so does its clock.
    FreezeShard {
        /// Which.
        shard: usize,
        /// How long.
        ms: u64,
    },
    /// The same for a gateway.
    FreezeGateway {
        /// Which.
        gateway: usize,
        /// How long.
        ms: u64,
    },
    /// FLUSHALL: a new life, without anything.
    LoseData,
    /// A new life that knows topology and drains as they were a moment ago.
    FailOver {
        /// How old the replica is.
        lag_ms: u64,
        /// For how long some nodes still talk to the old master, which does not know.
        zombie_ms: u64,
        /// The nodes that do: a bit for each gateway, then for each shard.
        zombie_for: u32,
    },
    /// The configuration has a further shard; its process starts now.
    AddShard {
        /// Which.
        shard: usize,
    },
    /// The configuration does not have this shard any more. Its process goes on until it has no room.
    RemoveShard {
        /// Which.
        shard: usize,
    },
    /// Another weight in the configuration.
    Weigh {
        /// Which.
        shard: usize,
        /// Its weight.
        weight: u32,
    },
    /// An operator's order to empty a shard, or to take rooms again.
    Drain {
        /// Which.
        shard: usize,
        /// False: take rooms again.
        on: bool,
    },
}
