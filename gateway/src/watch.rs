//! A configuration file that is watched.
//!
//! The folder is watched, not the file: editors and deployment tools replace files by renaming, and
//! Kubernetes swaps a link further up. What counts is that the content changed.

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;

/// Changes come in bursts (truncate, write, rename): the file is read when they have ended.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// Reports changes of one file's content.
pub(crate) struct FileWatch {
    path: PathBuf,
    seen: Option<u64>,
    changes: mpsc::Receiver<()>,
    /// Watches as long as it lives.
    _watcher: RecommendedWatcher,
}

impl FileWatch {
    pub(crate) fn new(path: &Path) -> notify::Result<Self> {
        // One waiting signal stands for all: the content is compared anyway.
        let (sender, changes) = mpsc::channel(1);
        let mut watcher = notify::recommended_watcher(move |_event| {
            let _ = sender.try_send(());
        })?;
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        Ok(Self {
            path: path.to_owned(),
            seen: fingerprint(path),
            changes,
            _watcher: watcher,
        })
    }

    /// Resolves when the file has another content. A missing file is no change: it is about to be
    /// replaced.
    pub(crate) async fn changed(&mut self) {
        loop {
            if self.changes.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(DEBOUNCE).await;
            while self.changes.try_recv().is_ok() {}
            let now = fingerprint(&self.path);
            if now.is_some() && now != self.seen {
                self.seen = now;
                return;
            }
        }
    }
}

fn fingerprint(path: &Path) -> Option<u64> {
    let content = std::fs::read(path).ok()?;
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    Some(hasher.finish())
}
