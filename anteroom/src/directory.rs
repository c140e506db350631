//! The directory that all programs of a deployment share, if the file names one.

use crate::config;
use affinity::directory::Directory;
use anyhow::Context as _;
use directory::RedisDirectory;
use std::sync::Arc;

/// Opens the shared directory; `None` if the file names none, and one gateway keeps it in its memory.
///
/// A Redis that is not there yet is waited for by all that need it: the next outage must not keep
/// gateways and shards from starting. One that could never serve is an error.
pub(crate) async fn open(file: &config::File) -> anyhow::Result<Option<Arc<dyn Directory>>> {
    let Some(section) = file.directory.as_ref().and_then(|it| it.redis.as_ref()) else {
        return Ok(None);
    };
    let directory = RedisDirectory::new(section).context("directory.redis")?;
    match directory.probe().await {
        Ok(_) => {}
        Err(problem) if problem.is_passing() => {
            tracing::error!(%problem, "no directory yet: rooms cannot be opened; trying again");
        }
        Err(problem) => return Err(anyhow::Error::new(problem).context("directory.redis")),
    }
    Ok(Some(Arc::new(directory)))
}
