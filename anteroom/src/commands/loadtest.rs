//! `anteroom loadtest`: from arguments to a run, its progress on standard error, its report in a folder.

use crate::cli::{LoadtestArgs, LoadtestCodec, LoadtestLayer};
use loadtest::media::{Codec, Layer};
use loadtest::plan::PlanSettings;
use loadtest::progress::Progress;
use loadtest::report::{Report, Verdict};
use loadtest::run::{Cause, Ended, Run, RunSettings, Stop};
use loadtest::slo::{EXIT_USAGE, Slo};
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// What shells give to a program that Ctrl-C ended.
const EXIT_INTERRUPTED: u8 = 130;

/// Runs it to its end. What cannot be begun is one line, and exit code 2.
pub(crate) fn run(args: &LoadtestArgs) -> anyhow::Result<ExitCode> {
    let (slo, run) = match prepare(args) {
        Ok(prepared) => prepared,
        Err(error) => {
            eprintln!("anteroom loadtest: {error:#}");
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    };
    for note in run.notes() {
        eprintln!("anteroom loadtest: {note}");
    }
    let stop = Stop::new();
    listen_for_signals(stop.clone())?;
    let duration = Duration::from_secs(args.duration);
    let progress = if std::io::stderr().is_terminal() {
        Progress::bar(run.joins(), duration)
    } else {
        Progress::plain(Box::new(std::io::stderr()), run.joins(), duration)
    };
    let ended = run.go(&slo, stop, progress)?;
    write(&args.report, &ended.report)?;
    Ok(tell(args, &ended))
}

/// Everything that can be wrong before the first packet.
fn prepare(args: &LoadtestArgs) -> anyhow::Result<(Slo, Run)> {
    let slo = match &args.slo {
        None => Slo::without_errors(),
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                anyhow::anyhow!(
                    "{}: {error}; give --slo a file of objectives",
                    path.display()
                )
            })?;
            Slo::parse(path, &text)?
        }
    };
    check_folder(&args.report)?;
    let media = args.media.clone().unwrap_or_else(media_folder);
    Ok((slo, Run::prepare(settings(args), &media)?))
}

fn settings(args: &LoadtestArgs) -> RunSettings {
    let plan = PlanSettings {
        rooms: args.rooms,
        people: args.people,
        publishers: args.publishers,
        duration: Duration::from_secs(args.duration),
        join_rate: args.join_rate,
        churn_rate: args.churn_rate,
        speak: Duration::from_secs(args.speak),
        fault_every: Duration::from_secs(args.fault_every),
        seed: args.seed,
        prefix: args.prefix.clone(),
        ..PlanSettings::new(args.profile.into())
    };
    let defaults = RunSettings::new(plan, args.url.clone());
    RunSettings {
        api_key: args.api_key.clone(),
        api_secret: args.api_secret.clone(),
        dual: args.dual,
        codec: match args.codec {
            LoadtestCodec::Vp8 => Codec::Vp8,
            LoadtestCodec::H264 => Codec::H264,
        },
        largest: layer(args.largest),
        simulcast: args.simulcast,
        watch: layer(args.watch),
        full_every: args.full_every,
        workers: args.workers.unwrap_or(defaults.workers),
        synthetic: args.synthetic,
        metrics: args.metrics.clone(),
        webrtc: args.webrtc,
        browsers: args.browsers,
        browser: args.browser.clone(),
        tool: concat!("anteroom ", env!("CARGO_PKG_VERSION")).to_owned(),
        ..defaults
    }
}

fn layer(layer: LoadtestLayer) -> Layer {
    match layer {
        LoadtestLayer::Low => Layer::Low,
        LoadtestLayer::Medium => Layer::Medium,
        LoadtestLayer::High => Layer::High,
    }
}

/// Where media is kept from run to run: the user's cache.
fn media_folder() -> PathBuf {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(home);
    cache.unwrap_or_else(std::env::temp_dir).join("anteroom")
}

/// A run of an hour whose report cannot be written is an hour lost.
fn check_folder(folder: &Path) -> anyhow::Result<()> {
    let probe = folder.join(".writable");
    let tried = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&probe, b""));
    tried.map_err(|error| {
        anyhow::anyhow!(
            "{} cannot be written to: {error}; give --report a folder that can",
            folder.display()
        )
    })?;
    // It has been there: that it stays is no harm.
    let _ = std::fs::remove_file(probe);
    Ok(())
}

fn write(folder: &Path, report: &Report) -> anyhow::Result<()> {
    let files = [
        ("report.json", report.to_json()),
        ("report.html", loadtest::html::render(report)),
    ];
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::write(&path, text)
            .map_err(|error| anyhow::anyhow!("{} cannot be written: {error}", path.display()))?;
    }
    Ok(())
}

/// The end in a few lines, and the exit code.
fn tell(args: &LoadtestArgs, ended: &Ended) -> ExitCode {
    let report = &ended.report;
    println!("{}", loadtest::summary::text(report));
    println!("report: {}", args.report.join("report.html").display());
    if let Some(cause) = &ended.cause {
        eprintln!("anteroom loadtest: {cause}");
    }
    if report.verdict == Verdict::Invalid
        && let Some(own) = &report.generator
    {
        let reasons = own.reasons.join("; ");
        eprintln!("anteroom loadtest: the figures say nothing about the server: {reasons}");
    }
    match ended.cause {
        _ if report.run.interrupted => ExitCode::from(EXIT_INTERRUPTED),
        Some(Cause::NeverJoined(_)) => ExitCode::from(EXIT_USAGE),
        _ => ExitCode::from(report.exit_code()),
    }
}

/// The first Ctrl-C (or SIGTERM) ends the run, the second one the program.
fn listen_for_signals(stop: Stop) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        )
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                for times in 0.. {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    if times > 0 {
                        std::process::exit(EXIT_INTERRUPTED.into());
                    }
                    eprintln!(
                        "anteroom loadtest: stopping; once more ends at once, without a report"
                    );
                    stop.cancel();
                }
            });
        })?;
    Ok(())
}
