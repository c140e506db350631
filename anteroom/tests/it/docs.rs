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
fn every_metric_that_is_used_is_in_a_catalogue_and_every_one_there_is_used() {
    let (mut known, mut used) = (BTreeSet::new(), BTreeSet::new());
    for member in ["anteroom", "gateway", "sfu", "shard"] {
        for file in files(&root().join(member).join("src"), "rs") {
            let text = read(&file);
            // A metric's name is a literal: nothing but the name between two quotes.
            let names = metrics(&text).filter(|name| text.contains(&format!("\"{name}\"")));
            if file.ends_with("catalogue.rs") {
                known.extend(names);
            } else {
                used.extend(names);
            }
        }
    }
    assert!(!used.is_empty(), "no metric found in the sources");
    let unknown: Vec<_> = used.difference(&known).collect();
    let unused: Vec<_> = known.difference(&used).collect();
    assert!(unknown.is_empty(), "in no catalogue: {unknown:?}");
    assert!(unused.is_empty(), "nobody sets them: {unused:?}");
}

#[test]
fn the_page_of_metrics_is_what_the_catalogues_say() {
    let output = Command::new(env!("CARGO_BIN_EXE_anteroom"))
        .arg("metrics-reference")
        .output()
        .expect("the binary starts");
    let made = String::from_utf8(output.stdout).expect("text");
    assert!(made.contains("`anteroom_gateway_requests_total`"), "{made}");
    assert!(
        made == read(&root().join("docs/metrics.md")),
        "docs/metrics.md is old: anteroom metrics-reference > docs/metrics.md"
    );
}

#[test]
fn every_metric_that_a_page_names_exists() {
    let known: BTreeSet<String> = metrics(&read(&root().join("docs/metrics.md"))).collect();
    let mut invented = Vec::new();
    for page in files(&root().join("docs"), "md") {
        for name in metrics(&read(&page)) {
            // A family of them, as in `anteroom_host_*`.
            let is_family = name.ends_with('_') && known.iter().any(|one| one.starts_with(&name));
            if !known.contains(&name) && !is_family {
                invented.push(format!("{}: {name}", page.display()));
            }
        }
    }
    assert!(invented.is_empty(), "no such metric: {invented:#?}");
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
