//! Dependencies point inward, and pure modules stay pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Who may know whom inside the workspace.
const ALLOWED: [(&str, &[&str]); 19] = [
    ("affinity", &[]),
    // It sees sizes and times, no media.
    ("bandwidth", &[]),
    // It speaks the public protocol alone, to our servers as to others.
    ("client", &[]),
    ("directory", &["affinity"]),
    // It asks as a client does, and nobody but the command line asks it.
    ("doctor", &["client"]),
    ("proto", &[]),
    // What operators see has one form in all programs.
    ("observe", &[]),
    // Packets on their way out know nothing of rooms.
    ("downlink", &[]),
    // Payloads mean the same whoever sends them on.
    ("payload", &[]),
    // Between nodes: it carries bytes and knows who is who.
    ("relay", &["proto"]),
    // Who may be relayed says the credential: no rooms, no media.
    ("turn-server", &["proto"]),
    (
        "sfu",
        &[
            "affinity",
            "bandwidth",
            "downlink",
            "observe",
            "payload",
            "proto",
            "relay",
            "turn-server",
        ],
    ),
    ("gateway", &["affinity", "observe", "proto"]),
    ("shard", &["affinity", "observe", "proto"]),
    (
        "anteroom",
        &[
            "affinity",
            "directory",
            "doctor",
            "gateway",
            "loadtest",
            "observe",
            "proto",
            "sfu",
            "shard",
        ],
    ),
    // Participants made up for operators: they see what a client sees.
    ("loadtest", &["client", "proto"]),
    // No product: it measures our programs beside others, from outside.
    ("bench", &["affinity", "client", "proto"]),
    // No product: it tests the parsers of all others, and nobody may need it.
    (
        "fuzz",
        &[
            "affinity",
            "bandwidth",
            "client",
            "downlink",
            "gateway",
            "payload",
            "proto",
            "relay",
            "sfu",
            "shard",
            "turn-server",
        ],
    ),
    // No product either: it runs the ownership protocol through thousands of histories.
    ("simulator", &["affinity"]),
];

/// Folders whose code may not look outside, and the words that would.
const PURE: [&str; 9] = [
    "affinity/src",
    "bandwidth/src",
    "client/src/session",
    "doctor/src/core",
    "downlink/src",
    "payload/src",
    "shard/src/core",
    "sfu/src/engine",
    "turn/src/core",
];
const IMPURE_WORDS: [&str; 6] = [
    "tokio::",
    "std::net::UdpSocket",
    "Instant::now()",
    "SystemTime::now()",
    "std::thread::",
    "std::fs::",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .to_owned()
}

#[test]
fn crates_depend_only_inward() {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(root())
        .output()
        .expect("cargo metadata");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("json");
    let packages = metadata["packages"].as_array().expect("packages");
    let names: BTreeSet<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.into_iter().collect();
    assert_eq!(
        names,
        allowed.keys().copied().collect(),
        "a new crate needs its place here"
    );

    for package in packages {
        let name = package["name"].as_str().expect("name");
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let known = dependency["name"].as_str().expect("name");
            let is_dev = dependency["kind"].as_str() == Some("dev");
            if names.contains(known) && !is_dev {
                assert!(
                    allowed[name].contains(&known),
                    "{name} must not know {known}"
                );
            }
        }
    }
}

#[test]
fn pure_folders_name_no_clock_socket_or_runtime() {
    for folder in PURE {
        for file in rust_files(&root().join(folder)) {
            let text = std::fs::read_to_string(&file).expect("readable");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            if file.file_name().is_some_and(|name| name == "tests.rs") {
                continue;
            }
            for word in IMPURE_WORDS {
                assert!(!code.contains(word), "{} names {word}", file.display());
            }
        }
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("folder") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "tests") {
                files.extend(rust_files(&path));
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    assert!(!files.is_empty(), "{} has no code", folder.display());
    files
}
