//! Makes sure that the folder with the built web client exists, so that the crate compiles before
//! (or without) the web build, and is compiled again after it.

use std::fs;
use std::path::Path;

/// Where `make web` puts the web client, relative to this crate.
const DIST: &str = "../web/dist";

fn main() {
    println!("cargo:rerun-if-changed={DIST}");
    let dist = Path::new(DIST);
    if let Err(error) = fs::create_dir_all(dist) {
        println!("cargo:warning=cannot create {DIST} for the web client: {error}");
    } else if !dist.join("index.html").exists() {
        println!(
            "cargo:warning=the web client is not built: the join page will say so; run `make web`"
        );
    }
}
