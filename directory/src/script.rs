//! The Lua scripts and what an operator must allow for them.

/// Commands that are sent or called from scripts.
const COMMANDS: [&str; 14] = [
    "info", "eval", "evalsha", "wait", "get", "set", "del", "exists", "incrby", "hget", "hset",
    "hdel", "hgetall", "hlen",
];

/// Does what the scripts do, to one key of its own.
pub(crate) const PROBE: &str = include_str!("probe.lua");

/// For `ACL SETUSER`.
pub(crate) fn acl_rule() -> String {
    let commands: Vec<String> = COMMANDS.iter().map(|name| format!("+{name}")).collect();
    format!("~{{PREFIX}}:* {}", commands.join(" "))
}
