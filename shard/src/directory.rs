//! The directory of another process, behind the same trait as the one in this process.

use affinity::directory::{Directory, DirectoryFuture, DirectoryUnreachable, Reply, Request};
use proto::context::ClusterKey;
use proto::rpc::{DirectoryClient, RpcError};
use std::error::Error as _;

/// Asks the directory in the gateway's process.
pub struct RpcDirectory(DirectoryClient<Request, Reply>);

impl RpcDirectory {
    /// A client of the gateway's internal listener at `address` (`http://host:port`). Connects at the
    /// first call and again whenever needed. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`RpcError::Address`] if the address is unusable.
    pub fn new(address: &str, shard: &str, cluster: ClusterKey) -> Result<Self, RpcError> {
        DirectoryClient::new(address, format!("shard/{shard}"), cluster).map(Self)
    }
}

impl Directory for RpcDirectory {
    fn call(&self, request: Request) -> DirectoryFuture<'_> {
        Box::pin(async move {
            self.0.call(request).await.map_err(|error| {
                let cause = error.source().map(|source| format!(": {source}"));
                DirectoryUnreachable(format!("{error}{}", cause.unwrap_or_default()))
            })
        })
    }
}
