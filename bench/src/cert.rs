//! A certificate for one run.

use anyhow::Context as _;
use clap::Args;
use std::fs;
use std::path::PathBuf;

/// Where to write it.
#[derive(Debug, Args)]
pub(crate) struct CertArgs {
    /// An existing folder.
    #[arg(long)]
    folder: PathBuf,
}

/// Writes the certificate (P-256), the key, and both in one file.
pub(crate) fn run(args: &CertArgs) -> anyhow::Result<()> {
    let issued = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let (cert, key) = (issued.cert.pem(), issued.signing_key.serialize_pem());
    let both = format!("{cert}{key}");
    for (name, text) in [("cert.pem", cert), ("key.pem", key), ("both.pem", both)] {
        let path = args.folder.join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}
