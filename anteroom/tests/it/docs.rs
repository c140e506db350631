//! The documentation says what is there: its links lead somewhere, its metrics are the program's.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What all metrics begin with.
const METRIC_PREFIX: &str = "anteroom_";
/// ARCHITECTURE.md is read in one go: below this many lines.
const ARCHITECTURE_LINES_MAX: usize = 300;
/// Folders of one developer's machine, written in two halves, because this file is searched too.
const MACHINE_PATHS: [(&str, &str); 2] = [("/wo", "rk/"), ("/tmp/", "bg")];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .to_owned()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_relative_link_leads_to_a_file() {
    let root = root();
    let mut pages = vec![root.join("README.md"), root.join("ARCHITECTURE.md")];
    pages.extend(files(&root.join("docs"), "md"));
    let mut broken = Vec::new();
    for page in pages {
        let folder = page.parent().expect("a folder");
        for link in relative_links(&read(&page)) {
            if !folder.join(&link).exists() {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "links to nothing: {broken:#?}");
}

#[test]
fn every_metric_is_documented_and_every_documented_one_exists() {
    let root = root();
    let mut used = BTreeSet::new();
    for member in std::fs::read_dir(&root).expect("the workspace") {
        let sources = member.expect("entry").path().join("src");
        if !sources.is_dir() {
            continue;
        }
        for file in files(&sources, "rs") {
            let text = read(&file);
            // A metric's name is a literal: nothing but the name between two quotes.
            used.extend(metrics(&text).filter(|name| text.contains(&format!("\"{name}\""))));
        }
    }
    assert!(!used.is_empty(), "no metric found in the sources");
    let page = read(&root.join("docs/operations.md"));
    let listed: BTreeSet<String> = metrics(&page).collect();
    let missing: Vec<_> = used.difference(&listed).collect();
    let invented: Vec<_> = listed.difference(&used).collect();
    assert!(missing.is_empty(), "not in docs/operations.md: {missing:?}");
    assert!(
        invented.is_empty(),
        "only in docs/operations.md: {invented:?}"
    );
}

#[test]
fn the_architecture_is_read_in_one_go() {
    let lines = read(&root().join("ARCHITECTURE.md")).lines().count();
    assert!(
        lines < ARCHITECTURE_LINES_MAX,
        "ARCHITECTURE.md has {lines} lines: move details to docs/"
    );
}

#[test]
fn no_file_names_a_folder_of_one_machine() {
    let root = root();
    let output = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(&root)
        .output()
        .expect("git");
    assert!(output.status.success(), "git ls-files failed");
    let listed = String::from_utf8(output.stdout).expect("file names");
    let listed: Vec<&str> = listed.split('\0').filter(|name| !name.is_empty()).collect();
    assert!(!listed.is_empty(), "git lists no file");
    let mut found = Vec::new();
    for name in listed {
        // Binary files, and those that are being deleted, have nothing to read.
        let Ok(text) = std::fs::read_to_string(root.join(name)) else {
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            let names_one =
                |(first, second): &(&str, &str)| line.contains(&[*first, *second].concat());
            if MACHINE_PATHS.iter().any(names_one) {
                found.push(format!("{name}:{}", number + 1));
            }
        }
    }
    assert!(found.is_empty(), "paths of one machine: {found:#?}");
}

/// Targets of `[text](target)` that are neither URLs nor places in the same page.
fn relative_links(page: &str) -> Vec<String> {
    let mut links = Vec::new();
    let mut is_code = false;
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        if is_code {
            continue;
        }
        for after in line.split("](").skip(1) {
            let target = after.split(')').next().unwrap_or_default();
            let path = target.split('#').next().unwrap_or_default();
            if !path.is_empty() && !target.contains(':') {
                links.push(path.to_owned());
            }
        }
    }
    links
}

/// Every `anteroom_...` name in a text.
fn metrics(text: &str) -> impl Iterator<Item = String> {
    text.match_indices(METRIC_PREFIX).map(|(at, _)| {
        let rest = text[at..].chars();
        rest.take_while(|c| c.is_ascii_lowercase() || *c == '_')
            .collect()
    })
}

/// All files below a folder with this extension.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in
        std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
    {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found
}
