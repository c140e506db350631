//! The Lua scripts: which one answers which request, and what an operator must allow for them.

use affinity::directory::Request;
use redis::Script;

/// Commands that are sent or called from scripts.
const COMMANDS: [&str; 15] = [
    "info", "eval", "evalsha", "wait", "unlink", "hget", "hmget", "hset", "hdel", "hexists",
    "hlen", "hkeys", "hgetall", "hincrby", "hscan",
];

/// Parts of the directory's data, in the order of `KEYS`.
const PARTS: [&str; 9] = [
    "dir", "topology", "drains", "leases", "ended", "orphans", "rooms", "options", "stopped",
];

/// Calls once what the scripts call, on a key of its own.
pub(crate) const PROBE: &str = include_str!("lua/probe.lua");

/// For `ACL SETUSER`.
pub(crate) fn acl_rule() -> String {
    let mut rule = "~{PREFIX}:*".to_owned();
    for command in COMMANDS {
        rule.push_str(" +");
        rule.push_str(command);
    }
    rule
}

/// All keys of a directory, in the order of `KEYS`.
pub(crate) fn keys(prefix: &str) -> Vec<String> {
    let key = |part: &&str| format!("{{{prefix}}}:{part}");
    PARTS.iter().map(key).collect()
}

/// A script, and what it is called by.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) text: String,
    pub(crate) hash: String,
}

/// One script for each kind of request.
#[derive(Debug)]
pub(crate) struct Scripts([Prepared; KINDS]);

const KINDS: usize = 14;

/// The part of each script that follows the prelude; a request finds its own by [`position`].
const BODIES: [&str; KINDS] = [
    include_str!("lua/renew.lua"),
    include_str!("lua/claim.lua"),
    include_str!("lua/reassert.lua"),
    include_str!("lua/release.lua"),
    include_str!("lua/transfer.lua"),
    include_str!("lua/put_options.lua"),
    include_str!("lua/resign.lua"),
    include_str!("lua/lookup.lua"),
    include_str!("lua/announce.lua"),
    include_str!("lua/watch.lua"),
    include_str!("lua/lapse.lua"),
    include_str!("lua/end_grace.lua"),
    include_str!("lua/forget.lua"),
    include_str!("lua/set_drain.lua"),
];

fn position(request: &Request) -> usize {
    match request {
        Request::Renew { .. } => 0,
        Request::Claim { .. } => 1,
        Request::Reassert { .. } => 2,
        Request::Release { .. } => 3,
        Request::Transfer { .. } => 4,
        Request::PutOptions { .. } => 5,
        Request::Resign { .. } => 6,
        Request::Lookup { .. } => 7,
        Request::Announce { .. } => 8,
        Request::Watch => 9,
        Request::Lapse { .. } => 10,
        Request::EndGrace { .. } => 11,
        Request::Forget { .. } => 12,
        Request::SetDrain { .. } => 13,
    }
}

/// Whether the answer counts only if the replicas have what was written.
///
/// Not so that nothing is lost: after a fail-over a new life of the directory begins, which keeps nothing
/// but topology and drains; what is held is re-asserted. It is proof that the server is still the
/// master, or was when it wrote. One that was left behind must not make a shard live, or keep it so:
///
/// - A renewal moves the deadline on which all else hangs.
/// - A claim makes its sender live. At a master that was left behind, a lease whose shard has gone over
///   to the new one ends unseen, and the room looks free. (It writes even if the room was the sender's:
///   an earlier claim may be what the replicas do not have.)
/// - The topology and orders to drain are all that a new life keeps: who gave them is told that they hold.
///
/// The others need no proof. After a re-assertion, the room ends with the lease; a release, a resignation
/// or a transfer make nobody live, and whoever gets the room thereby claims it; what a witness
/// says, too, has effect by claims only; options are gone with the life.
pub(crate) fn needs_replicas(request: &Request) -> bool {
    match request {
        Request::Renew { .. }
        | Request::Claim { .. }
        | Request::Announce { .. }
        | Request::SetDrain { .. } => true,
        Request::Reassert { .. }
        | Request::Release { .. }
        | Request::Transfer { .. }
        | Request::PutOptions { .. }
        | Request::Resign { .. }
        | Request::Lookup { .. }
        | Request::Watch
        | Request::Lapse { .. }
        | Request::EndGrace { .. }
        | Request::Forget { .. } => false,
    }
}

impl Scripts {
    pub(crate) fn new() -> Self {
        Self(BODIES.map(|body| {
            let text = format!("{}{body}", include_str!("lua/prelude.lua"));
            let hash = Script::new(&text).get_hash().to_owned();
            Prepared { text, hash }
        }))
    }

    pub(crate) fn for_request(&self, request: &Request) -> Option<&Prepared> {
        self.0.get(position(request))
    }
}
