//! What every engine of the directory is, seen from outside.

use super::{Reply, Request};
use std::future::Future;
use std::pin::Pin;
use thiserror::Error;

/// A call's outcome is unknown: it may or may not have been carried out.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("directory unreachable: {0}")]
pub struct DirectoryUnreachable(pub String);

/// The answer of a [`Directory`], when it comes.
pub type DirectoryFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Reply, DirectoryUnreachable>> + Send + 'a>>;

/// Where bindings live: in the gateway's memory, behind an RPC to it, or in Redis.
pub trait Directory: Send + Sync {
    /// One request, one reply.
    fn call(&self, request: Request) -> DirectoryFuture<'_>;
}
