//! The command line, as clap types. Help texts are the reference: keep them complete.

use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Sharded signalling gateway, room-affinity proxy and media servers.
#[derive(Debug, Parser)]
#[command(name = "anteroom", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start everything in one process and print a join URL: no file, no Docker, no Redis.
    Up(UpArgs),
    /// Run the edge proxy that brings every room to its shard.
    Gateway(RoleArgs),
    /// Run a shard: signalling, rooms and its pool of nodes.
    Shard(RoleArgs),
    /// Run a media node for a shard.
    Node(RoleArgs),
    /// List the shards of a running deployment, empty one, or take that back.
    #[command(subcommand)]
    Shards(ShardsCommand),
    /// Work with access tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Validate configuration files: line, column, cause and fix of every mistake.
    Check(CheckArgs),
    /// Say which shard a request belongs to, and why, without sending it.
    Route(RouteArgs),
    /// Print the JSON Schema of the configuration file, for editors.
    Schema,
    /// Print the reference page of all metrics.
    #[command(hide = true)]
    MetricsReference,
}

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// Where browsers and SDKs connect.
    #[arg(long, default_value = "127.0.0.1:7880")]
    pub(crate) bind: SocketAddr,
    /// Where operators connect: health, metrics, lists. Keep it on loopback.
    #[arg(long, default_value = "127.0.0.1:7890")]
    pub(crate) admin: SocketAddr,
    /// How many shards to start, each with one media node.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) shards: u32,
    /// Folder for what must outlive a restart; created when something is first written. Rooms live in
    /// memory: until recordings exist, nothing is.
    #[arg(long, default_value = "./anteroom-data")]
    pub(crate) data: PathBuf,
    /// A configuration file to start from; its `gateway.shards` may add shards of other processes,
    /// and change weight and state of the embedded ones (`url: embedded`).
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct RoleArgs {
    /// The configuration file; the section of this role and the common ones are used.
    #[arg(long, short, env = "ANTEROOM_CONFIG", default_value = "anteroom.yaml")]
    pub(crate) config: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ShardsCommand {
    /// List the shards: state, live rooms, lease, address.
    Ls(AdminArgs),
    /// Empty a shard: it takes no new rooms, and its live rooms end or move to other shards until the
    /// deadline. Holds for all gateways, and over their restarts, until it is taken back.
    Drain(DrainArgs),
    /// Take the order to empty a shard back.
    Undrain(UndrainArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AdminArgs {
    /// The admin listener of any gateway of the deployment.
    #[arg(long, env = "ANTEROOM_ADMIN", default_value = "http://127.0.0.1:7890")]
    pub(crate) admin: String,
    /// Print what the gateway says, as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    /// The shard, as `anteroom shards ls` names it.
    pub(crate) id: String,
    /// When live rooms are moved away: `90s`, `10m`, `6h`; `0s` moves them now. Without it the
    /// shard's own `drain_deadline_s` counts.
    #[arg(long, value_parser = parse_duration_s)]
    pub(crate) deadline: Option<u64>,
    /// Stay until the shard is empty, and say how it goes on.
    #[arg(long)]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

#[derive(Debug, Args)]
pub(crate) struct UndrainArgs {
    /// The shard, as `anteroom shards ls` names it.
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Sign a token that lets one participant into one room, and print it.
    Create(TokenArgs),
}

#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    /// The room's name.
    #[arg(long)]
    pub(crate) room: String,
    /// Unique name of the participant in that room.
    #[arg(long)]
    pub(crate) identity: String,
    /// Name shown to people.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// How long the token is valid: `90s`, `10m`, `6h`; at most 24h.
    #[arg(long, default_value = "6h", value_parser = parse_duration_s)]
    pub(crate) ttl: u64,
    /// Take the first API key of this file.
    #[arg(long, conflicts_with_all = ["api_key", "api_secret"])]
    pub(crate) config: Option<PathBuf>,
    /// API key; with neither this nor --config, the development key of `anteroom up`.
    #[arg(long, requires = "api_secret")]
    pub(crate) api_key: Option<String>,
    /// Secret of the API key.
    #[arg(long, env = "ANTEROOM_API_SECRET", hide_env_values = true)]
    pub(crate) api_secret: Option<String>,
    /// May only watch.
    #[arg(long)]
    pub(crate) no_publish: bool,
    /// Others do not see it.
    #[arg(long)]
    pub(crate) hidden: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Files to validate.
    #[arg(default_value = "anteroom.yaml")]
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct RouteArgs {
    /// The gateway's configuration file.
    #[arg(long, short, env = "ANTEROOM_CONFIG", default_value = "anteroom.yaml")]
    pub(crate) config: PathBuf,
    /// Print JSON lines instead of text.
    #[arg(long)]
    pub(crate) json: bool,
    /// A URL or a path; `-` reads JSON lines `{"method","url","headers"}` from standard input.
    pub(crate) url: String,
}

/// Reads `90s`, `10m`, `6h`, `1d` or plain seconds.
fn parse_duration_s(text: &str) -> Result<u64, String> {
    let (digits, factor) = match text.as_bytes().last() {
        Some(b's') => (&text[..text.len() - 1], 1),
        Some(b'm') => (&text[..text.len() - 1], 60),
        Some(b'h') => (&text[..text.len() - 1], 3_600),
        Some(b'd') => (&text[..text.len() - 1], 86_400),
        _ => (text, 1),
    };
    let count: u64 = digits
        .parse()
        .map_err(|_| format!("'{text}' is no duration such as 10m"))?;
    count
        .checked_mul(factor)
        .ok_or_else(|| format!("'{text}' is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_are_read_with_and_without_a_unit() {
        assert_eq!(parse_duration_s("90"), Ok(90));
        assert_eq!(parse_duration_s("10m"), Ok(600));
        assert_eq!(parse_duration_s("1d"), Ok(86_400));
        assert!(parse_duration_s("soon").is_err());
        assert!(parse_duration_s("99999999999999999999h").is_err());
    }
}
