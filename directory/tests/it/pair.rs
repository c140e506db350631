//! The definition and the engine side by side: each request goes to both, and both must say the same.

use crate::server::RedisServer;
use affinity::directory::{
    Directory, DirectoryIncarnation, DirectoryLimits, DirectoryState, Epoch, Holder, Incarnation,
    Renewal, Reply, Request, View,
};
use affinity::{RoomCase, RoomKey, Shard, ShardId, ShardState};
use directory::{RedisDirectory, Rules};

/// The first life of the directory in all these tests.
pub(crate) const LIFE: DirectoryIncarnation = DirectoryIncarnation(u64::MAX - 7);
/// Its epochs begin above.
pub(crate) const FLOOR: u64 = 1_700_000_000_000;

pub(crate) struct Pair {
    definition: DirectoryState,
    /// Two programs on one Redis, asked in turn.
    engines: [RedisDirectory; 2],
    asked: usize,
    /// For the report of a difference.
    pub(crate) name: String,
    pub(crate) server: RedisServer,
}

pub(crate) fn small() -> DirectoryLimits {
    DirectoryLimits {
        bindings_max: 4,
        shards_max: 3,
    }
}

impl Pair {
    /// Both in their first life, in grace.
    pub(crate) fn new(hold_ms: u64, limits: DirectoryLimits) -> Self {
        Self::on(RedisServer::start(), hold_ms, limits)
    }

    pub(crate) fn on(server: RedisServer, hold_ms: u64, limits: DirectoryLimits) -> Self {
        let rules = Rules {
            limits,
            hold_ms,
            birth: Some((LIFE, Epoch(FLOOR))),
        };
        let config = server.config();
        let engine = || RedisDirectory::with_rules(&config, rules).unwrap();
        Self {
            definition: DirectoryState::new(LIFE, Epoch(FLOOR), true, hold_ms, limits),
            engines: [engine(), engine()],
            asked: 0,
            name: String::new(),
            server,
        }
    }

    /// Out of grace, with the shards `a`, `b` and `c` in the topology and with a lease each.
    pub(crate) async fn running(hold_ms: u64) -> Self {
        let mut pair = Self::new(hold_ms, DirectoryLimits::default());
        pair.ask(announce(&["a", "b", "c"])).await;
        pair.ask(Request::EndGrace { directory: LIFE }).await;
        for (shard, life) in [("a", 1), ("b", 2), ("c", 3)] {
            pair.ask(renew(&holder(shard, life), 1)).await;
        }
        pair
    }

    pub(crate) async fn ask(&mut self, request: Request) -> Reply {
        let defined = self.definition.handle(request.clone());
        self.asked += 1;
        let engine = &self.engines[self.asked / 3 % 2];
        let given = engine.call(request.clone()).await.unwrap();
        assert_eq!(
            given, defined,
            "{} request {}: {request:?}",
            self.name, self.asked
        );
        given
    }

    /// Compares all that can be seen.
    pub(crate) async fn compare(&mut self, rooms: &[RoomKey]) -> View {
        let rooms = rooms.to_vec();
        self.ask(Request::Lookup { rooms }).await;
        match self.ask(Request::Watch).await {
            Reply::View(view) => view,
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn room(name: &str) -> RoomKey {
    RoomKey::from_claim(name, RoomCase::Sensitive).unwrap()
}

/// A life of a shard that knows the directory.
pub(crate) fn holder(shard: &str, life: u64) -> Holder {
    Holder {
        shard: shard.into(),
        incarnation: Incarnation(life),
        directory: Some(LIFE),
    }
}

/// One that does not yet.
pub(crate) fn stranger(shard: &str, life: u64) -> Holder {
    Holder {
        directory: None,
        ..holder(shard, life)
    }
}

pub(crate) fn renew(holder: &Holder, seq: u64) -> Request {
    renew_with(holder, seq, |_| {})
}

pub(crate) fn renew_with(holder: &Holder, seq: u64, say: impl FnOnce(&mut Renewal)) -> Request {
    let mut renewal = Renewal {
        seq,
        ..Renewal::default()
    };
    say(&mut renewal);
    Request::Renew {
        holder: holder.clone(),
        renewal,
    }
}

pub(crate) fn claim(holder: &Holder, name: &str) -> Request {
    claim_knowing(holder, name, u64::MAX)
}

/// A claim of one that knew this version of the roster.
pub(crate) fn claim_knowing(holder: &Holder, name: &str, knows: u64) -> Request {
    Request::Claim {
        holder: holder.clone(),
        room: room(name),
        knows,
    }
}

pub(crate) fn reassert(holder: &Holder, name: &str, epoch: Epoch) -> Request {
    Request::Reassert {
        holder: holder.clone(),
        room: room(name),
        epoch,
    }
}

pub(crate) fn release(holder: &Holder, name: &str, epoch: Epoch) -> Request {
    Request::Release {
        holder: holder.clone(),
        room: room(name),
        epoch,
    }
}

pub(crate) fn transfer(holder: &Holder, name: &str, epoch: Epoch, to: &Holder) -> Request {
    Request::Transfer {
        holder: holder.clone(),
        room: room(name),
        epoch,
        to: to.shard.clone(),
        to_incarnation: to.incarnation,
    }
}

pub(crate) fn options(holder: &Holder, name: &str, epoch: Epoch, options: &str) -> Request {
    Request::PutOptions {
        holder: holder.clone(),
        room: room(name),
        epoch,
        options: options.to_owned(),
    }
}

pub(crate) fn lapse(holder: &Holder, seq: u64) -> Request {
    Request::Lapse {
        directory: LIFE,
        shard: holder.shard.clone(),
        incarnation: holder.incarnation,
        seq,
    }
}

pub(crate) fn forget(holder: &Holder) -> Request {
    Request::Forget {
        directory: LIFE,
        shard: holder.shard.clone(),
        incarnation: holder.incarnation,
    }
}

pub(crate) fn announce(shards: &[&str]) -> Request {
    Request::Announce {
        gateway: "g1".to_owned(),
        topology: shards.iter().map(|id| listed(id)).collect(),
    }
}

/// A shard as the configuration names it; `!` behind the name: draining.
pub(crate) fn listed(name: &str) -> Shard {
    let id = name.trim_end_matches('!');
    Shard {
        id: ShardId::from(id),
        url: format!("http://{id}.example.org:7881/a b"),
        weight: 3,
        state: match name.ends_with('!') {
            true => ShardState::Draining,
            false => ShardState::Active,
        },
    }
}

pub(crate) fn granted(reply: &Reply) -> Epoch {
    match reply {
        Reply::Granted { epoch, .. } => *epoch,
        other => panic!("not granted: {other:?}"),
    }
}

pub(crate) fn owned(shard: &str, epoch: Epoch) -> Reply {
    Reply::Owned {
        shard: shard.into(),
        epoch,
    }
}

pub(crate) fn is_refusal(reply: &Reply, word: &str) -> bool {
    matches!(reply, Reply::Refused { reason } if reason.contains(word))
}
