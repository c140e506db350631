//! Runs many seeds, one seed with its story, the wrong versions, or the model.
#![allow(clippy::print_stdout, clippy::expect_used)]

use simulator::model::scopes;
use simulator::{Counts, Params, Variant, World};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const USAGE: &str = "\
usage: simulator [--seeds N] [--from SEED] [--threads N]   histories; one seed: its parameters, and its story if it fails
       simulator --variants [--seeds N] [--from SEED]      the first seed that catches each wrong version
       simulator --model FAULTS TICKS [--minutes N]        all histories within the model's scopes";

/// After so many failures there is enough to look at.
const FAILURES_MAX: usize = 20;

/// A line of progress for so many seeds: about every ten seconds.
const SEEDS_A_LINE: u64 = 5_000;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| args.iter().any(|arg| arg == name);
    let number = |name: &str, place: usize, default: u64| {
        let at = args.iter().position(|arg| arg == name);
        let value = at.and_then(|at| args.get(at + place)?.parse().ok());
        value.unwrap_or(default)
    };
    let (from, seeds) = (number("--from", 1, 0), number("--seeds", 1, 1_000));
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let threads = number("--threads", 1, threads);
    let well = if has("--help") {
        println!("{USAGE}");
        true
    } else if has("--variants") {
        variants(from, seeds)
    } else if has("--model") {
        let (faults, ticks) = (number("--model", 1, 2), number("--model", 2, 8));
        model(faults, ticks, threads, number("--minutes", 1, 30))
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

fn many(from: u64, seeds: u64, threads: u64) -> bool {
    let next = AtomicU64::new(from);
    let found = Mutex::new((Counts::default(), Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
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
        "seeds {from} to {}: {} failed",
        from + seeds - 1,
        failed.len()
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

fn model(faults: u64, ticks: u64, threads: u64, minutes: u64) -> bool {
    let limit = Duration::from_secs(60 * minutes);
    let (faults, ticks) = (
        u8::try_from(faults).unwrap_or(2),
        u16::try_from(ticks).unwrap_or(8),
    );
    let threads = usize::try_from(threads).unwrap_or(1);
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
