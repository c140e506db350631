//! The directory of a gateway that is not built yet.

use affinity::directory::{Directory, DirectoryFuture, DirectoryUnreachable, Request};
use std::sync::{Arc, OnceLock};

/// Shards need the directory, the gateway that holds it needs the shards' addresses: shards get this,
/// and it is filled once the gateway is there.
#[derive(Default)]
pub(super) struct LateDirectory(OnceLock<Arc<dyn Directory>>);

impl LateDirectory {
    /// From now on calls go to `directory`. Only the first one counts.
    pub(super) fn fill(&self, directory: Arc<dyn Directory>) {
        // A second call would be a mistake in `up` alone; the first directory stays right.
        let _ = self.0.set(directory);
    }
}

impl Directory for LateDirectory {
    fn call(&self, request: Request) -> DirectoryFuture<'_> {
        match self.0.get() {
            Some(directory) => directory.call(request),
            None => Box::pin(async {
                Err(DirectoryUnreachable(
                    "the gateway is still starting".to_owned(),
                ))
            }),
        }
    }
}
