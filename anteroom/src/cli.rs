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
    /// Find the broken link between people and their calls: name, TCP, TLS, HTTP, WebSocket, token,
    /// join, every way of media (UDP, ICE-TCP, TURN), and sound from one participant to another.
    ///
    /// Each failure is told with its cause and its cure. Exit codes: 0 ok, warnings included; 1 broken;
    /// 2 it could not begin (arguments, URL).
    Doctor(DoctorArgs),
    /// Print the JSON Schema of the configuration file, for editors.
    Schema,
    /// Print the reference page of all metrics.
    #[command(hide = true)]
    MetricsReference,
    /// Fill rooms with participants who publish and watch, and report what they saw: join times,
    /// latency, loss, freezes. Works against any LiveKit server.
    ///
    /// Exit codes: 0 all objectives were kept; 1 one was missed, or the server went away; 2 it could not
    /// begin (arguments, URL, keys, file limit); 3 the generator could not keep up, so that the
    /// figures say nothing about the server; 130 stopped by Ctrl-C. The report is written in all
    /// cases but 2 before the first join.
    Loadtest(Box<LoadtestArgs>),
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

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The deployment as people open it: `https://meet.example.org`, with or without a room.
    #[arg(default_value = "http://127.0.0.1:7880")]
    pub(crate) url: String,
    /// The room to join. Without it that of the URL or the token, else one that nobody else is in.
    #[arg(long)]
    pub(crate) room: Option<String>,
    /// API key that the server knows.
    #[arg(long, env = "LIVEKIT_API_KEY", default_value = "devkey")]
    pub(crate) api_key: String,
    /// Secret of the API key.
    #[arg(
        long,
        env = "LIVEKIT_API_SECRET",
        default_value = "secret",
        hide_env_values = true
    )]
    pub(crate) api_secret: String,
    /// A token in place of key and secret. It is one participant: sound from one to another is only
    /// tried where the server hands out tokens itself.
    #[arg(long, env = "ANTEROOM_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Print one JSON object at the end.
    #[arg(long)]
    pub(crate) json: bool,
    /// How long each step may take: `5s`, or plain seconds.
    #[arg(long, default_value = "5s", value_parser = parse_duration_s)]
    pub(crate) timeout: u64,
}

#[derive(Debug, Args)]
pub(crate) struct LoadtestArgs {
    /// What people do: `meeting` all publish; `webinar` few publish, many watch; `churn` people come
    /// and go; `switch` one speaks at a time and is looked at; `torture` cut connections, vanishing
    /// people, mutes.
    #[arg(value_enum)]
    pub(crate) profile: LoadtestProfile,
    /// The server: `http`, `https`, `ws` or `wss`.
    pub(crate) url: String,
    /// How many rooms.
    #[arg(long, default_value_t = 1)]
    pub(crate) rooms: usize,
    /// How many participants in each.
    #[arg(long, default_value_t = 4)]
    pub(crate) people: usize,
    /// From the first join until all leave: `90s`, `10m`.
    #[arg(long, default_value = "60s", value_parser = parse_duration_s)]
    pub(crate) duration: u64,
    /// Folder for `report.json` and `report.html`; created, and overwritten.
    #[arg(long, default_value = "loadtest-report")]
    pub(crate) report: PathBuf,
    /// A YAML file of objectives, such as `latency_p99_ms: 150`. Without one: no errors.
    #[arg(long)]
    pub(crate) slo: Option<PathBuf>,
    /// API key that the server knows.
    #[arg(long, env = "LIVEKIT_API_KEY", default_value = "devkey")]
    pub(crate) api_key: String,
    /// Secret of the API key.
    #[arg(
        long,
        env = "LIVEKIT_API_SECRET",
        default_value = "secret",
        hide_env_values = true
    )]
    pub(crate) api_secret: String,
    /// Where the servers' metrics are, `http://host:port/metrics`; once for each server. Without any:
    /// those of `anteroom up` on this machine, if it answers.
    #[arg(long, value_name = "URL")]
    pub(crate) metrics: Vec<String>,
    /// Codec of the pictures.
    #[arg(long, value_enum, default_value_t = LoadtestCodec::Vp8)]
    pub(crate) codec: LoadtestCodec,
    /// The largest size that is sent: 180p, 360p or 720p.
    #[arg(long, value_enum, default_value_t = LoadtestLayer::High)]
    pub(crate) largest: LoadtestLayer,
    /// Send pictures in all sizes up to the largest, or only in that.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub(crate) simulcast: bool,
    /// In which size others are watched, where nobody speaks in particular.
    #[arg(long, value_enum, default_value_t = LoadtestLayer::High)]
    pub(crate) watch: LoadtestLayer,
    /// Two peer connections each (`/rtc`) instead of one (`/rtc/v1`).
    #[arg(long)]
    pub(crate) dual: bool,
    /// In `webinar`: how many of each room publish.
    #[arg(long, default_value_t = 1)]
    pub(crate) publishers: usize,
    /// Joins a second at the start.
    #[arg(long, default_value_t = 10.0)]
    pub(crate) join_rate: f64,
    /// In `churn`: how many people a second are replaced, in all rooms.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) churn_rate: f64,
    /// In `switch`: how long each one speaks.
    #[arg(long, default_value = "3s", value_parser = parse_duration_s)]
    pub(crate) speak: u64,
    /// In `torture`: time from fault to fault, in all rooms.
    #[arg(long, default_value = "1s", value_parser = parse_duration_s)]
    pub(crate) fault_every: u64,
    /// The plan's dice: the same seed gives the same plan.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// The beginning of all room names.
    #[arg(long, default_value = "loadtest")]
    pub(crate) prefix: String,
    /// One in so many participants decrypts what it receives, with latency of every packet; the others
    /// count clear headers. Default: all up to 100 participants, one in 5 beyond.
    #[arg(long, value_name = "N")]
    pub(crate) full_every: Option<usize>,
    /// Threads that drive participants. Default: one for each core.
    #[arg(long)]
    pub(crate) workers: Option<usize>,
    /// Further participants over another WebRTC implementation, the `webrtc` crate.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) webrtc: usize,
    /// Further participants in tabs of a headless Chromium, in the server's own web client.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) browsers: usize,
    /// The browser. Default: the first Chromium or Chrome in the PATH.
    #[arg(long, env = "CHROMIUM", value_name = "FILE")]
    pub(crate) browser: Option<PathBuf>,
    /// Send media without pictures: right sizes and headers, made without ffmpeg.
    #[arg(long)]
    pub(crate) synthetic: bool,
    /// Folder in which media is kept from run to run. Default: `anteroom` in the user's cache.
    #[arg(long, value_name = "DIR")]
    pub(crate) media: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum LoadtestProfile {
    Meeting,
    Webinar,
    Churn,
    Switch,
    Torture,
}

impl From<LoadtestProfile> for loadtest::plan::Profile {
    fn from(profile: LoadtestProfile) -> Self {
        match profile {
            LoadtestProfile::Meeting => Self::Meeting,
            LoadtestProfile::Webinar => Self::Webinar,
            LoadtestProfile::Churn => Self::Churn,
            LoadtestProfile::Switch => Self::Switch,
            LoadtestProfile::Torture => Self::Torture,
        }
    }
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum LoadtestCodec {
    Vp8,
    H264,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum LoadtestLayer {
    /// 180p.
    Low,
    /// 360p.
    Medium,
    /// 720p.
    High,
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
