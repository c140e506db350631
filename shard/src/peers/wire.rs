//! Messages between shards as bytes.
//!
//! Owns: JSON, and where it is written and read: a room's state may have megabytes, which must not
//! hold up a task that others wait for. Must not: know what a message means.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Shorter messages are read on the spot: that takes less than a millisecond.
const SHORT: usize = 64 * 1024;

/// Does lengthy work apart from all tasks. `None`: the runtime ends.
pub(crate) async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

/// `None`: it is no such message.
pub(crate) async fn read<T: DeserializeOwned + Send + 'static>(bytes: Bytes) -> Option<T> {
    if bytes.len() < SHORT {
        return serde_json::from_slice(&bytes).ok();
    }
    apart(move || serde_json::from_slice(&bytes).ok()).await?
}

/// `None`: it cannot be written, which no message of ours is like.
pub(crate) fn write<T: Serialize>(message: &T) -> Option<Bytes> {
    serde_json::to_vec(message).ok().map(Bytes::from)
}
