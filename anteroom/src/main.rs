//! The `anteroom` binary: one program for every role.
//!
//! Owns: the command line, the configuration file, the admin listener, and how the roles are composed
//! into processes. Must not: hold logic that a role crate could hold.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line prints"
)]

mod admin;
mod cli;
mod commands;
mod config;
mod directory;
mod metrics;
mod nodes;
mod process;
mod telemetry;
mod traces;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Two rustls providers are linked (pingora brings ring): without an explicit choice rustls panics.
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        eprintln!("anteroom: a TLS provider was installed before main: this is a bug");
        return ExitCode::FAILURE;
    }
    match commands::run(cli::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("anteroom: {error:#}");
            ExitCode::FAILURE
        }
    }
}
