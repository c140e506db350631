//! Random requests, seeded: whatever is asked, both engines say the same.

use crate::pair::*;
use crate::server::RedisServer;
use affinity::RoomKey;
use affinity::directory::{
    DirectoryIncarnation, Drain, Epoch, HOLD_MS, Holder, Incarnation, Reply, Request,
};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

/// Sequences in an ordinary run; `DIRECTORY_SEEDS` sets another number.
const SEEDS: u64 = 24;
const STEPS: u32 = 250;
const SHARDS: [&str; 4] = ["a", "b", "c", "d"];
const ROOMS: [&str; 6] = ["r0", "r1", "r2", "r3", "r4", "r5"];

struct Generator {
    random: StdRng,
    /// What replies told: a sequence of random numbers alone would hardly get anywhere.
    epochs: Vec<Epoch>,
    versions: u64,
    /// Last life and last renewal of each shard.
    lives: [(u64, u64); 4],
    /// The last rooms granted, to whom, under which claim.
    owned: Vec<(&'static str, Holder, Epoch)>,
}

impl Generator {
    fn new(seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            epochs: vec![Epoch(FLOOR)],
            versions: 0,
            lives: [(1, 0); 4],
            owned: Vec::new(),
        }
    }

    fn holder(&mut self) -> Holder {
        let index = self.random.random_range(0..SHARDS.len());
        let life = match self.random.random_range(0..10) {
            0 => self.random.random_range(1..5),
            _ => self.lives[index].0,
        };
        let mut holder = holder(SHARDS[index], life);
        match self.random.random_range(0..25) {
            0 => holder.directory = None,
            1 => holder.directory = Some(DirectoryIncarnation(4)),
            _ => {}
        }
        holder
    }

    fn room(&mut self) -> &'static str {
        ROOMS.choose(&mut self.random).copied().unwrap()
    }

    fn epoch(&mut self) -> Epoch {
        let known = self.epochs.len();
        let recent = &self.epochs[known.saturating_sub(8)..];
        let epoch = recent.choose(&mut self.random).copied().unwrap();
        match self.random.random_range(0..6) {
            0 => Epoch(epoch.0 + self.random.random_range(0..3)),
            _ => epoch,
        }
    }

    fn renewal(&mut self) -> Request {
        let mut holder = self.holder();
        let index = SHARDS
            .iter()
            .position(|shard| holder.shard.as_str() == *shard);
        let entry = &mut self.lives[index.unwrap()];
        let mut replaces = None;
        if self.random.random_range(0..6) == 0 {
            if self.random.random_bool(0.5) {
                replaces = Some(Incarnation(entry.0));
            }
            *entry = (entry.0 + 1, 0);
            holder.incarnation = Incarnation(entry.0);
        }
        entry.1 += 1;
        let seq = match self.random.random_range(0..8) {
            0 => entry.1.saturating_sub(1),
            _ => entry.1,
        };
        let (knows, leaving) = (
            self.random.random_range(0..self.versions + 3),
            self.random.random_range(0..12) == 0,
        );
        let rooms = self.random.random_range(0..4);
        let epoch = match self.random.random_range(0..4) {
            0 => self.epoch(),
            _ => Epoch(0),
        };
        renew_with(&holder, seq, |say| {
            say.knows = knows;
            say.leaving = leaving;
            say.rooms = rooms;
            say.epoch = epoch;
            say.replaces = replaces;
        })
    }

    fn topology(&mut self) -> Request {
        let mut shards: Vec<String> = Vec::new();
        for shard in SHARDS {
            match self.random.random_range(0..10) {
                0 => {}
                1 => shards.push(format!("{shard}!")),
                _ => shards.push(shard.to_owned()),
            }
        }
        let names: Vec<&str> = shards.iter().map(String::as_str).collect();
        announce(&names)
    }

    fn witness(&mut self) -> Request {
        let holder = self.holder();
        let directory = holder.directory.unwrap_or(DirectoryIncarnation(0));
        let (shard, incarnation) = (holder.shard, holder.incarnation);
        let index = SHARDS.iter().position(|known| shard.as_str() == *known);
        match self.random.random_range(0..8) {
            0 | 1 => Request::EndGrace { directory },
            2..5 => Request::Forget {
                directory,
                shard,
                incarnation,
            },
            _ => Request::Lapse {
                directory,
                shard,
                incarnation,
                seq: self.lives[index.unwrap()].1,
            },
        }
    }

    fn drain(&mut self) -> Request {
        let deadline_unix_ms = self.random.random_bool(0.5).then_some(17);
        Request::SetDrain {
            shard: SHARDS.choose(&mut self.random).copied().unwrap().into(),
            drain: self
                .random
                .random_bool(0.4)
                .then_some(Drain { deadline_unix_ms }),
        }
    }

    fn next(&mut self) -> Request {
        let kind = self.random.random_range(0..100);
        if kind < 28 {
            return self.renewal();
        }
        let (one, room) = (self.holder(), self.room());
        match kind {
            28..52 | 83..87 => {
                let knows = self.random.random_range(0..self.versions + 3);
                claim_knowing(&one, room, knows)
            }
            52..58 => {
                let epoch = self.epoch();
                reassert(&one, room, epoch)
            }
            58..66 => {
                let epoch = self.epoch();
                release(&one, room, epoch)
            }
            66..76 => {
                let to = self.holder();
                let (room, owner, epoch) = self.owner(one, room);
                transfer(&owner, room, epoch, &to)
            }
            76..82 => {
                let (room, owner, epoch) = self.owner(one, room);
                options(&owner, room, epoch, &format!("text {kind}"))
            }
            82 => Request::Resign { holder: one },
            87..94 => self.witness(),
            94..97 => self.topology(),
            _ => self.drain(),
        }
    }

    /// Mostly an owner of a room, else these.
    fn owner(&mut self, one: Holder, room: &'static str) -> (&'static str, Holder, Epoch) {
        let known = self.owned.len();
        let recent = &self.owned[known.saturating_sub(4)..];
        match recent.choose(&mut self.random) {
            Some(owner) if self.random.random_bool(0.8) => owner.clone(),
            _ => (room, one, self.epoch()),
        }
    }

    fn learn(&mut self, request: &Request, reply: &Reply) {
        match (request, reply) {
            (Request::Renew { holder, .. }, Reply::NoLease) => {
                let is = |shard: &&str| holder.shard.as_str() == *shard;
                let entry = &mut self.lives[SHARDS.iter().position(is).unwrap()];
                *entry = (entry.0 + 1, 0);
            }
            (Request::Claim { holder, room, .. }, Reply::Granted { epoch, .. }) => {
                let name = ROOMS.iter().find(|name| **name == room.as_str());
                self.owned.push((name.unwrap(), holder.clone(), *epoch));
            }
            _ => {}
        }
        match reply {
            Reply::Granted { epoch, .. }
            | Reply::Mine { epoch, .. }
            | Reply::Owned { epoch, .. }
            | Reply::Transferred { epoch } => self.epochs.push(*epoch),
            Reply::Leased {
                roster: Some(roster),
                ..
            } => self.versions = roster.version,
            _ => {}
        }
    }
}

fn kind_of(reply: &Reply) -> String {
    let text = format!("{reply:?}");
    let end = text.find([' ', '(', '{']).unwrap_or(text.len());
    text[..end].to_owned()
}

#[tokio::test]
async fn random_sequences_get_the_same_answers() {
    let seeds = std::env::var("DIRECTORY_SEEDS");
    let seeds = seeds.map_or(SEEDS, |text| text.parse().unwrap());
    let rooms: Vec<RoomKey> = ROOMS.iter().map(|name| room(name)).collect();
    let mut server = RedisServer::start();
    let mut seen = std::collections::BTreeMap::<String, u32>::new();
    for seed in 0..seeds {
        server.command(&["FLUSHALL"]);
        let hold_ms = if seed % 3 == 0 { 0 } else { HOLD_MS };
        let mut pair = Pair::on(server, hold_ms, small());
        pair.name = format!("seed {seed}");
        let mut generator = Generator::new(seed);
        pair.ask(announce(&SHARDS)).await;
        for _ in 0..STEPS {
            let request = generator.next();
            let given = pair.ask(request.clone()).await;
            *seen.entry(kind_of(&given)).or_default() += 1;
            generator.learn(&request, &given);
            pair.compare(&rooms).await;
        }
        server = pair.server;
    }
    // A sequence that gets nowhere compares nothing.
    for kind in [
        "Leased",
        "NoLease",
        "Granted",
        "Mine",
        "Owned",
        "Held",
        "Grace",
        "Draining",
        "StaleDirectory",
        "Reasserted",
        "Released",
        "Transferred",
        "Announced",
        "Done",
        "Refused",
    ] {
        let times = seen.get(kind).copied().unwrap_or(0);
        assert!(times > 0 || seeds < SEEDS, "never {kind}: {seen:?}");
    }
}
