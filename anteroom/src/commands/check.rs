//! `anteroom check`.

use crate::cli::CheckArgs;
use crate::commands::up::EMBEDDED_URL;
use crate::config;
use std::path::Path;
use std::process::ExitCode;

/// A secret that is shorter can be guessed offline from one token (RFC 7518 section 3.2 asks for as
/// many bytes as the hash has).
const SECRET_BYTES_ADVISED: usize = 32;

/// Validates every file; fails if one fails.
pub(crate) fn run(args: &CheckArgs) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for path in &args.files {
        match check(path) {
            Ok(file) => {
                println!("{}: ok ({})", path.display(), roles(&file));
                warn_of_short_secrets(&file);
            }
            Err(cause) => {
                eprintln!("{cause}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

/// The file, and the files that it names.
fn check(path: &Path) -> Result<config::File, String> {
    let file = config::load_with(path, stand_in_for_embedded).map_err(|error| error.to_string())?;
    if let Some(gateway) = &file.gateway {
        let certificates = ::gateway::check_files(gateway);
        certificates.map_err(|cause| format!("{}: {cause}", path.display()))?;
    }
    Ok(file)
}

/// A file for `anteroom up` may say `url: embedded`; where those shards listen is chosen at start.
fn stand_in_for_embedded(file: &mut config::File) {
    let shards = file
        .gateway
        .iter_mut()
        .flat_map(|gateway| &mut gateway.shards);
    for shard in shards.filter(|shard| shard.url == EMBEDDED_URL) {
        "http://127.0.0.1:7880".clone_into(&mut shard.url);
    }
}

fn roles(file: &config::File) -> String {
    let mut roles = Vec::new();
    if let Some(gateway) = &file.gateway {
        roles.push(format!("gateway with {} shards", gateway.shards.len()));
    }
    if file.shard.is_some() {
        roles.push("shard".to_owned());
    }
    if file.node.is_some() {
        roles.push("node".to_owned());
    }
    if roles.is_empty() {
        "no role".to_owned()
    } else {
        roles.join(", ")
    }
}

fn warn_of_short_secrets(file: &config::File) {
    for (key, secret) in &file.keys {
        if secret.len() < SECRET_BYTES_ADVISED {
            eprintln!(
                "  warning: the secret of key '{key}' is shorter than {SECRET_BYTES_ADVISED} bytes"
            );
        }
    }
}
