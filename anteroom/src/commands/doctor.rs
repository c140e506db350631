//! `anteroom doctor`: from arguments to a run, and its steps on the screen.

use crate::cli::DoctorArgs;
use crate::process;
use anyhow::Context as _;
use doctor::{Login, Settings, Step, Target};
use std::process::ExitCode;
use std::time::Duration;

/// What is told with it: something is broken.
const EXIT_BROKEN: u8 = 1;
/// It could not begin.
const EXIT_USAGE: u8 = 2;

/// Makes all steps and says what is broken.
pub(crate) fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let settings = match settings(args) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("anteroom doctor: {error:#}");
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    };
    let json = args.json;
    let mut tell = move |step: &Step| {
        if !json {
            println!("{}", step.to_text());
        }
    };
    let runtime = process::runtime()?;
    let report = runtime.block_on(doctor::run(&settings, &mut tell));
    if json {
        let text = serde_json::to_string_pretty(&report).context("write the report as JSON")?;
        println!("{text}");
    } else {
        println!("{}", report.ending());
    }
    Ok(if report.ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_BROKEN)
    })
}

fn settings(args: &DoctorArgs) -> anyhow::Result<Settings> {
    anyhow::ensure!(
        args.timeout > 0,
        "--timeout is 0: give each step some seconds"
    );
    let login = match &args.token {
        Some(token) => Login::Token(token.clone()),
        None => {
            anyhow::ensure!(
                !args.api_secret.is_empty(),
                "--api-secret is empty: give the one that belongs to the API key"
            );
            Login::Keys {
                key: args.api_key.clone(),
                secret: args.api_secret.clone(),
            }
        }
    };
    Ok(Settings {
        url: args.url.clone(),
        target: Target::parse(&args.url)?,
        room: args.room.clone(),
        login,
        timeout: Duration::from_secs(args.timeout),
    })
}
