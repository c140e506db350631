//! Runs many seeds, one seed with its story, the wrong versions, or the model.
#![allow(clippy::print_stdout, clippy::expect_used)]

use clap::Parser;
use simulator::model::scopes;
use simulator::{Counts, Params, Variant, World};
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Histories of room ownership, or its model. One seed alone prints its parameters, and its story if it
/// fails.
#[derive(Parser)]
struct Options {
    /// How many seeds
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// At one time; without: as many as the machine has cores
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// Look for the first seed that catches each wrong version
    #[arg(long, conflicts_with = "model")]
    variants: bool,
    /// All histories of the model's scopes with so many faults
    #[arg(long, value_name = "FAULTS", requires = "ticks")]
    model: Option<u8>,
    /// within so many sixths of a lease
    #[arg(long, requires = "model")]
    ticks: Option<u16>,
    /// Longest time for each scope of the model
    #[arg(long, default_value_t = 30)]
    minutes: u64,
}

/// After so many failures there is enough to look at.
const FAILURES_MAX: usize = 20;

/// A line of progress for so many seeds: about every ten seconds.
const SEEDS_A_LINE: u64 = 5_000;

fn main() -> ExitCode {
    let options = Options::parse();
    let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = options.threads.map_or_else(cores, NonZeroUsize::get);
    let (from, seeds) = (options.from, options.seeds);
    let well = if options.variants {
        variants(from, seeds)
    } else if let (Some(faults), Some(ticks)) = (options.model, options.ticks) {
        model(faults, ticks, threads, options.minutes)
    } else if seeds == 1 {
        one(from)
    } else {
        many(from, seeds, threads)
    };
    if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// One seed: what is in it, and the shortest story of what goes wrong.
fn one(seed: u64) -> bool {
    let params = Params::from_seed(seed);
    println!("{params:#?}");
    let outcome = World::new(params.clone()).run();
    let Some(violation) = outcome.violation else {
        println!("{:#?}", outcome.counts);
        return true;
    };
    let trace = true;
    let params = Params {
        trace,
        ..simulator::shrink(params, violation.kind)
    };
    println!("with fewer faults: {params:?}");
    let outcome = World::new(params).run();
    for line in outcome.trace {
        println!("{line}");
    }
    println!("seed {seed}: {violation}");
    false
}

fn many(from: u64, seeds: u64, threads: usize) -> bool {
    let next = AtomicU64::new(from);
    let found = Mutex::new((Counts::default(), Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds {
                        return;
                    }
                    let outcome = World::new(Params::from_seed(seed)).run();
                    let mut found = found.lock().expect("no panic in between");
                    found.0.add(&outcome.counts);
                    let done = seed - from + 1;
                    if done.is_multiple_of(SEEDS_A_LINE) {
                        println!("{done} of {seeds} seeds, {} failed", found.1.len());
                    }
                    if let Some(violation) = outcome.violation {
                        println!("seed {seed}: {violation}");
                        found.1.push(seed);
                        if found.1.len() >= FAILURES_MAX {
                            return;
                        }
                    }
                }
            });
        }
    });
    let (mut sum, failed) = found.into_inner().expect("all threads have ended");
    let mut rehomed = std::mem::take(&mut sum.rehomed_ms);
    rehomed.sort_unstable();
    let quantile = |permille: usize| rehomed.get(rehomed.len() * permille / 1_000).copied();
    println!("{sum:#?}");
    let (half, most) = (quantile(500), quantile(990));
    println!(
        "killed shards' rooms: {}, next join p50 {half:?}, p99 {most:?} ms",
        rehomed.len()
    );
    println!(
        "{seeds} seeds from {from}: {} failed{}",
        failed.len(),
        if failed.len() >= FAILURES_MAX {
            "; stopped early"
        } else {
            ""
        }
    );
    failed.is_empty()
}

/// Looks for a seed that catches each wrong version.
fn variants(from: u64, seeds: u64) -> bool {
    let mut all = true;
    for variant in Variant::ALL {
        let caught = (from..from + seeds).find_map(|seed| {
            let variant = Some(variant);
            let params = Params {
                variant,
                ..Params::from_seed(seed)
            };
            let violation = World::new(params).run().violation?;
            Some((seed, violation))
        });
        all &= caught.is_some();
        match caught {
            Some((seed, violation)) => println!("{variant:?}: seed {seed}: {violation}"),
            None => println!("{variant:?}: not caught"),
        }
    }
    all
}

fn model(faults: u8, ticks: u16, threads: usize, minutes: u64) -> bool {
    let limit = Duration::from_secs(60 * minutes);
    let mut well = true;
    for scope in scopes(faults, ticks) {
        let report = scope.check_large(threads, limit);
        println!(
            "{}, {faults} faults in {ticks} ticks: {report:?}",
            scope.name
        );
        well &= report.violation.is_none();
    }
    well
}
