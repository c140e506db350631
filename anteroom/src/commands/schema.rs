//! `anteroom schema`.

use crate::config::File;
use anyhow::Context as _;
use std::process::ExitCode;

/// Prints the JSON Schema of the configuration file.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let schema = schemars::schema_for!(File);
    println!(
        "{}",
        serde_json::to_string_pretty(&schema).context("write the schema")?
    );
    Ok(ExitCode::SUCCESS)
}
