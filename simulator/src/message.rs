//! What travels between the nodes, and what they wait for.

use affinity::ShardId;
use affinity::directory::{Epoch, Reply, Request};
use affinity::ownership::{Keep, Kept, RequestId};

/// A place in the simulated network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Node {
    Directory,
    Gateway(usize),
    Shard(usize),
    Client(usize),
}

/// One attempt of one client: a client that tries again with the same `join` means the same join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Attempt {
    pub(crate) client: usize,
    pub(crate) number: u64,
    pub(crate) join: u64,
    pub(crate) room: usize,
}

/// What a shard says to a join.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Accepted,
    NotOwner {
        owner: ShardId,
    },
    Unavailable {
        why: String,
    },
    /// Nobody listens there: nothing was done.
    Refused,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    // To the directory and back.
    Ask { call: u64, request: Request },
    Reply { call: u64, reply: Reply },
    // Between shards.
    Keep { call: u64, keep: Keep },
    Kept { call: u64, kept: Kept },
    Offer { call: u64 },
    Offered { call: u64, yes: bool },
    Commit { room: usize },
    // Between gateways and shards.
    Join { call: u64, attempt: Attempt },
    Joined { call: u64, answer: Answer },
    Leave { attempt: Attempt },
    Kick { attempt: Attempt, moved: bool },
    // Between clients and gateways.
    Connect { attempt: Attempt },
    Connected { attempt: Attempt, answer: Answer },
    Close { attempt: Attempt },
    Closed { attempt: Attempt, moved: bool },
}

#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) from: Node,
    pub(crate) from_life: u32,
    pub(crate) to: Node,
    /// Answers belong to the life that asked.
    pub(crate) to_life: Option<u32>,
    pub(crate) body: Body,
}

/// What a shard waits for.
#[derive(Clone, Debug)]
pub(crate) enum ShardCall {
    Directory {
        id: RequestId,
        sent_us: u64,
        request: Request,
    },
    Question {
        id: RequestId,
    },
    /// On behalf of another shard.
    Relay {
        asker: usize,
        asker_life: u32,
        asker_call: u64,
    },
    Offer {
        room: usize,
        to: affinity::directory::Life,
    },
}

/// What a gateway waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum GatewayCall {
    Watch,
    Said,
    Join { conn: u64 },
}

/// What a node does later, by its own clock.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Timer {
    // Shards.
    Wake { local_us: u64 },
    CallOver { call: u64 },
    Retry { room: usize },
    Waited { room: usize, attempt: Attempt },
    Empty { room: usize, epoch: Epoch },
    StopLost { room: usize, epoch: Epoch },
    Move,
    LastWords,
    // Gateways.
    Poll,
    JoinOver { conn: u64 },
    // Clients.
    Next { version: u64 },
}
