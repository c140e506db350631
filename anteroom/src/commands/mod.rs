//! One file a command.

mod check;
mod doctor;
mod gateway;
mod loadtest;
mod metrics_reference;
mod node;
mod route;
mod schema;
mod shard;
mod shards;
mod token;
mod up;

use crate::cli::{Cli, Command, TokenCommand};
use std::process::ExitCode;

/// Runs a command to its end.
pub(crate) fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Up(args) => up::run(&args),
        Command::Gateway(args) => gateway::run(&args),
        Command::Shard(args) => shard::run(&args),
        Command::Node(args) => node::run(&args),
        Command::Shards(command) => shards::run(&command),
        Command::Token(TokenCommand::Create(args)) => token::create(args),
        Command::Check(args) => Ok(check::run(&args)),
        Command::Route(args) => route::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Schema => schema::run(),
        Command::MetricsReference => Ok(metrics_reference::run()),
        Command::Loadtest(args) => loadtest::run(&args),
    }
}
