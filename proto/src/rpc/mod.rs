//! The links between processes: gRPC over HTTP/2 (tonic), with the message enums as JSON.
//!
//! The Rust enums are the schema; there is no second one to keep in step. Rates are low (a join is
//! about ten messages), so readable beats compact: `serde_json` text can be read in a capture.
//! Every call carries a [`PeerContext`] signed with the cluster secret.
//!
//! This module and its children are the only ones in the crate that do input and output, and that
//! read the wall clock (to date and check the signed statement).

mod codec;
mod directory;
mod node;

pub use directory::{DirectoryClient, DirectoryService};
pub use node::{NodeLinkService, connect_node};

use crate::context::{CONTEXT_LIFETIME_MS, ClusterKey, ContextError, PeerContext};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use thiserror::Error;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// Metadata key of the signed statement.
const PEER_METADATA: &str = "x-anteroom-peer";
/// Largest message. SDP comes from strangers, up to 2 MiB of it, and JSON writes some characters with
/// six bytes. A larger message would end the link for everybody, so none may come.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long one call or a connection attempt may take. Below a lease's margin, so that a stuck
/// directory costs a retry and not the lease.
const CALL_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a call to another program failed.
#[derive(Debug, Error)]
pub enum RpcError {
    /// The configured address is no `http://host:port`.
    #[error("'{0}' is not a usable address: write http://host:port")]
    Address(String),
    /// No answer: refused, reset or timed out. The outcome is unknown.
    #[error("no answer from {address}")]
    Unreachable {
        /// Whom we called.
        address: String,
        /// What the transport said.
        #[source]
        source: Box<Status>,
    },
    /// The other side does not share our cluster secret.
    #[error("{address} refused us: {reason}")]
    Refused {
        /// Whom we called.
        address: String,
        /// Its words.
        reason: String,
    },
}

fn wall_clock_ms() -> u64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// A lazily connected channel: the first call connects, later ones reconnect when needed.
fn channel(address: &str) -> Result<Channel, RpcError> {
    let endpoint = Endpoint::from_shared(address.to_owned())
        .map_err(|_| RpcError::Address(address.to_owned()))?;
    if endpoint.uri().scheme_str() != Some("http") || endpoint.uri().host().is_none() {
        return Err(RpcError::Address(address.to_owned()));
    }
    Ok(endpoint
        .connect_timeout(CALL_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(2))
        .keep_alive_timeout(Duration::from_secs(4))
        .keep_alive_while_idle(true)
        .connect_lazy())
}

fn signed<T>(message: T, cluster: &ClusterKey, peer: &str) -> Request<T> {
    let statement = PeerContext {
        peer: peer.to_owned(),
        expires_ms: wall_clock_ms().saturating_add(CONTEXT_LIFETIME_MS),
    };
    let mut request = Request::new(message);
    if let Ok(value) = MetadataValue::try_from(cluster.sign(&statement)) {
        request.metadata_mut().insert(PEER_METADATA, value);
    }
    request
}

/// Who calls, if the statement is genuine.
fn authenticate(
    metadata: &tonic::metadata::MetadataMap,
    cluster: &ClusterKey,
) -> Result<String, Status> {
    let refused = |error: ContextError| Status::unauthenticated(format!("peer statement {error}"));
    let value = metadata
        .get(PEER_METADATA)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| Status::unauthenticated("no peer statement: set cluster.secret"))?;
    let statement: PeerContext = cluster.verify(value, wall_clock_ms()).map_err(refused)?;
    Ok(statement.peer)
}

fn call_error(address: &str, status: Status) -> RpcError {
    match status.code() {
        tonic::Code::Unauthenticated | tonic::Code::PermissionDenied => RpcError::Refused {
            address: address.to_owned(),
            reason: status.message().to_owned(),
        },
        _ => RpcError::Unreachable {
            address: address.to_owned(),
            source: Box::new(status),
        },
    }
}
