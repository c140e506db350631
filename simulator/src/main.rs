//! Runs seeds until one fails.
#![allow(clippy::print_stdout)]

use simulator::{Counts, Params, Variant, World};
use std::process::ExitCode;

fn number(args: &[String], name: &str, default: u64) -> u64 {
    let at = args.iter().position(|arg| arg == name);
    let value = at
        .and_then(|at| args.get(at + 1))
        .and_then(|value| value.parse().ok());
    value.unwrap_or(default)
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let (from, seeds) = (number(&args, "--from", 0), number(&args, "--seeds", 1_000));
    if args.iter().any(|arg| arg == "--variants") {
        return variants(from, seeds);
    }
    let mut failed = 0;
    let mut sum = Counts::default();
    for seed in from..from + seeds {
        let params = Params::from_seed(seed);
        let outcome = World::new(params.clone()).run();
        sum.add(&outcome.counts);
        let Some(violation) = outcome.violation else {
            continue;
        };
        failed += 1;
        println!("seed {seed}: {violation}");
        if seeds == 1 {
            let params = simulator::shrink(params, violation.kind);
            let outcome = World::new(Params {
                trace: true,
                ..params.clone()
            })
            .run();
            for line in outcome.trace {
                println!("{line}");
            }
            println!("{params:?}");
            println!("{:?}", outcome.violation);
        }
        if failed >= 20 {
            break;
        }
    }
    sum.rehomed_ms.sort_unstable();
    let all = std::mem::take(&mut sum.rehomed_ms);
    let quantile = |permille: usize| all.get(all.len() * permille / 1_000).copied();
    println!("{sum:#?}");
    println!(
        "rehomed: {} p50 {:?} p99 {:?}",
        all.len(),
        quantile(500),
        quantile(990)
    );
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Looks for a seed that catches each wrong variant.
fn variants(from: u64, seeds: u64) -> ExitCode {
    let only = std::env::args()
        .nth(1)
        .filter(|name| !name.starts_with("--"));
    let only = only.as_ref();
    let mut all = true;
    for variant in Variant::ALL
        .into_iter()
        .filter(|variant| only.is_none_or(|only| format!("{variant:?}") == *only))
    {
        let caught = (from..from + seeds).find_map(|seed| {
            let variant = Some(variant);
            let params = Params {
                variant,
                ..Params::from_seed(seed)
            };
            World::new(params)
                .run()
                .violation
                .map(|violation| (seed, violation))
        });
        all &= caught.is_some();
        match caught {
            Some((seed, violation)) => println!("{variant:?}: seed {seed}: {violation}"),
            None => println!("{variant:?}: not caught"),
        }
    }
    if all {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
