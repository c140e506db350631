//! Every file of every corpus, and random bytes and damaged corpus files besides.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use fuzz::{TARGETS, Target};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Random inputs per target. `PROPTEST_CASES` asks for more.
const CASES: u32 = 256;
/// Longest random input, bytes.
const SOUP_MAX: usize = 2048;
/// Most places at which a corpus file is damaged.
const DAMAGES_MAX: usize = 8;
/// Bytes of all corpora together: seeds are made by hand, and stay readable.
const CORPUS_BYTES_MAX: u64 = 256 * 1024;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| {
        panic!("{}: {error}", folder.display());
    });
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
    entries
        .map(|entry| name(entry).into_string().unwrap())
        .collect()
}

fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = folder("corpus").join(target.name);
    let files = names(&folder).into_iter();
    let read = |name: String| {
        let contents = std::fs::read(folder.join(&name)).unwrap();
        (name, contents)
    };
    files.map(read).collect()
}

#[test]
fn every_target_has_a_corpus_and_a_fuzzer_and_nothing_else_has() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|t| t.name.to_owned()).collect();
    assert_eq!(targets.len(), TARGETS.len(), "two targets of one name");
    assert_eq!(names(&folder("corpus")), targets);
    let fuzzers = names(&folder("libfuzzer/fuzz_targets"));
    let fuzzers: BTreeSet<String> = fuzzers.iter().map(|name| name.replace(".rs", "")).collect();
    assert_eq!(fuzzers, targets);
    let manifest = std::fs::read_to_string(folder("libfuzzer/Cargo.toml")).unwrap();
    for target in TARGETS {
        assert!(!corpus(target).is_empty(), "no seeds for {}", target.name);
        let entry = format!("fuzz_targets/{}.rs", target.name);
        assert!(manifest.contains(&entry), "{entry} is not built");
    }
}

#[test]
fn the_corpora_stay_small() {
    let sizes = TARGETS
        .iter()
        .flat_map(corpus)
        .map(|(_, contents)| contents.len() as u64);
    assert!(sizes.sum::<u64>() <= CORPUS_BYTES_MAX);
}

#[test]
fn every_corpus_file_is_handled() {
    let mut failures = Vec::new();
    for target in TARGETS {
        for (file, contents) in corpus(target) {
            let run = AssertUnwindSafe(|| (target.run)(&contents));
            if catch_unwind(run).is_err() {
                failures.push(format!("{}/{file}", target.name));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:?}");
}

/// A corpus file, and what is done to it: at a place, so many bytes are replaced by these.
type Damage = (prop::sample::Index, usize, Vec<u8>);

fn soup(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let random = prop::collection::vec(any::<u8>(), 0..SOUP_MAX);
    let damage = (
        any::<prop::sample::Index>(),
        0..16_usize,
        prop::collection::vec(any::<u8>(), 0..16),
    );
    let damages = prop::collection::vec(damage, 1..DAMAGES_MAX);
    let damaged = (prop::sample::select(seeds), damages)
        .prop_map(|(seed, damages)| damages.into_iter().fold(seed, damage_one));
    prop_oneof![1 => random, 3 => damaged]
}

fn damage_one(mut bytes: Vec<u8>, (at, length, with): Damage) -> Vec<u8> {
    let at = at.index(bytes.len() + 1);
    let end = (at + length).min(bytes.len());
    bytes.splice(at..end, with);
    bytes
}

/// Random inputs for one target; the smallest failing one is printed as a byte string.
fn stir(name: &str) {
    let target = TARGETS
        .iter()
        .find(|target| target.name == name)
        .expect("a target");
    let seeds: Vec<Vec<u8>> = corpus(target)
        .into_iter()
        .map(|(_, contents)| contents)
        .collect();
    let asked = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    let config = Config {
        cases: asked.unwrap_or(CASES),
        failure_persistence: None,
        max_shrink_iters: 4096,
        ..Config::default()
    };
    let result = TestRunner::new(config).run(&soup(seeds), |bytes| {
        let run = AssertUnwindSafe(|| (target.run)(&bytes));
        catch_unwind(run).map_err(|_| TestCaseError::fail("it panicked, see above"))
    });
    if let Err(TestError::Fail(_, bytes)) = result {
        panic!(
            "{name}: keep this input in its corpus: b\"{}\"",
            bytes.escape_ascii()
        );
    }
    result.expect("inputs are made");
}

macro_rules! stirred {
    ($($name:ident)*) => {
        mod stirred {
            $(#[test] fn $name() { super::stir(stringify!($name)); })*

            #[test]
            fn none_is_forgotten() {
                let stirred = [$(stringify!($name)),*];
                assert_eq!(stirred.to_vec(), fuzz::TARGETS.iter().map(|t| t.name).collect::<Vec<_>>());
            }
        }
    };
}

stirred! {
    access_token
    candidates
    client_datagrams
    client_sdp
    client_signal
    client_upgrade
    data_packet
    datagrams
    established
    feedback
    ice_fragment
    join_parameters
    payloads
    peer_message
    relay_datagrams
    relay_hello
    relay_message
    request_head
    resource_offer
    room_key
    routing
    sdp_answer
    sdp_offer
    signal_binary
    signal_text
    signed_context
    stream_frames
    turn_messages
}
